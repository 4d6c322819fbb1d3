//! What a template sees: names with texts or further names behind them. It notes which name was
//! asked for last and is not there, for the engine does not tell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

/// The name that was not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missed(Arc<Mutex<Option<String>>>);

impl Missed {
    fn note(&self, name: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    pub(crate) fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// Names, and what is behind them.
pub(crate) struct Scope {
    path: &'static str,
    entries: BTreeMap<String, Value>,
    missed: Missed,
}

impl fmt::Debug for Scope {
    /// Names alone: the values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Scope {
    /// `path` is where it is found, with a dot; empty for the outermost.
    pub(crate) fn new(path: &'static str, missed: &Missed) -> Self {
        Self {
            path,
            entries: BTreeMap::new(),
            missed: missed.clone(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.entries.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn into_value(self) -> Value {
        Value::from_object(self)
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let found = self.entries.get(name).cloned();
        if found.is_none() {
            self.missed.note(format!("{}{name}", self.path));
        }
        found
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.keys().cloned().map(Value::from).collect())
    }
}
