//! The words for what a card runs that nobody asked for: what, in the place of what, since when, what becomes
//! of it and what helps. All of it fits into a condition, the last part too.

use jiff::Timestamp;
use lockstep_crds::drift::{Drift, DriftRepairs, OnDrift};
use lockstep_crds::host::{CardRecord, ComponentRecord};

use crate::card::machine;
use crate::card_record::install_end;
use crate::decision::Explanation;
use crate::drift::{of_component, of_system};
use crate::reason::Reason;
use crate::repair::Outlook;
use crate::roll_back;
use crate::view::{CardView, View};
use crate::wipe;

/// Longest list of what has drifted, in bytes, unless its first entry alone is longer.
const LIST: usize = 260;
/// Longest name or version in it, in characters.
const NAME: usize = 48;
/// Longest account of what stands against a repair, in characters.
const LACK: usize = 160;
const AWAITS: &str =
    "The wanted image is to be installed again by itself, and now that cannot begin: ";
const UNDER_WAY: &str = "The wanted image is installed again, which has not ended in its running";
const HAS_ENDED: &str =
    "The wanted image was installed again and did not come up: see the condition Ready";
/// What helps where system and firmware have drifted.
const BOTH: &str = "Find out who did; then change retryToken on the Dpu to have image and firmware put there again, or name what runs in imageRef and firmwareRefs, or drop that firmware from it";

/// What runs, in the place of what and since when, and what helps.
pub(crate) fn in_short(card: &CardView, kept: &CardRecord) -> Option<Explanation> {
    let all = listed(kept)?;
    Some(with_remedy(card, kept, reason(kept), &all))
}

/// The same with what becomes of it.
pub(crate) fn at_length(
    card: &CardView,
    kept: &CardRecord,
    reason: Reason,
    next: &Next,
) -> Option<Explanation> {
    let all = listed(kept)?;
    let what = format!("{all}. {}", next.said);
    Some(if next.is_on_its_way {
        let message = format!("{what}. Find out who did");
        Explanation { reason, message }
    } else {
        with_remedy(card, kept, reason, &what)
    })
}

fn with_remedy(card: &CardView, kept: &CardRecord, reason: Reason, what: &str) -> Explanation {
    let remedy = remedy(card, kept, reason);
    Explanation {
        reason,
        message: format!("{what}. {remedy}"),
    }
}

/// Since when any of it was seen.
pub(crate) fn since(kept: &CardRecord) -> Option<Timestamp> {
    kept.drift.iter().map(|one| one.since.0).min()
}

/// What has drifted, the earliest first.
pub(crate) fn listed(kept: &CardRecord) -> Option<String> {
    let since = since(kept)?;
    let mut drift: Vec<&Drift> = kept.drift.iter().collect();
    drift.sort_by_key(|one| one.since.0);
    let mut all = String::new();
    for (index, one) in drift.iter().enumerate() {
        let one = told(one);
        if index > 0 && all.len() + one.len() > LIST {
            all.push_str(&format!("; and {} more", drift.len() - index));
            break;
        }
        if index > 0 {
            all.push_str("; ");
        }
        all.push_str(&one);
    }
    Some(format!(
        "since {since} the card runs what nobody asked Lockstep for: {all}"
    ))
}

/// The reason of all that has drifted.
pub(crate) fn reason(kept: &CardRecord) -> Reason {
    if of_system(kept).is_some() {
        Reason::SystemChanged
    } else {
        Reason::FirmwareChanged
    }
}

/// One thing that has drifted.
pub(crate) fn told(drift: &Drift) -> String {
    let Drift {
        what,
        version,
        digest,
        wanted_version,
        wanted_digest,
        since,
        ..
    } = drift;
    let wanted = wanted_version.as_deref().map_or("what is wanted", |it| it);
    let (runs, not, since) = (cut(version, NAME), cut(wanted, NAME), since.0);
    match (digest, wanted_digest) {
        // A version is a name that anything can have: what has the wanted one's is told by its digest.
        (Some(digest), Some(wanted)) if wanted_version.as_ref() == Some(version) => {
            format!("its system is {runs}, but of digest {digest} and not {wanted}, since {since}")
        }
        (Some(_), _) => format!("its system is {runs} and not {not}, since {since}"),
        (None, _) => format!(
            "{} runs {runs} and not {not}, since {since}",
            cut(what, NAME)
        ),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What helps, where somebody has to do something about it.
fn remedy(card: &CardView, kept: &CardRecord, reason: Reason) -> String {
    let system = of_system(kept);
    if let (Some(_), Some(back)) = (system, roll_back::goes_back(kept, card)) {
        return roll_back::remedy(kept, back);
    }
    let of_reason = reason.remedy().unwrap_or_default();
    let is_both = system.is_some() && kept.drift.len() > 1;
    if is_both && reason != Reason::DriftRepairsSpent {
        BOTH.to_owned()
    } else {
        of_reason.to_owned()
    }
}

/// Whether what is wanted is to be put there again by a person's word, or by a repair: all of it that has
/// drifted.
fn is_renewed(kept: &CardRecord) -> bool {
    kept.drift.iter().all(|drift| {
        let mut components = kept.components.iter();
        if drift.is_system() {
            kept.observed_at.is_none()
        } else {
            components.any(|one| one.component == drift.what && one.observed_at.is_none())
        }
    })
}

/// What becomes of what has drifted.
pub(crate) struct Next {
    /// In words, which are short.
    pub(crate) said: String,
    /// Something is under way that ends it if it ends well.
    is_on_its_way: bool,
}

impl Next {
    pub(crate) fn nothing(said: &str) -> Self {
        Self {
            said: said.to_owned(),
            is_on_its_way: false,
        }
    }

    fn on_its_way(said: &str) -> Self {
        Self {
            said: said.to_owned(),
            is_on_its_way: true,
        }
    }
}

/// What was asked for of what has drifted, and is under way or has ended without it.
pub(crate) fn asked_for(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Next> {
    let system = of_system(kept);
    if system.is_some() && wipe::is_asked(card) {
        return Some(Next::on_its_way("The card is to be wiped"));
    }
    if system.is_some() && kept.observed_at.is_none() && kept.roll_back.is_some() {
        let to = roll_back::named(kept.back_to());
        return Some(Next::on_its_way(&format!("{to} is to go onto the card")));
    }
    if !is_renewed(kept) {
        return None;
    }
    Some(match system {
        Some(_) if has_ended(view, kept, now) => Next::nothing(HAS_ENDED),
        Some(_) => Next::on_its_way(UNDER_WAY),
        None => {
            Next::on_its_way("What is wanted is written again, which has not ended in its running")
        }
    })
}

/// Whether the install that was to put back the system is over, and no other one follows.
fn has_ended(view: &View, kept: &CardRecord, now: Timestamp) -> bool {
    let install = view.policy.as_ref().map(|policy| &policy.spec.install);
    let is_last = install.is_some_and(|install| install.max_attempts <= kept.attempts);
    (kept.given_up || is_last) && install_end(view, kept, now).is_none()
}

/// How what is told begins while the same stands against a repair.
pub(crate) fn awaited(kept: &CardRecord, reason: Reason) -> Option<String> {
    let all = listed(kept)?;
    Some(format!("{all}. {AWAITS}{}: ", reason.as_str()))
}

/// What becomes of it by the policy.
pub(crate) fn by_policy(outlook: &Outlook) -> Next {
    match outlook {
        Outlook::Left => {
            Next::nothing("Nothing is done about it, for the policy's onDrift is Show")
        }
        Outlook::FirmwareOnly => Next::nothing(
            "Nothing is done about it: onDrift: Repair puts back systems, and no firmware",
        ),
        Outlook::Spent(repairs) => Next::nothing(&how_spent(repairs)),
        Outlook::UnderWay => Next::on_its_way(UNDER_WAY),
        Outlook::Later(due) => Next::nothing(&format!(
            "If it goes on, the wanted image is installed again, from {due} on"
        )),
        Outlook::Awaits(lack) => Next::nothing(&format!("{AWAITS}{}", cut(&lack.why, LACK))),
        Outlook::Due(_) => Next::nothing(
            "The wanted image is installed again once all is read that this goes by, nothing else begins, and those cards of its host are due that were changed with it",
        ),
    }
}

fn how_spent(repairs: &DriftRepairs) -> String {
    let last = repairs.last_at.as_ref();
    let last = last.map_or_else(String::new, |at| format!(", last at {}", at.0));
    format!(
        "Nothing more is done about it by itself: the wanted image was installed again {} times for it{last}",
        repairs.begun
    )
}

/// What the card says whose system is another one now.
pub(crate) fn system_changed(
    card: &CardView,
    kept: &CardRecord,
    reported: &str,
    drift: &Drift,
    on_drift: OnDrift,
    spent: Option<&DriftRepairs>,
) -> Explanation {
    let wanted = kept.image.as_ref().map_or("", |image| &image.version);
    let what = format!(
        "the card was seen to run {wanted} and now reports image {reported}, since {}",
        drift.since.0
    );
    let is_put_back = on_drift == OnDrift::Repair;
    match spent {
        None if is_put_back => {
            let what =
                format!("{what}. The condition Drifted says when it is put back, or why not");
            with_remedy(card, kept, Reason::SystemChanged, &what)
        }
        None => with_remedy(card, kept, Reason::SystemChanged, &what),
        Some(repairs) => {
            let what = format!("{what}. {}", how_spent(repairs));
            with_remedy(card, kept, Reason::DriftRepairsSpent, &what)
        }
    }
}

/// What the card says a component of which is another one now.
pub(crate) fn firmware_changed(
    card: &CardView,
    kept: &CardRecord,
    one: &ComponentRecord,
    running: &str,
) -> Explanation {
    let component = &one.component;
    let since = of_component(kept, component);
    let since = since.map_or_else(String::new, |drift| format!(", since {}", drift.since.0));
    let what = format!(
        "{component} of {} was seen to run {} and runs {running} now{since}",
        machine(card),
        one.image.version
    );
    with_remedy(card, kept, Reason::FirmwareChanged, &what)
}

/// Whether a card is not as wanted for its drift alone, which has an event of its own.
pub(crate) fn is_reason(reason: &str) -> bool {
    let reasons = [
        Reason::SystemChanged,
        Reason::FirmwareChanged,
        Reason::DriftRepairsSpent,
    ];
    reasons.iter().any(|one| one.as_str() == reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::repair_begins::Lack;

    fn drifted(names: usize) -> CardRecord {
        let long = |of: &str, most: usize| of.repeat(most);
        let since = "2026-01-01T00:00:00Z";
        let system = json!({
            "what": "system", "version": long("v", 128), "digest": long("d", 71),
            "wantedVersion": long("v", 128), "wantedDigest": long("w", 71), "since": since,
        });
        let component = |number: usize| {
            let what = format!("{number}{}", long("ü", 90));
            json!({
                "what": what, "version": long("v", 128), "wantedVersion": long("w", 128),
                "since": since,
            })
        };
        let drift: Vec<_> = std::iter::once(system)
            .chain((1..names).map(component))
            .collect();
        let record = json!({
            "name": "card1", "uid": "1", "physicalId": "SN", "attempts": 0, "drift": drift,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn the_longest_of_all_messages_has_its_remedy_still() {
        let lack = Lack::new("ü".repeat(2000));
        let nexts = [Outlook::Awaits(lack), Outlook::Left].map(|outlook| by_policy(&outlook).said);
        let reasons = [
            Reason::SystemChanged,
            Reason::FirmwareChanged,
            Reason::DriftRepairsSpent,
        ];
        let mut remedies = reasons.map(|reason| reason.remedy().unwrap()).to_vec();
        remedies.push(BOTH);
        for names in [1, 9] {
            let all = listed(&drifted(names)).unwrap();
            assert_eq!(all.ends_with("and 8 more"), names > 1, "{all}");
            for (next, remedy) in nexts
                .iter()
                .flat_map(|next| remedies.iter().map(move |it| (next, it)))
            {
                let whole = format!("{all}. {next}. {remedy}");
                assert!(
                    whole.len() <= lockstep_crds::condition::MESSAGE_MAX,
                    "{}",
                    whole.len()
                );
            }
        }
    }
}
