//! The steps of a case, on the product's own ports and behind a BMC's back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_cluster::{Look, eventually};
use lockstep_redfish::{
    AllowedNetworks, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride, BootTarget, Credentials,
    Effect, Endpoint, ExpectedIdentity, Explored, Explorer, ImageUrl, MediaMatch, Redfish,
    RedfishBmc, TlsTrust,
};
use lockstep_xpusim::{Fleet, Server, Strike};

use super::case::Step;
use super::judge::{Asked, Came};

const IMAGE: &str = "https://192.0.2.1/i/0123456789abcdef/card.iso";
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
        Step::Power(action) => return effect(bmc.power(action).await),
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
