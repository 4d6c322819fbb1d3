//! Systems that a BMC lists and that could not be read. Pure.
//!
//! One that is listed is there. Which machine it is was not seen: the one that was at its path, or
//! where that is known of nobody, any that was not shown and in whose place no other is. Nothing is
//! concluded about those: they are neither shown nor missing, and the endpoint is read again soon.

use std::collections::BTreeSet;

use lockstep_redfish::{ExploredSystem, UnreadSystem};

use crate::site::discovery::catalogue::{Catalogue, Machine};

/// The paths that a BMC listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    read: BTreeSet<String>,
    unread: BTreeSet<String>,
}

impl Listed {
    pub(super) fn new(read: &[ExploredSystem], unread: &[UnreadSystem]) -> Self {
        let read = read.iter().map(|one| &one.identity.system_path);
        let unread = unread.iter().map(|one| &one.path);
        Self {
            read: read.map(|path| trimmed(path)).collect(),
            unread: unread.map(|path| trimmed(path)).collect(),
        }
    }

    /// Whether something that is listed was not read.
    pub(super) fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }
}

impl Catalogue {
    /// The machines of an endpoint that it did not show and may list all the same.
    pub(super) fn unread(
        &self,
        key: &str,
        shown: &BTreeSet<String>,
        listed: &Listed,
    ) -> BTreeSet<String> {
        if !listed.is_partial() {
            return BTreeSet::new();
        }
        let held = self.machines.iter();
        let held = held.filter(|(_, machine)| machine.holder == key);
        let (here, not_shown): (Vec<_>, Vec<_>) = held
            .map(|(id, machine)| (id, path(machine)))
            .partition(|(id, _)| shown.contains(*id));
        let stood_at = |machines: &[(&String, Option<String>)], at: &String| {
            machines.iter().any(|(_, path)| path.as_ref() == Some(at))
        };
        let mut unread = listed.unread.iter();
        let may_be_any = !unread.clone().all(|path| stood_at(&not_shown, path));
        let are_renumbered = unread.any(|path| stood_at(&here, path));
        let is_unread = |path: &Option<String>| match path {
            Some(path) if listed.unread.contains(path) => true,
            Some(path) => may_be_any && (are_renumbered || !listed.read.contains(path)),
            None => may_be_any,
        };
        let unread = not_shown.iter().filter(|(_, path)| is_unread(path));
        unread.map(|(id, _)| (*id).clone()).collect()
    }
}

/// Where the machine was when it was shown; `None`: its BMC served no other.
fn path(machine: &Machine) -> Option<String> {
    let found = machine.spec.found.as_ref()?;
    found.endpoint.system_path.as_deref().map(trimmed)
}

fn trimmed(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}
