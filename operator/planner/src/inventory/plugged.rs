//! What befell a card in its host since its inventory was told last, and whether that was
//! planned (R15, R152).
//!
//! Physical functions are fixed when a host numbers its buses. A card that its host lists no
//! longer, or with other physical functions, was pulled, lost its power or its link, or began
//! anew. It was planned if a directive at that host is open or has just ended: whatever is done
//! to a host or to one card in it may take down what else is there.
//!
//! Judged is only where the host's own agent tells what it lists: an agent that is silent says
//! nothing. Other addresses after a boot are no news, nor are virtual functions: they come and
//! go as they are used.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use lockstep_crds::directive::OutcomeKind;
use lockstep_crds::dpu_inventory::{DpuInventorySpec, SeenInHost};
use lockstep_crds::inventory::{CardHealth, CardSeen, Inventory};
use lockstep_crds::{DpuHost, DpuReportSpec, names};

use super::keys::Key;

/// How long after the end of a directive what happens still counts as planned.
const AFTERWARDS: SignedDuration = SignedDuration::from_mins(10);

/// Something that befell a card, for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugged {
    /// `CardGone`, `LinkLost`, `CardInRecovery`, `FunctionsChanged` or `CardListed`.
    pub reason: &'static str,
    /// Which card, host and slot, since when, and the remedy.
    pub message: String,
    /// Whether nothing of ours explains it.
    pub unplanned: bool,
}

/// What is known beside the inventories.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The report of this name, unless its Node is gone.
    pub report: &'a dyn Fn(&str) -> Option<&'a DpuReportSpec>,
    /// The host of this name.
    pub host: &'a dyn Fn(&str) -> Option<&'a DpuHost>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").finish_non_exhaustive()
    }
}

/// Compares what was told of a card with what is to be told.
pub fn plugged<'a>(
    card: &'a str,
    before: &'a DpuInventorySpec,
    after: &'a DpuInventorySpec,
    around: Around<'a>,
) -> Vec<Plugged> {
    let mut found: Vec<Plugged> = Vec::new();
    for was in &before.hosts {
        let Some(seat) = Seat::of(card, was, around) else {
            continue;
        };
        let is = after.hosts.iter().find(|is| is.node_name == was.node_name);
        match (lists(before, &seat.report), lists(after, &seat.report)) {
            (true, false) => found.extend(seat.left(before)),
            (true, true) => found.extend(is.and_then(|is| seat.changed(is))),
            (false, _) => {}
        }
    }
    for is in after.hosts.iter().filter(|is| !is.name.is_empty()) {
        let was = before.hosts.iter().find(|was| was.name == is.name);
        if let (Some(_), Some(seat)) = (was, Seat::of(card, is, around))
            && !lists(before, &seat.report)
            && lists(after, &seat.report)
        {
            found.push(seat.listed());
        }
    }
    found
}

/// Whether this report proves that the card sits there.
fn lists(inventory: &DpuInventorySpec, report: &str) -> bool {
    let strong = |by: &String| by == "serialNumber" || by == "deviceSerial";
    let mut views = inventory.views.iter();
    views.any(|view| view.report == report && view.joined_by.iter().any(strong))
}

/// A card in one host whose agent tells.
struct Seat<'a> {
    card: &'a str,
    place: &'a SeenInHost,
    report: String,
    spec: &'a DpuReportSpec,
    inventory: &'a Inventory,
    /// Why what happens there is expected.
    planned: Option<String>,
}

impl<'a> Seat<'a> {
    fn of(card: &'a str, place: &'a SeenInHost, around: Around<'a>) -> Option<Self> {
        let report = names::host(place.node_name.as_deref()?);
        let spec = (around.report)(&report)?;
        let host = (around.host)(&place.name);
        Some(Self {
            card,
            place,
            inventory: spec.inventory.as_ref()?,
            planned: host.and_then(|host| planned(host, spec)),
            spec,
            report,
        })
    }

    fn left(&self, before: &DpuInventorySpec) -> Option<Plugged> {
        let cards = &self.inventory.cards;
        // It is listed, and what else joined it to its object is gone: another matter.
        if cards.iter().any(|seen| is_same(seen, before)) {
            return None;
        }
        let unread = self.inventory.unread.iter();
        if cards.is_empty() && unread.into_iter().any(|group| group.group == "cards") {
            return None;
        }
        let is_there = |seen: &&CardSeen| {
            let mut functions = seen.functions.iter();
            functions.any(|function| self.place.functions.contains(function))
        };
        let (reason, what) = match cards.iter().find(is_there) {
            None => ("CardGone", "does not list it any more".to_owned()),
            Some(seen) => match seen.health {
                Some(CardHealth::Gone) => (
                    "LinkLost",
                    "still lists it and gets no answer from it".to_owned(),
                ),
                Some(CardHealth::Recovery) => (
                    "CardInRecovery",
                    "lists a card there that answers with a recovery id: its firmware is broken \
                     or held back"
                        .to_owned(),
                ),
                Some(CardHealth::Answers | CardHealth::Unrecognized(_)) | None => {
                    let serial = seen.serial_number.as_deref();
                    let other = serial.map_or_else(
                        || "of which no serial number can be read".to_owned(),
                        |serial| format!("with serial number {serial}"),
                    );
                    ("CardGone", format!("lists another card there, {other}"))
                }
            },
        };
        Some(self.told(
            reason,
            &what,
            "Look whether the card is in its slot and has power, and power-cycle the host when it \
             may go down; correct spec.hostRefs if the card was moved",
        ))
    }

    fn changed(&self, is: &SeenInHost) -> Option<Plugged> {
        let (was, is) = (physical(self.place)?, physical(is)?);
        if was == is {
            return None;
        }
        let list = |names: Vec<&&str>| -> String {
            let names: Vec<&str> = names.into_iter().copied().collect();
            names.join(", ")
        };
        let mut changes: Vec<String> = Vec::new();
        let (gone, new): (Vec<_>, Vec<_>) =
            (was.difference(&is).collect(), is.difference(&was).collect());
        if !gone.is_empty() {
            changes.push(format!("without {}", list(gone)));
        }
        if !new.is_empty() {
            changes.push(format!("with {} besides", list(new)));
        }
        let what = format!("lists it {}", changes.join(" and "));
        Some(self.told(
            "FunctionsChanged",
            &what,
            "If nobody has changed the card's configuration, look at its link and its firmware",
        ))
    }

    fn listed(&self) -> Plugged {
        Plugged {
            reason: "CardListed",
            message: format!(
                "{} lists dpu/{}{} since {}",
                self.who(),
                self.card,
                self.slot(),
                self.spec.observed_at.0
            ),
            unplanned: false,
        }
    }

    fn told(&self, reason: &'static str, what: &str, remedy: &str) -> Plugged {
        let (begin, remedy) = match &self.planned {
            Some(why) => (
                format!("Planned, as {why}"),
                format!("If it is still so when that is over: {remedy}"),
            ),
            None => ("Unplanned".to_owned(), remedy.to_owned()),
        };
        Plugged {
            reason,
            message: format!(
                "{begin}: dpu/{}{}: {} {what}, since {}. {remedy}",
                self.card,
                self.slot(),
                self.who(),
                self.spec.observed_at.0
            ),
            unplanned: self.planned.is_none(),
        }
    }

    fn who(&self) -> String {
        match self.place.name.as_str() {
            "" => format!("the host's operating system ({})", self.report),
            host => format!("the operating system of dpuhost/{host} ({})", self.report),
        }
    }

    fn slot(&self) -> String {
        let slot = self.place.slot.as_deref();
        let at = self.place.functions.first();
        match (slot, at) {
            (Some(slot), Some(at)) => format!(" in slot {slot} ({at})"),
            (Some(slot), None) => format!(" in slot {slot}"),
            (None, Some(at)) => format!(" at {at}"),
            (None, None) => String::new(),
        }
    }
}

/// Whether this is the card that was told of, by what identifies it.
fn is_same(seen: &CardSeen, before: &DpuInventorySpec) -> bool {
    let Some(known) = before.system.as_ref().map(|system| &system.facts) else {
        return false;
    };
    let same = |one: &Option<String>, other: &Option<String>, key: fn(&str) -> Option<Key>| {
        let one = one.as_deref().and_then(key);
        one.is_some() && one == other.as_deref().and_then(key)
    };
    same(&seen.serial_number, &known.serial_number, Key::serial)
        || same(
            &seen.device_serial,
            &known.device_serial,
            Key::device_serial,
        )
}

/// Names of physical functions, where they are told: those of a release before have none.
fn physical(place: &SeenInHost) -> Option<BTreeSet<&str>> {
    let functions = &place.named.as_ref()?.functions;
    let whole = functions
        .iter()
        .filter(|one| one.virtual_index.is_none() && one.sub.is_none());
    Some(whole.map(|one| one.name.as_str()).collect())
}

/// What of ours explains that something changes at this host.
fn planned(host: &DpuHost, report: &DpuReportSpec) -> Option<String> {
    let status = host.status.as_ref()?;
    if let Some(open) = status.directives.first() {
        return Some(format!(
            "directive {} ({} {}) is open",
            open.seq, open.action.kind, open.target.name
        ));
    }
    if status.hold.is_some() {
        return Some("the host is held".to_owned());
    }
    let ended = status.history.iter().rev().find(|ended| {
        ended.outcome != OutcomeKind::Failed && ended.at.0 >= report.observed_at.0 - AFTERWARDS
    })?;
    Some(format!(
        "directive {} ({}) ended at {}",
        ended.seq, ended.what, ended.at.0
    ))
}
