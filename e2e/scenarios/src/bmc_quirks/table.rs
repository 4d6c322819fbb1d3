//! The table: one row for each quirk of the field notes' list, one for what only an emulator
//! has to show.
//!
//! Faults stand for quirks, personalities for vendors. The figures of a case are the most
//! requests that its BMC may get (logins included) and the changing ones that it must get.

use lockstep_redfish::{
    BmcFacts, BootProgress, BootStage, PowerAction, PowerState, Progress, Reading,
};
use lockstep_xpusim::fault::Fault;
use lockstep_xpusim::reset::{Power, ResetType};
use lockstep_xpusim::stage::Stage;

use super::asked;
use super::case::Expect::{Accepted, Comes, Error, Facts, Machine as Found, Sent, Unneeded};
use super::case::Port::{Explorer, Machine};
use super::case::Shown::{Confirmed, Differs, NotObservable, NotSeen};
use super::case::Step::{
    ChangePassword, Eject, Ended, Explore, Insert, Observe, Once, OnceFromUrl, Power as Reset,
    Press, Push, Reaches, RenewCertificate, RestartBmc, Update, WriteFirmware,
};
use super::case::{Case, Expect, Row, Step, Unmet, always};

const RESET: &str = "Actions/ComputerSystem.Reset";
/// Longer than any case lasts, in simulated seconds.
const FOR_EVER: u64 = 10_000_000;
const OFF: PowerAction = PowerAction::ForceOff;
const RESTART: PowerAction = PowerAction::ForceRestart;
/// An update of one component.
const UEFI: &[&str] = &["UEFI"];
/// The update is looked at before the restart that activates it, and after it.
const LOOK: Step = Step::Look { restarted: false };
const LOOK_AGAIN: Step = Step::Look { restarted: true };

/// The search finds the machine, and nothing of it is unread or told otherwise than without the
/// faults.
const WHOLE: Expect = otherwise(&[]);

/// The search reads everything, and tells these groups otherwise.
const fn otherwise(otherwise: &'static [&'static str]) -> Expect {
    Found {
        unread: &[],
        otherwise,
    }
}

/// The search could not read these groups, and tells those otherwise.
const fn unread(unread: &'static [&'static str], otherwise: &'static [&'static str]) -> Expect {
    Found { unread, otherwise }
}

/// One line for each case: rustfmt leaves it so. A machine, what is wrong with its BMC, what
/// happens (`|`: in one case, and in another) `=>` what comes of it, the most requests, the
/// changing ones.
macro_rules! table {
    ($($source:literal $quirk:literal {
        $($machine:literal $faults:tt $($steps:tt)|+ => $expect:expr, $requests:literal, $changes:literal;)*
        $(unmet $fault:ident by $by:tt unless $would:path: $why:literal;)*
        $(not here: $not_here:literal;)?
    })*) => {
        /// Every row.
        pub(super) static ROWS: &[Row] = &[$(Row {
            source: $source,
            quirk: $quirk,
            cases: &[$($(Case {
                machine: $machine,
                faults: &$faults,
                steps: &$steps,
                expect: $expect,
                requests: $requests,
                changes: $changes,
            }),+),*],
            unmet: &[$(Unmet {
                fault: Fault::$fault,
                by: &$by,
                would: $would,
                why: $why,
            }),*],
            not_here: &[$($not_here)?],
        }),*];
    };
}

table! {
    "6.1" "allowable reset types are absent or wrong" {
        "generic-dpu" [always(Fault::NoAllowable)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "generic-host" [always(Fault::NoAllowable)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::WrongAllowable)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::NoAllowable)] [Explore] => otherwise(&["capabilities", "now"]), 47, 0;
        "generic-dpu" [always(Fault::WrongAllowable)] [Explore] => otherwise(&["capabilities", "now"]), 47, 0;
        "intel-e2100" [] [Reset(OFF)] => Error("NotOffered"), 7, 0;
    }
    "6.2" "nested lists, misspelt enumerations, other types, half documents" {
        "generic-dpu" [always(Fault::NestedAllowable)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::NestedAllowable)] [Insert] => Sent(Confirmed), 13, 1;
        "generic-dpu" [always(Fault::NestedAllowable)] [Explore] => WHOLE, 47, 0;
        "generic-dpu" [always(Fault::EnumTypo)] [Observe] => Facts(power_is_odd), 11, 0;
        "generic-dpu" [always(Fault::EnumTypo)] [Reset(OFF)] => Error("StageForbids"), 12, 0;
        "generic-dpu" [always(Fault::EnumTypo)] [Explore] => otherwise(&["now"]), 47, 0;
        "dell-host" [always(Fault::WrongTypes)] [Observe] | [Explore] => Error("SystemNotFound"), 6, 0;
        "generic-dpu" [always(Fault::Garbage).at("/Systems/")] [Observe] | [Explore] => Error("BadAnswer"), 7, 0;
        "generic-dpu" [always(Fault::Garbage).at("/Managers/")] [Observe] => Facts(without_manager), 11, 0;
        "generic-dpu" [always(Fault::Garbage).at("/Managers/")] [Explore] => unread(&["bmc"], &["bmc", "capabilities"]), 45, 0;
    }
    "6.3" "Paused and other power states; a restart of what is off" {
        "bluefield-3" [] [Press(ResetType::GracefulShutdown, Power::Paused), Observe] => Facts(is_paused), 11, 0;
        "bluefield-3" [] [Press(ResetType::GracefulShutdown, Power::Paused), Reset(PowerAction::On)] => Sent(NotSeen), 15, 1;
        "generic-dpu" [] [Press(ResetType::ForceOff, Power::Off), Reset(PowerAction::ForceRestart)] => Error("WrongPowerState"), 7, 0;
        "generic-dpu" [] [Press(ResetType::ForceOff, Power::Off), Reset(OFF)] => Unneeded, 7, 0;
    }
    "6.4" "a power command is accepted and lost" {
        "generic-host" [always(Fault::TooCloseLost).seconds(FOR_EVER)] [Reset(OFF), Reset(PowerAction::On)] => Sent(NotSeen), 20, 2;
        "generic-host" [always(Fault::ResetIgnored)] [Reset(OFF)] => Sent(NotSeen), 15, 1;
        "generic-host" [always(Fault::ResetIgnored)] [Reset(PowerAction::ForceRestart)] => Sent(NotObservable), 10, 1;
    }
    "6.5" "empty, padded and placeholder strings, null lists" {
        "dell-host" [always(Fault::EmptyStrings)] [Observe] => Facts(is_nameless), 12, 0;
        "dell-host" [always(Fault::EmptyStrings)] [Reset(OFF)] => Error("IdentityMismatch"), 7, 0;
        "dell-host" [always(Fault::EmptyStrings)] [Explore] => otherwise(&["bmc", "disks", "identity", "memory", "now", "system"]), 52, 0;
        "generic-dpu" [always(Fault::JunkIdentity)] [Reset(OFF)] => Error("IdentityMismatch"), 7, 0;
        "generic-dpu" [always(Fault::JunkIdentity)] [Explore] => otherwise(&["bmc", "disks", "identity", "memory", "now", "system"]), 47, 0;
        "generic-dpu" [always(Fault::PaddedStrings)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::PaddedStrings)] [Explore] => WHOLE, 47, 0;
        "generic-dpu" [always(Fault::NullMembers)] [Observe] | [Explore] => Error("SystemNotFound"), 6, 0;
    }
    "6.6" "dates that are none, and clocks that are wrong" {
        "bluefield-3" [always(Fault::ClockAtEpoch)] [Observe] => Facts(runs), 11, 0;
        "bluefield-3" [always(Fault::ZeroDates)] [Observe] => Facts(runs), 11, 0;
        "bluefield-3" [always(Fault::OddOffset)] [Observe] => Facts(runs), 11, 0;
        "bluefield-3" [always(Fault::StaleStageTime)] [Observe] => Facts(runs), 11, 0;
        "generic-host" [always(Fault::ZeroDates)] [Reset(OFF)] => Sent(Confirmed), 11, 1;
        "bluefield-3" [always(Fault::ClockAtEpoch)] [Explore] => WHOLE, 55, 0;
        "bluefield-3" [always(Fault::ZeroDates)] [Explore] => WHOLE, 55, 0;
        "bluefield-3" [always(Fault::OddOffset)] [Explore] => WHOLE, 55, 0;
        "bluefield-3" [always(Fault::StaleStageTime)] [Explore] => WHOLE, 55, 0;
        not here: "the simulator's certificates have no dates that a wrong clock would refuse, and no verb sets NTP";
    }
    "6.7" "the Bios fails or is empty until the Arm has booted" {
        "bluefield-2" [always(Fault::BiosError)] [Explore] => unread(&["platform"], &["capabilities", "hostAccess"]), 50, 0;
        "bluefield-2" [always(Fault::BiosEmpty)] [WriteFirmware, Explore] => otherwise(&["capabilities", "hostAccess"]), 48, 0;
        unmet BiosError by [Machine] unless asked::about_the_bios: "no verb of the port needs the Bios";
        unmet BiosEmpty by [Machine] unless asked::about_the_bios: "no verb of the port needs the Bios";
    }
    "6.8" "resources that fail, stall or never end" {
        "bluefield-2" [always(Fault::AnswerStatus).status(500).at("/Managers/")] [Observe] => Facts(without_manager), 15, 0;
        "bluefield-3" [always(Fault::Hang).at("/Managers/")] [Observe] => Facts(without_manager), 11, 0;
        "bluefield-3" [always(Fault::SlowReply).seconds(1).at("/Managers/")] [Observe] => Facts(runs), 11, 0;
        "bluefield-3" [always(Fault::SlowReply).seconds(1).at("/Managers/")] [Explore] => WHOLE, 55, 0;
        "bluefield-2" [always(Fault::AnswerStatus).status(500).at("/Managers/")] [Explore] => unread(&["bmc"], &["bmc", "capabilities", "now"]), 48, 0;
        "bluefield-3" [always(Fault::Hang).at("/Managers/")] [Explore] => unread(&["bmc"], &["bmc", "capabilities", "now"]), 53, 0;
        "generic-host" [always(Fault::HugeCollection)] [Observe] => Error("SystemNotFound"), 38, 0;
        "generic-host" [always(Fault::HugeCollection).at("/Memory")] [Explore] => unread(&["memory"], &["memory"]), 48, 0;
        "generic-host" [always(Fault::HangConnection)] [Observe] => Error("Unreachable"), 0, 0;
        "generic-host" [always(Fault::HangConnection)] [Explore] => Error("Unreachable"), 0, 0;
        "generic-host" [always(Fault::HugeCollection)] [Explore] => Error("TooManySystems"), 45, 0;
    }
    "6.9" "links that lead nowhere or in circles, resources without names" {
        "generic-host" [always(Fault::DeadMember)] [Reset(OFF)] => Sent(Confirmed), 11, 1;
        "generic-host" [always(Fault::DeadMember)] [Insert] => Sent(Confirmed), 14, 1;
        "generic-host" [always(Fault::CyclicMember)] [Reset(OFF)] => Sent(Confirmed), 11, 1;
        "generic-host" [always(Fault::CyclicMember)] [Insert] => Sent(Confirmed), 14, 1;
        "dell-host" [always(Fault::MissingNames)] [Insert] => Sent(Confirmed), 14, 1;
        "dell-host" [always(Fault::MissingNames)] [Explore] => otherwise(&["memory"]), 52, 0;
        "generic-host" [always(Fault::DeadMember)] [Explore] => otherwise(&["cpu", "disks", "memory"]), 66, 0;
        "generic-host" [always(Fault::CyclicMember)] [Explore] => WHOLE, 54, 0;
        not here: "$expand is never asked for";
    }
    "6.10" "ETags that are weak, demanded, never match, or are refused" {
        "generic-dpu" [always(Fault::EtagWeak)] [Once("Cd")] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::EtagDemanded)] [Once("Cd")] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::EtagNeverMatches)] [Once("Cd")] => Sent(Confirmed), 9, 1;
        "generic-dpu" [always(Fault::EtagRefused)] [Once("Cd")] => Sent(Confirmed), 10, 2;
    }
    "6.11" "settings in an object of their own, some without an apply time" {
        "bluefield-3" [] [Once("UefiHttp")] => Sent(Confirmed), 11, 1;
        unmet ApplyTimeRefused by [Machine, Explorer] unless asked::changes_the_bios: "an apply time is asked for with Bios settings, and no verb changes those";
    }
    "6.12" "a one-time override is consumed, ignored, kept for ever, lost, or limited" {
        "generic-dpu" [always(Fault::OnceLost)] [Once("Cd"), Reset(PowerAction::ForceRestart), Reaches(Stage::OsStarting), Observe] => Facts(no_override), 17, 2;
        "generic-dpu" [always(Fault::OnceIgnored)] [Once("Cd")] => Sent(NotSeen), 13, 1;
        "generic-dpu" [always(Fault::OnceStays)] [Once("Cd")] => Sent(Differs), 9, 1;
        "generic-dpu" [always(Fault::OverrideLostWithBmc)] [Once("Cd"), RestartBmc, Observe] => Facts(no_override), 17, 1;
        "intel-e2100" [] [Once("RemoteDrive")] => Error("Refused"), 8, 1;
        "intel-e2100" [] [Once("Pxe")] => Error("NotOffered"), 7, 0;
        "bluefield-3" [] [OnceFromUrl] => Sent(Confirmed), 11, 1;
        "generic-dpu" [always(Fault::HttpUriDropped)] [OnceFromUrl] => Sent(NotSeen), 13, 1;
        "generic-dpu" [always(Fault::HttpImageFetched)] [OnceFromUrl] => Sent(Differs), 9, 1;
        "intel-e2100" [] [OnceFromUrl] => Error("NotOffered"), 7, 0;
    }
    "6.13" "202 with a Location of any kind, or none" {
        "intel-e2100" [always(Fault::LocationMissing)] [Insert] => Sent(Confirmed), 17, 1;
        "intel-e2100" [always(Fault::LocationAbsolute)] [Insert] => Sent(Confirmed), 17, 1;
        "generic-dpu" [always(Fault::LocationMissing)] [Update(UEFI), Ended, LOOK] => Comes(waits), 20, 1;
        "generic-dpu" [always(Fault::LocationAbsolute)] [Update(UEFI), Ended, LOOK] => Comes(waits), 20, 1;
        "generic-dpu" [always(Fault::TaskUnnamed)] [Update(UEFI), Ended, LOOK] => Comes(is_lost), 18, 1;
        "generic-dpu" [always(Fault::UpdateWithoutTask)] [Update(UEFI), Ended, LOOK] => Comes(is_lost), 18, 1;
        "generic-dpu" [always(Fault::UpdateWithoutTask)] [Update(UEFI), Ended, Reset(RESTART), LOOK_AGAIN] => Comes(is_done), 24, 2;
        "generic-dpu" [always(Fault::TaskMonitorGone), always(Fault::AnswerStatus).status(404).at("/TaskService/Tasks/")] [Update(UEFI), Ended, LOOK] => Comes(is_lost), 20, 1;
        unmet TaskMonitorGone by [Explorer] unless asked::asks_a_monitor: "the search looks at no task";
    }
    "6.14" "tasks vanish" {
        "intel-e2100" [always(Fault::TaskLost)] [Insert] => Sent(Confirmed), 19, 1;
        "generic-dpu" [always(Fault::TaskLost)] [Update(UEFI), Ended, LOOK] => Comes(is_lost), 20, 1;
        "generic-dpu" [always(Fault::BmcRestartsInUpdate)] [Update(UEFI), Ended, LOOK] => Comes(is_lost), 24, 1;
        "generic-dpu" [always(Fault::BmcRestartsInUpdate)] [Update(UEFI), Ended, Reset(RESTART), LOOK_AGAIN] => Comes(is_done), 30, 2;
    }
    "6.15" "tasks complete with a warning, or never" {
        "intel-e2100" [always(Fault::TaskWarning)] [Insert] => Sent(Confirmed), 17, 1;
        "intel-e2100" [always(Fault::TaskStuck)] [Insert] => Sent(NotSeen), 20, 1;
        "generic-dpu" [always(Fault::TaskWarning)] [Update(UEFI), Ended, LOOK] => Comes(has_failed), 20, 1;
        "generic-dpu" [always(Fault::TaskCritical)] [Update(UEFI), Ended, LOOK] => Comes(has_failed), 20, 1;
        "generic-dpu" [always(Fault::TaskErrorText)] [Update(UEFI), Ended, LOOK] => Comes(has_failed), 20, 1;
        "generic-dpu" [always(Fault::PercentShort)] [Update(UEFI), Ended, LOOK] => Comes(waits), 20, 1;
        "generic-dpu" [always(Fault::PartFailed)] [Update(&["UEFI", "NIC"]), Ended, LOOK] => Comes(has_failed), 20, 1;
        "generic-dpu" [always(Fault::WrongVersion)] [Update(UEFI), Ended, Reset(RESTART), LOOK_AGAIN] => Comes(has_failed), 26, 2;
        "generic-dpu" [] [Update(UEFI), LOOK] => Comes(goes_on), 20, 1;
        "generic-dpu" [] [Update(UEFI), Ended, Reset(RESTART), LOOK_AGAIN] => Comes(is_done), 26, 2;
        unmet WrongVersion by [Explorer] unless asked::updates: "the search updates nothing";
    }
    "6.16" "firmware tasks run side by side and clobber each other" {
        "generic-dpu" [] [Update(UEFI), Update(&["NIC"])] => Error("UpdateBusy"), 14, 2;
        "generic-dpu" [always(Fault::UpdatesClobber)] [Update(&["NIC"]), Update(UEFI)] => Accepted, 16, 2;
        not here: "that a caller waits for tasks of this and of other BMCs is up to the caller, which has them as facts";
    }
    "6.17" "busy is 400, 409 or 503" {
        "generic-host" [always(Fault::AnswerStatus).status(503).times(2).at("/Systems/").by("GET")] [Observe] => Facts(runs), 14, 0;
        "generic-host" [always(Fault::AnswerStatus).status(503).at(RESET).by("POST")] [Reset(OFF)] => Error("OutcomeUnknown"), 10, 1;
        "generic-dpu" [always(Fault::UpdateBusy)] [Update(UEFI)] => Error("UpdateBusy"), 9, 1;
        "generic-dpu" [always(Fault::UpdateBusy).status(409).seconds(30)] [Update(UEFI)] => Error("UpdateBusy"), 9, 1;
        "generic-dpu" [always(Fault::UpdateBusy).status(400)] [Push("UEFI")] => Error("UpdateBusy"), 10, 1;
        "generic-dpu" [always(Fault::UpdateServiceLate).seconds(FOR_EVER)] [Update(UEFI)] => Error("UpdateBusy"), 8, 0;
        "generic-dpu" [always(Fault::UpdateServiceLate).seconds(FOR_EVER)] [Explore] => WHOLE, 47, 0;
        unmet UpdateBusy by [Explorer] unless asked::updates: "the search updates nothing";
    }
    "6.18" "versions in another form" {
        "bluefield-3" [always(Fault::OemVersion)] [Observe] => Facts(runs), 11, 0;
        "bluefield-3" [always(Fault::OemVersion)] [Explore] => otherwise(&["bmc", "firmware", "identity", "now", "platform"]), 55, 0;
        "generic-dpu" [always(Fault::OemVersion)] [Update(UEFI), Ended, Reset(RESTART), LOOK_AGAIN] => Comes(is_done), 26, 2;
    }
    "6.19" "the BMC cannot fetch the image" {
        "generic-dpu" [always(Fault::MediaRefused)] [Insert] => Error("OutcomeUnknown"), 12, 1;
        "generic-dpu" [always(Fault::ImageUnreachable)] [Update(UEFI), Ended, LOOK] => Comes(has_failed), 20, 1;
        unmet ImageUnreachable by [Explorer] unless asked::updates: "the search updates nothing";
    }
    "6.20" "multipart uploads with rules of their own" {
        "generic-dpu" [] [Push("UEFI"), Ended, LOOK] => Comes(waits), 26, 1;
        "bluefield-3" [] [Push("DPU_UEFI"), Ended, LOOK] => Comes(waits), 26, 1;
        "intel-e2100" [] [Push("IMC")] => Error("NotOffered"), 9, 0;
    }
    "6.21" "virtual media below the system or the manager; late, or not to be ejected" {
        "generic-dpu" [always(Fault::MediaLate).seconds(30)] [Insert] => Sent(Confirmed), 15, 1;
        "generic-dpu" [always(Fault::MediaLate).seconds(FOR_EVER)] [Insert] => Sent(NotSeen), 17, 1;
        "generic-dpu" [always(Fault::EjectRefused)] [Insert, Eject] => Error("OutcomeUnknown"), 19, 2;
        "intel-e2100" [] [Insert, Eject] => Sent(Confirmed), 23, 2;
        "dell-host" [] [Insert, Eject] => Sent(Confirmed), 22, 2;
        "supermicro-host" [] [Insert, Eject] => Sent(Confirmed), 22, 2;
        "bluefield-3" [] [Insert] => Error("NotOffered"), 8, 0;
    }
    "6.22" "no session is to be had, or it is forgotten" {
        "dell-host" [always(Fault::SessionsFull)] [Observe] | [Explore] => Error("SessionRefused"), 5, 0;
        "dell-host" [always(Fault::SessionsForgotten).times(1)] [Observe] => Facts(runs), 14, 0;
        "dell-host" [always(Fault::SessionsForgotten).times(1)] [Reset(OFF)] => Sent(Confirmed), 11, 1;
        "dell-host" [always(Fault::SessionsForgotten)] [Observe] => Error("AccessDenied"), 8, 0;
        "dell-host" [always(Fault::SessionsForgotten).times(1)] [Explore] => WHOLE, 54, 0;
    }
    "6.23" "wrong passwords lock the account; some must be changed first" {
        "bluefield-3" [] [ChangePassword, Observe, Observe, Observe, Observe] => Error("CredentialsRefused"), 7, 0;
        "bluefield-3" [] [ChangePassword, Explore, Explore, Explore] => Error("CredentialsRefused"), 9, 0;
        "bluefield-3" [always(Fault::PasswordChangeRequired)] [Observe] | [Explore] => Error("AccessDenied"), 6, 0;
    }
    "6.24" "accounts by slot, by name, or not at all" {
        not here: "the port reads and changes no account";
    }
    "6.25" "another certificate than the one that is trusted" {
        "generic-dpu" [] [RenewCertificate, Observe] | [RenewCertificate, Explore] => Error("CertificateRefused"), 0, 0;
        "generic-dpu" [always(Fault::CertificateChangesWithBmc)] [RestartBmc, Observe] => Error("CertificateRefused"), 0, 0;
        not here: "old algorithms and TLS 1.2 alone are up to the TLS library; no verb installs a certificate";
    }
    "6.26" "connections that are reset, redirects, methods and paths that are not there" {
        "hpe-host" [always(Fault::ResetConnection).times(1)] [Observe] => Facts(runs), 12, 0;
        "hpe-host" [always(Fault::ResetConnection)] [Observe] | [Explore] => Error("Unreachable"), 0, 0;
        "hpe-host" [always(Fault::CloseSilently)] [Observe] => Facts(runs), 12, 0;
        "hpe-host" [always(Fault::CloseSilently)] [Explore] => WHOLE, 52, 0;
        "hpe-host" [always(Fault::DropRequest).at(RESET).by("POST")] [Reset(OFF)] => Error("OutcomeUnknown"), 8, 1;
        "hpe-host" [always(Fault::ResetRefused)] [Reset(OFF)] => Error("Refused"), 8, 1;
        "generic-host" [always(Fault::RedirectToHttp)] [Observe] | [Explore] => Error("BadAnswer"), 4, 0;
        unmet NoHead by [Machine, Explorer] unless asked::is_head: "the port never asks with HEAD";
        unmet SlashMissing by [Machine, Explorer] unless asked::ends_in_a_slash: "paths are taken as the BMC names them, without a slash added";
    }
    "6.27" "the answer to a change is lost" {
        "generic-host" [always(Fault::LoseReply).at(RESET).by("POST")] [Reset(OFF)] => Error("OutcomeUnknown"), 10, 1;
        "generic-host" [always(Fault::LoseReply).at(RESET).by("POST")] [Reset(OFF), Reset(OFF)] => Unneeded, 13, 1;
        "generic-dpu" [always(Fault::LoseReply).at("InsertMedia").by("POST")] [Insert, Insert] => Unneeded, 16, 1;
        "generic-dpu" [always(Fault::LoseReply).by("PATCH")] [Once("Cd"), Once("Cd")] => Unneeded, 9, 1;
        "generic-dpu" [always(Fault::Hang).at("InsertMedia").by("POST")] [Insert] => Error("OutcomeUnknown"), 12, 1;
        "generic-dpu" [always(Fault::LoseReply).at("SimpleUpdate").by("POST")] [Update(UEFI)] => Error("OutcomeUnknown"), 9, 1;
        "generic-dpu" [always(Fault::LoseReply).at("update-multipart").by("POST")] [Push("UEFI")] => Error("OutcomeUnknown"), 10, 1;
    }
    "6.28" "errors that pass by themselves, and errors that do not" {
        "dell-host" [always(Fault::AnswerStatus).status(503).times(2).by("GET")] [Observe] => Facts(runs), 14, 0;
        "dell-host" [always(Fault::AnswerStatus).status(500).at("/Systems/")] [Observe] => Error("ReadFailed"), 9, 0;
        "dell-host" [always(Fault::AnswerStatus).status(404).at("/Systems/")] [Observe] => Error("ReadFailed"), 7, 0;
        "dell-host" [always(Fault::AnswerStatus).status(503).times(2).at("/Systems/")] [Explore] => WHOLE, 54, 0;
        "dell-host" [always(Fault::Hang)] [Observe] => Error("NoAnswer"), 6, 0;
    }
    "6.29" "actions that want a body, be it an empty one" {
        "generic-dpu" [always(Fault::BodyDemanded)] [Insert, Eject] => Sent(Confirmed), 20, 2;
    }
    "6.30" "events get lost, doubled and out of order" {
        not here: "the port subscribes to nothing; the agent polls";
    }
    "6.31" "an error object in an answer of 200" {
        "bluefield-3" [always(Fault::ErrorInOk)] [Observe] => Facts(runs), 11, 0;
        "generic-dpu" [always(Fault::ErrorInOk)] [Reset(OFF)] => Sent(Confirmed), 9, 1;
        "bluefield-3" [always(Fault::ErrorInOk)] [Explore] => WHOLE, 55, 0;
    }
    "6.32" "few requests, one session, no walk through the tree" {
        "bluefield-3" [] [Observe, Observe] => Facts(runs), 17, 0;
        "intel-e2100" [] [Observe, Observe] => Facts(is_on), 15, 0;
        "dell-host" [] [Observe, Observe] => Facts(runs), 19, 0;
    }
    "7" "boots that stop, skip stages or crash" {
        "generic-dpu" [always(Fault::StageStuck).in_stage(Stage::Uefi)] [Press(ResetType::ForceRestart, Power::On), Reaches(Stage::Uefi), Observe] => Facts(in_uefi), 11, 0;
        "bluefield-3" [always(Fault::StagesSkipped), always(Fault::StageStuck).in_stage(Stage::Uefi)] [Press(ResetType::ForceRestart, Power::On), Reaches(Stage::Uefi), Observe] => Facts(in_boot_rom), 11, 0;
        "bluefield-3" [always(Fault::StagesSkipped), always(Fault::StageStuck).in_stage(Stage::Uefi)] [Press(ResetType::ForceRestart, Power::On), Reaches(Stage::Uefi), Explore] => otherwise(&["now"]), 55, 0;
        "bluefield-3" [always(Fault::CrashAt).in_stage(Stage::OsStarting).times(1)] [Press(ResetType::ForceRestart, Power::On), Reaches(Stage::OsCrashDumping), Observe] => Facts(is_crashed), 11, 0;
        "generic-dpu" [always(Fault::WrongCard)] [Update(UEFI), Ended, LOOK] => Comes(has_failed), 20, 1;
        unmet WrongCard by [Explorer] unless asked::updates: "the search updates nothing";
    }
}

fn stage(facts: &BmcFacts) -> Option<BootStage> {
    let progress: &BootProgress = facts.boot_progress.value()?;
    progress.stage
}

fn is_on(facts: &BmcFacts) -> bool {
    facts.power == Reading::Read(PowerState::On) && facts.identity.system_uuid.is_some()
}

fn runs(facts: &BmcFacts) -> bool {
    is_on(facts) && stage(facts) == Some(BootStage::OsRunning) && facts.manager.value().is_some()
}

fn without_manager(facts: &BmcFacts) -> bool {
    is_on(facts) && matches!(facts.manager, Reading::NotRead(_))
}

fn power_is_odd(facts: &BmcFacts) -> bool {
    facts.power == Reading::Read(PowerState::Other("Invaild".to_owned()))
}

fn is_paused(facts: &BmcFacts) -> bool {
    facts.power == Reading::Read(PowerState::Paused)
}

fn is_nameless(facts: &BmcFacts) -> bool {
    facts.power == Reading::Read(PowerState::On)
        && facts.identity.system_uuid.is_none()
        && facts.identity.serial_number.is_none()
}

fn no_override(facts: &BmcFacts) -> bool {
    let wanted = lockstep_redfish::BootTarget::None;
    facts
        .boot_override
        .value()
        .is_some_and(|state| state.target == Some(wanted))
}

fn goes_on(progress: &Progress) -> bool {
    matches!(progress, Progress::Running { .. })
}

fn waits(progress: &Progress) -> bool {
    matches!(progress, Progress::AwaitsActivation { .. })
}

fn is_done(progress: &Progress) -> bool {
    *progress == Progress::Done
}

fn has_failed(progress: &Progress) -> bool {
    matches!(progress, Progress::Failed { .. })
}

fn is_lost(progress: &Progress) -> bool {
    matches!(progress, Progress::Lost { .. })
}

fn in_boot_rom(facts: &BmcFacts) -> bool {
    stage(facts) == Some(BootStage::ResetBootRom)
}

fn in_uefi(facts: &BmcFacts) -> bool {
    stage(facts) == Some(BootStage::Uefi)
}

fn is_crashed(facts: &BmcFacts) -> bool {
    matches!(
        stage(facts),
        Some(BootStage::OsCrashDumping | BootStage::OsCrashDumped)
    )
}
