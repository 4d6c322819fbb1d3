//! Taking over from an earlier process: what it may have done is looked for and never done again.

use anyhow::Result;
use lockstep_crds::DpuHost;
use lockstep_crds::directive::Directive;
use lockstep_crds::report::Execution;
use lockstep_local::rshim::parse_misc;
use lockstep_rshim::{Follower, Rshim};

use super::act::{Watch, follow, within};
use super::aftermath::{Handed, Left, Reset, interrupted, left, reset_since};
use super::{MACHINE_PATIENCE, Pusher};
use crate::clock;
use crate::host::flash::is_flash;
use crate::site::execute::End;
use crate::site::journal::Journal;
use crate::site::judge::Refusal;

impl Pusher {
    /// What was accepted before, once the report says how that ended; `None` if this process ends
    /// before that is known. That there is somebody who carries directives out stands in the report
    /// from the first of them on.
    pub(super) async fn resume(&mut self, host: Option<&DpuHost>) -> Result<Option<i64>> {
        let reported = self.orders.execution().await?;
        let note = Journal::latest(&self.dir)?;
        let accepted = match left(reported.as_ref(), note.as_ref()) {
            Left::Nothing => {
                if reported.is_none() {
                    self.tell(0, None).await?;
                }
                0
            }
            Left::Told(seq) => seq,
            Left::Ended(Execution { accepted, outcome }) => {
                self.tell(accepted, outcome).await?;
                accepted
            }
            Left::Begun(directive, handed) => {
                if !self.settle(directive, handed).await? {
                    return Ok(None);
                }
                directive.seq
            }
            Left::Unnoted(seq) => {
                let pushes = host.map_or_else(Vec::new, |host| self.orders.pushes(host));
                match pushes.iter().find(|open| open.seq == seq) {
                    Some(directive) => {
                        // Without a note nobody says how far it came.
                        if !self.settle(directive, Handed::Whole).await? {
                            return Ok(None);
                        }
                    }
                    None => self.tell(seq, Some(interrupted().outcome())).await?,
                }
                seq
            }
        };
        self.accepted = Some(accepted);
        Ok(Some(accepted))
    }

    /// Looks for the end of a push that an earlier process may have begun, and tells it; false if
    /// this process ends first.
    async fn settle(&mut self, directive: &Directive, handed: Handed) -> Result<bool> {
        // The report may be lost, and this may take long.
        self.tell(directive.seq, None).await?;
        let Some(end) = self.observe(directive, handed).await else {
            return Ok(false);
        };
        self.conclude(directive, end).await?;
        Ok(true)
    }

    /// Whether the card was reset since the directive was recorded, and if so what it says of its
    /// install since.
    async fn observe(&self, directive: &Directive, handed: Handed) -> Option<End> {
        if is_flash(directive) {
            return Some(self.observe_flash(directive).await);
        }
        let name = directive.expects.rshim.as_ref().map(|rshim| &rshim.name);
        let rshim = name.and_then(|name| Rshim::new(self.root.path(), name).ok());
        let Some(rshim) = rshim else {
            return Some(interrupted());
        };
        let device = rshim.clone();
        let shown = within(MACHINE_PATIENCE, move || {
            device
                .set("DISPLAY_LEVEL", "2")
                .and_then(|()| device.misc())
        });
        let Some(Ok(shown)) = shown.await else {
            return Some(interrupted());
        };
        let uptime = parse_misc(&shown).uptime_seconds;
        let mut said = Follower::default();
        said.read(&shown);
        // What installs by what it says got all that it needs.
        let handed = if said.has_begun() {
            Handed::Whole
        } else {
            handed
        };
        let follower = match reset_since(directive, &uptime, clock::now().0) {
            Reset::No => {
                return Some(End::Failed(Refusal::new(
                    "ExecutorRestarted",
                    format!(
                        "the host's agent restarted, and the card has not been reset: it runs for {uptime} s"
                    ),
                )));
            }
            // With the reset the log began anew, so what stands there is of this install.
            Reset::Yes => said,
            Reset::Unclear => Follower::after(&shown),
        };
        let watch = Watch {
            handed,
            ..self.watch(directive)
        };
        follow(rshim, follower, watch).await
    }
}
