//! The name of a machine, made of what identifies it. Pure.

use lockstep_crds::identity::{meaningful_serial, meaningful_uuid};
use lockstep_crds::{MachineIdentity, names};
use lockstep_redfish::SystemIdentity;
use sha2::{Digest, Sha256};

/// The id of a machine: 20 hexadecimal digits. `None` if it shows nothing that tells it from
/// others; placeholders never do.
///
/// The system UUID counts; where there is none, serial number with maker; where there is no
/// serial number either, the UUID of the Redfish service with the path of the system.
pub(super) fn id_of(identity: &SystemIdentity) -> Option<String> {
    let text = if let Some(uuid) = uuid(identity.system_uuid.as_deref()) {
        format!("uuid {}", digits(&uuid))
    } else if let Some(serial) = serial(identity) {
        let maker = identity.manufacturer.as_deref().unwrap_or_default();
        format!("serial {} {serial}", maker.trim().to_lowercase())
    } else {
        let service = uuid(identity.service_uuid.as_deref())?;
        format!("service {} {}", digits(&service), identity.system_path)
    };
    let mut id = hex::encode(Sha256::digest(text));
    id.truncate(20);
    Some(id)
}

/// The id of the machine of which a report of that name tells.
pub(super) fn id_in(report: &str) -> Option<&str> {
    report.strip_prefix(names::found_bmc("").as_str())
}

/// What an object of this machine would give as its identity.
pub(super) fn machine(identity: &SystemIdentity) -> Option<MachineIdentity> {
    let machine = MachineIdentity {
        system_uuid: uuid(identity.system_uuid.as_deref()),
        serial_number: serial(identity)
            .filter(|serial| serial.chars().count() <= 64)
            .map(str::to_owned),
    };
    (machine != MachineIdentity::default()).then_some(machine)
}

fn uuid(value: Option<&str>) -> Option<String> {
    meaningful_uuid(value?)
}

/// Names were made without the dashes, and must stay.
fn digits(uuid: &str) -> String {
    uuid.replace('-', "")
}

fn serial(identity: &SystemIdentity) -> Option<&str> {
    meaningful_serial(identity.serial_number.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";

    fn identity(uuid: &str, maker: &str, serial: &str, service: &str) -> SystemIdentity {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        SystemIdentity {
            system_uuid: some(uuid),
            manufacturer: some(maker),
            serial_number: some(serial),
            service_uuid: some(service),
            system_path: "/redfish/v1/Systems/1".to_owned(),
            ..SystemIdentity::default()
        }
    }

    #[test]
    fn the_strongest_identity_counts_whatever_its_spelling() {
        let id = id_of(&identity(UUID, "NVIDIA", "MT1", "")).unwrap();
        assert_eq!(id.len(), 20);
        let shouted = UUID.replace('-', "").to_uppercase();
        assert_eq!(id_of(&identity(&shouted, "", "", "")), Some(id.clone()));
        let by_serial = id_of(&identity("", " NVIDIA ", " MT1 ", UUID)).unwrap();
        assert_ne!(by_serial, id);
        assert_eq!(
            id_of(&identity("", "nvidia", "MT1", "")),
            Some(by_serial.clone())
        );
        assert_ne!(id_of(&identity("", "Intel", "MT1", "")), Some(by_serial));
        let by_service = id_of(&identity("", "", "", UUID)).unwrap();
        let mut other = identity("", "", "", UUID);
        other.system_path = "/redfish/v1/Systems/2".to_owned();
        assert_ne!(id_of(&other), Some(by_service));
    }

    #[test]
    fn junk_names_nothing() {
        let zero = "00000000-0000-0000-0000-000000000000";
        let junk = identity(zero, "Maker", "To be filled by O.E.M.", zero);
        assert_eq!(id_of(&junk), None);
        assert_eq!(machine(&junk), None);
        let half = identity(zero, "Maker", "A17", "");
        let told = machine(&half).unwrap();
        assert_eq!(
            (told.system_uuid, told.serial_number.as_deref()),
            (None, Some("A17"))
        );
        assert_eq!(
            machine(&identity(&UUID.to_uppercase(), "", "", ""))
                .unwrap()
                .system_uuid
                .as_deref(),
            Some(UUID)
        );
    }

    proptest! {
        #[test]
        fn different_serials_are_different_machines(one in "[A-Z]{3}[0-9]{5}", other in "[A-Z]{3}[0-9]{5}") {
            let id = |serial: &str| id_of(&identity("", "Maker", serial, ""));
            prop_assert_eq!(id(&one) == id(&other), one == other);
        }
    }
}
