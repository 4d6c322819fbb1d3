//! What one BMC shows of an emulator that serves many systems.

use serde_json::Value;

/// Collections whose members are named by system UUID.
const COLLECTIONS: [&str; 2] = ["Systems", "Managers"];

/// The system a path belongs to, if it belongs to one.
fn owner(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if (parts.next()?, parts.next()?) != ("redfish", "v1") {
        return None;
    }
    if COLLECTIONS.contains(&parts.next()?) {
        parts.next()
    } else {
        None
    }
}

/// Whether this path may be asked from the BMC of `system`. The emulator also takes names for
/// identifiers; a BMC of one system does not.
pub(super) fn allows(path: &str, system: &str) -> bool {
    owner(path).is_none_or(|owner| owner.eq_ignore_ascii_case(system))
}

/// Removes links to other systems from lists anywhere in a document, and corrects their counts.
pub(super) fn narrow(document: &mut Value, system: &str) {
    match document {
        Value::Object(fields) => {
            let mut counts = Vec::new();
            for (name, value) in fields.iter_mut() {
                if let Value::Array(items) = value {
                    let before = items.len();
                    items.retain(|item| {
                        item.get("@odata.id")
                            .and_then(Value::as_str)
                            .is_none_or(|link| allows(link, system))
                    });
                    if items.len() != before {
                        counts.push((format!("{name}@odata.count"), items.len()));
                    }
                }
                narrow(value, system);
            }
            for (name, count) in counts {
                if let Some(value) = fields.get_mut(&name) {
                    *value = count.into();
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| narrow(item, system)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_own_system_may_be_asked() {
        for path in [
            "/redfish/v1",
            "/redfish/v1/Systems",
            "/redfish/v1/Systems/",
            "/redfish/v1/Systems/AA-1/BIOS",
            "/redfish/v1/Managers/aa-1?$expand=.",
            "/redfish/v1/Chassis/other",
        ] {
            assert!(allows(path, "aa-1"), "{path}");
        }
        for path in [
            "/redfish/v1/Systems/bb-2",
            "//redfish//v1/Systems/bb-2/Actions/ComputerSystem.Reset",
            "/redfish/v1/Managers/name",
        ] {
            assert!(!allows(path, "aa-1"), "{path}");
        }
    }

    #[test]
    fn members_and_counts_are_narrowed() {
        let mut document = json!({
            "Members@odata.count": 2,
            "Members": [
                {"@odata.id": "/redfish/v1/Systems/aa-1"},
                {"@odata.id": "/redfish/v1/Systems/bb-2"},
            ],
            "Links": {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/bb-2"}]},
        });
        narrow(&mut document, "aa-1");
        assert_eq!(
            document,
            json!({
                "Members@odata.count": 1,
                "Members": [{"@odata.id": "/redfish/v1/Systems/aa-1"}],
                "Links": {"ManagedBy": []},
            })
        );
    }
}
