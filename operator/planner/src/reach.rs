//! Whether a BMC's facts may be acted on, and whether it stands for the right machine.

use jiff::SignedDuration;
use lockstep_crds::report::BmcReport;
use lockstep_crds::{DpuReportSpec, MachineIdentity};

use crate::intent::Intent;
use crate::reason::Reason;

/// How long a first report may take.
const FIRST_REPORT: SignedDuration = SignedDuration::from_mins(5);
/// How long a BMC may be silent before a person is asked to look.
pub const SILENCE: SignedDuration = SignedDuration::from_mins(10);

/// Why the facts of a machine cannot be used now, in terms of its last report.
pub fn unusable(machine: &str, uid: &str, report: Option<&DpuReportSpec>) -> Intent {
    let Some(report) = report.filter(|report| report.subject_uid == uid) else {
        return Intent::wait(
            Reason::Inspecting,
            format!("waiting for the site agent's first report about {machine}"),
            FIRST_REPORT,
        );
    };
    let Some(reach) = report.reachable.as_ref().filter(|reach| !reach.ok) else {
        return Intent::wait(
            Reason::Inspecting,
            format!("waiting for facts about {machine}"),
            FIRST_REPORT,
        );
    };
    let cause = reach.reason.as_deref().unwrap_or("Unreachable");
    let detail = reach.message.as_deref().unwrap_or("no answer");
    if is_transient(cause) {
        Intent::wait(
            Reason::BmcUnreachable,
            format!("the BMC of {machine} does not answer ({cause}): {detail}"),
            SILENCE,
        )
    } else {
        Intent::stall(
            Reason::BmcRefused,
            format!("the BMC of {machine} cannot be used ({cause}): {detail}"),
        )
    }
}

/// Whether the boot override in force is of the kind that an install from virtual media sets: to
/// them, once. A lasting one of another kind is somebody else's, and stays.
pub(crate) fn boots_from_media(facts: &BmcReport) -> bool {
    facts.boot_override.as_deref() == Some("Cd")
}

/// Causes that may pass without anybody's doing.
fn is_transient(cause: &str) -> bool {
    !matches!(
        cause,
        "CredentialsRefused"
            | "AccessDenied"
            | "CertificateUntrusted"
            | "AddressNotAllowed"
            | "AddressInvalid"
            | "SecretMissing"
            | "SecretInvalid"
            | "CaMissing"
            | "PinInvalid"
            | "SystemNotFound"
            | "IdentityMismatch"
            | "IdentityNotShown"
            | "NotOffered"
            | "BmcNotGiven"
            | "ObjectUnreadable"
            | "StateUnusable"
    )
}

/// Whether the facts are those of another machine than the object names (S13). Nothing
/// that they say is about this one. An object that names none is left to [`prove`].
pub(crate) fn is_stranger(wanted: Option<&MachineIdentity>, facts: &BmcReport) -> bool {
    wanted.is_some_and(|wanted| differs(wanted, &facts.identity))
}

/// Whether a machine shows another identity than the one wanted, or not all of it.
pub(crate) fn differs(wanted: &MachineIdentity, seen: &MachineIdentity) -> bool {
    let uuid_differs = wanted.system_uuid.as_deref().is_some_and(|uuid| {
        let seen = seen.system_uuid.as_deref();
        seen.is_none_or(|seen| !seen.trim().eq_ignore_ascii_case(uuid.trim()))
    });
    // Makers pad serial numbers, and people copy them without.
    let serial_differs = wanted.serial_number.as_deref().is_some_and(|serial| {
        let seen = seen.serial_number.as_deref();
        seen.map(str::trim) != Some(serial.trim())
    });
    uuid_differs || serial_differs
}

/// Checks that the object names its machine and that the BMC shows that machine (S13).
pub fn prove(
    machine: &str,
    wanted: Option<&MachineIdentity>,
    facts: &BmcReport,
) -> Result<(), Intent> {
    let Some(wanted) = wanted else {
        let seen = &facts.identity;
        return Err(Intent::stall(
            Reason::IdentityNotGiven,
            format!(
                "{machine} has no identity in its spec; its BMC shows systemUuid {} and serialNumber {}",
                seen.system_uuid.as_deref().unwrap_or("(none)"),
                seen.serial_number.as_deref().unwrap_or("(none)"),
            ),
        ));
    };
    if is_stranger(Some(wanted), facts) {
        return Err(Intent::stall(
            Reason::IdentityMismatch,
            format!(
                "the BMC of {machine} stands for another machine: systemUuid {}, serialNumber {}",
                facts.identity.system_uuid.as_deref().unwrap_or("(none)"),
                facts.identity.serial_number.as_deref().unwrap_or("(none)"),
            ),
        ));
    }
    Ok(())
}

/// A fresh, reachable, proved machine, or why not.
pub fn proved<'a>(
    machine: &str,
    uid: &str,
    wanted: Option<&MachineIdentity>,
    facts: Option<&'a BmcReport>,
    report: Option<&DpuReportSpec>,
) -> Result<&'a BmcReport, Intent> {
    let facts = facts.ok_or_else(|| unusable(machine, uid, report))?;
    prove(machine, wanted, facts)?;
    Ok(facts)
}
