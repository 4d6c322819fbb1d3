//! CRDs as YAML: for `kubectl apply -k crds`, and as templates of their own chart.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{HEADER, not_a_template};

/// The manifest as `crds/` holds it.
pub(super) fn manifest(crd: &CustomResourceDefinition) -> Result<String> {
    let kind = &crd.spec.names.kind;
    let yaml =
        serde_yaml::to_string(crd).with_context(|| format!("cannot write {kind} as YAML"))?;
    let yaml = quote_old_booleans(&yaml);
    let read: CustomResourceDefinition =
        serde_yaml::from_str(&yaml).with_context(|| format!("cannot read {kind} back"))?;
    ensure!(
        read == *crd,
        "quoting changed {kind}: a line of a description ends in a word that YAML 1.1 takes for a boolean"
    );
    Ok(format!("{HEADER}{yaml}"))
}

/// Quotes the words that kubectl and Helm, which read YAML 1.1, would take for booleans: values, and
/// names of fields, of which they would make a field called `true`.
fn quote_old_booleans(yaml: &str) -> String {
    const WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let mut quoted = String::with_capacity(yaml.len());
    let is_word = |text: &str| WORDS.contains(&&*text.to_lowercase());
    for line in yaml.lines() {
        let name = line.trim_start();
        match line.rsplit_once(' ') {
            Some((before, _)) if name.strip_suffix(':').is_some_and(is_word) => {
                quoted.push_str(&format!("{before} '{}':", name.trim_end_matches(':')));
            }
            Some((before, word)) if before.ends_with(['-', ':']) && is_word(word) => {
                quoted.push_str(&format!("{before} '{word}'"));
            }
            Some(_) | None => quoted.push_str(line),
        }
        quoted.push('\n');
    }
    quoted
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_old_parsers_take_for_booleans_are_quoted() {
        let yaml = "enum:\n- Yes\n- No\n- Unknown\ndefault: off\nx: 'on'\ntext: say yes\nb: true\n  on:\n    type: boolean\n  one:\n";
        let wanted = "enum:\n- 'Yes'\n- 'No'\n- Unknown\ndefault: 'off'\nx: 'on'\ntext: say yes\nb: true\n  'on':\n    type: boolean\n  one:\n";
        assert_eq!(quote_old_booleans(yaml), wanted);
    }
}
