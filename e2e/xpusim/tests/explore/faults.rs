//! What BMCs do wrong hides nothing else, changes nothing and ends.

use std::time::Instant;

use lockstep_redfish::MOST_REQUESTS;
use lockstep_xpusim::fault::Layer;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_document_fault_hides_what_is_right_or_makes_it_change_anything() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let faults = Fault::ALL
        .iter()
        .filter(|one| one.about().layer == Layer::Document);
    // Where the system itself is not to be found there is nothing to tell.
    let of_everything = ["huge-collection", "null-members", "wrong-types"];
    let mut asked = BTreeMap::new();
    for fault in faults {
        for name in ["bluefield-3", "dell-host", "generic-dpu"] {
            let before = fleet.requests(name).unwrap().total;
            // Below the system and its chassis, where the inventory is.
            let everywhere = !of_everything.contains(&fault.about().name);
            let path = (!everywhere).then(|| "/Memory".to_owned());
            let rule = Rule {
                path,
                ..Rule::always(*fault)
            };
            fleet.switch_on(name, rule).unwrap();
            let found = explore(&fleet, &server, name).await;
            fleet.switch_off(name, *fault).unwrap();
            let state = fleet.state(name).unwrap();
            let hardware = &personality::find(name).unwrap().hardware;
            let serial = found
                .inventory
                .system
                .as_ref()
                .unwrap()
                .serial_number
                .clone();
            let hidden = matches!(fault, Fault::JunkIdentity | Fault::EmptyStrings);
            assert_eq!(
                serial,
                (!hidden).then_some(state.serial),
                "{fault} on {name}"
            );
            let cores = found.inventory.cpu.as_ref().and_then(|cpu| cpu.cores);
            assert_eq!(cores, Some(i64::from(hardware.cores)), "{fault} on {name}");
            let memory = found
                .inventory
                .memory
                .as_ref()
                .and_then(|one| one.total_bytes);
            assert_eq!(
                memory,
                Some(i64::from(hardware.memory.0) << 30),
                "{fault} on {name}"
            );
            assert_eq!(
                found.inventory.disks.unwrap().disks.len(),
                hardware.disks.len()
            );
            let count = fleet.requests(name).unwrap().total - before;
            let most = asked.entry(fault.about().name).or_insert(0);
            *most = count.max(*most);
            assert!(changing(&fleet, name).is_empty(), "{fault} on {name}");
            assert!(effects(&fleet, name).is_empty(), "{fault} on {name}");
        }
    }
    println!("most requests by fault: {asked:?}");
    let most = asked.values().max().unwrap();
    assert!(*most <= u64::from(MOST_REQUESTS), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_everywhere_end_in_an_error_or_in_what_is_left() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "generic-host";
    for fault in [Fault::HugeCollection, Fault::NullMembers, Fault::WrongTypes] {
        let before = fleet.requests(name).unwrap().total;
        fleet.switch_on(name, Rule::always(fault)).unwrap();
        let found = redfish()
            .explore(&endpoint(&server, name), &credentials(&fleet, name))
            .await;
        fleet.switch_off(name, fault).unwrap();
        if let Err(error) = found {
            assert!(!error.remedy().is_empty(), "{fault}: {error}");
        }
        let asked = fleet.requests(name).unwrap().total - before;
        assert!(asked <= u64::from(MOST_REQUESTS), "{fault}: {asked}");
        assert!(effects(&fleet, name).is_empty(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_hangs_or_fails_is_named_and_the_rest_is_read() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "bluefield-3";
    for (fault, status) in [
        (Fault::Hang, None),
        (Fault::AnswerStatus, Some(500)),
        (Fault::Garbage, None),
    ] {
        let rule = Rule {
            path: Some("/SecureBoot".to_owned()),
            status,
            ..Rule::always(fault)
        };
        fleet.switch_on(name, rule).unwrap();
        let began = Instant::now();
        let found = explore(&fleet, &server, name).await;
        assert!(began.elapsed() < Duration::from_secs(30), "{fault}");
        fleet.switch_off(name, fault).unwrap();
        assert!(found.inventory.secure_boot.is_none(), "{fault}");
        let record = found.inventory.capabilities.unwrap();
        assert_eq!(record.secure_boot.offer.as_str(), "NotRead", "{fault}");
        let unread: Vec<_> = found
            .inventory
            .unread
            .iter()
            .map(|one| one.group.as_str())
            .collect();
        assert_eq!(unread, ["capabilities", "secureBoot"], "{fault}");
        assert!(
            found
                .inventory
                .unread
                .iter()
                .all(|one| one.why.contains("SecureBoot"))
        );
        assert!(found.inventory.firmware.is_some() && found.inventory.memory.is_some());
    }
    // The one that stalls in the field is not even asked.
    let asked = fleet.requests(name).unwrap().by_path;
    assert!(
        asked
            .keys()
            .all(|path| !path.contains("Chassis/Bluefield_ERoT")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bmc_that_falls_silent_is_left_alone_after_a_few_tries() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "lenovo-host";
    // Everything below the system, but not the system itself.
    for part in ["Systems/1/", "Managers", "Chassis", "UpdateService"] {
        let rule = Rule {
            path: Some(part.to_owned()),
            ..Rule::always(Fault::Hang)
        };
        fleet.switch_on(name, rule).unwrap();
    }
    let began = Instant::now();
    let found = explore(&fleet, &server, name).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(found.role.as_str(), "Host");
    assert_eq!(
        found.identity.serial_number,
        Some(fleet.state(name).unwrap().serial)
    );
    let whys: Vec<_> = found
        .inventory
        .unread
        .into_iter()
        .map(|one| one.why)
        .collect();
    assert!(
        whys.iter()
            .any(|why| why.contains("left 4 reads unanswered")),
        "{whys:?}"
    );
}
