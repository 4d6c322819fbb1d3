//! The files of a card's own: tried before anything is begun, made when an install is staged, and
//! what is secret in them nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_configuration::Inputs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const SECRET: &str = "hidden-value";
const SEED: usize = 4096;
const SLOT: usize = 512;

/// An image with a seed slot and a file slot `user-data`, in the store.
async fn publish(store: &Store) -> Digest {
    let mut image = format!("LOCKSTEP-SEED-SLOT-V1 {SEED}\n").into_bytes();
    image.resize(SEED, b' ');
    image.extend(format!("LOCKSTEP-FILE-SLOT-V1 user-data {SLOT}\n").bytes());
    image.resize(SEED + SLOT, b'\n');
    image.extend([7; 1000]);
    keep(store, image).await
}

fn inputs(digest: &Digest, slot: &str, template: &str) -> Inputs {
    let card = serde_json::from_value(json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "Dpu",
        "metadata": {"name": "c1", "namespace": "site", "uid": "uid-1"},
        "spec": {"site": "s", "hostRefs": [{"name": "h1"}], "values": [
            {"name": "hostname", "value": "card-one"},
            {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "token"}}},
        ]},
    }));
    let image = serde_json::from_value(json!({
        "version": "1.2", "digest": digest.to_string(), "sources": ["http://a/b"],
        "files": [{"slot": slot, "template": template}],
    }));
    Inputs::of(&card.unwrap(), "os", &image.unwrap()).unwrap()
}

fn give_secret(bench: &Bench, bytes: &[u8]) {
    let annotations = json!({"provisioning.opiproject.org/for-cards": "true"});
    let metadata = json!({"name": "s1", "annotations": annotations});
    let secret = json!({"metadata": metadata, "data": {"token": STANDARD.encode(bytes)}});
    bench.api.put("secrets/s1", secret);
}

fn stage(seq: i64, digest: &Digest, configuration: Option<String>) -> Directive {
    let mut stage = directive(seq, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    stage.action.configuration = configuration;
    stage
}

impl Bench {
    /// What is told of making the files of these inputs, once it is.
    async fn told(&self, inputs: &Inputs, ok: bool) -> Value {
        let digest = inputs.digest();
        let report = self.api.until(CARD, |report| {
            let told = &report["spec"]["configuration"];
            told["inputs"] == digest && told["ok"] == ok
        });
        report.await["spec"]["configuration"].clone()
    }

    /// What a BMC reads at a path of the store.
    async fn served(&self, path: &str) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.site.store.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        server.abort();
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n");
        answer.split_off(body.unwrap() + 4)
    }
}

#[tokio::test]
async fn an_install_comes_with_the_card_s_files_and_their_secrets_are_nowhere_else() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let bench = bench();
    give_secret(&bench, SECRET.as_bytes());
    let digest = publish(&bench.site.store).await;
    let template =
        "#cloud-config\nhostname: {{ values.hostname | yaml }}\ntoken: {{ values.token | yaml }}\n";
    let inputs = inputs(&digest, "user-data", template);
    let wanted = inputs.clone();
    let running = bench.start_with(MachineKind::Card, |input| {
        input.configuration = Some(wanted);
    });
    let told = bench.told(&inputs, true).await;
    assert!(told["reason"].is_null() && told["message"].is_null());
    running.want(&[stage(1, &digest, Some(inputs.digest()))]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");

    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let image = bench.served(&grant.path).await;
    let file = String::from_utf8(image[SEED..SEED + SLOT].to_vec()).unwrap();
    assert_eq!(
        file.trim_end_matches('\n'),
        "#cloud-config\nhostname: \"card-one\"\ntoken: \"hidden-value\""
    );
    assert_eq!(file.len(), SLOT, "the rest is newlines");

    // A Secret that changed is what the next staging takes.
    give_secret(&bench, format!("{SECRET}-2").as_bytes());
    running.want(&[directive(2, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.want(&[stage(3, &digest, Some(inputs.digest()))]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let image = bench.served(&grant.path).await;
    assert!(
        image[SEED..]
            .windows(14)
            .any(|part| part == b"hidden-value-2")
    );

    // And a fault of a template that has it in hand.
    give_secret(
        &bench,
        &format!("{SECRET}{}", "x".repeat(SLOT)).into_bytes(),
    );
    running.want(&[stage(4, &digest, Some(inputs.digest()))]);
    running.input.send_modify(|input| input.resync += 1);
    running.end().await;
    let everything = format!(
        "{:?} {:?} {:?} {inputs:?} {}",
        bench.api.get(CARD),
        bench.api.writes(),
        bench.site.store,
        std::fs::read_to_string(log.path()).unwrap(),
    );
    assert!(
        everything.contains("directive accepted"),
        "the log is caught"
    );
    assert!(!everything.contains(SECRET));
    for entry in walk(&bench.site.config.state_dir) {
        let bytes = std::fs::read(&entry).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(SECRET), "{}", entry.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_is_missing_is_told_before_anything_is_asked_for_and_tried_again() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let inputs = inputs(&digest, "user-data", "{{ values.token | sh }}");
    let wanted = inputs.clone();
    let running = bench.start_with(MachineKind::Card, |input| {
        input.configuration = Some(wanted);
    });
    let told = bench.told(&inputs, false).await;
    assert_eq!(told["reason"], "SecretMissing");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("Secret s1 does not exist in namespace site"),
        "{message}"
    );
    assert!(
        message.contains("create it with the key token"),
        "{message}"
    );
    for (bytes, reason) in [
        (b"\xff".to_vec(), "SecretInvalid"),
        (vec![b'x'; 16 * 1024 + 1], "SecretInvalid"),
        (vec![b'x'; SLOT], "FileTooLarge"),
    ] {
        give_secret(&bench, &bytes);
        bench
            .api
            .until(CARD, |report| {
                report["spec"]["configuration"]["reason"] == reason
            })
            .await;
    }
    let unannotated = json!({"name": "s1"});
    let lacking = json!({
        "name": "s1", "annotations": {"provisioning.opiproject.org/for-cards": "true"},
    });
    for (metadata, data, reason) in [
        (unannotated, json!({"token": ""}), "SecretNotForCards"),
        (lacking, json!({"other": ""}), "SecretKeyMissing"),
    ] {
        let secret = json!({"metadata": metadata, "data": data});
        bench.api.put("secrets/s1", secret);
        bench
            .api
            .until(CARD, |report| {
                report["spec"]["configuration"]["reason"] == reason
            })
            .await;
    }
    give_secret(&bench, SECRET.as_bytes());
    bench.told(&inputs, true).await;
    running
        .input
        .send_modify(|input| input.configuration = None);
    bench
        .api
        .until(CARD, |report| report["spec"]["configuration"].is_null())
        .await;
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_slot_that_the_image_lacks_is_told_with_those_it_has() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let inputs = inputs(&digest, "bf.cfg", "x");
    let wanted = inputs.clone();
    let running = bench.start_with(MachineKind::Card, |input| {
        input.configuration = Some(wanted);
    });
    give_secret(&bench, SECRET.as_bytes());
    let told = bench
        .api
        .until(CARD, |report| {
            report["spec"]["configuration"]["reason"] == "SlotMissing"
        })
        .await;
    let message = &told["spec"]["configuration"]["message"];
    let message = message.as_str().unwrap();
    assert!(
        message.contains("no file slot bf.cfg; it has user-data"),
        "{message}"
    );
    running.end().await;
}

#[tokio::test]
async fn an_install_that_was_planned_for_other_files_sends_nothing() {
    let bench = bench();
    give_secret(&bench, SECRET.as_bytes());
    let digest = publish(&bench.site.store).await;
    let inputs = inputs(&digest, "user-data", "{{ values.token }}");
    let wanted = inputs.clone();
    let running = bench.start_with(MachineKind::Card, |input| {
        input.configuration = Some(wanted);
    });
    bench.told(&inputs, true).await;
    for (seq, planned) in [(1, Some("0".repeat(64))), (2, None)] {
        running.want(&[stage(seq, &digest, planned)]);
        let outcome = bench.outcome(CARD, seq).await;
        assert_eq!(outcome["result"], "Failed");
        assert_eq!(outcome["reason"], "ConfigurationChanged");
    }
    bench.api.remove("secrets/s1");
    running.want(&[stage(3, &digest, Some(inputs.digest()))]);
    let outcome = bench.outcome(CARD, 3).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Failed"), &json!("SecretMissing"))
    );
    assert!(bench.bmc.effects().is_empty());
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    running.end().await;
}

#[tokio::test]
async fn nothing_is_told_of_files_whose_image_is_not_there_yet() {
    let bench = bench();
    give_secret(&bench, SECRET.as_bytes());
    let inputs = inputs(&Digest::of(b"absent"), "user-data", "x");
    let running = bench.start_with(MachineKind::Card, |input| {
        input.configuration = Some(inputs);
    });
    let report = bench
        .api
        .until(CARD, |report| report["spec"]["bmc"].is_object())
        .await;
    assert!(report["spec"]["configuration"].is_null());
    running.end().await;
}

#[test]
fn the_image_of_a_card_or_of_its_policy_says_which_files_it_gets() {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": kind,
            "metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": spec,
        })
    };
    let bmc = json!({"address": "http://192.0.2.1", "credentialsRef": {"name": "c"}, "tls": {"trust": "PlainHttp"}});
    let host = object(
        "DpuHost",
        "h1",
        json!({"site": "s", "policyRef": {"name": "p"}}),
    );
    let policy = object(
        "DpuBootPolicy",
        "p",
        json!({"mode": "Enforce", "imageRef": {"name": "os"}}),
    );
    let plain = object(
        "DpuImage",
        "plain",
        json!({"version": "1", "digest": "sha256:00", "sources": []}),
    );
    let os = object(
        "DpuImage",
        "os",
        json!({
            "version": "1", "digest": "sha256:00", "sources": [],
            "files": [{"slot": "bf.cfg", "template": "x"}],
        }),
    );
    let images = [plain, os].map(|image| Arc::new(serde_json::from_value(image).unwrap()));
    let hosts = [Arc::new(serde_json::from_value(host).unwrap())];
    let policies = [Arc::new(serde_json::from_value(policy).unwrap())];
    let card = |name: &str, image: Option<&str>| {
        let mut spec = json!({"site": "s", "hostRefs": [{"name": "h1"}], "bmc": bmc});
        if let Some(image) = image {
            spec["imageRef"] = json!({"name": image});
        }
        Arc::new(serde_json::from_value(object("Dpu", name, spec)).unwrap())
    };
    let cards = [card("c1", None), card("c2", Some("plain"))];
    let known = |objects: &[Arc<_>]| crate::site::objects::Known {
        objects: objects.to_vec(),
        unreadable: std::collections::BTreeMap::new(),
    };
    let no_hosts = crate::site::objects::Known {
        objects: hosts.to_vec(),
        unreadable: std::collections::BTreeMap::new(),
    };
    let mut cares = crate::site::machines::machines("s", &no_hosts, &known(&cards), 0);
    crate::site::configuration::configure(&mut cares, &hosts, &cards, &policies, &images);
    let asked = |name: &str| {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: name.to_owned(),
        };
        match &cares[&key] {
            crate::site::machine::Care::Look(input) => input.configuration.clone(),
            crate::site::machine::Care::Tell(untended) => panic!("{untended:?}"),
        }
    };
    assert!(asked("c1").is_some());
    assert!(asked("c2").is_none());
}
