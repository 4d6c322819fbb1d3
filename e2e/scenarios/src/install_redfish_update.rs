//! `install-redfish-update`: cards whose BMCs write the image by themselves. Two of them fetch it or
//! are sent it as they should; of the others each task tells another lie, and one BMC restarts while
//! it writes.
//!
//! Judged by the simulator's own effect log and request counts: what came at each BMC, byte for
//! byte, how often it was asked, and what was written to which card.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kube::Api;
use lockstep_crds::Dpu;
use lockstep_crds::host::{CardRecord, InstallFailure};
use lockstep_crds::inventory::InstallMethod;
use lockstep_lab::image::Image;
use lockstep_xpusim::effect::What;
use lockstep_xpusim::fault::Fault;
use lockstep_xpusim::reset::ResetType;
use lockstep_xpusim::{Fleet, Listen, Strike};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{PASSWORD, secrets};
use crate::simulated_fleet::cases::{begin, host_of, record};
use crate::story;
use crate::world::{Simulated, World};

/// How much faster than life BMCs write and cards boot.
const SCALE: u32 = 40;
/// `install.osTimeoutSeconds`: an update takes 600 s of the simulator's time, and a boot 93 s.
const OS_TIMEOUT: u32 = 100;
/// For all cards, those with a second attempt included, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
const SOON: Duration = Duration::from_secs(240);

/// A card, what its BMC does wrong once, and how its first install is to be told.
struct Case {
    card: &'static str,
    methods: &'static str,
    fault: Option<Fault>,
    /// The reason of the failure, and how many updates it takes.
    fails: Option<&'static str>,
}

const BOTH: &str = "[SimpleUpdate, MultipartPush]";

const CASES: [Case; 7] = [
    Case {
        card: "card-1",
        methods: BOTH,
        fault: None,
        fails: None,
    },
    Case {
        card: "card-2",
        methods: "[MultipartPush]",
        fault: None,
        fails: None,
    },
    Case {
        card: "card-3",
        methods: BOTH,
        fault: Some(Fault::TaskLost),
        fails: None,
    },
    Case {
        card: "card-4",
        methods: BOTH,
        fault: Some(Fault::BmcRestartsInUpdate),
        fails: None,
    },
    Case {
        card: "card-5",
        methods: BOTH,
        fault: Some(Fault::TaskErrorText),
        fails: Some("TaskFailed"),
    },
    Case {
        card: "card-6",
        methods: BOTH,
        fault: Some(Fault::WrongVersion),
        fails: Some("ImageNotSeen"),
    },
    Case {
        card: "card-7",
        methods: BOTH,
        fault: Some(Fault::TaskStuck),
        fails: Some("TaskStuck"),
    },
];

/// The one whose BMC goes on writing for ever: its card is in a stage in which nothing may be cut,
/// until a person restarts the BMC and the card.
const STUCK: &str = "card-7";

impl Case {
    /// Its updates, by the way that each takes.
    fn updates(&self) -> (usize, usize) {
        match (self.methods, self.fails) {
            (BOTH, None) => (1, 0),
            (BOTH, Some(_)) => (1, 1),
            (_, _) => (0, 1),
        }
    }
}

fn fleet() -> String {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for case in &CASES {
        let card = case.card;
        yaml += &format!(
            "- hosts: [{{name: {host}, personality: dell-host, password: {PASSWORD}, off: true}}]\n  cards:\n  \
             - {{name: {card}, personality: bluefield-3, password: {PASSWORD}, off: true, os: '', \
             slots: [{{host: {host}, number: 1, slotPower: standby}}]}}\n",
            host = host_of(case.card),
        );
    }
    yaml
}

fn policies() -> String {
    let choices = Choices {
        os_timeout: OS_TIMEOUT,
        host_timeout: 3000,
        ..Choices::default()
    };
    [("both", BOTH), ("push", "[MultipartPush]")]
        .map(|(name, methods)| {
            let choices = Choices {
                methods: Some(methods),
                ..choices.clone()
            };
            objects::policy("v1", &choices)
                .replace("name: policy", &format!("name: {name}"))
                .replace("maxAttempts: 1", "maxAttempts: 2")
        })
        .concat()
}

fn machines(fleet: &Simulated) -> Result<String> {
    let mut yaml = String::new();
    for case in &CASES {
        let policy = if case.methods == BOTH { "both" } else { "push" };
        let host = host_of(case.card);
        for (kind, name, rest) in [
            (
                "DpuHost",
                host.as_str(),
                format!("  policyRef: {{name: {policy}}}\n  slotPowerWhenHostOff: \"Yes\"\n"),
            ),
            (
                "Dpu",
                case.card,
                format!("  hostRefs: [{{name: {host}, pairing: Asserted}}]\n"),
            ),
        ] {
            yaml += &fleet.object(kind, name, "trust: NoVerification", &rest)?;
        }
    }
    Ok(yaml)
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let images = ImageServer::serve(image.path.clone()).await?;
    let simulated = Simulated::start(&fleet(), Listen::Ports("127.0.0.1:0".parse()?)).await?;
    let yaml = [
        secrets(&[&simulated])?,
        policies(),
        objects::image("v1", &image, &images.url("v1.iso")),
        machines(&simulated)?,
    ];
    for case in &CASES {
        if let Some(fault) = case.fault {
            simulated.strike_once(case.card, fault)?;
        }
    }
    let cards = CASES.map(|case| case.card);
    let begun = begin(&context, simulated, &cards, &image, &yaml.concat()).await?;
    let (mut world, systems, fleet) = (begun.world, begun.systems, begun.fleet);
    let began = Instant::now();

    release_the_stuck(&world, &fleet, &mut report).await?;
    let cards: Vec<_> = CASES
        .iter()
        .map(|case| (case.card, format!("{:?}", case.fault)))
        .collect();
    let left = PATIENCE.saturating_sub(began.elapsed());
    systems.await_ready(&mut world, &cards, left).await?;
    report.figure(
        "seconds from apply to the last Ready",
        began.elapsed().as_secs(),
    );
    story::comes_to_rest(&world.control_plane, Duration::from_secs(15), SOON).await?;
    for case in &CASES {
        let kept = record(&world, case.card).await?;
        told(case, &kept, &mut report)?;
        written(case, &fleet, &image)?;
        asked(case, &fleet)?;
    }
    shows_no_url(&world, &mut report).await?;
    systems.stop().await?;
    world.stop().await?;
    Ok(report)
}

/// What a person does about a BMC that writes for ever: nothing else may cut its card off.
async fn release_the_stuck(world: &World, fleet: &Fleet, report: &mut Report) -> Result<()> {
    let card = story::await_card(
        &world.control_plane,
        STUCK,
        "left alone, because its BMC still says that it writes",
        SOON,
        |card| story::reason(card) == "StageForbids",
    )
    .await?;
    let message = card.status.and_then(|status| status.message);
    report.say(format!("{STUCK}: {}", message.unwrap_or_default()));
    fleet.strike(STUCK, Strike::RestartBmc)?;
    fleet.strike(
        STUCK,
        Strike::Press {
            reset: ResetType::ForceOff,
        },
    )?;
    report.say(format!(
        "{STUCK}: a person restarts its BMC and cuts its power"
    ));
    Ok(())
}

/// The record has each failure with its reason, and nothing is armed any more.
fn told(case: &Case, kept: &CardRecord, report: &mut Report) -> Result<()> {
    let reasons: Vec<&str> = kept
        .failures
        .iter()
        .map(|failure| failure.reason.as_str())
        .collect();
    let wanted: Vec<&str> = case.fails.into_iter().collect();
    ensure!(
        reasons == wanted,
        "{}: failed as {reasons:?} and not as {wanted:?}",
        case.card
    );
    ensure!(
        kept.armed.is_empty(),
        "{}: {:?} is armed",
        case.card,
        kept.armed
    );
    let method = kept.method.as_ref().map(InstallMethod::as_str);
    let way = match &kept.failures[..] {
        [] => String::new(),
        [
            InstallFailure {
                method,
                reason,
                message,
                ..
            },
            ..,
        ] => {
            format!(", after {method}: {reason}: {message}")
        }
    };
    report.say(format!(
        "{} ({}): by {}{way}",
        case.card,
        case.fault
            .map_or_else(|| "no fault".to_owned(), |fault| fault.to_string()),
        method.unwrap_or("nothing")
    ));
    Ok(())
}

/// What the simulator says was written: the card's own image, whole, and once.
fn written(case: &Case, fleet: &Fleet, image: &Image) -> Result<()> {
    let (pulls, pushes) = case.updates();
    let mut digests: BTreeMap<String, usize> = BTreeMap::new();
    let (mut tasks, mut installed) = (0, 0);
    for effect in fleet.effects(case.card, 0)? {
        if effect.machine != case.card {
            continue;
        }
        match effect.what {
            What::ImageArrived { bytes, sha256, .. } => {
                ensure!(bytes == image.size, "{}: {bytes} bytes came", case.card);
                *digests.entry(sha256).or_default() += 1;
            }
            What::TaskStarted { .. } => tasks += 1,
            What::Installed { .. } => installed += 1,
            // By the person who ends it.
            What::Damaged { .. } if case.card == STUCK => {}
            What::Damaged { stage, cause } => {
                bail!("{} was hurt in {stage:?} by {cause:?}", case.card)
            }
            What::PoweredOn { .. }
            | What::PoweredOff { .. }
            | What::Booted { .. }
            | What::Reached { .. }
            | What::BootedFrom { .. }
            | What::SurpriseLinkDown { .. }
            | What::Ignored { .. }
            | What::Armed { .. }
            | What::Disarmed { .. }
            | What::OverrideSet { .. }
            | What::HttpBootUriSet { .. }
            | What::OverrideConsumed { .. }
            | What::OverrideLost { .. }
            | What::MediaInserted { .. }
            | What::MediaEjected { .. }
            | What::TaskEnded { .. }
            | What::FirmwareActivated { .. }
            | What::Setting { .. }
            | What::RestorePolicySet { .. }
            | What::Login { .. }
            | What::AccountChanged { .. }
            | What::BmcDown
            | What::BmcUp
            | What::FaultSwitched { .. }
            | What::FaultStruck { .. } => {}
        }
    }
    let came: usize = digests.values().sum();
    ensure!(
        (tasks, came) == (pulls + pushes, pulls + pushes),
        "{}: {tasks} tasks and {came} images instead of {}",
        case.card,
        pulls + pushes
    );
    // Its seed lies over the image, so it is another file than was published.
    ensure!(
        !digests.contains_key(&image.sha256),
        "{}: the image came without its seed",
        case.card
    );
    ensure!(installed == 1, "{}: installed {installed} times", case.card);
    Ok(())
}

/// How often the BMC was asked.
fn asked(case: &Case, fleet: &Fleet) -> Result<()> {
    let counts = fleet.requests(case.card)?.by_path;
    let count = |part: &str| -> u64 {
        let of_it = counts
            .iter()
            .filter(|(path, _)| path.starts_with("POST ") && path.contains(part));
        of_it.map(|(_, count)| *count).sum()
    };
    let (pulls, pushes) = case.updates();
    let sent = (count("SimpleUpdate"), count("update-multipart"));
    ensure!(
        sent == (pulls as u64, pushes as u64),
        "{}: {sent:?} updates were asked for instead of {pulls} and {pushes}",
        case.card
    );
    Ok(())
}

/// The URLs are capabilities: no object shows one.
async fn shows_no_url(world: &World, report: &mut Report) -> Result<()> {
    let kinds = "dpus,dpuhosts,dpuimages,dpubootpolicies,dpureports,events";
    let kubectl = world.control_plane.kubectl();
    let objects = kubectl
        .run(&["get", kinds, "-n", NAMESPACE, "-o", "json"])
        .await?;
    ensure!(
        !objects.contains("/i/"),
        "an object shows a URL of the store"
    );
    let cards: Api<Dpu> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let first = cards.get(CASES[0].card).await?;
    let image = first.status.and_then(|status| status.image);
    report.figure(
        "the first card reports",
        image.map_or_else(|| "nothing".to_owned(), |image| image.version),
    );
    Ok(())
}
