//! ComponentIntegrity: which roots of trust there are. Their measurements are
//! not simulated, so the action for them is not offered.

use serde_json::json;

use super::{Node, ROOT, View, collection, healthy, kind};

pub(super) fn find(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/ComponentIntegrity");
    let roots = view.personality.offers.integrity;
    match rest {
        [] => {
            let ids: Vec<String> = roots.iter().map(|id| (*id).to_owned()).collect();
            Some(collection(
                "ComponentIntegrity",
                "Component Integrity",
                &path,
                &ids,
            ))
        }
        [id] => {
            let id = roots.iter().find(|one| *one == id)?;
            let chassis = view.personality.ids.chassis;
            let target = match chassis.iter().find(|(one, _)| one == id) {
                Some((chassis, _)) => format!("{ROOT}/Chassis/{chassis}"),
                None => view.system(),
            };
            Some(Node::read(json!({
                "@odata.id": format!("{path}/{id}"),
                "@odata.type": kind("ComponentIntegrity"),
                "Id": id,
                "Name": format!("Integrity of {id}"),
                "ComponentIntegrityType": "SPDM",
                "ComponentIntegrityTypeVersion": "1.1.0",
                "ComponentIntegrityEnabled": true,
                "TargetComponentURI": target,
                "Status": healthy(),
            })))
        }
        _ => None,
    }
}
