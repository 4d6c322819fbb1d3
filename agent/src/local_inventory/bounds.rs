//! What the schema allows: texts of so many characters, lists of so many entries.

use lockstep_crds::inventory::Unread;
use lockstep_local::Fact;
use lockstep_local::inventory::Listed;

const MOST_UNREAD: usize = 32;
const MOST_CONTRADICTIONS: usize = 16;
const WHY: usize = 256;

/// Characters of a serial number.
pub(crate) const SERIAL: usize = 64;

/// The text within its bound; one that says nothing is none.
pub(super) fn text(text: &str, most: usize) -> Option<String> {
    let cut: String = text.trim().chars().take(most).collect();
    (!cut.is_empty()).then_some(cut)
}

/// The same of a fact, where its absence is told elsewhere or means nothing.
pub(super) fn known_text(fact: &Fact<String>, most: usize) -> Option<String> {
    match fact {
        Fact::Known(known) => text(known, most),
        Fact::NotOffered | Fact::NotRead(_) => None,
    }
}

/// The text whole. One that is longer than its bound is none: cut, two could be one.
pub(super) fn whole(text: &str, most: usize) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= most;
    fits.then(|| text.to_owned())
}

/// The same of a fact.
pub(crate) fn known_whole(fact: &Fact<String>, most: usize) -> Option<String> {
    match fact {
        Fact::Known(known) => whole(known, most),
        Fact::NotOffered | Fact::NotRead(_) => None,
    }
}

/// A number of whatever size. What does not fit is not believed.
pub(super) fn number<N: TryInto<i64>>(number: N) -> Option<i64> {
    number.try_into().ok()
}

/// The same of a fact.
pub(super) fn known_number<N: Copy + TryInto<i64>>(fact: &Fact<N>) -> Option<i64> {
    match fact {
        Fact::Known(known) => number(*known),
        Fact::NotOffered | Fact::NotRead(_) => None,
    }
}

/// Ends a list early; `omitted` were left out before. Tells how many are left out in all.
pub(super) fn end<T>(list: &mut Vec<T>, most: usize, omitted: u32) -> i64 {
    let beyond = list.len().saturating_sub(most);
    list.truncate(most);
    i64::from(omitted).saturating_add(number(beyond).unwrap_or(i64::MAX))
}

/// What contradicts itself, as far as it fits.
pub(super) fn contradictions(conflicts: &Listed<String>) -> Vec<String> {
    let mut list: Vec<String> = conflicts
        .items
        .iter()
        .filter_map(|conflict| text(conflict, WHY))
        .collect();
    if list.len() > MOST_CONTRADICTIONS || conflicts.omitted > 0 {
        let more = end(&mut list, MOST_CONTRADICTIONS - 1, conflicts.omitted);
        list.push(format!("{more} more do not fit"));
    }
    list
}

/// Collects what could have been read and was not.
#[derive(Debug, Default)]
pub(super) struct Unreads(Vec<Unread>);

impl Unreads {
    /// The value, if it is known; why it was not read is kept, once.
    pub(super) fn known<T>(&mut self, group: &str, fact: Fact<T>) -> Option<T> {
        match fact {
            Fact::Known(value) => Some(value),
            Fact::NotOffered => None,
            Fact::NotRead(why) => {
                self.note(group, &why);
                None
            }
        }
    }

    /// Keeps a reason, once.
    pub(super) fn note(&mut self, group: &str, why: &str) {
        let why = text(why, WHY).unwrap_or_default();
        let group = group.to_owned();
        let unread = Unread { group, why };
        if !self.0.contains(&unread) {
            self.0.push(unread);
        }
    }

    /// Keeps the first reason of a group: the others would say the same of other parts.
    pub(super) fn note_first(&mut self, group: &str, why: &str) {
        if !self.0.iter().any(|unread| unread.group == group) {
            self.note(group, why);
        }
    }

    pub(super) fn into_list(mut self) -> Vec<Unread> {
        if self.0.len() > MOST_UNREAD {
            let more = end(&mut self.0, MOST_UNREAD - 1, 0);
            self.0.push(Unread {
                group: "unread".to_owned(),
                why: format!("{more} more reasons do not fit"),
            });
        }
        self.0
    }
}
