//! Kubeconfig files that hold everything, so that they can be copied anywhere.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::pki::Pair;

/// How a client proves who it is.
#[derive(Debug)]
pub(crate) enum Credential<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// A name that the apiserver's certificate always holds, for clients that reach the
/// apiserver at an address unknown when it was issued.
const CERTIFIED_NAME: &str = "kubernetes.default.svc";

/// The text of a kubeconfig for the server at `url`.
pub(crate) fn render(url: &str, ca: &str, credential: &Credential<'_>) -> String {
    let user = match credential {
        Credential::Certificate(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{
            "name": "lab",
            "cluster": {
                "server": url,
                "tls-server-name": CERTIFIED_NAME,
                "certificate-authority-data": STANDARD.encode(ca),
            },
        }],
        "users": [{ "name": "lab", "user": user }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
    });
    // JSON is YAML, and every client reads it.
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_read_it() {
        let text = render("https://127.0.0.1:6443", "ca", &Credential::Token("secret"));
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Y2E="));
        assert_eq!(read.current_context.as_deref(), Some("lab"));
    }
}
