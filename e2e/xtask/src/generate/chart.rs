//! What the chart takes over from `config/`: admission policies and roles, with the
//! namespace of the release in place of `lockstep-system`. The operator makes the same
//! replacement before it compares its guards with the cluster's.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{Files, HEADER, names, not_a_template};

/// The operator's namespace in `config/`.
const NAMESPACE: &str = "lockstep-system";

/// Source folder, and what its files are called in the chart.
const SOURCES: &[(&str, &str)] = &[
    ("config/admission", "admission-"),
    ("config/rbac", "rbac-"),
    ("config/uninstall", "uninstall-"),
];

/// The chart's copies of the manifests in `config/`.
pub(super) fn copies(root: &Path) -> Result<Files> {
    let mut files = Files::new();
    for (folder, prefix) in SOURCES {
        for name in names(&root.join(folder))? {
            if !name.ends_with(".yaml") || name == "kustomization.yaml" {
                continue;
            }
            let source = Path::new(folder).join(&name);
            let text = fs::read_to_string(root.join(&source))
                .with_context(|| format!("cannot read {}", source.display()))?;
            let text = not_a_template(text, &source.display().to_string())?;
            let text = of_the_release(&text);
            let from = format!("# Source: {}\n", source.display());
            files.insert(
                Path::new("charts/lockstep/templates").join(format!("{prefix}{name}")),
                format!("{HEADER}{from}{text}"),
            );
        }
    }
    Ok(files)
}

/// The namespace of the release in place of the operator's. Where it is a whole value it is
/// quoted: a name of digits alone would be a number.
fn of_the_release(text: &str) -> String {
    text.replace(
        &format!("namespace: {NAMESPACE}\n"),
        "namespace: {{ .Release.Namespace | quote }}\n",
    )
    .replace(NAMESPACE, "{{ .Release.Namespace }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_digits_stays_a_text() {
        let text = "namespace: lockstep-system\nname: 'of:lockstep-system:x'\n";
        assert_eq!(
            of_the_release(text),
            "namespace: {{ .Release.Namespace | quote }}\nname: 'of:{{ .Release.Namespace }}:x'\n"
        );
    }
}
