//! The image store as a process that can be killed and measured.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lockstep_store_process::{Answer, Order};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// For anything that it is told to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running store. It ends when this is dropped.
pub struct StoreProcess {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl StoreProcess {
    /// Starts `program`, which is the store or runs it, with its log at the end of `log`, and
    /// waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start<S: AsRef<OsStr>>(program: &[S], log: &Path) -> Result<Self> {
        let mut store = Self::spawn(program, log)?;
        let answer = store.answer().await?;
        let Answer::Serves { port } = answer else {
            bail!("the store began with {answer:?}");
        };
        store.port = port;
        Ok(store)
    }

    /// The same without waiting: it may not live for so long.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<S: AsRef<OsStr>>(program: &[S], log: &Path) -> Result<Self> {
        let (name, arguments) = program.split_first().context("no program")?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", name.as_ref().display()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the store has no pipes");
        };
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers).lines(),
            port: 0,
        })
    }

    /// Where images are served on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Says what to do.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn tell(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let told = self.orders.write_all(&line).await;
        told.context("the store has ended")
    }

    /// What it answers next.
    ///
    /// # Errors
    /// When it ends first, or says nothing for too long.
    pub async fn answer(&mut self) -> Result<Answer> {
        let line = timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.with_context(|| format!("the store said nothing for {PATIENCE:?}"))??;
        Ok(serde_json::from_str(
            &line.context("the store has ended; its log says why")?,
        )?)
    }

    /// Says what to do and waits until it is done.
    ///
    /// # Errors
    /// As [`StoreProcess::tell`] and [`StoreProcess::answer`].
    pub async fn order(&mut self, order: &Order) -> Result<Answer> {
        self.tell(order).await?;
        self.answer().await
    }

    /// Kills it, if it still runs, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("the store")
    }

    /// Lets it end by itself.
    ///
    /// # Errors
    /// When it does not, or fails.
    pub async fn end(self) -> Result<()> {
        let Self {
            mut child, orders, ..
        } = self;
        drop(orders);
        let status = timeout(PATIENCE, child.wait()).await??;
        anyhow::ensure!(status.success(), "the store ended with {status}");
        Ok(())
    }
}
