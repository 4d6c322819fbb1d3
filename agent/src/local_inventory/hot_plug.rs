//! When what is plugged in has come to rest.

use std::thread;
use std::time::Duration;

use lockstep_local::hot_plug::HotPlug;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long nothing may have happened. Drivers are bound within it.
const QUIET: Duration = Duration::from_secs(2);
/// A machine that never comes to rest is looked at after this.
const LONGEST: Duration = Duration::from_secs(20);
/// Between looks whether anybody still listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run of changes.
#[derive(Debug, Default)]
struct Run(Option<(Instant, Instant)>);

impl Run {
    fn heard(&mut self, now: Instant) {
        let first = self.0.map_or(now, |(first, _)| first);
        self.0 = Some((first, now));
    }

    /// When it counts as over.
    fn over(&self) -> Option<Instant> {
        let (first, last) = self.0?;
        Some((last + QUIET).min(first + LONGEST))
    }
}

/// Listens for PCI functions that come and go.
#[derive(Debug)]
pub(super) struct Listener {
    /// A message each time something may have changed; closed when nothing more is heard.
    heard: Option<mpsc::Receiver<()>>,
    run: Run,
}

impl Listener {
    /// Listens to the kernel that runs here, on a thread of its own. Where that is refused, says
    /// so once and hears nothing: what is read now and then shows the change later.
    pub(super) fn open() -> Self {
        let (tell, heard) = mpsc::channel(1);
        let listening = HotPlug::open().and_then(|socket| {
            thread::Builder::new()
                .name("hot-plug".to_owned())
                .spawn(move || listen(&socket, &tell))
        });
        if let Err(error) = listening {
            tracing::warn!(%error, "no hot-plug events: changes are seen at the next full reading");
        }
        Self {
            heard: Some(heard),
            run: Run::default(),
        }
    }

    /// Hears nothing.
    pub(super) fn deaf() -> Self {
        Self {
            heard: None,
            run: Run::default(),
        }
    }

    /// Resolves when a run of changes is over. Nothing is lost if this is dropped and called again.
    pub(super) async fn at_rest(&mut self) {
        loop {
            let over = self.run.over();
            let rest = async {
                match over {
                    Some(over) => sleep_until(over).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // First, or a machine that never rests would be heard for ever.
                biased;
                () = rest => {
                    self.run = Run::default();
                    return;
                }
                heard = hear(self.heard.as_mut()) => match heard {
                    Some(()) => self.run.heard(Instant::now()),
                    None => self.heard = None,
                },
            }
        }
    }
}

/// `None` when nothing more will be heard.
async fn hear(heard: Option<&mut mpsc::Receiver<()>>) -> Option<()> {
    match heard {
        None => std::future::pending().await,
        Some(heard) => heard.recv().await,
    }
}

/// Passes on that something changed, or that messages were lost and anything may have. Ends
/// with the one who listens.
fn listen(socket: &HotPlug, tell: &mpsc::Sender<()>) {
    while !tell.is_closed() {
        match socket.next(PATIENCE) {
            Ok(Some(_)) => {
                // One that waits to be heard says enough.
                tell.try_send(()).ok();
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "no more hot-plug events: changes are seen at the next full reading");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_when_it_is_quiet_and_at_last_anyway() {
        let mut run = Run::default();
        assert_eq!(run.over(), None);
        let start = Instant::now();
        run.heard(start);
        assert_eq!(run.over(), Some(start + QUIET));
        let later = start + Duration::from_secs(1);
        run.heard(later);
        assert_eq!(run.over(), Some(later + QUIET));
        run.heard(start + LONGEST);
        assert_eq!(run.over(), Some(start + LONGEST));
    }

    #[tokio::test]
    async fn what_was_heard_before_an_interruption_still_counts() {
        let mut listener = Listener::deaf();
        listener.run.heard(Instant::now());
        let interrupted = tokio::time::timeout(Duration::from_millis(10), listener.at_rest()).await;
        assert!(interrupted.is_err());
        listener.at_rest().await;
        assert_eq!(listener.run.over(), None);
    }
}
