//! What may happen, and how it happens to the world.

use lockstep_crds::boot_policy::{
    AllowedMethod, OnInstallFailure, OnTimeout, PolicyMode, WaitUntil,
};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::drift::OnDrift;
use lockstep_crds::host::{HostRole, TrustDomain};
use lockstep_crds::observed::{BootStage, Knowledge, Offer};
use lockstep_crds::{DpuBootPolicy, LocalRef};
use lockstep_planner::inventory::JoinedHost;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{LeaseSeen, Sighting};
use proptest::prelude::*;

use super::disruption;
use crate::world::agent::Fault;
use crate::world::build::{GOLDEN, by_family, dpu, image};
use crate::world::host_agent::{Flash, Push};
use crate::world::machine::{Firmware, HttpBoot, Update};
use crate::world::operator::Crash;
use crate::world::{World, secs};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    Round,
    Rounds(u8),
    Pass(u16),
    Agent,
    Operator(Crash),
    AgentDies,
    AgentStarts,
    Fault(Fault),
    /// What becomes of the next push.
    Push(Push),
    /// What becomes of the next flash.
    Flash(Flash),
    /// Whether the host is trusted with its cards.
    Trusts(bool),
    HostBmc(bool),
    PressHost,
    HandsOff(bool),
    /// Somebody has the BMC of the host, or of that card, write something, or that has ended.
    Busy(Option<usize>, bool),
    PolicyImage(Option<&'static str>),
    /// The policy chooses images by family: these, in this order.
    Choices(&'static [(&'static str, &'static str)]),
    ImageGone(bool),
    Source(bool),
    /// Something else is found of an image.
    Vetted(&'static str, Vetting),
    /// The policy asks for a security version.
    Minimum(i64),
    Mode(PolicyMode),
    Policy(bool),
    Methods(Vec<AllowedMethod>),
    Disrupt(bool),
    OnTimeout(OnTimeout),
    OnFailure(OnInstallFailure),
    Golden(bool),
    /// Whether the policy puts back what somebody changes.
    Repairs(bool),
    /// The system of a version does not come up any more, or does again.
    Breaks(&'static str, bool),
    HostStage(BootStage),
    HostStranger(bool),
    Conflict(bool),
    Guards(bool),
    Offline,
    /// A person takes the Node's taint away.
    Untaint,
    /// An agent proves which Node runs on the host, or none does.
    Proves(Option<&'static str>),
    /// Identity or BMC of the host were edited, and nobody has joined it since.
    Edited,
    DeleteHost,
    Card(usize, OfCard),
}

/// Something that happens to one card.
#[derive(Clone, Debug)]
pub enum OfCard {
    Bmc(bool),
    Credentials(bool),
    Press,
    Approve(bool),
    Place(Place),
    Pause(bool),
    Retry,
    Image(Option<&'static str>),
    /// What is told of its family by now.
    Family(Option<&'static str>),
    Stage(BootStage),
    Knowledge(Knowledge),
    /// Whether its BMC tells its power state.
    TellsPower(bool),
    Deaf(bool),
    Dead(bool),
    Foreign(bool),
    ForeignUri(bool),
    UefiHttp(Option<Offer>),
    /// Whether the site's agent supplies a PXE service, which the card's firmware finds.
    Pxe(Option<bool>, bool),
    BootMacs(&'static [&'static str]),
    MakesOfHttp(HttpBoot),
    /// Whether its BMC offers a boot override that lasts.
    NetworkBoot(Option<Offer>),
    /// Whether one that is to last does.
    KeepsOverride(bool),
    LosesOverride,
    /// Whether its BMC boots one boot entry once.
    BootEntry(Option<Offer>),
    Entries(Entries),
    Reboot,
    /// Somebody installs that version by other means.
    Reinstalls(&'static str),
    Updates(Option<Offer>),
    MakesOfUpdates(Update),
    Firmware(Option<&'static str>),
    MakesOfFirmware(Firmware),
    Service(Option<&'static str>),
    /// Somebody else changes what runs there.
    ChangesFirmware(&'static str),
    /// The same of what its host's driver lists.
    ChangesFlashed(&'static str),
    /// Whether what that driver has written never runs.
    KeepsFlashed(bool),
    Stranger(bool),
    Delete,
    Create,
}

/// What becomes of the boot entries of a card.
#[derive(Clone, Copy, Debug)]
pub enum Entries {
    /// The first has another name, or its name is there twice.
    Renamed,
    Doubled,
    /// Somebody else puts the last of the order first.
    Turned,
    /// Whether installers put theirs first.
    Lead(bool),
    /// Whether a system that does not come up is left for the first of the order.
    FallBack(bool),
}

fn entries() -> impl Strategy<Value = Entries> {
    prop_oneof![
        1 => Just(Entries::Renamed),
        1 => Just(Entries::Doubled),
        2 => Just(Entries::Turned),
        2 => any::<bool>().prop_map(Entries::Lead),
        2 => any::<bool>().prop_map(Entries::FallBack),
    ]
}

/// How the card's place is known.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The user vouches for it.
    Asserted,
    /// It must be seen, and is seen here, elsewhere, or by nobody, for so many seconds.
    Seen(Option<&'static str>, i64),
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => Just(Place::Asserted),
        2 => (30..4000_i64).prop_map(|lasts| Place::Seen(Some("host1"), lasts)),
        1 => (30..4000_i64).prop_map(|lasts| Place::Seen(Some("host2"), lasts)),
        1 => Just(Place::Seen(None, 0)),
    ]
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Fine),
        Just(Fault::LostReply),
        Just(Fault::LostCall),
        (5..200_i64).prop_map(Fault::Late),
        Just(Fault::CrashBefore),
        Just(Fault::CrashAfter),
        Just(Fault::Refused),
        Just(Fault::Half),
    ]
}

fn pushes() -> impl Strategy<Value = Push> {
    prop_oneof![
        Just(Push::Installs),
        Just(Push::Busy),
        Just(Push::BreaksOff),
        Just(Push::DiesBefore),
        Just(Push::DiesAfter),
    ]
}

pub fn flashes() -> impl Strategy<Value = Flash> {
    prop_oneof![
        2 => Just(Flash::Stores),
        1 => Just(Flash::Refused),
        1 => Just(Flash::BreaksOff),
        1 => Just(Flash::KeepsOld),
        1 => Just(Flash::Hides),
        1 => Just(Flash::DiesBefore),
        1 => Just(Flash::DiesMeanwhile),
        2 => Just(Flash::CutOff),
        1 => Just(Flash::Hangs),
    ]
}

fn stages() -> impl Strategy<Value = BootStage> {
    prop_oneof![
        Just(BootStage::OsRunning),
        Just(BootStage::OsHalted),
        Just(BootStage::FirmwareUpdating),
        Just(BootStage::OsCrashDumping),
        Just(BootStage::from("Dreaming")),
    ]
}

fn knowledge() -> impl Strategy<Value = Knowledge> {
    prop_oneof![
        Just(Knowledge::Known),
        Just(Knowledge::NotOffered),
        Just(Knowledge::NotRead)
    ]
}

/// The golden image, if the policy names it.
pub fn golden_image(named: bool) -> Option<LocalRef> {
    named.then(|| LocalRef {
        name: GOLDEN.to_owned(),
    })
}

/// Whether what somebody changes is put back.
pub fn on_drift(repairs: bool) -> OnDrift {
    if repairs {
        OnDrift::Repair
    } else {
        OnDrift::Show
    }
}

fn versions() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        3 => Just(Some("os-1")),
        3 => Just(Some("os-2")),
        2 => Just(Some("net-3")),
        1 => Just(Some("net-4")),
        2 => Just(Some("ab-5")),
        2 => Just(Some("ab-6")),
        1 => Just(Some("ab-7")),
        1 => Just(Some("os-9")),
        1 => Just(None),
    ]
}

fn choices() -> impl Strategy<Value = &'static [(&'static str, &'static str)]> {
    prop_oneof![
        1 => Just(&[][..]),
        2 => Just(&[("new", "os-2")][..]),
        2 => Just(&[("new", "os-2"), ("old", "os-1")][..]),
        1 => Just(&[("old", "net-3"), ("new", "os-1")][..]),
    ]
}

fn judgements() -> impl Strategy<Value = Judgement> {
    prop_oneof![
        4 => Just(Judgement::Met),
        1 => Just(Judgement::NotMet("it is not".to_owned())),
        1 => Just(Judgement::NotKnown("nobody knows".to_owned())),
    ]
}

fn vettings() -> impl Strategy<Value = Vetting> {
    (judgements(), judgements(), 0..3_i64).prop_map(|(trust, fit, security_version)| Vetting {
        room: None,
        trust,
        fit,
        security_version,
    })
}

fn modes() -> impl Strategy<Value = PolicyMode> {
    prop_oneof![3 => Just(PolicyMode::Enforce), 1 => Just(PolicyMode::Plan), 1 => Just(PolicyMode::Observe)]
}

pub fn methods() -> impl Strategy<Value = Vec<AllowedMethod>> {
    let (media, http) = (AllowedMethod::VirtualMedia, AllowedMethod::UefiHttp);
    let (pull, push) = (AllowedMethod::SimpleUpdate, AllowedMethod::MultipartPush);
    let (rshim, pxe) = (AllowedMethod::Rshim, AllowedMethod::Pxe);
    let local = AllowedMethod::LocalStorage;
    let flash = AllowedMethod::DevlinkFlash;
    prop_oneof![
        2 => Just(vec![pull]),
        1 => Just(vec![push, media]),
        1 => Just(vec![pull, push, http]),
        1 => Just(vec![media, pull]),
        2 => Just(vec![rshim]),
        1 => Just(vec![rshim, media]),
        1 => Just(vec![http, rshim]),
        1 => Just(vec![pull, rshim]),
        2 => Just(vec![media]),
        2 => Just(vec![http]),
        2 => Just(vec![media, http]),
        2 => Just(vec![http, media]),
        2 => Just(vec![pxe]),
        1 => Just(vec![pxe, media]),
        1 => Just(vec![http, pxe]),
        1 => Just(vec![pxe, rshim]),
        3 => Just(vec![local, media]),
        1 => Just(vec![local, pull, http]),
        1 => Just(vec![local]),
        2 => Just(vec![flash, media]),
        1 => Just(vec![rshim, flash]),
    ]
}

pub fn failures() -> impl Strategy<Value = OnInstallFailure> {
    prop_oneof![1 => Just(OnInstallFailure::Stall), 3 => Just(OnInstallFailure::RollBack)]
}

pub fn http_offers() -> impl Strategy<Value = Option<Offer>> {
    prop_oneof![
        4 => Just(Some(Offer::Offered)),
        1 => Just(Some(Offer::NotOffered)),
        1 => Just(Some(Offer::NotRead)),
        1 => Just(None),
    ]
}

pub fn http_boots() -> impl Strategy<Value = HttpBoot> {
    prop_oneof![
        Just(HttpBoot::Keeps),
        Just(HttpBoot::Forgets),
        Just(HttpBoot::Fetches),
        Just(HttpBoot::FetchesAndHides),
        Just(HttpBoot::DropsUrl),
        Just(HttpBoot::LeadsNowhere),
    ]
}

pub fn updates() -> impl Strategy<Value = Update> {
    prop_oneof![
        3 => Just(Update::Writes),
        1 => Just(Update::LosesTask),
        1 => Just(Update::NeverEnds),
        1 => Just(Update::KeepsOld),
        1 => Just(Update::Fails),
        1 => Just(Update::Hangs),
        1 => Just(Update::Restarts),
    ]
}

fn services() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("web-c")), Just(Some("web-d"))]
}

pub fn firmware() -> impl Strategy<Value = Firmware> {
    prop_oneof![
        2 => Just(Firmware::Restarts),
        2 => Just(Firmware::Waits),
        1 => Just(Firmware::KeepsOld),
        1 => Just(Firmware::Fails),
        1 => Just(Firmware::Hangs),
        1 => Just(Firmware::Stays),
        1 => Just(Firmware::Hides),
        1 => Just(Firmware::Boasts),
    ]
}

pub fn firmware_versions() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some("bmc-b")),
        1 => Just(Some("bmc-c")),
        2 => Just(Some("nic-d")),
        1 => Just(Some("dev-e")),
    ]
}

fn boot_macs() -> impl Strategy<Value = &'static [&'static str]> {
    prop_oneof![
        1 => Just(&[][..]),
        2 => Just(&["02:00:00:00:00:02"][..]),
        2 => Just(&["02:00:00:00:00:02", "02:00:00:00:00:01"][..]),
    ]
}

fn of_card() -> impl Strategy<Value = OfCard> {
    prop_oneof![
        2 => any::<bool>().prop_map(OfCard::Bmc),
        1 => any::<bool>().prop_map(OfCard::Credentials),
        2 => Just(OfCard::Press),
        2 => any::<bool>().prop_map(OfCard::Pause),
        2 => prop::bool::weighted(0.7).prop_map(OfCard::Approve),
        2 => places().prop_map(OfCard::Place),
        2 => Just(OfCard::Retry),
        2 => versions().prop_map(OfCard::Image),
        2 => prop_oneof![Just(None), Just(Some("old")), Just(Some("new"))].prop_map(OfCard::Family),
        2 => stages().prop_map(OfCard::Stage),
        2 => knowledge().prop_map(OfCard::Knowledge),
        2 => any::<bool>().prop_map(OfCard::TellsPower),
        1 => any::<bool>().prop_map(OfCard::Deaf),
        2 => any::<bool>().prop_map(OfCard::Dead),
        1 => any::<bool>().prop_map(OfCard::Foreign),
        1 => any::<bool>().prop_map(OfCard::ForeignUri),
        1 => http_offers().prop_map(OfCard::UefiHttp),
        1 => http_boots().prop_map(OfCard::MakesOfHttp),
        1 => (prop::option::weighted(0.9, any::<bool>()), any::<bool>())
            .prop_map(|(supplied, finds)| OfCard::Pxe(supplied, finds)),
        1 => boot_macs().prop_map(OfCard::BootMacs),
        1 => http_offers().prop_map(OfCard::NetworkBoot),
        1 => any::<bool>().prop_map(OfCard::KeepsOverride),
        2 => Just(OfCard::LosesOverride),
        1 => http_offers().prop_map(OfCard::BootEntry),
        2 => entries().prop_map(OfCard::Entries),
        3 => Just(OfCard::Reboot),
        2 => prop_oneof![Just("os-1"), Just("os-2"), Just("ab-6")].prop_map(OfCard::Reinstalls),
        1 => http_offers().prop_map(OfCard::Updates),
        1 => updates().prop_map(OfCard::MakesOfUpdates),
        2 => firmware_versions().prop_map(OfCard::Firmware),
        1 => firmware().prop_map(OfCard::MakesOfFirmware),
        2 => services().prop_map(OfCard::Service),
        1 => prop_oneof![Just("bmc-a"), Just("bmc-b"), Just("nic-d")].prop_map(OfCard::ChangesFirmware),
        1 => prop_oneof![Just("dev-a"), Just("dev-e")].prop_map(OfCard::ChangesFlashed),
        1 => any::<bool>().prop_map(OfCard::KeepsFlashed),
        1 => any::<bool>().prop_map(OfCard::Stranger),
        1 => Just(OfCard::Delete),
        1 => Just(OfCard::Create),
    ]
}

pub fn events() -> impl Strategy<Value = Event> {
    let crash = prop_oneof![
        Just(Crash::Never),
        Just(Crash::BeforeRecord),
        Just(Crash::AfterRecord)
    ];
    let timeouts = prop_oneof![
        Just(OnTimeout::Continue),
        Just(OnTimeout::Hold),
        Just(OnTimeout::PowerOff)
    ];
    let time = prop_oneof![
        8 => Just(Event::Round),
        8 => (1..12_u8).prop_map(Event::Rounds),
        3 => (1..400_u16).prop_map(Event::Pass),
        4 => Just(Event::Agent),
        4 => crash.prop_map(Event::Operator),
    ];
    let agent = prop_oneof![
        2 => Just(Event::AgentDies),
        4 => Just(Event::AgentStarts),
        6 => faults().prop_map(Event::Fault),
        2 => pushes().prop_map(Event::Push),
        1 => flashes().prop_map(Event::Flash),
    ];
    let host = prop_oneof![
        2 => any::<bool>().prop_map(Event::HostBmc),
        2 => Just(Event::PressHost),
        1 => stages().prop_map(Event::HostStage),
        1 => any::<bool>().prop_map(Event::HostStranger),
        1 => any::<bool>().prop_map(Event::HandsOff),
        1 => (prop::option::of(0..2_usize), any::<bool>()).prop_map(|(card, busy)| Event::Busy(card, busy)),
        2 => versions().prop_map(Event::PolicyImage),
        2 => choices().prop_map(Event::Choices),
        1 => any::<bool>().prop_map(Event::ImageGone),
        1 => any::<bool>().prop_map(Event::Source),
        3 => (prop_oneof![Just("os-1"), Just("os-2"), Just("bmc-b"), Just("nic-d"), Just("dev-e"), Just("net-3"), Just("web-d"), Just(GOLDEN)], vettings()).prop_map(|(image, found)| Event::Vetted(image, found)),
        1 => (0..3_i64).prop_map(Event::Minimum),
        2 => modes().prop_map(Event::Mode),
        1 => any::<bool>().prop_map(Event::Policy),
        1 => methods().prop_map(Event::Methods),
        1 => any::<bool>().prop_map(Event::Disrupt),
        1 => any::<bool>().prop_map(Event::Trusts),
        1 => timeouts.prop_map(Event::OnTimeout),
        1 => failures().prop_map(Event::OnFailure),
        1 => any::<bool>().prop_map(Event::Golden),
        1 => prop::bool::weighted(0.8).prop_map(Event::Repairs),
        3 => (prop_oneof![Just("os-1"), Just("os-2"), Just("net-3"), Just("ab-6"), Just(GOLDEN)], any::<bool>())
            .prop_map(|(version, breaks)| Event::Breaks(version, breaks)),
        1 => any::<bool>().prop_map(Event::Conflict),
        1 => any::<bool>().prop_map(Event::Guards),
        1 => Just(Event::Offline),
        1 => Just(Event::Untaint),
        1 => prop_oneof![Just(None), Just(Some("node1")), Just(Some("node2"))].prop_map(Event::Proves),
        1 => Just(Event::Edited),
        1 => Just(Event::DeleteHost),
    ];
    let card = (0..2_usize, of_card()).prop_map(|(index, event)| Event::Card(index, event));
    prop_oneof![14 => time, 3 => agent, 4 => host, 5 => card]
}

pub fn happen(world: &mut World, event: &Event, spare: &mut Option<DpuBootPolicy>) {
    match event {
        Event::Round => world.round(),
        Event::Rounds(rounds) => (0..*rounds).for_each(|_| world.round()),
        Event::Pass(seconds) => world.pass(secs((*seconds).into())),
        Event::Agent => {
            world.agent_step();
            world.host_agent_step();
        }
        Event::Operator(crash) => {
            world.operator_step_to(*crash);
        }
        Event::AgentDies => world.agent_dies(),
        Event::AgentStarts => world.agent_starts(),
        Event::Fault(fault) => world.agent.faults.push_back(*fault),
        Event::Push(push) => {
            if let Some(agent) = world.host_agent.as_mut() {
                agent.pushes.push_back(*push);
            }
        }
        Event::Flash(flash) => {
            if let Some(agent) = world.host_agent.as_mut() {
                agent.flashes.push_back(*flash);
            }
        }
        Event::Trusts(trusted) => world.edit_host(|host| {
            host.trust_domain = if *trusted {
                TrustDomain::Trusted
            } else {
                TrustDomain::Isolated
            };
        }),
        Event::HostBmc(answers) => world.host_machine.answers = *answers,
        Event::PressHost if world.host_machine.is_on() => {
            // What a button undoes before anybody has seen it cannot be counted.
            world.boots.clear();
            world.power_off_host();
            world.owed = false;
        }
        Event::PressHost => world.power_on_host(),
        Event::Busy(card, busy) => {
            let since = busy.then_some(world.now);
            let machine = match card {
                None => Some(&mut world.host_machine),
                Some(index) => world.cards.get_mut(*index).map(|card| &mut card.machine),
            };
            if let Some(machine) = machine {
                machine.busy = since;
            }
        }
        Event::HandsOff(off) => world.edit_host(|host| host.hands_off = *off),
        Event::PolicyImage(version) => {
            let image = version.map(|name| LocalRef { name: name.into() });
            world.edit_policy(|policy| policy.image_ref = image);
        }
        Event::Choices(choices) => {
            let choices = choices
                .iter()
                .map(|(family, image)| by_family(family, image));
            let choices = choices.collect();
            world.edit_policy(|policy| policy.image_choices = choices);
        }
        Event::ImageGone(gone) => {
            let os = image("os-1");
            if *gone {
                world.catalogue.remove("os-1");
            } else {
                world.catalogue.insert("os-1".into(), os);
            }
        }
        Event::Source(ok) => world.source_ok = *ok,
        Event::Vetted(image, found) => {
            world.vetted.insert((*image).to_owned(), found.clone());
        }
        Event::Minimum(minimum) => world.edit_policy(|policy| {
            policy
                .images
                .get_or_insert_default()
                .minimum_security_version = Some(*minimum);
        }),
        Event::Mode(mode) => world.edit_policy(|policy| policy.mode = *mode),
        Event::Methods(methods) => {
            world.edit_policy(|policy| policy.install.methods.clone_from(methods));
        }
        Event::Policy(there) => {
            if *there && world.policy.is_none() {
                world.policy = spare.take();
            } else if !*there && world.policy.is_some() {
                *spare = world.policy.take();
            }
        }
        Event::Disrupt(allowed) => world.edit_host(|host| {
            if host.role == HostRole::Server {
                host.disruption = disruption(*allowed);
            }
        }),
        Event::OnTimeout(then) => world.edit_policy(|policy| {
            if policy.host_wait.until != WaitUntil::None {
                policy.host_wait.on_timeout = *then;
            }
        }),
        Event::OnFailure(then) => world.edit_policy(|policy| policy.install.on_failure = *then),
        Event::Golden(named) => {
            world.edit_policy(|policy| policy.install.golden_image_ref = golden_image(*named));
        }
        Event::Repairs(repairs) => {
            world.edit_policy(|policy| policy.on_drift = on_drift(*repairs));
        }
        Event::Breaks(version, true) => {
            world.broken.insert((*version).to_owned());
        }
        Event::Breaks(version, false) => {
            world.broken.remove(*version);
        }
        Event::HostStranger(there) => {
            world.host_machine.stranger(*there);
        }
        Event::HostStage(stage) => world.host_machine.stage = Some(stage.clone()),
        Event::Conflict(there) => {
            world.conflicts = if *there {
                vec!["two hosts".into()]
            } else {
                Vec::new()
            };
        }
        Event::Guards(intact) => world.guards_intact = *intact,
        Event::Offline => world.release_offline(),
        Event::Untaint => world.tainted.clear(),
        Event::Proves(node) => {
            world.joined = Some(JoinedHost {
                node_name: node.map(str::to_owned),
                ..JoinedHost::default()
            });
        }
        Event::Edited => world.joined = None,
        Event::DeleteHost => world.delete_host(),
        Event::Card(index, event) => {
            if *index < world.cards.len() {
                happen_to_card(world, *index, event);
            }
        }
    }
    if world.story.len() > 400 {
        world.story.drain(..200);
    }
}

fn happen_to_card(world: &mut World, index: usize, event: &OfCard) {
    match event {
        OfCard::Bmc(answers) => {
            let machine = &mut world.cards[index].machine;
            machine.answers = *answers && !machine.restarts();
        }
        OfCard::Credentials(ok) => {
            world.cards[index].machine.refusal = (!ok).then_some("CredentialsRefused");
        }
        OfCard::Press if world.cards[index].machine.is_on() => {
            world.boots.clear();
            world.power_off_card(index);
        }
        OfCard::Press => world.power_on_card(index),
        OfCard::Approve(approved) => world.edit_card(index, |card| card.approved = *approved),
        OfCard::Place(place) => put_in_place(world, index, *place),
        OfCard::Pause(paused) => world.edit_card(index, |card| card.paused = *paused),
        OfCard::Retry => {
            let token = format!("retry-{}", world.wish + 1);
            world.looks_at_firmware(index);
            world.edit_card(index, |card| card.retry_token = Some(token));
        }
        OfCard::Image(version) => {
            let image = version.map(|name| LocalRef { name: name.into() });
            world.edit_card(index, |card| card.image_ref = image);
        }
        OfCard::Family(family) => world.cards[index].family = family.map(str::to_owned),
        OfCard::Stage(stage) => world.cards[index].machine.stage = Some(stage.clone()),
        OfCard::Knowledge(known) => world.cards[index].machine.knowledge = known.clone(),
        OfCard::TellsPower(tells) => {
            let now = world.now;
            world.cards[index].machine.tells_power(*tells, now);
        }
        OfCard::Deaf(deaf) => world.cards[index].machine.deaf = *deaf,
        OfCard::Dead(dead) => world.cards[index].dead = *dead,
        OfCard::Stranger(there) => world.cards[index].machine.stranger(*there),
        OfCard::ForeignUri(foreign) => world.cards[index].machine.foreign_uri = *foreign,
        OfCard::UefiHttp(offer) => world.cards[index].machine.uefi_http.clone_from(offer),
        OfCard::Pxe(supplied, finds) => {
            world.cards[index].machine.pxe = *supplied;
            world.cards[index].machine.finds_pxe = *finds;
        }
        OfCard::BootMacs(macs) => world.edit_card(index, |card| {
            card.boot_macs = macs.iter().map(|mac| (*mac).to_owned()).collect();
        }),
        OfCard::MakesOfHttp(makes) => world.cards[index].machine.makes_of_http = *makes,
        OfCard::NetworkBoot(offer) => world.cards[index].machine.network_boot.clone_from(offer),
        OfCard::KeepsOverride(keeps) => world.cards[index].machine.keeps_override = *keeps,
        OfCard::LosesOverride => world.cards[index].machine.lose_override(),
        OfCard::BootEntry(offer) => world.cards[index].machine.boot_entry.clone_from(offer),
        OfCard::Entries(what) => happen_to_entries(world, index, *what),
        OfCard::Reboot => world.reboot_card(index),
        OfCard::Reinstalls(version) => world.installs_by_hand(index, version),
        OfCard::Updates(offer) => {
            let machine = &mut world.cards[index].machine;
            machine.simple_update.clone_from(offer);
            machine.multipart_push.clone_from(offer);
        }
        OfCard::MakesOfUpdates(makes) => world.cards[index].machine.makes_of_updates = *makes,
        OfCard::Firmware(version) => {
            world.wish += 1;
            world.cards[index].firmware = version.iter().map(|one| (*one).to_owned()).collect();
        }
        OfCard::Service(name) => {
            world.cards[index].services = name.iter().map(|&name| name.to_owned()).collect();
        }
        OfCard::MakesOfFirmware(makes) => world.cards[index].machine.makes_of_firmware = *makes,
        OfCard::ChangesFirmware(version) => {
            world.boots.clear();
            world.cards[index].machine.firmware.0 = (*version).to_owned();
        }
        OfCard::ChangesFlashed(version) => {
            world.boots.clear();
            world.cards[index].machine.flashed.0 = (*version).to_owned();
        }
        OfCard::KeepsFlashed(keeps) => world.cards[index].machine.keeps_flashed = *keeps,
        OfCard::Foreign(foreign) => world.cards[index].machine.foreign_media = *foreign,
        OfCard::Delete => world.delete_card(index),
        OfCard::Create => {
            if world.cards[index].dpu.is_some() {
                return;
            }
            world.wish += 1;
            let mut again = dpu(["card1", "card2"][index]);
            again.metadata.uid = Some(format!("uid-{index}-{}", world.wish));
            world.cards[index].dpu = Some(again);
        }
    }
}

fn happen_to_entries(world: &mut World, index: usize, what: Entries) {
    let machine = &mut world.cards[index].machine;
    let first = machine.entries.first().map(|(name, _)| name.clone());
    let last = machine.boot_order.last();
    let last = last.map(|last| machine.entries[*last].0.clone());
    match what {
        Entries::Renamed => {
            if let Some((name, _)) = machine.entries.first_mut() {
                "Another".clone_into(name);
            }
        }
        Entries::Doubled => machine.entries.extend(first.map(|name| (name, None))),
        Entries::Turned => {
            if let Some(last) = last {
                machine.put_first(&last);
                world.settle_disk(index);
            }
        }
        Entries::Lead(leads) => machine.installers_lead = leads,
        Entries::FallBack(falls) => machine.falls_back = falls,
    }
}

fn put_in_place(world: &mut World, index: usize, place: Place) {
    let renewed = world.now;
    let (pairing, seen) = match place {
        Place::Asserted => (Pairing::Asserted, None),
        Place::Seen(host, lasts) => (Pairing::Observed, host.map(|host| (host, lasts))),
    };
    world.edit_card(index, |card| card.host_refs[0].pairing = pairing);
    world.cards[index].sightings = seen
        .map(|(host, lasts)| Sighting {
            host: host.to_owned(),
            report: "host-node".to_owned(),
            agent: Some(LeaseSeen {
                renewed,
                duration: secs(lasts),
            }),
        })
        .into_iter()
        .collect();
}
