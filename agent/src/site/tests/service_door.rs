//! The way of a card's own agent to the services that are offered to the card.

use super::installs::publish;
use super::*;
use crate::site::objects::Objects;
use crate::site::service_door::ServiceDoor;
use crate::site::token_reviews::AUDIENCE;

/// What the API server says of the token of an account.
fn account(name: &str, audience: &str) -> Value {
    json!({
        "authenticated": true, "audiences": [audience],
        "user": {"username": format!("system:serviceaccount:{name}")},
    })
}

#[tokio::test]
async fn what_is_offered_to_a_card_is_had_by_it_and_by_nobody_else() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let host = json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
        "metadata": {"name": "h1", "uid": "uid-h"},
        "spec": {"site": "s", "policyRef": {"name": "p"}},
        "status": {"seq": 1, "cards": [{
            "name": "c1", "uid": "uid-1", "physicalId": "SN1", "services": [{
                "service": "web", "image": "web-1", "version": "1", "digest": digest.to_string(),
            }],
        }]},
    });
    bench.api.put("dpuhosts/h1", host);
    let ending = CancellationToken::new();
    let objects = Objects::watch(&bench.api.client(), &bench.site.config, &ending);
    assert!(objects.are_read().await);
    let door = ServiceDoor::new(Arc::clone(&bench.site), objects.hosts.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, from_here(door.router())).await });

    for (token, status) in [
        ("own", account("site:xpu-c1", AUDIENCE)),
        ("other", account("site:xpu-c2", AUDIENCE)),
        ("abroad", account("elsewhere:xpu-c1", AUDIENCE)),
        (
            "for-another",
            account("site:xpu-c1", "https://kubernetes.default.svc"),
        ),
    ] {
        bench.api.knows_token(token, status);
    }
    let own = format!("/s/uid-1/{}", digest.hex());
    let unoffered = format!("/s/uid-1/{}", "0".repeat(64));
    let of_other = format!("/s/uid-2/{}", digest.hex());
    let client = reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap();
    for (path, token, wanted) in [
        (&own, Some("own"), 200),
        (&own, None, 401),
        (&own, Some("unknown"), 401),
        (&own, Some("for-another"), 401),
        (&own, Some("other"), 403),
        (&own, Some("abroad"), 403),
        (&unoffered, Some("own"), 404),
        (&of_other, Some("own"), 404),
        (&"/s/uid-1/nonsense".to_owned(), Some("own"), 404),
    ] {
        let mut request = client.get(format!("{url}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), wanted, "{path} {token:?}");
        if wanted == 200 {
            let bytes = response.bytes().await.unwrap();
            assert_eq!(lockstep_store::Digest::of(&bytes), digest);
        }
    }
    assert!(bench.site.store.grants().is_empty(), "no URL leads to it");
    ending.cancel();
}
