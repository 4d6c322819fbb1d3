//! Installing cards over rshim, as the operator's directives say. What is flashed by devlink, which
//! [`super::flash`] knows about, takes its turn among them: one directive at a time.
//!
//! The order of things is the contract, as it is for the site's agent: the journal and the report
//! say that a directive was accepted before anything is done; the image lies here whole and
//! checked before the card is touched; everything is looked at again just before, the BMCs by the
//! site's agent, which alone reaches them; the card is reset once. What a process that died may
//! have done is looked for and never done again.

pub(super) mod act;
mod aftermath;
pub(super) mod fetch;
pub(super) mod judge;
mod look;
mod orders;
mod resume;
pub(super) mod term;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use lockstep_crds::DpuHost;
use lockstep_crds::directive::Directive;
use lockstep_crds::report::{Execution, Outcome};
use lockstep_local::Root;
use lockstep_store::{Digest, Medium, Own};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock;
use crate::durable;
use crate::host::InstallArgs;
use crate::host::flash::{Devlink, Folder, Kernel, Turns, is_flash};
use crate::local_report::Telling;
use crate::site::clearance::BUSY;
use crate::site::execute::End;
use crate::site::journal::Journal;
use crate::site::judge::{Refusal, Standing, admit, next};
use crate::site::machine::{MachineKey, MachineKind};

use act::{Ready, Watch, push, ready};
use aftermath::Handed;
use fetch::Source;
pub(in crate::host) use orders::Orders;
use term::Pace;

/// Between looks for something to do.
const POLL: Duration = Duration::from_secs(15);
/// Between looks at a card's log.
const LOG_PAUSE: Duration = Duration::from_secs(2);
/// How long a card may say nothing after a push that nobody saw the end of. One that got the whole
/// image starts it at once, and says so.
const CUT: Duration = Duration::from_secs(5 * 60);
/// How long the machine may take to tell of its cards and of an rshim.
pub(super) const MACHINE_PATIENCE: Duration = Duration::from_secs(30);
/// How long whatever else goes on at the BMCs of card and host is waited for, in one directive.
const QUIET_WITHIN: Duration = Duration::from_secs(600);
/// Between questions whether it still does.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long after its end a push may take to notice it.
const GRACE: Duration = Duration::from_secs(10);
/// How long the report may take to be written.
const TELL_PATIENCE: Duration = Duration::from_secs(30);

/// Carries out directives to push.
pub(in crate::host) struct Pusher {
    pub(super) orders: Orders,
    pub(super) root: Root,
    pub(super) source: Source,
    pub(super) devlink: Arc<dyn Devlink>,
    pub(super) turns: Turns,
    /// Where the kernel looks for firmware.
    pub(super) firmware: Option<Folder>,
    /// Has the machine read again.
    pub(super) changed: Arc<Notify>,
    /// When it was read again last because firmware is awaited.
    pub(super) read_at: Option<Instant>,
    dir: PathBuf,
    told: mpsc::Sender<Telling>,
    accepted: Option<i64>,
    pause: Duration,
    cut: Duration,
    look_again: Duration,
    pace: Pace,
    pub(super) grace: Duration,
    pub(super) ending: CancellationToken,
}

impl Pusher {
    pub(in crate::host) fn new(
        orders: Orders,
        root: Root,
        store: &Url,
        args: &InstallArgs,
        told: mpsc::Sender<Telling>,
    ) -> Result<Self> {
        durable::make_private_dir(&args.work_dir)
            .with_context(|| format!("--work-dir {}", args.work_dir.display()))?;
        Ok(Self {
            orders,
            root,
            source: Source::new(store, args)?,
            devlink: Arc::new(Kernel),
            turns: Turns::default(),
            firmware: args.firmware_dir.clone().map(Folder::new),
            changed: Arc::default(),
            read_at: None,
            dir: args.work_dir.clone(),
            told,
            accepted: None,
            pause: LOG_PAUSE,
            cut: CUT,
            look_again: LOOK_AGAIN,
            pace: Pace::default(),
            grace: GRACE,
            ending: CancellationToken::new(),
        })
    }

    /// The same, which has the machine read again after it has changed its firmware.
    pub(in crate::host) fn prompting(self, changed: Arc<Notify>) -> Self {
        Self { changed, ..self }
    }

    /// Runs until `ending`. A push that has begun is finished, and what waits for one is not begun;
    /// how its installer ended finds out the next process.
    pub(in crate::host) async fn run(mut self, ending: CancellationToken) {
        self.ending = ending.clone();
        while !ending.is_cancelled() {
            if let Err(error) = self.turn().await {
                tracing::warn!("no directives: {error:#}");
            }
            tokio::select! {
                () = ending.cancelled() => {}
                () = sleep(clock::jittered(POLL, 20)) => {}
            }
        }
    }

    /// Deals with what is asked now, if anything is.
    pub(super) async fn turn(&mut self) -> Result<()> {
        let host = self.orders.host().await?;
        let accepted = match self.accepted {
            Some(accepted) => accepted,
            None => match self.resume(host.as_ref()).await? {
                Some(accepted) => accepted,
                None => return Ok(()),
            },
        };
        let Some(host) = host else { return Ok(()) };
        self.look_after_flashes(&host);
        let pushes = self.orders.pushes(&host);
        let Some(directive) = next(&pushes, accepted) else {
            return Ok(());
        };
        match self.carry_out(directive, &host).await? {
            Some(end) => self.conclude(directive, end).await,
            // The next process looks for its end.
            None => Ok(()),
        }
    }

    /// How it ended; `None` if this process ends before that is known.
    async fn carry_out(&mut self, directive: &Directive, host: &DpuHost) -> Result<Option<End>> {
        let standing = Standing {
            uid: &directive.target.uid,
            accepted: self.accepted.unwrap_or_default(),
            hands_off: host.spec.hands_off,
            now: clock::now().0,
        };
        if self.ending.is_cancelled() {
            // Nothing was accepted: the next process takes it.
            return Ok(None);
        }
        if let Err(refusal) = admit(directive, standing) {
            return Ok(Some(End::Failed(refusal)));
        }
        let checked = if is_flash(directive) {
            self.check_flash(directive, host).await?.map(drop)
        } else {
            self.check(directive, host).await?.map(drop)
        };
        if let Err(refusal) = checked {
            return Ok(Some(End::Failed(refusal)));
        }
        let mut journal = self.journal(directive);
        journal.load()?;
        journal.accept(directive)?;
        self.accepted = Some(directive.seq);
        tracing::info!(
            seq = directive.seq,
            card = directive.target.name,
            "directive accepted"
        );
        if let Err(error) = self.tell(directive.seq, None).await {
            return Ok(Some(End::Failed(Refusal::new(
                "AcceptanceNotRecorded",
                format!(
                    "nothing was done, because the acceptance could not be recorded: {error:#}"
                ),
            ))));
        }
        // It is accepted: whatever fails from here on is its end.
        if is_flash(directive) {
            return Ok(Some(self.flash(directive, host, &mut journal).await));
        }
        let prepared = self.prepare(directive, host).await;
        let (ready, medium) = match prepared.unwrap_or_else(|error| Err(not_read(&error))) {
            Ok(prepared) => prepared,
            Err(refusal) => return Ok(Some(End::Failed(refusal))),
        };
        let (bytes, pace) = (medium.size(), self.pace);
        let allowed = match self.begin(directive, bytes, pace, &mut journal).await {
            Ok(allowed) => allowed,
            Err(refusal) => return Ok(Some(End::Failed(refusal))),
        };
        let sent = || {
            if let Err(error) = journal.sent(directive) {
                // The card installs all the same; a restart would only have to wait for its word.
                tracing::warn!("not noted that the image is pushed: {error}");
            }
        };
        Ok(push(ready, medium, allowed, self.watch(directive), sent).await)
    }

    /// The last looks before anything is done to the card, and the note of it; when the site's agent
    /// allowed it.
    pub(super) async fn begin(
        &self,
        directive: &Directive,
        bytes: u64,
        pace: Pace,
        journal: &mut Journal,
    ) -> Result<Instant, Refusal> {
        let card = &directive.target.uid;
        self.source.may_reset(card, directive.seq).await?;
        if self.ending.is_cancelled() {
            return Err(ending());
        }
        let allowed = Instant::now();
        term::check(directive, bytes, pace, clock::now().0)?;
        journal.act(directive).map_err(|error| {
            Refusal::new(
                "StateUnusable",
                format!("nothing was done to the card: {error}"),
            )
        })?;
        Ok(allowed)
    }

    /// What is had of the store. One that is slow, or hangs, is given up in time for another way.
    pub(super) async fn had<T>(
        &self,
        directive: &Directive,
        pace: Pace,
        having: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let left = term::left(directive, 0, pace, clock::now().0);
        let too_late = |_| Err(term::too_late(directive, 0, clock::now().0));
        tokio::select! {
            () = self.ending.cancelled() => Err(ending()),
            had = timeout(left, having) => had.unwrap_or_else(too_late),
        }
    }

    /// The host, if the directive stands there still.
    pub(super) async fn still_asked(&mut self, directive: &Directive) -> Result<Option<DpuHost>> {
        let host = self.orders.host().await?;
        Ok(host.filter(|host| self.orders.pushes(host).contains(directive)))
    }

    /// Everything up to the reset: the image is had, and everything is looked at once more.
    async fn prepare(
        &mut self,
        directive: &Directive,
        host: &DpuHost,
    ) -> Result<Result<(Ready, Medium), Refusal>> {
        let generation = match self.check(directive, host).await? {
            Ok((generation, _)) => generation,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let image = directive.action.image.as_ref();
        let Some(digest) = image.and_then(|image| image.digest.parse::<Digest>().ok()) else {
            return Ok(Err(Refusal::new(
                "ImageMissing",
                "the directive names no image; upgrade operator and agents to one release",
            )));
        };
        let card = &directive.target.uid;
        let had = async {
            let own = self.own(card).await?;
            self.source.medium(card, digest, own, generation).await
        };
        let (medium, stream) = match self.had(directive, self.pace, had).await {
            Ok(medium) => medium,
            Err(refusal) => return Ok(Err(refusal)),
        };
        tracing::info!(%digest, bytes = stream.size, images = stream.images.len(), "image had and checked");
        let Some(host) = self.still_asked(directive).await? else {
            return Ok(Err(withdrawn()));
        };
        let rshim = match self.check(directive, &host).await? {
            Ok((_, rshim)) => rshim,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let ready = ready(rshim, MACHINE_PATIENCE).await;
        Ok(ready.map(|ready| (ready, medium)))
    }

    /// What is the card's own, once nothing goes on that forbids its reset.
    async fn own(&self, card: &str) -> Result<Own, Refusal> {
        let until = Instant::now() + QUIET_WITHIN;
        loop {
            match self.source.own(card).await {
                Err(busy) if busy.reason == BUSY && Instant::now() < until => {
                    tracing::info!(card, "push waits: {}", busy.message);
                    sleep(self.look_again).await;
                }
                told => return told,
            }
        }
    }

    async fn conclude(&mut self, directive: &Directive, end: End) -> Result<()> {
        let outcome = end.outcome();
        tracing::info!(
            seq = directive.seq,
            card = directive.target.name,
            result = %outcome.result,
            reason = outcome.reason.as_deref().unwrap_or(""),
            why = outcome.message.as_deref().unwrap_or(""),
            "directive ended"
        );
        self.accepted = Some(directive.seq);
        let mut journal = self.journal(directive);
        journal.load()?;
        journal.end(directive, &outcome)?;
        self.tell(directive.seq, Some(outcome)).await
    }

    /// Has it written into the report.
    async fn tell(&self, accepted: i64, outcome: Option<Outcome>) -> Result<()> {
        let (written, told) = oneshot::channel();
        let telling = Telling {
            execution: Execution { accepted, outcome },
            written,
        };
        let said = async {
            let gone = || anyhow!("nobody writes the report any more");
            self.told.send(telling).await.map_err(|_| gone())?;
            told.await.map_err(|_| gone())?
        };
        timeout(TELL_PATIENCE, said)
            .await
            .context("the report was not written in time")?
    }

    pub(super) fn journal(&self, directive: &Directive) -> Journal {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: directive.target.name.clone(),
        };
        Journal::new(&self.dir, &key)
    }

    /// Until the directive is over, whenever the push began.
    pub(super) fn watch(&self, directive: &Directive) -> Watch {
        let left = term::over(directive).duration_since(clock::now().0);
        Watch {
            settled: Instant::now() + Duration::try_from(left).unwrap_or_default(),
            pause: self.pause,
            grace: self.grace,
            ending: self.ending.clone(),
            handed: Handed::Whole,
            cut: self.cut,
        }
    }
}

pub(super) fn withdrawn() -> Refusal {
    Refusal::new(
        "Withdrawn",
        "nobody wants this any more; nothing was done to the card",
    )
}

pub(super) fn not_read(error: &anyhow::Error) -> Refusal {
    Refusal::new(
        "FactsNotRead",
        format!(
            "nothing was done to the card, because what is asked and known of it could not be read just before: {error:#}; it is tried again"
        ),
    )
}

pub(super) fn ending() -> Refusal {
    Refusal::new(
        "ExecutorEnding",
        "nothing was done to the card, because the host's agent ends; its successor does it with the next try",
    )
}

#[cfg(test)]
pub(super) mod tests;
