//! From an endpoint in a spec to a target that can be dialled.
//!
//! Secret and ConfigMap are read by name when they are needed; nothing is
//! listed or watched. What is missing or wrong is told with its remedy, and
//! is looked for again by the caller.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use lockstep_crds::{BmcEndpoint, MachineIdentity, TlsTrust};
use lockstep_redfish::{BmcTarget, Credentials, ExpectedIdentity, SpkiPin};

use crate::kube_client::{REQUEST_DEADLINE, said};
use crate::site::judge::Refusal;

/// A target, and what it was made of.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The target.
    pub target: BmcTarget,
    /// Changes whenever spec, Secret or CA change: only then is a new session
    /// needed, and only then is a refused credential worth another try.
    pub version: String,
    /// Changes whenever the Secret is written.
    pub secret_version: String,
}

/// There is no target.
#[derive(Debug)]
pub enum TargetError {
    /// A person has to correct something.
    Unusable(Refusal),
    /// The API server did not say, or the agent may not ask; what was resolved before still counts.
    NotTold(Refusal),
}

/// Why there is no target where the API server gave no answer. It is asked again soon.
pub(super) const NOT_ANSWERED: &str = "CredentialsNotRead";

impl From<Refusal> for TargetError {
    fn from(refusal: Refusal) -> Self {
        Self::Unusable(refusal)
    }
}

/// Resolves an endpoint in `namespace`.
pub async fn resolve(
    client: &Client,
    namespace: &str,
    endpoint: &BmcEndpoint,
    identity: Option<&MachineIdentity>,
) -> Result<Resolved, TargetError> {
    let name = &endpoint.credentials_ref.name;
    let (credentials, secret_version) = read_credentials(client, namespace, name).await?;
    let mut version = version(&secret_version, endpoint);
    let tls = match endpoint.tls.trust {
        TlsTrust::PlainHttp => lockstep_redfish::TlsTrust::PlainHttp,
        TlsTrust::NoVerification => lockstep_redfish::TlsTrust::NoVerification,
        TlsTrust::PinnedKey => lockstep_redfish::TlsTrust::PinnedKey(pin(endpoint)?),
        TlsTrust::Ca => {
            let name = endpoint
                .tls
                .ca_config_map_ref
                .as_ref()
                .map_or("", |reference| reference.name.as_str());
            let (bundle, map_version) = read_bundle(client, namespace, name).await?;
            version.push('/');
            version.push_str(&map_version);
            lockstep_redfish::TlsTrust::CaBundle(bundle)
        }
    };
    let address = endpoint.address.parse().map_err(|_| {
        Refusal::new(
            "AddressInvalid",
            format!("{} is no URL; write https://HOST[:PORT]", endpoint.address),
        )
    })?;
    Ok(Resolved {
        target: BmcTarget {
            address,
            system_path: endpoint.system_path.clone(),
            credentials,
            tls,
            expected: expected(identity),
        },
        version,
        secret_version,
    })
}

fn expected(identity: Option<&MachineIdentity>) -> ExpectedIdentity {
    ExpectedIdentity {
        system_uuid: identity.and_then(|identity| identity.system_uuid.clone()),
        serial_number: identity.and_then(|identity| identity.serial_number.clone()),
        tls_pin: None,
    }
}

fn version(secret: &str, endpoint: &BmcEndpoint) -> String {
    let endpoint = serde_json::to_string(endpoint).unwrap_or_default();
    format!("{endpoint}/{secret}")
}

/// Reads the account in a Secret, with the version of the Secret.
pub(super) async fn read_credentials(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(Credentials, String), TargetError> {
    let secret = read_secret(client, namespace, name).await?.ok_or_else(|| {
        Refusal::new(
            "SecretMissing",
            format!(
                "Secret {name} does not exist in namespace {namespace}; create it with type kubernetes.io/basic-auth and the keys username and password"
            ),
        )
    })?;
    let version = secret.metadata.resource_version.clone();
    Ok((credentials(name, &secret)?, version.unwrap_or_default()))
}

/// Reads a Secret by name, if there is one.
pub(super) async fn read_secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Secret>, TargetError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("Secret {name}");
    get(&what, namespace, secrets.get_opt(name)).await
}

/// Reads the PEM bundle in a ConfigMap, with the version of the ConfigMap.
pub(super) async fn read_bundle(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(String, String), TargetError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let what = format!("ConfigMap {name}");
    let map = get(&what, namespace, maps.get_opt(name)).await?;
    let bundle = map
        .as_ref()
        .and_then(|map| map.data.as_ref()?.get("ca.crt").cloned())
        .ok_or_else(|| {
            Refusal::new(
                "CaMissing",
                format!(
                    "ConfigMap {name} with the key ca.crt does not exist in namespace {namespace}; create it with the PEM bundle that signs the BMC's certificate"
                ),
            )
        })?;
    let version = map.and_then(|map| map.metadata.resource_version);
    Ok((bundle, version.unwrap_or_default()))
}

fn credentials(name: &str, secret: &Secret) -> Result<Credentials, Refusal> {
    let invalid = |what: &str| {
        Refusal::new(
            "SecretInvalid",
            format!("Secret {name} {what}; give it the keys username and password as text"),
        )
    };
    let value = |key: &str| -> Result<String, Refusal> {
        let bytes = secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .ok_or_else(|| invalid(&format!("has no key {key}")))?;
        let text = String::from_utf8(bytes.0.clone())
            .map_err(|_| invalid(&format!("holds no text under {key}")))?;
        if text.is_empty() {
            return Err(invalid(&format!("holds nothing under {key}")));
        }
        Ok(text)
    };
    Ok(Credentials {
        username: value("username")?,
        password: value("password")?,
    })
}

fn pin(endpoint: &BmcEndpoint) -> Result<SpkiPin, Refusal> {
    let text = endpoint
        .tls
        .pinned_key_sha256
        .as_deref()
        .unwrap_or_default();
    text.parse()
        .map_err(|error| Refusal::new("PinInvalid", format!("tls.pinnedKeySha256: {error}")))
}

async fn get<T>(
    what: &str,
    namespace: &str,
    call: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Option<T>, TargetError> {
    let not_answered = |why: &str| {
        let message = format!(
            "the API server gave no answer for {what} in namespace {namespace} and is asked again by itself; look after it if this lasts: {why}"
        );
        TargetError::NotTold(Refusal::new(NOT_ANSWERED, message))
    };
    match tokio::time::timeout(REQUEST_DEADLINE, call).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let message = format!(
                "the site agent may not read {what} in namespace {namespace}; correct the name, or give its Role the verb get for it"
            );
            Err(TargetError::NotTold(Refusal::new(
                "CredentialsForbidden",
                message,
            )))
        }
        Ok(Err(error)) => Err(not_answered(&said(&error))),
        Err(_) => Err(not_answered("none in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(data: &serde_json::Value) -> Secret {
        serde_json::from_value(json!({"metadata": {"name": "c"}, "data": data})).unwrap()
    }

    #[test]
    fn a_secret_needs_both_keys_as_text() {
        let good = secret(&json!({"username": "YQ==", "password": "Yg=="}));
        let found = credentials("c", &good).unwrap();
        assert_eq!(
            (found.username.as_str(), found.password.as_str()),
            ("a", "b")
        );
        for data in [
            json!({}),
            json!({"username": "YQ=="}),
            json!({"username": "YQ==", "password": ""}),
            json!({"username": "YQ==", "password": "/w=="}),
        ] {
            let refusal = credentials("c", &secret(&data)).unwrap_err();
            assert_eq!(refusal.reason, "SecretInvalid");
        }
    }
}
