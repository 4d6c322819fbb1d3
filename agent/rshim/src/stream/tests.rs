use super::*;
use proptest::prelude::*;

/// An image as the maker's tool writes it.
fn image(id: u8, version: u8, body: &[u8], following: u64) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(8), 0);
    let first = u64::from(MAGIC)
        | MAJOR << 32
        | LATEST_MINOR << 36
        | u64::from(version) << 48
        | (HEADER as u64 / 8) << 52
        | u64::from(id) << 56;
    let crc = crc32fast::hash(&padded);
    let second = body.len() as u64 | u64::from(crc) << 32;
    let mut bytes: Vec<u8> = [first, second, following]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    bytes.extend(padded);
    bytes
}

fn sound(tail: &[u8]) -> Vec<u8> {
    let mut bytes = image(BL2, 2, b"second boot stage", 1 << 62 | 1 << 63);
    bytes.extend(image(62, 0, b"", 1 << 63));
    bytes.extend(image(63, 0, &[7; 1000], 0));
    bytes.extend(tail);
    bytes
}

fn read(bytes: &[u8], piece: usize) -> Result<BootStream, StreamError> {
    let mut reader = StreamReader::default();
    for piece in bytes.chunks(piece) {
        reader.feed(piece)?;
    }
    reader.finish()
}

#[test]
fn a_sound_stream_is_read_in_any_pieces_with_whatever_follows_it() {
    for tail in [b"".as_slice(), b"b", b"bfb_config=1\n"] {
        let bytes = sound(tail);
        for piece in [1, 3, 24, 1 << 20] {
            let stream = read(&bytes, piece).unwrap();
            let ids: Vec<(u8, u8, u32)> = stream
                .images
                .iter()
                .map(|image| (image.id, image.version, image.length))
                .collect();
            assert_eq!(ids, [(BL2, 2, 17), (62, 0, 0), (63, 0, 1000)]);
            assert_eq!(stream.size, bytes.len() as u64);
            assert_eq!(stream.size - stream.images_end, tail.len() as u64);
        }
    }
}

#[test]
fn what_is_no_stream_is_told_apart_from_a_damaged_one() {
    for bytes in [b"".as_slice(), b"Bf", b"PK\x03\x04 a zip file", &[0; 64]] {
        assert_eq!(read(bytes, 8), Err(StreamError::NotAStream));
    }
    let whole = sound(b"");
    for (cut, what) in [
        (whole.len() - 1, "Cut"),
        (30, "Cut"),
        (48 + 12, "Header"),
        (48, "Unfinished"),
    ] {
        let error = read(&whole[..cut], 7).unwrap_err();
        assert!(format!("{error:?}").starts_with(what), "{cut}: {error:?}");
    }
    let mut promised = whole[..48].to_vec();
    promised.extend(b"bf.cfg");
    assert_eq!(
        read(&promised, 5),
        Err(StreamError::Unfinished { at: 48 }),
        "a configuration is no image"
    );
    let mut other = whole.clone();
    other[4] = 0x23;
    assert!(matches!(
        read(&other, 9),
        Err(StreamError::Header { at: 0, .. })
    ));
    let mut long = whole;
    long[6] ^= 0x10;
    assert!(matches!(
        read(&long, 9),
        Err(StreamError::Header { at: 0, .. })
    ));
}

#[test]
fn a_stream_for_another_generation_does_not_fit() {
    let stream = read(&sound(b""), 64).unwrap();
    assert_eq!(stream.fits(3), Ok(()));
    let why = stream.fits(2).unwrap_err().to_string();
    assert_eq!(
        why,
        "it has no boot loader for BlueField-2, only for BlueField-3"
    );
    let mut both = image(BL2, 0, b"one", 2);
    both.extend(image(BL2, 1, b"two", 0));
    let both = read(&both, 64).unwrap();
    assert!(both.fits(1).is_ok() && both.fits(2).is_ok() && both.fits(3).is_err());
    let none = read(&image(62, 2, b"kernel", 0), 64).unwrap();
    assert!(
        none.fits(3)
            .unwrap_err()
            .to_string()
            .contains("only for none")
    );
}

#[test]
fn the_generation_is_what_the_device_says() {
    for (text, wanted) in [
        ("BlueField-3(Rev 1)", Some(3)),
        ("BlueField-2", Some(2)),
        (" BlueField-10(Rev 0)", Some(10)),
        ("BlueField-0", None),
        ("BlueField-", None),
        ("BlueField-999(Rev 1)", None),
        ("N/A", None),
    ] {
        assert_eq!(generation(text), wanted, "{text}");
    }
}

proptest! {
    #[test]
    fn no_flipped_bit_in_an_image_goes_unnoticed(at in 0_usize..1000, bit in 0_u8..8) {
        let mut bytes = sound(b"tail");
        let body = bytes.len() - 4 - 1000;
        bytes[body + at] ^= 1 << bit;
        let damaged = matches!(read(&bytes, 100), Err(StreamError::Damaged { id: 63, .. }));
        prop_assert!(damaged);
    }

    #[test]
    fn any_bytes_end_in_an_answer_that_does_not_depend_on_the_pieces(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        honest in any::<bool>(),
        piece in 1_usize..50,
    ) {
        if honest {
            let mut begun = sound(b"");
            begun.extend(bytes);
            bytes = begun;
        }
        prop_assert_eq!(read(&bytes, piece), read(&bytes, bytes.len().max(1)));
    }
}
