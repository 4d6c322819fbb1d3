//! The registry of the distribution project as a site would have it: TLS, one account, files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::header::{CONTENT_TYPE, LOCATION};
use lockstep_cluster::{Group, Look, Tool, Tools, eventually};
use lockstep_process::{Daemon, Lifetime, Program};
use lockstep_store::Digest;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::world::free_port;

pub(super) const USER: &str = "puller";
pub(super) const PASSWORD: &str = "the-right-word";
/// The password above, as the registry wants to have it.
const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuW.v9XzNcirJt8jjhimfLrcQr2Iz0eqK";
const REPOSITORY: &str = "cards/os";
const UP: Duration = Duration::from_secs(60);
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) struct Service {
    folder: PathBuf,
    port: u16,
    program: Program,
    running: Option<Daemon>,
    http: reqwest::Client,
}

impl Service {
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let tools = Tools::ensure(&[Group::Registry]).await?;
        let folder = folder.join("registry");
        std::fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let ca = certificates(&folder)?;
        write(&folder.join("htpasswd"), &format!("{USER}:{BCRYPT}\n"))?;
        let place = |name: &str| folder.join(name).display().to_string();
        let config = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": place("data")}},
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "secret": "of no use with one instance",
                "tls": {"certificate": place("server.crt"), "key": place("server.key")},
            },
            "auth": {"htpasswd": {"realm": "images", "path": place("htpasswd")}},
        });
        let path = folder.join("config.yml");
        write(&path, &serde_json::to_string_pretty(&config)?)?;
        let program = Program {
            name: "registry",
            binary: tools.path(Tool::Registry),
            args: vec!["serve".into(), path.into()],
            env: vec![("OTEL_TRACES_EXPORTER", "none".into())],
            order: 0,
            grace: Duration::from_secs(5),
        };
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?])
            .no_proxy()
            .build()?;
        let mut service = Self {
            folder,
            port,
            program,
            running: None,
            http,
        };
        service.start_again().await?;
        Ok(service)
    }

    pub(super) async fn start_again(&mut self) -> Result<()> {
        let running = Daemon::start(&self.program, &self.folder, Lifetime::ThisProcess)?;
        self.running = Some(running);
        let url = self.url("/v2/");
        eventually(UP, "the registry", async || {
            match self.http.get(&url).send().await {
                // It wants the account.
                Ok(answer) if answer.status() == 401 => Look::Holds(()),
                Ok(answer) => Look::not_yet(answer.status()),
                Err(error) => Look::not_yet(format!("{error:#}")),
            }
        })
        .await?;
        Ok(())
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            tokio::task::spawn_blocking(move || drop(running)).await?;
        }
        let gone = self.http.get(self.url("/v2/")).send().await.is_err();
        ensure!(gone, "the registry still answers");
        Ok(())
    }

    /// The authority of its certificate.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(super) fn source(&self, reference: &str) -> String {
        format!("oci://127.0.0.1:{}/{REPOSITORY}{reference}", self.port)
    }

    /// A docker configuration with this password for the account.
    pub(super) fn accounts(&self, password: &str) -> Value {
        let host = format!("127.0.0.1:{}", self.port);
        json!({"auths": {host: {"username": USER, "password": password}}})
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// Pushes an artefact with the image as its one layer, and tells the manifest's digest.
    pub(super) async fn push(&self, tag: &str, image: &[u8]) -> Result<Digest> {
        let empty = b"{}".as_slice();
        for blob in [empty, image] {
            self.upload(blob).await.context("upload of a blob")?;
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.lockstep.test.image",
            "config": layer(empty, "application/vnd.oci.empty.v1+json"),
            "layers": [layer(image, "application/octet-stream")],
        });
        self.put(tag, &manifest).await
    }

    /// Puts a manifest under a tag or its digest, and tells the digest.
    pub(super) async fn put(&self, reference: &str, manifest: &Value) -> Result<Digest> {
        let bytes = serde_json::to_vec(manifest)?;
        let digest = Digest::of(&bytes);
        let kind = manifest["mediaType"]
            .as_str()
            .unwrap_or(MANIFEST)
            .to_owned();
        let url = self.url(&format!("/v2/{REPOSITORY}/manifests/{reference}"));
        let answer = self
            .http
            .put(url)
            .basic_auth(USER, Some(PASSWORD))
            .header(CONTENT_TYPE, kind)
            .body(bytes)
            .send()
            .await?;
        ensure!(answer.status() == 201, "manifest: {}", answer.status());
        Ok(digest)
    }

    pub(super) async fn upload(&self, blob: &[u8]) -> Result<()> {
        let url = self.url(&format!("/v2/{REPOSITORY}/blobs/uploads/"));
        let begun = self
            .http
            .post(url)
            .basic_auth(USER, Some(PASSWORD))
            .send()
            .await?;
        ensure!(begun.status() == 202, "{}", begun.status());
        let place = begun.headers().get(LOCATION).context("no Location")?;
        let mut place = begun.url().join(place.to_str()?)?;
        place
            .query_pairs_mut()
            .append_pair("digest", &Digest::of(blob).to_string());
        let answer = self
            .http
            .put(place)
            .basic_auth(USER, Some(PASSWORD))
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(blob.to_vec())
            .send()
            .await?;
        ensure!(answer.status() == 201, "{}", answer.status());
        Ok(())
    }

    /// Requests in its log.
    pub(super) fn requests(&self) -> Result<usize> {
        self.requests_for("/v2/")
    }

    /// Reads of what has this in its path.
    pub(super) fn requests_for(&self, path: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.folder.join("logs/registry.log"))?;
        let is_it = |line: &&str| line.contains("\"GET ") && line.contains(path);
        Ok(log.lines().filter(is_it).count())
    }
}

/// How a manifest lists a blob.
pub(super) fn layer(bytes: &[u8], kind: &str) -> Value {
    json!({
        "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len(),
    })
}

/// An authority and a certificate of it for loopback; tells the authority's PEM.
fn certificates(folder: &Path) -> Result<String> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let certificate = params.signed_by(&key, &issuer)?;
    write(&folder.join("ca.crt"), &ca)?;
    write(&folder.join("server.crt"), &certificate.pem())?;
    write(&folder.join("server.key"), &key.serialize_pem())?;
    Ok(ca)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
