//! What vendors leave in identity fields that identifies nothing.
//!
//! The place that decides whether a text may identify a machine, a card or a part: two cards
//! must never become one because both say "To be filled by O.E.M.". The join of inventories
//! goes through here, whatever the agents have filtered already: they may be older than it.

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
    "xxxxxxxx",
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
/// what is left is a placeholder, or it is longer than any identity may be.
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
    let only_filler = plain
        .chars()
        .all(|c| matches!(c, '0' | '.' | ' ' | '-' | '_' | ':' | '/' | '*' | '?' | '#'));
    let placeholder = PLACEHOLDERS.contains(&plain)
        || PLACEHOLDER_BEGINNINGS
            .iter()
            .any(|beginning| plain.starts_with(beginning));
    (!repeated && !only_filler && !placeholder && !counts_up(plain)).then_some(text)
}

/// `0123456789`, `1234567890` and their beginnings: what a BMC's proof of identity refuses too.
fn counts_up(plain: &str) -> bool {
    plain.len() >= 4 && ("0123456789".starts_with(plain) || "1234567890".starts_with(plain))
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
    let uuid = trimmed(text).to_ascii_lowercase();
    let mut digits = uuid.bytes().filter(|byte| *byte != b'-');
    let first = digits.next()?;
    let uniform = digits.all(|digit| digit == first);
    (is_uuid(&uuid) && !uniform && !FILLERS.contains(&uuid.as_str())).then_some(uuid)
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

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
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
        ] {
            assert_eq!(meaningful(junk), None, "{junk:?}");
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
        assert_eq!(meaningful_uuid(&good.to_uppercase()).as_deref(), Some(good));
        for junk in [
            "",
            "4c4c4544",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "11111111-1111-1111-1111-111111111111",
        ] {
            assert_eq!(meaningful_uuid(junk), None, "{junk:?}");
        }
    }
}
