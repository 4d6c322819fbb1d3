//! The admission guards as this release wants them, embedded at build time.

/// `config/admission`, one manifest a file.
pub const GUARDS: &[&str] = &[
    include_str!("../../config/admission/agent-leases.yaml"),
    include_str!("../../config/admission/approvals.yaml"),
    include_str!("../../config/admission/image-trust.yaml"),
    include_str!("../../config/admission/inventory-writers.yaml"),
    include_str!("../../config/admission/proposals.yaml"),
    include_str!("../../config/admission/report-writers.yaml"),
    include_str!("../../config/admission/status-writers.yaml"),
    include_str!("../../config/admission/xpu-identities.yaml"),
];

/// The namespace that the manifests speak of.
const NAMESPACE: &str = "lockstep-system";

/// The guards of an operator that runs in `namespace`: they name it, for what
/// its ServiceAccount may do.
pub fn guards_for(namespace: &str) -> Vec<String> {
    GUARDS
        .iter()
        .map(|manifest| manifest.replace(NAMESPACE, namespace))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::CustomResourceExt;
    use lockstep_crds::{Dpu, DpuHost};
    use serde_json::{Value, json};

    /// A field that the policy does not name is one that the operator could change unseen.
    #[test]
    fn the_policy_of_proposals_names_every_field() {
        let manifest = include_str!("../../config/admission/proposals.yaml");
        let (cards, hosts) =
            manifest.split_at(manifest.find("lockstep-proposed-dpuhosts").unwrap());
        let free = ["bmc", "approved"];
        for (crd, text) in [(Dpu::crd(), cards), (DpuHost::crd(), hosts)] {
            let crd = json!(crd);
            let spec =
                &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            let fields = |of: &Value, path: &str| -> Vec<String> {
                let names = of["properties"].as_object().unwrap().keys();
                names.map(|name| format!("{path}.?{name}")).collect()
            };
            let named = |field: &String| text.contains(&format!("object.spec{field} == oldObject"));
            let mut missing: Vec<String> = fields(spec, "")
                .into_iter()
                .filter(|field| !free.iter().any(|free| field == &format!(".?{free}")))
                .chain(fields(&spec["properties"]["bmc"], ".?bmc"))
                .filter(|field| !named(field))
                .collect();
            missing.retain(|field| field != ".?bmc.?address");
            assert!(missing.is_empty(), "{missing:?}");
        }
    }
    use crate::guards::Guards;

    #[test]
    fn every_manifest_of_the_folder_is_embedded_and_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/admission");
        let listed = std::fs::read_dir(folder).unwrap().filter_map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name.ends_with(".yaml") && name != "kustomization.yaml").then_some(path)
        });
        let listed: Vec<String> = listed
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(
            listed.len(),
            GUARDS.len(),
            "a manifest is missing from GUARDS"
        );
        assert!(
            listed
                .iter()
                .all(|manifest| GUARDS.contains(&manifest.as_str()))
        );
        let wanted = Guards::parse(GUARDS).unwrap();
        assert!(!wanted.intact() && wanted.broken().len() >= 2 * GUARDS.len() - 1);
    }
}
