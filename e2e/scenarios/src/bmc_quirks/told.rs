//! What an exploration told of a machine, group by group: with the faults, and without them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use lockstep_redfish::{Explored, ExploredSystem};
use serde_json::{Value, json};

/// What was told of the one machine behind a BMC.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    /// Of each group of the inventory, and of what it was recognised by.
    groups: BTreeMap<String, Value>,
    /// The groups that could not be read, and why.
    unread: BTreeMap<String, String>,
}

impl Told {
    /// Of an exploration that found one machine.
    pub(super) fn of(explored: &Explored) -> Result<Self> {
        ensure!(
            explored.unread.is_empty(),
            "a system is unread: {:?}",
            explored.unread
        );
        let [one] = explored.systems.as_slice() else {
            anyhow::bail!("{} machines instead of one", explored.systems.len());
        };
        Self::of_machine(one)
    }

    fn of_machine(one: &ExploredSystem) -> Result<Self> {
        let inventory = serde_json::to_value(&one.inventory)?;
        let inventory = inventory.as_object().context("an inventory")?.clone();
        let mut groups: BTreeMap<String, Value> = inventory.into_iter().collect();
        groups.remove("unread");
        // When it was read is another matter each time.
        if let Some(record) = groups
            .get_mut("capabilities")
            .and_then(Value::as_object_mut)
        {
            record.remove("probedAt");
        }
        let identity = format!("{:?}", one.identity);
        groups.insert("identity".to_owned(), identity.into());
        groups.insert("role".to_owned(), json!([one.role, one.recognised_by]));
        groups.insert("now".to_owned(), serde_json::to_value(&one.bmc)?);
        let unread = one.inventory.unread.iter();
        Ok(Self {
            groups,
            unread: unread
                .map(|one| (one.group.clone(), one.why.clone()))
                .collect(),
        })
    }

    /// Nothing is unread but `unread`, and nothing is told otherwise than without the faults but
    /// `otherwise`.
    pub(super) fn check(&self, clean: &Self, unread: &[&str], otherwise: &[&str]) -> Result<()> {
        ensure!(
            clean.unread.is_empty(),
            "without the faults something is unread: {:?}",
            clean.unread
        );
        let names: BTreeSet<&String> = self.groups.keys().chain(clean.groups.keys()).collect();
        let differ: Vec<&str> = names
            .into_iter()
            .filter(|name| self.groups.get(*name) != clean.groups.get(*name))
            .map(String::as_str)
            .collect();
        let missing: Vec<&str> = self.unread.keys().map(String::as_str).collect();
        let changes: Vec<String> = differ
            .iter()
            .map(|name| {
                format!(
                    "{name}: {} instead of {}",
                    self.groups.get(*name).unwrap_or(&Value::Null),
                    clean.groups.get(*name).unwrap_or(&Value::Null)
                )
            })
            .collect();
        ensure!(
            missing == unread && differ == otherwise,
            "unread {missing:?} {:?}, told otherwise {differ:?}: {}",
            self.unread,
            changes.join("; ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(groups: &[(&str, i64)], unread: &[&str]) -> Told {
        let groups = groups.iter();
        let unread = unread.iter();
        Told {
            groups: groups
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect(),
            unread: unread
                .map(|name| ((*name).to_owned(), "500".to_owned()))
                .collect(),
        }
    }

    #[test]
    fn what_is_missing_or_told_otherwise_must_be_what_is_expected() {
        let clean = told(&[("cpu", 1), ("memory", 2)], &[]);
        let found = told(&[("cpu", 7)], &["memory"]);
        assert!(clean.check(&clean, &[], &[]).is_ok());
        assert!(found.check(&clean, &["memory"], &["cpu", "memory"]).is_ok());
        assert!(found.check(&clean, &["memory"], &["memory"]).is_err());
        assert!(found.check(&clean, &[], &["cpu", "memory"]).is_err());
        assert!(clean.check(&clean, &["memory"], &[]).is_err());
        assert!(clean.check(&found, &[], &["cpu", "memory"]).is_err());
    }
}
