//! What vendors leave in identity fields that identifies nothing.
//!
//! The one place that decides whether a text may identify a machine, a card or a part: two
//! cards must never become one because both say "To be filled by O.E.M.". Everything that
//! reads an identity (SMBIOS, VPD, sysfs) goes through here.

use crate::Fact;
use crate::kernel::is_uuid;

/// The longest field of vital product data; the other sources keep to less.
const LONGEST: usize = 255;

/// In lower case, without surrounding blanks and without closing dots.
const PLACEHOLDERS: &[&str] = &[
    "0123456789",
    "1234567890",
    "123456789",
    "12345678",
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
    (!repeated && !only_filler && !placeholder).then_some(text)
}

/// [`meaningful`] as a fact: junk is as good as not offered.
pub(crate) fn meaningful_fact(text: &str) -> Fact<String> {
    meaningful(text).map_or(Fact::NotOffered, |text| Fact::Known(text.to_owned()))
}

/// A UUID in lower case, `None` for one that identifies nothing: all zeros ("not present"),
/// all ones ("not set"), one digit throughout, or a well-known filler of firmware vendors.
pub fn meaningful_uuid(text: &str) -> Option<String> {
    const FILLERS: &[&str] = &[
        "00020003-0004-0005-0006-000700080009",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
    ];
    let uuid = trimmed(text).to_ascii_lowercase();
    let mut digits = uuid.bytes().filter(|byte| *byte != b'-');
    let first = digits.next()?;
    let uniform = digits.all(|digit| digit == first);
    (is_uuid(&uuid) && !uniform && !FILLERS.contains(&uuid.as_str())).then_some(uuid)
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
