//! One ComputerSystem and everything that belongs to it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::identity::{meaningful, meaningful_uuid};
use lockstep_crds::inventory::Inventory;
use lockstep_crds::report::MachineRole;
use serde_json::Value;

use super::recognise::recognise;
use super::walk::{Missing, Walk};
use super::{ExploredSystem, bmc, boot, cards, compute, disks, firmware, machine, ports, record};
use crate::document::{link, references};
use crate::documents::manager_path;
use crate::error::BmcError;
use crate::facts::{BmcFacts, Channel, SystemIdentity};
use crate::link::{ROOT, own_path};
use crate::report::{UrlOwner, bmc_report};
use crate::room::Document;
use crate::vendor::Vendor;
use crate::{reading, redfish};

/// Chassis of one system that are read.
const MOST_CHASSIS: usize = 8;

/// Chassis of one BMC among which a system's are looked for.
const MOST_LISTED: usize = 256;

/// A system, what holds it and what manages it.
#[derive(Debug)]
pub(super) struct System {
    pub(super) path: String,
    pub(super) document: Document,
    pub(super) role: MachineRole,
    pub(super) by: String,
    pub(super) vendor: &'static Vendor,
    /// Paths and documents.
    pub(super) chassis: Vec<(String, Document)>,
    /// Path and document.
    pub(super) manager: Option<(String, Document)>,
    /// Why there is no manager, if there is none.
    pub(super) no_manager: Missing,
}

impl System {
    pub(super) fn is_card(&self) -> bool {
        self.role == MachineRole::Card
    }

    /// Reads what is needed to know what the system is.
    async fn read(walk: &mut Walk<'_>, path: String, document: Document, alone: bool) -> Self {
        let root = walk.link().shared_root();
        let links = document.get("Links");
        let linked = links.and_then(|links| links.get("Chassis")).map(references);
        let linked = linked.unwrap_or_default();
        // The vendor's words are enough to know which further chassis to look for.
        let named = recognise(&root, &document, &[]).vendor.part_number_in;
        let mut paths = linked;
        let mut beyond = 0;
        // With several systems, nothing says whose a chassis is that no system links.
        if alone && (paths.is_empty() || !named.is_empty()) {
            let pages = match link(&root, "Chassis") {
                Some(path) => walk.pages("system", &path, MOST_LISTED).await,
                None => None,
            };
            let members = pages.map(|pages| {
                beyond = pages.beyond();
                pages.paths
            });
            let is_wanted = |path: &String| {
                let id = path
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                named.is_empty() || named.contains(&id)
            };
            let wanted: Vec<String> = members
                .unwrap_or_default()
                .into_iter()
                .filter(is_wanted)
                .collect();
            paths.extend(wanted);
        }
        let listed = walk.listed("system", "", paths, MOST_CHASSIS).await;
        walk.note_left_out("system", "chassis", listed.omitted.saturating_add(beyond));
        let chassis = listed.documents;
        let documents: Vec<&Value> = chassis.iter().map(|(_, one)| &**one).collect();
        let recognised = recognise(&root, &document, &documents);
        let (manager, no_manager) = match manager(walk, &document).await {
            Ok(manager) => (Some(manager), Missing::Absent),
            Err(missing) => (None, missing),
        };
        Self {
            path,
            role: recognised.role,
            by: recognised.by,
            vendor: recognised.vendor,
            chassis,
            manager,
            no_manager,
            document,
        }
    }
}

async fn manager(walk: &mut Walk<'_>, document: &Value) -> Result<(String, Document), Missing> {
    let path = match manager_path(walk, document).await {
        Ok(path) => path.ok_or(Missing::Absent)?,
        Err(BmcError::ReadFailed { status: 404, .. }) => return Err(Missing::Absent),
        Err(error) => {
            let why = error.to_string();
            walk.note("bmc", &why);
            return Err(Missing::Failed(why));
        }
    };
    let read = walk.read(&path).await;
    if let Err(Missing::Failed(why)) = &read {
        walk.note("bmc", why);
    }
    Ok((path, read?))
}

/// Explores the system of that path and document. `alone`: the BMC serves no other.
pub(super) async fn explore(
    walk: &mut Walk<'_>,
    path: String,
    document: Document,
    alone: bool,
    channel: Channel,
    now: &Time,
) -> Result<ExploredSystem, BmcError> {
    let path = own_path(&document).unwrap_or(path);
    let system = System::read(walk, path, document, alone).await;
    let identity = identity(walk, &system);
    let sessions = walk.link().sessions().clone();
    let facts = redfish::facts(walk, &system.document, identity.clone(), sessions, channel).await?;
    let inventory = inventory(walk, &system, &facts, now).await;
    let mut bmc = bmc_report(&facts, |_| UrlOwner::Foreign, |_| None, None, now);
    bmc.power_since = None;
    Ok(ExploredSystem {
        role: system.role.clone(),
        recognised_by: system.by.clone(),
        identity,
        system_path: (!alone && system.path.starts_with(ROOT)).then(|| system.path.clone()),
        bmc,
        inventory,
    })
}

/// What identifies the machine, without placeholders.
fn identity(walk: &mut Walk<'_>, system: &System) -> SystemIdentity {
    let link = walk.link();
    let path = system.path.clone();
    let mut identity = reading::identity(link.root(), &system.document, path, link.pin());
    let is_uuid = |uuid: &String| meaningful_uuid(uuid).is_some();
    let says_something = |text: &String| meaningful(text).is_some();
    identity.service_uuid = identity.service_uuid.filter(is_uuid);
    identity.system_uuid = identity.system_uuid.filter(is_uuid);
    let serial = identity.serial_number.take();
    identity.serial_number = serial.and_then(|serial| machine::whole_serial(&serial));
    for value in [&mut identity.part_number, &mut identity.sku] {
        *value = value.take().filter(says_something);
    }
    identity
}

/// The rarest is read first and the most numerous last, so that a BMC with very much of one thing
/// leaves out that thing.
async fn inventory(
    walk: &mut Walk<'_>,
    system: &System,
    facts: &BmcFacts,
    now: &Time,
) -> Inventory {
    let (machine, contradictions) = machine::read(walk, system).await;
    let bios = boot::bios(walk, system).await;
    let host_access = boot::host_access(walk, system, bios.as_deref()).await;
    let ends_in_uefi = boot::ends_in_uefi(system.vendor, host_access.as_ref());
    let capabilities = record::read(walk, system, facts, ends_in_uefi, now).await;
    let secure_boot = walk
        .part("secureBoot", link(&system.document, "SecureBoot"))
        .await;
    let platform = boot::platform(walk, system, bios.as_deref()).await;
    let bmc = bmc::read(walk, system).await;
    let cpu = compute::cpu(walk, system).await;
    let adapters = cards::adapters(walk, system).await;
    let ports = ports::read(walk, system, &adapters.own).await;
    let (slots, cards) = if system.is_card() {
        (None, Vec::new())
    } else {
        cards::read(walk, system, &adapters).await
    };
    let firmware = firmware::read(walk, system).await;
    let disks = disks::read(walk, system).await;
    let memory = compute::memory(walk, system).await;
    Inventory {
        system: Some(machine),
        firmware,
        cpu,
        memory,
        disks,
        ports,
        slots,
        cards,
        secure_boot: secure_boot.as_deref().map(boot::secure_boot),
        bmc: Some(bmc),
        platform,
        host_access,
        capabilities: Some(capabilities),
        contradictions,
        unread: walk.take_unread(),
        ..Inventory::default()
    }
}
