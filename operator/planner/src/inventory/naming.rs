//! Names, ids and labels of what discovery proposes: made of the machine's identity, so that the
//! same machine gets the same name after every restart.

use super::keys::{Key, Keys};

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;
/// The longest name that leaves room for a suffix and for the prefixes of reports.
const LONGEST_NAME: usize = 180;

/// A text as part of a DNS name; empty if nothing of it fits.
pub(super) fn dns(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(LONGEST_NAME)
        .collect();
    plain.trim_matches('-').to_owned()
}

/// A text as the value of a label.
pub(super) fn label(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .take(LONGEST_LABEL)
        .collect();
    let plain = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// A name that nobody has: where another machine has it, with a suffix of this one's identity.
pub(super) fn free_name(stem: &str, keys: &Keys, taken: impl Fn(&str) -> bool) -> Option<String> {
    let suffixed = format!("{stem}-{:08x}", digest(keys));
    [stem.to_owned(), suffixed]
        .into_iter()
        .find(|name| !taken(name))
}

/// FNV-1a of what identifies a machine, folded: the same in every release.
fn digest(keys: &Keys) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let identifying = keys.iter().filter(|key| match key {
        Key::Serial(_) | Key::Uuid(_) | Key::DeviceSerial(_) => true,
        Key::Mac(_) | Key::CardInside(_) | Key::Node(_) | Key::Found(_) | Key::Endpoint(..) => {
            false
        }
    });
    for key in identifying {
        for byte in key
            .kind()
            .field()
            .bytes()
            .chain(key.value().bytes())
            .chain([0])
        {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let (high, low) = (hash >> 32, hash & 0xffff_ffff);
    u32::try_from(high ^ low).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_fit_what_they_are_for() {
        assert_eq!(dns(" MT2251_XZ/01 "), "mt2251-xz-01");
        assert_eq!(dns("///"), "");
        assert_eq!(label("BlueField-3"), Some("BlueField-3".to_owned()));
        assert_eq!(
            label("(Intel) IPU E2100"),
            Some("Intel--IPU-E2100".to_owned())
        );
        assert_eq!(label("***"), None);
        assert_eq!(label(&"a".repeat(80)).map(|l| l.len()), Some(63));
    }

    #[test]
    fn a_name_that_another_machine_has_gets_a_suffix_of_its_own_identity() {
        let keys = |serial: &str| Keys::from([Key::Serial(serial.into())]);
        let name = |serial: &str, taken: &[&str]| {
            free_name("dpu-a-1", &keys(serial), |name| taken.contains(&name))
        };
        assert_eq!(name("A/1", &[]).as_deref(), Some("dpu-a-1"));
        let second = name("A_1", &["dpu-a-1"]).unwrap();
        assert!(second.starts_with("dpu-a-1-"), "{second}");
        assert_eq!(name("A_1", &["dpu-a-1"]), Some(second.clone()));
        assert_ne!(name("A:1", &["dpu-a-1"]), Some(second.clone()));
        assert_eq!(name("A_1", &["dpu-a-1", &second]), None);
    }
}
