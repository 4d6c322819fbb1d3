//! `bmc-quirks`: what BMCs get wrong in the field, and what the product's BMC ports make of it.
//!
//! One row for each quirk of the field notes. Faults of the simulator stand for them; the ports
//! that are tried are the product's own: the one to the BMC of a known machine, and the search.
//! What they asked, which faults they met, and what was really done, is judged by the simulator's
//! counters and effect log: never by what a port says of itself.

mod asked;
mod case;
mod judge;
mod step;
mod table;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, stream};
use lockstep_redfish::{Bmc as _, Redfish};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server};

use crate::registry::Context;
use crate::report::Report;

use case::{Case, Port, Unmet};
use judge::{Came, is_change, judge, nothing_twice};
use step::{Ports, product, take};
use table::ROWS;
use told::Told;

const PASSWORD: &str = "a-good-password-1";
/// The fleet lives so much faster than real machines.
const SCALE: u32 = 100;
/// Most of their time the cases wait.
const AT_ONCE: usize = 8;

/// Runs the scenario.
///
/// # Errors
/// When a row is not as the table says, with every one that is not.
pub async fn run(_: Context) -> Result<Report> {
    let fleet = fleet()?;
    let address = "127.0.0.1:0".parse().context("a loopback address")?;
    let server = Server::start(&fleet, Listen::Ports(address), true).await?;
    let redfish = product()?;

    let (fleet, server, redfish) = (&fleet, &server, &redfish);
    let tried = ROWS.iter().enumerate().flat_map(|(row, quirk)| {
        quirk
            .cases
            .iter()
            .enumerate()
            .map(move |(position, case)| async move {
                let name = name(row, position);
                let judged = try_case(fleet, server, redfish, &name, case).await;
                ((row, position), judged)
            })
    });
    let done: BTreeMap<_, _> = stream::iter(tried)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let mut report = Report::default();
    let mut wrong = Vec::new();
    let (mut cases, mut explored, mut requests, mut changes) = (0, 0, 0, 0);
    for (row, quirk) in ROWS.iter().enumerate() {
        let mut told = Vec::new();
        for (position, case) in quirk.cases.iter().enumerate() {
            let what = shown(case);
            match &done[&(row, position)] {
                Ok(tally) => {
                    cases += 1;
                    explored += usize::from(case.port() == Port::Explorer);
                    requests += tally.requests;
                    changes += tally.changes;
                    told.push(format!(
                        "{what}: {} ({} of {} requests, {} changing)",
                        tally.came, tally.requests, case.requests, tally.changes
                    ));
                }
                Err(error) => wrong.push(format!(
                    "{} {}, {what}: {error:#}",
                    quirk.source, quirk.quirk
                )),
            }
        }
        for unmet in quirk.unmet {
            match never_asked(fleet, unmet) {
                Ok(said) => told.push(said),
                Err(error) => wrong.push(format!("{} {}: {error:#}", quirk.source, quirk.quirk)),
            }
        }
        told.extend(quirk.not_here.iter().map(|why| format!("not tried: {why}")));
        report.say(format!(
            "{} {}: {}",
            quirk.source,
            quirk.quirk,
            told.join("; ")
        ));
    }
    ensure!(
        wrong.is_empty(),
        "{} thing(s) not as the table says:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    report.figure("quirks", ROWS.len());
    report.figure("cases", cases);
    report.figure("of them of the search", explored);
    report.figure("requests of all cases", requests);
    report.figure("changing requests, none of them twice", changes);
    Ok(report)
}

/// What the simulator counted, and what came of the last step.
struct Tally {
    came: String,
    requests: u64,
    changes: u64,
}

fn name(row: usize, position: usize) -> String {
    format!("q{row}-{position}")
}

/// A machine for each case, alone in its power domain.
fn fleet() -> Result<Arc<Fleet>> {
    let mut yaml = format!("timeScale: {SCALE}\ndomains:\n");
    for (row, quirk) in ROWS.iter().enumerate() {
        for (position, case) in quirk.cases.iter().enumerate() {
            let kind = if case.machine.ends_with("-host") {
                "hosts"
            } else {
                "cards"
            };
            yaml += &format!(
                "- {kind}: [{{name: {}, personality: {}, password: {PASSWORD}}}]\n",
                name(row, position),
                case.machine
            );
        }
    }
    Ok(Fleet::new(&FleetSpec::parse(&yaml)?)?)
}

async fn try_case(
    fleet: &Fleet,
    server: &Server,
    redfish: &Redfish,
    name: &str,
    case: &Case,
) -> Result<Tally> {
    let ports = Ports::open(fleet, server, redfish, name)?;
    for strikes in case.faults {
        fleet.switch_on(name, strikes.rule())?;
    }
    let mut last = None;
    for step in case.steps {
        last = take(fleet, &ports, name, *step).await?.or(last);
    }
    let last = last.context("no step asks a port for anything")?;
    let counted = fleet.requests(name)?;
    let changes = counted
        .by_path
        .iter()
        .filter(|(request, _)| is_change(request))
        .map(|(_, times)| times)
        .sum();
    ensure!(
        counted.total <= case.requests,
        "{} requests, more than the {} allowed: {:?}",
        counted.total,
        case.requests,
        counted.by_path
    );
    ensure!(
        changes == case.changes,
        "{changes} changing requests instead of {}: {:?}",
        case.changes,
        counted.by_path
    );
    let log: Vec<What> = fleet
        .effects(name, 0)?
        .into_iter()
        .map(|effect| effect.what)
        .collect();
    nothing_twice(&log)?;
    for strikes in case.faults {
        ensure!(
            counted.met.contains_key(&strikes.fault),
            "{} has never struck: the case proves nothing",
            strikes.fault
        );
    }
    ports.bmc.close().await;
    let mut clean = None;
    if let Ok(Came::Explored(_)) = &last {
        for strikes in case.faults {
            fleet.switch_off(name, strikes.fault)?;
        }
        let explored = ports.explore().await;
        clean = Some(Told::of(&explored.context("without the faults")?)?);
    }
    let came = judge(case.expect, &last, clean.as_ref())?;
    Ok(Tally {
        came,
        requests: counted.total,
        changes,
    })
}

/// That no request of a whole port, in any case of the table, would have met a fault.
fn never_asked(fleet: &Fleet, unmet: &Unmet) -> Result<String> {
    for (row, quirk) in ROWS.iter().enumerate() {
        for (position, case) in quirk.cases.iter().enumerate() {
            if !unmet.by.contains(&case.port()) {
                continue;
            }
            let counted = fleet.requests(&name(row, position))?;
            let found = counted.by_path.keys().find(|one| (unmet.would)(one));
            ensure!(
                found.is_none(),
                "{} can be met: {} asked {found:?}, in the case {}",
                unmet.fault,
                shown_ports(unmet.by),
                shown(case)
            );
        }
    }
    Ok(format!(
        "{}: never met by {}, {}",
        unmet.fault,
        shown_ports(unmet.by),
        unmet.why
    ))
}

fn shown_ports(ports: &[Port]) -> String {
    let named = ports.iter().map(|port| match port {
        Port::Machine => "the port of a machine",
        Port::Explorer => "the search",
    });
    named.collect::<Vec<_>>().join(" and ")
}

fn shown(case: &Case) -> String {
    let faults: Vec<String> = case
        .faults
        .iter()
        .map(|one| one.fault.to_string())
        .collect();
    let last = case
        .steps
        .last()
        .map_or_else(String::new, |step| format!("{step:?}"));
    match faults.is_empty() {
        true => format!("{}, {last}", case.machine),
        false => format!("{} on {}, {last}", faults.join(" and "), case.machine),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_xpusim::fault::{Fault, Layer};

    use super::*;

    #[test]
    fn every_quirk_of_the_list_has_its_row_and_a_row_says_what_it_leaves_out() {
        let mut wanted: Vec<String> = (1..=32).map(|number| format!("6.{number}")).collect();
        wanted.push("7".to_owned());
        let found: Vec<&str> = ROWS.iter().map(|row| row.source).collect();
        assert_eq!(found, wanted);
        for row in ROWS {
            let says = !row.cases.is_empty() || !row.not_here.is_empty();
            assert!(says, "{} is neither tried nor left out", row.source);
        }
    }

    #[test]
    fn every_fault_of_the_simulator_is_in_the_table_for_each_port_that_it_concerns() {
        for fault in Fault::ALL {
            let cases = || ROWS.iter().flat_map(|row| row.cases);
            let strikes = |case: &Case| case.faults.iter().any(|one| one.fault == *fault);
            for port in [Port::Machine, Port::Explorer] {
                let tried = cases().any(|case| case.port() == port && strikes(case));
                let mut unmet = ROWS.iter().flat_map(|row| row.unmet);
                let unmet = unmet.any(|one| one.fault == *fault && one.by.contains(&port));
                assert!(
                    !(tried && unmet),
                    "{fault} by {port:?}: tried and not to be met"
                );
                // The search changes nothing, and connections fail for it as for the other.
                let concerns = port == Port::Machine || fault.about().layer == Layer::Document;
                assert!(
                    tried || unmet || !concerns,
                    "{fault} by {port:?}: neither tried nor unmet"
                );
            }
        }
    }

    #[test]
    fn the_search_is_allowed_no_change_at_all() {
        let cases = ROWS.iter().flat_map(|row| row.cases);
        for case in cases.filter(|case| case.port() == Port::Explorer) {
            assert_eq!(case.changes, 0, "{}", shown(case));
        }
    }
}
