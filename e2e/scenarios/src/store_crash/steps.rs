//! A store that is slowed down at every durable step, so that it can be killed between any two.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lockstep_store_process::{Answer, Order};

use crate::store_process::StoreProcess;

/// System calls that change what the next process finds.
const DURABLE: &str =
    "pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fchmod,utimensat";
/// Microseconds before each: longer than it takes to see the one before it, and to kill.
const PAUSE: u32 = 150_000;
const LOOK: Duration = Duration::from_millis(2);

/// What had been said when it was killed.
pub(super) struct Ended {
    /// In order.
    pub(super) answers: Vec<Answer>,
    /// The step after which it was killed, or none if it had done everything before.
    pub(super) after: Option<String>,
}

/// Lets a store carry out `orders` and kills it after so many durable steps.
pub(super) async fn kill_after(
    steps: usize,
    store: &[OsString],
    folder: &Path,
    orders: &[Order],
) -> Result<Ended> {
    let trace = folder.join("steps");
    if trace.exists() {
        std::fs::remove_file(&trace)?;
    }
    // The store stays this process's own child, and the tracer ends with it.
    let mut program: Vec<OsString> = ["strace", "-D", "-f", "-qq", "-e", "signal=none"]
        .map(OsString::from)
        .into();
    for option in [
        format!("trace={DURABLE}"),
        format!("inject={DURABLE}:delay_enter={PAUSE}"),
    ] {
        program.extend(["-e".into(), option.into()]);
    }
    program.extend(["-o".into(), trace.clone().into_os_string()]);
    program.extend_from_slice(store);
    let mut process = StoreProcess::spawn(&program, &folder.join("store.log"))?;
    let mut answers = Vec::new();
    let mut orders = orders.iter();
    loop {
        let seen = seen(&trace)?;
        if let Some(last) = steps.checked_sub(1).and_then(|at| seen.get(at)) {
            let after = Some(last.clone());
            process.kill().await?;
            return Ok(Ended { answers, after });
        }
        tokio::select! {
            answer = process.answer() => {
                let answer = answer?;
                if let Answer::Failed { message, .. } = &answer {
                    bail!("the store refused: {message}");
                }
                answers.push(answer);
                match orders.next() {
                    Some(order) => process.tell(order).await?,
                    None => {
                        process.kill().await?;
                        return Ok(Ended { answers, after: None });
                    }
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The steps that have been done, by name.
fn seen(trace: &PathBuf) -> Result<Vec<String>> {
    if !trace.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(trace).context("the log of steps")?;
    let text = String::from_utf8_lossy(&text);
    let done = text.lines().filter(|line| line.ends_with("(DELAYED)"));
    Ok(done
        .map(|line| {
            // `PID name(…` or `PID <... name resumed>…`
            let call = line
                .split_once(' ')
                .map_or(line, |(_, call)| call.trim_start());
            let call = call.strip_prefix("<... ").unwrap_or(call);
            let name = call.split(['(', ' ']).next();
            name.unwrap_or_default().to_owned()
        })
        .collect())
}
