//! One machine of a site: its name, and what its worker is told.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use lockstep_configuration::Inputs;
use lockstep_crds::directive::{Directive, TargetKind, WorkOrder};
use lockstep_crds::inspection::Inspected;
use lockstep_crds::report::Vantage;
use lockstep_crds::{BmcEndpoint, Dpu, DpuHost, MachineIdentity, names};

use crate::site::activity::Activity;
use crate::site::judge::Refusal;
use crate::site::objects::Unreadable;

/// What a BMC belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineKind {
    /// A `Dpu`.
    Card,
    /// A `DpuHost`.
    Host,
}

/// Names one machine of the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineKey {
    /// What it is.
    pub kind: MachineKind,
    /// Name of its object.
    pub name: String,
}

impl MachineKey {
    /// Name of the report about its BMC.
    pub fn report(&self) -> String {
        match self.kind {
            MachineKind::Card => names::card_bmc(&self.name),
            MachineKind::Host => names::host_bmc(&self.name),
        }
    }

    /// Where its facts are seen from.
    pub fn vantage(&self) -> Vantage {
        match self.kind {
            MachineKind::Card => Vantage::CardBmc,
            MachineKind::Host => Vantage::HostBmc,
        }
    }

    /// The reference that ends a report together with its subject, an object of that uid.
    pub fn owner(&self, uid: &str) -> OwnerReference {
        let (api_version, kind) = match self.kind {
            MachineKind::Card => (Dpu::api_version(&()), Dpu::kind(&())),
            MachineKind::Host => (DpuHost::api_version(&()), DpuHost::kind(&())),
        };
        OwnerReference {
            api_version: api_version.into_owned(),
            kind: kind.into_owned(),
            name: self.name.clone(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    pub(super) fn is_target(&self, directive: &Directive) -> bool {
        let kind = match directive.target.kind {
            TargetKind::Card => Some(MachineKind::Card),
            TargetKind::Host => Some(MachineKind::Host),
            TargetKind::Unrecognized(_) => None,
        };
        kind == Some(self.kind) && directive.target.name == self.name
    }
}

impl fmt::Display for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            MachineKind::Card => "dpu",
            MachineKind::Host => "dpuhost",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

/// All that a machine's worker is told.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineInput {
    /// The machine.
    pub key: MachineKey,
    /// uid of its object.
    pub uid: String,
    /// How its BMC is reached.
    pub endpoint: BmcEndpoint,
    /// Which machine must answer there.
    pub identity: Option<MachineIdentity>,
    /// Whether every effect is stopped (S16).
    pub hands_off: bool,
    /// What is wanted of it, by seq.
    pub directives: Vec<Directive>,
    /// What goes on, which says how often it is looked at.
    pub activity: Activity,
    /// The fresh reading that its power domain waits for.
    pub inspection: Option<Inspected>,
    /// Whether its object says that it is held; for hosts.
    pub held: bool,
    /// The work order of that hold.
    pub work_order: Option<WorkOrder>,
    /// The components that firmware images are wanted for, by their ids.
    pub components: Vec<String>,
    /// Whether somebody asks for the boot entries of the card.
    pub boot_entries: bool,
    /// What the card's own files are made of, if its image asks for any.
    pub configuration: Option<Inputs>,
    /// Grows when everything was read anew, which may show an older state of
    /// the API server than the last one.
    pub resync: u64,
}

/// What is done for a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Care {
    /// Its BMC is looked after.
    Look(Box<MachineInput>),
    /// It cannot be looked after; its report, if it has one, says why.
    Tell(Untended),
}

/// A machine that cannot be looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untended {
    /// uid of its object.
    pub uid: String,
    /// Why not.
    pub refusal: Refusal,
}

impl Untended {
    pub(super) fn unreadable(object: &Unreadable) -> Self {
        Self {
            uid: object.uid.clone(),
            refusal: Refusal::new(
                "ObjectUnreadable",
                format!(
                    "this site agent cannot read the object and does nothing for it: {}; upgrade the agent to the release of the CRDs, or correct the object",
                    object.why
                ),
            ),
        }
    }

    pub(super) fn without_bmc(uid: String) -> Self {
        Self {
            uid,
            refusal: Refusal::new(
                "BmcNotGiven",
                "spec.bmc is not set any more, so the site agent has no way to this machine; set it",
            ),
        }
    }
}
