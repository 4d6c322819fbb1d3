//! What the site's report tells of the bytes of an image.

use super::private_images::{REPORT, mirror};
use super::*;
use crate::site::images;
use crate::site::wanted::{Wanted, WantedImage};

fn seed_slot() -> Vec<u8> {
    let mut slot = b"LOCKSTEP-SEED-SLOT-V1 4096\n".to_vec();
    slot.resize(4096, b' ');
    slot
}

/// The start of a program for firmware.
fn program() -> Vec<u8> {
    let mut program = vec![0; 512];
    program[..2].copy_from_slice(b"MZ");
    program[0x3c] = 0x80;
    program[0x80..0x84].copy_from_slice(b"PE\0\0");
    program
}

/// What is told of an image of these bytes, once it is in the store.
async fn told(bytes: Vec<u8>) -> Value {
    let bench = bench();
    let digest = Digest::of(&bytes);
    let image = WantedImage {
        signatures: Vec::new(),
        digest,
        size: None,
        sources: vec![mirror(bytes).await],
    };
    let (_wanted, watched) = watch::channel(Some(Wanted::from([(digest, image)])));
    let ending = CancellationToken::new();
    let site = Arc::clone(&bench.site);
    let task = tokio::spawn(images::run(site, watched, ending.clone()));
    let report = bench
        .api
        .until(REPORT, |now| {
            now["spec"]["images"][0]["state"] == "Verified"
        })
        .await;
    ending.cancel();
    task.await.unwrap();
    report["spec"]["images"][0].clone()
}

#[tokio::test]
async fn what_keeps_an_image_from_a_card_is_told_before_any_card_is_to_get_it() {
    let with = |parts: &[Vec<u8>]| parts.concat();
    let table = [
        (with(&[vec![8; 1000]]), "Absent", false),
        (with(&[vec![8; 1000], seed_slot()]), "One", false),
        (with(&[seed_slot(), seed_slot()]), "Ambiguous", false),
        (with(&[program(), seed_slot()]), "One", true),
        // Whether it is a program its start tells, also where that comes in many pieces.
        (with(&[program(), vec![8; 1 << 18]]), "Absent", true),
    ];
    for (bytes, slot, is_program) in table {
        let size = bytes.len();
        let image = told(bytes).await;
        assert_eq!(image["seedSlot"], slot, "{image}");
        assert_eq!(image["efiProgram"], is_program, "{image}");
        assert_eq!(image["sizeBytes"], size, "{image}");
        assert!(image["bootStream"].is_null(), "{image}");
    }
    let image = told(with(&[b"Bf\x02\x13".to_vec(), seed_slot()])).await;
    assert!(image["bootStream"].is_object(), "{image}");
    assert_eq!(
        (&image["seedSlot"], &image["efiProgram"]),
        (&json!("One"), &json!(false))
    );
}
