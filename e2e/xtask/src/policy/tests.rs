use serde_json::{Value, json};

use super::graph::{Graph, Metadata};
use super::judge;
use super::rules::{Ban, Rules};

const RULES: Rules = Rules {
    licences: &["MIT"],
    licence_exceptions: &[("data", "CDLA-Permissive-2.0", "a list")],
    banned: &[Ban {
        name: "ring",
        version: "0.17",
        only_below: &[],
        because: "one provider",
    }],
    duplicates: &[("base64", "upstream is late")],
    pure: &["pure"],
    io: &["tokio"],
};

fn package(id: &str, licence: &str, dependencies: &Value, features: &Value) -> Value {
    let (name, version) = id.split_once('@').unwrap();
    let ours = version == "0.0.0";
    json!({
        "id": id, "name": name, "version": version, "license": licence,
        "source": if ours { Value::Null } else { "registry+https://registry.test".into() },
        "dependencies": dependencies, "features": features,
    })
}

fn node(id: &str, deps: &[(&str, Option<&str>)], features: &[&str]) -> Value {
    let deps: Vec<Value> = deps
        .iter()
        .map(|(id, kind)| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] }))
        .collect();
    json!({ "id": id, "deps": deps, "features": features })
}

/// Two crates of ours; `pure` tests with tokio, and `tls` could use ring.
fn workspace() -> Value {
    let none = json!({});
    json!({
        "workspace_members": ["app@0.0.0", "pure@0.0.0"],
        "packages": [
            package("app@0.0.0", "MIT", &json!([{"name": "pure"}, {"name": "tls"}, {"name": "base64"}]), &none),
            package("pure@0.0.0", "MIT", &json!([{"name": "tokio"}]), &none),
            package("tls@1.0.0", "MIT OR GPL-3.0-only",
                &json!([{"name": "ring", "optional": true}, {"name": "base64"}, {"name": "data"}]),
                &json!({"ring": ["dep:ring"], "alloc": ["ring?/alloc"]})),
            package("ring@0.17.1", "MIT", &json!([]), &none),
            package("base64@1.0.0", "MIT", &json!([]), &none),
            package("base64@2.0.0", "MIT", &json!([]), &none),
            package("data@1.0.0", "CDLA-Permissive-2.0", &json!([]), &none),
            package("tokio@1.0.0", "MIT", &json!([]), &none),
        ],
        "resolve": {"nodes": [
            node("app@0.0.0", &[("pure@0.0.0", None), ("tls@1.0.0", None), ("base64@2.0.0", None)], &[]),
            node("pure@0.0.0", &[("tokio@1.0.0", Some("dev"))], &[]),
            node("tls@1.0.0", &[("ring@0.17.1", None), ("base64@1.0.0", None), ("data@1.0.0", None)], &["alloc"]),
            node("ring@0.17.1", &[], &[]),
            node("base64@1.0.0", &[], &[]),
            node("base64@2.0.0", &[], &[]),
            node("data@1.0.0", &[], &[]),
            node("tokio@1.0.0", &[], &[]),
        ]},
    })
}

fn findings(metadata: Value, rules: &Rules) -> Vec<String> {
    let metadata: Metadata = serde_json::from_value(metadata).unwrap();
    judge(&Graph::new(&metadata).unwrap(), rules)
}

#[track_caller]
fn one_finding(findings: &[String], beginning: &str) {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].starts_with(beginning), "{findings:#?}");
}

#[test]
fn a_workspace_as_asked_has_no_findings() {
    assert_eq!(findings(workspace(), &RULES), Vec::<String>::new());
}

#[test]
fn a_licence_that_is_not_listed_is_found() {
    let mut metadata = workspace();
    metadata["packages"][4]["license"] = "GPL-3.0-only".into();
    one_finding(
        &findings(metadata, &RULES),
        "licence: base64 1.0.0 is under",
    );
}

#[test]
fn a_package_from_elsewhere_is_found() {
    for source in [Value::Null, "git+https://forge.test/tls".into()] {
        let mut metadata = workspace();
        metadata["packages"][2]["source"] = source;
        one_finding(&findings(metadata, &RULES), "source: tls 1.0.0 comes from");
    }
}

#[test]
fn a_banned_crate_counts_once_a_feature_turns_it_on() {
    let mut metadata = workspace();
    metadata["resolve"]["nodes"][2]["features"] = json!(["alloc", "ring"]);
    one_finding(
        &findings(metadata, &RULES),
        "ban: ring 0.17.1 comes in through tls 1.0.0: one provider",
    );
}

#[test]
fn a_second_version_of_what_we_use_is_found() {
    let rules = Rules {
        duplicates: &[],
        ..RULES
    };
    one_finding(
        &findings(workspace(), &rules),
        "duplicate: we use base64 ourselves",
    );
}

#[test]
fn io_below_a_pure_crate_is_found_unless_only_its_tests_use_it() {
    let mut metadata = workspace();
    metadata["resolve"]["nodes"][1] = node("pure@0.0.0", &[("tokio@1.0.0", None)], &[]);
    one_finding(
        &findings(metadata, &RULES),
        "purity: pure does no I/O, but tokio 1.0.0",
    );
}

#[test]
fn an_exception_that_nothing_needs_is_found() {
    let rules = Rules {
        licences: &["MIT", "CDLA-Permissive-2.0"],
        ..RULES
    };
    one_finding(
        &findings(workspace(), &rules),
        "licence: the exception for data is no longer needed",
    );
}
