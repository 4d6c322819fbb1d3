//! `rshim-device`: the product's push of a boot stream, to an rshim that is a character device of a
//! kernel.
//!
//! In a VM with Debian's kernel, an imitation of rshim-user-space makes `/dev/rshim0/boot` and `misc`
//! through CUSE, as the real program does. Judged by what arrived behind the device: its length, and
//! its sum by a program that is not ours. What goes on around a push is `install-rshim`'s to show.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::{Guest, GuestSpec};
use sha2::{Digest, Sha256};

use crate::artefacts;
use crate::registry::Context;
use crate::report::Report;

/// Bytes of the stream: hundreds of requests of CUSE, and no multiple of anything.
const LENGTH: usize = (48 << 20) + 12_345;
/// For what takes a moment in a guest.
const SOON: Duration = Duration::from_secs(60);
/// What the card behind the device was sent.
const RECEIVED: &str = "/tmp/received";
const STREAM: &str = "/etc/stream.bfb";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let program = artefacts::rshim_device().await?;
    let stream = stream(LENGTH);
    let sum = hex::encode(Sha256::digest(&stream));
    let agent = context.binaries.agent.clone();
    let spec = GuestSpec {
        programs: vec![
            ("bin/rshim-device".to_owned(), program),
            ("bin/lockstep-agent".to_owned(), agent),
        ],
        files: vec![(STREAM.trim_start_matches('/').to_owned(), stream)],
        modules: vec!["cuse"],
        hardware: ["-m", "1024", "-nic", "none"].map(str::to_owned).into(),
        ..GuestSpec::default()
    };
    let mut guest = Guest::start(&context.folder.join("guest"), &spec).await?;
    serve(&mut guest).await?;
    report.say(guest.run("ls -l /dev/rshim0").await?.trim());
    is_listed(&mut guest).await?;
    report.say("the agent's inventory lists rshim0 and the generation of its card");

    is_refused_while_busy(&mut guest).await?;
    report.say("while another program has it open, a push is refused");

    let began = Instant::now();
    let pushed = guest
        .run(&format!("rshim-device push {STREAM} 2>&1"))
        .await?;
    ensure!(
        pushed.contains("Installed"),
        "the install did not end well: {pushed}"
    );
    report.figure("milliseconds of the push", began.elapsed().as_millis());
    said(&mut guest, &format!("stream 2: {LENGTH} bytes")).await?;
    let received = guest.run(&format!("sha256sum {RECEIVED}")).await?;
    ensure!(
        received.starts_with(&sum),
        "{sum} was pushed, and came as {received}"
    );
    report.say(format!("{LENGTH} bytes arrived as they were sent: {sum}"));
    guest.stop().await?;
    Ok(report)
}

/// Starts the imitation, whose devices are character devices.
async fn serve(guest: &mut Guest) -> Result<()> {
    let serve = format!(
        "setsid rshim-device serve {RECEIVED} </dev/null >/run/serve.log 2>&1 & echo started"
    );
    guest.run(&serve).await?;
    said(guest, "serves").await?;
    let devices = "test -c /dev/rshim0/boot && test -c /dev/rshim0/misc && echo devices";
    eventually(SOON, "/dev/rshim0/boot and misc", async || {
        match guest.run(devices).await {
            Ok(_) => Look::Holds(()),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    Ok(())
}

async fn said(guest: &mut Guest, line: &str) -> Result<()> {
    let look = format!("grep -F '{line}' /run/serve.log");
    let heard = eventually(
        SOON,
        format!("the imitation says {line}"),
        async || match guest.run(&look).await {
            Ok(_) => Look::Holds(()),
            Err(error) => Look::not_yet(error),
        },
    )
    .await;
    if heard.is_err() {
        let log = guest.run("cat /run/serve.log").await?;
        heard.with_context(|| format!("it says: {log}"))?;
    }
    Ok(())
}

async fn is_listed(guest: &mut Guest) -> Result<()> {
    let inventory = guest.run("lockstep-agent inventory 2>/dev/null").await?;
    for words in ["rshim0", "BlueField-3"] {
        ensure!(inventory.contains(words), "{words} is not in {inventory}");
    }
    Ok(())
}

/// Another program has `boot` open: that resets the card, and the push is refused before anything.
async fn is_refused_while_busy(guest: &mut Guest) -> Result<()> {
    let hold = "sleep 1000 >/dev/rshim0/boot & echo $! >/run/holder; echo held";
    guest.run(hold).await?;
    let refused = format!("rshim-device push {STREAM} 2>&1; test $? -ne 0");
    let refused = guest.run(&refused).await?;
    ensure!(
        refused.contains("another program pushes to it"),
        "a busy device is told as: {refused}"
    );
    guest.run("kill $(cat /run/holder)").await?;
    said(guest, "stream 1: 0 bytes").await
}

/// Bytes that repeat nowhere soon.
fn stream(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
