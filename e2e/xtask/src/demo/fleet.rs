//! A simulated fleet: needs Rust and Go, and nothing else.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_scenarios::registry::Context;
use lockstep_scenarios::simulated_fleet::{CardLine, SimulatedFleet};

/// Between looks at the fleet.
const LOOK: Duration = Duration::from_secs(1);
/// Widest message that is shown.
const WIDEST: usize = 72;

pub(super) async fn run(context: &Context) -> Result<()> {
    println!(
        "Six hosts and their eight cards of several makes, all off, simulated with their BMCs (xpusim), 20 times as"
    );
    println!(
        "fast as life; everything else is real: a Kubernetes control plane, the operator, the site agent, and on each"
    );
    println!(
        "card whose system runs the agent for cards. Two of the cards have no virtual media and cannot be installed yet."
    );
    let mut fleet = SimulatedFleet::start(context).await?;
    fleet.apply().await?;
    let began = Instant::now();
    let shown = tokio::select! {
        shown = show(&mut fleet, began) => shown,
        pressed = tokio::signal::ctrl_c() => {
            pressed?;
            return fleet.stop().await;
        }
    };
    let cards = shown?;
    let ready = cards.iter().filter(|card| card.ready).count();
    println!(
        "{ready} cards are Ready after {} s; {} are Stalled, with reason and remedy in their status.\n",
        began.elapsed().as_secs(),
        cards.len() - ready,
    );
    let kubectl = super::kubectl(&fleet.world.control_plane);
    let folder = context.folder.display();
    println!("Look at it:");
    println!("  {kubectl} get xpu");
    println!("  {kubectl} get dpu -o wide");
    println!("  {kubectl} describe dpu card-7");
    println!("  {kubectl} get dpuhost host-1 -o yaml");
    println!("  logs: {folder}/logs; every write to the API server: {folder}/cluster/audit.log");
    super::linger().await?;
    fleet.stop().await
}

/// Shows how far the cards are until all of them are where they can get: a table that is drawn anew on a
/// terminal, else a line for each change.
async fn show(fleet: &mut SimulatedFleet, began: Instant) -> Result<Vec<CardLine>> {
    let terminal = std::io::stdout().is_terminal();
    let mut before: Vec<CardLine> = Vec::new();
    loop {
        fleet.check()?;
        let now = fleet.look().await?;
        if now != before {
            let seconds = began.elapsed().as_secs();
            let mut out = std::io::stdout().lock();
            if terminal {
                if !before.is_empty() {
                    // Up to the table's first line, and away with what is there.
                    write!(out, "\x1b[{}A\x1b[J", before.len() + 1)?;
                }
                writeln!(out, "{}", header(seconds))?;
                for line in &now {
                    writeln!(out, "{}", row(line))?;
                }
            } else {
                if before.is_empty() {
                    writeln!(out, "{}", header(seconds))?;
                }
                for (line, old) in now
                    .iter()
                    .zip(before.iter().map(Some).chain(std::iter::repeat(None)))
                {
                    if old.is_none_or(|old| {
                        (&old.phase, &old.message) != (&line.phase, &line.message)
                    }) {
                        writeln!(out, "{seconds:>4} s  {}", row(line))?;
                    }
                }
            }
            out.flush()?;
            before = now;
        }
        if before.iter().all(CardLine::is_done) {
            return Ok(before);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn header(seconds: u64) -> String {
    format!(
        "{:<8}{:<13}{:<8}{:<12}{:<22}MESSAGE ({seconds} s)",
        "CARD", "MAKE", "HOST", "PHASE", "SIMULATED MACHINE"
    )
}

fn row(line: &CardLine) -> String {
    let mut message: String = line.message.chars().take(WIDEST).collect();
    if line.message.chars().count() > WIDEST {
        message.push('…');
    }
    format!(
        "{:<8}{:<13}{:<8}{:<12}{:<22}{message}",
        line.name, line.personality, line.host, line.phase, line.machine
    )
}
