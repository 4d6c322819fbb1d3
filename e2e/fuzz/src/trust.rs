//! Signatures of images: what a mirror may serve, and what somebody may sign.

use lockstep_crds::ImageSigner;
use lockstep_trust::{Envelope, PAYLOAD_TYPE, Signers, Statement};

/// Made by openssl for the tests of `operator/trust`.
const KEY: &str = include_str!("../../../operator/trust/tests/vectors/p256.pub.pem");
const ENVELOPE: &str = include_str!("../../../operator/trust/tests/vectors/p256.dsse.json");
const STATEMENT: &str = include_str!("../../../operator/trust/tests/vectors/statement.json");

pub(crate) fn samples() -> Vec<Vec<u8>> {
    vec![
        ENVELOPE.into(),
        STATEMENT.into(),
        br#"{"payloadType": "", "payload": "", "signatures": [{"sig": "_-8"}]}"#.to_vec(),
    ]
}

/// Bytes as an envelope, and as a statement that was signed.
pub(crate) fn run(bytes: &[u8]) {
    let signers = Signers::new(&[ImageSigner {
        name: "releases".to_owned(),
        public_key: KEY.to_owned(),
        accepts_manifests: false,
    }]);
    match Envelope::parse(bytes) {
        Ok(envelope) => {
            let opened = envelope.opened(&signers);
            assert_eq!(
                format!("{opened:?}"),
                format!("{:?}", envelope.opened(&signers))
            );
            // Nobody who fuzzes has the key: what is verified is what was signed.
            if let Ok((_, payload_type, payload)) = opened {
                assert_eq!(
                    (payload_type, payload),
                    (PAYLOAD_TYPE, STATEMENT.as_bytes())
                );
            }
        }
        Err(refusal) => is_short(&refusal),
    }
    match Statement::parse(PAYLOAD_TYPE, bytes) {
        Ok(said) => assert!(said.security_version >= 0 && said.digests.len() <= bytes.len()),
        Err(refusal) => is_short(&refusal),
    }
}

/// What is told of a refusal goes into a condition.
fn is_short(refusal: &lockstep_trust::Refusal) {
    let told = refusal.to_string();
    assert!(told.len() < 1024 && !told.contains('\n'), "{told}");
}
