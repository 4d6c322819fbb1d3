//! Who may say which images are trusted, and who makes images.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{AUTHOR, EDITOR, NAMESPACE, PERSON};

const POLICY: &str = "lockstep-image-trust";

/// Made with openssl for the tests of `operator/trust`; nobody has its private half.
const KEY: &str = include_str!("../../../../operator/trust/tests/vectors/ed25519.pub.pem");

pub(crate) fn policy(name: &str, images: Option<Value>) -> Value {
    let mut spec = json!({"mode": "Plan"});
    if let Some(images) = images {
        spec["images"] = images;
    }
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuBootPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

fn image(name: &str) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuImage",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "version": "1", "digest": format!("sha256:{}", "0".repeat(64)),
            "sources": ["https://192.0.2.9/a.iso"], "securityVersion": 3,
            "fits": {"vendors": ["NVIDIA"], "architectures": ["aarch64"]},
            "signatures": [{"dsse": {"sources": ["https://192.0.2.9/a.iso.dsse"]}}],
        },
    })
}

fn signed() -> Value {
    json!({
        "require": "Signed", "signers": [{"name": "releases", "publicKey": KEY}],
        "minimumSecurityVersion": 2,
    })
}

/// Whoever may edit everything says nothing of whom to trust.
pub(crate) async fn policies(cluster: &Cluster) {
    // Loose or strict: the first word is a decision.
    for images in [None, Some(json!({"require": "DigestOnly"})), Some(signed())] {
        let made = policy("trust", images);
        cluster.refuses(POLICY, "create", EDITOR, &made).await;
    }
    let said = cluster
        .write("create", EDITOR, &policy("trust", None))
        .await
        .unwrap_err();
    for word in ["verb trust on dpubootpolicies", "lockstep-admin", NAMESPACE] {
        assert!(said.contains(word), "{said}");
    }
    let strict = policy("trust", Some(signed()));
    cluster.allows("create", PERSON, &strict).await;
    let change = |change: Value| json!({"spec": change}).to_string();
    let patch = async |user: &str, change: &str| {
        let call = ["patch", "dpubp", "trust", "--type=merge", "-p", change];
        cluster.run(user, &call).await
    };
    let other = json!({"name": "mallory", "publicKey": KEY});
    for loose in [
        json!({"images": null}),
        json!({"images": {"require": "DigestOnly"}}),
        json!({"images": {"signers": [other]}}),
        json!({"images": {"minimumSecurityVersion": null}}),
        json!({"images": {"minimumSecurityVersion": 1}}),
    ] {
        let loose = change(loose);
        let call = ["patch", "dpubp", "trust", "--type=merge", "-p", &loose];
        cluster.refuses_call(POLICY, EDITOR, &call).await;
    }
    // Deleted and made anew it would be another word.
    cluster
        .run(EDITOR, &["delete", "dpubp", "trust"])
        .await
        .unwrap();
    let loose = policy("trust", None);
    cluster.refuses(POLICY, "create", EDITOR, &loose).await;
    cluster.allows("create", PERSON, &strict).await;
    // What has nothing to do with it stays theirs.
    patch(EDITOR, &change(json!({"mode": "Observe"})))
        .await
        .unwrap();
    patch(PERSON, &change(json!({"images": null})))
        .await
        .unwrap();
    // The API server's own view of a list by name, and of a policy that nothing could pass.
    for wrong in [
        json!({"require": "Signed"}),
        // A key that is misspelt is gone before anybody looks.
        json!({"required": "Signed"}),
        json!({"require": "Signed", "signers": [
            {"name": "a", "publicKey": KEY}, {"name": "a", "publicKey": KEY},
        ]}),
        json!({"require": "Signed", "signers": [{"name": "a", "publicKey": "ssh-ed25519 AAAA"}]}),
    ] {
        let refused = cluster
            .write("create", PERSON, &policy("wrong", Some(wrong)))
            .await;
        assert!(refused.unwrap_err().contains("spec.images"));
    }
}

/// Whoever makes images makes nothing else.
pub(crate) async fn authors(cluster: &Cluster) {
    cluster.allows("create", AUTHOR, &image("authored")).await;
    let change = r#"{"spec":{"signatures":[]}}"#;
    let call = ["patch", "dpuimg", "authored", "--type=merge", "-p", change];
    let said = cluster.run(AUTHOR, &call).await.unwrap_err();
    assert!(said.contains("immutable"), "{said}");
    let refused = cluster
        .write("create", AUTHOR, &policy("authored", None))
        .await;
    assert!(refused.unwrap_err().contains("forbidden"));
    cluster
        .run(AUTHOR, &["delete", "dpuimg", "authored"])
        .await
        .unwrap();
}
