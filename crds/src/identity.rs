//! What vendors leave in identity fields that identifies nothing.
//!
//! The one place that decides whether a text may identify a machine, a card or a part: two cards
//! must never become one because both say "To be filled by O.E.M.". What is read from SMBIOS,
//! VPD, sysfs and BMCs goes through here, so does the proof that a BMC stands for a machine, and
//! so does the join of inventories, whatever the agents have filtered already: they may be older
//! than it. What is junk joins nothing and proves nothing, not even against itself.
//!
//! To take junk for an identity makes one card of two; to take an identity for junk makes its
//! card unknown. Where nothing tells them apart this is decided:
//! - Serial numbers of one character are junk, and so are those of one sign throughout (`AA`,
//!   `1111`), but not those of two equal digits: makers that number from 1 reach `11`.
//! - Digits that count up from 0 or 1 are junk from the fourth on (`0123`, `0123456789ABCDEF`);
//!   other short numbers stand.
//! - A UUID counts whatever separates its digits. In another version or variant than RFC 9562
//!   has it counts, too: firmware makes them of serial numbers.
//! - Of texts that describe rather than identify ([`meaningful`]), one character is enough: an
//!   engineering change level may be `B`.

/// The longest field of vital product data; the other sources keep to less.
const LONGEST: usize = 255;

/// In lower case, without surrounding blanks and without closing dots.
const PLACEHOLDERS: &[&str] = &[
    "asset tag",
    "base board asset tag",
    "base board serial number",
    "chassis asset tag",
    "chassis serial number",
    "default",
    "default string",
    "empty",
    "filled by oem",
    "invalid",
    "n/a",
    "na",
    "no asset information",
    "no asset tag",
    "nil",
    "no dimm",
    "none",
    "not applicable",
    "not available",
    "not present",
    "not provided",
    "not specified",
    "null",
    "o.e.m",
    "oem",
    "part number",
    "serial number",
    "serialnumber",
    "string",
    "sys serial number",
    "system manufacturer",
    "system product name",
    "system serial number",
    "system version",
    "tbd",
    "to be filled by o.e.m",
    "undefined",
    "unknown",
    "unspecified",
];

/// Beginnings that make a placeholder of whatever follows: "Unspecified System Serial
/// Number" is what a BlueField's own firmware says, "Not Specified …" what many boards say.
const PLACEHOLDER_BEGINNINGS: &[&str] = &[
    "unspecified ",
    "not specified ",
    "to be filled by",
    "default string ",
];

/// The text without padding (blanks, NUL, 0xff read as text), or `None` when nothing is left,
/// what is left is a placeholder, or it is longer than any identity may be. For what describes:
/// makers, models, part numbers; a serial number must be a [`meaningful_serial`].
pub fn meaningful(text: &str) -> Option<&str> {
    let text = trimmed(text);
    if text.len() > LONGEST {
        return None;
    }
    let plain = text.to_ascii_lowercase();
    let plain = plain.trim_end_matches('.');
    // Fillers: nothing but one and the same sign, or but zeros, dots, dashes and the like.
    let first = plain.chars().next()?;
    let repeated = plain.len() > 2 && plain.chars().all(|c| c == first);
    let only_filler = plain.chars().all(|c| c == '0' || !c.is_alphanumeric());
    let placeholder = PLACEHOLDERS.contains(&plain)
        || PLACEHOLDER_BEGINNINGS
            .iter()
            .any(|beginning| plain.starts_with(beginning));
    (!repeated && !only_filler && !placeholder && !counts_up(plain)).then_some(text)
}

/// A serial number without padding, `None` for one that identifies nothing: what is not
/// [`meaningful`], a single character, or one letter throughout.
pub fn meaningful_serial(text: &str) -> Option<&str> {
    let text = meaningful(text)?;
    let mut signs = text.chars().map(|sign| sign.to_ascii_lowercase());
    let first = signs.next()?;
    let mut rest = signs.peekable();
    let single = rest.peek().is_none();
    let letter_throughout = !first.is_ascii_digit() && rest.all(|sign| sign == first);
    (!single && !letter_throughout).then_some(text)
}

/// `0123456789abcdef`, `1234567890` and their beginnings.
fn counts_up(plain: &str) -> bool {
    const COUNTS: &[&str] = &["0123456789abcdef", "123456789abcdef", "1234567890"];
    plain.len() >= 4 && COUNTS.iter().any(|count| count.starts_with(plain))
}

/// A UUID in lower case, `None` for one that identifies nothing: all zeros ("not present"),
/// all ones ("not set"), one digit throughout, or a well-known filler of firmware vendors.
pub fn meaningful_uuid(text: &str) -> Option<String> {
    const FILLERS: &[&str] = &[
        "00020003-0004-0005-0006-000700080009",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-1234-56789012abcd",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
    ];
    let uuid = plain_uuid(text)?;
    let mut digits = uuid.bytes().filter(|byte| *byte != b'-');
    let first = digits.next()?;
    let uniform = digits.all(|digit| digit == first);
    (!uniform && !FILLERS.contains(&uuid.as_str())).then_some(uuid)
}

/// A UUID in its usual form, in lower case, whatever separates its digits; `None` if the text
/// is none. It may identify nothing.
pub fn plain_uuid(text: &str) -> Option<String> {
    let mut uuid = String::with_capacity(36);
    for sign in trimmed(text).chars() {
        if sign.is_ascii_punctuation() || sign == ' ' {
            continue;
        }
        if !sign.is_ascii_hexdigit() || uuid.len() == 36 {
            return None;
        }
        if matches!(uuid.len(), 8 | 13 | 18 | 23) {
            uuid.push('-');
        }
        uuid.push(sign.to_ascii_lowercase());
    }
    (uuid.len() == 36).then_some(uuid)
}

/// A MAC address in lower case with colons, `None` for one that identifies nothing: zeros,
/// ones, a group address, or the one that every BlueField gives its rshim interface.
pub fn meaningful_mac(text: &str) -> Option<String> {
    const SHARED: &[&str] = &["001acaffff"];
    let digits = hex_digits(text)?;
    let shared = SHARED.iter().any(|shared| digits.starts_with(shared));
    let group = u8::from_str_radix(digits.get(..2)?, 16).ok()? & 1 == 1;
    if digits.len() != 12 || group || shared || digits.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let mut mac = String::with_capacity(17);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 2 == 0 {
            mac.push(':');
        }
        mac.push(digit);
    }
    Some(mac)
}

/// A PCI device serial number as 16 hexadecimal digits in lower case, `None` for one that
/// identifies nothing: one digit throughout, or of another length.
pub fn meaningful_device_serial(text: &str) -> Option<String> {
    let digits = hex_digits(text)?;
    let first = digits.bytes().next()?;
    (digits.len() == 16 && !digits.bytes().all(|digit| digit == first)).then_some(digits)
}

/// Hexadecimal digits in lower case without what separates them.
fn hex_digits(text: &str) -> Option<String> {
    let text = trimmed(text);
    let text = text.strip_prefix("0x").unwrap_or(text);
    text.chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .map(|c| c.is_ascii_hexdigit().then(|| c.to_ascii_lowercase()))
        .collect()
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{ff}' | char::REPLACEMENT_CHARACTER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_mean_nothing() {
        for junk in [
            "",
            " \n",
            "None",
            "NA",
            "Unspecified System Serial Number",
            "Unspecified Base Board Serial Number",
            "Not Specified",
            "To be filled by O.E.M.",
            "To Be Filled By O.E.M. (serial)",
            "Default string",
            "System Serial Number",
            "0000000000",
            "000-000",
            "........",
            "XXXXXXXXXXXX",
            "ffffffff",
            "\u{ff}\u{ff}\u{ff}",
            "0123456789",
            "1234",
            "........................",
            "0123456789ABCDEF",
            "123456789abcdef",
            "(+)",
            "0",
        ] {
            assert_eq!(meaningful(junk), None, "{junk:?}");
            assert_eq!(meaningful_serial(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn one_sign_describes_and_does_not_identify() {
        for sign in ["B", "7", " x ", "xx", "AA"] {
            assert_eq!(meaningful(sign), Some(sign.trim()));
            assert_eq!(meaningful_serial(sign), None, "{sign:?}");
        }
    }

    #[test]
    fn short_serials_stand() {
        for serial in [
            "11", "12", "A1", "A17", "123", "1233", "2345", "1235", "1000",
        ] {
            assert_eq!(meaningful_serial(serial), Some(serial));
        }
    }

    #[test]
    fn identities_keep_their_text() {
        for (text, kept) in [
            ("MT2251XZ0123", "MT2251XZ0123"),
            ("  D3B6           ", "D3B6"),
            ("900-9D3B6-00CV-AA0", "900-9D3B6-00CV-AA0"),
            ("00112", "00112"),
            ("Nonesuch", "Nonesuch"),
            ("11", "11"),
            ("S/N: 5\0\0", "S/N: 5"),
        ] {
            assert_eq!(meaningful(text), Some(kept));
            assert_eq!(meaningful_serial(text), Some(kept));
        }
    }

    #[test]
    fn addresses_and_device_serials() {
        assert_eq!(
            meaningful_mac("B8-3F-D2-00-01-0A").as_deref(),
            Some("b8:3f:d2:00:01:0a")
        );
        for junk in [
            "",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:1a:ca:ff:ff:01",
            "b8:3f:d2:00:01",
            "unknown",
        ] {
            assert_eq!(meaningful_mac(junk), None, "{junk:?}");
        }
        assert_eq!(
            meaningful_device_serial("B8-3F-D2-03-00-01-0A-00").as_deref(),
            Some("b83fd20300010a00")
        );
        for junk in ["", "0000000000000000", "ffffffffffffffff", "b83f", "n/a"] {
            assert_eq!(meaningful_device_serial(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn uuids() {
        let good = "4c4c4544-0042-3510-8052-b4c04f4d3732";
        for spelt in [
            good.to_uppercase(),
            good.replace('-', ""),
            format!("{{{good}}} "),
            good.replace('-', ":"),
        ] {
            assert_eq!(meaningful_uuid(&spelt).as_deref(), Some(good), "{spelt:?}");
        }
        let zeros = "00000000-0000-0000-0000-000000000000";
        assert_eq!(plain_uuid(&zeros.replace('-', "")).as_deref(), Some(zeros));
        for junk in [
            "",
            "4c4c4544",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "11111111-1111-1111-1111-111111111111",
            "00000000000000000000000000000000",
            "03000200040005000006000700080009",
            "12345678-1234-5678-1234-56789012abcd",
            "not-a-uuid",
            "4c4c4544-0042-3510-8052-b4c04f4d37321",
            "4c4c4544-0042-3510-8052-b4c04f4d373é",
        ] {
            assert_eq!(meaningful_uuid(junk), None, "{junk:?}");
        }
    }
}
