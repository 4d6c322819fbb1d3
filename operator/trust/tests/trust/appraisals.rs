//! What the signatures of an image come to under a policy.

use lockstep_crds::report::StoredSignature;
use lockstep_crds::{DpuImageSpec, ImageFits, ImageRequirement, ImageRules};
use lockstep_trust::{Trust, appraise};
use serde_json::json;

use crate::signing::{Key, digest, image, rules, statement, told};

fn missing(reason: &str) -> StoredSignature {
    StoredSignature {
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

/// A site that keeps one of two statements back, or a mirror that serves an old one, gains nothing.
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
    assert!(waits(None).contains("has not passed its signatures on"));
    assert!(waits(Some(&[])).contains("has not passed its signatures on"));
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
