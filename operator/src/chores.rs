//! What a join asks to be written, one chore for each object, and how each is done.
//!
//! Every chore is done to the very object that it was meant for. What has changed in between is
//! looked at again by the next pass.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use lockstep_crds::{
    DISCOVERED_ADDRESS, Dpu, DpuHost, DpuHostStatus, DpuInventory, FINALIZER, PROPOSED_LABEL,
    PROPOSED_SPEC,
};
use lockstep_planner::decision::Transition;
use lockstep_planner::inventory::{Approval, Move, Plugged, Proposal, Subject};
use serde_json::{Value, json};

use crate::joins::Joined;
use crate::key::Key;
use crate::world::World;
use crate::writes::{Cause, Ours, WriteError, Writes};

/// Something to be written.
#[derive(Clone, Debug)]
pub(crate) enum Chore {
    /// A card is proposed.
    ProposeCard(Box<Dpu>),
    /// A host is proposed.
    ProposeHost(Box<DpuHost>),
    /// A proposed card gives way.
    WithdrawCard(Arc<Dpu>, String),
    /// A proposed host gives way.
    WithdrawHost(Arc<DpuHost>, String),
    /// The BMC of a proposed card has another address.
    MoveCard(Arc<Dpu>, Move),
    /// The BMC of a proposed host has another address.
    MoveHost(Arc<DpuHost>, Move),
    /// A policy approves a proposed card.
    Approve(Arc<Dpu>, Approval),
    /// A person has taken up a proposed card.
    LeaveCard(Arc<Dpu>),
    /// A person has taken up a proposed host.
    LeaveHost(Arc<DpuHost>),
    /// The inventory of a card is told for the first time.
    Tell(Box<DpuInventory>),
    /// The inventory of a card has changed.
    Retell(Arc<DpuInventory>, Value),
    /// The same, and this befell the card in its host.
    RetellPlugged(Arc<DpuInventory>, Value, Arc<Dpu>, Vec<Plugged>),
}

impl Chore {
    /// What it is, the same for the same chore of a later pass.
    pub(crate) fn what(&self) -> String {
        let (what, name) = match self {
            Self::ProposeCard(dpu) => ("propose dpu", dpu.name_any()),
            Self::ProposeHost(host) => ("propose dpuhost", host.name_any()),
            Self::WithdrawCard(dpu, _) => ("withdraw dpu", dpu.name_any()),
            Self::WithdrawHost(host, _) => ("withdraw dpuhost", host.name_any()),
            Self::MoveCard(dpu, _) => ("move dpu", dpu.name_any()),
            Self::MoveHost(host, _) => ("move dpuhost", host.name_any()),
            Self::Approve(dpu, _) => ("approve dpu", dpu.name_any()),
            Self::LeaveCard(dpu) => ("leave dpu", dpu.name_any()),
            Self::LeaveHost(host) => ("leave dpuhost", host.name_any()),
            Self::Tell(inventory) => ("tell dpuinventory", inventory.name_any()),
            Self::Retell(inventory, _) | Self::RetellPlugged(inventory, ..) => {
                ("retell dpuinventory", inventory.name_any())
            }
        };
        format!("{what}/{name}")
    }
}

/// Whether discovery has made this object.
pub(crate) fn is_proposed<K: Resource>(object: &K) -> bool {
    object.labels().contains_key(PROPOSED_LABEL)
}

/// Whether a proposed card may give way: nobody has approved it, and nothing was begun for it.
fn may_go(world: &World, dpu: &Dpu) -> bool {
    let protected = dpu.finalizers().iter().any(|name| name == FINALIZER);
    let recorded = dpu.spec.host_refs.first().is_some_and(|host| {
        let key = Key::of(dpu).sibling(&host.name);
        let status = world.hosts.get(&key).and_then(|host| host.status.as_ref());
        let mut cards = status.into_iter().flat_map(|status| &status.cards);
        cards.any(|kept| Some(&kept.uid) == dpu.metadata.uid.as_ref())
    });
    is_proposed(dpu) && !dpu.spec.approved && !protected && !recorded
}

/// Whether a proposed host may give way: nothing was begun for it, and no card counts on it
/// that is more than a proposal itself.
fn may_host_go(world: &World, host: &DpuHost) -> bool {
    let key = Key::of(host);
    let protected = host.finalizers().iter().any(|name| name == FINALIZER);
    let mut cards = world.cards_of(&key);
    let is_proposal = |card: &Key| {
        let dpu = world.cards.get(card);
        dpu.is_some_and(|dpu| is_proposed(dpu) && !dpu.spec.approved)
    };
    is_proposed(host)
        && !protected
        && host.status.as_ref().is_none_or(nothing_begun)
        && cards.all(is_proposal)
}

/// Whether nothing is under way at a host, and nothing recorded of its cards.
pub(crate) fn nothing_begun(status: &DpuHostStatus) -> bool {
    status.hold.is_none() && status.directives.is_empty() && status.cards.is_empty()
}

/// What the join asks of cards and hosts of a namespace, hosts first: cards name them.
pub(crate) fn of_discovery(world: &World, namespace: &str, joined: &Joined) -> Vec<Chore> {
    let join = &joined.join;
    let card = |name: &str, uid: &str| {
        let dpu = joined.cards.get(name)?;
        (dpu.metadata.uid.as_deref() == Some(uid)).then(|| Arc::clone(dpu))
    };
    let host = |name: &str, uid: &str| {
        let host = joined.hosts.get(name)?;
        (host.metadata.uid.as_deref() == Some(uid)).then(|| Arc::clone(host))
    };
    let withdrawals = join.withdrawals.iter().filter_map(|gives_way| {
        let (name, uid) = (&gives_way.name, &gives_way.uid);
        let why = gives_way.why.clone();
        match gives_way.subject {
            Subject::Card => {
                let dpu = card(name, uid).filter(|dpu| may_go(world, dpu))?;
                Some(Chore::WithdrawCard(dpu, why))
            }
            Subject::Host => {
                let host = host(name, uid).filter(|host| may_host_go(world, host))?;
                Some(Chore::WithdrawHost(host, why))
            }
        }
    });
    let moves = join.moves.iter().filter_map(|moved| {
        let (name, uid) = (&moved.name, &moved.uid);
        match moved.subject {
            Subject::Card => {
                let dpu = card(name, uid).filter(|dpu| is_proposed(dpu.as_ref()))?;
                let has_bmc = dpu.spec.bmc.is_some();
                has_bmc.then(|| Chore::MoveCard(dpu, moved.clone()))
            }
            Subject::Host => {
                let host = host(name, uid).filter(|host| is_proposed(host.as_ref()))?;
                let has_bmc = host.spec.bmc.is_some();
                has_bmc.then(|| Chore::MoveHost(host, moved.clone()))
            }
        }
    });
    let approvals = join.approvals.iter().filter_map(|approval| {
        let dpu = card(&approval.name, &approval.uid)?;
        let open = is_proposed(dpu.as_ref()) && !dpu.spec.approved;
        open.then(|| Chore::Approve(dpu, approval.clone()))
    });
    let taken_up = join.taken_up.iter().filter_map(|taken| {
        let (name, uid) = (&taken.name, &taken.uid);
        match taken.subject {
            Subject::Card => card(name, uid).map(Chore::LeaveCard),
            Subject::Host => host(name, uid).map(Chore::LeaveHost),
        }
    });
    let mut proposals: Vec<Chore> = join
        .proposals
        .iter()
        .cloned()
        .map(|proposal| match proposal {
            Proposal::Card(mut dpu) => {
                dpu.metadata.namespace = Some(namespace.to_owned());
                Chore::ProposeCard(dpu)
            }
            Proposal::Host(mut host) => {
                host.metadata.namespace = Some(namespace.to_owned());
                Chore::ProposeHost(host)
            }
        })
        .collect();
    proposals.sort_by_key(|chore| matches!(chore, Chore::ProposeCard(_)));
    withdrawals
        .chain(moves)
        .chain(proposals)
        .chain(approvals)
        .chain(taken_up)
        .collect()
}

/// Does a chore, and tells people of it.
///
/// # Errors
/// If the write did not go through.
pub(crate) async fn carry_out(writes: &Writes, chore: Chore) -> Result<(), WriteError> {
    match chore {
        Chore::ProposeCard(mut dpu) => {
            // Whatever else it says: what nobody has looked at is not approved.
            dpu.spec.approved = false;
            let made = writes.create(&*dpu, Cause::Discover).await?;
            tell(writes, &made, "Proposed", "found, and proposed unapproved").await;
        }
        Chore::ProposeHost(host) => {
            let made = writes.create(&*host, Cause::Discover).await?;
            tell(writes, &made, "Proposed", "found, and proposed").await;
        }
        Chore::WithdrawCard(dpu, why) => withdraw(writes, dpu.as_ref(), &why).await?,
        Chore::WithdrawHost(host, why) => withdraw(writes, host.as_ref(), &why).await?,
        Chore::MoveCard(dpu, moved) => follow(writes, dpu.as_ref(), &moved).await?,
        Chore::MoveHost(host, moved) => follow(writes, host.as_ref(), &moved).await?,
        Chore::Approve(dpu, approval) => {
            // The join approves only what nobody but the operator has written.
            let change = json!({
                "metadata": {"annotations": {PROPOSED_SPEC: approval.mark}},
                "spec": {"approved": true},
            });
            let after = writes.change(dpu.as_ref(), &change, Cause::Approve).await?;
            tell(writes, &after, "Approved", &approval.why).await;
        }
        Chore::LeaveCard(dpu) => leave(writes, dpu.as_ref()).await?,
        Chore::LeaveHost(host) => leave(writes, host.as_ref()).await?,
        Chore::Tell(inventory) => {
            writes.create(&*inventory, Cause::Inventory).await?;
        }
        Chore::Retell(inventory, change) => {
            let inventory = inventory.as_ref();
            writes.change(inventory, &change, Cause::Inventory).await?;
        }
        Chore::RetellPlugged(inventory, change, dpu, befell) => {
            let inventory = inventory.as_ref();
            // First what it is compared with: one that is told twice would be worse than lost.
            writes.change(inventory, &change, Cause::Inventory).await?;
            for plugged in befell {
                let told = Transition {
                    card: None,
                    reason: plugged.reason.to_owned(),
                    message: plugged.message,
                    warning: plugged.unplanned,
                };
                tell_of(writes, dpu.as_ref(), &told).await;
            }
        }
    }
    Ok(())
}

async fn withdraw<K: Ours>(writes: &Writes, object: &K, why: &str) -> Result<(), WriteError> {
    writes.delete(object, Cause::Discover).await?;
    tell(writes, object, "Withdrawn", why).await;
    Ok(())
}

async fn follow<K: Ours>(writes: &Writes, object: &K, moved: &Move) -> Result<(), WriteError> {
    let to = &moved.address;
    let change = json!({
        "metadata": {"annotations": {DISCOVERED_ADDRESS: to, PROPOSED_SPEC: moved.mark}},
        "spec": {"bmc": {"address": to}},
    });
    let after = writes.change(object, &change, Cause::Discover).await?;
    let message = format!("its BMC answers at {to} now");
    tell(writes, &after, "BmcMoved", &message).await;
    Ok(())
}

/// Takes away the mark of what the operator has written, which a person has changed.
async fn leave<K: Ours>(writes: &Writes, object: &K) -> Result<(), WriteError> {
    let change = json!({"metadata": {"annotations": {PROPOSED_SPEC: null}}});
    writes.change(object, &change, Cause::Discover).await?;
    let (kind, key) = (K::kind(&()), Key::of(object));
    tracing::info!(%kind, %key, "a person has changed this proposal: it is theirs");
    Ok(())
}

async fn tell<K: Ours>(writes: &Writes, object: &K, reason: &str, message: &str) {
    let told = Transition {
        card: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
        warning: false,
    };
    tell_of(writes, object, &told).await;
}

async fn tell_of<K: Ours>(writes: &Writes, object: &K, told: &Transition) {
    let key = Key::of(object);
    let (reason, message) = (told.reason.as_str(), told.message.as_str());
    tracing::info!(kind = %K::kind(&()), %key, reason, message, "discovery");
    writes.event(&object.object_ref(&()), told).await;
}
