//! `lockstep-agent inventory`: what this machine tells of itself, for a person to look at.

use std::path::Path;
use std::time::Duration;

use lockstep_local::Root;
use lockstep_local::inventory::Inventory;
use lockstep_local::netlink::Told;

/// How long an rshim that does not answer is waited for.
const RSHIM_PATIENCE: Duration = Duration::from_secs(5);

/// The inventory of the machine under `root` as JSON. Nothing is written, nothing is sent
/// anywhere. The kernel is asked only about the machine that it runs.
///
/// # Errors
/// If it cannot be expressed in JSON, which would be a defect of this build.
pub fn of(root: &Path) -> serde_json::Result<String> {
    let told = Told::of(root);
    let inventory = Inventory::read(&Root::new(root), &told, RSHIM_PATIENCE);
    serde_json::to_string_pretty(&inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_root_is_an_inventory_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let text = of(root.path()).unwrap();
        let read: Inventory = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string_pretty(&read).unwrap(), text);
        assert!(text.contains("netlink was not asked"), "{text}");
    }
}
