//! What is looked at on this machine just before a push.

use anyhow::Result;
use lockstep_crds::directive::Directive;
use lockstep_crds::{DpuHost, MachineIdentity};
use lockstep_local::pci::Card;
use lockstep_local::rshim::{Settings, parse_misc};
use lockstep_local::{Fact, LocalFacts, pci};
use lockstep_rshim::Rshim;

use super::act::within;
use super::judge::{self, Seen};
use super::{MACHINE_PATIENCE, Pusher};
use crate::host::machine;
use crate::site::judge::Refusal;

/// What the machine tells just before a push.
struct Look {
    rshim: Rshim,
    settings: Settings,
    cards: Vec<Card>,
    machine: MachineIdentity,
}

impl Pusher {
    /// Whether the push may go on, by what is seen now.
    pub(super) async fn check(
        &self,
        directive: &Directive,
        host: &DpuHost,
    ) -> Result<Result<(u8, Rshim), Refusal>> {
        let look = match self.look(directive).await {
            Ok(look) => look,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let bmc = self.orders.card_bmc(&directive.target.name).await?;
        let seen = Seen {
            host,
            machine: &look.machine,
            cards: &look.cards,
            settings: &look.settings,
            bmc: bmc.as_ref(),
        };
        Ok(judge::check(directive, seen).map(|generation| (generation, look.rshim)))
    }

    async fn look(&self, directive: &Directive) -> Result<Look, Refusal> {
        let name = directive
            .expects
            .rshim
            .as_ref()
            .map(|rshim| rshim.name.clone());
        let root = self.root.clone();
        let unread = |why: String| {
            Refusal::new(
                "RshimUnusable",
                format!(
                    "{why}; the rshim driver must run on this host, and this agent see /dev (access: Install)"
                ),
            )
        };
        let name = name.unwrap_or_default();
        let rshim = Rshim::new(root.path(), &name).map_err(|error| unread(error.to_string()))?;
        let looked = within(MACHINE_PATIENCE, move || {
            let misc = rshim
                .misc()
                .map_err(|error| format!("{}: {error}", rshim.name()))?;
            let functions = match pci::functions(&root) {
                Fact::Known(all) => all.found,
                Fact::NotOffered => return Err("no PCI".to_owned()),
                Fact::NotRead(why) => return Err(why),
            };
            Ok(Look {
                settings: parse_misc(&misc),
                cards: pci::cards(&root, &functions),
                machine: machine(&LocalFacts::read(&root)).unwrap_or_default(),
                rshim,
            })
        });
        match looked.await {
            Some(Ok(look)) => Ok(look),
            Some(Err(why)) => Err(unread(why)),
            None => Err(unread(format!("{name} does not answer"))),
        }
    }
}
