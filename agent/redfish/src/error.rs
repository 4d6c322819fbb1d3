//! What can go wrong, with what it means for the machine and what to do.
//!
//! Messages carry no credentials and no image URLs.

use std::time::Duration;

use crate::identity::IdentityMismatch;
use crate::target::SpkiPin;

/// A call to a BMC failed.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// The target itself makes no sense.
    #[error("the BMC address {address} cannot be used: {reason}")]
    InvalidTarget {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address lies outside the networks that may be dialled. Nothing was dialled.
    #[error("{address} ({resolved}) lies outside the networks that this agent may dial")]
    AddressNotAllowed {
        /// The address.
        address: String,
        /// What its host resolves to.
        resolved: String,
    },
    /// The address has a name that does not resolve.
    #[error("the host of {address} does not resolve: {reason}")]
    NameNotResolved {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// No connection came about.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The BMC did not prove itself in the TLS handshake.
    #[error("the certificate of {address} is refused: {reason}")]
    CertificateRefused {
        /// The address.
        address: String,
        /// Why.
        reason: String,
        /// The key it showed.
        observed: Option<SpkiPin>,
    },
    /// The BMC refused our credentials, now or often enough before.
    #[error("{address} refused the credentials {tries} times{}", if *.locked { "; they are not tried again" } else { "" })]
    CredentialsRefused {
        /// The address.
        address: String,
        /// Refusals of this value so far.
        tries: u8,
        /// Whether the value is locked out: no further try is made with it.
        locked: bool,
    },
    /// The account is good and may not do this.
    #[error("{address} denies access to {path}: {detail}")]
    AccessDenied {
        /// The address.
        address: String,
        /// The resource.
        path: String,
        /// What the BMC said.
        detail: String,
    },
    /// The BMC offers sessions and gave none.
    #[error("{address} opened no session (HTTP {status}): {detail}")]
    SessionRefused {
        /// The address.
        address: String,
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        detail: String,
    },
    /// Earlier calls to this BMC took all the time there was.
    #[error("{address} was busy with earlier calls until the deadline")]
    Busy {
        /// The address.
        address: String,
    },
    /// The agent had no memory left to take an answer with: other BMCs are read just now.
    #[error(
        "this agent is reading too much just now to take what {address} answered for {path}: {reason}"
    )]
    Crowded {
        /// The address.
        address: String,
        /// The resource.
        path: String,
        /// What is full.
        reason: String,
    },
    /// A read got no answer.
    #[error("{address} gave no answer for {path}: {reason}")]
    NoAnswer {
        /// The address.
        address: String,
        /// The resource.
        path: String,
        /// What happened instead.
        reason: String,
    },
    /// A read was answered with an error.
    #[error("{address} answered HTTP {status} for {path}: {detail}")]
    ReadFailed {
        /// The address.
        address: String,
        /// The resource.
        path: String,
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        detail: String,
    },
    /// A read was answered with something that is no Redfish resource.
    #[error("{address} answered {path} with something unusable: {reason}")]
    BadAnswer {
        /// The address.
        address: String,
        /// The resource.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The BMC serves no system that could be the one meant.
    #[error("{address} serves no system {wanted}; it serves {found}")]
    SystemNotFound {
        /// The address.
        address: String,
        /// What was looked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The BMC lists more systems than are read of one.
    #[error("{path} was not asked for: of the systems of {address} the first {most} are read")]
    TooManySystems {
        /// The address.
        address: String,
        /// The system.
        path: String,
        /// How many are read.
        most: usize,
    },
    /// The machine is not the one meant. Nothing was changed.
    #[error("the machine behind {address} is a stranger: {mismatch}")]
    Stranger {
        /// The address.
        address: String,
        /// What did not match.
        #[source]
        mismatch: IdentityMismatch,
    },
    /// The platform does not offer what is needed. Nothing was sent.
    #[error("{address} does not offer {what} at {path}; it offers {offered}")]
    NotOffered {
        /// The address.
        address: String,
        /// What was needed.
        what: String,
        /// The resource that would offer it.
        path: String,
        /// What it offers instead.
        offered: String,
    },
    /// The power state makes the action meaningless. Nothing was sent.
    #[error("{action} makes no sense on {address} while its power state is {state}")]
    WrongPowerState {
        /// The address.
        address: String,
        /// The action.
        action: &'static str,
        /// The state.
        state: String,
    },
    /// The boot stage lets nobody take the machine down, or cannot be told. Nothing was sent.
    #[error("{action} was not sent to {address}: {why}")]
    StageForbids {
        /// The address.
        address: String,
        /// The action.
        action: &'static str,
        /// The stage, or why there is none.
        why: String,
    },
    /// Every slot that could take the image holds other media. Nothing was sent.
    #[error("the virtual media slot {path} of {address} holds other media")]
    SlotOccupied {
        /// The address.
        address: String,
        /// A slot.
        path: String,
    },
    /// The BMC refused a change. Nothing was changed.
    #[error("{address} refused {verb} (HTTP {status}): {detail}")]
    Refused {
        /// The address.
        address: String,
        /// The change.
        verb: &'static str,
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        detail: String,
    },
    /// The BMC is busy with something else, or not ready yet. Nothing was changed, and it is no
    /// failure: the same may be asked for later.
    #[error("{address} is too busy for {verb}: {detail}")]
    UpdateBusy {
        /// The address.
        address: String,
        /// The change.
        verb: &'static str,
        /// What the BMC said.
        detail: String,
        /// How long it asked to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// A change was, or may have been, sent, and nothing tells what became of it.
    #[error("{address} may or may not have carried out {verb}: {reason}")]
    OutcomeUnknown {
        /// The address.
        address: String,
        /// The change.
        verb: &'static str,
        /// Why it is not known.
        reason: String,
    },
    /// This program cannot build its client.
    #[error("no client for {address}: {reason}")]
    Client {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}

/// What an error says about the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectCertainty {
    /// Certainly no effect.
    None,
    /// The effect may have happened, or may still happen: observe.
    Unknown,
}

impl BmcError {
    /// Whether the machine may have been changed.
    pub fn effect(&self) -> EffectCertainty {
        match self {
            Self::OutcomeUnknown { .. } => EffectCertainty::Unknown,
            Self::InvalidTarget { .. }
            | Self::AddressNotAllowed { .. }
            | Self::NameNotResolved { .. }
            | Self::Unreachable { .. }
            | Self::CertificateRefused { .. }
            | Self::CredentialsRefused { .. }
            | Self::AccessDenied { .. }
            | Self::SessionRefused { .. }
            | Self::Busy { .. }
            | Self::Crowded { .. }
            | Self::NoAnswer { .. }
            | Self::ReadFailed { .. }
            | Self::BadAnswer { .. }
            | Self::SystemNotFound { .. }
            | Self::TooManySystems { .. }
            | Self::Stranger { .. }
            | Self::NotOffered { .. }
            | Self::WrongPowerState { .. }
            | Self::StageForbids { .. }
            | Self::SlotOccupied { .. }
            | Self::Refused { .. }
            | Self::UpdateBusy { .. }
            | Self::Client { .. } => EffectCertainty::None,
        }
    }

    /// A word for conditions and metrics; the set is fixed.
    pub fn category(&self) -> &'static str {
        match self {
            Self::InvalidTarget { .. } => "InvalidTarget",
            Self::AddressNotAllowed { .. } => "AddressNotAllowed",
            Self::NameNotResolved { .. } => "NameNotResolved",
            Self::Unreachable { .. } => "Unreachable",
            Self::CertificateRefused { .. } => "CertificateRefused",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::SessionRefused { .. } => "SessionRefused",
            Self::Busy { .. } => "Busy",
            Self::Crowded { .. } => "AgentBusy",
            Self::NoAnswer { .. } => "NoAnswer",
            Self::ReadFailed { .. } => "ReadFailed",
            Self::BadAnswer { .. } => "BadAnswer",
            Self::SystemNotFound { .. } => "SystemNotFound",
            Self::TooManySystems { .. } => "TooManySystems",
            Self::Stranger { .. } => "IdentityMismatch",
            Self::NotOffered { .. } => "NotOffered",
            Self::WrongPowerState { .. } => "WrongPowerState",
            Self::StageForbids { .. } => "StageForbids",
            Self::SlotOccupied { .. } => "SlotOccupied",
            Self::Refused { .. } => "Refused",
            Self::UpdateBusy { .. } => "UpdateBusy",
            Self::OutcomeUnknown { .. } => "OutcomeUnknown",
            Self::Client { .. } => "Client",
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::InvalidTarget { .. } => {
                "Give the address as https://HOST[:PORT] without a path or user name; http:// needs the trust PlainHttp."
            }
            Self::AddressNotAllowed { .. } => {
                "Correct the address, or add its network to the site agent's allowed BMC networks."
            }
            Self::NameNotResolved { .. } => {
                "Correct the host name, or make it resolve where the site agent runs."
            }
            Self::Unreachable { .. } => {
                "Check that the BMC has power, that the address and port are right, and that the site agent can route to it."
            }
            Self::CertificateRefused { .. } => {
                "Compare the reported key pin with the BMC's own; if it is right, pin it or give the CA that signed the certificate."
            }
            Self::CredentialsRefused { .. } => {
                "Correct the credentials Secret, or the account at the BMC; whenever the Secret is written, be it only an annotation, its credentials are tried twice more."
            }
            Self::AccessDenied { .. } => {
                "Give the account the role that the resource needs, and change its password if the BMC demands that first."
            }
            Self::SessionRefused { .. } => {
                "Free sessions on the BMC, or wait until they expire; the agent asks again by itself."
            }
            Self::Busy { .. } => "Wait; the agent asks again by itself.",
            Self::Crowded { .. } => {
                "Nothing is wrong with this machine, and the agent asks again by itself; if this lasts, see which BMCs stall while they are read, and spread the machines over more sites."
            }
            Self::NoAnswer { .. } | Self::ReadFailed { .. } => {
                "The agent asks again by itself; if this lasts, look at the BMC's own log and reset the BMC."
            }
            Self::BadAnswer { .. } => {
                "Check that the address is a Redfish service and not a proxy or web interface; update the BMC's firmware."
            }
            Self::TooManySystems { .. } => {
                "Write the objects of those machines by hand, with bmc.systemPath."
            }
            Self::SystemNotFound { .. } => {
                "Correct systemPath or the expected system UUID to one of the systems that the BMC serves."
            }
            Self::Stranger { .. } => {
                "Check that the address belongs to this machine; correct the address, or the expected identity after a replacement."
            }
            Self::NotOffered { .. } => {
                "Use another method that this platform offers, or update the BMC's firmware."
            }
            Self::WrongPowerState { .. } => "Bring the machine to the other power state first.",
            Self::StageForbids { .. } => {
                "Wait until the stage has ended; the stage is read again before the next try."
            }
            Self::SlotOccupied { .. } => {
                "Eject the media that somebody else inserted, then let the agent try again."
            }
            Self::Refused { .. } => {
                "Read the BMC's explanation; correct what it names, or use another method."
            }
            Self::UpdateBusy { .. } => {
                "Wait until what runs on the BMC has ended; if that never happens, look at its tasks and reset the BMC."
            }
            Self::OutcomeUnknown { .. } => {
                "Nothing is sent again before observation shows that the effect neither happened nor is pending."
            }
            Self::Client { .. } => "Correct the CA bundle or the process's environment.",
        }
    }
}
