//! Every CEL rule of every CRD, both ways: the value it accepts and the one it refuses.
//! A rule without a refused case fails `every_rule_is_refused_once`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing test says where"
)]

use std::collections::BTreeSet;

use kube_core::cel::Validator;
use serde_json::{Value, json};

/// Made for this test by `openssl genpkey -algorithm ed25519`; its private half is gone.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEANjUaTe/6axuqvXbw584aqZhiAAge8b3U7QrK5GKmblw=
-----END PUBLIC KEY-----
";

/// One rule seen from a user: what passes, what is refused, and with which words.
struct Case {
    kind: &'static str,
    /// Start of the rule's message.
    message: &'static str,
    /// Merged into the valid base object of that kind.
    refused: Value,
    /// Likewise, and near to `refused`; the base itself when null.
    accepted: Value,
    /// For transition rules: merged into the base to make the old object.
    old: Option<Value>,
}

fn case(kind: &'static str, message: &'static str, refused: Value, accepted: Value) -> Case {
    Case {
        kind,
        message,
        refused,
        accepted,
        old: None,
    }
}

fn update(
    kind: &'static str,
    message: &'static str,
    old: Value,
    refused: Value,
    accepted: Value,
) -> Case {
    Case {
        kind,
        message,
        refused,
        accepted,
        old: Some(old),
    }
}

fn base(kind: &str) -> Value {
    let bmc = json!({
        "address": "https://10.0.0.7",
        "credentialsRef": {"name": "bmc"},
        "tls": {"trust": "NoVerification"},
    });
    let spec = match kind {
        "Dpu" => json!({"site": "lab", "hostRefs": [{"name": "host1"}], "bmc": bmc}),
        "DpuHost" => json!({
            "site": "lab", "role": "Server", "disruption": "Never",
            "policyRef": {"name": "policy"}, "bmc": bmc,
        }),
        "DpuImage" => json!({
            "version": "1.0",
            "digest": format!("sha256:{}", "0".repeat(64)),
            "sources": ["https://images.test/a.iso"],
        }),
        "DpuBootPolicy" => json!({
            "order": "XpuFirst",
            "hostWait": {"until": "OsRunning", "timeoutSeconds": 3600, "onTimeout": "Hold"},
            "hold": {"orphanAfterSeconds": 7200},
        }),
        "DpuReport" => json!({
            "vantage": "CardOs", "subject": "x", "agentVersion": "0.1.0",
            "observedAt": "2026-11-21T10:00:00Z",
        }),
        other => panic!("no base for {other}"),
    };
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": kind,
        "metadata": {"name": if kind == "DpuReport" { "xpu-x" } else { "x" }, "namespace": "site"},
        "spec": spec,
    })
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn merged(one: &Value, other: &Value) -> Value {
    let mut both = one.clone();
    merge(&mut both, other);
    both
}

fn object(kind: &str, patch: &Value) -> Value {
    let mut object = base(kind);
    if !patch.is_null() {
        merge(&mut object, patch);
    }
    object
}

fn schema(kind: &str) -> Value {
    let crd = lockstep_crds::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap()
}

/// The messages with which a create (or an update, with `old`) is refused.
fn refusals(kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(kind), new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| e.message.clone()).collect(),
    }
}

/// BMCs that were found.
fn found_case() -> Case {
    let found = |name: &str, vantage: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "vantage": vantage, "subject": "a", "inventory": {},
            "found": {
                "role": "Card", "recognisedBy": "SystemType DPU", "sources": ["list"],
                "endpoint": {"address": "https://10.0.0.7", "credentials": "bmc", "trust": "PinnedKey"},
            },
        }})
    };
    case(
        "DpuReport",
        "found is for the vantage FoundBmc",
        found("xpu-a", "CardOs"),
        found("bmc-found-a", "FoundBmc"),
    )
}

fn cases() -> Vec<Case> {
    let id = |uuid: &str| json!({"spec": {"identity": {"systemUuid": uuid}}});
    let (one, two) = (
        "11111111-1111-1111-1111-111111111111",
        "22222222-2222-2222-2222-222222222222",
    );
    let roomy = json!({"families": ["BlueField-3"], "minimumDiskBytes": 64_000_000_000_i64});
    let mut cases = Vec::new();
    for (vantage, name) in [
        ("CardOs", "xpu-card1"),
        ("CardBmc", "bmc-card-card1"),
        ("HostBmc", "bmc-host-card1"),
        ("Site", "site-card1"),
        ("HostOs", "host-card1"),
        ("FoundBmc", "bmc-found-card1"),
        ("Scan", "scan-card1"),
    ] {
        let report = |subject: &str| {
            json!({
                "metadata": {"name": name},
                "spec": {"vantage": vantage, "subject": subject},
            })
        };
        let message = "the name must be bmc-card-SUBJECT";
        cases.push(case("DpuReport", message, report("card2"), report("card1")));
        let elsewhere = merged(
            &report("card1"),
            &json!({"spec": {"vantage": if vantage == "Site" { "CardOs" } else { "Site" }}}),
        );
        let newer = merged(
            &report("other"),
            &json!({"spec": {"vantage": "OfANewerRelease"}}),
        );
        cases.push(case("DpuReport", message, elsewhere, newer));
    }
    cases.push(found_case());
    for kind in ["Dpu", "DpuHost"] {
        let tls = |v: Value| json!({"spec": {"bmc": {"tls": v}}});
        let pin = "a".repeat(64);
        cases.extend([
            case(
                kind,
                "the name must not be longer than 200",
                json!({"metadata": {"name": "x".repeat(201)}}),
                json!({"metadata": {"name": "x".repeat(200)}}),
            ),
            case(
                kind,
                "an http:// address needs tls.trust PlainHttp",
                json!({"spec": {"bmc": {"address": "http://10.0.0.7"}}}),
                json!({"spec": {"bmc": {"address": "http://10.0.0.7", "tls": {"trust": "PlainHttp"}}}}),
            ),
            case(
                kind,
                "an http:// address needs tls.trust PlainHttp",
                tls(json!({"trust": "PlainHttp"})),
                Value::Null,
            ),
            case(
                kind,
                "tls.caConfigMapRef is required",
                tls(json!({"trust": "Ca"})),
                tls(json!({"trust": "Ca", "caConfigMapRef": {"name": "ca"}})),
            ),
            case(
                kind,
                "tls.caConfigMapRef is required",
                tls(json!({"caConfigMapRef": {"name": "ca"}})),
                Value::Null,
            ),
            case(
                kind,
                "tls.pinnedKeySha256 is required",
                tls(json!({"trust": "PinnedKey"})),
                tls(json!({"trust": "PinnedKey", "pinnedKeySha256": pin})),
            ),
            case(
                kind,
                "tls.pinnedKeySha256 is required",
                tls(json!({"pinnedKeySha256": pin})),
                Value::Null,
            ),
            case(
                kind,
                "identity needs",
                json!({"spec": {"identity": {}}}),
                json!({"spec": {"identity": {"serialNumber": "S1"}}}),
            ),
            update(kind, "site is immutable", Value::Null, json!({"spec": {"site": "b"}}), json!({"spec": {"bmc": {"address": "https://10.0.0.8"}}})),
            // Given once, an identity can neither change nor go; it can still be given later.
            update(kind, "identity cannot be changed or unset", id(one), id(two), id(one)),
            update(kind, "identity cannot be changed or unset", id(one), Value::Null, id(one)),
            update(kind, "identity cannot be changed or unset", id(one), json!({"spec": {"identity": {"systemUuid": one, "serialNumber": "S1"}}}), id(one)),
        ]);
    }
    cases.extend([
        case(
            "Dpu",
            "hostRefs names a host twice",
            json!({"spec": {"hostRefs": [{"name": "a"}, {"name": "a", "pairing": "Asserted"}]}}),
            json!({"spec": {"hostRefs": [{"name": "a"}, {"name": "b"}]}}),
        ),
        case(
            "DpuHost",
            "a ChassisOnly host has neither bmc nor nodeName",
            json!({"spec": {"role": "ChassisOnly"}}),
            json!({"spec": {"role": "ChassisOnly", "bmc": null}}),
        ),
        case(
            "DpuHost",
            "a ChassisOnly host has neither bmc nor nodeName",
            json!({"spec": {"role": "ChassisOnly", "bmc": null, "nodeName": "n1"}}),
            json!({"spec": {"nodeName": "n1"}}),
        ),
        case(
            "DpuHost",
            "disruption Allowed is for role Server only",
            json!({"spec": {"role": "Infrastructure", "disruption": "Allowed"}}),
            json!({"spec": {"disruption": "Allowed"}}),
        ),
        case(
            "Dpu",
            "a value needs value or valueFrom, and not both",
            json!({"spec": {"values": [{"name": "hostname"}]}}),
            json!({"spec": {"values": [
                {"name": "hostname", "value": ""},
                {"name": "token", "valueFrom": {"secretKeyRef": {"name": "card1", "key": "token"}}},
            ]}}),
        ),
        case(
            "Dpu",
            "a value needs value or valueFrom, and not both",
            json!({"spec": {"values": [{
                "name": "token", "value": "a",
                "valueFrom": {"secretKeyRef": {"name": "card1", "key": "token"}},
            }]}}),
            Value::Null,
        ),
        update(
            "DpuImage",
            "a DpuImage is immutable",
            Value::Null,
            json!({"spec": {"version": "1.1"}}),
            Value::Null,
        ),
        update(
            "DpuImage",
            "a DpuImage is immutable",
            json!({"spec": {"sizeBytes": 5}}),
            Value::Null,
            json!({"spec": {"sizeBytes": 5}}),
        ),
        case(
            "DpuImage",
            "an oci source is oci://REGISTRY/REPOSITORY:TAG",
            json!({"spec": {"sources": ["https://images.test/a.iso", "oci://registry.test/os"]}}),
            json!({"spec": {"sources": ["https://images.test/a.iso", "oci://registry.test:5000/cards/os:1.0"]}}),
        ),
        case(
            "DpuImage",
            "an oci source is oci://REGISTRY/REPOSITORY:TAG",
            json!({"spec": {"sources": ["oci://user:word@registry.test/os:1.0"]}}),
            json!({"spec": {"sources": [format!("oci://registry.test/cards/os-a_b.c@sha256:{}", "f".repeat(64))]}}),
        ),
        case(
            "DpuImage",
            "an oci source is oci://REGISTRY/REPOSITORY:TAG",
            json!({"spec": {"sources": ["oci://registry.test/Cards/os:1.0"]}}),
            json!({"spec": {"sources": ["oci://[2001:db8::1]:5000/os:1.0"]}}),
        ),
        case(
            "DpuImage",
            "pullSecretRef is of no use with http sources alone",
            json!({"spec": {"sources": ["http://images.test/a.iso"], "pullSecretRef": {"name": "pull"}}}),
            json!({"spec": {"sources": ["http://images.test/a.iso", "oci://registry.test/os:1"], "pullSecretRef": {"name": "pull"}}}),
        ),
        case(
            "DpuImage",
            "a requirement needs atLeast, below, or both",
            json!({"spec": {"requires": [{"component": "BMC_Firmware"}]}}),
            json!({"spec": {"requires": [
                {"component": "BMC_Firmware", "atLeast": "BF-24.10"},
                {"component": "fw.mgmt", "below": "33"},
            ]}}),
        ),
        case(
            "DpuImage",
            "no version is at least this one and below it",
            json!({"spec": {"requires": [{"component": "Bmc", "atLeast": "1.2", "below": "1.2"}]}}),
            json!({"spec": {"requires": [{"component": "Bmc", "atLeast": "1.2", "below": "1.3"}]}}),
        ),
        case(
            "DpuImage",
            "slot is of images of kind Os that are installed",
            json!({"spec": {"boot": "Stateless", "slot": {"name": "A", "bootEntry": "OS A"}}}),
            json!({"spec": {"slot": {"name": "A", "bootEntry": "OS A"}}}),
        ),
        case(
            "DpuImage",
            "an image of kind Bmc or Firmware needs component",
            json!({"spec": {"kind": "Bmc"}}),
            json!({"spec": {"kind": "Bmc", "component": "BMC_Firmware"}}),
        ),
        case(
            "DpuImage",
            "an image of kind App needs service",
            json!({"spec": {"kind": "App"}}),
            json!({"spec": {"kind": "App", "service": "web"}}),
        ),
        case(
            "DpuImage",
            "an image of kind App needs service",
            json!({"spec": {"service": "web"}}),
            json!({"spec": {}}),
        ),
        case(
            "DpuImage",
            "an image of kind Bundle needs brings",
            json!({"spec": {"kind": "Bundle"}}),
            json!({"spec": {"kind": "Bundle", "brings": [{"component": "DPU_NIC", "version": "32.43"}]}}),
        ),
        case(
            "DpuImage",
            "an image of kind Bundle needs brings",
            json!({"spec": {"brings": [{"component": "DPU_NIC", "version": "32.43"}]}}),
            json!({"spec": {}}),
        ),
        case(
            "DpuImage",
            "boot is of operating systems",
            json!({"spec": {"kind": "App", "service": "web", "boot": "Stateless"}}),
            json!({"spec": {"kind": "App", "service": "web"}}),
        ),
        case(
            "DpuImage",
            "boot is of operating systems",
            json!({"spec": {"kind": "Bmc", "component": "BMC_Firmware", "boot": "Stateless"}}),
            json!({"spec": {"kind": "Bmc", "component": "BMC_Firmware"}}),
        ),
        case(
            "DpuImage",
            "an image of kind Wiper is booted once",
            json!({"spec": {"kind": "Wiper", "boot": "Stateless"}}),
            json!({"spec": {"kind": "Wiper"}}),
        ),
        case(
            "DpuImage",
            "an image of kind Bmc or Firmware needs component",
            json!({"spec": {"component": "BMC_Firmware"}}),
            json!({"spec": {"kind": "Os"}}),
        ),
        case(
            "DpuImage",
            "an image of kind Bmc or Firmware needs component",
            json!({"spec": {"kind": "Firmware", "activation": "CardPowerCycle"}}),
            json!({"spec": {"kind": "Firmware", "component": "DPU_NIC"}}),
        ),
        case(
            "DpuImage",
            "activation is of firmware",
            json!({"spec": {"activation": "CardPowerCycle"}}),
            json!({"spec": {"kind": "Bmc", "component": "CEC", "activation": "CardPowerCycle"}}),
        ),
        case(
            "DpuImage",
            "writtenBy: HostDevlink is of kind Firmware",
            json!({"spec": {"kind": "Bmc", "component": "fw", "writtenBy": "HostDevlink"}}),
            json!({"spec": {"kind": "Firmware", "component": "fw", "writtenBy": "HostDevlink"}}),
        ),
        case(
            "DpuImage",
            "writtenBy: HostDevlink is of kind Firmware",
            json!({"spec": {
                "kind": "Firmware", "component": "fw", "writtenBy": "HostDevlink", "activation": "BmcReset",
            }}),
            json!({"spec": {
                "kind": "Firmware", "component": "fw", "writtenBy": "HostDevlink",
                "activation": "CardPowerCycle",
            }}),
        ),
        case(
            "DpuImage",
            "files are of images of kinds Os and Bundle",
            json!({"spec": {"kind": "Bmc", "component": "BMC_Firmware", "files": [{"slot": "bf.cfg", "template": "a"}]}}),
            json!({"spec": {"files": [{"slot": "bf.cfg", "template": "a"}]}}),
        ),
        case(
            "DpuImage",
            "a signature needs dsse",
            json!({"spec": {"signatures": [{}]}}),
            json!({"spec": {"signatures": [
                {"dsse": {"sources": ["https://192.0.2.9/a.iso.dsse", "http://192.0.2.8/a.iso.dsse"]}},
                {"cosign": {"sources": ["oci://registry.example.com:5000/cards/os:1.0.0"]}},
            ]}}),
        ),
        case(
            "DpuImage",
            "a signature needs dsse or cosign, and not both",
            json!({"spec": {"signatures": [{
                "dsse": {"sources": ["https://192.0.2.9/a.iso.dsse"]},
                "cosign": {"sources": ["oci://registry.example.com/os:1"]},
            }]}}),
            json!({"spec": {"signatures": [{"cosign": {"sources": ["oci://registry.example.com/os:1"]}}]}}),
        ),
        case(
            "DpuImage",
            "pullSecretRef is of no use with http sources alone",
            json!({"spec": {"sources": ["http://192.0.2.9/a.iso"], "pullSecretRef": {"name": "pull"}}}),
            json!({"spec": {
                "sources": ["http://192.0.2.9/a.iso"], "pullSecretRef": {"name": "pull"},
                "signatures": [{"cosign": {"sources": ["oci://registry.example.com/os:1"]}}],
            }}),
        ),
        case(
            "DpuImage",
            "pullSecretRef is of no use with http sources alone",
            json!({"spec": {
                "sources": ["http://192.0.2.9/a.iso"], "pullSecretRef": {"name": "pull"},
                "signatures": [{"dsse": {"sources": ["http://192.0.2.9/a.iso.dsse"]}}],
            }}),
            json!({"spec": {
                "sources": ["http://192.0.2.9/a.iso"], "pullSecretRef": {"name": "pull"},
                "signatures": [{"dsse": {"sources": ["https://192.0.2.9/a.iso.dsse"]}}],
            }}),
        ),
        case(
            "DpuImage",
            "fits needs vendors, families",
            json!({"spec": {"fits": {"vendors": []}}}),
            json!({"spec": {"fits": {"partNumbers": ["900-9D3B6"]}}}),
        ),
        case(
            "DpuImage",
            "fits needs vendors, families",
            json!({"spec": {"fits": {"minimumDiskBytes": 64_000_000_000_i64}}}),
            json!({"spec": {"fits": roomy}}),
        ),
        case(
            "DpuImage",
            "fits.minimumDiskBytes is of images that a card boots",
            json!({"spec": {"kind": "Firmware", "component": "DPU_NIC", "fits": roomy}}),
            json!({"spec": {"kind": "Firmware", "component": "DPU_NIC", "fits": {"families": ["BlueField-3"]}}}),
        ),
        case(
            "DpuImage",
            "fits.minimumDiskBytes is of images that a card boots",
            json!({"spec": {"kind": "Bmc", "component": "BMC_Firmware", "fits": roomy}}),
            json!({"spec": {"kind": "Bundle", "brings": [{"component": "DPU_NIC", "version": "32.43"}], "fits": roomy}}),
        ),
        case(
            "DpuImage",
            "fits.minimumDiskBytes is of images that a card boots",
            json!({"spec": {"kind": "App", "service": "web", "fits": roomy}}),
            json!({"spec": {"kind": "Wiper", "fits": roomy}}),
        ),
        case(
            "DpuBootPolicy",
            "images.require: Signed needs signers",
            json!({"spec": {"images": {"require": "Signed"}}}),
            json!({"spec": {"images": {"require": "Signed", "signers": [
                {"name": "releases", "publicKey": PUBLIC_KEY},
            ]}}}),
        ),
        case(
            "DpuBootPolicy",
            "a selector needs families",
            json!({"spec": {"discovered": {"approve": [{"families": ["BlueField-3"]}, {"families": [], "pairingObserved": false}]}}}),
            json!({"spec": {"discovered": {"approve": [
                {"families": ["BlueField-3"]}, {"partNumbers": ["P"]}, {"serialNumbers": ["S"]}, {"pairingObserved": true},
            ]}}}),
        ),
        case(
            "DpuBootPolicy",
            "a choice of an image needs cards or matchLabels",
            json!({"spec": {"imageChoices": [{"name": "a", "matchLabels": {}, "imageRef": {"name": "i"}}]}}),
            json!({"spec": {"imageChoices": [
                {"name": "a", "matchLabels": {"ring": "1"}, "imageRef": {"name": "i"}},
                {"name": "b", "cards": {"families": ["BlueField-3"]}, "imageRef": {"name": "i"}, "firmwareRefs": []},
            ]}}),
        ),
        case(
            "DpuBootPolicy",
            "an image is chosen by what a card is",
            json!({"spec": {"imageChoices": [
                {"name": "a", "cards": {"pairingObserved": true}, "imageRef": {"name": "i"}},
            ]}}),
            json!({"spec": {"imageChoices": [
                {"name": "a", "cards": {"serialNumbers": ["S"], "pairingObserved": false}, "imageRef": {"name": "i"}},
            ]}}),
        ),
        case(
            "DpuBootPolicy",
            "imageChoices must not use a name twice",
            json!({"spec": {"imageChoices": [
                {"name": "a", "cards": {"partNumbers": ["P"]}, "imageRef": {"name": "i"}},
                {"name": "a", "cards": {"partNumbers": ["Q"]}, "imageRef": {"name": "i"}},
            ]}}),
            json!({"spec": {"imageChoices": [
                {"name": "a", "cards": {"partNumbers": ["P"]}, "imageRef": {"name": "i"}},
                {"name": "b", "cards": {"partNumbers": ["P"]}, "imageRef": {"name": "i"}},
            ]}}),
        ),
        case(
            "DpuBootPolicy",
            "install.goldenImageRef is the last way back",
            json!({"spec": {"install": {"goldenImageRef": {"name": "gold"}}}}),
            json!({"spec": {"install": {"goldenImageRef": {"name": "gold"}, "onFailure": "RollBack"}}}),
        ),
        case(
            "DpuBootPolicy",
            "a host that waits for its cards needs order XpuFirst",
            json!({"spec": {"order": "Parallel"}}),
            json!({"spec": {"order": "Parallel", "hostWait": {"until": "None"}}}),
        ),
        case(
            "DpuBootPolicy",
            "hostWait.onTimeout other than Hold",
            json!({"spec": {"hostWait": {"until": "None", "onTimeout": "PowerOff"}}}),
            json!({"spec": {"hostWait": {"onTimeout": "Continue"}}}),
        ),
        case(
            "DpuBootPolicy",
            "hold.orphanAfterSeconds must be at least",
            json!({"spec": {"hold": {"orphanAfterSeconds": 3599}}}),
            json!({"spec": {"hold": {"orphanAfterSeconds": 3600}}}),
        ),
        case(
            "DpuBootPolicy",
            "install.methods must not name a method twice",
            json!({"spec": {"install": {"methods": ["UefiHttp", "UefiHttp"]}}}),
            json!({"spec": {"install": {"methods": ["UefiHttp", "VirtualMedia"]}}}),
        ),
    ]);
    cases
}

#[test]
fn every_case_is_accepted_and_refused_as_written() {
    for (n, c) in cases().into_iter().enumerate() {
        let old = c.old.as_ref().map(|patch| object(c.kind, patch));
        let fine = object(c.kind, &c.accepted);
        assert_eq!(
            refusals(c.kind, &fine, old.as_ref()),
            Vec::<String>::new(),
            "case {n}: {} {fine}",
            c.kind
        );
        let bad = object(c.kind, &c.refused);
        let said = refusals(c.kind, &bad, old.as_ref());
        assert!(
            said.len() == 1 && said[0].starts_with(c.message),
            "case {n}: {} {bad} must be refused with {:?} alone, and it was said {said:?}",
            c.kind,
            c.message
        );
    }
}

#[test]
fn an_identity_can_be_given_later() {
    for kind in ["Dpu", "DpuHost"] {
        let old = object(kind, &Value::Null);
        let new = object(kind, &json!({"spec": {"identity": {"serialNumber": "S1"}}}));
        assert_eq!(refusals(kind, &new, Some(&old)), Vec::<String>::new());
    }
}

#[test]
fn every_rule_is_refused_once() {
    fn messages(schema: &Value, found: &mut BTreeSet<String>) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            found.insert(
                rule["message"]
                    .as_str()
                    .expect("every rule says why")
                    .to_owned(),
            );
        }
        for property in schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|p| p.values())
        {
            messages(property, found);
        }
        if schema["items"].is_object() {
            messages(&schema["items"], found);
        }
    }
    let cases = cases();
    for crd in lockstep_crds::all() {
        let kind = crd.spec.names.kind;
        let mut rules = BTreeSet::new();
        messages(&schema(&kind), &mut rules);
        for rule in rules {
            assert!(
                cases
                    .iter()
                    .any(|c| c.kind == kind && rule.starts_with(c.message)),
                "{kind}: no case for {rule:?}"
            );
        }
    }
}
