//! Makers of cards, under the names that they go by.
//!
//! A maker that was bought goes on under its old name in vital product data and under its new
//! one elsewhere; both mean the same. A new maker, or a new spelling, is one line here.

/// The name that is shown, and how spellings of it begin, in lower case letters and digits.
const MAKERS: &[(&str, &[&str])] = &[
    (
        "NVIDIA",
        &["nvidia", "mellanox", "mlnx", "httpswwwmellanox"],
    ),
    ("Intel", &["intel"]),
    (
        "AMD",
        &["amd", "advancedmicrodevices", "pensando", "xilinx"],
    ),
    ("Marvell", &["marvell", "cavium"]),
    ("Broadcom", &["broadcom"]),
    ("Dell", &["dell"]),
    ("HPE", &["hpe", "hewlettpackardenterprise"]),
    ("Lenovo", &["lenovo"]),
    ("Supermicro", &["supermicro"]),
];

/// Of those, who makes what a card is built of: a maker of servers puts its own name on the cards
/// of another.
const MAKERS_OF_CARDS: &[&str] = &["NVIDIA", "Intel", "AMD", "Marvell", "Broadcom"];

/// Endings that tell nothing.
const FORMS: &[&str] = &[
    " inc",
    " corp",
    " corporation",
    " ltd",
    " limited",
    " gmbh",
    " co",
];

/// The maker's name as it is shown.
pub(super) fn maker(told: &str) -> String {
    known(told).unwrap_or(told.trim()).to_owned()
}

/// The maker of a card, if it is one that no card of another goes by.
pub(super) fn maker_of_card(told: &str) -> Option<&'static str> {
    known(told).filter(|name| MAKERS_OF_CARDS.contains(name))
}

fn known(told: &str) -> Option<&'static str> {
    let plain = plain(told);
    let mut makers = MAKERS.iter();
    makers
        .find(|(_, beginnings)| beginnings.iter().any(|known| plain.starts_with(known)))
        .map(|(name, _)| *name)
}

/// Whether two names mean one maker.
pub(super) fn same_maker(one: &str, other: &str) -> bool {
    let bare = |told: &str| {
        let name = maker(told).to_lowercase();
        let name = name.trim_end_matches(['.', ',', ' ']);
        let form = FORMS.iter().find_map(|form| name.strip_suffix(form));
        plain(form.unwrap_or(name))
    };
    bare(one) == bare(other)
}

/// Letters and digits in lower case: what differs in spelling only is equal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_maker_under_several_names() {
        assert!(same_maker("Mellanox Technologies", "NVIDIA"));
        assert!(same_maker("https://www.mellanox.com", "NVIDIA Corporation"));
        assert!(same_maker(
            "Pensando Systems",
            "Advanced Micro Devices, Inc."
        ));
        assert!(same_maker("Acme", "ACME Inc."));
        assert!(!same_maker("Intel(R) Corporation", "NVIDIA"));
        assert!(!same_maker("Acme", "Apex"));
        assert_eq!(maker("Mellanox Technologies Ltd."), "NVIDIA");
    }

    #[test]
    fn a_maker_of_servers_tells_nothing_of_who_made_a_card() {
        assert_eq!(maker_of_card("Mellanox Technologies"), Some("NVIDIA"));
        assert_eq!(maker_of_card("Dell Inc."), None);
        assert_eq!(maker_of_card("Acme"), None);
    }
}
