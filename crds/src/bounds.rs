//! What the derive cannot express: bounds on `metav1.Condition` and on names, and
//! the known values of open enums within the description of each field.
//!
//! `metav1.Condition` comes without a single bound, and an unbounded string or
//! list makes the API server's estimate of what a CEL rule may cost explode.
//! Here, and nowhere else, conditions get the bounds that Kubernetes itself
//! gives them in its own kinds. Names of `Dpu` and `DpuHost` leave room for the
//! prefixes of [`crate::names`] within the 253 characters of an object name.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use serde_json::json;

use crate::names;
use crate::report::Vantage;

/// Longest name of an object whose name others carry with a prefix.
const NAME_MAX: usize = 200;

/// The CRD with bounds on every `metav1.Condition` in it, and known values described.
pub(crate) fn bounded(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        {
            // There it is the name of the kind, which says nothing new.
            schema.title = None;
            walk(schema);
        }
    }
    crd
}

/// The CRD with a rule on the length of its objects' names.
pub(crate) fn short_names(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    ruled(
        crd,
        &format!("size(self.metadata.name) <= {NAME_MAX}"),
        &format!(
            "the name must not be longer than {NAME_MAX} characters: \
             reports, Leases and ServiceAccounts carry it with a prefix"
        ),
    )
}

/// The CRD of reports, in which name, vantage and subject say the same. Admission ties the
/// name to the writer; so no writer can speak of another subject, or from elsewhere.
pub(crate) fn named_after_subject(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let prefixes = [
        (Vantage::CardBmc, names::card_bmc("")),
        (Vantage::HostBmc, names::host_bmc("")),
        (Vantage::CardOs, names::xpu("")),
        (Vantage::Site, names::site("")),
        (Vantage::HostOs, names::host("")),
        (Vantage::FoundBmc, names::found_bmc("")),
        (Vantage::Scan, names::scan("")),
    ]
    .map(|(vantage, prefix)| format!("'{vantage}': '{prefix}'"))
    .join(", ");
    let crd = ruled(
        crd,
        &format!(
            "!(self.spec.vantage in {{{prefixes}}}) || \
             self.metadata.name == {{{prefixes}}}[self.spec.vantage] + self.spec.subject"
        ),
        "the name must be bmc-card-SUBJECT, bmc-host-SUBJECT, bmc-found-SUBJECT, xpu-SUBJECT, \
         host-SUBJECT, site-SUBJECT or scan-SUBJECT, as vantage and subject say",
    );
    ruled(
        crd,
        "!has(self.spec.found) || self.spec.vantage == 'FoundBmc'",
        "found is for the vantage FoundBmc",
    )
}

/// The CRD with a rule on whole objects: the derive has a place for those on a spec only.
fn ruled(mut crd: CustomResourceDefinition, rule: &str, message: &str) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        {
            schema
                .x_kubernetes_validations
                .get_or_insert_default()
                .push(ValidationRule {
                    rule: rule.to_owned(),
                    message: Some(message.to_owned()),
                    ..ValidationRule::default()
                });
        }
    }
    crd
}

fn walk(schema: &mut JSONSchemaProps) {
    if is_condition(schema) {
        bound_condition(schema);
        return;
    }
    if let Some(known) = schema.title.take() {
        schema.description = Some(match schema.description.take() {
            Some(description) => format!("{description}\n{known}"),
            None => known,
        });
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        walk(property);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => walk(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(walk),
        None => {}
    }
}

fn is_condition(schema: &JSONSchemaProps) -> bool {
    schema.properties.as_ref().is_some_and(|p| {
        ["lastTransitionTime", "message", "reason", "status", "type"]
            .iter()
            .all(|name| p.contains_key(*name))
    })
}

fn bound_condition(schema: &mut JSONSchemaProps) {
    for (name, property) in schema.properties.iter_mut().flatten() {
        match name.as_str() {
            "type" => {
                property.max_length = Some(316);
                property.pattern = Some(
                    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                        .to_owned(),
                );
            }
            "status" => {
                property.enum_ = Some(["True", "False", "Unknown"].map(|v| JSON(json!(v))).into());
            }
            "reason" => {
                property.min_length = Some(1);
                property.max_length = Some(1024);
                property.pattern = Some("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$".to_owned());
            }
            "message" => property.max_length = Some(32_768),
            "observedGeneration" => property.minimum = Some(0.0),
            _ => {}
        }
    }
}
