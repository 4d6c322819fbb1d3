//! What the signatures of an image come to under a policy.

use lockstep_crds::report::StoredSignature;
use lockstep_crds::{DpuImageSpec, ImageFits, ImageRequirement, ImageRules};
use lockstep_trust::{Trust, appraise};
use serde_json::json;

use crate::signing::{Key, digest, image, rules, saying, statement, told, with};

fn missing(reason: &str) -> StoredSignature {
    StoredSignature {
        source: "http://192.0.2.9/b.dsse".to_owned(),
        envelope: None,
        reason: Some(reason.to_owned()),
        message: Some("no answer; ask somebody".to_owned()),
        ..told("")
    }
}

fn trust(image: &DpuImageSpec, told: &[StoredSignature]) -> Trust {
    let rules = rules(vec![Key::new(1).signer("ours")]);
    appraise(Some(&rules), image, Some(told)).trust
}

#[track_caller]
fn refused(image: &DpuImageSpec, told: &[StoredSignature], words: &str) {
    let found = trust(image, told);
    let Trust::Refused(why) = found else {
        panic!("{found:?}");
    };
    assert!(why.contains(words), "{why}");
}

#[test]
fn without_a_policy_that_asks_the_images_own_word_counts() {
    let mut spec = image(&digest('1'));
    spec.security_version = Some(4);
    spec.fits = Some(ImageFits::default());
    let open = ImageRules {
        require: ImageRequirement::DigestOnly,
        ..rules(vec![])
    };
    for rules in [None, Some(&open)] {
        let found = appraise(rules, &spec, None);
        assert_eq!(found.trust, Trust::NotAsked);
        assert_eq!(found.security_version, 4);
        assert_eq!(found.fits, [ImageFits::default()]);
    }
}

#[test]
fn a_signature_counts_for_the_very_image_as_it_was_signed() {
    let (ours, spec) = (Key::new(1), image(&digest('1')));
    let about = |digest: &str, predicate| told(&ours.sign(&statement(digest, predicate)));
    let good = || about(&spec.digest, json!({"version": "1.0.0"}));
    assert_eq!(trust(&spec, &[good()]), Trust::Signed("ours".to_owned()));

    let other = about(&digest('2'), json!({"version": "1.0.0"}));
    refused(
        &spec,
        std::slice::from_ref(&other),
        "of another image: sha256:2222",
    );
    let renamed = about(&spec.digest, json!({"version": "2.0.0"}));
    refused(
        &spec,
        &[renamed],
        "\"2.0.0\" was signed, and the DpuImage says \"1.0.0\"",
    );
    let theirs = Key::new(2).sign(&statement(&spec.digest, json!({"version": "1.0.0"})));
    refused(
        &spec,
        &[told(&theirs)],
        "not signed by any of the policy's signers (ours)",
    );
    refused(
        &spec,
        &[told("junk")],
        "http://192.0.2.9/a.dsse: the envelope is no sound JSON",
    );

    // What does not count takes nothing from what does.
    let both = [other, told("junk"), good()];
    assert_eq!(trust(&spec, &both), Trust::Signed("ours".to_owned()));
    // An upper-case digest is another text, and in-toto writes lower case.
    let shouted = about(&spec.digest.to_uppercase(), json!({"version": "1.0.0"}));
    assert!(matches!(
        trust(&image(&digest('a')), &[shouted]),
        Trust::Refused(_)
    ));
}

#[test]
fn what_was_signed_counts_and_not_what_the_image_says_of_itself() {
    let ours = Key::new(1);
    let mut spec = image(&digest('1'));
    spec.fits = Some(ImageFits {
        vendors: vec!["NVIDIA".to_owned()],
        ..ImageFits::default()
    });
    let predicate = json!({
        "version": "1.0.0", "securityVersion": 3, "fits": {"families": ["BlueField-3"]},
    });
    let signed = told(&ours.sign(&statement(&spec.digest, predicate)));
    let policy = rules(vec![ours.signer("ours")]);
    let found = appraise(Some(&policy), &spec, Some(std::slice::from_ref(&signed)));
    assert_eq!(found.security_version, 3);
    assert_eq!(found.fits.len(), 2, "the image's own limits hold as well");
    assert_eq!(found.fits[1].families, ["BlueField-3"]);

    spec.security_version = Some(9);
    refused(
        &spec,
        std::slice::from_ref(&signed),
        "securityVersion 3 was signed, and the DpuImage says 9",
    );
    let untrusted = appraise(Some(&policy), &spec, Some(&[signed]));
    assert_eq!(untrusted.security_version, 0);
}

/// Bytes that are good as one thing are not good as another, nor with somebody else's script beside them.
#[test]
fn what_is_made_of_signed_bytes_must_be_signed_too() {
    let ours = Key::new(1);
    let digest = digest('1');
    let signed = |more: serde_json::Value| {
        let predicate = with(json!({"version": "1.0.0"}), &more);
        told(&ours.sign(&statement(&digest, predicate)))
    };
    let script = "#!/bin/sh\n";
    let of_script = "sha256:a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf";
    let firmware = json!({"kind": "Firmware", "component": "DPU_NIC"});
    let service = json!({"kind": "App", "service": "responder"});
    let file = json!({"files": [{"slot": "bf.cfg", "template": script}]});
    let table = [
        (json!({}), json!({})),
        (json!({"kind": "Os"}), json!({"kind": "Os", "files": {}})),
        (json!({"kind": "Wiper"}), json!({"kind": "Wiper"})),
        (firmware.clone(), firmware),
        (service.clone(), service),
        (file.clone(), json!({"files": {"bf.cfg": of_script}})),
    ];
    let others = [
        json!({"kind": "Bundle"}),
        json!({"kind": "Firmware", "component": "ATF"}),
        json!({"kind": "Bmc", "component": "DPU_NIC"}),
        json!({"kind": "App", "service": "other"}),
        json!({"files": {"bf.cfg": of_script.replace('a', "b")}}),
        json!({"files": {"bf.cfg": of_script, "user-data": of_script}}),
    ];
    for (index, (said, own)) in table.iter().enumerate() {
        let spec = saying(&image(&digest), said);
        let good = signed(own.clone());
        assert_eq!(
            trust(&spec, &[good]),
            Trust::Signed("ours".to_owned()),
            "{said}"
        );
        // The first two say the same.
        let those_of_others = table.iter().enumerate();
        let those_of_others = those_of_others
            .filter(|(other, _)| index.max(1) != (*other).max(1))
            .map(|(_, (_, own))| own);
        for other in those_of_others.chain(&others) {
            refused(&spec, &[signed(other.clone())], "was signed, and the");
        }
    }
    // What is called like nothing is something.
    let spec = saying(&image(&digest), &json!({"kind": "App", "service": "none"}));
    refused(
        &spec,
        &[signed(json!({"kind": "App"}))],
        "service none was signed",
    );
    // Signed anew beside what was signed before: whoever takes one of them takes both.
    let both = [
        signed(json!({})),
        signed(json!({"kind": "App", "service": "none"})),
    ];
    assert_eq!(trust(&spec, &both), Trust::Signed("ours".to_owned()));
    let spec = saying(&image(&digest), &file);
    let words = format!(
        "for files.bf.cfg none was signed, and the template in the DpuImage has {of_script}"
    );
    refused(&spec, &[signed(json!({}))], &words);
    refused(
        &image(&digest),
        &[signed(json!({"kind": "Firmware", "component": "DPU_NIC"}))],
        "kind Firmware was signed, and the DpuImage says Os",
    );
}

/// A mirror that serves an old one gains nothing.
#[test]
fn of_two_statements_the_lower_security_version_and_all_limits_count() {
    let (ours, spec) = (Key::new(1), image(&digest('1')));
    let saying = |predicate| told(&ours.sign(&statement(&spec.digest, predicate)));
    let (old, new) = (
        saying(json!({"version": "1.0.0", "securityVersion": 2, "fits": {"vendors": ["A"]}})),
        saying(json!({"version": "1.0.0", "securityVersion": 5, "fits": {"vendors": ["B"]}})),
    );
    let policy = rules(vec![ours.signer("ours")]);
    for both in [[old.clone(), new.clone()], [new, old]] {
        let found = appraise(Some(&policy), &spec, Some(&both));
        assert_eq!((found.security_version, found.fits.len()), (2, 2));
    }
}

/// The agent may not have read again since another object named more of them.
#[test]
fn one_that_counts_does_not_stand_for_another_that_is_named_and_was_not_passed_on() {
    let mut spec = image(&digest('1'));
    let ours = Key::new(1);
    let said = |predicate| told(&ours.sign(&statement(&spec.digest, predicate)));
    let (first, second) = (
        said(json!({"version": "1.0.0", "securityVersion": 5})),
        StoredSignature {
            source: "https://mirror.test/limits.dsse".to_owned(),
            ..said(json!({"version": "1.0.0", "fits": {"vendors": ["B"]}}))
        },
    );
    spec.signatures.extend(
        serde_json::from_value::<Vec<_>>(json!([{"dsse": {"sources": [
            "https://192.0.2.9/limits.dsse?t=1", "https://mirror.test:443/limits.dsse?t=2",
        ]}}]))
        .unwrap(),
    );
    let found = trust(&spec, std::slice::from_ref(&first));
    let Trust::NotKnown(why) = found else {
        panic!("{found:?}");
    };
    assert!(why.contains("https://192.0.2.9/limits.dsse"), "{why}");
    assert!(!why.contains("t=1"), "{why}");
    let passed_on = [second.clone(), first.clone()];
    assert_eq!(trust(&spec, &passed_on), Trust::Signed("ours".to_owned()));
    // One that is said to come from both places is one.
    let twice = StoredSignature {
        source: second.source.clone(),
        ..first.clone()
    };
    let found = trust(&spec, &[first.clone(), twice]);
    assert!(matches!(found, Trust::NotKnown(_)), "{found:?}");
    // What could not be read without an account was read with one.
    let unread = StoredSignature {
        source: second.source.clone(),
        ..missing("Unauthorized")
    };
    let found = trust(&spec, &[unread.clone(), second, first.clone()]);
    assert_eq!(found, Trust::Signed("ours".to_owned()));
    let found = trust(&spec, &[unread, first]);
    assert!(matches!(found, Trust::NotKnown(_)), "{found:?}");
}

#[test]
fn what_could_not_be_read_is_neither_trusted_nor_refused() {
    let spec = image(&digest('1'));
    let waits = |told: Option<&[StoredSignature]>| {
        let rules = rules(vec![Key::new(1).signer("ours")]);
        let found = appraise(Some(&rules), &spec, told).trust;
        let Trust::NotKnown(why) = found else {
            panic!("{found:?}");
        };
        why
    };
    // An older agent passes nothing on.
    assert!(waits(None).contains("has not passed on the signature at http://192.0.2.9/a.dsse"));
    assert!(
        waits(Some(&[])).contains("has not passed on the signature at http://192.0.2.9/a.dsse")
    );
    let why = waits(Some(&[missing("NotFound")]));
    assert!(why.contains("(NotFound): no answer; ask somebody"), "{why}");
    waits(Some(&[told("junk"), missing("NotFound")]));
    // One that counts does not stand for one that may say more.
    let envelope = Key::new(1).sign(&statement(&spec.digest, json!({"version": "1.0.0"})));
    for both in [
        [told(&envelope), missing("NotFound")],
        [missing("NotFound"), told(&envelope)],
    ] {
        let why = waits(Some(&both));
        assert!(why.contains("(NotFound): no answer; ask somebody"), "{why}");
    }

    let mut twice = spec.clone();
    twice.signatures.extend(spec.signatures.clone());
    refused(&twice, &[told("junk")], "no sound JSON");
    let mut unsigned = spec;
    unsigned.signatures.clear();
    refused(&unsigned, &[], "the DpuImage names no signature");
    // Another object for the same bytes may name one.
    let envelope = Key::new(1).sign(&statement(&unsigned.digest, json!({"version": "1.0.0"})));
    let found = trust(&unsigned, &[told(&envelope)]);
    assert_eq!(found, Trust::Signed("ours".to_owned()));
}
