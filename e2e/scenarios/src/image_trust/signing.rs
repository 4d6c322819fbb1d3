//! Signing images as a user would: with openssl, and with nothing of ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Somebody with a key of their own.
pub(crate) struct Signer {
    folder: PathBuf,
    name: &'static str,
}

impl Signer {
    /// The signer of that name who works in this folder; gets a key on first use.
    pub(crate) async fn of(folder: &Path, name: &'static str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let signer = Self {
            folder: folder.to_owned(),
            name,
        };
        let (key, public) = (signer.path("key"), signer.path("pub"));
        if !key.exists() {
            let curve = [
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey",
                "-noout",
                "-out",
            ];
            openssl(&curve, &[&key]).await?;
            openssl(
                &["pkey", "-pubout", "-in"],
                &[&key, "-out".as_ref(), &public],
            )
            .await?;
        }
        Ok(signer)
    }

    /// As a policy names them.
    pub(crate) fn in_policy(&self) -> Result<Value> {
        let public = fs::read_to_string(self.path("pub")).context("no public key")?;
        Ok(json!({"name": self.name, "publicKey": public}))
    }

    /// Signs what is said of an image, into a file of an envelope.
    pub(crate) async fn sign(&self, digest: &str, predicate: &Value) -> Result<PathBuf> {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "image.iso", "digest": {"sha256": digest}}],
            "predicateType": "https://provisioning.opiproject.org/image/v1",
            "predicate": predicate,
        })
        .to_string();
        let envelope = self.seal(self.name, &payload).await?;
        let file = self.path("dsse");
        fs::write(&file, envelope.to_string()).context("cannot write the envelope")?;
        Ok(file)
    }

    /// An envelope around a statement.
    pub(crate) async fn seal(&self, key_id: &str, statement: &str) -> Result<Value> {
        let length = statement.len();
        let message = format!(
            "DSSEv1 {} {PAYLOAD_TYPE} {length} {statement}",
            PAYLOAD_TYPE.len()
        );
        Ok(json!({
            "payloadType": PAYLOAD_TYPE,
            "payload": STANDARD.encode(statement),
            "signatures": [{"keyid": key_id, "sig": self.made(&message).await?}],
        }))
    }

    /// The signature of bytes as they are, in base64.
    pub(crate) async fn made(&self, message: &str) -> Result<String> {
        let (to_sign, signature) = (self.path("to-sign"), self.path("sig"));
        fs::write(&to_sign, message).context("cannot write what is to be signed")?;
        let key = self.path("key");
        let made = [
            key.as_ref(),
            "-out".as_ref(),
            signature.as_path(),
            to_sign.as_path(),
        ];
        openssl(&["dgst", "-sha256", "-sign"], &made).await?;
        let signature = fs::read(&signature).context("openssl wrote no signature")?;
        Ok(STANDARD.encode(signature))
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(self.name).with_extension(extension)
    }
}

async fn openssl(args: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new("openssl")
        .args(args)
        .args(paths)
        .output()
        .await
        .context("cannot run openssl; install the package openssl")?;
    ensure!(
        output.status.success(),
        "openssl {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
