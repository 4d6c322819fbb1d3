//! Whatever is bent, nothing counts but what was signed.

use lockstep_trust::{Envelope, PAYLOAD_TYPE, Signers, Statement, Trust, appraise, pae};
use proptest::prelude::*;
use serde_json::json;

use crate::signing::{Key, digest, image, rules, statement, told};

fn signed() -> String {
    let predicate = json!({"version": "1.0.0", "securityVersion": 3});
    Key::new(1).sign(&statement(&digest('1'), predicate))
}

proptest! {
    #[test]
    fn a_bent_envelope_is_refused_or_says_the_same(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = signed().into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let signers = Signers::new(&[Key::new(1).signer("ours")]);
        if let Ok(envelope) = Envelope::parse(&bytes)
            && let Ok((_, payload_type, payload)) = envelope.opened(&signers)
        {
            let said = Statement::parse(payload_type, payload).unwrap();
            prop_assert_eq!(said.digests, [digest('1')]);
            prop_assert_eq!((said.version.as_str(), said.security_version), ("1.0.0", 3));
        }
    }

    #[test]
    fn no_payload_passes_under_a_signature_of_another(
        other_type in "\\PC{0,40}",
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let genuine = statement(&digest('1'), json!({"version": "1.0.0"})).to_string();
        let key = Key::new(1);
        let signers = Signers::new(&[key.signer("ours")]);
        let theft = key.signature("", PAYLOAD_TYPE, genuine.as_bytes());
        for (payload_type, payload) in [
            (other_type.as_str(), genuine.as_bytes()),
            (PAYLOAD_TYPE, payload.as_slice()),
        ] {
            let text = crate::signing::envelope(payload_type, payload, std::slice::from_ref(&theft));
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            let same = payload_type == PAYLOAD_TYPE && payload == genuine.as_bytes();
            prop_assert_eq!(envelope.opened(&signers).is_ok(), same);
        }
    }

    #[test]
    fn type_and_payload_do_not_run_into_each_other(
        one in ("[a-z0-9 ]{0,6}", prop::collection::vec(b'0'..b'4', 0..6)),
        other in ("[a-z0-9 ]{0,6}", prop::collection::vec(b'0'..b'4', 0..6)),
    ) {
        let same = one == other;
        prop_assert_eq!(pae(&one.0, &one.1) == pae(&other.0, &other.1), same);
    }

    #[test]
    fn nothing_that_anybody_makes_up_is_trusted(text in prop_oneof![
        "\\PC{0,200}",
        prop::collection::vec(any::<u8>(), 0..80)
            .prop_map(|payload| Key::new(2).seal(PAYLOAD_TYPE, &payload)),
    ]) {
        let rules = rules(vec![Key::new(1).signer("ours")]);
        let found = appraise(Some(&rules), &image(&digest('1')), Some(&[told(&text)]));
        prop_assert!(matches!(found.trust, Trust::Refused(_)), "{:?}", found.trust);
        prop_assert_eq!(found.security_version, 0);
    }
}
