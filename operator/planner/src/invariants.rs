//! The safety rules as checks on a plan, for property tests, the model and the lab.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lockstep_crds::boot_policy::{PolicyMode, WaitUntil};
use lockstep_crds::directive::{ActionKind, Directive, TargetKind};
use lockstep_crds::host::{Disruption, HostRole};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::decision::{Decision, Plan};
use crate::host::is_held;
use crate::view::View;

/// Every way in which `plan` breaks a safety rule, in words; empty for a sound plan.
pub fn violations(view: &View, plan: &Plan, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            found.push(rule.to_owned());
        }
    };
    let before = view.host.status.clone().unwrap_or_default();
    let after = &plan.host_status;
    let targets: BTreeSet<&str> = after
        .directives
        .iter()
        .map(|open| open.target.uid.as_str())
        .collect();
    check(
        targets.len() == after.directives.len(),
        "S7: two directives open for one machine",
    );
    check(after.seq >= before.seq, "S7: seq went back");
    check(
        after
            .directives
            .iter()
            .filter(|open| open.action.kind.is_destructive())
            .count()
            <= 1,
        "S2: two destructive directives open",
    );
    let armed_without_finalizer = after.cards.iter().any(|kept| {
        !kept.armed.is_empty()
            && view.cards.iter().any(|card| {
                card.uid() == kept.uid
                    && card.dpu.metadata.deletion_timestamp.is_none()
                    && !plan.finalizers.cards.contains(&kept.name)
            })
    });
    check(
        !armed_without_finalizer,
        "S10: armed effects without a finalizer",
    );
    check(
        after.hold.is_none() || plan.finalizers.host,
        "S10: a hold without a finalizer",
    );
    match &plan.decision {
        Decision::Start(directives) => {
            for directive in directives {
                started(view, directive, &before, now, &mut check);
            }
        }
        Decision::Await(why, until) => {
            check(!why.message.is_empty(), "S6: a wait without a message");
            check(*until > now, "S6: a wait whose deadline has passed");
        }
        Decision::Hold(why) | Decision::Stalled(why) => {
            check(!why.message.is_empty(), "S6: a refusal without a message");
        }
        Decision::Settled => {}
    }
    found
}

fn started(
    view: &View,
    directive: &Directive,
    before: &lockstep_crds::DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let host = &view.host.spec;
    check(
        policy.is_some_and(|spec| spec.mode == PolicyMode::Enforce),
        "mode: an effect without Enforce",
    );
    check(!host.hands_off, "S16: an effect despite handsOff");
    check(view.guards_intact, "an effect without the admission guards");
    check(directive.seq > before.seq, "S7: a number was used again");
    let facts: Option<&BmcReport> = match directive.target.kind {
        TargetKind::Host => view.host_bmc(now),
        TargetKind::Card => view
            .cards
            .iter()
            .find(|card| card.uid() == directive.target.uid)
            .and_then(|card| view.card_bmc(card, now)),
        TargetKind::Unrecognized(_) => None,
    };
    check(facts.is_some(), "S5: an effect on facts that are not fresh");
    check(
        directive.expects.identity.system_uuid.is_some()
            || directive.expects.identity.serial_number.is_some(),
        "S13: an effect on a machine that nobody has named",
    );
    let power = facts.and_then(|facts| facts.power.clone());
    let on_host = directive.target.kind == TargetKind::Host;
    if directive.action.kind.is_destructive() {
        check(
            directive.expects.safe_stage,
            "S1: a power cut that does not ask for the stage",
        );
        let stage_forbids = facts
            .and_then(|facts| facts.stage.as_ref())
            .is_some_and(lockstep_crds::observed::BootStage::forbids_power_cut);
        check(!stage_forbids, "S1: a power cut in stage 7, 8 or 10");
        check(
            !on_host || host.disruption == Disruption::Allowed,
            "S12: a host was to be taken down",
        );
    }
    let host_on = view
        .host_bmc(now)
        .is_some_and(|bmc| bmc.power == Some(PowerState::On));
    let changes_card = !on_host && directive.action.kind != ActionKind::ClearInstall;
    check(
        !(changes_card
            && host.role == HostRole::Server
            && host_on
            && host.disruption == Disruption::Never),
        "S12: a card of a running host was to be changed",
    );
    if directive.action.kind == ActionKind::PowerOn && !on_host {
        check(
            power == Some(PowerState::Off),
            "a card that is not off was to be powered on",
        );
        let waits = policy.is_some_and(|spec| spec.host_wait.until == WaitUntil::OsRunning);
        let held = is_held(before) || hold_is_done(view, before);
        check(
            !waits || host.role != HostRole::Server || held,
            "S3: a card was to boot with its host not held",
        );
    }
}

/// A hold that its executor has reported done counts, though only the next write records it.
fn hold_is_done(view: &View, before: &lockstep_crds::DpuHostStatus) -> bool {
    before.directives.iter().any(|open| {
        open.action.kind == ActionKind::HoldHost
            && view
                .host_report
                .as_ref()
                .and_then(|report| report.execution.as_ref())
                .is_some_and(|execution| {
                    execution.accepted == open.seq && execution.outcome.is_some()
                })
    })
}
