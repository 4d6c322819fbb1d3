//! What people read of the services of a card, and what its own agent reads there as well.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, SERVICES_RUNNING};
use lockstep_crds::host::CardRecord;
use lockstep_crds::service::{OfferedService, ServiceReport, ServiceState, ServiceStatus};
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::decision::Explanation;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::retire;
use crate::services::{against, against_offered, name_of, unsupported};
use crate::view::{CardView, View};
use crate::wipe;

/// Services that a status tells of.
const MOST: usize = 24;

/// Writes the services and their condition. A record that may be older than reality says nothing of
/// them: the card's agent would stop what it does not find here.
pub(crate) fn show_services(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    intent: &Intent,
    status: &mut DpuStatus,
    now: Timestamp,
) {
    let (Some(policy), false) = (&view.policy, is_uncertain(intent)) else {
        return;
    };
    let kept = record.record_of(&card.uid());
    // What a card told that is off for good it does not have any more.
    let is_over = retire::is_retired(card) && card.live_os(now).is_none();
    let told = card.os.as_ref().filter(|_| !is_over);
    let told = told.and_then(|report| report.services.as_ref());
    let told: &[ServiceReport] = told.map_or(&[], |told| &told.services);
    let find = |service: &str| told.iter().find(|one| one.service == service);
    let mut services: Vec<ServiceStatus> = Vec::new();
    let mut lacking: Vec<Explanation> = Vec::new();
    for (index, wanted) in card.services.iter().enumerate() {
        let service = kept.and_then(|kept| name_of(wanted, kept));
        let service = service.or_else(|| Some(wanted.image.as_ref()?.service.as_str()));
        let service = service.unwrap_or(&wanted.name);
        let offered = kept.and_then(|kept| offered(kept, service));
        let seen = find(service);
        let is_wanted = |offered: &&OfferedService| {
            let image = wanted.image.as_ref();
            image.is_none_or(|image| image.facts.digest == offered.digest)
        };
        let wrong = match offered.filter(is_wanted) {
            None => against(view, &policy.spec, record, card, kept, index, now)
                .err()
                .or_else(|| Some(starting(service))),
            Some(offered) => against_offered(view, &policy.spec, card, offered, true)
                .or_else(|| not_running(card, offered, seen, now)),
        };
        let twice = services.iter().any(|one| one.service == service);
        if !twice {
            services.push(shown(
                service,
                Some(&wanted.name),
                offered,
                seen,
                wrong.as_ref(),
            ));
        }
        lacking.extend(wrong);
    }
    let frozen: &[OfferedService] = kept.map_or(&[], |kept| &kept.services);
    for offered in frozen {
        if !services.iter().any(|one| one.service == offered.service) {
            let (service, seen) = (&offered.service, find(&offered.service));
            let wrong = against_offered(view, &policy.spec, card, offered, false);
            services.push(shown(
                service,
                Some(&offered.image),
                Some(offered),
                seen,
                wrong.as_ref(),
            ));
            lacking.extend(wrong);
        }
    }
    for seen in told {
        if !services.iter().any(|one| one.service == seen.service) {
            let why = Explanation::new(
                Reason::ServiceStopping,
                format!(
                    "{} is not wanted any more, and the card still has it",
                    seen.service
                ),
            );
            services.push(shown(&seen.service, None, None, Some(seen), Some(&why)));
            lacking.push(why);
        }
    }
    services.truncate(MOST);
    let nothing = services.is_empty();
    // Nothing was ever said, and there is nothing to say.
    if !nothing || status.services.is_some() {
        status.services = Some(services);
    }
    conclude(card, status, nothing, &lacking, now);
}

fn is_uncertain(intent: &Intent) -> bool {
    let (Intent::Wait(why, _) | Intent::Stall(why) | Intent::Hold(why)) = intent else {
        return false;
    };
    matches!(why.reason, Reason::Adopting | Reason::UnknownRecord)
}

fn offered<'a>(kept: &'a CardRecord, service: &str) -> Option<&'a OfferedService> {
    kept.services.iter().find(|one| one.service == service)
}

fn starting(service: &str) -> Explanation {
    Explanation::new(
        Reason::ServiceStarting,
        format!("the card's agent fetches and starts {service}"),
    )
}

/// Why what is offered does not run, if it does not. The digest is the word that counts.
fn not_running(
    card: &CardView,
    offered: &OfferedService,
    seen: Option<&ServiceReport>,
    now: Timestamp,
) -> Option<Explanation> {
    let (service, version) = (&offered.service, &offered.version);
    if card.live_os(now).is_none() {
        return Some(Explanation::new(
            Reason::CardAgentSilent,
            format!(
                "whether {service} {version} runs is not known: the card's own agent is silent"
            ),
        ));
    }
    let runs = seen.is_some_and(|seen| {
        seen.state == ServiceState::Running && seen.digest.as_ref() == Some(&offered.digest)
    });
    if runs {
        return None;
    }
    if wipe::is_aimed(card) {
        return Some(Explanation::new(
            Reason::AwaitingOs,
            format!("{service} {version} does not run while its card is wiped"),
        ));
    }
    let told = card.os.as_ref().and_then(|report| report.services.as_ref());
    let Some(told) = told else {
        return Some(unsupported(service));
    };
    if let Some(unread) = Some(&told.asked).filter(|asked| !asked.ok) {
        let said = unread.message.as_deref().unwrap_or("it does not say why");
        return Some(Explanation::new(
            Reason::ServicesUnread,
            format!("the card's agent cannot read what is offered to it: {said}"),
        ));
    }
    let Some(seen) = seen else {
        return Some(starting(service));
    };
    let said = seen.message.as_deref();
    let why = match &seen.state {
        ServiceState::BackingOff | ServiceState::Failed | ServiceState::Unrecognized(_) => {
            let reason = seen.reason.as_deref().unwrap_or("Unknown");
            let said = said.unwrap_or("the card's agent does not say more");
            let message = format!("{service} {version} does not run ({reason}): {said}");
            Explanation::new(Reason::ServiceFailing, message)
        }
        ServiceState::Fetching
        | ServiceState::Running
        | ServiceState::Stopping
        | ServiceState::NotOffered => starting(service),
    };
    Some(why)
}

fn shown(
    service: &str,
    wanted: Option<&str>,
    offered: Option<&OfferedService>,
    seen: Option<&ServiceReport>,
    wrong: Option<&Explanation>,
) -> ServiceStatus {
    ServiceStatus {
        service: service.to_owned(),
        wanted_image: wanted.map(str::to_owned),
        offered: offered.cloned(),
        state: seen.map(|seen| seen.state.clone()),
        running_digest: seen.and_then(|seen| seen.digest.clone()),
        running_version: seen.and_then(|seen| seen.version.clone()),
        since: seen.map(|seen| seen.since.clone()),
        restarts: seen.map(|seen| seen.restarts).filter(|many| *many > 0),
        message: wrong.map(|why| condition::truncated(&why.message)),
    }
}

fn conclude(
    card: &CardView,
    status: &mut DpuStatus,
    nothing: bool,
    lacking: &[Explanation],
    now: Timestamp,
) {
    if nothing {
        condition::remove(&mut status.conditions, SERVICES_RUNNING);
        return;
    }
    let silent = |why: &&Explanation| why.reason != Reason::CardAgentSilent;
    // What is known to be wrong before what is not known.
    let worst = lacking.iter().find(silent).or_else(|| lacking.first());
    let (is, reason, message) = match worst {
        None => ("True", Reason::AsWanted, told(status)),
        Some(why) if why.reason == Reason::CardAgentSilent => {
            ("Unknown", why.reason, why.message.clone())
        }
        Some(why) => ("False", why.reason, why.message.clone()),
    };
    let wanted = Condition {
        type_: SERVICES_RUNNING.to_owned(),
        status: is.to_owned(),
        reason: reason.as_str().to_owned(),
        message: condition::truncated(&message),
        observed_generation: card.dpu.metadata.generation,
        last_transition_time: Time(now),
    };
    condition::set_to(&mut status.conditions, wanted);
}

fn told(status: &DpuStatus) -> String {
    let runs = status.services.iter().flatten().filter_map(|one| {
        let offered = one.offered.as_ref()?;
        Some(format!("{} {}", offered.service, offered.version))
    });
    let runs: Vec<String> = runs.collect();
    format!("runs {}", runs.join(", "))
}
