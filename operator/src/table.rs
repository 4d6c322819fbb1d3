//! `Table`: what has been seen of one kind, unreadable objects included.
//!
//! An object that this release cannot parse must not break the watch of the
//! others, and must not look as if it did not exist either: a plan made without
//! it could undo what it asks for.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;
use std::sync::Arc;

use crate::key::Key;

/// One object as the watch delivered it.
#[derive(Debug)]
pub enum Entry<K> {
    /// It could be read.
    Readable(Arc<K>),
    /// It could not, and why.
    Unreadable(Arc<str>),
}

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Readable(object) => Self::Readable(Arc::clone(object)),
            Self::Unreadable(error) => Self::Unreadable(Arc::clone(error)),
        }
    }
}

impl<K> Entry<K> {
    /// The object to keep, if it could be read.
    pub fn shared(&self) -> Option<Arc<K>> {
        match self {
            Self::Readable(object) => Some(Arc::clone(object)),
            Self::Unreadable(_) => None,
        }
    }

    /// The object, if it could be read.
    pub fn readable(&self) -> Option<&K> {
        match self {
            Self::Readable(object) => Some(object),
            Self::Unreadable(_) => None,
        }
    }
}

/// Everything seen of one kind.
#[derive(Debug)]
pub struct Table<K> {
    entries: BTreeMap<Key, Entry<K>>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<K> Table<K> {
    /// What is known under that key.
    pub fn entry(&self, key: &Key) -> Option<&Entry<K>> {
        self.entries.get(key)
    }

    /// The object, if it exists and could be read.
    pub fn get(&self, key: &Key) -> Option<&K> {
        self.entries.get(key).and_then(Entry::readable)
    }

    /// Whether an object of that key exists, readable or not.
    pub fn exists(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Puts or, with `None`, removes an object; returns what was there.
    pub fn set(&mut self, key: &Key, entry: Option<Entry<K>>) -> Option<Entry<K>> {
        match entry {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(key),
        }
    }

    /// All entries of one namespace.
    pub fn within<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry<K>)> {
        let from = Key::new(namespace, "");
        let range: Range<'a, Key, Entry<K>> = self
            .entries
            .range((Bound::Included(from), Bound::Unbounded));
        range.take_while(move |(key, _)| key.namespace == namespace)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry<K>)> {
        self.entries.iter()
    }

    /// The keys of a namespace, or of all of them.
    pub fn keys(&self, namespace: Option<&str>) -> Vec<Key> {
        match namespace {
            Some(namespace) => self.within(namespace).map(|(key, _)| key.clone()).collect(),
            None => self.entries.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<u8> {
        let mut table = Table::default();
        for (namespace, name) in [("a", "x"), ("a-b", "y"), ("b", "x"), ("b", "z")] {
            table.set(
                &Key::new(namespace, name),
                Some(Entry::Readable(Arc::new(1))),
            );
        }
        table
    }

    #[test]
    fn a_namespace_holds_only_its_own() {
        let keys = table().keys(Some("a"));
        assert_eq!(keys, [Key::new("a", "x")]);
        assert_eq!(table().keys(Some("b")).len(), 2);
        assert_eq!(table().keys(None).len(), 4);
    }

    #[test]
    fn unreadable_exists_and_cannot_be_had() {
        let mut table = table();
        let key = Key::new("a", "bad");
        table.set(&key, Some(Entry::Unreadable("why".into())));
        assert!(table.exists(&key));
        assert!(table.get(&key).is_none());
    }
}
