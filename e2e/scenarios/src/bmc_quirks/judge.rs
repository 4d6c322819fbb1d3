//! What came of a case: what a port says, against what the simulator counted and logged.

use anyhow::{Context as _, Result, ensure};
use lockstep_redfish::{BmcError, BmcFacts, Confirmation, Effect, Explored, Progress};
use lockstep_xpusim::effect::{Cause, What};

use super::case::{Expect, Shown};
use super::told::Told;

/// What a port gave.
pub(super) enum Came {
    Facts(Box<BmcFacts>),
    Effect(Effect),
    Accepted,
    Update(Progress),
    Explored(Box<Explored>),
}

/// What it answered to one verb.
pub(super) type Asked = Result<Came, BmcError>;

/// What came of the last step in a few words, if it is as expected. `clean` is what an exploration
/// gives without the faults.
pub(super) fn judge(expect: Expect, last: &Asked, clean: Option<&Told>) -> Result<String> {
    let came = match last {
        Ok(Came::Facts(_)) => "facts".to_owned(),
        Ok(Came::Effect(effect)) if !effect.sent => "nothing to do".to_owned(),
        Ok(Came::Effect(effect)) => format!("sent, {:?}", shown_as(&effect.confirmation)),
        Ok(Came::Explored(_)) => explored_as(expect),
        Ok(Came::Accepted) => "accepted".to_owned(),
        Ok(Came::Update(progress)) => format!("{progress:?}"),
        Err(error) => error.category().to_owned(),
    };
    let as_expected = match (expect, last) {
        (Expect::Facts(holds), Ok(Came::Facts(facts))) => {
            ensure!(holds(facts), "the facts are not as expected: {facts:?}");
            true
        }
        (Expect::Machine { unread, otherwise }, Ok(Came::Explored(explored))) => {
            let clean = clean.context("nothing to compare it with")?;
            Told::of(explored)?.check(clean, unread, otherwise)?;
            true
        }
        (Expect::Sent(shown), Ok(Came::Effect(effect))) => {
            effect.sent && shown_as(&effect.confirmation) == shown
        }
        (Expect::Unneeded, Ok(Came::Effect(effect))) => !effect.sent,
        (Expect::Accepted, Ok(Came::Accepted)) => true,
        (Expect::Comes(holds), Ok(Came::Update(progress))) => holds(progress),
        (Expect::Error(category), Err(error)) => error.category() == category,
        (
            Expect::Facts(_)
            | Expect::Sent(_)
            | Expect::Unneeded
            | Expect::Machine { .. }
            | Expect::Accepted
            | Expect::Comes(_)
            | Expect::Error(_),
            Ok(_) | Err(_),
        ) => false,
    };
    ensure!(
        as_expected,
        "it came to: {came}{}",
        last.as_ref()
            .err()
            .map_or_else(String::new, |error| format!(" ({error})"))
    );
    Ok(came)
}

fn explored_as(expect: Expect) -> String {
    match expect {
        Expect::Machine { unread, otherwise } => {
            let said = |what: &str, groups: &[&str]| match groups {
                [] => String::new(),
                some => format!(", {what} {}", some.join(" ")),
            };
            let unread = said("unread", unread);
            format!("a machine{unread}{}", said("otherwise", otherwise))
        }
        Expect::Facts(_)
        | Expect::Sent(_)
        | Expect::Unneeded
        | Expect::Accepted
        | Expect::Comes(_)
        | Expect::Error(_) => "a machine".to_owned(),
    }
}

fn shown_as(confirmation: &Confirmation) -> Shown {
    match confirmation {
        Confirmation::Confirmed => Shown::Confirmed,
        Confirmation::Differs(_) => Shown::Differs,
        Confirmation::NotSeen => Shown::NotSeen,
        Confirmation::NotObservable => Shown::NotObservable,
    }
}

/// A request (`METHOD path`) that changes something; logging in and out does not.
pub(super) fn is_change(request: &str) -> bool {
    let reads = request.starts_with("GET ") || request.starts_with("HEAD ");
    !reads && !request.contains("/SessionService/Sessions")
}

/// No change was made twice, and nothing that the port never asks for was made at all.
pub(super) fn nothing_twice(log: &[What]) -> Result<()> {
    for (position, what) in log.iter().enumerate() {
        let asked_for = match what {
            What::PoweredOn { cause } | What::PoweredOff { cause, .. } => {
                matches!(cause, Cause::Request(_))
            }
            What::MediaInserted { .. }
            | What::MediaEjected { .. }
            | What::HttpBootUriSet { .. }
            | What::OverrideSet { .. }
            | What::RestorePolicySet { .. }
            | What::Ignored { .. }
            | What::Armed { .. }
            | What::TaskStarted { .. } => true,
            What::Booted { cause, .. } | What::Damaged { cause, .. } => {
                matches!(cause, Cause::Request(_))
            }
            What::AccountChanged { .. }
            | What::Setting { .. }
            | What::Reached { .. }
            | What::BootedFrom { .. }
            | What::SurpriseLinkDown { .. }
            | What::Disarmed { .. }
            | What::OverrideConsumed { .. }
            | What::OverrideLost { .. }
            | What::Installed { .. }
            | What::ImageArrived { .. }
            | What::TaskEnded { .. }
            | What::FirmwareActivated { .. }
            | What::Login { .. }
            | What::BmcDown
            | What::BmcUp
            | What::FaultSwitched { .. }
            | What::FaultStruck { .. } => false,
        };
        ensure!(
            !asked_for || !log[position + 1..].contains(what),
            "done twice: {what:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_made_twice_is_found() {
        let inserted = What::MediaInserted {
            slot: "Cd".to_owned(),
            image: "https://192.0.2.1/card.iso".to_owned(),
        };
        let once = [inserted.clone(), What::BmcDown, What::BmcDown];
        assert!(nothing_twice(&once).is_ok());
        assert!(nothing_twice(&[inserted.clone(), inserted]).is_err());
        assert!(is_change(
            "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
        ));
        assert!(!is_change("POST /redfish/v1/SessionService/Sessions"));
    }
}
