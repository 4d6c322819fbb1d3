//! The way of a host's agent to the image of a card that it is to push, and nobody else's.

use std::io::Write as _;

use lockstep_store::{Medium, Own};

use super::installs::publish;
use super::updates::{offering, task};
use super::*;
use crate::site::host_door::Door;
use crate::site::objects::Objects;
use crate::site::token_reviews::AUDIENCE;
use lockstep_redfish::{BootProgress, BootStage, TaskState};

const ACCOUNT: &str = "system:serviceaccount:site-hosts:lockstep-host-agent";

/// What the API server says of the token of a Pod.
fn pod(account: &str, node: Option<&str>, audience: &str) -> Value {
    let claim = "authentication.kubernetes.io/node-name";
    let extra = node.map_or(json!({}), |node| json!({claim: [node]}));
    json!({
        "authenticated": true, "audiences": [audience],
        "user": {"username": account, "extra": extra},
    })
}

/// A host of which this is asked.
fn host(directive: &Directive) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
        "metadata": {"name": "c1", "uid": "uid-1"},
        "spec": {
            "site": "s", "policyRef": {"name": "p"}, "nodeName": "node1",
            "trustDomain": "Trusted",
        },
        "status": {"seq": 2, "directives": [directive]},
    })
}

/// The door of a site with that one host.
async fn door(bench: &Bench, host: Value) -> String {
    bench.api.put("dpuhosts/c1", host);
    let ending = CancellationToken::new();
    let objects = Objects::watch(&bench.api.client(), &bench.site.config, &ending);
    assert!(objects.are_read().await);
    let door = Door::new(Arc::clone(&bench.site), objects.hosts.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, from_here(door.router())).await });
    url
}

async fn asked(url: &str, path: &str, token: Option<&str>) -> (u16, Vec<u8>) {
    let client = reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap();
    let mut request = client.get(format!("{url}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn what_is_offered_is_had_by_the_agent_that_is_to_push_it_and_by_nobody_else() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let image = json!({"digest": digest.to_string(), "version": "1.2"});
    let running = bench.start_named();
    let mut offer = directive(1, "OfferImage");
    offer.action.image = Some(serde_json::from_value(image).unwrap());
    running.want(std::slice::from_ref(&offer));
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["granted"], digest.to_string());
    assert_eq!(bench.bmc.effects(), Vec::<String>::new());

    let mut push = directive(2, "PushImage");
    push.executor = "host-node1".to_owned();
    push.action.image = offer.action.image.clone();
    let url = door(&bench, host(&push)).await;
    let tokens = [
        ("good", pod(ACCOUNT, Some("node1"), AUDIENCE), 200),
        ("other-node", pod(ACCOUNT, Some("node2"), AUDIENCE), 403),
        ("no-node", pod(ACCOUNT, None, AUDIENCE), 403),
        (
            "other-site",
            pod(&ACCOUNT.replace("site-", "other-"), Some("node1"), AUDIENCE),
            403,
        ),
        (
            "card",
            pod("system:serviceaccount:site:xpu-c1", Some("node1"), AUDIENCE),
            403,
        ),
        (
            "api-server",
            pod(ACCOUNT, Some("node1"), "https://kubernetes"),
            401,
        ),
        ("unknown", json!({"authenticated": false}), 401),
    ];
    for (token, status, wanted) in tokens {
        bench.api.knows_token(token, status);
        for path in ["/h/uid-1/image", "/h/uid-1/own", "/h/uid-1/go"] {
            assert_eq!(asked(&url, path, Some(token)).await.0, wanted, "{token}");
        }
    }
    assert_eq!(asked(&url, "/h/uid-1/own", None).await.0, 401);
    assert_eq!(asked(&url, "/h/uid-2/own", Some("good")).await.0, 404);

    // The image comes as it is, and with what is the card's own it is the card's medium.
    let (_, bytes) = asked(&url, "/h/uid-1/image", Some("good")).await;
    assert_eq!(Digest::of(&bytes), digest);
    let (_, own) = asked(&url, "/h/uid-1/own", Some("good")).await;
    let own: Own = serde_json::from_slice(&own).unwrap();
    assert!(!format!("{own:?}").contains("very-secret"));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let medium = Medium::lay(file.try_clone().unwrap(), digest, &own).unwrap();
    let mut laid = vec![0; bytes.len() + 1];
    assert_eq!(medium.read_at(&mut laid, 0).unwrap(), bytes.len());
    let seed = String::from_utf8_lossy(&laid[..4096]).into_owned();
    assert!(seed.contains("very-secret") && !seed.contains("SEED-SLOT"));
    assert_eq!(laid[4096..bytes.len()], bytes[4096..]);
    let error = Medium::lay(file, Digest::of(b"another"), &own).unwrap_err();
    assert!(error.to_string().contains("wanted"), "{error}");

    // Taken back, it is had by nobody.
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(asked(&url, "/h/uid-1/image", Some("good")).await.0, 404);
    let report = bench.api.get(CARD).unwrap();
    assert!(report["spec"]["bmc"]["granted"].is_null());
    running.end().await;
}

#[tokio::test]
async fn a_push_is_not_for_the_site_s_agent_and_a_second_offer_ends_the_first() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let other = keep(
        &bench.site.store,
        b"LOCKSTEP-SEED-SLOT-V1 4096\n"
            .iter()
            .copied()
            .chain([b' '; 4069])
            .collect(),
    )
    .await;
    let running = bench.start(MachineKind::Card);
    let offer = |seq: i64, digest: &Digest| {
        let mut offer = directive(seq, "OfferImage");
        let image = json!({"digest": digest.to_string(), "version": "1"});
        offer.action.image = Some(serde_json::from_value(image).unwrap());
        offer
    };
    running.want(&[offer(1, &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    running.want(&[offer(2, &other)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    assert!(bench.site.store.granted(&other, "uid-1").is_some());
    let mut push = offer(3, &other);
    push.action.kind = "PushImage".into();
    running.want(&[push]);
    let outcome = bench.outcome(CARD, 3).await;
    assert_eq!(outcome["reason"], "ActionUnsuitable", "{outcome}");
    running.end().await;
}

/// A card to which an image is offered that the agent of its host is to push, and the way to it.
async fn offered(bench: &Bench, running: &Running) -> Directive {
    let digest = publish(&bench.site.store).await;
    let mut offer = directive(1, "OfferImage");
    let image = json!({"digest": digest.to_string(), "version": "1.2"});
    offer.action.image = Some(serde_json::from_value(image).unwrap());
    running.want(std::slice::from_ref(&offer));
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    bench
        .api
        .knows_token("good", pod(ACCOUNT, Some("node1"), AUDIENCE));
    Directive {
        seq: 2,
        executor: "host-node1".to_owned(),
        action: lockstep_crds::directive::Action {
            kind: "PushImage".into(),
            ..offer.action.clone()
        },
        ..offer
    }
}

/// What the door says, by status and, of a refusal, reason.
async fn says(url: &str, path: &str) -> (u16, String) {
    let (status, body) = asked(url, path, Some("good")).await;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    (status, reason)
}

#[tokio::test]
async fn a_host_has_nothing_of_a_card_unless_it_is_known_trusted_and_there_to_stay() {
    let bench = bench();
    let running = bench.start_named();
    let push = offered(&bench, &running).await;
    type Spoil = fn(&mut Value);
    let grounds: [(u16, Spoil); 6] = [
        (200, |_| {}),
        (404, |host| host["spec"]["trustDomain"] = json!("Isolated")),
        (404, |host| {
            host["spec"].as_object_mut().unwrap().remove("trustDomain");
        }),
        (404, |host| {
            host["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }),
        // The Node says that it is this host, and nobody else does.
        (404, |host| {
            host["spec"].as_object_mut().unwrap().remove("nodeName");
            host["status"]["nodeName"] = json!("node1");
        }),
        (403, |host| host["spec"]["nodeName"] = json!("node2")),
    ];
    for (wanted, spoil) in grounds {
        let mut host = host(&push);
        spoil(&mut host);
        let url = door(&bench, host.clone()).await;
        for path in ["/h/uid-1/image", "/h/uid-1/own", "/h/uid-1/go"] {
            assert_eq!(says(&url, path).await.0, wanted, "{path} {host}");
        }
    }
    running.end().await;
}

#[tokio::test]
async fn a_card_is_reset_by_its_host_only_after_a_look_at_both_that_is_made_then() {
    let bench = offering();
    let running = bench.start_named();
    let beside = bench.start_with(MachineKind::Host, |input| {
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    let push = offered(&bench, &running).await;
    let mut object = host(&push);
    object["spec"]["bmc"] = json!({
        "address": "http://192.0.2.1", "credentialsRef": {"name": "c"},
        "tls": {"trust": "PlainHttp"},
    });
    let url = door(&bench, object.clone()).await;
    let both = ["/h/uid-1/own", "/h/uid-1/go"];
    for path in both {
        assert_eq!(says(&url, path).await.0, 200, "{path}");
    }
    let (_, body) = asked(&url, "/h/uid-1/go", Some("good")).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["seq"], 2);

    // Somebody updates firmware by a BMC, of which the reports know nothing.
    bench
        .bmc
        .updates(|updates| updates.tasks = vec![task(TaskState::Running, 4, None)]);
    for path in both {
        let told = says(&url, path).await;
        assert_eq!(told, (409, "UpdatesBusy".to_owned()), "{path}");
    }
    bench.bmc.updates(|updates| updates.tasks.clear());
    bench.bmc.set(|facts| {
        facts.power = Reading::Read(PowerState::On);
        facts.boot_progress = Reading::Read(BootProgress {
            stage: Some(BootStage::FirmwareUpdating),
            last_state: None,
            oem_last_state: None,
            last_state_time: None,
        });
    });
    let told = says(&url, "/h/uid-1/go").await;
    assert_eq!(told, (409, "StageForbids".to_owned()));
    bench
        .bmc
        .set(|facts| facts.boot_progress = Reading::NotOffered);
    assert_eq!(says(&url, "/h/uid-1/go").await.0, 200);

    // Another host than the one that is looked after under its name.
    object["metadata"]["uid"] = json!("uid-2");
    let other = door(&bench, object).await;
    let told = says(&other, "/h/uid-1/go").await;
    assert_eq!(told, (409, "HostNotSeen".to_owned()));

    // Whoever lost its Lease sees what it sees, and says nothing by it.
    bench.site.mandate.end();
    let told = says(&url, "/h/uid-1/go").await;
    assert_eq!(told, (409, "LeaseLost".to_owned()));
    assert_eq!(bench.bmc.effects(), Vec::<String>::new());
    running.end().await;
    beside.end().await;
}

#[tokio::test]
async fn firmware_to_be_flashed_is_had_for_its_directive_alone_and_brings_nothing_of_the_card() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    bench
        .api
        .knows_token("good", pod(ACCOUNT, Some("node1"), AUDIENCE));
    let mut flash = directive(2, "FlashFirmware");
    flash.executor = "host-node1".to_owned();
    let image = json!({"digest": digest.to_string(), "version": "2.0"});
    flash.action.image = Some(serde_json::from_value(image).unwrap());
    running.want(std::slice::from_ref(&flash));
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["reason"], "ActionUnsuitable", "{outcome}");
    let url = door(&bench, host(&flash)).await;
    let (status, bytes) = asked(&url, "/h/uid-1/image", Some("good")).await;
    assert_eq!((status, Digest::of(&bytes)), (200, digest));
    assert_eq!(says(&url, "/h/uid-1/go").await.0, 200);
    assert_eq!(says(&url, "/h/uid-1/own").await.0, 404);
    let other = Directive {
        executor: "host-node2".to_owned(),
        ..flash.clone()
    };
    let url = door(&bench, host(&other)).await;
    assert_eq!(says(&url, "/h/uid-1/image").await.0, 403);
    let mut isolated = host(&flash);
    isolated["spec"]["trustDomain"] = json!("Isolated");
    let url = door(&bench, isolated).await;
    assert_eq!(says(&url, "/h/uid-1/image").await.0, 404);
    running.end().await;
}
