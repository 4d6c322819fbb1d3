//! The admission guards as this release wants them, embedded at build time.

/// `config/admission`, one manifest a file.
pub const GUARDS: &[&str] = &[
    include_str!("../../config/admission/agent-leases.yaml"),
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
