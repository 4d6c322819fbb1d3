//! The effect itself: the card is reset, the image goes over, and what its log says is followed.

use std::time::Duration;

use lockstep_rshim::{Ended, Follower, Holder, OpenError, Rshim};
use lockstep_store::Medium;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::aftermath::Handed;
use super::fetch::PIECE;
use crate::site::execute::End;
use crate::site::judge::Refusal;

/// How long an installer may say nothing: some of its parts take minutes.
const SILENCE: Duration = Duration::from_secs(20 * 60);
/// How long `misc` is waited for at one look.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an effect is watched.
#[derive(Clone, Debug)]
pub(in crate::host) struct Watch {
    /// Until when.
    pub(in crate::host) settled: Instant,
    /// Between looks at the log.
    pub(super) pause: Duration,
    /// How long after its end a push may take to notice it.
    pub(super) grace: Duration,
    /// When this process ends, and leaves the rest of the log to the next one.
    pub(super) ending: CancellationToken,
    /// How much of the image the card has.
    pub(super) handed: Handed,
    /// How long a card may say nothing of an install that may have only a part of its image.
    pub(super) cut: Duration,
}

impl Watch {
    /// How long the card may say nothing now.
    fn silence(&self, follower: &Follower) -> Duration {
        if self.is_cut(follower) {
            self.cut
        } else {
            SILENCE
        }
    }

    fn is_cut(&self, follower: &Follower) -> bool {
        self.handed == Handed::Perhaps && !follower.has_begun()
    }
}

/// How old the word that a card may be reset may be (S1).
pub(in crate::host) const FRESH: Duration = Duration::from_secs(5);

/// What a push came to before its installer could say anything.
struct Broken(End);

/// An rshim that is ready to be opened.
pub(super) struct Ready {
    rshim: Rshim,
    /// What its log said before.
    before: String,
}

/// Sets what a push needs, and reads what the card said before it.
pub(super) async fn ready(rshim: Rshim, patience: Duration) -> Result<Ready, Refusal> {
    let device = rshim.clone();
    let set = within(patience, move || {
        // What a push that was broken off has left: `boot` would open without a reset, and others
        // would find no log.
        for setting in ["BOOT_RESET_SKIP", "CLEAR_ON_READ"] {
            device.clear(setting)?;
        }
        device.set("DISPLAY_LEVEL", "2")?;
        device.misc()
    });
    let unusable = |why: String| {
        Refusal::new(
            "RshimUnusable",
            format!(
                "{} does not answer: {why}; look at the rshim driver of this host",
                rshim.name()
            ),
        )
    };
    match set.await {
        Some(Ok(before)) => Ok(Ready { rshim, before }),
        Some(Err(error)) => Err(unusable(error.to_string())),
        None => Err(unusable(format!("nothing for {} s", patience.as_secs()))),
    }
}

/// Resets the card, which somebody allowed at that time, pushes the medium and follows the install.
/// A push that has begun is finished, also if this process ends, and `sent` then notes that it is;
/// `None` if it does before the installer has.
pub(super) async fn push(
    ready: Ready,
    medium: Medium,
    allowed: Instant,
    watch: Watch,
    sent: impl FnOnce(),
) -> Option<End> {
    let size = medium.size();
    let rshim = ready.rshim.clone();
    let settled = watch.settled;
    let writing = spawn_blocking(move || write(&ready, &medium, allowed, settled));
    let end = match timeout_at(settled + watch.grace, writing).await {
        Ok(Ok(Ok(follower))) => {
            tracing::info!(rshim = rshim.name(), bytes = size, "image pushed");
            sent();
            return follow(rshim, follower, watch).await;
        }
        Ok(Ok(Err(Broken(end)))) => end,
        Ok(Err(error)) => End::Unknown(Refusal::new("PushEndedAbnormally", error.to_string())),
        // The thread hangs on with the device open, and ends with its write.
        Err(_) => End::Unknown(Refusal::new(
            "PushHangs",
            format!(
                "{} gives no answer to what is written to it, and the time of this push is over; the card may have been reset. Restart the rshim driver of this host",
                rshim.name()
            ),
        )),
    };
    Some(end)
}

fn write(
    ready: &Ready,
    medium: &Medium,
    allowed: Instant,
    settled: Instant,
) -> Result<Follower, Broken> {
    let Ready { rshim, before } = ready;
    if allowed.elapsed() > FRESH {
        return Err(Broken(End::Failed(Refusal::new(
            "FactsTooOld",
            format!(
                "nothing was done to the card, because more than {} s have gone by since it was looked at; it is tried again. If that goes on, this host is too busy",
                FRESH.as_secs()
            ),
        ))));
    }
    let mut boot = rshim
        .open_boot()
        .map_err(|error| Broken(refused(rshim, &error)))?;
    // A card may say the same again, line by line, as when it was installed last.
    let follower = Follower::after(rshim.misc().as_ref().unwrap_or(before));
    tracing::info!(
        rshim = rshim.name(),
        bytes = medium.size(),
        "card reset; the image goes over"
    );
    let broken = |at: u64, why: String| {
        Broken(End::Partly(Refusal::new(
            "PushBroken",
            format!(
                "the card was reset, and the push broke off after {at} of {} bytes: {why}. The card runs nothing now, and is installed anew with the next attempt",
                medium.size()
            ),
        )))
    };
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = medium
            .read_at(&mut buffer, at)
            .map_err(|error| broken(at, error.to_string()))?;
        if read == 0 {
            return Ok(follower);
        }
        if Instant::now() >= settled {
            return Err(broken(at, "its time is over".to_owned()));
        }
        boot.write(&buffer[..read])
            .map_err(|error| broken(at, error.to_string()))?;
        at += read as u64;
    }
}

fn refused(rshim: &Rshim, error: &OpenError) -> End {
    let name = rshim.name();
    let (reason, remedy) = match error {
        // Pushes of this agent come one after the other: that one was given up.
        OpenError::Busy if rshim.is_held_here() => {
            let why = format!(
                "{name}: a write of an earlier push of this agent hangs in the rshim driver, and has the device open still; nothing was done, and it is tried again. Restart the rshim driver of this host"
            );
            return End::Failed(Refusal::new("RshimBusy", why));
        }
        OpenError::Busy => {
            let why = format!(
                "{name}: {error}: {}; it is tried again",
                by(&rshim.holders())
            );
            return End::Failed(Refusal::new("RshimBusy", why));
        }
        OpenError::GivenAway => ("RshimGivenAway", "take it back if nobody uses it"),
        OpenError::LockedOut => (
            "Unsupported",
            "install the card through its BMC, or let the host at it again",
        ),
        OpenError::Gone => ("RshimGone", "look at the rshim driver of this host"),
        OpenError::Unclear(_) => ("RshimUnclear", "look at the card's console"),
    };
    let refusal = Refusal::new(reason, format!("{name}: {error}; {remedy}"));
    if error.changed_nothing() {
        End::Failed(refusal)
    } else {
        End::Unknown(refusal)
    }
}

/// Who pushes, for people. The agent sees itself alone where it has processes of its own.
fn by(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "this agent does not see which one; `fuser -v` on that device's boot tells it on the host"
            .to_owned();
    }
    let named: Vec<String> = holders.iter().map(ToString::to_string).collect();
    named.join(", ")
}

/// Follows what the card says until it has ended, or nobody can tell any more; `None` if this
/// process ends before.
pub(super) async fn follow(rshim: Rshim, mut follower: Follower, watch: Watch) -> Option<End> {
    let mut heard = Instant::now();
    let mut reading: Option<JoinHandle<std::io::Result<String>>> = None;
    loop {
        if let Some(text) = look(&rshim, &mut reading).await
            && follower.read(&text)
        {
            heard = Instant::now();
            tracing::info!(
                rshim = rshim.name(),
                progress = follower.progress(),
                "card installs"
            );
        }
        if let Some(ended) = follower.ended() {
            return Some(concluded(ended.clone()));
        }
        let now = Instant::now();
        let silence = watch.silence(&follower);
        let until = watch.settled.min(heard + silence);
        if now >= until && watch.is_cut(&follower) {
            return Some(cut_off(silence));
        }
        if now >= until {
            let silent = || {
                End::Unknown(Refusal::new(
                    "InstallerSilent",
                    format!(
                        "the image was pushed, and the card says nothing more of its install (last: {}); look at its console",
                        follower.progress()
                    ),
                ))
            };
            return Some(follower.ended_in_silence().map_or_else(silent, concluded));
        }
        tokio::select! {
            () = watch.ending.cancelled() => return None,
            () = sleep_until(until.min(now + watch.pause)) => {}
        }
    }
}

fn cut_off(silence: Duration) -> End {
    End::Partly(Refusal::new(
        "PushBroken",
        format!(
            "the host's agent died while it pushed, and the card has said nothing of an install for {} s since, so it did not get the whole image. It runs nothing now, if it was reset, and is installed anew with the next attempt",
            silence.as_secs()
        ),
    ))
}

/// One look at `misc`. A look that hangs is not begun again beside itself.
async fn look(
    rshim: &Rshim,
    reading: &mut Option<JoinHandle<std::io::Result<String>>>,
) -> Option<String> {
    let device = rshim.clone();
    let task = reading.get_or_insert_with(|| spawn_blocking(move || device.misc()));
    let text = timeout(PATIENCE, &mut *task).await.ok()?;
    *reading = None;
    match text {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            tracing::warn!(rshim = rshim.name(), "log not read: {error}");
            None
        }
        Err(error) => {
            tracing::error!(rshim = rshim.name(), "log not read: {error}");
            None
        }
    }
}

/// What the log amounts to. It tells that something went wrong and not that nothing is written any
/// more, and a small ring may have lost what speaks for an install: the card's own agent tells.
fn concluded(ended: Ended) -> End {
    match ended {
        Ended::Installed => End::Done(Some("the installer says that it is done".to_owned())),
        Ended::Failed(why) => End::Unknown(Refusal::new(
            "InstallerFailed",
            format!("the card says of its install: {why}"),
        )),
        Ended::WithoutInstall => End::Unknown(Refusal::new(
            "NothingInstalled",
            "the card came up, and its log says nothing of an install; look at its console",
        )),
    }
}

/// Waits for what blocks, on a thread of its own, and gives it up after a time.
pub(in crate::host) async fn within<T: Send + 'static>(
    patience: Duration,
    what: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    timeout(patience, spawn_blocking(what)).await.ok()?.ok()
}
