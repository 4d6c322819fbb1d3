//! Slots found, and laid over.

use super::*;
use proptest::prelude::*;
use std::io::Write;

fn slot_bytes(len: usize) -> Vec<u8> {
    let mut slot = format!("LOCKSTEP-SEED-SLOT-V1 {len}\n").into_bytes();
    slot.resize(len, b' ');
    slot
}

fn file_slot_bytes(name: &str, len: usize) -> Vec<u8> {
    let mut slot = format!("LOCKSTEP-FILE-SLOT-V1 {name} {len}\n").into_bytes();
    slot.resize(len, b'\n');
    slot
}

fn scan(bytes: &[u8]) -> SlotScan {
    slots(bytes).seed
}

fn slots(bytes: &[u8]) -> Slots {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let examined = examine(&file).unwrap();
    assert_eq!(examined.digest, Digest::of(bytes));
    assert_eq!(examined.size, bytes.len() as u64);
    examined.slots
}

#[test]
fn finds_a_slot_across_the_read_border() {
    for before in [
        0,
        1,
        CHUNK - 30,
        CHUNK - 22,
        CHUNK - 21,
        CHUNK - 1,
        CHUNK,
        2 * CHUNK - 5,
    ] {
        let mut image = vec![7; before];
        image.extend(slot_bytes(512));
        image.extend([7; 100]);
        let slot = SeedSlot {
            offset: before as u64,
            len: 512,
        };
        assert_eq!(scan(&image), SlotScan::One(slot), "{before}");
    }
}

#[test]
fn mentions_of_the_marker_are_no_slots() {
    let mut unpadded = slot_bytes(64);
    unpadded[63] = b'x';
    let mut cut = slot_bytes(4096);
    cut.truncate(4095);
    for image in [
        b"LOCKSTEP-SEED-SLOT-V1 ".to_vec(),
        b"LOCKSTEP-SEED-SLOT-V1 \n".to_vec(),
        b"LOCKSTEP-SEED-SLOT-V1 +64\n".to_vec(),
        b"LOCKSTEP-SEED-SLOT-V1 5\n".to_vec(),
        b"LOCKSTEP-SEED-SLOT-V1 99999999999999999999999\n".to_vec(),
        b"LOCKSTEP-SEED-SLOT-V1 18446744073709551615\n".to_vec(),
        unpadded,
        cut,
        vec![],
    ] {
        assert_eq!(
            scan(&image),
            SlotScan::Absent,
            "{}",
            String::from_utf8_lossy(&image)
        );
    }
    let mut both = b"strings: LOCKSTEP-SEED-SLOT-V1 %d\n".to_vec();
    both.extend(slot_bytes(128));
    assert!(scan(&both).slot().is_some());
}

#[test]
fn two_slots_are_ambiguous() {
    let mut image = slot_bytes(128);
    image.extend(slot_bytes(256));
    assert_eq!(
        scan(&image),
        SlotScan::Ambiguous {
            first: 0,
            second: 128
        }
    );
    assert_eq!(scan(&image).slot(), None);
}

#[test]
fn file_slots_are_found_by_name_beside_the_seed_slot() {
    for before in [0, CHUNK - 21, CHUNK - 5, CHUNK] {
        let mut image = vec![7; before];
        image.extend(file_slot_bytes("user-data", 300));
        image.extend(slot_bytes(128));
        image.extend(file_slot_bytes("bf.cfg", 200));
        image.extend(file_slot_bytes("bf.cfg", 100));
        let found = slots(&image);
        let seed = SeedSlot {
            offset: before as u64 + 300,
            len: 128,
        };
        assert_eq!(found.seed, SlotScan::One(seed));
        let names: Vec<_> = found
            .files
            .iter()
            .map(|slot| (slot.name.as_str(), slot.offset - before as u64, slot.len))
            .collect();
        assert_eq!(
            names,
            [
                ("user-data", 0, 300),
                ("bf.cfg", 428, 200),
                ("bf.cfg", 628, 100)
            ]
        );
    }
}

#[test]
fn mentions_of_the_file_marker_are_no_slots() {
    let mut unpadded = file_slot_bytes("a", 64);
    unpadded[63] = b' ';
    let mut cut = file_slot_bytes("a", 64);
    cut.pop();
    for image in [
        b"LOCKSTEP-FILE-SLOT-V1 a\n".to_vec(),
        b"LOCKSTEP-FILE-SLOT-V1 a +64\n".to_vec(),
        b"LOCKSTEP-FILE-SLOT-V1  64\n".to_vec(),
        file_slot_bytes("A", 64),
        file_slot_bytes("-a", 64),
        file_slot_bytes("a.", 64),
        file_slot_bytes("a b", 64),
        file_slot_bytes(&"a".repeat(64), 128),
        unpadded,
        cut,
    ] {
        assert!(
            slots(&image).files.is_empty(),
            "{}",
            String::from_utf8_lossy(&image)
        );
    }
    assert_eq!(slots(&file_slot_bytes(&"a".repeat(63), 128)).files.len(), 1);
}

proptest! {
    #[test]
    fn any_part_of_the_overlaid_image_equals_that_part_overlaid(
        size in 64_usize..400,
        offset in 0_usize..300,
        len in 1_usize..100,
        seed in proptest::collection::vec(any::<u8>(), 0..100),
        from in 0_usize..400,
        to in 0_usize..400,
    ) {
        let len = len.min(size.saturating_sub(offset));
        let slot = SeedSlot { offset: offset as u64, len: len as u64 };
        let seed = &seed[..seed.len().min(len)];
        let plain: Vec<u8> = (0..size).map(|at| at as u8).collect();

        let mut whole = plain.clone();
        if len > 0 {
            whole[offset..offset + len].fill(b' ');
            whole[offset..offset + seed.len()].copy_from_slice(seed);
        }
        let (from, to) = (from.min(size), to.min(size));
        prop_assume!(from <= to);
        let mut part = plain[from..to].to_vec();
        Layer::seed(slot, Bytes::copy_from_slice(seed)).lay(&mut part, from as u64);
        prop_assert_eq!(&part, &whole[from..to]);
    }
}
