//! Serial consoles with the time of each line, so that order between machines can be judged.
//!
//! The hypervisor appends to a file; a follower reads what is new every 20 ms and stamps complete
//! lines with the time of reading. Terminal control sequences are removed, empty lines dropped.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One line of console output.
#[derive(Debug, Clone)]
pub struct Line {
    /// Wall-clock time of reading.
    pub at: Timestamp,
    /// Monotonic time of reading, comparable between consoles and request logs.
    pub instant: Instant,
    /// The text, without control sequences.
    pub text: String,
}

/// A VM's serial console since the lab came up.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    lines: watch::Receiver<Arc<Vec<Line>>>,
    follower: AbortHandle,
}

impl Console {
    /// Follows the file, which is made if missing.
    pub(crate) fn follow(path: &Path) -> Result<Self> {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|_file| File::open(path))
            .with_context(|| format!("cannot open {}", path.display()))
            .map(|file| {
                let (sender, lines) = watch::channel(Arc::default());
                Self {
                    path: path.to_owned(),
                    lines,
                    follower: tokio::spawn(follow(file, sender)).abort_handle(),
                }
            })
    }

    /// The raw file behind it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.borrow().to_vec()
    }

    /// The lines that contain this text.
    pub fn matching(&self, text: &str) -> Vec<Line> {
        let lines = self.lines.borrow();
        lines
            .iter()
            .filter(|line| line.text.contains(text))
            .cloned()
            .collect()
    }

    /// Waits for the first line that contains this text, counting those already there.
    pub async fn wait_for(&self, text: &str, deadline: Duration) -> Result<Line> {
        self.wait_for_after(None, text, deadline).await
    }

    /// As [`Console::wait_for`], for lines later than `after`.
    pub async fn wait_for_after(
        &self,
        after: Option<Instant>,
        text: &str,
        deadline: Duration,
    ) -> Result<Line> {
        let found = |lines: &[Line]| {
            lines
                .iter()
                .find(|line| {
                    after.is_none_or(|after| line.instant > after) && line.text.contains(text)
                })
                .cloned()
        };
        let mut lines = self.lines.clone();
        let waited = tokio::time::timeout(deadline, lines.wait_for(|lines| found(lines).is_some()));
        if let Ok(Ok(lines)) = waited.await
            && let Some(line) = found(&lines)
        {
            return Ok(line);
        }
        let lines = self.lines();
        let last: Vec<&str> = lines[lines.len().saturating_sub(8)..]
            .iter()
            .map(|line| line.text.as_str())
            .collect();
        bail!(
            "{} did not show {text:?} within {} s; its last lines:\n{}",
            self.path.display(),
            deadline.as_secs(),
            last.join("\n")
        )
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn follow(mut file: File, lines: watch::Sender<Arc<Vec<Line>>>) {
    let mut pending = Vec::new();
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        look.tick().await;
        let before = pending.len();
        if let Err(error) = file.read_to_end(&mut pending) {
            tracing::error!(%error, "a console cannot be read any more");
            return;
        }
        if pending.len() == before {
            continue;
        }
        let (at, instant) = (Timestamp::now(), Instant::now());
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let complete: Vec<u8> = pending.drain(..=end).collect();
        let new: Vec<Line> = String::from_utf8_lossy(&complete)
            .lines()
            .map(plain)
            .filter(|text| !text.is_empty())
            .map(|text| Line { at, instant, text })
            .collect();
        if !new.is_empty() {
            lines.send_modify(|lines| Arc::make_mut(lines).extend(new));
        }
    }
}

/// The text without terminal control sequences and blanks around it.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                // The sequence ends with its first letter.
                while characters.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            }
            characters.next();
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn control_sequences_are_removed() {
        assert_eq!(
            plain("\u{1b}[2J\u{1b}[01;01HBdsDxe: loading\r"),
            "BdsDxe: loading"
        );
        assert_eq!(plain("\u{1b}c\u{1b}[=3h text"), "text");
    }

    #[tokio::test]
    async fn lines_appear_once_complete_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let console = Console::follow(&path).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"one\nhal").unwrap();
        let deadline = Duration::from_secs(5);
        let one = console.wait_for("one", deadline).await.unwrap();
        assert!(console.matching("hal").is_empty());
        file.write_all(b"f\n").unwrap();
        let half = console
            .wait_for_after(Some(one.instant), "half", deadline)
            .await
            .unwrap();
        assert!(one.instant < half.instant);
        let error = console
            .wait_for("never", Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("half"));
    }
}
