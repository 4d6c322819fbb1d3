//! Signatures by cosign: what openssl made after its specification, and each way not to count.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_crds::report::{ArtefactSignature, ArtefactSignatures, StoredSignature};
use lockstep_crds::{DpuImageSpec, ImageSigner};
use lockstep_trust::{
    Appraisal, Artefact, LONGEST_MANIFEST, PAYLOAD_TYPE, SIGN_PREDICATE_TYPE, SIMPLE_TYPE, Trust,
    appraise,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::signing::{DIGEST, Key, digest, image, rules, saying, statement, vector};

fn of_cosign(name: &str) -> String {
    vector(&format!("cosign/{name}"))
}

fn signer(kind: &str) -> ImageSigner {
    ImageSigner {
        name: kind.to_owned(),
        public_key: of_cosign(&format!("{kind}.pub.pem")),
        accepts_manifests: false,
    }
}

fn document(document: &str, signature: Option<&str>) -> ArtefactSignature {
    ArtefactSignature {
        document: document.to_owned(),
        signature: signature.map(str::to_owned),
    }
}

fn beside(manifests: &[&str], signatures: Vec<ArtefactSignature>) -> StoredSignature {
    StoredSignature {
        source: "oci://registry.test/cards/os:1".to_owned(),
        envelope: None,
        artefact: Some(ArtefactSignatures {
            manifests: manifests.iter().map(|text| (*text).to_owned()).collect(),
            signatures,
        }),
        reason: None,
        message: None,
    }
}

fn signed_image(digest: &str) -> DpuImageSpec {
    let mut spec = image(digest);
    spec.signatures = serde_json::from_value(
        json!([{"cosign": {"sources": ["oci://registry.test/cards/os:1"]}}]),
    )
    .unwrap();
    spec
}

/// By signers whose keys sign nothing but images for cards.
fn appraised(spec: &DpuImageSpec, signers: Vec<ImageSigner>, told: &StoredSignature) -> Appraisal {
    let signers = signers.into_iter().map(|signer| ImageSigner {
        accepts_manifests: true,
        ..signer
    });
    appraised_by(spec, signers.collect(), told)
}

fn appraised_by(
    spec: &DpuImageSpec,
    signers: Vec<ImageSigner>,
    told: &StoredSignature,
) -> Appraisal {
    appraise(
        Some(&rules(signers)),
        spec,
        Some(std::slice::from_ref(told)),
    )
}

#[test]
fn what_openssl_signed_as_cosign_does_is_verified_by_that_key_and_by_no_other() {
    let (spec, manifest) = (signed_image(DIGEST), of_cosign("manifest.json"));
    let simple = of_cosign("simple.json");
    let with = |kind: &str| document(&simple, Some(&of_cosign(&format!("{kind}.simple.sig"))));
    let bundle = |name: &str| document(&of_cosign(&format!("{name}.bundle.json")), None);
    let table = [
        ("p256", with("p256"), 0),
        ("ed25519", with("ed25519"), 0),
        ("p256", bundle("sign"), 0),
        ("p256", bundle("message"), 0),
        ("p256", bundle("attest"), 3),
    ];
    for (kind, signature, security_version) in table {
        let told = beside(&[&manifest], vec![signature]);
        let both = vec![signer("p256"), signer("ed25519")];
        let found = appraised(&spec, both, &told);
        assert_eq!(found.trust, Trust::Signed(kind.to_owned()));
        assert_eq!(found.security_version, security_version);
        assert_eq!(found.fits.len(), usize::from(security_version == 3));
        let other = if kind == "p256" { "ed25519" } else { "p256" };
        let found = appraised(&spec, vec![signer(other)], &told);
        let Trust::Refused(why) = found.trust else {
            panic!("{found:?}");
        };
        assert!(
            why.contains("not signed by any of the policy's signers"),
            "{why}"
        );
    }
}

#[test]
fn a_plain_signature_says_too_little_of_what_is_no_plain_system() {
    let manifest = of_cosign("manifest.json");
    let simple = document(
        &of_cosign("simple.json"),
        Some(&of_cosign("p256.simple.sig")),
    );
    let bundle = document(&of_cosign("sign.bundle.json"), None);
    let more = [
        json!({"kind": "App", "service": "responder"}),
        json!({"kind": "Bmc", "component": "BMC_Firmware"}),
        json!({"files": [{"slot": "bf.cfg", "template": "x"}]}),
    ];
    for signature in [simple, bundle] {
        let told = beside(&[&manifest], vec![signature]);
        for more in &more {
            let spec = saying(&signed_image(DIGEST), more);
            // Nobody is told to trust a key with more in vain.
            for appraise in [appraised, appraised_by] {
                let found = appraise(&spec, vec![signer("p256")], &told);
                let Trust::Refused(why) = found.trust else {
                    panic!("{found:?}");
                };
                assert!(why.contains("signed plainly, which says nothing"), "{why}");
            }
        }
    }
}

/// An artefact whose one layer is the image.
fn manifest(image: &str, more: &Value) -> String {
    let mut manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest('e'), "size": 2},
        "layers": [{"mediaType": "application/octet-stream", "digest": image, "size": 8}],
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    manifest.to_string()
}

fn digest_of(manifest: &str, image: &str) -> String {
    Artefact::of(&[manifest.to_owned()], image).unwrap().digest
}

fn payload(manifest: &str) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.test/cards/os"},
            "image": {"docker-manifest-digest": manifest},
            "type": SIMPLE_TYPE,
        },
        "optional": {"creator": "somebody"},
    })
}

fn simple(key: &Key, payload: &str) -> ArtefactSignature {
    let made = STANDARD.encode(key.over(payload.as_bytes()));
    document(payload, Some(&made))
}

fn bundle(key: &Key, said: &Value) -> Value {
    let said = said.to_string();
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": {
            "payloadType": PAYLOAD_TYPE,
            "payload": STANDARD.encode(&said),
            "signatures": [key.signature("", PAYLOAD_TYPE, said.as_bytes())],
        },
    })
}

/// What `cosign sign` says of a manifest in a bundle.
fn sign(manifest: &str) -> Value {
    let mut said = statement(manifest, json!({}));
    said["predicateType"] = SIGN_PREDICATE_TYPE.into();
    said
}

#[track_caller]
fn refused(spec: &DpuImageSpec, told: &StoredSignature, words: &str) {
    let found = appraised(spec, vec![Key::new(1).signer("ours")], told);
    let Trust::Refused(why) = found.trust else {
        panic!("{found:?}");
    };
    assert!(why.contains(words) && why.len() < 512, "{why}");
}

#[test]
fn each_way_not_to_count_has_its_own_reason() {
    let (ours, spec) = (Key::new(1), signed_image(&digest('1')));
    let manifest = manifest(&spec.digest, &json!({}));
    let signed = digest_of(&manifest, &spec.digest);
    let good = payload(&signed).to_string();
    let with = |signature| beside(&[&manifest], vec![signature]);
    let trusted = appraised(
        &spec,
        vec![ours.signer("ours")],
        &with(simple(&ours, &good)),
    );
    assert_eq!(trusted.trust, Trust::Signed("ours".to_owned()));

    refused(
        &spec,
        &beside(&[&manifest], vec![]),
        "cosign has not signed the artefact",
    );
    let stranger = with(simple(&Key::new(2), &good));
    refused(
        &spec,
        &stranger,
        "not signed by any of the policy's signers (ours)",
    );
    let other = payload(&digest('9')).to_string();
    refused(
        &spec,
        &with(simple(&ours, &other)),
        "of another manifest: sha256:9999",
    );
    let said = bundle(&ours, &sign(&digest('9'))).to_string();
    refused(
        &spec,
        &with(document(&said, None)),
        "of another manifest: sha256:9999",
    );
    let said = bundle(&Key::new(2), &sign(&signed)).to_string();
    refused(&spec, &with(document(&said, None)), "not signed by any");
    refused(&spec, &with(document(&good, Some("?"))), "no base64");
    refused(&spec, &with(document("<html>", None)), "no sigstore bundle");
    let long = " ".repeat(16 * 1024 + 1);
    refused(
        &spec,
        &with(document(&long, None)),
        "at most 16384 are read",
    );

    let bent = |pointer: &str, to: Value| {
        let mut payload = payload(&signed);
        *payload.pointer_mut(pointer).unwrap() = to;
        with(simple(&ours, &payload.to_string()))
    };
    let another = bent("/critical/type", json!("atomic container signature"));
    refused(
        &spec,
        &another,
        "its type is \"atomic container signature\"",
    );
    let limit = bent(
        "/critical/image",
        json!({"docker-manifest-digest": signed, "until": 5}),
    );
    refused(&spec, &limit, "unknown field");
    let twice = good.replace("\"critical\":", "\"critical\":{},\"critical\":");
    refused(&spec, &with(simple(&ours, &twice)), "stands twice");

    let bent = |key: &str, to: Value| {
        let mut bundle = bundle(&ours, &sign(&signed));
        bundle[key] = to;
        with(document(&bundle.to_string(), None))
    };
    let later = bent(
        "mediaType",
        json!("application/vnd.dev.sigstore.bundle.v9+json"),
    );
    refused(&spec, &later, "its mediaType is");
    let neither = bent("dsseEnvelope", Value::Null);
    refused(
        &spec,
        &neither,
        "not one of dsseEnvelope and messageSignature",
    );
    let both = bent("messageSignature", json!({"signature": ""}));
    refused(&spec, &both, "not one of dsseEnvelope and messageSignature");
    let mut keyless = bundle(&Key::new(2), &sign(&signed));
    keyless["verificationMaterial"] = json!({"certificate": {"rawBytes": ""}});
    let keyless = with(document(&keyless.to_string(), None));
    refused(&spec, &keyless, "by a certificate and not by the key");
    let mut scan = sign(&signed);
    scan["predicateType"] = "https://cosign.sigstore.dev/attestation/vuln/v1".into();
    let scan = with(document(&bundle(&ours, &scan).to_string(), None));
    refused(&spec, &scan, "has predicate type");
}

#[test]
fn the_manifest_that_was_signed_must_be_of_the_image_and_of_nothing_else() {
    let (ours, spec) = (Key::new(1), signed_image(&digest('1')));
    let layers = |digests: &[String]| {
        let layers = digests.iter();
        json!(
            layers
                .map(|digest| json!({"digest": digest}))
                .collect::<Vec<_>>()
        )
    };
    let sign_all = |manifests: &[&str]| {
        let outer = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manifests[0].as_bytes());
        let outer = format!("sha256:{}", hex::encode(outer));
        beside(manifests, vec![simple(&ours, &payload(&outer).to_string())])
    };
    let with = |more: &Value| sign_all(&[&manifest(&spec.digest, more)]);
    let other = with(&json!({"layers": layers(&[digest('2')])}));
    refused(
        &spec,
        &other,
        "of another image: the artefact's one layer is sha256:2222",
    );
    let two = with(&json!({"layers": layers(&[digest('2'), spec.digest.clone()])}));
    refused(&spec, &two, "has 2 layers");
    refused(&spec, &with(&json!({"layers": []})), "has 0 layers");
    for kind in ["vnd.oci.image.config", "vnd.docker.container.image"] {
        let kind = format!("application/{kind}.v1+json");
        let container = with(&json!({"config": {"mediaType": kind, "digest": digest('e')}}));
        refused(&spec, &container, "is a container image");
    }
    let older = json!({"annotations": {"org.opencontainers.image.version": "0.9"}});
    refused(
        &spec,
        &with(&older),
        "\"0.9\" was signed, and the DpuImage says \"1.0.0\"",
    );
    refused(&spec, &sign_all(&["{"]), "its manifest cannot be read");
    refused(
        &spec,
        &sign_all(&["{}", "{}", "{}"]),
        "its manifest cannot be read",
    );
    let long = format!("{{}}{}", " ".repeat(LONGEST_MANIFEST));
    refused(&spec, &sign_all(&[&long]), "its manifest cannot be read");

    let right = json!({"annotations": {"org.opencontainers.image.version": "1.0.0"}});
    let inner = manifest(&spec.digest, &right);
    let listed = digest_of(&inner, &spec.digest);
    let index = json!({"manifests": [{"digest": digest('3')}, {"digest": listed}]}).to_string();
    let trust = appraised(
        &spec,
        vec![ours.signer("ours")],
        &sign_all(&[&index, &inner]),
    )
    .trust;
    assert_eq!(trust, Trust::Signed("ours".to_owned()));
    refused(&spec, &sign_all(&[&index]), "has 0 layers");
    let stranger = json!({"manifests": [{"digest": digest('3')}]}).to_string();
    refused(
        &spec,
        &sign_all(&[&stranger, &inner]),
        "does not list the manifest sha256:",
    );
    let older = json!({"annotations": older["annotations"], "manifests": [{"digest": listed}]});
    refused(
        &spec,
        &sign_all(&[&older.to_string(), &inner]),
        "\"0.9\" was signed",
    );
}

#[test]
fn a_plain_signature_says_no_security_version_and_an_attestation_may() {
    let (ours, mut spec) = (Key::new(1), signed_image(&digest('1')));
    let manifest = manifest(&spec.digest, &json!({}));
    let signed = digest_of(&manifest, &spec.digest);
    let plain = simple(&ours, &payload(&signed).to_string());
    let predicate = json!({"version": "1.0.0", "securityVersion": 3});
    let said = bundle(&ours, &statement(&signed, predicate)).to_string();
    let said = document(&said, None);
    let found = |spec: &DpuImageSpec, signatures: Vec<ArtefactSignature>| {
        let told = beside(&[&manifest], signatures);
        appraised(spec, vec![ours.signer("ours")], &told)
    };
    assert_eq!(found(&spec, vec![said.clone()]).security_version, 3);
    // Whoever keeps the one or the other back gains nothing.
    assert_eq!(found(&spec, vec![said, plain.clone()]).security_version, 0);
    spec.security_version = Some(3);
    let told = beside(&[&manifest], vec![plain]);
    refused(
        &spec,
        &told,
        "securityVersion 0 was signed, and the DpuImage says 3",
    );
    let relabelled = json!({"version": "0.9", "securityVersion": 3});
    let relabelled = bundle(&ours, &statement(&signed, relabelled)).to_string();
    let told = beside(&[&manifest], vec![document(&relabelled, None)]);
    refused(&spec, &told, "\"0.9\" was signed");
    // A statement about the image itself belongs into a file of its own.
    let direct = json!({"version": "1.0.0", "securityVersion": 3});
    let direct = bundle(&ours, &statement(&spec.digest, direct)).to_string();
    let told = beside(&[&manifest], vec![document(&direct, None)]);
    refused(&spec, &told, "of another manifest: sha256:1111");
}

/// The same key may sign other artefacts for other purposes, and who signs a manifest does not say which.
#[test]
fn a_plain_signature_counts_only_where_the_policy_says_that_its_key_is_for_cards_alone() {
    let (spec, manifest) = (signed_image(DIGEST), of_cosign("manifest.json"));
    let simple = document(
        &of_cosign("simple.json"),
        Some(&of_cosign("p256.simple.sig")),
    );
    let of_bundle = |name: &str| document(&of_cosign(&format!("{name}.bundle.json")), None);
    for plain in [simple, of_bundle("sign"), of_bundle("message")] {
        let told = beside(&[&manifest], vec![plain]);
        let Trust::Refused(why) = appraised_by(&spec, vec![signer("p256")], &told).trust else {
            panic!("{told:?}");
        };
        assert!(why.contains("acceptsManifests"), "{why}");
        let found = appraised(&spec, vec![signer("p256")], &told);
        assert_eq!(found.trust, Trust::Signed("p256".to_owned()));
    }
    let said = beside(&[&manifest], vec![of_bundle("attest")]);
    let found = appraised_by(&spec, vec![signer("p256")], &said);
    assert_eq!(found.trust, Trust::Signed("p256".to_owned()));
    assert_eq!(found.security_version, 3);
}

#[test]
fn what_is_signed_of_an_index_hides_nothing_that_is_signed_of_the_manifest_in_it() {
    let (ours, spec) = (Key::new(1), signed_image(&digest('1')));
    let inner = manifest(&spec.digest, &json!({}));
    let listed = digest_of(&inner, &spec.digest);
    let index = json!({"manifests": [{"digest": listed}]}).to_string();
    let predicate = json!({"version": "1.0.0", "fits": {"families": ["BlueField-3"]}});
    let said = document(
        &bundle(&ours, &statement(&listed, predicate)).to_string(),
        None,
    );
    let message = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "messageSignature": {"signature": STANDARD.encode(ours.over(inner.as_bytes()))},
    });
    let junk = document("{}", None);
    for (signed, limits) in [(said, 1), (document(&message.to_string(), None), 0)] {
        let told = beside(&[&index, &inner], vec![junk.clone(), signed]);
        let found = appraised(&spec, vec![ours.signer("ours")], &told);
        assert_eq!(found.trust, Trust::Signed("ours".to_owned()));
        assert_eq!(found.fits.len(), limits);
    }
}

#[test]
fn signatures_of_which_some_could_not_be_read_are_judged_by_those_that_were() {
    let (ours, spec) = (Key::new(1), signed_image(&digest('1')));
    let manifest = manifest(&spec.digest, &json!({}));
    let signed = digest_of(&manifest, &spec.digest);
    let partly = |key: &Key| StoredSignature {
        reason: Some("NotFound".to_owned()),
        message: Some("a referrer is gone".to_owned()),
        ..beside(
            &[&manifest],
            vec![simple(key, &payload(&signed).to_string())],
        )
    };
    let by = |key: &Key| appraised(&spec, vec![ours.signer("ours")], &partly(key)).trust;
    assert_eq!(by(&ours), Trust::Signed("ours".to_owned()));
    let Trust::Refused(why) = by(&Key::new(2)) else {
        panic!("what cannot be read kept a key in force that is not the policy's");
    };
    assert!(why.contains("(NotFound): a referrer is gone"), "{why}");
}

proptest! {
    #[test]
    fn nothing_bent_is_trusted_unless_it_says_the_same(
        form in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_manifest in any::<bool>(),
    ) {
        let spec = signed_image(DIGEST);
        let (mut manifest, simple) = (of_cosign("manifest.json"), of_cosign("simple.json"));
        let mut signature = match form {
            0 => document(&simple, Some(&of_cosign("p256.simple.sig"))),
            1 => document(&of_cosign("sign.bundle.json"), None),
            2 => document(&of_cosign("attest.bundle.json"), None),
            _ => document(&of_cosign("message.bundle.json"), None),
        };
        let whole = manifest.clone();
        let target = if in_manifest { &mut manifest } else { &mut signature.document };
        let mut bytes = target.clone().into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte & 0x7f;
        }
        *target = String::from_utf8(bytes).unwrap();
        let told = beside(&[&manifest], vec![signature]);
        let found = appraised(&spec, vec![signer("p256")], &told);
        match found.trust {
            Trust::Signed(_) => {
                prop_assert_eq!(manifest, whole);
                prop_assert_eq!(found.security_version, if form == 2 { 3 } else { 0 });
            }
            Trust::Refused(why) => prop_assert!(why.len() < 1024 && !why.contains('\n')),
            other @ (Trust::NotAsked | Trust::NotKnown(_)) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn nothing_that_anybody_makes_up_counts(
        manifest in "\\PC{0,200}",
        text in "\\PC{0,200}",
        made in prop::option::of("[A-Za-z0-9+/=]{0,100}"),
    ) {
        let spec = signed_image(DIGEST);
        for manifest in [manifest, of_cosign("manifest.json")] {
            let told = beside(&[&manifest], vec![document(&text, made.as_deref())]);
            let found = appraised(&spec, vec![signer("p256")], &told);
            prop_assert!(matches!(found.trust, Trust::Refused(_)), "{:?}", found.trust);
        }
    }
}
