//! What is remembered of each component of a card, brought up to what its BMC shows.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::{ActionKind, ActivatedBy, Directive};
use lockstep_crds::host::{CardRecord, ComponentRecord, PowerCycled, TornFirmware};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{BmcReport, ComponentUpdate, UpdateState};

use crate::armed_firmware;
use crate::card;
use crate::drift;
use crate::failure;
use crate::fetch;
use crate::firmware::shown;
use crate::flash;
use crate::standing;
use crate::torn;
use crate::view::{CardView, FirmwareImage, View};
use crate::waiting_firmware::{self, is_of_image};
pub(crate) use lockstep_crds::version::is as runs;

/// Components that the record holds of one card.
const MOST: usize = 8;
/// What a card gets to come up after its power cycle, and its driver to list what runs, at the least.
const CYCLE: SignedDuration = SignedDuration::from_secs(900);

/// What is remembered of the component that the image is for, if it is about that image.
pub(crate) fn of<'a>(kept: &'a CardRecord, image: &FirmwareImage) -> Option<&'a ComponentRecord> {
    let mut components = kept.components.iter();
    components
        .find(|one| one.component == image.component && one.image.digest == image.facts.digest)
}

/// Whether the BMC may be writing it, or what was written waits for the restart that it is about.
pub(crate) fn is_under_way(one: &ComponentRecord) -> bool {
    one.begun_at.is_some()
}

/// Until when an update may be going on, if one may.
pub(crate) fn update_end(kept: &CardRecord, now: Timestamp) -> Option<Timestamp> {
    let open = kept.components.iter().filter(|one| is_under_way(one));
    let ends = open.filter_map(|one| one.ends.as_ref()).map(|end| end.0);
    ends.max().filter(|end| now < *end)
}

/// The same, but for what is written and waits for the card to be powered off and on: nothing is hurt
/// if somebody does that.
pub(crate) fn hazard_end(kept: &CardRecord, now: Timestamp) -> Option<Timestamp> {
    let waits = |one: &ComponentRecord| one.written_at.is_some() && awaits_cycle(one);
    let open = kept.components.iter().filter(|one| is_under_way(one));
    let open = open.filter(|one| !waits(one));
    let ends = open.filter_map(|one| one.ends.as_ref()).map(|end| end.0);
    ends.max().filter(|end| now < *end)
}

/// Whether something was begun with the card's firmware that is not over.
pub(crate) fn is_begun(record: &DpuHostStatus, card: &CardView) -> bool {
    let kept = record.record_of(&card.uid());
    kept.is_some_and(|kept| kept.components.iter().any(is_under_way))
}

/// Whether something is written that nobody can take back, all of it or a part, and does not run (S15).
pub(crate) fn is_armed(kept: &CardRecord) -> bool {
    let mut components = kept.components.iter();
    components.any(|one| one.pending.is_some() || one.waits.is_some() || one.torn.is_some())
}

/// How long an update may take.
fn timeout(view: &View) -> SignedDuration {
    let install = view
        .policy
        .as_ref()
        .map(|policy| policy.spec.install.clone())
        .unwrap_or_default();
    SignedDuration::from_secs(install.firmware_timeout_seconds)
}

/// Until when an update is awaited that begins now. A driver writes as long as its directive lasts, and
/// the card is powered off and on after that.
fn ends(view: &View, directive: &Directive, now: Timestamp) -> Timestamp {
    let ends = now + timeout(view);
    if directive.action.kind != ActionKind::FlashFirmware {
        return ends;
    }
    let install = view.policy.as_ref().map(|policy| &policy.spec.install);
    let grace = install.map_or(0, |install| install.shutdown_grace_seconds);
    ends.max(standing::over(directive) + SignedDuration::from_secs(grace) + CYCLE)
}

/// Brings the records up to what is seen. Not to be asked while a directive of the card is open: what
/// is told may be older than it.
pub(crate) fn absorb(
    view: &View,
    card: &CardView,
    is_wanted: bool,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let wanted: Vec<&FirmwareImage> = if is_wanted {
        let wanted = card.firmware.iter();
        wanted.filter_map(|one| one.image.as_ref()).collect()
    } else {
        Vec::new()
    };
    torn::forgive(view, card, kept, now);
    for one in &mut kept.components {
        waiting_firmware::take_over(one);
    }
    // What somebody wants anew waits for an update that is under way, and that may just have ended.
    // What nobody can tell now may be wanted still: it was seen to run, and is not written again because an
    // object comes back.
    let is_untold = |one: &ComponentRecord| !is_wanted || drift::is_untold(view, card, one);
    for _ in 0..2 {
        forget_the_unwanted(kept, &wanted, is_untold);
        take_in(view, card, &wanted, kept, now);
    }
    forget_the_unwanted(kept, &wanted, is_untold);
}

fn take_in(
    view: &View,
    card: &CardView,
    wanted: &[&FirmwareImage],
    kept: &mut CardRecord,
    now: Timestamp,
) {
    for image in wanted {
        makes_room(kept, wanted, image);
        aim(card, image, kept);
    }
    let Some(facts) = view.card_bmc(card, now) else {
        give_up_late(view, card, kept, None, now);
        return;
    };
    for one in &mut kept.components {
        waiting_firmware::notice_power(facts, one, now);
        waiting_firmware::notice_running(facts, one, now);
    }
    for image in wanted {
        if let Some(one) = kept
            .components
            .iter_mut()
            .find(|one| one.component == image.component)
        {
            adopt(view, facts, image, one, now);
            notice(facts, image, one, now);
        }
    }
    for one in &mut kept.components {
        let shown = shown(facts, &one.component);
        if let Some(shown) = shown {
            one.pending.clone_from(&shown.pending);
        }
        let told = told(facts, one).map(|told| &told.update.state);
        let listed = one.pending.as_deref();
        let is_listed = listed.is_some_and(|listed| runs(listed, &one.image.version));
        let ended = matches!(told, Some(UpdateState::Ended))
            || is_listed && matches!(told, Some(UpdateState::Lost));
        // Few BMCs list what waits; it is armed all the same.
        if let (None, Some(waits)) = (&one.pending, &one.waits) {
            one.pending = Some(waits.version.clone());
        }
        // Of what its host writes its agent tells: a driver's list may be of before it was asked.
        if is_under_way(one) && ended && one.written_at.is_none() {
            waiting_firmware::book(one, now);
            torn::whole(one);
        }
        drop_refused(view, card, one);
    }
    give_up_late(view, card, kept, Some(facts), now);
}

/// An update ends that waits for a power cycle which it does not get: what is written may not run. What is
/// wanted in its place can begin then.
fn drop_refused(view: &View, card: &CardView, one: &mut ComponentRecord) {
    let Some(policy) = &view.policy else { return };
    let waits = is_under_way(one) && one.written_at.is_some() && awaits_cycle(one);
    if waits && armed_firmware::is_refused(&policy.spec, card, one) {
        close(one);
    }
}

fn awaits_cycle(one: &ComponentRecord) -> bool {
    one.activation == Some(ActivatedBy::CardPowerCycle) && one.reset_at.is_none()
}

fn forget_the_unwanted(
    kept: &mut CardRecord,
    wanted: &[&FirmwareImage],
    is_untold: impl Fn(&ComponentRecord) -> bool,
) {
    kept.components.retain(|one| {
        let is_wanted = wanted.iter().any(|image| image.component == one.component);
        is_wanted || counts(one) || one.observed_at.is_some() && is_untold(one)
    });
}

/// Whether what is remembered of a component counts whatever is wanted of it.
fn counts(one: &ComponentRecord) -> bool {
    // What a component has run counts against older images whoever wants it now.
    is_under_way(one)
        || one.torn.is_some()
        || one.pending.is_some()
        || one.waits.is_some()
        || one.security_version.is_some()
}

/// A component that nobody names for now gives its place to one that is wanted.
fn makes_room(kept: &mut CardRecord, wanted: &[&FirmwareImage], image: &FirmwareImage) {
    let is_for = |one: &ComponentRecord, image: &FirmwareImage| one.component == image.component;
    let is_known = kept.components.iter().any(|one| is_for(one, image));
    if is_known || kept.components.len() < MOST {
        return;
    }
    let may_go =
        |one: &ComponentRecord| !counts(one) && !wanted.iter().any(|image| is_for(one, image));
    if let Some(index) = kept.components.iter().position(may_go) {
        kept.components.remove(index);
    }
}

/// One record for each component, about the image that is wanted for it now.
fn aim(card: &CardView, image: &FirmwareImage, kept: &mut CardRecord) {
    let token = card.dpu.spec.retry_token.clone();
    let mut named = card.firmware.iter();
    let named = named.find(|named| named.image.as_ref() == Some(image));
    let name = named.map(|named| named.name.as_str());
    let known = kept
        .components
        .iter()
        .position(|one| one.component == image.component);
    let fresh = ComponentRecord {
        component: image.component.clone(),
        image: image.facts.clone(),
        image_name: name.map(str::to_owned),
        retry_token: token.clone(),
        attempts: 0,
        seq: None,
        method: None,
        before: None,
        begun_at: None,
        ends: None,
        activation: None,
        pending: None,
        written_at: None,
        reset_at: None,
        waits: None,
        torn: None,
        observed_at: None,
        given_up: false,
        brought: None,
        has_left: false,
        security_version: None,
    };
    match known {
        None if kept.components.len() < MOST => kept.components.push(fresh),
        None => {}
        Some(index) => {
            let one = &mut kept.components[index];
            let same = one.image.digest == image.facts.digest && one.retry_token == token;
            if !same && !is_under_way(one) {
                kept.failures
                    .retain(|failure| failure.component.as_ref() != Some(&image.component));
                let same_bytes = one.image.digest == image.facts.digest;
                if !same_bytes {
                    drift::forget_component(kept, &image.component);
                }
                let one = &mut kept.components[index];
                // What waits there does not go away by another wish; it is written over.
                *one = ComponentRecord {
                    seq: one.seq,
                    activation: one.activation.take().filter(|_| same_bytes),
                    waits: one.waits.take(),
                    pending: one.pending.take(),
                    torn: one.torn.take(),
                    has_left: one.has_left && same_bytes,
                    security_version: one.security_version,
                    ..fresh
                };
            } else if same && one.image_name.is_some() {
                // The same bytes may go by another name now.
                one.image_name = fresh.image_name;
            }
        }
    }
}

/// What is told of the update that the record is about.
fn told<'a>(facts: &'a BmcReport, one: &ComponentRecord) -> Option<&'a ComponentUpdate> {
    let told = facts.component_update.as_ref()?;
    (told.component == one.component && Some(told.seq) == one.seq).then_some(told)
}

/// An update of the wanted image that this record knows nothing of is adopted, not begun again.
fn adopt(
    view: &View,
    facts: &BmcReport,
    image: &FirmwareImage,
    one: &mut ComponentRecord,
    now: Timestamp,
) {
    let Some(told) = &facts.component_update else {
        return;
    };
    let is_new = told.component == one.component
        && told.update.digest == one.image.digest
        && one.seq.is_none_or(|seq| seq < told.seq);
    let goes_on = match &told.update.state {
        UpdateState::Asked | UpdateState::Running | UpdateState::Lost => true,
        UpdateState::Ended | UpdateState::Failed | UpdateState::Unrecognized(_) => false,
    };
    let since = told.update.since.0.min(now);
    let ends = since + timeout(view);
    if is_new && goes_on && now < ends && !is_under_way(one) && one.observed_at.is_none() {
        one.seq = Some(told.seq);
        one.method = Some(told.update.method.clone());
        one.attempts += 1;
        one.begun_at = Some(Time(since));
        one.ends = Some(Time(ends));
        one.activation = Some(image.activation.clone());
    }
}

/// The wanted version runs: whatever was begun for it is over.
fn notice(facts: &BmcReport, image: &FirmwareImage, one: &mut ComponentRecord, now: Timestamp) {
    let is_it = one.image.digest == image.facts.digest;
    let running = shown(facts, &one.component).and_then(|shown| shown.running.as_deref());
    let running = running.is_some_and(|running| runs(running, &one.image.version));
    if !is_it || !running {
        return;
    }
    // What is shown before its task is over may be what was shown before it.
    let goes_on = told(facts, one).is_some_and(|told| {
        matches!(
            told.update.state,
            UpdateState::Asked | UpdateState::Running | UpdateState::Lost
        )
    });
    let too_early = is_under_way(one) && goes_on || !may_run(one);
    if too_early {
        return;
    }
    one.waits = None;
    let has = image.vetting.security_version;
    if has > one.security_version.unwrap_or_default() {
        one.security_version = Some(has);
    }
    if one.observed_at.is_none() {
        one.observed_at = Some(Time(now));
        one.given_up = false;
        close(one);
    }
}

/// Whether the image can run by now. Some BMCs list what is written as the version that runs before it does,
/// and where another image waits, what runs now does not stay.
fn may_run(one: &ComponentRecord) -> bool {
    let by_cycle = Some(ActivatedBy::CardPowerCycle);
    one.reset_at.is_some()
        || match &one.waits {
            Some(waits) => waits.activation != by_cycle && is_of_image(waits, one),
            None => !is_under_way(one) || one.activation != by_cycle,
        }
}

/// Ends an update. What waits there outlives it.
pub(crate) fn close(one: &mut ComponentRecord) {
    one.begun_at = None;
    one.ends = None;
    one.written_at = None;
    one.reset_at = None;
}

/// Books the failure of an update that the BMC tells of, or whose time is up.
fn give_up_late(
    view: &View,
    card: &CardView,
    kept: &mut CardRecord,
    facts: Option<&BmcReport>,
    now: Timestamp,
) {
    for index in 0..kept.components.len() {
        let one = &kept.components[index];
        // A person says when it has ended; a card that goes is waited for no longer than its time.
        if torn::is_hanging(one) && !card::is_going(view, card) {
            continue;
        }
        let Some(begun) = one.begun_at.clone() else {
            continue;
        };
        let Some((reason, message)) = cause(one, facts, now) else {
            continue;
        };
        let fault = facts.and_then(|facts| fetch::of_component(facts, one));
        let (reason, message) = match fault {
            Some(fault) => fault.behind(reason, &message),
            None => (reason, message),
        };
        failure::book_component(kept, index, &begun, reason, &message, now);
        close(&mut kept.components[index]);
    }
}

fn cause(
    one: &ComponentRecord,
    facts: Option<&BmcReport>,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let told = facts.and_then(|facts| told(facts, one));
    let said = told
        .and_then(|told| told.update.message.as_deref())
        .unwrap_or("it says nothing more");
    let state = told.map(|told| &told.update.state);
    if state == Some(&UpdateState::Failed) {
        return Some((
            "TaskFailed",
            format!(
                "{said}; see the log of the card's BMC, and whether the image is one that it takes"
            ),
        ));
    }
    let ends = one.ends.as_ref().filter(|ends| ends.0 <= now)?.0;
    let seen = facts.and_then(|facts| shown(facts, &one.component));
    let running = seen.and_then(|seen| seen.running.as_deref());
    let running = running.unwrap_or("a version that was not read");
    let waits = one.pending.as_ref();
    let waits = waits.map_or_else(String::new, |pending| {
        format!(", and {pending} waits there")
    });
    let unseen = format!("by {ends} it ran {running}{waits}");
    if flash::is_by_host(one) {
        return Some((
            "VersionNotSeen",
            format!(
                "{unseen}; see history in the status of its DpuHost, and the kernel's log of that host"
            ),
        ));
    }
    Some(match state {
        Some(UpdateState::Running) => (
            "TaskStuck",
            format!(
                "its task still says that it runs; {unseen}; restart the card's BMC if it does not end, or raise firmwareTimeoutSeconds"
            ),
        ),
        Some(UpdateState::Ended) => (
            "VersionNotSeen",
            format!("{unseen}; {said}; see the log of the card's BMC"),
        ),
        Some(UpdateState::Failed | UpdateState::Asked | UpdateState::Lost)
        | Some(UpdateState::Unrecognized(_))
        | None => (
            "TaskLost",
            format!(
                "{unseen}; nothing tells what became of the update ({said}); see the log of the card's BMC"
            ),
        ),
    })
}

/// Books that an update begins, or what lets it run.
pub(crate) fn begin(
    view: &View,
    card: &CardView,
    kept: &mut CardRecord,
    directive: &Directive,
    now: Timestamp,
) {
    let kind = &directive.action.kind;
    if *kind == ActionKind::PowerOn && kept.observed_at.is_some() {
        let os = card.os.as_ref().and_then(|report| report.os.as_ref());
        kept.cycled = Some(PowerCycled {
            at: Time(now),
            epoch_before: os.map(|os| os.boot_epoch.clone()),
        });
    }
    let named = directive.action.component.as_ref();
    let mut components = kept.components.iter_mut();
    let Some(one) = components.find(|one| Some(&one.component) == named) else {
        return;
    };
    if activates(kind) {
        one.reset_at = Some(Time(now));
        return;
    }
    let facts = view.card_bmc(card, now);
    let running = facts.and_then(|facts| shown(facts, &one.component));
    one.before = running.and_then(|shown| shown.running.clone());
    one.attempts += 1;
    one.seq = Some(directive.seq);
    one.method = Some(if *kind == ActionKind::PushFirmware {
        InstallMethod::MultipartPush
    } else if *kind == ActionKind::FlashFirmware {
        InstallMethod::DevlinkFlash
    } else {
        InstallMethod::SimpleUpdate
    });
    one.begun_at = Some(Time(now));
    one.ends = Some(Time(ends(view, directive, now)));
    one.activation.clone_from(&directive.action.activation);
    one.written_at = None;
    one.reset_at = None;
}

/// Whether the action lets firmware run that is written.
fn activates(kind: &ActionKind) -> bool {
    matches!(kind, ActionKind::ResetBmc | ActionKind::PowerOn)
}

/// Takes back what was booked with a directive of which it is certain that nothing came.
pub(crate) fn never_begun(kept: &mut CardRecord, directive: &Directive) {
    if directive.action.kind == ActionKind::PowerOn {
        kept.cycled = None;
    }
    let named = directive.action.component.as_ref();
    let mut components = kept.components.iter_mut();
    let Some(one) = components.find(|one| Some(&one.component) == named) else {
        return;
    };
    if activates(&directive.action.kind) {
        one.reset_at = None;
    } else if one.seq == Some(directive.seq) && is_under_way(one) {
        one.attempts = (one.attempts - 1).max(0);
        close(one);
    }
}

/// The component whose update that directive has begun, as long as it is under way.
fn begun_by(kept: &CardRecord, directive: &Directive) -> Option<usize> {
    let named = directive.action.component.as_ref();
    kept.components.iter().position(|one| {
        Some(&one.component) == named && one.seq == Some(directive.seq) && is_under_way(one)
    })
}

/// Books that the update is written, by the word of whoever wrote it.
pub(crate) fn written(kept: &mut CardRecord, directive: &Directive, now: Timestamp) {
    if let Some(index) = begun_by(kept, directive) {
        let one = &mut kept.components[index];
        waiting_firmware::book(one, now);
        torn::whole(one);
    }
}

/// Books how an update ended that may not be whole. `hangs`: nobody knows whether it has ended, so it stays
/// under way until a person says so.
pub(crate) fn torn(
    view: &View,
    kept: &mut CardRecord,
    directive: &Directive,
    hangs: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    let Some(index) = begun_by(kept, directive) else {
        return;
    };
    let Some(begun) = kept.components[index].begun_at.clone() else {
        return;
    };
    failure::book_component(kept, index, &begun, reason, message, now);
    let mut cards = view.cards.iter();
    let card = cards.find(|card| card.uid() == kept.uid);
    let one = &mut kept.components[index];
    let token = card.map_or(&one.retry_token, |card| &card.dpu.spec.retry_token);
    one.torn = Some(TornFirmware {
        since: Time(now),
        retry_token: token.clone(),
        hangs,
        was_off: false,
        away: false,
    });
    if !hangs {
        close(one);
    }
}
