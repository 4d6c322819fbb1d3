//! Slot power: a card that lives on its host's power.
//!
//! Watches the processes, so it also sees what a guest does by itself. It acts within a second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::hypervisor::{Hypervisor, is_on};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One card on one host's power, until dropped.
#[derive(Debug)]
pub(crate) struct Coupling(AbortHandle);

impl Coupling {
    pub(crate) fn enforce(
        hypervisor: Arc<Hypervisor>,
        state: PathBuf,
        card: String,
        host: String,
    ) -> Self {
        let enforce = async move {
            let mut host_was_on = is_on(&state, &host);
            let mut look = tokio::time::interval(LOOK_AGAIN);
            loop {
                look.tick().await;
                let host_on = is_on(&state, &host);
                let card_on = is_on(&state, &card);
                let done = if card_on && !host_on {
                    // Cut while it is being started, the BMC would answer with an error; a card
                    // accepts the request and has no power all the same.
                    match hypervisor.runs(&card).await {
                        Ok(true) => {
                            tracing::info!(card, host, "no slot power: card off");
                            hypervisor.cut_power(&card).await
                        }
                        Ok(false) => Ok(()),
                        Err(error) => Err(error),
                    }
                } else if host_on && !host_was_on && !card_on {
                    tracing::info!(card, host, "slot power: card on");
                    hypervisor.power_on(&card).await
                } else {
                    Ok(())
                };
                match done {
                    Ok(()) => host_was_on = host_on,
                    // Looked at again next time: the BMC may have acted on the same VM.
                    Err(error) => tracing::warn!(%error, card, "slot power not applied"),
                }
            }
        };
        Self(tokio::spawn(enforce).abort_handle())
    }
}

impl Drop for Coupling {
    fn drop(&mut self) {
        self.0.abort();
    }
}
