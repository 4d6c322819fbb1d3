//! What one process shares about its BMCs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use lockstep_crds::bmc::place;
use tokio::sync::{Mutex, watch};

use crate::credential_gate::{CredentialGate, Refusals};
use crate::error::BmcError;
use crate::network::AllowedNetworks;
use crate::redfish::RedfishBmc;
use crate::room::Pool;
use crate::target::{BmcTarget, TlsTrust};
use crate::tls::{ObservedPeer, client_config};

/// Times and sizes. The defaults suit real BMCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcOptions {
    /// For a whole call, waiting for earlier calls included.
    pub call_deadline: Duration,
    /// For a whole `insert_media`: some BMCs answer only when they have
    /// downloaded the image.
    pub media_deadline: Duration,
    /// For a whole call about updates but a push: there may be many tasks and components, and some
    /// BMCs answer only when they have fetched the image.
    pub update_deadline: Duration,
    /// For the sending of an image, and the answer to it.
    pub push_deadline: Duration,
    /// For one connection.
    pub connect_timeout: Duration,
    /// For one read.
    pub read_timeout: Duration,
    /// How often a failed read is made in all, within the deadline.
    pub read_tries: u32,
    /// How long an accepted change is looked for, within the deadline.
    pub confirm_window: Duration,
    /// Longest answer taken, in bytes. Documents of real BMCs are a good deal shorter, but for
    /// collections of very many members.
    pub body_limit: usize,
    /// Most memory that one answer may take once it is parsed, in bytes.
    pub document_room: usize,
    /// The same of everything that one exploration or one call to a BMC holds at a time.
    pub exploration_room: usize,
    /// The same of all explorations of the process together.
    pub explorations_room: usize,
    /// The same of all calls to BMCs that are known: however much is explored, they have this.
    pub calls_room: usize,
    /// For a whole [`crate::Explorer::identify`].
    pub identify_deadline: Duration,
    /// For a whole [`crate::Explorer::explore`].
    pub explore_deadline: Duration,
    /// For one document of an exploration that it can do without.
    pub part_timeout: Duration,
}

impl Default for BmcOptions {
    fn default() -> Self {
        Self {
            call_deadline: Duration::from_secs(30),
            media_deadline: Duration::from_secs(300),
            update_deadline: Duration::from_secs(120),
            push_deadline: Duration::from_secs(2400),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(12),
            read_tries: 3,
            confirm_window: Duration::from_secs(15),
            body_limit: 1024 * 1024,
            document_room: 2 * 1024 * 1024,
            exploration_room: 4 * 1024 * 1024,
            explorations_room: 128 * 1024 * 1024,
            calls_room: 64 * 1024 * 1024,
            identify_deadline: Duration::from_secs(10),
            explore_deadline: Duration::from_secs(180),
            part_timeout: Duration::from_secs(6),
        }
    }
}

/// The process's way to its BMCs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Redfish {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) networks: AllowedNetworks,
    pub(crate) options: BmcOptions,
    pub(crate) gate: CredentialGate,
    /// For explorations.
    pub(crate) explorations: Arc<Pool>,
    /// For calls to BMCs that are known.
    pub(crate) calls: Arc<Pool>,
    lanes: StdMutex<HashMap<String, Weak<Mutex<()>>>>,
}

impl Redfish {
    /// A way to the BMCs in `networks`, and to no others.
    pub fn new(networks: AllowedNetworks, options: BmcOptions) -> Self {
        Self::with_refusals(networks, options, Refusals::default())
    }

    /// The same, with the credentials that were refused before.
    pub fn with_refusals(
        networks: AllowedNetworks,
        options: BmcOptions,
        refusals: Refusals,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                networks,
                explorations: Pool::new(options.explorations_room),
                calls: Pool::new(options.calls_room),
                options,
                gate: CredentialGate::new(refusals),
                lanes: StdMutex::default(),
            }),
        }
    }

    /// The credentials that are refused, and news of them.
    pub fn refusals(&self) -> watch::Receiver<Refusals> {
        self.shared.gate.refusals()
    }

    /// Notes in which version of its Secret a target's credentials are written: another version
    /// of a value that was refused may be tried again.
    pub fn credentials_written(&self, target: &BmcTarget, version: &str) {
        let origin = target.address.origin().ascii_serialization();
        self.shared
            .gate
            .written(&origin, &target.credentials, version);
    }

    /// A port for one target. Nothing is sent; the first call connects.
    ///
    /// Keep it for as long as the target's spec and Secret stay the same: it
    /// holds the session. A changed spec or Secret needs a new one.
    ///
    /// # Errors
    ///
    /// [`BmcError::InvalidTarget`] for an address that cannot be used or does
    /// not fit its trust, [`BmcError::Client`] for an unusable CA bundle.
    pub fn bmc(&self, target: BmcTarget) -> Result<RedfishBmc, BmcError> {
        let origin = checked_origin(&target)?;
        client_config(
            &target.tls,
            target.expected.tls_pin.as_ref(),
            ObservedPeer::default(),
        )
        .map_err(|reason| BmcError::Client {
            address: origin.clone(),
            reason,
        })?;
        let lane = self.shared.lane(&origin);
        Ok(RedfishBmc::new(
            Arc::clone(&self.shared),
            target,
            origin,
            lane,
        ))
    }
}

impl Shared {
    /// The lane of one BMC, however its address is written: whoever holds it is the only one who
    /// calls.
    pub(crate) fn lane(&self, origin: &str) -> Arc<Mutex<()>> {
        let place = place(origin);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&place).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Mutex::new(()));
        lanes.insert(place, Arc::downgrade(&lane));
        lane
    }
}

/// The origin of a target's address, if the address can be used as it stands.
pub(crate) fn checked_origin(target: &BmcTarget) -> Result<String, BmcError> {
    let url = &target.address;
    let origin = url.origin().ascii_serialization();
    let invalid = |reason: &str| {
        Err(BmcError::InvalidTarget {
            address: origin.clone(),
            reason: reason.to_owned(),
        })
    };
    if !url.username().is_empty() || url.password().is_some() {
        return invalid("it carries credentials");
    }
    if url.host().is_none() {
        return invalid("it has no host");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return invalid("it has a path");
    }
    match (url.scheme(), &target.tls) {
        ("http", TlsTrust::PlainHttp)
        | ("https", TlsTrust::CaBundle(_) | TlsTrust::PinnedKey(_) | TlsTrust::NoVerification) => {
            Ok(origin)
        }
        ("http", TlsTrust::CaBundle(_) | TlsTrust::PinnedKey(_) | TlsTrust::NoVerification) => {
            invalid("it is not encrypted, and PlainHttp was not asked for")
        }
        ("https", TlsTrust::PlainHttp) => invalid("PlainHttp was asked for, and it is https"),
        _ => invalid("it is neither https nor http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ExpectedIdentity;
    use crate::target::Credentials;

    fn target(address: &str, tls: TlsTrust) -> BmcTarget {
        BmcTarget {
            address: address.parse().unwrap(),
            system_path: None,
            credentials: Credentials {
                username: "admin".to_owned(),
                password: "secret".to_owned(),
            },
            tls,
            expected: ExpectedIdentity::default(),
        }
    }

    #[test]
    fn plain_http_needs_to_be_asked_for_and_to_be_meant() {
        let redfish = Redfish::new(AllowedNetworks::default(), BmcOptions::default());
        for (address, tls, ok) in [
            ("http://192.0.2.1", TlsTrust::PlainHttp, true),
            ("http://192.0.2.1", TlsTrust::NoVerification, false),
            ("https://192.0.2.1", TlsTrust::NoVerification, true),
            ("https://192.0.2.1", TlsTrust::PlainHttp, false),
            ("https://192.0.2.1/bmc/7", TlsTrust::NoVerification, false),
            ("https://a:b@192.0.2.1", TlsTrust::NoVerification, false),
            ("ftp://192.0.2.1", TlsTrust::PlainHttp, false),
        ] {
            let result = redfish.bmc(target(address, tls));
            assert_eq!(result.is_ok(), ok, "{address}: {result:?}");
        }
    }

    #[test]
    fn an_unusable_ca_bundle_is_found_before_anything_is_dialled() {
        let redfish = Redfish::new(AllowedNetworks::default(), BmcOptions::default());
        let error = redfish
            .bmc(target(
                "https://192.0.2.1",
                TlsTrust::CaBundle(String::new()),
            ))
            .unwrap_err();
        assert_eq!(error.category(), "Client");
    }

    #[test]
    fn targets_at_one_bmc_share_a_lane() {
        let redfish = Redfish::new(AllowedNetworks::default(), BmcOptions::default());
        let lane = redfish.shared.lane("https://a");
        for same in ["https://a", "http://a", "https://a.", "https://A:443"] {
            assert!(Arc::ptr_eq(&lane, &redfish.shared.lane(same)), "{same}");
        }
        assert!(!Arc::ptr_eq(&lane, &redfish.shared.lane("https://b")));
        drop(lane);
        redfish.shared.lane("https://c");
        assert_eq!(redfish.shared.lanes.lock().unwrap().len(), 1);
    }
}
