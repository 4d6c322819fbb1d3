//! Clients of the API server: for the site agent as its surroundings say, for
//! a card's agent from its seed alone.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::seed::Seed;

/// The longest that one request other than a watch may take.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither kubeconfig nor ServiceAccount.
    #[error("no way to the API server: {0}; set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Infer(String),
    /// A certificate bundle is unusable.
    #[error("CA bundle {what}: {reason}; give PEM certificates")]
    Ca {
        /// Where it comes from.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The seed's URL is unusable.
    #[error(
        "API server address {0:?} of the seed cannot be used: correct xpu.apiServer of the site agent and install again"
    )]
    Address(String),
    /// The client itself.
    #[error("no client for the API server: {0}")]
    Client(String),
}

/// What the API server said of a refusal, without the form it said it in.
pub fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    error.to_string()
}

/// As kubeconfig or the pod's ServiceAccount say.
pub async fn inferred() -> Result<(Client, Config), ClientError> {
    let mut config = Config::infer()
        .await
        .map_err(|error| ClientError::Infer(error.to_string()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    let client =
        Client::try_from(config.clone()).map_err(|error| ClientError::Client(error.to_string()))?;
    Ok((client, config))
}

/// The PEM bundle by which a configuration trusts its API server.
pub fn trusted_bundle(config: &Config) -> Result<String, ClientError> {
    if let Some(path) = &config.root_cert_file {
        return read_bundle(path);
    }
    let ders = config.root_cert.as_deref().unwrap_or_default();
    if ders.is_empty() {
        return Err(ClientError::Ca {
            what: "of the kubeconfig".to_owned(),
            reason: "there is none; set xpu.caFile".to_owned(),
        });
    }
    Ok(ders.iter().map(|der| pem(der)).collect())
}

/// Reads a PEM bundle and makes sure that it is one.
pub fn read_bundle(path: &Path) -> Result<String, ClientError> {
    let what = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ClientError::Ca {
        what: what.clone(),
        reason: error.to_string(),
    })?;
    certificates(&text, &what)?;
    Ok(text)
}

/// From a seed alone: no trust store, no kubeconfig, no resolver is needed.
pub fn from_seed(seed: &Seed) -> Result<Client, ClientError> {
    let url = seed
        .api_server
        .parse()
        .map_err(|_| ClientError::Address(seed.api_server.clone()))?;
    let mut config = Config::new(url);
    config.default_namespace = seed.namespace.clone();
    config.root_cert = Some(certificates(&seed.ca, "of the seed")?);
    config.connect_timeout = Some(Duration::from_secs(10));
    config.auth_info = serde_json::from_value::<AuthInfo>(serde_json::json!({
        "token": seed.token,
    }))
    .map_err(|_| ClientError::Client("the token is no text".to_owned()))?;
    Client::try_from(config).map_err(|error| ClientError::Client(error.to_string()))
}

fn certificates(pem: &str, what: &str) -> Result<Vec<Vec<u8>>, ClientError> {
    let failed = |reason: String| ClientError::Ca {
        what: what.to_owned(),
        reason,
    };
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|each| each.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(found)
}

fn pem(der: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_survive_the_way_from_der_to_a_seed_and_back() {
        let der = vec![7_u8; 200];
        let mut config = Config::new("https://10.0.0.1".parse().unwrap());
        config.root_cert = Some(vec![der.clone(), der.clone()]);
        let bundle = trusted_bundle(&config).unwrap();
        assert_eq!(
            certificates(&bundle, "test").unwrap(),
            vec![der.clone(), der]
        );
        assert!(certificates("nothing", "test").is_err());
    }
}
