//! The three states of a fact.

use std::fmt;

use lockstep_crds::identity::{meaningful, meaningful_serial};
use serde::{Deserialize, Serialize};

/// One fact about the machine, or why there is none.
///
/// The two ways of not knowing differ in what follows from them: what is
/// [`NotOffered`](Fact::NotOffered) has a stated substitute, what is
/// [`NotRead`](Fact::NotRead) may be there at the next reading.
///
/// In JSON: `{"known": …}`, `"notOffered"`, `{"notRead": "why"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact<T> {
    /// Read just now.
    Known(T),
    /// This machine can never tell.
    NotOffered,
    /// It could tell, but this reading failed; the text says what and why.
    NotRead(String),
}

impl<T> Fact<T> {
    /// The value, when known.
    pub fn known(self) -> Option<T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::NotOffered | Fact::NotRead(_) => None,
        }
    }

    /// Whether there is a value.
    pub fn is_known(&self) -> bool {
        matches!(self, Fact::Known(_))
    }

    /// A borrowed view.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Fact::Known(value) => Fact::Known(value),
            Fact::NotOffered => Fact::NotOffered,
            Fact::NotRead(reason) => Fact::NotRead(reason.clone()),
        }
    }

    /// The same state with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        self.and_then(|value| Fact::Known(change(value)))
    }

    /// What stands in where this is not offered; the other states stay as they are.
    pub fn substitute(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Fact::NotOffered => other(),
            Fact::Known(_) | Fact::NotRead(_) => self,
        }
    }

    /// Looks closer at a known value; the other states stay as they are.
    pub fn and_then<U>(self, look: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Fact::Known(value) => look(value),
            Fact::NotOffered => Fact::NotOffered,
            Fact::NotRead(reason) => Fact::NotRead(reason),
        }
    }
}

/// A text that describes; junk is as good as not offered.
pub(crate) fn meaningful_fact(text: &str) -> Fact<String> {
    meaningful(text).map_or(Fact::NotOffered, |text| Fact::Known(text.to_owned()))
}

/// A serial number; junk is as good as not offered.
pub(crate) fn serial_fact(text: &str) -> Fact<String> {
    meaningful_serial(text).map_or(Fact::NotOffered, |text| Fact::Known(text.to_owned()))
}

impl<T: fmt::Display> fmt::Display for Fact<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Known(value) => value.fmt(f),
            Fact::NotOffered => f.write_str("not offered"),
            Fact::NotRead(reason) => write!(f, "not read: {reason}"),
        }
    }
}
