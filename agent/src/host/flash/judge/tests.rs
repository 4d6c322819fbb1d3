use super::*;
use lockstep_local::netlink::Version;

fn device(versions: &[(VersionKind, &str, &str)]) -> Fact<DeviceInfo> {
    let versions = versions.iter().map(|(kind, name, value)| Version {
        kind: *kind,
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    Fact::Known(DeviceInfo {
        bus: "pci".to_owned(),
        device: "0000:03:00.0".to_owned(),
        driver: None,
        serial: None,
        board_serial: None,
        versions: versions.collect(),
    })
}

fn handle() -> Handle {
    "pci/0000:03:00.0".parse().unwrap()
}

#[test]
fn a_version_counts_if_it_runs_or_is_stored_for_that_component() {
    use VersionKind::{Fixed, Running, Stored};
    let info = device(&[
        (Fixed, "fw", "3.0"),
        (Running, "fw", "1.0"),
        (Stored, "fw.mainfwa", "2.0"),
        (Running, "fw.undi", "4.0"),
        (Stored, "fwx", "5.0"),
    ]);
    let listed = Listed::of(&info, "fw");
    for (version, wanted) in [
        ("1.0", true),
        ("v2.0", true),
        ("3.0", false),
        ("4.0", false),
        ("5.0", false),
    ] {
        assert_eq!(listed.has(version), wanted, "{version}");
    }
    assert_eq!(listed.to_string(), "of fw running 1.0, stored 2.0");
    let found = find(&handle(), "fw", &info).unwrap();
    assert!(found.runs("1.0") && !found.runs("2.0"));
    assert!(find(&handle(), "fw.mainfwa", &info).is_ok());
}

#[test]
fn what_nobody_lists_is_told_with_what_is_listed() {
    let info = device(&[
        (VersionKind::Running, "fw.mgmt", "1"),
        (VersionKind::Fixed, "board.id", "9"),
    ]);
    let refusal = find(&handle(), "fw.psid", &info).unwrap_err();
    assert_eq!(refusal.reason, "ComponentNotListed");
    assert!(refusal.message.contains("fw.mgmt"), "{}", refusal.message);
    assert!(!refusal.message.contains("board.id"), "{}", refusal.message);
    for (info, reason) in [
        (Fact::NotOffered, "DevlinkMissing"),
        (Fact::NotRead("busy".to_owned()), "DevlinkUnusable"),
    ] {
        assert_eq!(find(&handle(), "fw", &info).unwrap_err().reason, reason);
        let listed = Listed::of(&info, "fw");
        assert!(!listed.has("1") && listed.to_string().starts_with("nothing of fw: "));
    }
}
