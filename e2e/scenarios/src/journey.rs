//! One host with one card on its way to Ready: its objects, its card's own agent where no
//! system boots, how far its directives have come, and what was really done at its BMCs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use lockstep_crds::directive::{OutcomeKind, TargetKind};
use lockstep_crds::observed::PowerState;
use lockstep_crds::{Dpu, DpuHost, DpuHostStatus, DpuReport, DpuReportSpec, condition, names};
use lockstep_lab::MachineSpec;
use lockstep_lab::front::{Fault, Front, Request, Rule};
use lockstep_lab::image::Image;
use lockstep_process::{Daemon, Lifetime, Program};
use serde_json::json;

use crate::objects::{self, Choices, NAMESPACE};
use crate::world::World;

/// What one install is, at the BMC of the card, in this order.
pub const AT_THE_CARD: [&str; 5] = [
    "InsertMedia",
    "PATCH Cd",
    "Reset On",
    "PATCH Hdd",
    "EjectMedia",
];
/// What it is at the BMC of the host.
pub const AT_THE_HOST: [&str; 1] = ["Reset On"];

/// One host and its card.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Name of the card.
    pub card: &'static str,
    /// Name of the host.
    pub host: &'static str,
}

impl Pair {
    /// Its machines.
    pub fn machines(&self) -> [MachineSpec; 2] {
        [MachineSpec::card(self.card), MachineSpec::host(self.host)]
    }

    /// Its objects, host first.
    ///
    /// # Errors
    /// When there are no such machines.
    pub fn yaml(&self, world: &World, choices: &Choices) -> Result<String> {
        let host = objects::host(self.host, &world.bmc(self.host)?, choices);
        let card = objects::card(self.card, self.host, &world.bmc(self.card)?);
        Ok(host + &card)
    }

    /// Slows every read at its BMCs, so that each state of a directive lasts long enough to act in.
    ///
    /// # Errors
    /// When there are no such machines.
    pub fn slow_down(&self, world: &World, by: Duration) -> Result<()> {
        for name in [self.card, self.host] {
            let rule = Rule::on(Method::GET, "/redfish/v1/", Fault::Delay(by));
            world.machines.bmc(name)?.add_rule(rule);
        }
        Ok(())
    }

    /// Reads how far it is.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn look(&self, world: &World) -> Result<Seen> {
        self.look_with(world.control_plane.client()).await
    }

    /// As [`Pair::look`], while somebody else changes the world.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn look_with(&self, client: kube::Client) -> Result<Seen> {
        let hosts: Api<DpuHost> = Api::namespaced(client.clone(), NAMESPACE);
        let cards: Api<Dpu> = Api::namespaced(client.clone(), NAMESPACE);
        let reports: Api<DpuReport> = Api::namespaced(client, NAMESPACE);
        // Reports first: a report never speaks of a directive that is not recorded yet.
        let at_card = reports.get_opt(&names::card_bmc(self.card)).await?;
        let at_host = reports.get_opt(&names::host_bmc(self.host)).await?;
        let card = cards.get_opt(self.card).await?;
        let host = hosts.get_opt(self.host).await?;
        let ready = |conditions: &[_]| {
            condition::find(conditions, condition::READY)
                .is_some_and(|ready| ready.status == "True")
        };
        Ok(Seen {
            at_card: at_card.map(|report| report.spec),
            at_host: at_host.map(|report| report.spec),
            ready: card
                .and_then(|card| card.status)
                .is_some_and(|status| ready(&status.conditions)),
            record: host.and_then(|host| host.status).unwrap_or_default(),
        })
    }

    /// Everything that was done at its two BMCs.
    ///
    /// # Errors
    /// When there are no such machines.
    pub fn effects(&self, world: &World) -> Result<(Vec<String>, Vec<String>)> {
        let card = effects(world.machines.bmc(self.card)?);
        Ok((card, effects(world.machines.bmc(self.host)?)))
    }

    /// One install was done, once and in order, and the record says so too.
    ///
    /// # Errors
    /// When it was not.
    pub async fn judge(&self, world: &World) -> Result<()> {
        let (card, host) = self.effects(world)?;
        ensure!(
            card == AT_THE_CARD,
            "done at the BMC of {}: {card:?} instead of {AT_THE_CARD:?}",
            self.card
        );
        ensure!(
            host == AT_THE_HOST,
            "done at the BMC of {}: {host:?} instead of {AT_THE_HOST:?}",
            self.host
        );
        let seen = self.look(world).await?;
        let record = &seen.record;
        ensure!(
            record.directives.is_empty() && record.hold.is_none(),
            "{} still holds directives or a hold: {record:?}",
            self.host
        );
        let attempts: Vec<i64> = record.cards.iter().map(|kept| kept.attempts).collect();
        ensure!(
            attempts == [1] && record.cards.iter().all(|kept| kept.armed.is_empty()),
            "{}: the record of its card is {:?}",
            self.host,
            record.cards
        );
        Ok(())
    }
}

/// How far a pair is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What the operator has recorded.
    pub record: DpuHostStatus,
    /// What the site agent says of the card.
    pub at_card: Option<DpuReportSpec>,
    /// What the site agent says of the host.
    pub at_host: Option<DpuReportSpec>,
    /// Whether the card is Ready.
    pub ready: bool,
}

impl Seen {
    /// How far each directive of this pair has come: `PowerOn accepted`. It goes from `recorded`
    /// through `accepted` to `ended`, or `failed`, or `unknown`.
    pub fn points(&self) -> BTreeSet<String> {
        let open = self.record.directives.iter().map(|directive| {
            let report = match directive.target.kind {
                TargetKind::Card => self.at_card.as_ref(),
                TargetKind::Host | TargetKind::Unrecognized(_) => self.at_host.as_ref(),
            };
            let execution = report.and_then(|report| report.execution.as_ref());
            let stage = match execution {
                Some(execution) if execution.accepted < directive.seq => "recorded",
                Some(execution) if execution.accepted > directive.seq => "left behind",
                Some(execution) => match &execution.outcome {
                    None => "accepted",
                    Some(outcome) => ended(&outcome.result),
                },
                None => "recorded",
            };
            format!("{} {stage}", directive.action.kind)
        });
        let concluded = self.record.history.iter().map(|finished| {
            let action = finished.what.split(' ').next().unwrap_or_default();
            format!("{action} {}", ended(&finished.outcome))
        });
        open.chain(concluded).collect()
    }

    /// Whether the card has power.
    pub fn card_is_on(&self) -> bool {
        let bmc = self.at_card.as_ref().and_then(|report| report.bmc.as_ref());
        bmc.is_some_and(|bmc| bmc.power == Some(PowerState::On))
    }

    /// In a few words.
    pub fn shown(&self) -> String {
        format!(
            "step {}, {}, {}",
            self.record
                .step
                .as_ref()
                .map_or("none", |step| step.as_str()),
            self.points().into_iter().collect::<Vec<_>>().join(", "),
            self.record.message.as_deref().unwrap_or("no message"),
        )
    }
}

fn ended(outcome: &OutcomeKind) -> &'static str {
    match outcome {
        OutcomeKind::Done => "ended",
        OutcomeKind::Failed | OutcomeKind::Partly => "failed",
        OutcomeKind::Unknown | OutcomeKind::Unrecognized(_) => "unknown",
    }
}

/// The changes that a BMC got, in order.
pub fn effects(bmc: &Front) -> Vec<String> {
    let changes = bmc.changes();
    let arrived = changes.iter().filter(|request| request.forwarded);
    arrived.map(effect).collect()
}

/// A changing request in two words.
pub fn effect(request: &Request) -> String {
    if let Some(kind) = request.reset_type() {
        return format!("Reset {kind}");
    }
    if request.method == Method::PATCH {
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap_or_default();
        let boot = &body["Boot"];
        let what = match boot["BootSourceOverrideEnabled"].as_str() {
            Some("Disabled") => Some("Disabled"),
            Some(_) | None => boot["BootSourceOverrideTarget"].as_str(),
        };
        return format!("PATCH {}", what.unwrap_or(&request.body));
    }
    let end = request.path.rsplit('/').next().unwrap_or_default();
    end.trim_start_matches("VirtualMedia.").to_owned()
}

/// The agent of a card whose BMC has no machine behind it: the real one, in a root of its own.
pub struct CardAgent {
    _running: Daemon,
}

impl CardAgent {
    /// Boots the card's system, as its installer would have left it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn boot(world: &World, pair: &Pair, image: &Image) -> Result<Self> {
        let client = world.control_plane.client();
        let cards: Api<Dpu> = Api::namespaced(client.clone(), NAMESPACE);
        let uid = cards.get(pair.card).await?.uid();
        let accounts: Api<ServiceAccount> = Api::namespaced(client, NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3_600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request(&names::xpu(pair.card), &PostParams::default(), &request)
            .await
            .context("no identity for the card's agent")?
            .status
            .context("a token request without an answer")?
            .token;
        let plane = &world.control_plane;
        let seed = json!({
            "apiServer": plane.url(),
            "ca": plane.ca(),
            "namespace": NAMESPACE,
            "dpu": pair.card,
            "dpuUid": uid,
            "token": token,
            "imageVersion": image.version,
            "imageDigest": format!("sha256:{}", image.sha256),
        });
        let root = world.folder().join(pair.card);
        let boot_id = format!("{}-4444-4555-8666-777777777777", &image.sha256[..8]);
        for (path, text) in [
            ("seed.json", seed.to_string()),
            ("proc/sys/kernel/random/boot_id", boot_id),
            ("proc/sys/kernel/osrelease", "6.12.0-card".to_owned()),
            ("proc/uptime", "12.50 3.00".to_owned()),
            ("etc/os-release", "PRETTY_NAME=\"Card OS\"".to_owned()),
        ] {
            let path = root.join(path);
            let folder = path.parent().context("a file without a folder")?;
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, text + "\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let program = Program {
            name: pair.card,
            binary: world.agent_binary().to_owned(),
            args: vec![
                "xpu".into(),
                "--seed".into(),
                root.join("seed.json").into(),
                "--root".into(),
                root.into(),
            ],
            env: vec![("RUST_LOG", "info".into())],
            order: 300,
            grace: Duration::from_secs(5),
        };
        let running = Daemon::start(&program, world.folder(), Lifetime::ThisProcess)?;
        Ok(Self { _running: running })
    }
}
