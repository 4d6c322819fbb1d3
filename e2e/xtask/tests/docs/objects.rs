//! YAML in the documents: read by our types without loss, and obeying our rules.

use std::fmt::Debug;

use kube::core::{CustomResourceExt, cel};
use lockstep_agent::config::SiteConfig;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{pages, read, workspace};

/// The YAML blocks of a page, with the line on which each begins.
pub(crate) fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match line.trim() {
            "```yaml" => {
                inside = true;
                found.push((index + 1, String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                let (_, block) = found.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    found
}

/// Fields of `old` that are not in `new`: what a type did not know.
fn unknown(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                match new.get(name) {
                    Some(new) => unknown(&format!("{path}.{name}"), value, new, found),
                    None => found.push(format!("{path}.{name}")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for (old, new) in old.iter().zip(new) {
                unknown(&format!("{path}[]"), old, new, found);
            }
        }
        _ => {}
    }
}

fn check<K>(place: &str, document: &Value)
where
    K: CustomResourceExt + DeserializeOwned + Serialize + Debug,
{
    let object: K =
        serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut found = Vec::new();
    let written = serde_json::to_value(&object).unwrap();
    unknown("", document, &written, &mut found);
    assert!(found.is_empty(), "{place}: no such field {found:?}");
    if let Err(errors) = cel::validate_cel(&object) {
        panic!("{place}: {errors:?}");
    }
}

#[test]
fn every_object_in_the_documents_is_valid() {
    let mut ours = 0;
    for (path, text) in pages() {
        for (line, block) in blocks(&text) {
            let place = format!("{}:{line}", path.display());
            for document in serde_yaml::Deserializer::from_str(&block) {
                let document =
                    Value::deserialize(document).unwrap_or_else(|error| panic!("{place}: {error}"));
                let group = document["apiVersion"].as_str().unwrap_or_default();
                if !group.starts_with(lockstep_crds::GROUP) {
                    continue;
                }
                ours += 1;
                match document["kind"].as_str().unwrap_or_default() {
                    "Dpu" => check::<Dpu>(&place, &document),
                    "DpuHost" => check::<DpuHost>(&place, &document),
                    "DpuImage" => check::<DpuImage>(&place, &document),
                    "DpuBootPolicy" => check::<DpuBootPolicy>(&place, &document),
                    other => panic!("{place}: {other} is no kind that users write"),
                }
            }
        }
    }
    assert!(ours >= 4, "the documents show {ours} objects of ours");
}

#[test]
fn every_site_configuration_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.yaml");
    let mut texts = vec![(
        "config/site/site.yaml".to_owned(),
        read(&workspace().join("config/site/site.yaml")),
    )];
    for (path, text) in pages() {
        let sites = blocks(&text)
            .into_iter()
            .filter(|(_, block)| {
                block
                    .lines()
                    .any(|line| line.starts_with("allowedNetworks:"))
            })
            .map(|(line, block)| (format!("{}:{line}", path.display()), block));
        texts.extend(sites);
    }
    assert!(texts.len() >= 2, "no page shows a site configuration");
    for (place, text) in texts {
        std::fs::write(&file, text).unwrap();
        if let Err(error) = SiteConfig::load(&file) {
            panic!("{place}: {error}");
        }
    }
}
