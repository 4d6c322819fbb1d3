use super::*;

fn those(holds: impl Fn(&ActionKind) -> bool) -> Vec<&'static str> {
    let kinds = ActionKind::KNOWN.iter();
    kinds
        .filter(|kind| holds(kind))
        .map(ActionKind::as_str)
        .collect()
}

fn unknown() -> ActionKind {
    ActionKind::from("Levitate")
}

#[test]
fn each_question_has_the_answer_that_safety_rests_on() {
    assert_eq!(
        those(ActionKind::is_destructive),
        [
            "PullUpdate",
            "PushUpdate",
            "PullFirmware",
            "PushFirmware",
            "ResetBmc",
            "RestartCard",
            "PushImage",
            "FlashFirmware",
            "ShutdownGracefully",
            "ForceOff",
        ]
    );
    assert_eq!(
        those(ActionKind::takes_power),
        ["RestartCard", "ShutdownGracefully", "ForceOff"]
    );
    assert_eq!(
        those(ActionKind::is_of_power),
        ["RestartCard", "PowerOn", "ShutdownGracefully", "ForceOff"]
    );
    assert_eq!(
        those(ActionKind::disturbs_firmware),
        [
            "PullUpdate",
            "PushUpdate",
            "ResetBmc",
            "RestartCard",
            "PushImage",
            "PowerOn",
            "ShutdownGracefully",
            "ForceOff",
        ]
    );
    assert_eq!(
        those(ActionKind::arms_install),
        [
            "StageInstall",
            "StageHttpBoot",
            "SetNetworkBoot",
            "StagePxeBoot",
            "StageBootEntry",
            "OfferImage",
        ]
    );
    assert_eq!(
        those(ActionKind::is_of_host_agent),
        ["PushImage", "FlashFirmware"]
    );
    assert_eq!(
        those(ActionKind::is_firmware),
        ["PullFirmware", "PushFirmware", "ResetBmc"]
    );
    assert_eq!(those(ActionKind::is_update), ["PullUpdate", "PushUpdate"]);
    assert_eq!(
        those(|kind| kind.row().has_halves),
        ["StageInstall", "ClearInstall"]
    );
    assert_eq!(
        those(|kind| !kind.row().reset_types.is_empty()),
        ["ReleaseHost", "PowerOn", "ShutdownGracefully", "ForceOff"]
    );
}

#[test]
fn what_a_newer_release_asks_for_counts_as_the_worst() {
    let unknown = unknown();
    assert!(unknown.is_destructive() && unknown.takes_power() && unknown.disturbs_firmware());
    assert!(!unknown.arms_install() && !unknown.is_update() && !unknown.is_firmware());
    assert!(!unknown.is_of_host_agent());
}
