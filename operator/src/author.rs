//! Whom a report or Lease speaks of, as its name says.

use lockstep_crds::names;

/// What an agent's report or Lease is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author<'a> {
    /// The store of a site.
    Site(&'a str),
    /// The search of a site agent for BMCs.
    Scan(&'a str),
    /// The BMC of a card.
    CardBmc(&'a str),
    /// The BMC of a host.
    HostBmc(&'a str),
    /// A BMC that was found and that no object names yet.
    FoundBmc(&'a str),
    /// The operating system of a card.
    CardOs(&'a str),
    /// The operating system of a host, by its Node.
    HostOs(&'a str),
}

type Make<'a> = fn(&'a str) -> Author<'a>;

impl<'a> Author<'a> {
    /// Reads a name made by [`names`].
    pub(crate) fn of(name: &'a str) -> Option<Self> {
        let prefixes: [(String, Make<'a>); 7] = [
            (names::card_bmc(""), Self::CardBmc),
            (names::host_bmc(""), Self::HostBmc),
            (names::found_bmc(""), Self::FoundBmc),
            (names::xpu(""), Self::CardOs),
            (names::host(""), Self::HostOs),
            (names::site(""), Self::Site),
            (names::scan(""), Self::Scan),
        ];
        let parse =
            |(prefix, make): (String, Make<'a>)| Some(make(name.strip_prefix(prefix.as_str())?));
        prefixes.into_iter().find_map(parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood() {
        let table = [
            (names::site("s"), Author::Site("s")),
            (names::scan("s"), Author::Scan("s")),
            (names::card_bmc("host-a"), Author::CardBmc("host-a")),
            (names::host_bmc("h"), Author::HostBmc("h")),
            (names::found_bmc("id"), Author::FoundBmc("id")),
            (names::xpu("c"), Author::CardOs("c")),
            (names::host("bmc-card-n"), Author::HostOs("bmc-card-n")),
        ];
        for (name, author) in &table {
            assert_eq!(Author::of(name), Some(*author), "{name}");
        }
        assert_eq!(Author::of("lockstep-operator"), None);
    }
}
