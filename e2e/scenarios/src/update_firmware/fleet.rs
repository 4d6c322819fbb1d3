//! The machines of `update-firmware`, what each does, and the objects that a user would apply for them.

use anyhow::Result;
use lockstep_lab::image::Image;
use lockstep_xpusim::fault::Fault;

use crate::objects::{self, Choices, NAMESPACE};
use crate::simulated::PASSWORD;
use crate::simulated_fleet::cases::host_of;
use crate::world::Simulated;

/// How much faster than life BMCs write and cards boot: 600 s of theirs, and 93.
const SCALE: u32 = 40;
/// `install.firmwareTimeoutSeconds`: a card that halts and stays powered is looked at for a minute.
const FIRMWARE_TIMEOUT: u32 = 240;
/// What runs at the beginning, what is wanted, and what is wanted of a card that runs its system.
pub(super) const COMPONENT: &str = "DPU_NIC";
pub(super) const OLD: &str = "32.43.1014";
pub(super) const NEW: &str = "32.44.1036";
pub(super) const NEWER: &str = "32.45.1020";

/// A card, what its BMC does, and how that is to be told.
pub(super) struct Case {
    pub(super) card: &'static str,
    pub(super) fault: Option<Fault>,
    /// What its BMC lists of firmware that is written and does not run.
    pub(super) lists: &'static str,
    /// The reason of a first update that fails; another one follows, by the other way.
    pub(super) fails: Option<&'static str>,
}

const PLAIN: Case = Case {
    card: "",
    fault: None,
    lists: "running",
    fails: None,
};

pub(super) const CASES: [Case; 6] = [
    Case {
        card: RUNNING,
        ..PLAIN
    },
    Case {
        card: "card-2",
        fault: Some(Fault::TaskLost),
        lists: "both",
        ..PLAIN
    },
    Case {
        card: "card-3",
        lists: "written",
        ..PLAIN
    },
    Case {
        card: "card-4",
        fault: Some(Fault::BmcRestartsInUpdate),
        lists: "both",
        ..PLAIN
    },
    Case {
        card: "card-5",
        fault: Some(Fault::TaskErrorText),
        fails: Some("TaskFailed"),
        ..PLAIN
    },
    Case {
        card: "card-6",
        fault: Some(Fault::WrongVersion),
        fails: Some("VersionNotSeen"),
        ..PLAIN
    },
];

/// The one that gets a second version while it runs its system.
pub(super) const RUNNING: &str = "card-1";
/// What is written there never runs.
pub(super) const STAYS: &str = "card-7";
/// No system is wanted of it.
pub(super) const BARE: &str = "card-8";

/// The cards, what their BMCs list, and whether firmware never runs there.
fn cards() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    let cases = CASES.iter().map(|case| (case.card, case.lists, false));
    cases.chain([(STAYS, "both", true), (BARE, "running", false)])
}

pub(super) fn fleet(new: &Image, newer: &Image) -> String {
    // Sent, an image is called by its digest; fetched, by what the store calls every image.
    let mut yaml = format!(
        "timeScale: {SCALE}\nimages:\n\
         - {{urlContains: \"{}\", does: installs, version: {NEW}}}\n\
         - {{urlContains: \"{}\", does: installs, version: {NEWER}}}\n\
         - {{urlContains: image.iso, does: installs, version: {NEW}}}\ndomains:\n",
        &new.sha256[..16],
        &newer.sha256[..16]
    );
    for (card, lists, stays) in cards() {
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}, off: true}}]\n  cards:\n  \
             - {{name: {card}, personality: bluefield-3, password: {PASSWORD}, off: true, os: '', \
             firmwareLists: {lists}, firmwareStays: {stays}, slots: [{{host: {host}, number: 1, slotPower: standby}}]}}\n",
            host = host_of(card),
        );
    }
    yaml
}

/// That of all cards, and that of the one of which no system is wanted.
pub(super) fn policies() -> String {
    let choices = Choices {
        os_timeout: 200,
        host_timeout: 3000,
        methods: Some("[SimpleUpdate, MultipartPush]"),
        ..Choices::default()
    };
    let all = objects::policy("v1", &choices)
        .replace("maxAttempts: 1", "maxAttempts: 2")
        .replace(
            "install: {",
            &format!("install: {{firmwareTimeoutSeconds: {FIRMWARE_TIMEOUT}, "),
        )
        .replace(
            "  imageRef:",
            "  firmwareRefs: [{name: nic-new}]\n  imageRef:",
        );
    let bare = all
        .replace("name: policy,", "name: bare,")
        .replace("  imageRef: {name: v1}\n", "");
    all + &bare
}

pub(super) fn images(new: (&Image, &str), newer: (&Image, &str)) -> String {
    [("nic-new", new), ("nic-newer", newer)]
        .map(|(name, (image, url))| {
            objects::firmware_image(name, image, url, "Firmware", COMPONENT)
        })
        .concat()
}

pub(super) fn machines(fleet: &Simulated) -> Result<String> {
    let mut yaml = String::new();
    for (card, ..) in cards() {
        let host = host_of(card);
        let policy = if card == BARE { "bare" } else { "policy" };
        for (kind, name, rest) in [
            (
                "DpuHost",
                host.as_str(),
                format!("  policyRef: {{name: {policy}}}\n  slotPowerWhenHostOff: \"Yes\"\n"),
            ),
            (
                "Dpu",
                card,
                format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n"),
            ),
        ] {
            yaml += &fleet.object(kind, name, "trust: NoVerification", &rest)?;
        }
    }
    Ok(yaml)
}

/// What a user applies to have a card that runs its system get the second version.
pub(super) fn wishes() -> [[String; 7]; 2] {
    let patch = |kind: &str, name: &str, spec: &str| {
        let patch = format!("{{\"spec\":{{{spec}}}}}");
        [
            "patch",
            kind,
            name,
            "-n",
            NAMESPACE,
            "--type=merge",
            &format!("-p={patch}"),
        ]
        .map(str::to_owned)
    };
    [
        patch("dpuhost", &host_of(RUNNING), "\"disruption\":\"Allowed\""),
        patch(
            "dpu",
            RUNNING,
            "\"firmwareRefs\":[{\"name\":\"nic-newer\"}]",
        ),
    ]
}
