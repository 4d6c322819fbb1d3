//! The machines of `update-bmc`, what each does, and the objects that a user would apply for them.

use anyhow::{Context as _, Result};
use lockstep_lab::image::Image;
use lockstep_redfish::{
    AllowedNetworks, Bmc as _, BmcOptions, BmcTarget, Credentials, ExpectedIdentity, Redfish,
    TlsTrust,
};
use lockstep_xpusim::fault::Fault;

use crate::objects::{self, Choices};
use crate::simulated::PASSWORD;
use crate::simulated_fleet::cases::host_of;
use crate::world::Simulated;

/// How much faster than life BMCs write and restart: 600 and 180 s of theirs.
const SCALE: u32 = 40;
/// `install.firmwareTimeoutSeconds`: a BMC gets 60 s to restart by itself.
const FIRMWARE_TIMEOUT: u32 = 150;
/// What runs at the beginning, and what is wanted.
pub(super) const COMPONENT: &str = "BMC_Firmware";
pub(super) const OLD: &str = "BF-24.10-10";
pub(super) const NEW: &str = "BF-24.10-24";

/// A card, what its BMC does, and how that is to be told.
pub(super) struct Case {
    pub(super) card: &'static str,
    pub(super) fault: Option<Fault>,
    /// Whether its BMC is trusted by its key.
    pub(super) pinned: bool,
    /// It restarts only if it is asked to.
    pub(super) waits: bool,
    /// The reason of a first update that fails; another one follows, by the other way.
    pub(super) fails: Option<&'static str>,
}

const PLAIN: Case = Case {
    card: "",
    fault: None,
    pinned: false,
    waits: false,
    fails: None,
};

pub(super) const CASES: [Case; 7] = [
    Case {
        card: "card-1",
        pinned: true,
        ..PLAIN
    },
    Case {
        card: "card-2",
        fault: Some(Fault::TaskLost),
        ..PLAIN
    },
    Case {
        card: "card-3",
        fault: Some(Fault::CertificateChangesWithBmc),
        ..PLAIN
    },
    Case {
        card: REPINNED,
        fault: Some(Fault::CertificateChangesWithBmc),
        pinned: true,
        ..PLAIN
    },
    Case {
        card: "card-5",
        waits: true,
        ..PLAIN
    },
    Case {
        card: "card-6",
        fault: Some(Fault::TaskErrorText),
        fails: Some("TaskFailed"),
        ..PLAIN
    },
    Case {
        card: "card-7",
        fault: Some(Fault::WrongVersion),
        fails: Some("TaskFailed"),
        ..PLAIN
    },
];

/// Its key is another one after the update, and a person has to say so.
pub(super) const REPINNED: &str = "card-4";
/// It is to get an image of a lower security version than the policy asks for.
pub(super) const REFUSED: &str = "card-8";

fn cards() -> impl Iterator<Item = (&'static str, bool)> {
    let cases = CASES.iter().map(|case| (case.card, case.waits));
    cases.chain([(REFUSED, false)])
}

pub(super) fn fleet(firmware: &Image) -> String {
    // Sent, it is called by its digest; fetched, by what the store calls every image.
    let mut yaml = format!(
        "timeScale: {SCALE}\nimages:\n\
         - {{urlContains: \"{}\", does: installs, version: {NEW}}}\n\
         - {{urlContains: image.iso, does: installs, version: {NEW}}}\ndomains:\n",
        &firmware.sha256[..16]
    );
    for (card, waits) in cards() {
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}, off: true}}]\n  cards:\n  \
             - {{name: {card}, personality: bluefield-3, password: {PASSWORD}, off: true, os: '', \
             firmwareWaits: {waits}, slots: [{{host: {host}, number: 1, slotPower: standby}}]}}\n",
            host = host_of(card),
        );
    }
    yaml
}

pub(super) fn policy() -> String {
    let choices = Choices {
        os_timeout: 200,
        host_timeout: 3000,
        methods: Some("[SimpleUpdate, MultipartPush]"),
        ..Choices::default()
    };
    objects::policy("v1", &choices)
        .replace("maxAttempts: 1", "maxAttempts: 2")
        .replace(
            "install: {",
            &format!("install: {{firmwareTimeoutSeconds: {FIRMWARE_TIMEOUT}, "),
        )
        .replace(
            "  imageRef:",
            "  firmwareRefs: [{name: bmc-new}]\n  images: {require: DigestOnly, minimumSecurityVersion: 2}\n  imageRef:",
        )
}

/// An image of firmware, or with a security version.
pub(super) fn image(name: &str, of: &Image, url: &str, security: u32, component: bool) -> String {
    let text = if component {
        objects::firmware_image(name, of, url, "Bmc", COMPONENT)
    } else {
        objects::image(name, of, url)
    };
    text.replace(
        "spec:\n",
        &format!("spec:\n  securityVersion: {security}\n"),
    )
}

pub(super) async fn machines(fleet: &Simulated) -> Result<String> {
    let mut yaml = String::new();
    for (card, _) in cards() {
        let pinned = CASES.iter().any(|case| case.card == card && case.pinned);
        let host = host_of(card);
        let firmware = if card == REFUSED {
            "  firmwareRefs: [{name: bmc-older}]\n"
        } else {
            ""
        };
        for (kind, name, trust, rest) in [
            (
                "DpuHost",
                host.as_str(),
                "trust: NoVerification".to_owned(),
                "  policyRef: {name: policy}\n  slotPowerWhenHostOff: \"Yes\"\n".to_owned(),
            ),
            (
                "Dpu",
                card,
                if pinned {
                    let pin = pin(fleet, card).await?;
                    format!("trust: PinnedKey, pinnedKeySha256: \"{pin}\"")
                } else {
                    "trust: NoVerification".to_owned()
                },
                format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n{firmware}"),
            ),
        ] {
            yaml += &fleet.object(kind, name, &trust, &rest)?;
        }
    }
    Ok(yaml)
}

/// The key that a BMC shows now, as a person would read it.
pub(super) async fn pin(simulated: &Simulated, name: &str) -> Result<String> {
    let state = simulated.fleet.state(name)?;
    let loopback = "127.0.0.0/8".parse().context("a network")?;
    let redfish = Redfish::new(AllowedNetworks(vec![loopback]), BmcOptions::default());
    let bmc = redfish.bmc(BmcTarget {
        address: simulated
            .server
            .url(name)?
            .parse()
            .context("the BMC's URL")?,
        system_path: None,
        credentials: Credentials {
            username: state.user,
            password: state.password,
        },
        tls: TlsTrust::NoVerification,
        expected: ExpectedIdentity::default(),
    })?;
    let facts = bmc.observe().await?;
    bmc.close().await;
    let pin = facts.identity.tls_pin.context("the BMC shows no key")?;
    Ok(pin.to_string())
}
