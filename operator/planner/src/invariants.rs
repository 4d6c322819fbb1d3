//! The safety rules as checks on a plan, for property tests, the model and the lab.

mod images;
mod power;
mod repairs;
mod services;
mod wipes;

use std::collections::BTreeSet;

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{PolicyMode, WaitUntil};
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind, TargetKind};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{CardRecord, Disruption, HeldBy, HoldState, HostRole, TrustDomain};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::armed_firmware;
use crate::card;
use crate::decision::{Decision, Plan, TaintEffect};
use crate::failure;
use crate::firmware_record;
use crate::give_back;
use crate::host;
use crate::inspection;
use crate::ledger;
use crate::network_boot;
use crate::pairing;
use crate::road;
use crate::roll_back;
use crate::standing::is_kept;
use crate::taint;
use crate::view::View;
use crate::wipe;

/// Every way in which `plan` breaks a safety rule, in words; empty for a sound plan.
pub fn violations(view: &View, plan: &Plan, now: Timestamp) -> Vec<String> {
    let asked = view;
    let wiped = wipe::aimed(view, &plan.host_status);
    let view = &*wiped;
    let seen = view;
    // A card that goes back is waited for, and read, for the image that it gets.
    let aimed = roll_back::aimed(view, &plan.host_status);
    let view = &*aimed;
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
        let writes = kept.components.iter().any(firmware_record::is_under_way);
        (!kept.armed.is_empty() || kept.stopping.is_some() || writes)
            && view.cards.iter().any(|card| {
                card.uid() == kept.uid
                    && !card::is_going(view, card)
                    && !plan.finalizers.cards.contains(&kept.name)
            })
    });
    check(
        !armed_without_finalizer,
        "S10: armed effects, or a card that was stopped, without a finalizer",
    );
    check(
        after.hold.is_none() || plan.finalizers.host,
        "S10: a hold without a finalizer",
    );
    check(
        view.tainted.is_empty() || plan.finalizers.host,
        "S10: a taint without a finalizer",
    );
    taints(view, plan, &mut check);
    check(
        after.directives.is_empty() || plan.finalizers.host,
        "S10: an open directive without a finalizer",
    );
    check(
        after.directives.len() <= 8 && after.cards.len() <= 16 && after.history.len() <= 24,
        "bounds: the API server would refuse this record",
    );
    check(
        after
            .cards
            .iter()
            .all(|kept| kept.failures.len() <= failure::MOST),
        "bounds: the API server would refuse this record of a card",
    );
    if ledger::unknown_value(&before).is_some() {
        check(
            (
                &before.directives,
                &before.hold,
                &before.cards,
                &before.history,
            ) == (&after.directives, &after.hold, &after.cards, &after.history),
            "an unknown record was changed",
        );
    }
    repairs::are_allowed(asked, plan, &before, now, &mut check);
    let is_read = inspection::unread(view, now).is_empty();
    check(
        is_read || taint::holds(&before) || !taint::holds(after),
        "S5: a hold by taint began on what was seen while the domain was at rest",
    );
    check(
        view.joined.is_some() || taint::holds(&before) || !taint::holds(after),
        "S12: a hold by taint began before it was joined which Node the host's is",
    );
    check(
        services::are_allowed(view, &before, after),
        "S9: a service was offered to a card that is not wanted of it, not trusted, not made for it, or older than is allowed",
    );
    match &plan.decision {
        Decision::Start(directives) => {
            for directive in directives {
                check(
                    view.joined.is_some()
                        || give_back::undoes(&directive.target.kind, &directive.action),
                    "S12: an effect before it was joined which Node runs on the host",
                );
                check(
                    is_read || give_back::undoes(&directive.target.kind, &directive.action),
                    "S5: an effect on what was seen while the domain was at rest",
                );
                started(view, directive, &before, after, now, &mut check);
                wipes::started(asked, directive, &before, after, now, &mut check);
                let is_allowed = images::is_allowed(seen, directive, &before, after);
                check(
                    is_allowed,
                    "S9: an image was to go onto a card that is neither wanted nor the last good one, not trusted, not made for it, or older than is allowed",
                );
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

/// Nodes only ever follow the record.
fn taints(view: &View, plan: &Plan, check: &mut impl FnMut(bool, &str)) {
    let hold = plan.host_status.hold.as_ref();
    let to_be_tainted = hold.is_some_and(|hold| {
        hold.mechanism == HeldBy::NodeTainted || hold.state == HoldState::HoldBroken
    });
    for change in &plan.taints {
        let held = hold.and_then(|hold| hold.node.as_ref());
        let own = held.or(view.node_name.as_ref()) == Some(&change.node);
        check(
            change.effect.is_none() || view.node_name.as_ref() == Some(&change.node),
            "S12: a Node was to be tainted that is not the host's any more",
        );
        match change.effect {
            Some(effect) => check(
                own && to_be_tainted
                    && (effect == TaintEffect::NoSchedule || taint::holds(&plan.host_status)),
                "S3: a Node was to be tainted without a hold that says so",
            ),
            None => check(
                !own || !to_be_tainted,
                "S3: the taint of a host that is held was to be lifted",
            ),
        }
        check(
            !view.host.spec.hands_off && view.guards_intact,
            "S16: a Node was to be changed despite handsOff, or without guards",
        );
    }
}

fn started(
    view: &View,
    directive: &Directive,
    before: &DpuHostStatus,
    after: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    let policy = view.policy.as_ref().map(|policy| &policy.spec);
    let spec = &view.host.spec;
    let gives_back = give_back::is_of(&directive.target.kind, &directive.action);
    let undoes = give_back::undoes(&directive.target.kind, &directive.action);
    let going = host::is_going(view)
        || view.cards.iter().any(|card| {
            card.uid() == directive.target.uid && card.dpu.metadata.deletion_timestamp.is_some()
        });
    check(
        policy.map_or(undoes, |spec| {
            spec.mode == PolicyMode::Enforce || (undoes && going)
        }),
        "mode: an effect without Enforce",
    );
    check(!spec.hands_off, "S16: an effect despite handsOff");
    check(view.guards_intact, "an effect without the admission guards");
    check(directive.seq > before.seq, "S7: a number was used again");
    let card = view
        .cards
        .iter()
        .find(|card| card.uid() == directive.target.uid);
    let facts: Option<&BmcReport> = match directive.target.kind {
        TargetKind::Host => view.host_bmc(now),
        TargetKind::Card => card.and_then(|card| view.card_bmc(card, now)),
        TargetKind::Unrecognized(_) => None,
    };
    check(facts.is_some(), "S5: an effect on facts that are not fresh");
    let recorded = card.and_then(|card| after.record_of(&card.uid()).map(|kept| (card, kept)));
    check(
        recorded.is_none_or(|(card, kept)| {
            armed_firmware::refused_by(view, card, kept, &directive.action.kind).is_none()
        }),
        "S9: firmware was to be let run that is not wanted or not trusted any more",
    );
    power::keeps_the_torn(view, directive, after, now, check);
    power::keeps_the_refused(view, directive, after, now, check);
    check(
        directive.expects.identity.system_uuid.is_some()
            || directive.expects.identity.serial_number.is_some(),
        "S13: an effect on a machine that nobody has named",
    );
    let method = road::method_of(&directive.action.kind);
    check(
        method.is_none_or(|method| {
            let policy = view.policy.as_ref();
            policy.is_some_and(|policy| policy.spec.install.methods.contains(&method))
        }),
        "R38: a card was to be armed by a way that the policy does not name",
    );
    let on_host = directive.target.kind == TargetKind::Host;
    let host_off = view
        .host_bmc(now)
        .is_some_and(|host| host.power == Some(PowerState::Off));
    let host_on = view
        .host_bmc(now)
        .is_some_and(|bmc| bmc.power == Some(PowerState::On));
    let kept = after
        .cards
        .iter()
        .find(|kept| kept.uid == directive.target.uid);
    let image = directive.action.image.as_ref();
    // Where the next boot of a card goes that runs its image changes nothing at its host.
    let of_next_boot = matches!(
        directive.action.kind,
        ActionKind::SetNetworkBoot | ActionKind::SetBootOrder
    );
    let keeps = of_next_boot && network_boot::needs_no_leave(kept, image);
    let of_card = !on_host && !gives_back && directive.action.kind != ActionKind::ClearInstall;
    let changes_card = of_card && !keeps;
    let server = spec.role == HostRole::Server;
    network_boots(directive, keeps, &mut *check);
    check(
        !(changes_card && server && host_on && spec.disruption == Disruption::Never),
        "S12: a card of a running host was to be changed",
    );
    check(
        !(of_card && spec.role == HostRole::Infrastructure),
        "S14: a card of an infrastructure host was to be changed",
    );
    if let Some(card) = card.filter(|_| of_card) {
        check(
            card.dpu.spec.approved,
            "approval: a card that nobody approved was to be changed",
        );
        let asserted = card.dpu.spec.host_refs.first();
        let asserted = asserted.is_some_and(|host| host.pairing == Pairing::Asserted);
        let mut seen = pairing::fresh(card, now);
        check(
            keeps || !server || asserted || seen.any(|seen| seen.host == view.host_name()),
            "S13: a card was to be changed that nobody places in this host",
        );
        check(
            !card.dpu.spec.paused,
            "S10: a paused card was to be changed",
        );
        check(
            card.dpu.metadata.deletion_timestamp.is_none()
                && view.host.metadata.deletion_timestamp.is_none(),
            "S10: something new on an object that is being deleted",
        );
    }
    let firmware = directive.action.kind.is_firmware();
    let updates = directive.action.kind.is_update() || firmware;
    let of_power = directive.action.kind.is_of_power() || updates;
    check(
        !(changes_card && server && of_power) || directive.expects.host.is_some(),
        "S12: a card's power was to be changed without another look at its host",
    );
    if gives_back {
        let may_be_armed = |kept: &CardRecord| {
            kept.armed.is_empty() || kept.image.as_ref().is_some_and(|image| image.stateless)
        };
        check(
            kept.is_some_and(|kept| kept.stopping.is_some() && may_be_armed(kept)),
            "S10: a card was to be powered on again that was not stopped, or is armed",
        );
        check(
            !(server && host_on && spec.disruption == Disruption::Never),
            "S12: a card of a running host was to be powered on again",
        );
    }
    if directive.action.kind.is_destructive() {
        // An update or a push is booked as an install with the directive that begins it.
        let is_push = directive.action.kind == ActionKind::PushImage;
        let restarts = directive.action.kind == ActionKind::RestartCard;
        let begins = (updates || is_push || restarts) && !firmware;
        let mut installs = if begins { before } else { after }.clone();
        // What was booked with a directive of which it is certain by now that nothing came is no install.
        let came_to_nothing = |kept: &CardRecord| {
            let mut open = before.directives.iter();
            let open = open.find(|open| open.target.uid == kept.uid);
            open.is_some_and(|open| {
                let mut ended = after.history.iter();
                ended.any(|entry| entry.seq == open.seq && entry.outcome == OutcomeKind::Failed)
            })
        };
        for kept in installs.cards.iter_mut().filter(|_| begins) {
            if came_to_nothing(kept) {
                kept.booted_at = None;
            }
        }
        // An update of firmware is booked with the directive that begins it, and a restart is for one.
        let named = directive.action.component.as_ref();
        for kept in &mut installs.cards {
            let known = after.cards.iter().find(|other| other.uid == kept.uid);
            kept.components = known.map_or_else(Vec::new, |known| known.components.clone());
            kept.components
                .retain(|one| named.is_none() || Some(&one.component) != named);
        }
        power::taken_down(view, directive, &installs, facts, now, check);
    }
    if directive.action.kind.is_of_host_agent() {
        pushed(view, directive, before, now, check);
    }
    let takes_power = directive.action.kind.takes_power();
    let beside = view
        .host_bmc(now)
        .filter(|_| directive.expects.host.is_some());
    let mut written_at = facts.into_iter().chain(beside);
    check(
        !takes_power || written_at.all(|facts| facts.busy.is_none()),
        "S1: power was to be taken while something is written at a BMC",
    );
    let is_off = facts.is_some_and(|facts| facts.power == Some(PowerState::Off));
    check(
        updates || directive.action.kind != ActionKind::PowerOn || on_host || is_off,
        "a card that is not off was to be powered on",
    );
    check(
        !updates
            || directive
                .expects
                .host
                .as_ref()
                .is_none_or(|host| host.without_update),
        "S1: an update that does not ask for those of its host",
    );
    let restarts = directive.action.kind == ActionKind::RestartCard;
    check(
        !restarts || !server || host_off,
        "S12: a whole card was to be restarted beside a host that is not off",
    );
    if (updates || restarts || directive.action.kind == ActionKind::PowerOn) && !on_host {
        let waits = policy.is_some_and(|spec| spec.host_wait.until == WaitUntil::OsRunning);
        let held = is_kept_off(before) || hold_is_done(view, before) || is_in_custody(view);
        let waits = waits && !gives_back;
        check(
            !waits || !server || held,
            "S3: a card was to boot with its host not held",
        );
        let tainted = taint::holds(before) && taint::is_in_place(view, before);
        check(
            !waits || !server || !host_on || tainted,
            "S3: a card was to boot with its host up",
        );
        check(
            gives_back || !taint::holds(before) || tainted,
            "S3: a card was to boot on the strength of a taint that is not there",
        );
    }
}

/// What a card boots from for good is a stateless image, and no other way leads to one.
fn network_boots(directive: &Directive, keeps: bool, check: &mut impl FnMut(bool, &str)) {
    let kind = &directive.action.kind;
    let lasting = *kind == ActionKind::SetNetworkBoot;
    let image = directive.action.image.as_ref();
    let stateless = image.is_some_and(|image| image.stateless);
    check(
        !(lasting || kind.arms_install() || kind.is_update()) || lasting == stateless,
        "R39: a card was to boot for good from what is installed, or once from what is not",
    );
    check(
        !lasting || keeps || directive.expects.power == Some(PowerState::Off),
        "S5: what a card boots from was to be set for good while it may run something else",
    );
}

/// What holds of an image that goes onto a card through its host.
fn pushed(
    view: &View,
    directive: &Directive,
    before: &DpuHostStatus,
    now: Timestamp,
    check: &mut impl FnMut(bool, &str),
) {
    check(
        view.host.spec.trust_domain == TrustDomain::Trusted,
        "zero trust: something was to go onto a card through a host that is not trusted",
    );
    let agent = view.host_agent.as_ref();
    check(
        agent.is_some_and(|agent| {
            agent.report == directive.executor
                && agent.agent.is_some_and(|lease| lease.is_fresh(now))
        }),
        "S5: a push by an agent that is silent, or not this host's",
    );
    let rshim = directive.expects.rshim.as_ref();
    let rshim = rshim.map(|way| (&way.serial_number, &way.device_serial));
    let devlink = directive.expects.devlink.as_ref();
    let devlink = devlink.map(|way| (&way.serial_number, &way.device_serial));
    let flashes = directive.action.kind == ActionKind::FlashFirmware;
    let named = if flashes { devlink } else { rshim };
    check(
        named.is_some_and(|(serial, device)| serial.is_some() || device.is_some()),
        "S13: a push to a card that its host cannot tell from another",
    );
    let waits = view
        .policy
        .as_ref()
        .is_some_and(|policy| policy.spec.host_wait.until == WaitUntil::OsRunning);
    // A chassis has no host to hold.
    let server = view.host.spec.role == HostRole::Server;
    check(
        !waits || !server || (taint::holds(before) && taint::is_in_place(view, before)),
        "S3: something was to go onto a card through its host, which is not held",
    );
}

/// A hold that was broken counts again once the host is off.
fn is_kept_off(before: &DpuHostStatus) -> bool {
    before
        .hold
        .as_ref()
        .is_some_and(|hold| hold.releasing.is_none() && hold.state != HoldState::Beginning)
}

/// A hold that the record has lost and the site agent keeps.
fn is_in_custody(view: &View) -> bool {
    view.host_report
        .as_ref()
        .and_then(|report| report.custody.as_ref())
        .is_some_and(is_kept)
}

/// A hold that its executor has reported done counts, though only the next write records it.
fn hold_is_done(view: &View, before: &DpuHostStatus) -> bool {
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
