//! API types of `provisioning.opiproject.org/v1alpha1`, one kind a file.
//!
//! Pure data: no I/O and no client. The CRD YAML, the CRD chart and the API
//! reference are generated from here (`cargo xtask generate`). Every rule that
//! one object alone can break is a CEL rule on its type.

#![expect(
    unreachable_pub,
    reason = "the KubeSchema derive makes a private copy of each type"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "printer columns repeat their keys, one group a column"
)]

pub mod action;
pub mod bmc;
pub mod boot_policy;
mod bounds;
pub mod condition;
pub mod directive;
pub mod dpu;
pub mod dpu_inventory;
pub mod drift;
pub mod host;
pub mod identity;
pub mod image;
pub mod image_choice;
pub mod image_rules;
pub mod inspection;
pub mod inventory;
pub mod observed;
mod open_enum;
pub mod report;
pub mod service;
pub mod version;
pub mod wipe;

pub use bmc::{BmcEndpoint, BmcTls, LocalRef, MachineIdentity, TlsTrust};
pub use boot_policy::{DpuBootPolicy, DpuBootPolicySpec, DpuBootPolicyStatus};
pub use dpu::{Dpu, DpuSpec, DpuStatus, Phase};
pub use dpu_inventory::{DpuInventory, DpuInventorySpec};
pub use host::{DpuHost, DpuHostSpec, DpuHostStatus};
pub use image::{
    ComponentRequirement, DpuImage, DpuImageSpec, DpuImageStatus, ImageBoot, ImageCards, ImageFits,
    ImageSites, ImageSlot,
};
pub use image_choice::{ChosenImage, ImageChoice};
pub use image_rules::{ImageRequirement, ImageRules, ImageSigner};
pub use report::{DpuReport, DpuReportSpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;

/// API group of every kind.
pub const GROUP: &str = "provisioning.opiproject.org";

/// Finalizer on `Dpu` and `DpuHost`, present only while something must be undone (S10).
pub const FINALIZER: &str = "provisioning.opiproject.org/undo";

/// Taint of the Node of a host that is held; its value is the uid of the `DpuHost`.
pub const HELD_TAINT: &str = "provisioning.opiproject.org/host-held";

/// Label on the Leases of our agents; its value is the agent's role.
pub const AGENT_LABEL: &str = "provisioning.opiproject.org/agent";

/// Annotation of a Secret of type `kubernetes.io/basic-auth` that a `DpuImage` may name: the host,
/// with or without a port, that its account is for. Without it no image server is shown the
/// account, so that nobody can have another's Secret sent to a server of theirs.
pub const ACCOUNT_HOST: &str = "provisioning.opiproject.org/account-host";

/// Annotation of a Secret whose keys may lie in files of cards: the value is `true`. Without it no
/// value of a `Dpu` reads the Secret, so that nobody can have that of a BMC laid on a card.
pub const FOR_CARDS: &str = "provisioning.opiproject.org/for-cards";

/// Label of what discovery proposed; its value is the id of the machine's identity.
pub const PROPOSED_LABEL: &str = "provisioning.opiproject.org/proposed";

/// Annotation of what discovery proposed: the address of its BMC as discovery wrote it last. Another
/// address in the spec is somebody else's.
pub const DISCOVERED_ADDRESS: &str = "provisioning.opiproject.org/discovered-address";

/// Annotation of what discovery proposed, as long as nobody but the operator has written it: the
/// generation and the digest of what the operator wrote last. With another spec, or without this, it
/// is somebody else's, and stays so.
pub const PROPOSED_SPEC: &str = "provisioning.opiproject.org/proposed-spec";

/// Name of the ServiceAccount of every agent on a host, in the namespace [`names::hosts`].
pub const HOST_AGENT: &str = "lockstep-host-agent";

/// Name of the ServiceAccount of every site agent.
pub const SITE_AGENT: &str = "lockstep-site-agent";

/// Every CRD, in the order in which it is documented.
pub fn all() -> Vec<CustomResourceDefinition> {
    [
        bounds::short_names(Dpu::crd()),
        bounds::short_names(DpuHost::crd()),
        DpuImage::crd(),
        DpuBootPolicy::crd(),
        DpuInventory::crd(),
        bounds::named_after_subject(DpuReport::crd()),
    ]
    .map(bounds::bounded)
    .into()
}

/// Names of reports, Leases, ServiceAccounts and namespaces.
pub mod names {
    /// Report of the site agent about its image store; also the name of its Lease.
    pub fn site(site: &str) -> String {
        format!("site-{site}")
    }

    /// Report about the BMC of a card.
    pub fn card_bmc(dpu: &str) -> String {
        format!("bmc-card-{dpu}")
    }

    /// Report about the BMC of a host.
    pub fn host_bmc(host: &str) -> String {
        format!("bmc-host-{host}")
    }

    /// Report, Lease and ServiceAccount of the agent in a card's operating system.
    pub fn xpu(dpu: &str) -> String {
        format!("xpu-{dpu}")
    }

    /// Report and Lease of the agent on a host, by its Node.
    pub fn host(node: &str) -> String {
        format!("host-{node}")
    }

    /// Namespace in which the agents on the hosts of a site run, by the site's: their Pods need what
    /// no Pod beside the site's Secrets should be allowed. Admission knows this name.
    pub fn hosts(namespace: &str) -> String {
        format!("{namespace}-hosts")
    }

    /// Report about a BMC that was found; `id` is made of the identity of its machine.
    pub fn found_bmc(id: &str) -> String {
        format!("bmc-found-{id}")
    }

    /// Report of a site agent about its search for BMCs.
    pub fn scan(site: &str) -> String {
        format!("scan-{site}")
    }
}
