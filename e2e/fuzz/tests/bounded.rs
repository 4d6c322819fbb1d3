//! Every target with a bounded number of inputs, the same in every run.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use lockstep_fuzz::{ALL, Target, find};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A sample with some of its bytes changed, cut off or repeated; or any bytes.
fn inputs(target: &Target) -> impl Strategy<Value = Vec<u8>> + use<> {
    let samples = (target.samples)();
    let bent = (
        prop::sample::select(samples),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        prop::collection::vec(any::<u8>(), 0..60),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut bytes, edits, tail, cut)| {
            bytes.extend(tail);
            for (place, byte) in edits {
                if !bytes.is_empty() {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
            }
            // One in a few is cut off.
            let length = cut.index(bytes.len() * 4 + 1);
            bytes.truncate(length);
            bytes
        });
    prop_oneof![4 => bent, 1 => prop::collection::vec(any::<u8>(), 0..400)]
}

fn try_out(name: &str) {
    let target = find(name).unwrap();
    for sample in (target.samples)() {
        (target.run)(&sample);
    }
    let config = Config {
        cases: target.tries,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seeded);
    let tried = runner.run(&inputs(target), |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{name}: {error}");
    }
}

#[test]
fn vital_product_data() {
    try_out("vpd");
}

#[test]
fn smbios_tables() {
    try_out("smbios");
}

#[test]
fn what_pci_functions_say() {
    try_out("pci");
}

#[test]
fn files_of_pci_functions() {
    try_out("sysfs");
}

#[test]
fn redfish_documents() {
    try_out("redfish");
}

#[test]
fn signatures_of_images() {
    try_out("dsse");
}

#[test]
fn what_stands_beside_artefacts() {
    try_out("cosign");
}

#[test]
fn every_target_is_tried_above() {
    let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    assert_eq!(
        names,
        ["vpd", "smbios", "pci", "sysfs", "redfish", "dsse", "cosign"]
    );
}
