//! Machines in documents and samples: identities that could prove one, and no two objects of
//! one text that claim the same.

use std::path::PathBuf;

use lockstep_crds::identity::{meaningful_serial, meaningful_uuid};
use lockstep_crds::{Dpu, DpuHost, MachineIdentity};
use lockstep_operator::conflicts::{Claimant, Claims};
use lockstep_operator::key::Key;
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use crate::objects::blocks;
use crate::{pages, read, workspace};

/// Every sample, and every YAML block of a document: place and objects.
fn texts() -> Vec<(String, Vec<Value>)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (path, text) in pages() {
        let blocks = blocks(&text).into_iter();
        found.extend(blocks.map(|(line, block)| (format!("{}:{line}", path.display()), block)));
    }
    for entry in std::fs::read_dir(workspace().join("config/samples")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        found.push((path.display().to_string(), read(&path)));
    }
    found
        .into_iter()
        .map(|(place, text)| {
            let objects = serde_yaml::Deserializer::from_str(&text)
                .map(|document| Value::deserialize(document).unwrap())
                .collect();
            (place, objects)
        })
        .collect()
}

/// The objects of this kind.
fn of<K: DeserializeOwned>(kind: &str, objects: &[Value]) -> Vec<K> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .map(|object| serde_json::from_value(object.clone()).unwrap())
        .collect()
}

fn junk(identity: Option<&MachineIdentity>) -> Option<&str> {
    let identity = identity?;
    let uuid = identity.system_uuid.as_deref();
    let serial = identity.serial_number.as_deref();
    uuid.filter(|uuid| meaningful_uuid(uuid).is_none())
        .or_else(|| serial.filter(|serial| meaningful_serial(serial).is_none()))
}

#[test]
fn identities_could_prove_a_machine() {
    let mut shown = 0;
    for (place, objects) in texts() {
        let cards = of::<Dpu>("Dpu", &objects);
        let hosts = of::<DpuHost>("DpuHost", &objects);
        let cards = cards.iter().map(|card| card.spec.identity.as_ref());
        let hosts = hosts.iter().map(|host| host.spec.identity.as_ref());
        for identity in cards.chain(hosts) {
            shown += usize::from(identity.is_some());
            assert_eq!(junk(identity), None, "{place}");
        }
    }
    assert!(shown >= 5, "{shown} identities are shown");
}

#[test]
fn no_two_objects_claim_one_machine() {
    for (place, objects) in texts() {
        let mut claims = Claims::default();
        let mut claimants = Vec::new();
        for card in of::<Dpu>("Dpu", &objects) {
            let key = Key::of(&card);
            claims.card(&key, Some(&card));
            claimants.push(Claimant::Card(key));
        }
        for host in of::<DpuHost>("DpuHost", &objects) {
            let key = Key::of(&host);
            claims.host(&key, Some(&host));
            claimants.push(Claimant::Host(key));
        }
        for claimant in &claimants {
            let conflicts = claims.conflicts(claimant);
            assert!(conflicts.is_empty(), "{place}: {conflicts:?}");
        }
    }
}
