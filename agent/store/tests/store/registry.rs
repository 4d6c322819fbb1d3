//! An OCI registry that keeps a log of what it is asked and shown, and misbehaves as told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use lockstep_store::{Accounts, Digest, ImageRequest, ImageSource, Store, StoreConfig};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::site::Site;
use crate::tls::Authority;

pub(crate) const USER: &str = "puller";
pub(crate) const PASSWORD: &str = "the-right-word";

/// What the registry wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Wants {
    #[default]
    Nothing,
    Basic,
    /// A token, from this server.
    TokenFrom(String),
    /// What nobody has.
    TheImpossible,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    /// What was shown.
    pub(crate) authorization: Option<String>,
}

#[derive(Debug, Default)]
struct Script {
    manifests: BTreeMap<String, Vec<u8>>,
    /// What refers to a manifest, by its digest; the registry has no such list of others.
    referrers: BTreeMap<String, Value>,
    blobs: BTreeMap<String, Vec<u8>>,
    wants: Wants,
    /// Tokens that are good.
    tokens: Vec<String>,
    /// Every token is good for one request.
    tokens_end: bool,
    given: usize,
    cut_after: Option<usize>,
    redirect_blobs: Option<String>,
    status: Option<u16>,
    asked: Vec<Asked>,
}

pub(crate) struct Registry {
    pub(crate) port: u16,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Registry {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        let (port, server) = authority.serve("127.0.0.1", router).await;
        Self {
            port,
            script,
            server,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A source in the repository `cards/os`.
    pub(crate) fn source(&self, reference: &str, accounts: &Accounts) -> ImageSource {
        let text = format!("oci://{}/cards/os{reference}", self.host());
        ImageSource {
            place: text.parse().unwrap(),
            accounts: accounts.clone(),
        }
    }

    /// The account that is good here, for this host.
    pub(crate) fn account(&self) -> Accounts {
        Accounts::one(&self.host(), USER, PASSWORD).unwrap()
    }

    pub(crate) fn has(&self, blob: &[u8]) {
        let digest = Digest::of(blob).to_string();
        self.script
            .lock()
            .unwrap()
            .blobs
            .insert(digest, blob.to_vec());
    }

    /// Serves other bytes under the digest of a blob.
    pub(crate) fn replace_blob(&self, blob: &[u8], by: &[u8]) {
        let digest = Digest::of(blob).to_string();
        self.script
            .lock()
            .unwrap()
            .blobs
            .insert(digest, by.to_vec());
    }

    /// Has a manifest under its digest and, if there is one, a tag.
    pub(crate) fn push(&self, tag: Option<&str>, manifest: &Value) -> Digest {
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let mut script = self.script.lock().unwrap();
        if let Some(tag) = tag {
            script.manifests.insert(tag.to_owned(), bytes.clone());
        }
        script.manifests.insert(digest.to_string(), bytes);
        digest
    }

    /// An artefact with one layer under the tag `v1`.
    pub(crate) fn artefact(&self, image: &[u8]) -> Digest {
        self.has(image);
        self.push(Some("v1"), &manifest(&[image]))
    }

    /// Lists what refers to a manifest.
    pub(crate) fn refers(&self, manifest: &Digest, list: Value) {
        let mut script = self.script.lock().unwrap();
        script.referrers.insert(manifest.to_string(), list);
    }

    /// Other bytes under the name of a manifest.
    pub(crate) fn forge(&self, name: &str, bytes: &[u8]) {
        let mut script = self.script.lock().unwrap();
        script.manifests.insert(name.to_owned(), bytes.to_vec());
    }

    pub(crate) fn wants(&self, wants: Wants) {
        self.script.lock().unwrap().wants = wants;
    }

    pub(crate) fn token_server(&self) -> String {
        format!("https://{}/token", self.host())
    }

    pub(crate) fn end_tokens(&self) {
        self.script.lock().unwrap().tokens_end = true;
    }

    /// Cuts the next blob off after so many bytes.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.script.lock().unwrap().cut_after = Some(bytes);
    }

    pub(crate) fn redirect_blobs(&self, to: &str) {
        self.script.lock().unwrap().redirect_blobs = Some(to.to_owned());
    }

    /// Answers everything so, or as it should.
    pub(crate) fn status(&self, status: Option<u16>) {
        self.script.lock().unwrap().status = status;
    }

    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    /// What was asked, without the repository: `manifests/v1`.
    pub(crate) fn take_paths(&self) -> Vec<String> {
        let asked = self.take_asked().into_iter();
        asked
            .map(|asked| asked.path.replace("/v2/cards/os/", ""))
            .collect()
    }
}

pub(crate) fn layer(image: &[u8], title: &str) -> Value {
    json!({
        "mediaType": "application/octet-stream",
        "digest": Digest::of(image).to_string(), "size": image.len(),
        "annotations": {"org.opencontainers.image.title": title},
    })
}

pub(crate) fn manifest(images: &[&[u8]]) -> Value {
    let layers: Vec<Value> = (1..)
        .zip(images)
        .map(|(number, image)| layer(image, &format!("part-{number}.iso")))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2},
        "layers": layers,
    })
}

pub(crate) fn index(manifests: &[Digest]) -> Value {
    let entries: Vec<Value> = manifests
        .iter()
        .map(|digest| json!({"digest": digest.to_string(), "size": 1, "platform": {"architecture": "arm64", "os": "linux"}}))
        .collect();
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries})
}

/// A store that trusts the authority and no other.
pub(crate) fn open(site: &Site, authority: &Authority) -> Store {
    Store::open(StoreConfig {
        ca_bundle: Some(authority.pem.clone().into_bytes()),
        ..site.config()
    })
    .unwrap()
}

pub(crate) fn wanted(image: &[u8], sources: &[ImageSource]) -> ImageRequest {
    ImageRequest {
        digest: Digest::of(image),
        size: Some(image.len() as u64),
        sources: sources.to_vec(),
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let text = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let asked = Asked {
        path: uri.to_string(),
        range: text(header::RANGE),
        if_range: text(header::IF_RANGE),
        authorization: text(header::AUTHORIZATION),
    };
    let mut script = script.lock().unwrap();
    script.asked.push(asked.clone());
    if let Some(status) = script.status {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let right = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if uri.path() == "/token" {
        if asked.authorization.is_some_and(|shown| shown != right) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        script.given += 1;
        let token = format!("token-{}", script.given);
        script.tokens.push(token.clone());
        return json!({"token": token, "expires_in": 60})
            .to_string()
            .into_response();
    }
    let shown = asked.authorization.as_deref();
    let (enough, challenge) = match &script.wants {
        Wants::Nothing => (true, String::new()),
        Wants::Basic => (shown == Some(&right), "Basic realm=\"registry\"".to_owned()),
        Wants::TokenFrom(server) => {
            let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
            let good = token.is_some_and(|token| script.tokens.iter().any(|good| good == token));
            let challenge = format!(
                "Bearer realm=\"{server}\",service=\"registry\",scope=\"repository:cards/os:pull,push\""
            );
            (good, challenge)
        }
        Wants::TheImpossible => (false, "Negotiate".to_owned()),
    };
    if !enough {
        let header = [(header::WWW_AUTHENTICATE, challenge)];
        return (StatusCode::UNAUTHORIZED, header).into_response();
    }
    if script.tokens_end {
        script.tokens.clear();
    }
    let Some((kind, name)) = uri
        .path()
        .strip_prefix("/v2/cards/os/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if kind == "manifests" {
        return match script.manifests.get(name) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    if kind == "referrers" {
        return match script.referrers.get(name) {
            Some(list) => list.to_string().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    if let Some(to) = &script.redirect_blobs {
        let header = [(header::LOCATION, to.clone())];
        return (StatusCode::TEMPORARY_REDIRECT, header).into_response();
    }
    let Some(bytes) = script.blobs.get(name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    blob(&bytes, asked.range.as_deref(), script.cut_after.take())
}

/// Neither `ETag` nor `Last-Modified`: no registry has to send them.
fn blob(bytes: &[u8], range: Option<&str>, cut: Option<usize>) -> Response {
    let from = range.map_or(0, |range| {
        let from = range.strip_prefix("bytes=").unwrap();
        from.strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let rest = bytes[from..].to_vec();
    let mut response = Response::builder().header(header::CONTENT_LENGTH, rest.len());
    if range.is_some() {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    let body = match cut {
        None => Body::from(rest),
        Some(cut) => {
            let sent = rest[..cut].to_vec();
            let end = async {
                // Lets what was sent before leave the server.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            };
            Body::from_stream(stream::once(async { Ok(sent) }).chain(stream::once(end)))
        }
    };
    response.body(body).unwrap()
}
