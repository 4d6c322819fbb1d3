//! Finding out what a BMC is and what it stands for, without changing anything.
//!
//! Two verbs, in this order: [`Explorer::identify`] reads the service root and shows no
//! credential to anybody; [`Explorer::explore`] logs in and reads everything that a machine is
//! made of. Neither changes a password, a setting or a power state on the way.

mod bmc;
mod boot;
mod cards;
mod compute;
mod disks;
pub(crate) mod firmware;
mod machine;
mod ports;
mod recognise;
mod record;
mod system;
mod verbs;
mod walk;

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use lockstep_crds::inventory::Inventory;
use lockstep_crds::report::{BmcReport, MachineRole};
use url::Url;

pub use walk::MOST_REQUESTS;

use system::System;

use crate::error::BmcError;
use crate::facts::{Service, SystemIdentity};
use crate::target::{Credentials, SpkiPin, TlsTrust};

/// Where a BMC may be, and how it would prove itself.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Base URL of the Redfish service, without a path.
    pub address: Url,
    /// How the BMC proves itself on the wire.
    pub tls: TlsTrust,
}

/// What a service root tells to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The address that was checked and dialled.
    pub remote: SocketAddr,
    /// Key of the certificate that was shown, verified or not; `None` without TLS.
    pub tls_pin: Option<SpkiPin>,
    /// What it tells of the service.
    pub service: Service,
    /// `Vendor`.
    pub vendor: Option<String>,
    /// `Product`, else `Name`.
    pub product: Option<String>,
}

/// One machine behind a BMC.
#[derive(Clone, Debug, PartialEq)]
pub struct ExploredSystem {
    /// What it is.
    pub role: MachineRole,
    /// What tells so, for people.
    pub recognised_by: String,
    /// What identifies it.
    pub identity: SystemIdentity,
    /// Path of its ComputerSystem, if the BMC serves several.
    pub system_path: Option<String>,
    /// Its hot facts. Nothing is told of what one look cannot know: since when the power state
    /// is what it is, and whether an inserted medium is ours; every medium is a stranger's.
    pub bmc: BmcReport,
    /// What it is made of and can do.
    pub inventory: Inventory,
}

/// What is behind one BMC.
#[derive(Debug, Default)]
pub struct Explored {
    /// The machines that were read; none where the BMC says that it has none.
    pub systems: Vec<ExploredSystem>,
    /// What the BMC lists as well, and what could not be read this time: nothing is known of it.
    pub unread: Vec<UnreadSystem>,
}

/// A system that a BMC lists and that could not be read.
#[derive(Debug)]
pub struct UnreadSystem {
    /// Its path in the list.
    pub path: String,
    /// What kept it from being read.
    pub why: BmcError,
}

/// Reads what is behind endpoints. Calls to one endpoint queue up; each has a deadline.
#[async_trait]
pub trait Explorer: Send + Sync + fmt::Debug {
    /// Reads the service root, in one try. Nothing that could be a credential is sent, also where
    /// the BMC asks for one: that is [`BmcError::AccessDenied`], and somebody must say that this
    /// endpoint is a BMC before it is shown a credential.
    ///
    /// # Errors
    /// What kept it from being read; [`BmcError::BadAnswer`] for what is no Redfish service.
    async fn identify(&self, endpoint: &Endpoint) -> Result<Identified, BmcError>;

    /// Logs in, reads everything, logs out. But for the ComputerSystems themselves that takes at
    /// most [`MOST_REQUESTS`] reads.
    ///
    /// # Errors
    /// What kept every ComputerSystem from being read, or the list of them. One of several that cannot be read is told
    /// in [`Explored::unread`] instead, and a part of one in [`Inventory::unread`].
    async fn explore(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Explored, BmcError>;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::recognise::recognise;
    use super::system::System;
    use super::walk::Missing;

    /// A system of that document, with nothing around it.
    pub(super) fn system(document: Value) -> System {
        let recognised = recognise(&json!({}), &document, &[]);
        System {
            path: "/redfish/v1/Systems/1".to_owned(),
            role: recognised.role,
            by: recognised.by,
            vendor: recognised.vendor,
            chassis: Vec::new(),
            manager: None,
            no_manager: Missing::Absent,
            document: document.into(),
        }
    }
}
