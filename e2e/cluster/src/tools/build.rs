//! `go build` of one program, once per machine.
//!
//! A lock in the module's cache folder keeps two processes from building the same
//! thing; a program is built under another name and renamed when it is whole, so a
//! path from the cache is always a complete program.

use std::{
    fs::{File, TryLockError},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{process::Command, time::Instant};

use super::{
    cache::Cache,
    module::{Module, Tool},
};
use crate::deadline::{Look, eventually};

/// Longest time one program may take, first download and a loaded machine included.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);
/// How often a build that goes on says so.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// Oldest Go that the pinned modules accept.
const OLDEST_GO: (u32, u32) = (1, 26);

/// Makes sure that `tool` lies in the cache.
pub(super) async fn ensure(cache: &Cache, tool: Tool) -> Result<()> {
    if cache.binary(tool).is_file() {
        return Ok(());
    }
    let folder = cache.folder(tool.module());
    for part in ["bin", "log", "src"] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the cache folder {}", path.display()))?;
    }
    // Held until the end of this function; the kernel drops it with the process.
    let _lock = lock(&folder, tool).await?;
    if cache.binary(tool).is_file() {
        return Ok(());
    }
    check_go().await?;
    build(&folder, tool).await
}

async fn lock(folder: &Path, tool: Tool) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut told = false;
    let what = format!("the lock {} becoming free", path.display());
    eventually(BUILD_DEADLINE, what, async || match file.try_lock() {
        Ok(()) => Look::Holds(()),
        Err(TryLockError::WouldBlock) => {
            if !told {
                told = true;
                say(&format!(
                    "{}: another process builds from the same module, waiting for it",
                    tool.binary()
                ));
            }
            Look::not_yet("another process holds it")
        }
        Err(TryLockError::Error(error)) => Look::Never(error.into()),
    })
    .await?;
    Ok(file)
}

async fn check_go() -> Result<()> {
    let remedy = format!(
        "the lab builds etcd and Kubernetes from source and needs Go {}.{} or newer as `go` in PATH: \
         install it from the Go project's downloads or your distribution and run the command again",
        OLDEST_GO.0, OLDEST_GO.1
    );
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output()
        .await
        .with_context(|| format!("`go` cannot be run; {remedy}"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let found = parse_go_version(&version);
    ensure!(
        found.is_some_and(|found| found >= OLDEST_GO),
        "`go` in PATH is {}; {remedy}",
        if version.is_empty() {
            "of unknown version"
        } else {
            &version
        }
    );
    Ok(())
}

fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .strip_prefix("go")?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

async fn build(folder: &Path, tool: Tool) -> Result<()> {
    let module = tool.module();
    let source = folder.join("src");
    write_definition(&source, module)?;
    let unfinished = folder
        .join("bin")
        .join(format!(".{}.{}", tool.binary(), std::process::id()));
    let log_path = folder.join("log").join(format!("{}.log", tool.binary()));
    let log =
        File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;

    let begin = Instant::now();
    let name = format!("{} ({})", tool.binary(), module.shown);
    say(&format!("building {name}"));
    let mut child = Command::new("nice")
        .args([
            "go",
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
        ])
        .args(module.flags)
        .arg("-o")
        .arg(&unfinished)
        .arg(tool.package())
        .current_dir(&source)
        // The caller's Go settings must not change what is built.
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the build log")?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run `nice go build`")?;
    let mut told = begin;
    let status = eventually(BUILD_DEADLINE, format!("the build of {name}"), async || {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            say(&format!(
                "building {name}: {} s so far",
                begin.elapsed().as_secs()
            ));
        }
        match child.try_wait() {
            Ok(Some(status)) => Look::Holds(status),
            Ok(None) => Look::not_yet(format!("still running, see {}", log_path.display())),
            Err(error) => Look::Never(error.into()),
        }
    })
    .await?;
    if !status.success() {
        bail!(
            "`go build {}` ended with {status}; the end of {}:\n{}\n\
             A first build needs the Go module proxy and its checksum database; check that they are \
             reachable (`go env GOPROXY GOSUMDB`) and that 5 GB are free, then run the command again",
            tool.package(),
            log_path.display(),
            last_lines(&log_path, 20)
        );
    }
    let finished = folder.join("bin").join(tool.binary());
    std::fs::rename(&unfinished, &finished)
        .with_context(|| format!("cannot put {} into the cache", finished.display()))?;
    say(&format!("built {name} in {} s", begin.elapsed().as_secs()));
    Ok(())
}

fn write_definition(source: &Path, module: &Module) -> Result<()> {
    for (name, text) in [("go.mod", module.go_mod), ("go.sum", module.go_sum)] {
        let path = source.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn last_lines(path: &Path, count: usize) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("(unreadable: {error})"),
    }
}

/// Progress goes to stderr, not to the log: people wait for it, with or without a subscriber.
fn say(line: &str) {
    eprintln!("[tools] {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_as_numbers() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("go1.9"), Some((1, 9)));
        assert!(parse_go_version("go1.9").unwrap() < OLDEST_GO);
        assert_eq!(parse_go_version("devel"), None);
        assert_eq!(parse_go_version(""), None);
    }
}
