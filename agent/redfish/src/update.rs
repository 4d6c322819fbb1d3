//! Updates through the UpdateService (DSP0266 7.12, DSP2062): what a BMC offers, what it is asked,
//! and what became of it.
//!
//! Three things are kept apart. What was read is a fact ([`UpdateFacts`], [`TaskReading`]). What an
//! accepted update is known by ([`UpdateTicket`]) outlives the agent. What the facts mean is said by
//! [`judge`] and [`readiness`], which do no I/O: a task that has ended proves nothing, the version
//! that runs does.

mod judge;
mod read;
mod readiness;
mod request;
mod task;
mod ticket;
mod version;

use lockstep_crds::inventory::FirmwareComponent;

use crate::document::last_segment;
use crate::facts::{ImageUrl, Reading};
use crate::vendor::OS_COMPONENTS;

pub use judge::{Activation, ActivationReset, Progress, WantedVersion, judge};
pub use readiness::{NotReady, at_rest, quiet, readiness};
pub use request::{Push, PushError, SimpleUpdate};
pub use task::{TaskFacts, TaskMessage, TaskReading, TaskSighting, TaskState};
pub use ticket::UpdateTicket;
pub use version::same_version;

pub(crate) use read::{background_copy, is_task, last_reset, service, task_facts};
pub(crate) use request::Upload;

/// What a BMC told of updates in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFacts {
    /// The UpdateService.
    pub service: Reading<UpdateService>,
    /// The tasks that have not ended, whatever they are for.
    pub tasks: Reading<Vec<TaskFacts>>,
    /// Firmware components and their versions, as told. Where there is no FirmwareInventory:
    /// what manager and system tell of themselves.
    pub firmware: Reading<Vec<FirmwareComponent>>,
    /// `Manager.LastResetTime` as it is written. It moves when the BMC restarts, where it is
    /// offered; BMC clocks lie, so it is compared and never ordered.
    pub last_reset: Reading<String>,
    /// How far a root of trust is with its copy of new firmware, as its BMC tells it.
    pub background_copy: Reading<String>,
}

/// The UpdateService: its state, and the ways in that it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateService {
    /// Its path.
    pub path: String,
    /// `ServiceEnabled`.
    pub enabled: Option<bool>,
    /// `Status.State`: for minutes after a BMC's start it may be something else than `Enabled`.
    pub state: Option<String>,
    /// `UpdateService.SimpleUpdate`: the BMC fetches the image.
    pub simple_update: Option<SimpleUpdateOffer>,
    /// `MultipartHttpPushUri`: the image is sent to the BMC.
    pub multipart_push: Option<String>,
    /// `HttpPushUri`, which DSP0266 has deprecated: a fact, and no way that the port takes.
    pub http_push: Option<String>,
    /// `MaxImageSizeBytes`.
    pub max_image_bytes: Option<u64>,
}

/// What an UpdateService offers for one component of a card, such as its operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentOffer {
    /// The service.
    pub service: UpdateService,
    /// Path of the component in the FirmwareInventory.
    pub component: String,
}

impl ComponentOffer {
    /// Whether the BMC fetches this image for the component, as far as it tells.
    pub fn fetches(&self, image: &ImageUrl) -> bool {
        let update = SimpleUpdate {
            image: image.clone(),
            targets: Vec::new(),
        };
        let allows = |listed: &Option<Vec<String>>, value: &str| {
            listed
                .as_ref()
                .is_none_or(|listed| listed.iter().any(|one| one == value))
        };
        self.service.simple_update.as_ref().is_some_and(|offer| {
            update
                .protocol()
                .is_some_and(|protocol| allows(&offer.protocols, protocol))
                && allows(&offer.targets, &self.component)
        })
    }

    /// Whether the BMC takes an image that is sent to it.
    pub fn takes_pushes(&self) -> bool {
        self.service.multipart_push.is_some()
    }

    /// What an image for the component is called when it is sent: boot streams are told by it.
    pub fn file_name(&self, stem: &str) -> String {
        if OS_COMPONENTS.contains(&self.component_id()) {
            format!("{stem}.bfb")
        } else {
            format!("{stem}.fwpkg")
        }
    }

    /// Last part of the component's path: its id.
    pub fn component_id(&self) -> &str {
        let path = self.component.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// `UpdateService.SimpleUpdate`, as offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleUpdateOffer {
    /// Where it is invoked.
    pub target: String,
    /// `TransferProtocol@Redfish.AllowableValues`. `None`: the platform does not say.
    pub protocols: Option<Vec<String>>,
    /// `Targets@Redfish.AllowableValues`. `None`: the platform does not say.
    pub targets: Option<Vec<String>>,
}

/// Which firmware components a pass reads: each costs a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Components {
    /// All, as far as they are read of one BMC.
    All,
    /// Those with these ids.
    Named(Vec<String>),
}

impl Components {
    pub(crate) fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => {
                let id = last_segment(path);
                names.iter().any(|name| Some(name.as_str()) == id)
            }
        }
    }
}
