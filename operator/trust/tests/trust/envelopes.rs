//! Each way in which an envelope does not count has its own reason.

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use lockstep_crds::ImageSigner;
use lockstep_trust::{
    Envelope, KeyError, LONGEST_ENVELOPE, MOST_SIGNATURES, PAYLOAD_TYPE, Refusal, Signers,
    Statement,
};
use serde_json::json;

use crate::signing::{DIGEST, Key, digest, envelope, statement, vector};

fn signer(kind: &str) -> ImageSigner {
    ImageSigner {
        name: kind.to_owned(),
        public_key: vector(&format!("{kind}.pub.pem")),
        accepts_manifests: false,
    }
}

/// What an envelope says, and who signed it.
fn open(text: &str, signers: &[ImageSigner]) -> Result<(String, Statement), Refusal> {
    let signers = Signers::new(signers);
    let envelope = Envelope::parse(text.as_bytes())?;
    let (signer, payload_type, payload) = envelope.opened(&signers)?;
    Ok((
        signer.name.clone(),
        Statement::parse(payload_type, payload)?,
    ))
}

#[test]
fn what_openssl_signed_is_verified_by_that_key_and_by_no_other() {
    let kinds = ["p256", "p384", "ed25519"];
    for kind in kinds {
        let text = vector(&format!("{kind}.dsse.json"));
        let (by, said) = open(&text, &kinds.map(signer)).unwrap();
        assert_eq!(by, kind);
        assert_eq!(said.digests, [DIGEST]);
        assert_eq!((said.version.as_str(), said.security_version), ("1.0.0", 3));
        assert_eq!(said.fits.unwrap().families, ["BlueField-3"]);
        let others = kinds.into_iter().filter(|other| *other != kind).map(signer);
        let others: Vec<_> = others.collect();
        let refused = open(&text, &others).unwrap_err();
        assert!(matches!(refused, Refusal::UnknownKey(_)), "{refused}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_and_sign_nothing() {
    let p256 = vector("p256.pub.pem");
    // A point that is on no curve.
    let bent: String = {
        let mut lines: Vec<String> = p256.lines().map(str::to_owned).collect();
        lines[2] = lines[2].replace(|c: char| c.is_ascii_lowercase(), "A");
        lines.join("\n")
    };
    let table = [
        (vector("rsa.pub.pem"), KeyError::OtherKind),
        (bent, KeyError::NotAKey),
        (p256.replace("PUBLIC", "PRIVATE"), KeyError::NotPem),
        (format!("{p256}{p256}"), KeyError::NotPem),
        (p256.replace("MF", "!!"), KeyError::NotPem),
        (String::new(), KeyError::NotPem),
    ];
    for (public_key, error) in table {
        let name = "k".to_owned();
        let signers = Signers::new(&[ImageSigner {
            name,
            public_key,
            accepts_manifests: false,
        }]);
        assert!(signers.usable.is_empty());
        assert_eq!(signers.unusable, [("k".to_owned(), error)]);
    }
    let rsa = signer("rsa");
    let refused = open(&vector("p256.dsse.json"), &[rsa])
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("rsa, but its publicKey is of no kind"),
        "{refused}"
    );
}

#[test]
fn one_of_several_signatures_is_enough_and_a_key_id_proves_nothing() {
    let (ours, theirs) = (Key::new(1), Key::new(2));
    let signers = [ours.signer("ours")];
    let payload = statement(&digest('1'), json!({"version": "1"})).to_string();
    let payload = payload.as_bytes();
    let by = |key: &Key, id: &str| key.signature(id, PAYLOAD_TYPE, payload);
    let sealed = |signatures: &[_]| envelope(PAYLOAD_TYPE, payload, signatures);
    for good in [
        sealed(&[by(&ours, "")]),
        sealed(&[by(&ours, "ours")]),
        sealed(&[by(&ours, "another name")]),
        sealed(&[by(&theirs, "theirs"), by(&theirs, "ours"), by(&ours, "")]),
    ] {
        assert_eq!(open(&good, &signers).unwrap().0, "ours");
    }
    let refused = open(&sealed(&[by(&theirs, "ours")]), &signers).unwrap_err();
    assert_eq!(refused, Refusal::BadSignature("ours".to_owned()));
    let refused = open(&sealed(&[by(&theirs, "")]), &signers).unwrap_err();
    assert_eq!(refused, Refusal::UnknownKey("ours".to_owned()));
}

#[test]
fn both_alphabets_of_base64_are_read_with_padding_and_without() {
    let key = Key::new(1);
    // Bytes of which both alphabets write some.
    let payload = statement(&digest('1'), json!({"version": "~~~???>>>"})).to_string();
    let made = key.made(PAYLOAD_TYPE, payload.as_bytes());
    let written = |engine: GeneralPurpose| {
        let signature = json!({"sig": engine.encode(&made)});
        json!({
            "payloadType": PAYLOAD_TYPE, "payload": engine.encode(&payload), "signatures": [signature],
        })
    };
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let text = written(engine).to_string();
        assert!(open(&text, &[key.signer("k")]).is_ok(), "{text}");
    }
    let mut both = written(STANDARD);
    both["payload"] = json!("ab-/");
    let refused = Envelope::parse(both.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, Refusal::NotAnEnvelope(_)), "{refused}");
}

#[test]
fn what_is_no_envelope_or_beyond_a_bound_is_refused_before_any_key_is_tried() {
    let key = Key::new(1);
    let good = key.sign(&statement(&digest('1'), json!({"version": "1"})));
    let signature = key.signature("", PAYLOAD_TYPE, b"x");
    let many = vec![signature; MOST_SIGNATURES + 1];
    let long = format!("{good}{}", " ".repeat(LONGEST_ENVELOPE));
    let twice = good.replacen('{', "{\"payload\": \"\", ", 1);
    let parse = |text: &str| Envelope::parse(text.as_bytes()).unwrap_err();
    assert_eq!(parse(&long), Refusal::TooLong(long.len()));
    assert!(matches!(parse(&twice), Refusal::NotJson(why) if why.contains("stands twice")));
    assert!(matches!(parse("<html>"), Refusal::NotJson(_)));
    assert!(matches!(parse("{}"), Refusal::NotAnEnvelope(_)));
    let not_base64 = good.replacen("\"sig\":\"", "\"sig\":\"*", 1);
    assert!(matches!(parse(&not_base64), Refusal::NotAnEnvelope(why) if why.contains("sig")));
    assert_eq!(
        parse(&envelope(PAYLOAD_TYPE, b"x", &[])),
        Refusal::NoSignature
    );
    let too_many = parse(&envelope(PAYLOAD_TYPE, b"x", &many));
    assert_eq!(too_many, Refusal::TooManySignatures(MOST_SIGNATURES + 1));
}

#[test]
fn what_is_signed_must_be_a_statement_about_an_image_and_nothing_else() {
    let key = Key::new(1);
    let signers = [key.signer("k")];
    let good = statement(&digest('1'), json!({"version": "1"}));
    let refused = |text: &str| open(text, &signers).unwrap_err();
    let other = key.seal("application/json", good.to_string().as_bytes());
    assert_eq!(
        refused(&other),
        Refusal::OtherPayloadType("application/json".to_owned())
    );
    let mut provenance = good.clone();
    provenance["predicateType"] = json!("https://slsa.dev/provenance/v1");
    let of_another = refused(&key.sign(&provenance));
    assert!(
        matches!(of_another, Refusal::OtherPredicate(_)),
        "{of_another}"
    );
    let bent = [
        ("_type", json!("https://in-toto.io/Statement/v2")),
        ("predicate", json!({})),
        ("predicate", json!({"version": 1})),
        // What a later release may add may be a limit.
        ("predicate", json!({"version": "1", "notBefore": "2030"})),
        (
            "predicate",
            json!({"version": "1", "fits": {"racks": ["7"]}}),
        ),
        (
            "predicate",
            json!({"version": "1", "fits": {"minimumDiskBytes": 0}}),
        ),
        (
            "predicate",
            json!({"version": "1", "fits": {"minimumDiskBytes": "64G"}}),
        ),
        ("predicate", json!({"version": "1", "securityVersion": -1})),
        (
            "predicate",
            json!({"version": "1", "securityVersion": 4_294_967_296_i64}),
        ),
        ("predicate", json!({"version": "1", "securityVersion": 1.5})),
        ("subject", json!({})),
    ];
    for (field, value) in bent {
        let mut statement = good.clone();
        statement[field] = value;
        let why = refused(&key.sign(&statement));
        assert!(
            matches!(why, Refusal::StatementMalformed(_)),
            "{statement}: {why}"
        );
    }
    let roomy = json!({"version": "1", "fits": {"minimumDiskBytes": 64_000_000_000_i64}});
    let said = open(&key.sign(&statement(&digest('1'), roomy)), &signers);
    let fits = said.unwrap().1.fits.unwrap();
    assert_eq!(fits.minimum_disk_bytes, Some(64_000_000_000));
    let twice = good.to_string().replacen('{', "{\"subject\": [], ", 1);
    let why = refused(&key.seal(PAYLOAD_TYPE, twice.as_bytes()));
    assert!(matches!(why, Refusal::StatementMalformed(_)), "{why}");
    let why = refused(&key.seal(PAYLOAD_TYPE, b"\xff"));
    assert!(matches!(why, Refusal::StatementMalformed(_)), "{why}");
}
