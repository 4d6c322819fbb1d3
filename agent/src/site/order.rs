//! One work order: what ends a hold when nobody else can (S14).
//!
//! It holds all that is needed to reach its host's BMC without the API
//! server, credentials included; its file has mode 0600.

use std::fmt;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{Expects, OrphanAction, WorkOrder};
use lockstep_crds::report::{Custody, CustodyState};
use lockstep_redfish::{
    AllowedNetworks, BmcFacts, BmcTarget, Credentials, ExpectedIdentity, PowerRestorePolicy,
    SpkiPin, TlsTrust,
};
use serde::{Deserialize, Serialize};

use crate::site::judge::check_expects;

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
    pub on_orphan: OrphanAction,
    /// How far it is.
    pub state: OrderState,
    /// The state that the attempt under way leads to, once the host is up.
    #[serde(default)]
    pub leads_to: Option<OrderState>,
    /// `handsOff` as last seen (S16).
    pub hands_off: bool,
    /// The machine that must answer.
    pub expects: Expects,
    /// Whether the host was only told to go down for a hold so far, and its BMC not to keep it off.
    #[serde(default)]
    pub beginning: bool,
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
            on_orphan: self.on_orphan.clone(),
        }
    }

    /// What is reported of it. A host that is up after power-on was sent is
    /// released, even if the file does not say so yet: nobody broke the hold.
    /// `in_force` is whether the hold's settings were seen at the BMC.
    pub fn custody(&self, is_on: bool, in_force: bool) -> Custody {
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
            in_force: Some(in_force && !self.beginning),
        }
    }

    /// Whether the machine that shows these facts is the one that the order is for, by an
    /// identity that both name.
    pub fn is_of(&self, facts: &BmcFacts) -> bool {
        let identity = self.expects.identity.clone();
        let expects = Expects {
            identity,
            ..Expects::default()
        };
        expects != Expects::default() && check_expects(&expects, facts).is_ok()
    }

    /// The policy that was found before the first hold and is not put back yet.
    pub fn found_first(&self) -> Option<String> {
        if self.is_released() {
            return None;
        }
        self.previous_restore_policy.clone()
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

    /// Whether the host went by this order.
    pub fn is_released(&self) -> bool {
        match self.state {
            OrderState::ExpiredReleased | OrderState::ReleasedOffline => true,
            OrderState::Kept
            | OrderState::Restoring
            | OrderState::PoweringOn
            | OrderState::ExpiredKeptHeld => false,
        }
    }

    /// The machine that must answer. A BMC whose certificate is verified proves
    /// itself by that: a renewed one has another key, and is no stranger (S13).
    pub fn meant(&self) -> Expects {
        let bmc_key_pin = match self.access.trust {
            Trust::CaBundle(_) | Trust::PinnedKey(_) => None,
            Trust::NoVerification | Trust::PlainHttp => self.expects.bmc_key_pin.clone(),
        };
        Expects {
            bmc_key_pin,
            ..self.expects.clone()
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
        let meant = self.meant();
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
                system_uuid: meant.identity.system_uuid,
                serial_number: meant.identity.serial_number,
                tls_pin: meant.bmc_key_pin.as_deref().map(pin).transpose()?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples::order;

    #[test]
    fn a_host_that_came_up_by_its_order_is_released() {
        let mut order = order();
        order.state = OrderState::PoweringOn;
        order.leads_to = Some(OrderState::ReleasedOffline);
        assert_eq!(order.custody(false, true).state, CustodyState::Kept);
        order.beginning = true;
        assert_eq!(order.custody(true, true).in_force, Some(false));
        let released = order.custody(true, false);
        assert_eq!(released.state, CustodyState::ReleasedOffline);
        assert_eq!(released.previous, ["PowerRestorePolicy=LastState"]);
    }

    #[test]
    fn a_renewed_certificate_is_no_stranger_where_the_certificate_is_verified() {
        let pin = "ab".repeat(32);
        let mut order = order();
        order.expects.bmc_key_pin = Some(pin.clone());
        for (trust, meant) in [
            (Trust::CaBundle("PEM".to_owned()), None),
            (Trust::PinnedKey("cd".repeat(32)), None),
            (Trust::NoVerification, Some(pin.clone())),
        ] {
            order.access.trust = trust;
            assert_eq!(order.meant().bmc_key_pin, meant);
            assert_eq!(order.meant().identity, order.expects.identity);
            let target = order.target().unwrap();
            assert_eq!(target.expected.tls_pin.map(|pin| pin.to_string()), meant);
        }
    }

    #[test]
    fn no_debug_output_shows_the_password_and_the_target_has_it() {
        assert!(!format!("{:?}", order()).contains("hunter2"));
        assert_eq!(order().target().unwrap().credentials.password, "hunter2");
    }
}
