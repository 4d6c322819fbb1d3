//! The log of everything that was really done: what a judge reads, instead of
//! what anybody reports. Entries are only ever appended.

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::fault::Fault;
use crate::reset::{ResetType, RestorePolicy};
use crate::stage::Stage;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Position in its power domain's log, from 0 without gaps.
    pub seq: u64,
    /// Simulated time, in milliseconds since the fleet began.
    pub at: Moment,
    /// The machine it happened to.
    pub machine: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// Why something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A Redfish client asked for it.
    Request(ResetType),
    /// The BMC was asked to restart, and takes this machine with it.
    ManagerReset,
    /// An action of the vendor's, which asks nobody.
    ChipReset,
    /// Power of the slot went or came.
    SlotPower,
    /// Mains power went or came.
    Mains,
    /// It crashed.
    Crash,
    /// What runs on it restarts it: an installer has finished.
    Itself,
    /// Somebody else, through the control API: a person at the button.
    Stranger,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect")]
pub enum What {
    /// Power came.
    PoweredOn {
        /// Why.
        cause: Cause,
    },
    /// Power went.
    PoweredOff {
        /// Why.
        cause: Cause,
        /// The stage it was in.
        stage: Option<Stage>,
    },
    /// A boot began; the count is the true boot epoch.
    Booted {
        /// How many boots there were, this one included.
        boots: u64,
        /// Why.
        cause: Cause,
    },
    /// A boot stage was reached.
    Reached {
        /// Which.
        stage: Stage,
    },
    /// The firmware chose what to boot.
    BootedFrom {
        /// `disk`, `network`, `shell` or the URL of an image.
        source: String,
    },
    /// Power went, or a reset came, in a stage in which it must not.
    Damaged {
        /// That stage.
        stage: Stage,
        /// Why.
        cause: Cause,
    },
    /// A card's PCIe link went away under a running host.
    SurpriseLinkDown {
        /// The host.
        host: String,
    },
    /// A request was accepted, and nothing follows from it.
    Ignored {
        /// What was asked.
        request: String,
    },
    /// A request was accepted and waits for something else.
    Armed {
        /// What was asked.
        request: String,
    },
    /// What waited was dropped.
    Disarmed {
        /// What had been asked.
        request: String,
    },
    /// The boot override was set.
    OverrideSet {
        /// `BootSourceOverrideTarget`.
        target: String,
        /// `BootSourceOverrideEnabled`.
        enabled: String,
    },
    /// The URL for HTTP boot was set or, with an empty one, emptied.
    HttpBootUriSet {
        /// `HttpBootUri`.
        uri: String,
    },
    /// A one-time override was used up.
    OverrideConsumed {
        /// Its target.
        target: String,
    },
    /// A one-time override went without having been used.
    OverrideLost {
        /// Its target.
        target: String,
    },
    /// An image was inserted.
    MediaInserted {
        /// The slot.
        slot: String,
        /// Its URL.
        image: String,
    },
    /// An image was ejected.
    MediaEjected {
        /// The slot.
        slot: String,
        /// Its URL.
        image: String,
    },
    /// An operating system was written to the disk.
    Installed {
        /// The image it came from.
        image: String,
        /// The version that the disk now holds.
        version: String,
    },
    /// The whole of an update's image has come to the BMC: it was pulled, or pushed.
    ImageArrived {
        /// Its URL, or the file name that came with it.
        image: String,
        /// Its length.
        bytes: u64,
        /// SHA-256 of what came, in hex.
        sha256: String,
    },
    /// A task began.
    TaskStarted {
        /// Its id.
        task: String,
        /// What for.
        name: String,
    },
    /// A task ended.
    TaskEnded {
        /// Its id.
        task: String,
        /// `TaskState`.
        state: String,
    },
    /// Another firmware version runs.
    FirmwareActivated {
        /// Inventory id.
        id: String,
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A setting was changed.
    Setting {
        /// Its name.
        name: String,
        /// Its value now.
        value: String,
    },
    /// The power restore policy was changed.
    RestorePolicySet {
        /// To this.
        policy: RestorePolicy,
    },
    /// Somebody tried to log in.
    Login {
        /// As whom.
        user: String,
        /// Whether it worked.
        accepted: bool,
    },
    /// An account was made, changed or removed.
    AccountChanged {
        /// Whose.
        user: String,
    },
    /// The BMC went away.
    BmcDown,
    /// The BMC answers again.
    BmcUp,
    /// A fault was switched on or off through the control API.
    FaultSwitched {
        /// Which.
        fault: Fault,
        /// On, or off.
        on: bool,
    },
    /// A fault struck.
    FaultStruck {
        /// Which.
        fault: Fault,
    },
}

/// An append-only log.
#[derive(Debug, Default)]
pub(crate) struct EffectLog {
    entries: Vec<Effect>,
}

impl EffectLog {
    pub(crate) fn append(&mut self, at: Moment, machine: &str, what: What) {
        let seq = self.entries.len() as u64;
        self.entries.push(Effect {
            seq,
            at,
            machine: machine.to_owned(),
            what,
        });
    }

    /// The entries from position `from` on.
    pub(crate) fn from(&self, from: u64) -> &[Effect] {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.entries.get(from..).unwrap_or_default()
    }
}
