//! What is known of the component that an image requires, by the joined inventory of a card.

use lockstep_crds::ComponentRequirement;
use lockstep_crds::dpu_inventory::{DpuInventorySpec, Sourced};

use super::conflicts::{MOST_CONFLICTS, cut};
use super::groups::{BMC_VERSION, field_of};
use super::vendors::plain;
use super::{JoinedCard, Teller};
use crate::view::{ComponentSeen, LeaseSeen, Required};

/// Longest field of a conflict.
const LONGEST_FIELD: usize = 64;

/// The name under which the BMC of any card can be required.
const BMC: &str = "bmc";

/// What is seen of a required component; `agent` tells the Lease of whoever wrote a report, if
/// what that is about answers.
pub fn required(
    joined: &JoinedCard,
    requirement: &ComponentRequirement,
    agent: impl Fn(&str) -> Option<LeaseSeen>,
) -> Required {
    let inventory = &joined.inventory;
    let mut seen: Vec<ComponentSeen> = Vec::new();
    if let Some(firmware) = &inventory.firmware {
        let wanted = plain(&requirement.component);
        let named = firmware.facts.components.iter();
        for component in named.filter(|one| plain(&one.name) == wanted) {
            let teller = teller(joined, &field_of(&component.name), firmware);
            seen.push(ComponentSeen {
                name: component.name.clone(),
                running: component.running.clone(),
                pending: component.pending.clone(),
                agent: agent(&teller.report),
                inspected: joined.inspected.get(&teller.report).cloned(),
                from: teller.from,
                report: teller.report,
            });
        }
    }
    if let Some(bmc) = &inventory.bmc
        && seen.is_empty()
        && plain(&requirement.component) == BMC
    {
        let teller = teller(joined, BMC_VERSION, bmc);
        seen.push(ComponentSeen {
            name: BMC_VERSION.to_owned(),
            running: bmc.facts.firmware_version.clone(),
            pending: None,
            agent: agent(&teller.report),
            inspected: joined.inspected.get(&teller.report).cloned(),
            from: teller.from,
            report: teller.report,
        });
    }
    Required {
        contradicted: contradicted(inventory, &requirement.component),
        requirement: requirement.clone(),
        seen,
    }
}

fn teller<T>(joined: &JoinedCard, field: &str, group: &Sourced<T>) -> Teller {
    let other = joined.tellers.get(field).cloned();
    other.unwrap_or_else(|| Teller {
        from: group.from.clone(),
        report: group.report.clone(),
    })
}

/// Who says what of that component, if they do not agree.
fn contradicted(inventory: &DpuInventorySpec, component: &str) -> Option<String> {
    let field = plain(&cut(&field_of(component), LONGEST_FIELD));
    let is_of_bmc = plain(component) == BMC;
    let conflict = inventory
        .conflicts
        .iter()
        .find(|one| plain(&one.field) == field || (is_of_bmc && one.field == BMC_VERSION));
    if let Some(conflict) = conflict {
        let said = conflict
            .said
            .iter()
            .map(|said| format!("{} says {}", said.report, said.value));
        return Some(said.collect::<Vec<_>>().join(", "));
    }
    (inventory.conflicts.len() >= MOST_CONFLICTS)
        .then(|| "there are more contradictions about this card than are told".to_owned())
}
