//! Short commands: run to the end, within a deadline, with their words in the error.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// Runs `command`, gives it `input`, and returns its standard output.
pub(crate) async fn run(
    mut command: Command,
    input: Option<&str>,
    deadline: Duration,
) -> Result<String> {
    let shown = show(&command);
    let child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let Ok(output) = tokio::time::timeout(deadline, finish(child, input)).await else {
        bail!("`{shown}` did not end within {deadline:?}");
    };
    let output = output.with_context(|| format!("`{shown}` broke off"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print text"))
}

async fn finish(mut child: Child, input: Option<&str>) -> std::io::Result<std::process::Output> {
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            stdin.write_all(input.as_bytes()).await?;
            stdin.shutdown().await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // Both at once: a program that prints before it has read everything would block otherwise.
    let (fed, output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    // A program that fails early closes its input; its own message says more than ours.
    if output.status.success() {
        fed?;
    }
    Ok(output)
}

fn show(command: &Command) -> String {
    let command = command.as_std();
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let output = run(shell("cat"), Some("hello"), Duration::from_secs(5)).await;
        assert_eq!(output.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_failure_carries_the_words_of_the_program() {
        let error = run(
            shell("echo no such card >&2; exit 4"),
            None,
            Duration::from_secs(5),
        )
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains("no such card"), "{error}");
        assert!(error.contains("exit status: 4"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended() {
        let error = run(shell("exec sleep 60"), None, Duration::from_millis(100)).await;
        assert!(error.unwrap_err().to_string().contains("did not end"));
    }
}
