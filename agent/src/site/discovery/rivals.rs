//! Other endpoints that show the identity of a machine. Pure.

use std::collections::BTreeSet;

use crate::site::discovery::catalogue::Catalogue;
use crate::site::discovery::found;

impl Catalogue {
    /// The endpoint shows these machines and no others.
    pub(super) fn end_rivalries(&mut self, key: &str, shown: &BTreeSet<String>) {
        for id in self.also_at(key) {
            let machine = self.machines.get_mut(&id).filter(|_| !shown.contains(&id));
            if machine.is_some_and(|one| found::end_alias(&mut one.spec, key)) {
                self.changed.insert(id);
            }
        }
        for id in self.rivalled_by(key) {
            if !shown.contains(&id) {
                self.end_rival(&id, key);
            }
        }
    }

    /// Machines whose BMC was seen at this address, too.
    pub(super) fn also_at(&self, key: &str) -> Vec<String> {
        self.ids_where(|one| found::aliases(&one.spec).iter().any(|other| other == key))
    }

    pub(super) fn rivalled_by(&self, key: &str) -> Vec<String> {
        self.ids_where(|machine| machine.rivals.contains_key(key))
    }

    pub(super) fn end_rival(&mut self, id: &str, key: &str) {
        let ended = self
            .machines
            .get_mut(id)
            .and_then(|machine| machine.rivals.remove(key));
        if ended.is_some_and(|rival| rival.certain) {
            self.tell_rivals(id);
        }
    }

    pub(super) fn tell_rivals(&mut self, id: &str) {
        let Some(machine) = self.machines.get_mut(id) else {
            return;
        };
        let certain = machine.rivals.iter().filter(|(_, rival)| rival.certain);
        let keys: Vec<&str> = certain.map(|(key, _)| key.as_str()).collect();
        if found::tell_rivals(&mut machine.spec, &machine.holder, &keys) {
            self.changed.insert(id.to_owned());
        }
    }
}
