//! For a VM whose kernel has CUSE:
//!
//! - `lockstep-rshim-device serve FILE`: `/dev/rshim0/boot` and `misc`, behind them a card that writes
//!   what it was sent to FILE, once it has all been sent. Says `serves`, then one line per stream.
//! - `lockstep-rshim-device push FILE`: pushes FILE with the product's own code, and follows the card's
//!   log to the end of the install. Says how that ended.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockstep_rshim::{Follower, Rshim};
use lockstep_rshim_imitation::{Card, devices};

/// Between the lines of the card's log.
const PAUSE: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Until an install that says nothing more is over.
const INSTALL: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", file] => serve(&PathBuf::from(file)),
        ["push", file] => push(Path::new(file)),
        _ => bail!("usage: lockstep-rshim-device serve FILE | push FILE"),
    }
}

fn serve(received: &Path) -> Result<()> {
    let card = Arc::new(Mutex::new(Card::default()));
    let look = || card.lock().unwrap_or_else(PoisonError::into_inner);
    look().installs(PAUSE);
    devices(&card).context("/dev/cuse")?;
    println!("serves");
    let mut told = 0;
    loop {
        std::thread::sleep(LOOK_AGAIN);
        let card = look();
        if card.boot_open || card.resets == told {
            continue;
        }
        told = card.resets;
        std::fs::write(received, &card.received)?;
        println!("stream {told}: {} bytes", card.received.len());
    }
}

fn push(file: &Path) -> Result<()> {
    let rshim = Rshim::new(Path::new("/"), "rshim0")?;
    rshim.clear("BOOT_RESET_SKIP")?;
    rshim.set("DISPLAY_LEVEL", "2")?;
    let mut follower = Follower::after(&rshim.misc()?);
    let mut source = std::fs::File::open(file)?;
    let mut boot = rshim.open_boot()?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            break;
        }
        boot.write(&piece[..read])?;
    }
    drop(boot);
    let end = Instant::now() + INSTALL;
    while follower.ended().is_none() {
        if Instant::now() > end {
            bail!("the card says nothing more: {}", follower.progress());
        }
        std::thread::sleep(LOOK_AGAIN);
        follower.read(&rshim.misc()?);
    }
    println!("{:?}, {}", follower.ended(), follower.progress());
    Ok(())
}
