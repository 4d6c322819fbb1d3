//! What a registry may give out as an artefact and as its signatures by cosign.

use lockstep_crds::report::ArtefactSignature;
use lockstep_crds::{DpuImageSpec, ImageSigner};
use lockstep_trust::{Artefact, Signers, confirmed};
use serde_json::json;

/// Made by openssl for the tests of `operator/trust`.
const KEY: &str = include_str!("../../../operator/trust/tests/vectors/cosign/p256.pub.pem");
const MANIFEST: &str = include_str!("../../../operator/trust/tests/vectors/cosign/manifest.json");
const PAYLOAD: &str = include_str!("../../../operator/trust/tests/vectors/cosign/simple.json");
const MADE: &str = include_str!("../../../operator/trust/tests/vectors/cosign/p256.simple.sig");
const BUNDLES: [&str; 3] = [
    include_str!("../../../operator/trust/tests/vectors/cosign/sign.bundle.json"),
    include_str!("../../../operator/trust/tests/vectors/cosign/attest.bundle.json"),
    include_str!("../../../operator/trust/tests/vectors/cosign/message.bundle.json"),
];
/// Digest of the image that the manifest lists.
const IMAGE: &str = "sha256:a5df3fde7b200c3fa2791144c7e05c5c2bced4c6ad863d3a4cf76c972c1712f9";

pub(crate) fn samples() -> Vec<Vec<u8>> {
    let index = format!("{{\"manifests\": [{{\"digest\": \"{IMAGE}\"}}]}}");
    let mut samples = vec![MANIFEST.into(), PAYLOAD.into(), index.into_bytes()];
    samples.extend(BUNDLES.map(|bundle| bundle.as_bytes().to_vec()));
    samples
}

/// Bytes as a manifest, as an index, as a payload under a genuine signature, and as a bundle.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let image = json!({"digest": IMAGE, "version": "1.0.0", "sources": []});
    let Ok(image) = serde_json::from_value::<DpuImageSpec>(image) else {
        return;
    };
    let signers = Signers::new(&[ImageSigner {
        name: "releases".to_owned(),
        public_key: KEY.to_owned(),
        accepts_manifests: true,
    }]);
    let genuine = ArtefactSignature {
        document: PAYLOAD.to_owned(),
        signature: Some(MADE.to_owned()),
    };
    for manifests in [vec![text], vec![text, MANIFEST], vec![MANIFEST, text]] {
        let manifests: Vec<String> = manifests.into_iter().map(str::to_owned).collect();
        match Artefact::of(&manifests, IMAGE) {
            // Only what was signed is under the signature.
            Ok(artefact) => {
                if confirmed(&genuine, &artefact, &signers, &image).is_ok() {
                    assert_eq!(manifests[0], MANIFEST);
                }
            }
            Err(refusal) => is_short(&refusal),
        }
    }
    let artefact = Artefact::of(&[MANIFEST.to_owned()], IMAGE);
    let Ok(artefact) = artefact else { return };
    for signature in [None, Some(MADE.to_owned())] {
        let told = ArtefactSignature {
            document: text.to_owned(),
            signature,
        };
        match confirmed(&told, &artefact, &signers, &image) {
            Ok((signer, said)) => {
                assert_eq!(signer, "releases");
                assert!(said.security_version == 0 || said.security_version == 3);
            }
            Err(refusal) => is_short(&refusal),
        }
    }
}

/// What is told of a refusal goes into a condition.
fn is_short(refusal: &lockstep_trust::Refusal) {
    let told = refusal.to_string();
    assert!(told.len() < 1024 && !told.contains('\n'), "{told}");
}
