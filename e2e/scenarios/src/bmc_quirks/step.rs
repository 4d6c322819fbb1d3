//! The steps of a case, on the product's own ports and behind a BMC's back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_cluster::{Look, eventually};
use lockstep_redfish::{
    Activation, ActivationReset, AllowedNetworks, Bmc, BmcError, BmcOptions, BmcTarget,
    BootOverride, BootTarget, Components, Credentials, Effect, Endpoint, ExpectedIdentity,
    Explored, Explorer, ImageUrl, MediaMatch, Push, Redfish, RedfishBmc, SimpleUpdate, TlsTrust,
    UpdateTicket, Updater, WantedVersion, judge as judge_update,
};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::{Fleet, Server, Strike};

use super::case::Step;
use super::judge::{Asked, Came};

const IMAGE: &str = "https://192.0.2.1/i/0123456789abcdef/card.iso";
/// The version that updates bring, and the image that it is in.
const VERSION: &str = "2.0.0";
const UPDATE: &str = "https://192.0.2.1/i/0123456789abcdef/2.0.0.fwpkg";
/// For what a machine or its BMC does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ports as the site agent has them, with less patience.
pub(super) fn product() -> Result<Redfish> {
    let options = BmcOptions {
        call_deadline: Duration::from_secs(12),
        media_deadline: Duration::from_secs(12),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(3),
        confirm_window: Duration::from_secs(2),
        identify_deadline: Duration::from_secs(4),
        part_timeout: Duration::from_secs(2),
        ..BmcOptions::default()
    };
    let loopback = "127.0.0.0/8".parse().context("a network")?;
    Ok(Redfish::new(AllowedNetworks(vec![loopback]), options))
}

/// The product's two ports to one BMC, with what is known of it at the beginning.
pub(super) struct Ports {
    pub(super) bmc: RedfishBmc,
    redfish: Redfish,
    endpoint: Endpoint,
    credentials: Credentials,
    /// The update that was accepted last, and its first component.
    accepted: Mutex<Option<(UpdateTicket, &'static str)>>,
}

impl Ports {
    pub(super) fn open(
        fleet: &Fleet,
        server: &Server,
        redfish: &Redfish,
        name: &str,
    ) -> Result<Self> {
        let state = fleet.state(name)?;
        let endpoint = Endpoint {
            address: server.url(name)?.parse().context("the BMC's URL")?,
            tls: TlsTrust::CaBundle(server.certificate_pem(name)?),
        };
        let credentials = Credentials {
            username: state.user,
            password: state.password,
        };
        let target = BmcTarget {
            address: endpoint.address.clone(),
            system_path: None,
            credentials: credentials.clone(),
            tls: endpoint.tls.clone(),
            expected: ExpectedIdentity {
                system_uuid: Some(state.uuid),
                serial_number: Some(state.serial),
                tls_pin: None,
            },
        };
        Ok(Self {
            bmc: redfish.bmc(target)?,
            redfish: redfish.clone(),
            endpoint,
            credentials,
            accepted: Mutex::default(),
        })
    }

    /// As the search does: who is there, then everything that is behind it.
    pub(super) async fn explore(&self) -> Result<Explored, BmcError> {
        self.redfish.identify(&self.endpoint).await?;
        self.redfish
            .explore(&self.endpoint, &self.credentials)
            .await
    }
}

impl Ports {
    fn accept(&self, component: &'static str, offered: Result<UpdateTicket, BmcError>) -> Asked {
        let ticket = offered?;
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        *accepted = Some((ticket, component));
        Ok(Came::Accepted)
    }

    async fn look(&self, restarted: bool) -> Asked {
        let accepted = self
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (ticket, component) = accepted.unwrap_or_default();
        let reading = self.bmc.task(&ticket).await?;
        let components = Components::Named(vec![component.to_owned()]);
        let facts = self.bmc.observe_updates(&components).await?;
        let told = facts.firmware.value().map_or(&[][..], Vec::as_slice);
        let wanted = WantedVersion {
            component,
            version: VERSION,
            before: None,
            now: told.iter().find(|one| one.name == component),
            activation: Activation::After(ActivationReset::System),
            activated: restarted,
        };
        Ok(Came::Update(judge_update(
            &ticket,
            Some(&reading),
            &[wanted],
        )))
    }
}

fn target(component: &str) -> String {
    format!("/redfish/v1/UpdateService/FirmwareInventory/{component}")
}

/// Takes one step; what a port gave, if it was asked.
pub(super) async fn take(
    fleet: &Fleet,
    ports: &Ports,
    name: &str,
    step: Step,
) -> Result<Option<Asked>> {
    let bmc = &ports.bmc;
    let effect = |result: Result<Effect, BmcError>| Ok(Some(result.map(Came::Effect)));
    match step {
        Step::Observe => {
            let facts = bmc.observe().await;
            return Ok(Some(facts.map(|facts| Came::Facts(Box::new(facts)))));
        }
        Step::Explore => {
            let explored = ports.explore().await;
            return Ok(Some(explored.map(|one| Came::Explored(Box::new(one)))));
        }
        Step::Insert => return effect(bmc.insert_media(&ImageUrl::new(IMAGE)).await),
        Step::Eject => return effect(bmc.eject_media(&MediaMatch::Any).await),
        Step::Once(target) => {
            let target = match target {
                "Cd" => BootTarget::Cd,
                "Pxe" => BootTarget::Pxe,
                "UefiHttp" => BootTarget::UefiHttp,
                other => BootTarget::Other(other.to_owned()),
            };
            return effect(bmc.set_boot_override(&BootOverride::Once(target)).await);
        }
        Step::OnceFromUrl => {
            let wanted = BootOverride::OnceFrom(ImageUrl::new(IMAGE));
            return effect(bmc.set_boot_override(&wanted).await);
        }
        Step::Power(action) => return effect(bmc.power(action).await),
        Step::Update(components) => {
            let update = SimpleUpdate {
                image: ImageUrl::new(UPDATE),
                targets: components.iter().map(|one| target(one)).collect(),
            };
            let first = components.first().copied().unwrap_or_default();
            let offered = bmc.simple_update(&update).await;
            return Ok(Some(ports.accept(first, offered)));
        }
        Step::Push(component) => {
            let mut push = Push::new("2.0.0.fwpkg", 5, &b"image"[..])?;
            push.targets = vec![target(component)];
            let offered = bmc.push(push).await;
            return Ok(Some(ports.accept(component, offered)));
        }
        Step::Look { restarted } => return Ok(Some(ports.look(restarted).await)),
        Step::Ended => ended(fleet, name).await?,
        Step::Press(reset, power) => {
            fleet.strike(name, Strike::Press { reset })?;
            until(fleet, name, "its power state", |state| state.power == power).await?;
        }
        Step::Reaches(stage) => {
            until(fleet, name, "its boot stage", |state| {
                state.stage == Some(stage)
            })
            .await?;
        }
        Step::RestartBmc => {
            fleet.strike(name, Strike::RestartBmc)?;
            until(fleet, name, "its BMC", |state| state.bmc_up).await?;
        }
        Step::WriteFirmware => {
            let version = "99.1.0".to_owned();
            fleet.strike(name, Strike::WriteFirmware { version })?;
        }
        Step::RenewCertificate => fleet.strike(name, Strike::RenewCertificate)?,
        Step::ChangePassword => {
            let password = "another-password-2".to_owned();
            fleet.strike(name, Strike::SetPassword { password })?;
        }
    }
    Ok(None)
}

/// Waits until every task has ended, or the BMC is back from a restart that ended them.
async fn ended(fleet: &Fleet, name: &str) -> Result<()> {
    let looked = eventually(PATIENCE, format!("{name}: its tasks"), async || {
        let (state, effects) = match (fleet.state(name), fleet.effects(name, 0)) {
            (Ok(state), Ok(effects)) => (state, effects),
            (Err(unknown), _) | (_, Err(unknown)) => return Look::Never(unknown.into()),
        };
        let count =
            |wanted: fn(&What) -> bool| effects.iter().filter(|one| wanted(&one.what)).count();
        let begun = count(|what| matches!(what, What::TaskStarted { .. }));
        let over = count(|what| matches!(what, What::TaskEnded { .. } | What::BmcDown));
        match state.bmc_up && over >= begun {
            true => Look::Holds(()),
            false => Look::not_yet(format!("{over} of {begun}")),
        }
    });
    Ok(looked.await?)
}

async fn until(
    fleet: &Fleet,
    name: &str,
    what: &str,
    holds: impl Fn(&lockstep_xpusim::MachineState) -> bool,
) -> Result<()> {
    let looked = eventually(PATIENCE, format!("{name}: {what}"), async || {
        match fleet.state(name) {
            Ok(state) if holds(&state) => Look::Holds(()),
            Ok(state) => Look::not_yet(format!("{:?} {:?}", state.power, state.stage)),
            Err(unknown) => Look::Never(unknown.into()),
        }
    });
    Ok(looked.await?)
}
