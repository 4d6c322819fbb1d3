//! Flashing firmware of cards by devlink, as the operator's directives say.
//!
//! Kernel and driver of this host write it: the agent lays the firmware, whole and checked, where the
//! kernel looks for it, asks once, and takes it away again. A driver that says that it is done proves
//! nothing of the version; what it lists afterwards is told. One that nobody heard say so may have
//! written a part, whatever it lists: what it lists may be written first. Nothing stops a driver that
//! writes, so one whose asker died is waited for before anything is said of it.

mod awaited;
mod judge;
mod place;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use lockstep_crds::DpuHost;
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_local::Fact;
use lockstep_local::netlink::{self, DeviceInfo, FlashError, Handle, Progress};
use lockstep_local::{LocalFacts, pci};
use lockstep_store::{Digest, Medium};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::judge::{Found, Listed, Seen};
pub(super) use self::place::Folder;
use self::place::Placed;
pub(super) use self::turns::Turns;
use super::machine;
use super::push::act::{FRESH, within};
use super::push::term::{self, Pace};
use super::push::{MACHINE_PATIENCE, Pusher, not_read, withdrawn};
use crate::clock;
use crate::site::execute::End;
use crate::site::journal::Journal;
use crate::site::judge::Refusal;

/// What a driver writes at the slowest, and what is slower than that for a while.
const PACE: Pace = Pace {
    bytes_per_second: 128 << 10,
    beside: Duration::from_secs(60),
};

/// What of the kernel's devlink flashing needs.
pub(super) trait Devlink: Send + Sync {
    /// What the driver tells of a device. Waits as long as it is flashed.
    fn info(&self, handle: &Handle) -> Fact<DeviceInfo>;

    /// Has the driver write the firmware of that name, and returns when it has ended.
    fn flash(
        &self,
        handle: &Handle,
        file: &str,
        told: &mut dyn FnMut(Progress),
    ) -> Result<(), FlashError>;
}

/// The devlink of the kernel that this runs on.
pub(super) struct Kernel;

impl Devlink for Kernel {
    fn info(&self, handle: &Handle) -> Fact<DeviceInfo> {
        netlink::device(handle)
    }

    fn flash(
        &self,
        handle: &Handle,
        file: &str,
        told: &mut dyn FnMut(Progress),
    ) -> Result<(), FlashError> {
        netlink::flash(handle, file, told)
    }
}

/// What the machine tells of the card's firmware, and where the kernel looks for it.
pub(super) struct Checked {
    handle: Handle,
    found: Found,
    folder: Folder,
}

/// What is to be written, and where.
struct Ready {
    handle: Handle,
    component: String,
    version: String,
    digest: Digest,
    placed: Placed,
    bytes: u64,
}

/// What is looked for at a driver that was asked.
struct Asked {
    handle: Handle,
    component: String,
    version: String,
}

pub(super) fn is_flash(directive: &Directive) -> bool {
    directive.action.kind == ActionKind::FlashFirmware
}

impl Pusher {
    /// Whether the firmware may be written, by what is seen now.
    pub(super) async fn check_flash(
        &self,
        directive: &Directive,
        host: &DpuHost,
    ) -> Result<Result<Checked, Refusal>> {
        let handle = match judge::handle(directive) {
            Ok(handle) => handle,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(turn) = self.turns.take(&handle) else {
            return Ok(Err(silent(&handle)));
        };
        let (root, devlink, device) = (self.root.clone(), self.devlink(), handle.clone());
        let looked = within(MACHINE_PATIENCE, move || {
            let cards = match pci::functions(&root) {
                Fact::Known(all) => pci::cards(&root, &all.found),
                Fact::NotOffered | Fact::NotRead(_) => Vec::new(),
            };
            let machine = machine(&LocalFacts::read(&root)).unwrap_or_default();
            let function = place::function_of(root.path(), &device);
            let info = devlink.info(&device);
            drop(turn);
            (cards, machine, function, info)
        });
        let Some((cards, machine, function, info)) = looked.await else {
            return Ok(Err(silent(&handle)));
        };
        let bmc = self.orders.card_bmc(&directive.target.name).await?;
        let seen = Seen {
            host,
            machine: &machine,
            cards: &cards,
            function,
            info: &info,
            bmc: bmc.as_ref(),
        };
        Ok(judge::check(directive, &handle, seen).and_then(|found| {
            let folder = self.firmware.clone().ok_or_else(place::not_given)?;
            Ok(Checked {
                handle,
                found,
                folder,
            })
        }))
    }

    /// Everything from an accepted directive to its end.
    pub(super) async fn flash(
        &mut self,
        directive: &Directive,
        host: &DpuHost,
        journal: &mut Journal,
    ) -> End {
        let ready = match self.prepare_flash(directive, host).await {
            Ok(ready) => ready,
            Err(end) => {
                // It may be refused because what is told of the machine is old.
                self.changed.notify_one();
                return end;
            }
        };
        let allowed = match self.begin(directive, ready.bytes, PACE, journal).await {
            Ok(allowed) => allowed,
            Err(refusal) => return End::Failed(refusal),
        };
        let settled = self.watch(directive).settled;
        let end = self.write(ready, allowed, settled).await;
        self.changed.notify_one();
        end
    }

    /// The firmware is had, checked, and laid where the kernel looks.
    async fn prepare_flash(&mut self, directive: &Directive, host: &DpuHost) -> Result<Ready, End> {
        let (image, component) = judge::wanted(directive).map_err(End::Failed)?;
        let digest = image.digest.parse::<Digest>();
        let digest = digest.map_err(|_| End::Failed(judge::nameless()))?;
        self.check_again(directive, host).await?;
        let having = self.source.whole(&directive.target.uid, digest);
        let had = self.had(directive, PACE, having).await;
        let medium = had.map_err(End::Failed)?;
        let bytes = medium.size();
        tracing::info!(%digest, bytes, "firmware had and checked");
        let asked = self.still_asked(directive).await;
        let host = asked.map_err(|error| unread(&error))?;
        let host = host.ok_or_else(|| End::Failed(withdrawn()))?;
        let Checked { handle, folder, .. } = self.check_again(directive, &host).await?;
        let placed = place(folder, medium, digest).await.map_err(End::Failed)?;
        Ok(Ready {
            handle,
            component: component.to_owned(),
            version: image.version.clone(),
            digest,
            placed,
            bytes,
        })
    }

    /// Whether it is still to be written, and may be.
    async fn check_again(&self, directive: &Directive, host: &DpuHost) -> Result<Checked, End> {
        let (image, component) = judge::wanted(directive).map_err(End::Failed)?;
        let checked = self
            .check_flash(directive, host)
            .await
            .map_err(|error| unread(&error))?;
        let ready = checked.map_err(End::Failed)?;
        if ready.found.runs(&image.version) {
            return Err(End::Failed(Refusal::new(
                "RunsAlready",
                format!(
                    "nothing was written, because {component} runs {} already; this host's report says so soon",
                    image.version
                ),
            )));
        }
        Ok(ready)
    }

    /// Asks the driver, once, and looks at what it lists afterwards.
    async fn write(&self, ready: Ready, allowed: Instant, settled: Instant) -> End {
        let devlink = self.devlink();
        let asked = Asked {
            handle: ready.handle.clone(),
            component: ready.component.clone(),
            version: ready.version.clone(),
        };
        let digest = ready.digest;
        let Some(turn) = self.turns.take(&asked.handle) else {
            return End::Failed(silent(&asked.handle));
        };
        let writing = spawn_blocking(move || {
            let _until_it_ends = turn;
            // What lies there is judged where it lies, and the kernel reads it next (S9).
            ready
                .placed
                .verify(ready.digest)
                .map_err(Unwritten::Ended)?;
            if allowed.elapsed() > FRESH {
                return Err(Unwritten::Ended(End::Failed(Refusal::new(
                    "FactsTooOld",
                    format!(
                        "nothing was done to the card, because more than {} s have gone by since it was looked at; it is tried again. If that goes on, this host is too busy",
                        FRESH.as_secs()
                    ),
                ))));
            }
            tracing::info!(device = %ready.handle, file = ready.placed.name(), "the driver is asked to write firmware");
            let mut heard = Heard::default();
            let mut told = |progress: Progress| heard.hear(&ready.handle, progress);
            let flashed = devlink.flash(&ready.handle, ready.placed.name(), &mut told);
            flashed.map_err(|error| unwritten(&ready, &error, &heard))
        });
        let handle = &asked.handle;
        match timeout_at(settled + self.grace, writing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(Unwritten::Ended(end)))) => return end,
            Ok(Ok(Err(Unwritten::Unclear(what)))) => {
                return self
                    .look_after(asked, "FlashUnclear", &what, MACHINE_PATIENCE)
                    .await;
            }
            Ok(Err(error)) => {
                let what = format!("asking the driver of {handle} ended abnormally: {error}");
                return self
                    .look_after(asked, "FlashUnclear", &what, MACHINE_PATIENCE)
                    .await;
            }
            // The driver goes on, and with it the thread that asked.
            Err(_) => return hangs(handle, "has not ended, and the time of this update is over"),
        }
        let info = self.info(handle, MACHINE_PATIENCE).await;
        let listed = Listed::of(&info, &asked.component);
        if listed.has(&asked.version) {
            return End::Done(Some(format!("the driver is done, and lists {listed}")));
        }
        End::Unknown(Refusal::new(
            "VersionNotSeen",
            format!(
                "the driver of {handle} says that it is done with {digest}, and lists {listed}, not {}; if that stays so once the firmware is activated, look whether the image is one of this card and holds that version",
                asked.version
            ),
        ))
    }

    /// What became of a flash whose asker died. As long as the driver writes, the kernel does not answer.
    pub(super) async fn observe_flash(&self, directive: &Directive) -> End {
        let wanted = judge::handle(directive).and_then(|handle| {
            let (image, component) = judge::wanted(directive)?;
            Ok(Asked {
                handle,
                component: component.to_owned(),
                version: image.version.clone(),
            })
        });
        let asked = match wanted {
            Ok(asked) => asked,
            Err(refusal) => {
                return End::Unknown(Refusal::new("ExecutorRestarted", refusal.message));
            }
        };
        let over = term::over(directive).duration_since(clock::now().0);
        let over = Duration::try_from(over).unwrap_or_default();
        let what = "the host's agent restarted while it flashed";
        let patience = over.max(MACHINE_PATIENCE);
        let end = self
            .look_after(asked, "FlashInterrupted", what, patience)
            .await;
        self.changed.notify_one();
        end
    }

    /// Whether a driver that was asked writes still, if nobody heard it say that it is done; what it lists
    /// proves nothing.
    async fn look_after(
        &self,
        asked: Asked,
        reason: &'static str,
        what: &str,
        patience: Duration,
    ) -> End {
        let Asked {
            handle,
            component,
            version,
        } = &asked;
        let info = self.info(handle, patience).await;
        if let Fact::NotRead(why) = &info {
            return hangs(handle, &format!("may be writing still: {what}, and {why}"));
        }
        let listed = Listed::of(&info, component);
        End::Unknown(Refusal::new(
            reason,
            format!(
                "{what}; the driver has ended and lists {listed}, but was not heard to say that it is done, so {version} may not be whole there: leave host and card on; it is written anew as often as the policy says"
            ),
        ))
    }

    async fn info(&self, handle: &Handle, patience: Duration) -> Fact<DeviceInfo> {
        let Some(turn) = self.turns.take(handle) else {
            return Fact::NotRead(silent(handle).message);
        };
        let (devlink, device) = (self.devlink(), handle.clone());
        let told = within(patience, move || {
            let _until_it_answers = turn;
            devlink.info(&device)
        });
        let told = told.await;
        told.unwrap_or_else(|| Fact::NotRead(silent(handle).message))
    }

    fn devlink(&self) -> Arc<dyn Devlink> {
        Arc::clone(&self.devlink)
    }
}

async fn place(folder: Folder, medium: Medium, digest: Digest) -> Result<Placed, Refusal> {
    let placed = spawn_blocking(move || folder.place(&medium, digest)).await;
    placed.unwrap_or_else(|error| Err(place::unusable(&error)))
}

/// What a driver has said.
#[derive(Default)]
struct Heard {
    last: Option<Progress>,
}

impl Heard {
    /// Told where it is news: another step, or ten hundredths more.
    fn hear(&mut self, handle: &Handle, progress: Progress) {
        let tenth = |progress: &Progress| progress.percent().map(|percent| percent / 10);
        let is_news = self.last.as_ref().is_none_or(|last| {
            last.message != progress.message
                || last.component != progress.component
                || tenth(last) != tenth(&progress)
        });
        if is_news {
            tracing::info!(device = %handle, progress = %progress, "the driver writes");
        }
        self.last = Some(progress);
    }

    fn said(&self) -> String {
        match &self.last {
            Some(last) => last.to_string(),
            None => "nothing".to_owned(),
        }
    }
}

/// Why a driver did not say that it is done.
enum Unwritten {
    Ended(End),
    /// How it ended is not known; in words.
    Unclear(String),
}

fn hangs(handle: &Handle, how: &str) -> End {
    End::Unknown(Refusal::new(
        "FlashHangs",
        format!(
            "the driver of {handle} {how}; leave host and card on, and look at the kernel's log of this host"
        ),
    ))
}

fn unwritten(ready: &Ready, error: &FlashError, heard: &Heard) -> Unwritten {
    let Ready { handle, placed, .. } = ready;
    let end = match error {
        FlashError::NotBegun(why) => End::Failed(Refusal::new(
            "FlashRefused",
            format!(
                "nothing was written: the kernel refuses to flash {handle} with {}: {why}; its driver must take devlink flash, and the kernel look for firmware where the agent lays it (--firmware-dir)",
                placed.name()
            ),
        )),
        FlashError::Broken(why) => End::Partly(Refusal::new(
            "FlashFailed",
            format!(
                "the driver of {handle} gave up: {why} (last: {}); what it wrote before may be there. Look whether the image is one of this card, and at the kernel's log of this host",
                heard.said()
            ),
        )),
        FlashError::Unclear(why) => {
            return Unwritten::Unclear(format!(
                "the driver of {handle} was called, and how it ended is not known: {why} (last: {})",
                heard.said()
            ));
        }
    };
    Unwritten::Ended(end)
}

fn unread(error: &anyhow::Error) -> End {
    End::Failed(not_read(error))
}

fn silent(handle: &Handle) -> Refusal {
    Refusal::new(
        "DevlinkUnusable",
        format!(
            "the kernel does not answer for {handle}; another program may be flashing it, and it is tried again"
        ),
    )
}

#[cfg(test)]
mod tests;
