//! Fleets of simulated BMCs on loopback, and how a site agent is told to look for them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lockstep_xpusim::fault::{Fault, Rule};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server};

use crate::objects::{self, NAMESPACE, SITE};
use crate::world::Simulated;

/// The password of every simulated BMC.
pub const PASSWORD: &str = "xpusim-password-1";

impl Simulated {
    /// Starts the fleet that `yaml` describes, with TLS.
    ///
    /// # Errors
    /// When the description is wrong or an address is taken.
    pub async fn start(yaml: &str, listen: Listen) -> Result<Self> {
        let fleet = Fleet::new(&FleetSpec::parse(yaml)?)?;
        let server = Server::start(&fleet, listen, true).await?;
        Ok(Self { fleet, server })
    }

    /// The machines by the user name that their BMCs take.
    ///
    /// # Errors
    /// When the fleet does not know its own machines.
    pub fn by_user(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.fleet.names() {
            let user = self.fleet.state(name)?.user;
            groups.entry(user).or_default().push(name.clone());
        }
        Ok(groups)
    }

    /// Entries of `discovery.ranges` that list every BMC, one for each account.
    ///
    /// # Errors
    /// When the fleet does not know its own machines.
    pub fn listed(&self) -> Result<String> {
        let mut yaml = String::new();
        for (user, names) in self.by_user()? {
            let addresses = names
                .iter()
                .map(|name| Ok(format!("\"{}\"", self.server.url(name)?)))
                .collect::<Result<Vec<_>>>()?;
            yaml.push_str(&range(
                &format!("addresses: [{}]", addresses.join(", ")),
                &secret_of(&user),
                "PinFirstSeen",
            ));
        }
        Ok(yaml)
    }

    /// The object of one machine, which demands who it is and names its BMC; `tls` and `rest` of its
    /// spec are the scenario's.
    ///
    /// # Errors
    /// When the fleet does not know the machine.
    pub fn object(&self, kind: &str, name: &str, tls: &str, rest: &str) -> Result<String> {
        let state = self.fleet.state(name)?;
        Ok(format!(
            "apiVersion: provisioning.opiproject.org/v1alpha1
kind: {kind}
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  site: {SITE}
  identity: {{systemUuid: {uuid}, serialNumber: {serial}}}
  bmc:
    address: {address}
    credentialsRef: {{name: {secret}}}
    tls: {{{tls}}}
{rest}---
",
            uuid = state.uuid,
            serial = state.serial,
            address = self.server.url(name)?,
            secret = secret_of(&state.user),
        ))
    }

    /// Has a machine behave so once.
    ///
    /// # Errors
    /// When the fleet does not know the machine.
    pub fn strike_once(&self, name: &str, fault: Fault) -> Result<()> {
        let once = Rule {
            times: Some(1),
            ..Rule::always(fault)
        };
        Ok(self.fleet.switch_on(name, once)?)
    }

    /// Requests that may have changed something, over all machines: `METHOD path`, sessions left out.
    ///
    /// # Errors
    /// When the fleet does not know its own machines.
    pub fn changes(&self) -> Result<Vec<String>> {
        let mut changes = Vec::new();
        for name in self.fleet.names() {
            let asked = self.fleet.requests(name)?.by_path;
            changes.extend(
                asked
                    .into_keys()
                    .filter(|one| !one.starts_with("GET ") && !one.contains("/Sessions"))
                    .map(|one| format!("{name}: {one}")),
            );
        }
        Ok(changes)
    }
}

/// An entry of `discovery.ranges`.
pub fn range(what: &str, secret: &str, trust: &str) -> String {
    format!("    - {{{what}, credentialsRef: {{name: {secret}}}, tls: {{trust: {trust}}}}}\n")
}

/// The Secret for BMCs that take this user. `admin` and `ADMIN` are two users.
pub fn secret_of(user: &str) -> String {
    let name = format!("bmc-{}", user.to_lowercase());
    if user.chars().any(char::is_uppercase) {
        return format!("{name}-upper");
    }
    name
}

/// Secrets for every account of these fleets.
///
/// # Errors
/// When a fleet does not know its own machines.
pub fn secrets(fleets: &[&Simulated]) -> Result<String> {
    let mut yaml = String::new();
    for fleet in fleets {
        for user in fleet.by_user()?.keys() {
            yaml.push_str(&objects::secret(&secret_of(user), user, PASSWORD));
        }
    }
    Ok(yaml)
}

/// Adds a section `discovery` to an agent's configuration and lets it dial `::1`.
///
/// # Errors
/// When the file cannot be read or written.
pub fn configure(agent_config: &std::path::Path, section: &str) -> Result<()> {
    let text = std::fs::read_to_string(agent_config)
        .with_context(|| format!("cannot read {}", agent_config.display()))?;
    let text = text.replace("[127.0.0.0/8]", "[127.0.0.0/8, \"::1/128\"]");
    std::fs::write(agent_config, format!("{text}{section}"))
        .with_context(|| format!("cannot write {}", agent_config.display()))
}
