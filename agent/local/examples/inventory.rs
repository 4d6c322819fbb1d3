//! Prints as JSON what this machine tells of itself, its sensors, then each PCI function that
//! comes or goes.
//!
//! `inventory [ROOT [SECONDS]]`: where the machine's files are (`/`), and for how long to listen
//! (not at all).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use lockstep_local::hot_plug::{Heard, HotPlug};
use lockstep_local::inventory::Inventory;
use lockstep_local::netlink::Told;
use lockstep_local::{Root, sensors};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| "/".to_owned());
    let seconds = arguments.next().unwrap_or_else(|| "0".to_owned());
    let listener = HotPlug::open()?;
    let told = Told::of(root.as_ref());
    let root = Root::new(root);
    let inventory = Inventory::read(&root, &told, Duration::from_secs(5));
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &inventory)?;
    writeln!(out)?;
    serde_json::to_writer(&mut out, &sensors::chips(&root))?;
    writeln!(out)?;
    let deadline = Instant::now() + Duration::from_secs(seconds.parse()?);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        match listener.next(left)? {
            None => return Ok(()),
            Some(Heard::Lost) => writeln!(out, "lost")?,
            Some(Heard::Change(event)) => {
                serde_json::to_writer(&mut out, &event)?;
                writeln!(out)?;
            }
        }
        out.flush()?;
    }
}
