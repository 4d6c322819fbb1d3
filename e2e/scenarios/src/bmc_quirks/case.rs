//! The vocabulary of the table: what goes wrong where, who asks for what, what must come of it.

use lockstep_redfish::{BmcFacts, PowerAction, Progress};
use lockstep_xpusim::fault::{Fault, Rule};
use lockstep_xpusim::reset::{Power, ResetType};
use lockstep_xpusim::stage::Stage;

/// One quirk.
pub(super) struct Row {
    /// Its number in the list that it comes from.
    pub(super) source: &'static str,
    /// What BMCs do.
    pub(super) quirk: &'static str,
    /// How the ports fare with it.
    pub(super) cases: &'static [Case],
    /// Faults of it that no request of a port can meet.
    pub(super) unmet: &'static [Unmet],
    /// Why something of it, or all of it, is not tried.
    pub(super) not_here: &'static [&'static str],
}

/// Who asks the BMC: the product has two ports to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// The port to the BMC of a machine that is known.
    Machine,
    /// The search: who is there, and what is behind it.
    Explorer,
}

/// A fault that no request of some ports can meet. In the whole table none of them may make a
/// request that would.
pub(super) struct Unmet {
    pub(super) fault: Fault,
    /// These ports.
    pub(super) by: &'static [Port],
    /// Whether a request (`METHOD path`) would meet it.
    pub(super) would: fn(&str) -> bool,
    /// Why they never make one.
    pub(super) why: &'static str,
}

/// One machine, what is wrong with its BMC, and what the port makes of it.
pub(super) struct Case {
    /// Its personality.
    pub(super) machine: &'static str,
    /// What is wrong from the beginning.
    pub(super) faults: &'static [Strikes],
    /// What happens, one after the other; the last one is judged.
    pub(super) steps: &'static [Step],
    /// What must come of it.
    pub(super) expect: Expect,
    /// The most requests that its BMC may get, logins included.
    pub(super) requests: u64,
    /// The changing requests that its BMC must get, logins left out.
    pub(super) changes: u64,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The port reads everything.
    Observe,
    /// The port inserts the image.
    Insert,
    /// The port ejects whatever is inserted.
    Eject,
    /// The port sets a boot override for one boot.
    Once(&'static str),
    /// The port sets HTTP boot from a URL for one boot.
    OnceFromUrl,
    /// The port asks for a reset.
    Power(PowerAction),
    /// The port asks the BMC to fetch an image for these components.
    Update(&'static [&'static str]),
    /// The port sends an image for a component.
    Push(&'static str),
    /// A task ends, or the BMC restarts over it.
    Ended,
    /// The port looks at the update that was accepted last, of its first component; whether the
    /// system was restarted since.
    Look { restarted: bool },
    /// Somebody at the button; it is over when the machine has this power state.
    Press(ResetType, Power),
    /// The machine comes as far as this by itself.
    Reaches(Stage),
    /// The BMC restarts, and answers again.
    RestartBmc,
    /// The BMC shows another certificate.
    RenewCertificate,
    /// Somebody changes our password on the BMC.
    ChangePassword,
    /// Somebody writes firmware that runs from the next boot on.
    WriteFirmware,
    /// The explorer asks who is there, then reads what is behind it.
    Explore,
}

impl Case {
    /// Who is tried.
    pub(super) fn port(&self) -> Port {
        match self.steps.contains(&Step::Explore) {
            true => Port::Explorer,
            false => Port::Machine,
        }
    }
}

/// What must come of the last step.
#[derive(Clone, Copy)]
pub(super) enum Expect {
    /// Facts, of which this holds.
    Facts(fn(&BmcFacts) -> bool),
    /// One machine, of which these groups are unread, and these told otherwise than without the
    /// faults; all others are as they are then.
    Machine {
        unread: &'static [&'static str],
        otherwise: &'static [&'static str],
    },
    /// A change was sent, and reading back showed this.
    Sent(Shown),
    /// It was as wanted already.
    Unneeded,
    /// An update was accepted.
    Accepted,
    /// An update of which this is to be said.
    Comes(fn(&Progress) -> bool),
    /// An error of this category.
    Error(&'static str),
}

/// What reading back showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The wanted state.
    Confirmed,
    /// The wanted state, and something else about it.
    Differs,
    /// Nothing of it.
    NotSeen,
    /// Nothing can be read.
    NotObservable,
}

/// A fault, and where it strikes.
#[derive(Clone, Copy)]
pub(super) struct Strikes {
    pub(super) fault: Fault,
    path: Option<&'static str>,
    method: Option<&'static str>,
    times: Option<u32>,
    seconds: Option<u64>,
    status: Option<u16>,
    stage: Option<Stage>,
}

/// The fault, always and everywhere.
pub(super) const fn always(fault: Fault) -> Strikes {
    Strikes {
        fault,
        path: None,
        method: None,
        times: None,
        seconds: None,
        status: None,
        stage: None,
    }
}

impl Strikes {
    /// Only paths that contain this.
    pub(super) const fn at(mut self, path: &'static str) -> Self {
        self.path = Some(path);
        self
    }

    /// Only requests with this method.
    pub(super) const fn by(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only so often.
    pub(super) const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// So long.
    pub(super) const fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// With this HTTP status.
    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// In this boot stage.
    pub(super) const fn in_stage(mut self, stage: Stage) -> Self {
        self.stage = Some(stage);
        self
    }

    /// As the simulator takes it.
    pub(super) fn rule(self) -> Rule {
        Rule {
            fault: self.fault,
            path: self.path.map(str::to_owned),
            method: self.method.map(str::to_owned),
            times: self.times,
            seconds: self.seconds,
            status: self.status,
            stage: self.stage,
        }
    }
}
