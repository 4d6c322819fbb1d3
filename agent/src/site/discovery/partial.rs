//! Systems that a BMC lists and that could not be read. Pure.
//!
//! One that is listed is there. Which machine it is was not seen: the one that was at its path, or
//! where that is known of nobody, any that was not shown and in whose place no other is. Nothing is
//! concluded about those but that they are out of sight: they are neither shown nor missing, and the
//! endpoint is read again soon. The same holds of a system that shows nothing to tell it by.

use std::collections::BTreeSet;

use lockstep_redfish::{Explored, SystemIdentity};

use crate::site::discovery::catalogue::{Catalogue, Machine};
use crate::site::discovery::identity::id_of;

/// The machines behind an endpoint that was read.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// Those that it showed.
    pub(super) shown: BTreeSet<String>,
    /// Those of which it has the reports, that it did not show and may list all the same.
    pub(super) unread: BTreeSet<String>,
    /// Whether something that it lists was not read.
    pub(super) is_partial: bool,
}

impl Here {
    /// All of them.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.shown.union(&self.unread).cloned().collect()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.shown.contains(id) || self.unread.contains(id)
    }
}

/// The paths that a BMC listed.
#[derive(Debug)]
struct Listed {
    read: BTreeSet<String>,
    unread: BTreeSet<String>,
}

impl Catalogue {
    /// The machines behind an endpoint that was read.
    pub(super) fn here(&self, key: &str, explored: &Explored) -> Here {
        let systems = explored.systems.iter().map(|one| &one.identity);
        // Which machine it is that shows nothing to tell it by was not seen either.
        let (named, nameless): (Vec<_>, Vec<_>) =
            systems.partition(|identity| id_of(identity).is_some());
        let shown = named.iter().filter_map(|identity| id_of(identity));
        let shown: BTreeSet<String> = shown.collect();
        let at = |identity: &&SystemIdentity| trimmed(&identity.system_path);
        let unread = explored.unread.iter().map(|one| trimmed(&one.path));
        let listed = Listed {
            read: named.iter().map(at).collect(),
            unread: unread.chain(nameless.iter().map(at)).collect(),
        };
        Here {
            unread: self.unread(key, &shown, &listed),
            is_partial: !explored.unread.is_empty(),
            shown,
        }
    }

    /// The machines of an endpoint that it did not show and may list all the same.
    fn unread(&self, key: &str, shown: &BTreeSet<String>, listed: &Listed) -> BTreeSet<String> {
        if listed.unread.is_empty() {
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
