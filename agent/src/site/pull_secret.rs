//! From the Secret that an image names to accounts, each for its own host.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use lockstep_crds::ACCOUNT_HOST;
use lockstep_store::Accounts;

use crate::site::judge::Refusal;
use crate::site::target::{TargetError, read_secret};

const DOCKER_CONFIG: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";

/// The accounts of a Secret, with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PullSecret {
    pub(super) accounts: Accounts,
    pub(super) version: String,
}

/// Reads the Secret `name`.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<PullSecret, TargetError> {
    let secret = read_secret(client, namespace, name).await?.ok_or_else(|| {
        Refusal::new(
            "SecretMissing",
            format!(
                "Secret {name}, which the image names in pullSecretRef, does not exist in namespace {namespace}; create it with type {}",
                DOCKER_CONFIG.0
            ),
        )
    })?;
    let accounts = accounts(name, &secret)?;
    let version = secret.metadata.resource_version.unwrap_or_default();
    Ok(PullSecret { accounts, version })
}

fn accounts(name: &str, secret: &Secret) -> Result<Accounts, Refusal> {
    let invalid = |what: &str, remedy: &str| {
        Refusal::new("SecretInvalid", format!("Secret {name} {what}; {remedy}"))
    };
    let value = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        let missing = || invalid(&format!("has no key {key}"), "write it with that key");
        data.map(|bytes| bytes.0.as_slice()).ok_or_else(missing)
    };
    let text = |key: &str| {
        let no_text = |_| invalid(&format!("holds no text under {key}"), "write it as text");
        std::str::from_utf8(value(key)?).map_err(no_text)
    };
    match secret.type_.as_deref() {
        Some(kind) if kind == DOCKER_CONFIG.0 => {
            Accounts::from_docker_config(value(DOCKER_CONFIG.1)?).map_err(|error| {
                invalid(
                    &format!("cannot be used: {error}"),
                    "make it anew with kubectl create secret docker-registry",
                )
            })
        }
        Some(BASIC_AUTH) => {
            let annotations = secret.metadata.annotations.as_ref();
            let host = annotations
                .and_then(|annotations| annotations.get(ACCOUNT_HOST))
                .ok_or_else(|| {
                    invalid(
                        "does not say which host its account is for, and so is shown to none",
                        &format!("annotate it with {ACCOUNT_HOST}: HOST[:PORT]"),
                    )
                })?;
            let (username, password) = (text("username")?, text("password")?);
            Accounts::one(host, username, password).map_err(|error| {
                invalid(
                    &format!("cannot be used: {error}"),
                    &format!("correct its keys and its annotation {ACCOUNT_HOST}"),
                )
            })
        }
        Some(_) | None => Err(invalid(
            "is of another type than an image can use",
            &format!(
                "make it anew with type {}, or {BASIC_AUTH}",
                DOCKER_CONFIG.0
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    fn secret(kind: &str, host: Option<&str>, data: &Value) -> Secret {
        let mut secret = json!({"metadata": {"name": "pull"}, "type": kind, "data": {}});
        for (key, value) in data.as_object().unwrap() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            secret["data"][key] = STANDARD.encode(text).into();
        }
        if let Some(host) = host {
            secret["metadata"]["annotations"] = json!({ACCOUNT_HOST: host});
        }
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn both_types_give_accounts() {
        let auths = json!({"auths": {"registry.test": {"username": "u", "password": "p"}}});
        let docker = secret(DOCKER_CONFIG.0, None, &json!({".dockerconfigjson": auths}));
        let basic = json!({"username": "u", "password": "p"});
        let basic = secret(BASIC_AUTH, Some("registry.test"), &basic);
        let expected = Accounts::one("registry.test", "u", "p").unwrap();
        assert_eq!(accounts("pull", &docker).unwrap(), expected);
        assert_eq!(accounts("pull", &basic).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_what_it_holds() {
        let account = json!({"username": "word-u", "password": "word-p"});
        for (secret, why) in [
            (secret("Opaque", None, &account), "another type"),
            // Such as the Secret of a BMC.
            (secret(BASIC_AUTH, None, &account), ACCOUNT_HOST),
            (secret(BASIC_AUTH, Some("a b"), &account), "cannot be used"),
            (
                secret(BASIC_AUTH, Some("a.test"), &json!({})),
                "no key username",
            ),
            (
                secret(DOCKER_CONFIG.0, None, &json!({})),
                "no key .dockerconfigjson",
            ),
            (
                secret(
                    DOCKER_CONFIG.0,
                    None,
                    &json!({".dockerconfigjson": {"word": 1}}),
                ),
                "no JSON of the form",
            ),
        ] {
            let refusal = accounts("pull", &secret).unwrap_err();
            assert_eq!(refusal.reason, "SecretInvalid");
            let said = refusal.message;
            assert!(said.contains(why) && !said.contains("word-"), "{said}");
        }
    }
}
