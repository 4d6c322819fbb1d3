//! Whatever is told by whomever: the order does not matter, junk joins nobody, no fact is lost
//! in silence, and what is proposed settles.

use lockstep_crds::DpuReportSpec;
use lockstep_crds::dpu_inventory::DpuInventorySpec;
use lockstep_crds::identity::{meaningful, meaningful_uuid};
use lockstep_planner::inventory::{FORGOTTEN_AFTER, SiteJoin, join};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::site::{HOST_UUID, OTHER_HOST_UUID, OTHER_UUID, Site, UUID};

const JUNK: &[&str] = &[
    "",
    "None",
    "0000000",
    "To be filled by O.E.M.",
    "N/A",
    "Not Specified",
];

/// Identities of a small world: they meet, agree and contradict.
fn serial() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => (1..5).prop_map(|n| format!("MT{n}")),
        1 => prop::sample::select(JUNK).prop_map(str::to_owned),
    ]
}

fn uuid() -> impl Strategy<Value = String> {
    prop::sample::select(&[UUID, OTHER_UUID, "", "00000000-0000-0000-0000-000000000000"][..])
        .prop_map(str::to_owned)
}

fn mac() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1..4).prop_map(|n| format!("b8:3f:d2:00:00:0{n}")),
        1 => Just("00:00:00:00:00:00".to_owned()),
    ]
}

fn host_uuid() -> impl Strategy<Value = String> {
    prop::sample::select(&[HOST_UUID, OTHER_HOST_UUID, ""][..]).prop_map(str::to_owned)
}

pub fn inventory() -> impl Strategy<Value = Value> {
    let system = (
        serial(),
        uuid(),
        prop::option::of("P[12]"),
        prop::option::of("NVIDIA|Mellanox|Intel"),
    );
    (system, prop::option::of(mac()), prop::option::of(8..10_i64)).prop_map(
        |((serial, uuid, part, vendor), mac, cores)| {
            let ports = mac.map(|mac| json!({"ports": [{"name": "p0", "mac": mac}]}));
            json!({
                "system": {"serialNumber": serial, "systemUuid": uuid, "partNumber": part, "vendor": vendor},
                "cpu": {"cores": cores},
                "ports": ports,
            })
        },
    )
}

fn seen() -> impl Strategy<Value = Value> {
    let card = (serial(), prop::option::of(1..3_u8), prop::option::of(mac()));
    prop::collection::vec(card, 0..3).prop_map(|cards| {
        let each = cards
            .into_iter()
            .enumerate()
            .map(|(slot, (serial, device, mac))| {
                json!({
                    "serialNumber": serial, "slot": format!("{slot}"),
                    "deviceSerial": device.map(|n| format!("b83fd2030001000{n}")),
                    "macs": mac.into_iter().collect::<Vec<_>>(),
                })
            });
        Value::Array(each.collect())
    })
}

/// Since when something is gone, on the second or third of May; mostly it is not.
fn since() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some("2026-05-02T00:00:00Z")),
        1 => Just(Some("2026-05-03T00:00:00Z")),
    ]
}

/// A step that adds something to a site.
#[derive(Clone, Debug)]
enum Told {
    Card(u8, String, Option<u8>),
    Host(u8, String),
    OwnAgent(u8, Value),
    CardBmc(u8, Value),
    Found(u8, &'static str, u8, Option<&'static str>, Value),
    /// The BMC of what was proposed by that serial number: it answers, or does not since then.
    Proposed(u8, Option<&'static str>, Value),
    Agent(u8, String, Value),
    HostBmc(u8, String, Value),
    /// One that approves every card, or every one that is seen in its host.
    Policy(bool),
    /// An agent on a host, or else who tells of a BMC that was found.
    Silent(u8, bool),
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        (0..3_u8, serial(), prop::option::of(0..4_u8))
            .prop_map(|(n, serial, bmc)| Told::Card(n, serial, bmc)),
        (0..2_u8, host_uuid()).prop_map(|(n, uuid)| Told::Host(n, uuid)),
        (0..3_u8, inventory()).prop_map(|(n, told)| Told::OwnAgent(n, told)),
        (0..3_u8, inventory()).prop_map(|(n, told)| Told::CardBmc(n, told)),
        (
            0..4_u8,
            prop::sample::select(&["Card", "Host", "Unclear"][..]),
            0..4_u8,
            since(),
            inventory()
        )
            .prop_map(|(n, role, at, missing, told)| Told::Found(n, role, at, missing, told)),
        (1..5_u8, since(), inventory()).prop_map(|(n, since, told)| Told::Proposed(n, since, told)),
        (0..3_u8, host_uuid(), seen()).prop_map(|(n, uuid, cards)| Told::Agent(n, uuid, cards)),
        (0..2_u8, host_uuid(), seen()).prop_map(|(n, uuid, cards)| Told::HostBmc(n, uuid, cards)),
        any::<bool>().prop_map(Told::Policy),
        (0..4_u8, any::<bool>()).prop_map(|(n, agent)| Told::Silent(n, agent)),
    ]
}

fn site_of(steps: Vec<Told>) -> Site {
    let mut site = Site::default().on_may(3);
    for step in steps {
        site = match step {
            Told::Card(n, serial, at) => {
                let name = format!("c{n}");
                if site
                    .cards
                    .iter()
                    .any(|card| card.metadata.name.as_ref() == Some(&name))
                {
                    continue;
                }
                let identity = meaningful(&serial).map(|serial| json!({"serialNumber": serial}));
                let bmc = at.map(|at| json!({
                    "address": format!("https://10.0.0.{at}"), "credentialsRef": {"name": "own"},
                    "tls": {"trust": "NoVerification"},
                }));
                site.card(
                    &name,
                    json!({"identity": identity, "bmc": bmc, "hostRefs": [{"name": "h0"}]}),
                )
            }
            Told::Host(n, uuid) => {
                let name = format!("h{n}");
                if site
                    .hosts
                    .iter()
                    .any(|host| host.metadata.name.as_ref() == Some(&name))
                {
                    continue;
                }
                let identity = meaningful_uuid(&uuid).map(|uuid| json!({"systemUuid": uuid}));
                site.host(&name, json!({"identity": identity}))
            }
            Told::OwnAgent(n, told) => site.own_agent(&format!("c{n}"), told),
            Told::CardBmc(n, told) => site.card_bmc(&format!("c{n}"), told),
            Told::Found(n, role, at, missing, told) => {
                let more = json!({"found": {"missingSince": missing}, "inventory": told});
                site.found(
                    &format!("f{n}"),
                    role,
                    &format!("https://10.0.0.{at}"),
                    more,
                )
            }
            Told::Proposed(n, since, told) => {
                let name = format!("dpu-mt{n}");
                let told = json!({
                    "subjectUid": format!("uid-{name}"), "inventory": told,
                    "reachable": {"ok": since.is_none(), "since": since.unwrap_or("2026-05-01T00:00:00Z")},
                });
                site.report(&format!("bmc-card-{name}"), "CardBmc", &name, told)
            }
            Told::Agent(n, uuid, cards) => site.agent(&format!("n{n}"), &uuid, cards),
            Told::HostBmc(n, uuid, cards) => site.host_bmc(
                &format!("h{n}"),
                json!({"system": {"systemUuid": uuid}, "cards": cards}),
            ),
            Told::Policy(observed) => {
                if !site.policies.is_empty() {
                    continue;
                }
                let selector = if observed {
                    json!({"pairingObserved": true})
                } else {
                    json!({"serialNumbers": ["MT1", "MT2", "MT3", "MT4"]})
                };
                site.policy("p", json!({"discovered": {"approve": [selector]}}))
            }
            Told::Silent(n, true) => site.silent(&format!("host-n{n}")),
            Told::Silent(n, false) => site.silent(&format!("bmc-found-f{n}")),
        };
    }
    site
}

pub fn sites() -> impl Strategy<Value = Site> {
    prop::collection::vec(told(), 0..14).prop_map(site_of)
}

/// After so many joins there is nothing left to do.
fn settled(mut site: Site) -> Site {
    for _ in 0..6 {
        site = site.apply();
    }
    site
}

/// Whether every view of a card has been gone for long, and it was found once.
fn is_gone(site: &Site, joined: &SiteJoin, card: &str) -> bool {
    let views = joined.cards[card].inventory.views.iter();
    let views: Vec<_> = views.map(|view| &site.reports[&view.report]).collect();
    let since = |spec: &DpuReportSpec| match &spec.found {
        Some(found) => found.missing_since.clone(),
        None => spec
            .reachable
            .clone()
            .filter(|told| !told.ok)
            .map(|told| told.since),
    };
    let long = |spec: &&DpuReportSpec| {
        since(spec).is_some_and(|since| site.now.duration_since(since.0) >= FORGOTTEN_AFTER)
    };
    views.iter().any(|spec| spec.found.is_some()) && views.iter().all(long)
}

/// What a view told of a field is the result, is told as a conflict, or a better source that is
/// named said something else.
fn kept(
    told: Option<String>,
    field: &str,
    result: Option<String>,
    from: Option<&str>,
    report: &str,
    inventory: &DpuInventorySpec,
) -> Result<(), TestCaseError> {
    let Some(told) = told else { return Ok(()) };
    let stands = result.as_ref() == Some(&told);
    let said = inventory.conflicts.iter().any(|conflict| {
        conflict.field == field && conflict.said.iter().any(|said| said.report == report)
    });
    let overridden = result.is_some() && from.is_some_and(|from| from != report);
    prop_assert!(
        stands || said || overridden,
        "{field} {told} of {report}: {inventory:#?}"
    );
    Ok(())
}

fn nothing_left(joined: &SiteJoin) -> bool {
    joined.proposals.is_empty() && joined.withdrawals.is_empty() && joined.moves.is_empty()
}

proptest! {
    #[test]
    fn the_order_of_what_comes_does_not_matter(site in sites()) {
        let site = site.apply();
        let mut other = site.view();
        other.cards.reverse();
        other.hosts.reverse();
        other.policies.reverse();
        prop_assert_eq!(join(&site.view()), join(&other));
    }

    #[test]
    fn what_is_proposed_settles(site in sites(), day in 3..6_i8) {
        let site = settled(site.on_may(day));
        let joined = site.join();
        prop_assert!(nothing_left(&joined), "{joined:#?}");
        // And again when time has passed.
        let site = settled(site.on_may(9));
        let joined = site.join();
        prop_assert!(nothing_left(&joined), "{joined:#?}");
    }

    #[test]
    fn what_is_gone_for_long_is_withdrawn_unless_somebody_took_it_up(site in sites()) {
        let before = settled(site);
        let after = settled(before.clone().on_may(5));
        let joined = after.join();
        for card in before.cards.iter().filter(|card| card.metadata.labels.is_some()) {
            let name = card.metadata.name.as_deref().unwrap();
            let stays = after.cards.iter().any(|one| one.metadata.name.as_deref() == Some(name));
            if card.spec.approved {
                prop_assert!(stays);
            } else if stays {
                prop_assert!(!is_gone(&after, &joined, name));
            } else {
                prop_assert!(is_gone(&before.clone().on_may(5), &before.join(), name));
            }
        }
    }

    #[test]
    fn nothing_is_proposed_twice_and_everything_is_named_apart(site in sites()) {
        let site = site.apply();
        let mut cards: Vec<_> = site.cards.iter().map(|card| card.metadata.name.clone()).collect();
        let all = cards.len();
        cards.sort();
        cards.dedup();
        prop_assert_eq!(cards.len(), all);
        let mut hosts: Vec<_> = site.hosts.iter().map(|host| host.metadata.name.clone()).collect();
        let all = hosts.len();
        hosts.sort();
        hosts.dedup();
        prop_assert_eq!(hosts.len(), all);
        for card in site.cards.iter().filter(|card| card.metadata.labels.is_some()) {
            prop_assert!(!card.spec.approved);
            let hosts = card.spec.host_refs.iter();
            for host in hosts {
                prop_assert!(site.hosts.iter().any(|one| one.metadata.name.as_ref() == Some(&host.name)));
            }
        }
    }

    #[test]
    fn junk_never_joins(junk in prop::sample::select(JUNK), cards in 2..5_usize) {
        let mut site = Site::default();
        for n in 0..cards {
            let told = json!({
                "system": {"serialNumber": junk, "systemUuid": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
                "ports": {"ports": [{"name": "tmfifo_net0", "mac": "00:1a:ca:ff:ff:01"}]},
            });
            site = site.card(&format!("c{n}"), json!({})).own_agent(&format!("c{n}"), told.clone());
            site = site.found(&format!("f{n}"), "Card", &format!("https://10.0.0.{n}"), json!({"inventory": told}));
        }
        let joined = site.join();
        prop_assert!(joined.proposals.is_empty());
        for card in joined.cards.values() {
            prop_assert_eq!(card.inventory.views.len(), 1);
            prop_assert!(card.inventory.conflicts.is_empty());
        }
    }

    #[test]
    fn no_fact_is_lost_in_silence(site in sites()) {
        let joined = site.join();
        for card in joined.cards.values() {
            let inventory = &card.inventory;
            let system = inventory.system.as_ref();
            let cpu = inventory.cpu.as_ref();
            for view in &inventory.views {
                let spec = &site.reports[&view.report];
                // A host tells of several cards: which of them is meant is not told again here.
                let Some(told) = spec.inventory.as_ref().filter(|told| told.cards.is_empty()) else { continue };
                let of = told.system.as_ref();
                let text = |text: Option<&String>| text.and_then(|text| meaningful(text)).map(str::to_owned);
                kept(
                    text(of.and_then(|s| s.serial_number.as_ref())), "system.serialNumber",
                    system.and_then(|s| s.facts.serial_number.clone()),
                    system.map(|s| s.report.as_str()), &view.report, inventory,
                )?;
                kept(
                    text(of.and_then(|s| s.part_number.as_ref())), "system.partNumber",
                    system.and_then(|s| s.facts.part_number.clone()),
                    system.map(|s| s.report.as_str()), &view.report, inventory,
                )?;
                kept(
                    told.cpu.as_ref().and_then(|cpu| cpu.cores).map(|cores| cores.to_string()), "cpu.cores",
                    cpu.and_then(|cpu| cpu.facts.cores).map(|cores| cores.to_string()),
                    cpu.map(|cpu| cpu.report.as_str()), &view.report, inventory,
                )?;
            }
        }
    }

    #[test]
    fn what_conflicts_is_never_approved(site in sites()) {
        let site = site.apply();
        let joined = site.join();
        for approval in &joined.approvals {
            prop_assert!(joined.cards[&approval.name].inventory.conflicts.is_empty());
            prop_assert!(joined.withdrawals.iter().all(|gone| gone.name != approval.name));
        }
    }

    #[test]
    fn silence_approves_nothing_where_a_pairing_is_asked_for(site in sites()) {
        let site = site.apply();
        let mut silent = site.clone();
        silent.silent = site.reports.keys().cloned().collect();
        let (some, none) = (site.join(), silent.join());
        let discovered = site.policies.iter().filter_map(|policy| policy.spec.discovered.as_ref());
        let mut selectors = discovered.flat_map(|discovered| &discovered.approve);
        prop_assert!(none.approvals.is_empty() || !selectors.any(|one| one.pairing_observed));
        // Nothing else of the join depends on who is alive.
        prop_assert_eq!(SiteJoin { approvals: Vec::new(), ..some }, SiteJoin { approvals: Vec::new(), ..none });
    }
}
