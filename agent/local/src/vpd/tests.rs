use super::*;
use proptest::prelude::*;

/// Writes VPD as a card's maker would.
fn encode(identifier: &str, read_only: &[(&str, &[u8])], checksum: bool) -> Vec<u8> {
    let mut bytes = vec![IDENTIFIER];
    bytes.extend(u16::try_from(identifier.len()).unwrap().to_le_bytes());
    bytes.extend(identifier.as_bytes());
    let mut content = Vec::new();
    for (keyword, value) in read_only {
        content.extend(keyword.as_bytes());
        content.push(u8::try_from(value.len()).unwrap());
        content.extend(*value);
    }
    let reserved = 2;
    let length = content.len() + if checksum { 4 + reserved } else { 0 };
    bytes.push(READ_ONLY);
    bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
    bytes.extend(content);
    if checksum {
        bytes.extend(b"RV");
        bytes.push(u8::try_from(1 + reserved).unwrap());
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.push(sum.wrapping_neg());
        bytes.extend(vec![0; reserved]);
    }
    bytes.push(END);
    bytes
}

/// The keywords of a BlueField-3, with invented numbers.
const CARD: &[(&str, &[u8])] = &[
    ("PN", b"900-9D3B6-00CV-AA0    "),
    ("EC", b"A5"),
    ("V2", b"900-9D3B6-00CV-AA0"),
    ("SN", b"MT2251XZ0123"),
    ("V3", b"6d1c1de0ab5eed11800008c0eb6a5f3c"),
    ("VA", b"MLX:MN=MLNX:CSKU=V2:UUID=V3:PCI=V0:MODL=D3B6"),
    ("V0", b"PCIeGen5 x16"),
];

#[test]
fn a_card_names_itself() {
    let mut bytes = encode("BlueField-3 P-Series", CARD, true);
    bytes.extend([0xff; 40]);
    let vpd = parse(&bytes).unwrap();
    assert_eq!(vpd.identifier, "BlueField-3 P-Series");
    assert_eq!(vpd.serial(), Some("MT2251XZ0123"));
    assert_eq!(vpd.part_number(), Some("900-9D3B6-00CV-AA0"));
    assert_eq!(vpd.revision(), Some("A5"));
    assert_eq!(vpd.get("V0"), Some("PCIeGen5 x16"));
    assert_eq!(vpd.get("ZZ"), None);
    assert!(vpd.checksum);
    assert_eq!(vpd.fields.len(), CARD.len());
}

#[test]
fn a_read_write_area_is_passed_over() {
    let mut bytes = encode("x", CARD, true);
    bytes.pop();
    bytes.extend([READ_WRITE, 8, 0]);
    bytes.extend(b"YA\x01tRW\x01\0");
    bytes.push(END);
    assert_eq!(parse(&bytes).unwrap().serial(), Some("MT2251XZ0123"));
    let alone = [READ_WRITE, 4, 0, b'Y', b'A', 1, b't', END];
    assert_eq!(parse(&alone), Err(VpdError::Incomplete("read-only fields")));
}

#[test]
fn mistakes_are_named() {
    let good = encode("card", CARD, true);
    assert_eq!(parse(&[]), Err(VpdError::Blank));
    assert_eq!(parse(&[0; 64]), Err(VpdError::Blank));
    assert_eq!(parse(&[0xff; 64]), Err(VpdError::Blank));
    assert_eq!(
        parse(&vec![1; MAX_BYTES + 1]),
        Err(VpdError::TooLong(MAX_BYTES + 1))
    );
    assert_eq!(
        parse(&good[..good.len() - 1]),
        Err(VpdError::Incomplete("end tag"))
    );
    assert_eq!(parse(&good[..20]), Err(VpdError::Truncated(7)));
    assert_eq!(parse(&good[..2]), Err(VpdError::Truncated(0)));
    assert_eq!(
        parse(&[IDENTIFIER, 1, 0, b'x', END]),
        Err(VpdError::Incomplete("read-only fields"))
    );
    let mut flipped = good.clone();
    flipped[4] ^= 1;
    assert!(matches!(parse(&flipped), Err(VpdError::Checksum(_))));
    let mut unknown = good.clone();
    unknown[0] = 0x7f;
    assert_eq!(
        parse(&unknown),
        Err(VpdError::Unexpected {
            offset: 0,
            tag: 0x7f
        })
    );
    let twice = [&good[..good.len() - 1], &good[..]].concat();
    assert!(matches!(parse(&twice), Err(VpdError::Unexpected { .. })));
    let overrun = [READ_ONLY, 5, 0, b'S', b'N', 3, b'1', b'2', END];
    assert_eq!(parse(&overrun), Err(VpdError::Field(3)));
    let short = [READ_ONLY, 2, 0, b'S', b'N', END];
    assert_eq!(parse(&short), Err(VpdError::Field(3)));
    let unlettered = [READ_ONLY, 4, 0, b'S', 0, 1, b'x', END];
    assert_eq!(parse(&unlettered), Err(VpdError::Field(3)));
}

#[test]
fn no_checksum_is_told() {
    let vpd = parse(&encode("card", CARD, false)).unwrap();
    assert!(!vpd.checksum);
}

#[test]
fn junk_and_contradiction_identify_nothing() {
    let fields: &[(&str, &[u8])] = &[("SN", b"N/A"), ("PN", b"a1"), ("PN", b"a2"), ("EC", b"")];
    let vpd = parse(&encode("card", fields, true)).unwrap();
    assert_eq!(vpd.serial(), None);
    assert_eq!(vpd.part_number(), None);
    assert_eq!(vpd.revision(), None);
}

#[test]
fn strange_bytes_are_shown_not_hidden() {
    let vpd = parse(&encode("card", &[("SN", b"a\x01\xffb\0\0")], true)).unwrap();
    assert_eq!(vpd.get("SN"), Some("a\\x01\\xffb"));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(vpd) = parse(&bytes) {
            let text: usize = vpd.fields.iter().map(|field| field.value.len()).sum();
            prop_assert!(text <= 4 * bytes.len());
        }
    }

    /// Random bytes hardly get past the first tag; damaged VPD does.
    #[test]
    fn damaged_vpd_ends_in_an_answer(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        checksum in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode("BlueField-3 P-Series", CARD, checksum);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let first = parse(&bytes);
        prop_assert_eq!(first, parse(&bytes));
    }

    /// With a checksum, one changed byte of what it covers never goes unnoticed.
    #[test]
    fn one_changed_byte_is_noticed(index in any::<prop::sample::Index>(), change in 1_u8..) {
        let good = encode("card", CARD, true);
        let covered = good.len() - 3;
        let mut bytes = good;
        let at = index.index(covered);
        bytes[at] = bytes[at].wrapping_add(change);
        prop_assert!(parse(&bytes).map_or(true, |vpd| !vpd.checksum));
    }

    #[test]
    fn what_is_written_is_read(
        identifier in "[ -~]{0,40}",
        fields in prop::collection::vec(("[A-Z][A-Z0-9]", "[!-~]([ -~]{0,60}[!-~])?"), 0..12),
        checksum in any::<bool>(),
    ) {
        let fields: Vec<(&str, &[u8])> = fields
            .iter()
            .filter(|(keyword, _)| keyword != "RV")
            .map(|(keyword, value)| (keyword.as_str(), value.as_bytes()))
            .collect();
        let vpd = parse(&encode(&identifier, &fields, checksum)).unwrap();
        prop_assert_eq!(vpd.identifier, identifier.trim_matches(' '));
        prop_assert_eq!(vpd.checksum, checksum);
        let read: Vec<(&str, &[u8])> = vpd
            .fields
            .iter()
            .map(|field| (field.keyword.as_str(), field.value.as_bytes()))
            .collect();
        prop_assert_eq!(read, fields);
    }
}
