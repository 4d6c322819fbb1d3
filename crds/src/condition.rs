//! Conditions that follow kstatus, and their upkeep.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object is as wanted.
pub const READY: &str = "Ready";
/// Work is in progress.
pub const RECONCILING: &str = "Reconciling";
/// Nothing goes on until a person acts.
pub const STALLED: &str = "Stalled";
/// The channel to a BMC is not verified, by the user's own choice.
pub const BMC_CHANNEL_INSECURE: &str = "BmcChannelInsecure";

/// What a card is made of is known: `Complete`, `Partial` or `Conflicting`.
pub const INVENTORIED: &str = "Inventoried";

/// Sources contradict each other about what a machine is, or which Node runs on it.
pub const CONTRADICTED: &str = "Contradicted";

/// Every service that is wanted of a card runs there, by the digest that its agent hashed.
pub const SERVICES_RUNNING: &str = "ServicesRunning";

/// The kernel of the card's own system has found nothing wrong with the filesystems on its disks.
pub const FILESYSTEMS_CONSISTENT: &str = "FilesystemsConsistent";

/// The card runs something that nobody asked Lockstep for, in the place of what it was seen to run as wanted.
pub const DRIFTED: &str = "Drifted";

/// One of the policy's `imageChoices`, or its `imageRef`, is the card's: `Chosen`, `Kept`, or why not.
pub const IMAGE_CHOSEN: &str = "ImageChosen";

/// The image's bytes, by their digest, are in the stores of the sites that want it.
pub const FETCHED: &str = "Fetched";

/// What the policies that want the image ask of its signatures holds.
pub const VERIFIED: &str = "Verified";

/// The cards that want the image are such as it is made for.
pub const FITS: &str = "Fits";

/// Longest message that is written to a condition, in bytes.
pub const MESSAGE_MAX: usize = 1024;

/// Sets a condition, keeping `lastTransitionTime` unless its status changes.
/// Returns whether anything changed.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) -> bool {
    let status = if status { "True" } else { "False" };
    let wanted = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: truncated(message),
        observed_generation: generation,
        last_transition_time: now.clone(),
    };
    set_to(conditions, wanted)
}

/// Sets a condition that may also be `Unknown`, as [`set`] does.
pub fn set_to(conditions: &mut Vec<Condition>, mut wanted: Condition) -> bool {
    match conditions.iter_mut().find(|c| c.type_ == wanted.type_) {
        Some(current) => {
            if current.status == wanted.status {
                wanted.last_transition_time = current.last_transition_time.clone();
            }
            let changed = *current != wanted;
            *current = wanted;
            changed
        }
        None => {
            conditions.push(wanted);
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
            true
        }
    }
}

/// Removes a condition; returns whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|c| c.type_ != type_);
    conditions.len() != before
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// `text`, cut at a character boundary so that it fits a condition or status message.
pub fn truncated(text: &str) -> String {
    if text.len() <= MESSAGE_MAX {
        return text.to_owned();
    }
    let ellipsis = '…';
    let mut end = MESSAGE_MAX - ellipsis.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ellipsis}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:00Z"));
        let mut list = Vec::new();
        assert!(set(&mut list, READY, false, "A", "a", Some(1), &early));
        assert!(!set(&mut list, READY, false, "A", "a", Some(1), &late));
        assert!(set(&mut list, READY, false, "B", "b", Some(1), &late));
        assert_eq!(find(&list, READY).unwrap().last_transition_time, early);
        assert!(set(&mut list, READY, true, "B", "b", Some(1), &late));
        assert_eq!(find(&list, READY).unwrap().last_transition_time, late);
        assert!(remove(&mut list, READY));
        assert!(!remove(&mut list, READY));
    }

    #[test]
    fn long_messages_end_at_a_character() {
        for filler in ["a", "é", "語"] {
            let text = truncated(&filler.repeat(2000));
            assert!(text.len() <= MESSAGE_MAX && text.ends_with('…'), "{filler}");
            assert!(text.len() > MESSAGE_MAX - 8, "{filler}");
        }
        assert_eq!(truncated("short"), "short");
    }
}
