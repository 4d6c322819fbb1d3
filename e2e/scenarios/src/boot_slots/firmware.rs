//! What a card's firmware would boot, by its own variables, as another tool than ours prints them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lockstep_lab::Machine;

/// The variables that decide what is booted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Firmware {
    /// Names of the entries by the numbers in their order, without those that are there no more.
    pub(super) order: Vec<String>,
    /// Name of the entry of the next boot alone.
    pub(super) next: Option<String>,
}

impl Firmware {
    pub(super) fn of(machine: &Machine) -> Result<Self> {
        Self::printed(&machine.boot_variables()?)
    }

    fn printed(text: &str) -> Result<Self> {
        let mut names = BTreeMap::new();
        let mut lists = BTreeMap::new();
        for line in text.lines() {
            let Some((variable, value)) = line.split_once(':') else {
                continue;
            };
            let (variable, value) = (variable.trim(), value.trim());
            if let Some(list) = value.strip_prefix("boot order:") {
                let numbers = list.split(',').map(|one| one.trim().to_uppercase());
                lists.insert(variable, numbers.collect::<Vec<_>>());
            }
            let Some(title) = value.strip_prefix("boot entry: title=\"") else {
                continue;
            };
            let (title, _) = title.split_once('"').context("a title without end")?;
            let number = variable.trim_start_matches("Boot").to_uppercase();
            names.insert(number, title.to_owned());
        }
        ensure!(
            lists.contains_key("BootOrder"),
            "no boot order is printed: {text}"
        );
        let named = |list: &str| -> Vec<String> {
            let numbers = lists.get(list).into_iter().flatten();
            numbers.filter_map(|one| names.get(one).cloned()).collect()
        };
        Ok(Self {
            order: named("BootOrder"),
            next: named("BootNext").pop(),
        })
    }

    /// The order of the entries of slots, and whether the first of them is the first of all.
    pub(super) fn slots(&self) -> (Vec<&str>, bool) {
        let slots = self.order.iter().filter(|one| one.starts_with("Card OS"));
        let slots: Vec<&str> = slots.map(String::as_str).collect();
        let leads = self.order.first().map(String::as_str) == slots.first().copied();
        (slots, leads && !self.order.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_told_by_names() {
        let text = "\
Boot0000            : boot entry: title=\"UiApp\" devpath=FvName(1)/FvFileName(2)
Boot0A0A            : boot entry: title=\"Card OS A\" devpath=Partition(nr=1)/FilePath(\\EFI\\X.EFI)
Boot0B0B            : boot entry: title=\"Card OS B\" devpath=Partition(nr=2)
BootNext            : boot order: 0a0a
BootOrder           : boot order: 0b0b, 0a0a, 0000, 0009
Lang                : ascii: \"eng\"
";
        let found = Firmware::printed(text).unwrap();
        assert_eq!(found.order, ["Card OS B", "Card OS A", "UiApp"]);
        assert_eq!(found.next.as_deref(), Some("Card OS A"));
        assert_eq!(found.slots(), (vec!["Card OS B", "Card OS A"], true));
        let behind = Firmware {
            order: vec!["UiApp".to_owned(), "Card OS A".to_owned()],
            next: None,
        };
        assert_eq!(behind.slots(), (vec!["Card OS A"], false));
        assert!(Firmware::printed("Lang : ascii: \"eng\"").is_err());
    }
}
