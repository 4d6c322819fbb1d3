//! Why whoever was given the URL of an image may get nothing, as the store saw it.
//!
//! What was asked for under the URL itself is about the card. Before that, only an address tells
//! who called: that of the card's BMC, as far as it does not call from behind another. From where a
//! card's own firmware calls is not known. Where bytes are read there is nothing to tell, and of a reader that may be about to go on there is not yet.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{BmcReport, FetchReport, FetchState, UpdateState};
use lockstep_serve::{Call, Caller, TlsFault};
use lockstep_store::{Answered, Sight};

use crate::site::context::Site;

/// How long somebody who stopped in the middle may be about to go on.
const MAY_GO_ON: Duration = Duration::from_secs(10);
/// How long somebody may take to come at all.
const MAY_COME: Duration = Duration::from_secs(300);

/// Images of one card that are told of.
pub(super) const MOST_FETCHES: usize = 4;

/// What the store saw of one image, and when that is asked.
struct Seen {
    sight: Sight,
    caller: Option<Caller>,
    address: Option<IpAddr>,
    /// Whether a BMC has the URL and is to read it.
    awaited: bool,
    /// Whether whoever was to read it says that it is through with it.
    over: bool,
    now: SystemTime,
}

impl Site {
    /// What keeps a card from the images that it was granted.
    pub(super) fn fetches(&self, uid: &str, bmc: &BmcReport) -> Vec<FetchReport> {
        let address = bmc.answers_at.as_ref().and_then(|at| at.parse().ok());
        let address = address.map(|at: SocketAddr| at.ip());
        let caller = address.and_then(|address| self.callers.of(address));
        let component = bmc.component_update.as_ref().map(|told| &told.update);
        let ended = |digest: &str| {
            let mut updates = bmc.update.iter().chain(component);
            updates.any(|told| told.digest == digest && told.state == UpdateState::Failed)
        };
        let sights = self.store.sights(uid).into_iter();
        let told = sights.filter_map(|(digest, sight)| {
            let digest = digest.to_string();
            let by_bmc = !is_for_firmware(bmc, &digest);
            let seen = Seen {
                sight,
                caller: caller.filter(|_| by_bmc),
                address: address.filter(|_| by_bmc),
                awaited: is_awaited(bmc, &digest),
                over: ended(&digest),
                now: SystemTime::now(),
            };
            let (state, detail) = seen.told()?;
            Some(FetchReport {
                digest,
                state,
                detail,
            })
        });
        told.take(MOST_FETCHES).collect()
    }
}

/// Whether the BMC holds the URL of that image, or was told to fetch it.
fn is_awaited(bmc: &BmcReport, digest: &str) -> bool {
    let held = std::iter::once(&bmc.media).chain(&bmc.http_boot);
    let mut held = held.filter_map(|held| held.digest.as_deref());
    let component = bmc.component_update.as_ref().map(|told| &told.update);
    let mut updates = bmc.update.iter().chain(component);
    held.any(|held| held == digest)
        || updates.any(|told| told.digest == digest && told.method == InstallMethod::SimpleUpdate)
}

/// Whether the card's own firmware is to fetch it, and not the BMC: some BMCs fetch what they are
/// given for HTTP boot, and show a medium.
fn is_for_firmware(bmc: &BmcReport, digest: &str) -> bool {
    let held = bmc
        .http_boot
        .as_ref()
        .and_then(|held| held.digest.as_deref());
    let component = bmc.component_update.as_ref().map(|told| &told.update);
    let mut updates = bmc.update.iter().chain(component);
    held == Some(digest)
        && bmc.media.digest.as_deref() != Some(digest)
        && !updates.any(|told| told.digest == digest && told.method == InstallMethod::SimpleUpdate)
}

impl Seen {
    fn told(&self) -> Option<(FetchState, Option<String>)> {
        if self.sight.is_whole || self.sight.active > 0 {
            return None;
        }
        match self.sight.last {
            Some((answered, at)) => self.by_answer(answered, at),
            None => self.by_caller().or_else(|| self.by_silence()),
        }
    }

    fn by_answer(
        &self,
        answered: Answered,
        at: SystemTime,
    ) -> Option<(FetchState, Option<String>)> {
        let length = self.sight.length;
        let stopped = self.is_past(at, MAY_GO_ON);
        match answered {
            Answered::Bytes => None,
            Answered::Headers if !stopped => None,
            Answered::Headers => Some((FetchState::LengthOnly, Some(format!("{length} bytes")))),
            Answered::Cut { .. } if !stopped => None,
            Answered::Cut { at } => Some((
                FetchState::CutShort,
                Some(format!("at about {at} of {length} bytes")),
            )),
            Answered::NoSuchRange => {
                let detail = (length > 0).then(|| format!("it has {length} bytes"));
                Some((FetchState::RangeRefused, detail))
            }
            Answered::NoSuchMethod => Some((
                FetchState::UrlRefused,
                Some("a method other than GET and HEAD, status 405".to_owned()),
            )),
            Answered::Ended => Some((
                FetchState::UrlRefused,
                Some("the URL of an earlier attempt, which has ended, status 404".to_owned()),
            )),
            Answered::Failed => Some((FetchState::StoreFailed, None)),
        }
    }

    /// What was seen of its address since it was given the URL.
    fn by_caller(&self) -> Option<(FetchState, Option<String>)> {
        let caller = self
            .caller
            .as_ref()
            .filter(|caller| self.is_since(caller.connected))?;
        let from = self.from();
        let ended = caller.last.filter(|(_, at)| self.is_since(*at));
        let Some((call, _)) = ended else {
            let stopped = self.is_past(caller.connected, MAY_GO_ON);
            return stopped.then_some((FetchState::NotAsked, from));
        };
        let with = |what: &str| {
            let from = self
                .from()
                .map_or_else(String::new, |from| format!("{from}: "));
            Some(format!("{from}{what}"))
        };
        match call {
            Call::Answered => None,
            Call::Refused(status) => {
                Some((FetchState::UrlRefused, with(&format!("status {status}"))))
            }
            Call::TooMany => Some((FetchState::TooManyConnections, from)),
            Call::NoHttp => Some((FetchState::ProtocolDiffers, with("no HTTP"))),
            Call::Tls(TlsFault::NotTls) => {
                Some((FetchState::ProtocolDiffers, with("no TLS, as https has")))
            }
            Call::Tls(TlsFault::NothingInCommon) => Some((
                FetchState::ProtocolDiffers,
                with("no version or cipher of TLS in common"),
            )),
            Call::Tls(TlsFault::Untrusted) => Some((FetchState::NotTrusted, from)),
            Call::Tls(TlsFault::BrokenOff) => Some((
                FetchState::NotTrusted,
                with("the handshake was broken off without a word"),
            )),
            Call::Tls(TlsFault::OutOfDate) => Some((FetchState::NotInDate, from)),
        }
    }

    fn by_silence(&self) -> Option<(FetchState, Option<String>)> {
        let granted_at = self.sight.granted_at?;
        let called = self
            .caller
            .as_ref()
            .is_some_and(|caller| self.is_since(caller.connected));
        (self.awaited && !called && self.is_past(granted_at, MAY_COME))
            .then(|| (FetchState::NotReached, self.from()))
    }

    fn from(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }

    fn is_since(&self, at: SystemTime) -> bool {
        self.sight.granted_at.is_none_or(|granted| granted <= at)
    }

    fn is_past(&self, at: SystemTime, patience: Duration) -> bool {
        let age = self.now.duration_since(at);
        self.over || age.is_ok_and(|age| age >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);

    fn ago(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(seconds)
    }

    fn seen() -> Seen {
        Seen {
            sight: Sight {
                granted_at: Some(ago(60)),
                length: 1000,
                ..Sight::default()
            },
            caller: None,
            address: Some("192.0.2.1".parse().unwrap()),
            awaited: true,
            over: false,
            now: ago(0),
        }
    }

    fn state(seen: &Seen) -> Option<FetchState> {
        seen.told().map(|(state, _)| state)
    }

    fn answered(answer: Answered, seconds: u64) -> Seen {
        let mut seen = seen();
        seen.sight.last = Some((answer, ago(seconds)));
        seen
    }

    fn called(connected: u64, last: Option<(Call, u64)>) -> Seen {
        let mut seen = seen();
        seen.caller = Some(Caller {
            connected: ago(connected),
            last: last.map(|(call, seconds)| (call, ago(seconds))),
        });
        seen
    }

    #[test]
    fn what_was_asked_for_under_the_url_says_most() {
        let at_once = [
            (Answered::NoSuchMethod, FetchState::UrlRefused),
            (Answered::Ended, FetchState::UrlRefused),
            (Answered::NoSuchRange, FetchState::RangeRefused),
            (Answered::Failed, FetchState::StoreFailed),
        ];
        for (answer, wanted) in at_once {
            let mut seen = answered(answer, 0);
            seen.caller = called(5, Some((Call::Tls(TlsFault::Untrusted), 5))).caller;
            assert_eq!(state(&seen), Some(wanted), "{answer:?}");
        }
        let later = [
            (Answered::Headers, FetchState::LengthOnly),
            (Answered::Cut { at: 400 }, FetchState::CutShort),
        ];
        for (answer, wanted) in later {
            assert_eq!(state(&answered(answer, 9)), None, "{answer:?}");
            assert_eq!(state(&answered(answer, 11)), Some(wanted.clone()));
            let mut over = answered(answer, 0);
            over.over = true;
            assert_eq!(state(&over), Some(wanted), "{answer:?}");
            let mut busy = answered(answer, 11);
            busy.sight.active = 1;
            assert_eq!(state(&busy), None, "{answer:?}");
        }
        let cut = answered(Answered::Cut { at: 400 }, 11).told().unwrap();
        assert_eq!(cut.1.unwrap(), "at about 400 of 1000 bytes");
        assert_eq!(state(&answered(Answered::Bytes, 100)), None);
        let mut whole = answered(Answered::Cut { at: 400 }, 100);
        whole.sight.is_whole = true;
        assert_eq!(state(&whole), None);
    }

    #[test]
    fn before_that_the_address_of_the_bmc_tells() {
        for (call, wanted) in [
            (Call::Tls(TlsFault::Untrusted), FetchState::NotTrusted),
            (Call::Tls(TlsFault::BrokenOff), FetchState::NotTrusted),
            (Call::Tls(TlsFault::OutOfDate), FetchState::NotInDate),
            (
                Call::Tls(TlsFault::NothingInCommon),
                FetchState::ProtocolDiffers,
            ),
            (Call::Tls(TlsFault::NotTls), FetchState::ProtocolDiffers),
            (Call::NoHttp, FetchState::ProtocolDiffers),
            (Call::TooMany, FetchState::TooManyConnections),
            (Call::Refused(404), FetchState::UrlRefused),
        ] {
            let seen = called(5, Some((call, 5)));
            assert_eq!(state(&seen), Some(wanted), "{call:?}");
            let (_, detail) = seen.told().unwrap();
            assert!(detail.unwrap().starts_with("192.0.2.1"), "{call:?}");
            // Before the URL was given it was about something else.
            assert_eq!(state(&called(70, Some((call, 70)))), None, "{call:?}");
        }
        assert_eq!(state(&called(5, Some((Call::Answered, 5)))), None);
        assert_eq!(state(&called(5, None)), None);
        assert_eq!(state(&called(11, None)), Some(FetchState::NotAsked));
        let outdated = Some((Call::NoHttp, 70));
        assert_eq!(state(&called(11, outdated)), Some(FetchState::NotAsked));
    }

    #[test]
    fn that_nobody_came_is_told_in_time_and_only_where_it_is_known() {
        let granted = |seconds| {
            let mut seen = seen();
            seen.sight.granted_at = Some(ago(seconds));
            seen
        };
        assert_eq!(state(&granted(299)), None);
        assert_eq!(state(&granted(301)), Some(FetchState::NotReached));
        let mut over = granted(1);
        over.over = true;
        assert_eq!(state(&over), Some(FetchState::NotReached));
        // Somebody reads, and from another address than the BMC's.
        let mut read = granted(301);
        read.sight.active = 1;
        assert_eq!(state(&read), None);
        // Before the agent was restarted somebody may have come.
        let mut unknown = granted(1000);
        unknown.sight.granted_at = None;
        assert_eq!(state(&unknown), None);
        // What is sent to the BMC nobody fetches.
        let mut sent = granted(301);
        sent.awaited = false;
        assert_eq!(state(&sent), None);
    }

    #[test]
    fn somebody_is_to_fetch_what_the_bmc_has_a_url_of() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let bmc = |ours: serde_json::Value| -> BmcReport {
            let mut text = serde_json::json!({
                "identity": {}, "stageKnowledge": "NotRead", "media": {"owner": "Nobody"},
                "capabilities": {"virtualMedia": "Offered", "sessions": "Offered",
                    "bootProgress": "Offered", "powerRestorePolicy": "Offered"},
            });
            for (key, value) in ours.as_object().unwrap() {
                text[key] = value.clone();
            }
            serde_json::from_value(text).unwrap()
        };
        let update = |method: &str| {
            serde_json::json!({"digest": digest, "method": method,
                "since": "2026-01-01T00:00:00Z", "state": "Asked"})
        };
        let held = serde_json::json!({"owner": "Lockstep", "digest": digest});
        for (key, value, is) in [
            ("media", held.clone(), true),
            ("httpBoot", held, true),
            ("update", update("SimpleUpdate"), true),
            ("update", update("MultipartPush"), false),
            ("media", serde_json::json!({"owner": "Foreign"}), false),
        ] {
            let bmc = bmc(serde_json::json!({key: value}));
            assert_eq!(is_awaited(&bmc, &digest), is, "{key}: {value}");
            assert_eq!(is_for_firmware(&bmc, &digest), key == "httpBoot");
        }
        let held = serde_json::json!({"owner": "Lockstep", "digest": digest});
        let both = bmc(serde_json::json!({"httpBoot": held, "media": held}));
        assert!(!is_for_firmware(&both, &digest));
    }
}
