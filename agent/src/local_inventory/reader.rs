//! What a machine is made of, read at the start, after hot-plug and now and then, and told to
//! whoever writes the report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::inventory::Inventory;
use lockstep_local::Root;
use lockstep_local::netlink::Told;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hot_plug::Listener;
use super::{Reading, Whose};
use crate::clock;

/// After hot-plug the machine is read once more: some drivers take their time.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// After a reading that failed.
const PAUSE: Duration = Duration::from_secs(60);

/// The machine under a root, and whether the kernel that runs here is its own.
#[derive(Clone, Debug)]
pub struct LocalMachine {
    /// Its files.
    pub root: Root,
    /// Whether the kernel may be asked, and listened to, about it.
    pub own_kernel: bool,
}

impl LocalMachine {
    /// This very machine, if `root` is `/`; the files of some other one otherwise.
    pub fn at(root: &Path) -> Self {
        Self {
            root: Root::new(root),
            own_kernel: root == Path::new("/"),
        }
    }

    /// This very machine, whose files are mounted at `root`, all but `/proc`.
    pub fn mounted_at(root: &Path) -> Self {
        Self {
            root: Root::mounted_at(root),
            own_kernel: true,
        }
    }

    fn read(&self) -> Reading {
        let told = if self.own_kernel {
            Told::ask()
        } else {
            Told::nothing("the files may be another machine's")
        };
        Reading::take(&self.root, &told)
    }
}

/// The last reading of a machine; `None` before the first.
pub type Latest = watch::Receiver<Option<Inventory>>;

/// Reads one machine.
#[derive(Debug)]
pub struct InventoryReader {
    machine: LocalMachine,
    whose: Whose,
    floor: Duration,
    due: Instant,
    listener: Listener,
    prompt: Arc<Notify>,
    flashes: bool,
    latest: watch::Sender<Option<Inventory>>,
}

impl InventoryReader {
    /// A reader; nothing is read yet. The machine is read every `floor` even if nothing was heard.
    pub fn new(machine: LocalMachine, whose: Whose, floor: Duration) -> (Self, Latest) {
        let listener = if machine.own_kernel {
            Listener::open()
        } else {
            Listener::deaf()
        };
        let (latest, told) = watch::channel(None);
        let reader = Self {
            machine,
            whose,
            floor,
            due: Instant::now(),
            listener,
            prompt: Arc::default(),
            flashes: false,
            latest,
        };
        (reader, told)
    }

    /// The same of an agent that may have firmware written: it tells of the devices by which it would.
    pub fn flashing(self, flashes: bool) -> Self {
        Self { flashes, ..self }
    }

    /// By which others say that something changed of which the kernel tells nothing.
    pub fn prompt(&self) -> Arc<Notify> {
        Arc::clone(&self.prompt)
    }

    /// Runs until `ending`.
    pub async fn run(mut self, ending: CancellationToken) {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = self.wait() => {}
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = self.read() => {}
            }
        }
    }

    /// Waits until there is a reason to read, and sets when there will be the next.
    async fn wait(&mut self) {
        tokio::select! {
            () = sleep_until(self.due) => {
                self.due = Instant::now() + clock::jittered(self.floor, 10);
            }
            () = self.listener.at_rest() => {
                self.due = self.due.min(Instant::now() + AFTERWARDS);
            }
            () = self.prompt.notified() => {}
        }
    }

    /// Whoever has no firmware written offers no device to write it by.
    fn offer(&self, inventory: &mut Inventory) {
        for card in &mut inventory.cards {
            card.devlink.take_if(|_| !self.flashes);
        }
    }

    async fn read(&mut self) {
        let (machine, whose) = (self.machine.clone(), self.whose);
        match tokio::task::spawn_blocking(move || machine.read().inventory(whose)).await {
            Ok(mut inventory) => {
                self.offer(&mut inventory);
                let changed = self.latest.send_if_modified(|latest| {
                    let changed = latest.as_ref() != Some(&inventory);
                    *latest = Some(inventory);
                    changed
                });
                tracing::debug!(changed, "inventory read");
            }
            Err(error) => {
                self.due = Instant::now() + PAUSE;
                tracing::error!("reading the machine ended abnormally: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::inventory::CardSeen;
    use std::fs;

    #[tokio::test]
    async fn only_a_change_is_told_and_what_counts_by_itself_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal: 1024 kB\n");
        write("proc/uptime", "12.50 3.00\n");
        let machine = LocalMachine::at(dir.path());
        let (mut reader, mut latest) =
            InventoryReader::new(machine, Whose::Host, Duration::from_secs(3600));
        assert!(latest.borrow_and_update().is_none());
        reader.read().await;
        assert!(latest.has_changed().unwrap());
        latest.mark_unchanged();
        write("proc/uptime", "99.50 3.00\n");
        reader.read().await;
        assert!(!latest.has_changed().unwrap());
        write("proc/meminfo", "MemTotal: 2048 kB\n");
        reader.read().await;
        let memory = latest.borrow_and_update().clone().unwrap().memory.unwrap();
        assert_eq!(memory.usable_bytes, Some(2_097_152));
    }

    #[tokio::test]
    async fn a_device_to_write_firmware_by_is_told_by_whoever_does_that_alone() {
        let seen: CardSeen = serde_json::from_value(serde_json::json!({
            "devlink": "pci/0000:03:00.0", "firmware": [{"name": "fw", "running": "1.0"}],
        }))
        .unwrap();
        for (flashes, wanted) in [(true, Some("pci/0000:03:00.0")), (false, None)] {
            let mut inventory = Inventory {
                cards: vec![seen.clone()],
                ..Inventory::default()
            };
            let dir = tempfile::tempdir().unwrap();
            let machine = LocalMachine::at(dir.path());
            let (reader, _) = InventoryReader::new(machine, Whose::Host, Duration::from_secs(60));
            reader.flashing(flashes).offer(&mut inventory);
            assert_eq!(inventory.cards[0].devlink.as_deref(), wanted);
            assert_eq!(inventory.cards[0].firmware, seen.firmware);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_changed_something_has_it_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let machine = LocalMachine::at(dir.path());
        let (mut reader, _latest) =
            InventoryReader::new(machine, Whose::Host, Duration::from_secs(3600));
        reader.wait().await;
        let prompt = reader.prompt();
        prompt.notify_one();
        let began = Instant::now();
        reader.wait().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        reader.wait().await;
        assert!(began.elapsed() > Duration::from_secs(3000));
    }
}
