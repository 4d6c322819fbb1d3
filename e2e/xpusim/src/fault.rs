//! What BMCs do wrong in the field, as switches: name → behaviour.
//!
//! The numbers are those of `reference/hardware.md`: `6.n` is the list of what
//! a client must handle, `2.n` the facts about resets, `7` the list of what an
//! emulator must show. A fault strikes through a [`Rule`], which may limit it
//! to a path, a method and a number of times.

mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stage::Stage;

pub use table::{ABOUT, About, Layer};

macro_rules! faults {
    ($($name:ident),* $(,)?) => {
        /// One misbehaviour. [`ABOUT`] says what each does.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        #[expect(missing_docs, reason = "the table says what each does")]
        pub enum Fault { $($name),* }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

faults![
    // How the connection fails.
    ResetConnection,
    HangConnection,
    Hang,
    DropRequest,
    LoseReply,
    SlowReply,
    AnswerStatus,
    Garbage,
    CloseSilently,
    RedirectToHttp,
    NoHead,
    SlashMissing,
    // What documents say wrongly.
    NestedAllowable,
    NoAllowable,
    WrongAllowable,
    EnumTypo,
    WrongTypes,
    EmptyStrings,
    NullMembers,
    PaddedStrings,
    JunkIdentity,
    MissingNames,
    DeadMember,
    CyclicMember,
    HugeCollection,
    ErrorInOk,
    ClockAtEpoch,
    ZeroDates,
    OddOffset,
    StaleStageTime,
    StagesSkipped,
    BiosEmpty,
    BiosError,
    OemVersion,
    UpdateServiceLate,
    // How ETags fail.
    EtagWeak,
    EtagDemanded,
    EtagNeverMatches,
    EtagRefused,
    // How bodies and headers of changes differ.
    BodyDemanded,
    ApplyTimeRefused,
    LocationMissing,
    LocationAbsolute,
    TaskUnnamed,
    UpdateWithoutTask,
    // What is not done, or done otherwise.
    ResetIgnored,
    ResetRefused,
    TooCloseLost,
    OnceLost,
    OnceIgnored,
    OnceStays,
    OverrideLostWithBmc,
    HttpUriDropped,
    HttpImageFetched,
    MediaLate,
    MediaRefused,
    EjectRefused,
    TaskLost,
    TaskWarning,
    TaskStuck,
    TaskMonitorGone,
    TaskCritical,
    TaskErrorText,
    PercentShort,
    PartFailed,
    UpdatesClobber,
    BmcRestartsInUpdate,
    CertificateChangesWithBmc,
    WrongVersion,
    WrongCard,
    ImageUnreachable,
    UpdateBusy,
    SessionsFull,
    SessionsForgotten,
    PasswordChangeRequired,
    StageStuck,
    CrashAt,
];

impl Fault {
    /// Its line in the table.
    pub fn about(self) -> &'static About {
        // Position by position: a test compares the two lists.
        &ABOUT[self as usize]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about().name)
    }
}

/// One fault that is switched on, and where it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only requests to paths that contain this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only requests with this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How often it still strikes; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How long, where the fault has a length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The HTTP status, for `answer-status` and `update-busy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The stage, for `stage-stuck` and `crash-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

impl Rule {
    /// The fault, always and everywhere.
    pub fn always(fault: Fault) -> Self {
        Self {
            fault,
            path: None,
            method: None,
            times: None,
            seconds: None,
            status: None,
            stage: None,
        }
    }

    fn covers(&self, method: &str, path: &str) -> bool {
        self.times != Some(0)
            && self.path.as_ref().is_none_or(|part| path.contains(part))
            && self
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
    }
}

/// The faults of one machine that are switched on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Adds a rule after the others.
    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Switches a fault off; whether it was on.
    pub(crate) fn remove(&mut self, fault: Fault) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.fault != fault);
        self.rules.len() < before
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether `fault` would strike a request now. Uses up nothing.
    pub(crate) fn covers(&self, fault: Fault, method: &str, path: &str) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.fault == fault && rule.covers(method, path))
    }

    /// The rule by which `fault` strikes a request now. Uses up one of its times.
    pub(crate) fn strike_request(
        &mut self,
        fault: Fault,
        method: &str,
        path: &str,
    ) -> Option<Rule> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.fault == fault && rule.covers(method, path))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.clone())
    }

    /// The same where the fault is not about a request.
    pub(crate) fn strike(&mut self, fault: Fault) -> Option<Rule> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.fault == fault && rule.times != Some(0))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.clone())
    }

    /// The same for a stage: rules for another stage are left alone.
    pub(crate) fn strike_stage(&mut self, fault: Fault, stage: Stage) -> Option<Rule> {
        let rule = self.rules.iter_mut().find(|rule| {
            rule.fault == fault && rule.times != Some(0) && rule.stage == Some(stage)
        })?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_fault_in_order_and_once() {
        assert_eq!(Fault::ALL.len(), ABOUT.len());
        for (fault, about) in Fault::ALL.iter().zip(ABOUT) {
            let name = serde_json::to_value(fault).unwrap();
            assert_eq!(name, about.name, "{fault:?}");
            assert!(!about.does.is_empty() && !about.source.is_empty());
        }
    }

    #[test]
    fn a_rule_strikes_where_and_as_often_as_it_says() {
        let mut faults = Faults::new(vec![Rule {
            path: Some("/Systems".to_owned()),
            method: Some("GET".to_owned()),
            times: Some(2),
            ..Rule::always(Fault::Garbage)
        }]);
        let mut strike = |method, path| faults.strike_request(Fault::Garbage, method, path);
        assert!(strike("GET", "/redfish/v1/Chassis").is_none());
        assert!(strike("PATCH", "/redfish/v1/Systems/1").is_none());
        assert!(strike("get", "/redfish/v1/Systems/1").is_some());
        assert!(strike("GET", "/redfish/v1/Systems").is_some());
        assert!(strike("GET", "/redfish/v1/Systems").is_none());
        assert!(faults.remove(Fault::Garbage) && !faults.remove(Fault::Garbage));
    }
}
