//! Work orders: what ends a hold when nobody else can (S14).
//!
//! Each order is one file, the only truth about it: the site agent and the
//! offline command work on the same files, one at a time by a lock file. An
//! order holds all that is needed to reach its host's BMC without the API
//! server, credentials included; the files have mode 0600.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::boot_policy::OnOrphan;
use lockstep_crds::directive::{Expects, WorkOrder};
use lockstep_crds::report::{Custody, CustodyState};
use lockstep_redfish::{
    AllowedNetworks, BmcTarget, Credentials, ExpectedIdentity, PowerRestorePolicy, SpkiPin,
    TlsTrust,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::durable::{self, StateError};

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderState {
    /// The host is held, and the order has not been acted on.
    Kept,
    /// It is being acted on; nothing but idempotent settings has been sent.
    Restoring,
    /// Power-on has been, or may have been, sent. It is never sent again for this order.
    PoweringOn,
    /// It expired, and the host was left held.
    ExpiredKeptHeld,
    /// It expired, and the host was released.
    ExpiredReleased,
    /// A person released the host with the offline command.
    ReleasedOffline,
}

/// How the host's BMC is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Base URL.
    pub address: String,
    /// Path of the system, if several are served.
    pub system_path: Option<String>,
    /// Trust in the channel.
    pub trust: Trust,
    /// Account.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Networks that may be dialled.
    pub allowed_networks: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("address", &self.address)
            .field("system_path", &self.system_path)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Trust in a channel, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// PEM bundle.
    CaBundle(String),
    /// Key pin.
    PinnedKey(String),
    /// None, though encrypted.
    NoVerification,
    /// None.
    PlainHttp,
}

/// One work order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Name of the `DpuHost`.
    pub host: String,
    /// Its uid.
    pub host_uid: String,
    /// seq of the directive that brought the order.
    pub seq: i64,
    /// When it takes effect.
    pub expires_at: Time,
    /// What happens then.
    pub on_orphan: OnOrphan,
    /// How far it is.
    pub state: OrderState,
    /// The state that the attempt under way leads to, once the host is up.
    #[serde(default)]
    pub leads_to: Option<OrderState>,
    /// `handsOff` as last seen (S16).
    pub hands_off: bool,
    /// The machine that must answer.
    pub expects: Expects,
    /// `PowerRestorePolicy` to put back, if it was changed.
    pub previous_restore_policy: Option<String>,
    /// The way to the BMC.
    pub access: Access,
}

/// An order cannot be acted on as it is kept.
#[derive(Debug, thiserror::Error)]
#[error("work order of {host}: {reason}; release the host by hand at its BMC")]
pub struct OrderError {
    host: String,
    reason: String,
}

impl Access {
    /// Keeps what a target is made of.
    pub fn of(target: &BmcTarget, networks: &[IpNet]) -> Self {
        Self {
            address: target.address.to_string(),
            system_path: target.system_path.clone(),
            trust: match &target.tls {
                TlsTrust::CaBundle(pem) => Trust::CaBundle(pem.clone()),
                TlsTrust::PinnedKey(pin) => Trust::PinnedKey(pin.to_string()),
                TlsTrust::NoVerification => Trust::NoVerification,
                TlsTrust::PlainHttp => Trust::PlainHttp,
            },
            username: target.credentials.username.clone(),
            password: target.credentials.password.clone(),
            allowed_networks: networks.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Order {
    /// What becomes of it once it expires without anybody's word.
    pub fn work_order(&self) -> WorkOrder {
        WorkOrder {
            expires_at: self.expires_at.clone(),
            on_orphan: self.on_orphan,
        }
    }

    /// What is reported of it. A host that is up after power-on was sent is
    /// released, even if the file does not say so yet: nobody broke the hold.
    pub fn custody(&self, is_on: bool) -> Custody {
        let state = match (self.state, self.leads_to) {
            (OrderState::PoweringOn, Some(released)) if is_on => released,
            (state, _) => state,
        };
        Custody {
            seq: self.seq,
            state: match state {
                OrderState::Kept | OrderState::Restoring | OrderState::PoweringOn => {
                    CustodyState::Kept
                }
                OrderState::ExpiredKeptHeld => CustodyState::ExpiredKeptHeld,
                OrderState::ExpiredReleased => CustodyState::ExpiredReleased,
                OrderState::ReleasedOffline => CustodyState::ReleasedOffline,
            },
            expires_at: self.expires_at.clone(),
            previous: self
                .previous_restore_policy
                .iter()
                .map(|policy| format!("PowerRestorePolicy={policy}"))
                .collect(),
        }
    }

    /// Whether nothing is left to be done with it.
    pub fn is_finished(&self) -> bool {
        match self.state {
            OrderState::Kept | OrderState::Restoring | OrderState::PoweringOn => false,
            OrderState::ExpiredKeptHeld
            | OrderState::ExpiredReleased
            | OrderState::ReleasedOffline => true,
        }
    }

    /// The policy to put back, if one was changed.
    pub fn previous_policy(&self) -> Option<PowerRestorePolicy> {
        self.previous_restore_policy
            .as_deref()
            .map(|text| match text {
                "AlwaysOn" => PowerRestorePolicy::AlwaysOn,
                "AlwaysOff" => PowerRestorePolicy::AlwaysOff,
                "LastState" => PowerRestorePolicy::LastState,
                other => PowerRestorePolicy::Other(other.to_owned()),
            })
    }

    /// The target, with the identity that must be proved.
    pub fn target(&self) -> Result<BmcTarget, OrderError> {
        let failed = |reason: String| OrderError {
            host: self.host.clone(),
            reason,
        };
        let pin = |text: &str| -> Result<SpkiPin, OrderError> {
            text.parse()
                .map_err(|error: lockstep_redfish::SpkiPinError| failed(error.to_string()))
        };
        Ok(BmcTarget {
            address: self
                .access
                .address
                .parse()
                .map_err(|error| failed(format!("address: {error}")))?,
            system_path: self.access.system_path.clone(),
            credentials: Credentials {
                username: self.access.username.clone(),
                password: self.access.password.clone(),
            },
            tls: match &self.access.trust {
                Trust::CaBundle(pem) => TlsTrust::CaBundle(pem.clone()),
                Trust::PinnedKey(text) => TlsTrust::PinnedKey(pin(text)?),
                Trust::NoVerification => TlsTrust::NoVerification,
                Trust::PlainHttp => TlsTrust::PlainHttp,
            },
            expected: ExpectedIdentity {
                system_uuid: self.expects.identity.system_uuid.clone(),
                serial_number: self.expects.identity.serial_number.clone(),
                tls_pin: self.expects.bmc_key_pin.as_deref().map(pin).transpose()?,
            },
        })
    }

    /// The networks that may be dialled for it.
    pub fn networks(&self) -> Result<AllowedNetworks, OrderError> {
        let networks = self
            .access
            .allowed_networks
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<IpNet>, _>>();
        networks.map(AllowedNetworks).map_err(|_| OrderError {
            host: self.host.clone(),
            reason: "its networks are garbled".to_owned(),
        })
    }
}

/// What could be learned of a host when its order expired.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The API server could not be asked.
    Unreachable,
    /// The `DpuHost` is gone, or another one has its name.
    Gone,
    /// The `DpuHost` as it is.
    Present {
        /// Its hold's work order, if it is held.
        work_order: Option<WorkOrder>,
        /// `handsOff`.
        hands_off: bool,
    },
}

/// What to do with an order.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderDecision {
    /// Nothing now.
    Rest,
    /// Keep it with another expiry or ending.
    Follow(WorkOrder),
    /// Record that the host stays held.
    KeepHeld,
    /// Put settings back and power the host on.
    Release,
    /// It is due, and somebody with a say is against it.
    Defer(&'static str),
}

/// Whether an order has to be looked at.
pub fn is_due(order: &Order, now: Timestamp) -> bool {
    order.state == OrderState::Kept && now >= order.expires_at.0
}

/// What to do with an order that may be due.
pub fn decide(order: &Order, now: Timestamp, seen: &Seen) -> OrderDecision {
    if !is_due(order, now) {
        return OrderDecision::Rest;
    }
    match seen {
        Seen::Present {
            hands_off: true, ..
        } => return OrderDecision::Defer("handsOff is set on the host"),
        Seen::Present {
            work_order: None, ..
        } => {
            return OrderDecision::Defer("the DpuHost no longer says that it is held");
        }
        Seen::Present {
            work_order: Some(current),
            ..
        } if *current != order.work_order() => return OrderDecision::Follow(current.clone()),
        Seen::Unreachable | Seen::Gone if order.hands_off => {
            return OrderDecision::Defer("handsOff was set on the host when it was last seen");
        }
        Seen::Unreachable | Seen::Gone | Seen::Present { .. } => {}
    }
    match order.on_orphan {
        OnOrphan::KeepHeld => OrderDecision::KeepHeld,
        OnOrphan::RestoreAndRelease => OrderDecision::Release,
    }
}

/// All orders of one state folder.
#[derive(Clone, Debug)]
pub struct OrderBook {
    dir: PathBuf,
    changed: watch::Sender<u64>,
}

impl OrderBook {
    /// Opens, or makes, the folder of orders.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let dir = state_dir.join("orders");
        durable::make_private_dir(&dir)?;
        Ok(Self {
            dir,
            changed: watch::Sender::new(0),
        })
    }

    /// Tells when this process changed an order.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The order of a host.
    pub fn get(&self, host: &str) -> Result<Option<Order>, StateError> {
        durable::read(&self.path(host))
    }

    /// Every order.
    pub fn list(&self) -> Result<Vec<Order>, StateError> {
        let failed = |error: std::io::Error| StateError {
            path: self.dir.clone(),
            reason: error.to_string(),
        };
        let mut orders = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
                && let Some(order) = durable::read(&path)?
            {
                orders.push(order);
            }
        }
        Ok(orders)
    }

    /// Keeps an order, synced to disk.
    pub fn put(&self, order: &Order) -> Result<(), StateError> {
        if self.get(&order.host)?.as_ref() == Some(order) {
            return Ok(());
        }
        durable::write(&self.path(&order.host), order)?;
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Drops an order.
    pub fn remove(&self, host: &str) -> Result<(), StateError> {
        durable::remove(&self.path(host))?;
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The right to act on a host's order; `None` while somebody else has it.
    pub fn try_lock(&self, host: &str) -> Result<Option<File>, StateError> {
        durable::try_lock(&self.dir.join(format!("{host}.lock")))
    }

    /// Changes an order that exists and belongs to that object, unless
    /// somebody is acting on it.
    pub fn amend(
        &self,
        host: &str,
        uid: &str,
        change: impl FnOnce(&mut Order),
    ) -> Result<(), StateError> {
        let Some(_lock) = self.try_lock(host)? else {
            return Ok(());
        };
        if let Some(mut order) = self.get(host)?.filter(|order| order.host_uid == uid) {
            change(&mut order);
            self.put(&order)?;
        }
        Ok(())
    }

    fn path(&self, host: &str) -> PathBuf {
        self.dir.join(format!("{host}.json"))
    }
}

/// Takes over another expiry or ending. An order that was left held comes back
/// to life if its new expiry lies ahead.
pub fn follow(order: &mut Order, current: &WorkOrder, now: Timestamp) {
    let revives = order.state == OrderState::ExpiredKeptHeld && current.expires_at.0 > now;
    if order.state == OrderState::Kept || revives {
        order.state = OrderState::Kept;
        order.expires_at = current.expires_at.clone();
        order.on_orphan = current.on_orphan;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn order() -> Order {
        Order {
            host: "h1".to_owned(),
            host_uid: "uid-h1".to_owned(),
            seq: 3,
            expires_at: time("2026-01-01T01:00:00Z"),
            on_orphan: OnOrphan::RestoreAndRelease,
            state: OrderState::Kept,
            leads_to: None,
            hands_off: false,
            expects: crate::site::samples::directive(3, "HoldHost").expects,
            previous_restore_policy: Some("LastState".to_owned()),
            access: Access {
                address: "http://192.0.2.1/".to_owned(),
                system_path: None,
                trust: Trust::PlainHttp,
                username: "admin".to_owned(),
                password: "hunter2".to_owned(),
                allowed_networks: vec!["192.0.2.0/24".to_owned()],
            },
        }
    }

    fn time(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    fn present(expires: Option<&str>, hands_off: bool) -> Seen {
        Seen::Present {
            work_order: expires.map(|text| WorkOrder {
                expires_at: time(text),
                on_orphan: OnOrphan::RestoreAndRelease,
            }),
            hands_off,
        }
    }

    #[test]
    fn an_order_is_carried_out_only_when_due_and_unopposed() {
        let at = "2026-01-01T01:00:00Z";
        let later = "2026-01-01T02:00:00Z";
        let followed = OrderDecision::Follow(WorkOrder {
            expires_at: time(later),
            on_orphan: OnOrphan::RestoreAndRelease,
        });
        let early: Timestamp = "2026-01-01T00:59:59Z".parse().unwrap();
        let due: Timestamp = at.parse().unwrap();
        for (now, seen, wanted) in [
            (early, Seen::Unreachable, OrderDecision::Rest),
            (early, present(None, true), OrderDecision::Rest),
            (due, Seen::Unreachable, OrderDecision::Release),
            (due, Seen::Gone, OrderDecision::Release),
            (due, present(Some(at), false), OrderDecision::Release),
            (due, present(Some(later), false), followed),
            (
                due,
                present(None, false),
                OrderDecision::Defer("the DpuHost no longer says that it is held"),
            ),
            (
                due,
                present(Some(at), true),
                OrderDecision::Defer("handsOff is set on the host"),
            ),
        ] {
            assert_eq!(decide(&order(), now, &seen), wanted, "{seen:?}");
        }
        let mut kept = order();
        kept.on_orphan = OnOrphan::KeepHeld;
        assert_eq!(
            decide(&kept, due, &Seen::Unreachable),
            OrderDecision::KeepHeld
        );
        let mut touched = order();
        touched.hands_off = true;
        assert!(matches!(
            decide(&touched, due, &Seen::Unreachable),
            OrderDecision::Defer(_)
        ));
        for state in [
            OrderState::Restoring,
            OrderState::PoweringOn,
            OrderState::ExpiredKeptHeld,
            OrderState::ExpiredReleased,
            OrderState::ReleasedOffline,
        ] {
            let order = Order { state, ..order() };
            assert_eq!(decide(&order, due, &Seen::Unreachable), OrderDecision::Rest);
        }
    }

    #[test]
    fn a_host_that_came_up_by_its_order_is_released() {
        let mut order = order();
        order.state = OrderState::PoweringOn;
        order.leads_to = Some(OrderState::ReleasedOffline);
        assert_eq!(order.custody(false).state, CustodyState::Kept);
        assert_eq!(order.custody(true).state, CustodyState::ReleasedOffline);
        assert_eq!(
            order.custody(true).previous,
            ["PowerRestorePolicy=LastState"]
        );
    }

    #[test]
    fn an_extension_revives_only_what_was_left_held() {
        let now: Timestamp = "2026-01-01T01:30:00Z".parse().unwrap();
        let longer = WorkOrder {
            expires_at: time("2026-01-01T02:00:00Z"),
            on_orphan: OnOrphan::KeepHeld,
        };
        for (state, wanted) in [
            (OrderState::Kept, OrderState::Kept),
            (OrderState::ExpiredKeptHeld, OrderState::Kept),
            (OrderState::ExpiredReleased, OrderState::ExpiredReleased),
            (OrderState::PoweringOn, OrderState::PoweringOn),
        ] {
            let mut order = Order { state, ..order() };
            follow(&mut order, &longer, now);
            assert_eq!(order.state, wanted);
            assert_eq!(
                order.expires_at == longer.expires_at,
                wanted == OrderState::Kept
            );
        }
    }

    #[test]
    fn an_order_survives_its_file_and_no_debug_output_shows_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let book = OrderBook::open(dir.path()).unwrap();
        book.put(&order()).unwrap();
        assert_eq!(book.get("h1").unwrap(), Some(order()));
        assert_eq!(book.list().unwrap(), vec![order()]);
        assert!(!format!("{:?}", order()).contains("hunter2"));
        assert_eq!(order().target().unwrap().credentials.password, "hunter2");
        book.amend("h1", "uid-other", |order| order.hands_off = true)
            .unwrap();
        assert!(!book.get("h1").unwrap().unwrap().hands_off);
        book.amend("h1", "uid-h1", |order| order.hands_off = true)
            .unwrap();
        assert!(book.get("h1").unwrap().unwrap().hands_off);
        book.remove("h1").unwrap();
        assert_eq!(book.list().unwrap(), vec![]);
    }
}
