//! CRDs as YAML: for `kubectl apply -k crds`, and as templates of their own chart.

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{HEADER, not_a_template};

/// The manifest as `crds/` holds it.
pub(super) fn manifest(crd: &CustomResourceDefinition) -> Result<String> {
    let yaml = serde_yaml::to_string(crd)
        .with_context(|| format!("cannot write {} as YAML", crd.spec.names.kind))?;
    Ok(format!("{HEADER}{yaml}"))
}

/// What makes `crds/` a base that others can build on.
pub(super) fn kustomization(crds: &[CustomResourceDefinition]) -> String {
    let mut text = format!(
        "{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    );
    for crd in crds {
        text.push_str(&format!("  - {}.yaml\n", crd.spec.names.plural));
    }
    text
}

/// The manifest as a Helm template. Objects outlive the release: Helm leaves the CRD
/// in place on uninstall, for deleting it would delete every object of its kind.
pub(super) fn chart_template(crd: &CustomResourceDefinition) -> Result<String> {
    let mut crd = crd.clone();
    crd.metadata
        .annotations
        .get_or_insert_default()
        .insert("helm.sh/resource-policy".into(), "keep".into());
    let kind = crd.spec.names.kind.clone();
    not_a_template(manifest(&crd)?, &kind)
}
