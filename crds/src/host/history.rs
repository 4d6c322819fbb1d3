//! Directives that have ended, as the record of their host keeps them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::directive::{ActionKind, OutcomeKind};

/// A directive that did not do what it should, and how often in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedDirective {
    /// What it asked for, and of what, in words: `PowerOn dpu/card1`.
    #[schemars(length(max = 300))]
    pub what: String,
    /// How often in a row.
    pub times: i64,
    /// The last time.
    pub at: Time,
    /// Since when its executor has been putting it off, because something else went on or could
    /// not be looked at. That is no failure, and is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off_since: Option<Time>,
    /// When it is tried again, where its executor says how long the machine is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off_until: Option<Time>,
    /// Why, where that is known.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One line of history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedDirective {
    /// The directive's number.
    pub seq: i64,
    /// What it asked for, and of what, in words: `PowerOn dpu/card1`.
    #[schemars(length(max = 300))]
    pub what: String,
    /// What it asked for. Absent in what an older release wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ActionKind>,
    /// Of what: `dpu/NAME` or `dpuhost/NAME`. Absent in what an older release wrote.
    #[schemars(length(max = 300))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How it ended.
    pub outcome: OutcomeKind,
    /// Why, where that is not plain.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When its end was concluded.
    pub at: Time,
}

impl FailedDirective {
    /// What it asked for. It stands in words alone: an older operator, which writes what it knows of this record
    /// over it, would leave another field with the kind of the failure before.
    pub fn kind(&self) -> ActionKind {
        kind_of(None, &self.what)
    }
}

impl FinishedDirective {
    /// What it asked for.
    pub fn kind(&self) -> ActionKind {
        kind_of(self.kind.as_ref(), &self.what)
    }

    /// The machine that it was about: `dpu/NAME` or `dpuhost/NAME`.
    pub fn target(&self) -> &str {
        let in_words = || self.what.split_once(' ').map_or("", |(_, target)| target);
        self.target.as_deref().unwrap_or_else(in_words)
    }
}

/// Older releases left it in words alone.
fn kind_of(kind: Option<&ActionKind>, what: &str) -> ActionKind {
    let in_words = || ActionKind::from(what.split_once(' ').map_or(what, |(kind, _)| kind));
    kind.cloned().unwrap_or_else(in_words)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    /// The same of both, with what a release of today writes, or in words alone.
    fn both(what: &str, told: Option<(&ActionKind, &str)>) -> (FinishedDirective, FailedDirective) {
        let at = Time(Timestamp::UNIX_EPOCH);
        let kind = told.map(|(kind, _)| kind.clone());
        let finished = FinishedDirective {
            seq: 1,
            what: what.to_owned(),
            kind,
            target: told.map(|(_, target)| target.to_owned()),
            outcome: OutcomeKind::Done,
            message: None,
            at: at.clone(),
        };
        let failed = FailedDirective {
            what: what.to_owned(),
            times: 1,
            at,
            put_off_since: None,
            put_off_until: None,
            message: None,
        };
        (finished, failed)
    }

    #[test]
    fn what_an_older_release_wrote_in_words_is_understood() {
        for kind in ActionKind::KNOWN {
            for target in ["dpu/card1", "dpuhost/host1"] {
                let what = format!("{kind} {target}");
                for told in [None, Some((kind, target))] {
                    let (finished, failed) = both(&what, told);
                    assert_eq!((finished.kind(), finished.target()), (kind.clone(), target));
                    assert_eq!(failed.kind(), *kind);
                }
            }
        }
    }

    #[test]
    fn a_kind_whose_name_begins_like_another_is_not_mistaken_for_it() {
        for kind in ActionKind::KNOWN {
            let longer = ActionKind::from(format!("{kind}Beside").as_str());
            let what = format!("{longer} dpu/card1");
            for told in [None, Some((&longer, "dpu/card1"))] {
                let (finished, failed) = both(&what, told);
                assert_eq!(
                    (finished.kind(), failed.kind()),
                    (longer.clone(), longer.clone())
                );
            }
        }
    }

    #[test]
    fn the_words_are_for_people_where_the_rest_is_there() {
        let (finished, _) = both("off with it", Some((&ActionKind::ForceOff, "dpu/card1")));
        assert_eq!(finished.kind(), ActionKind::ForceOff);
        assert_eq!(finished.target(), "dpu/card1");
    }
}
