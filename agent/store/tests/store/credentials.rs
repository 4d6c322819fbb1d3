//! Who is shown which account, and that it stands nowhere else.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use lockstep_store::{Accounts, FetchError, ImageSource, Store};
use url::Url;

use crate::origin::{Fault, Origin};
use crate::registry::{Asked, PASSWORD, Registry, USER, Wants, open, wanted};
use crate::site::{Site, image};
use crate::tls::Authority;

const SIZE: usize = 300_000;
const WRONG: &str = "the-wrong-word";

fn shows(asked: &[Asked]) -> Vec<&str> {
    let word = |asked: &Asked| match asked.authorization.as_deref() {
        None => "nothing",
        Some(shown) if shown.starts_with("Basic ") => "account",
        Some(shown) if shown.starts_with("Bearer ") => "token",
        Some(_) => "what is that",
    };
    asked.iter().map(word).collect()
}

async fn fails(store: &Store, image: &[u8], source: ImageSource) -> FetchError {
    let error = store.fetch(&wanted(image, &[source])).await.unwrap_err();
    let said = format!("{error} {error:?} {}", error.remedy());
    for secret in [
        PASSWORD,
        WRONG,
        &STANDARD.encode(format!("{USER}:{PASSWORD}")),
    ] {
        assert!(!said.contains(secret), "{said}");
    }
    error
}

/// Everything that the store has written.
fn written(site: &Site) -> String {
    let mut all = String::new();
    for folder in ["", "partial", "sha256"] {
        for entry in std::fs::read_dir(site.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    all
}

#[tokio::test]
async fn a_private_registry_gets_the_account_once_it_asks() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    registry.wants(Wants::Basic);
    let bytes = image(1, SIZE);
    registry.artefact(&bytes);

    let error = fails(&store, &bytes, registry.source(":v1", &Accounts::default())).await;
    assert_eq!(error.category(), "Unauthorized");
    assert!(error.is_permanent() && error.remedy().contains("pullSecretRef"));
    let wrong = Accounts::one(&registry.host(), USER, WRONG).unwrap();
    let error = fails(&store, &bytes, registry.source(":v1", &wrong)).await;
    assert_eq!(error.category(), "CredentialsRefused");
    assert!(error.is_permanent());
    assert_eq!(
        shows(&registry.take_asked()),
        ["nothing", "nothing", "account"]
    );

    let source = registry.source(":v1", &registry.account());
    store.fetch(&wanted(&bytes, &[source])).await.unwrap();
    let asked = registry.take_asked();
    assert_eq!(shows(&asked), ["nothing", "account", "account"]);
    let written = written(&site);
    let encoded = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, WRONG, &encoded] {
        assert!(!written.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_with_the_account_and_renewed_when_it_ends() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    registry.wants(Wants::TokenFrom(registry.token_server()));
    let bytes = image(2, SIZE);
    registry.artefact(&bytes);
    registry.end_tokens();
    registry.cut_after(100_000);
    let source = registry.source(":v1", &registry.account());
    store.fetch(&wanted(&bytes, &[source])).await.unwrap();
    let asked = registry.take_asked();
    let round = ["nothing", "account", "token"];
    let again = ["token", "account", "token"];
    let expected: Vec<_> = [round, again, again].concat();
    assert_eq!(shows(&asked), expected, "{asked:?}");
    // To pull and nothing else, whatever the challenge said.
    let scope = "/token?service=registry&scope=repository%3Acards%2Fos%3Apull";
    assert_eq!(asked[1].path, scope);
    assert_eq!(asked[8].range.as_deref(), Some("bytes=100000-"));
}

#[tokio::test]
async fn tokens_for_everybody_need_no_account() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    registry.wants(Wants::TokenFrom(registry.token_server()));
    let bytes = image(3, SIZE);
    registry.artefact(&bytes);
    let source = registry.source(":v1", &Accounts::default());
    store.fetch(&wanted(&bytes, &[source])).await.unwrap();
    assert_eq!(
        shows(&registry.take_asked()),
        ["nothing", "nothing", "token", "token"]
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_the_token_server() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    registry.wants(Wants::TokenFrom(registry.token_server()));
    let bytes = image(4, SIZE);
    registry.artefact(&bytes);
    let wrong = Accounts::one(&registry.host(), USER, WRONG).unwrap();
    let error = fails(&store, &bytes, registry.source(":v1", &wrong)).await;
    assert_eq!(error.category(), "CredentialsRefused");
    assert!(error.to_string().contains("/token"), "{error}");
}

#[tokio::test]
async fn an_account_is_not_shown_to_another_token_server() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let elsewhere = Registry::start(&authority).await;
    let bytes = image(5, SIZE);
    registry.artefact(&bytes);
    registry.wants(Wants::TokenFrom(elsewhere.token_server()));
    let error = fails(&store, &bytes, registry.source(":v1", &registry.account())).await;
    assert_eq!(error.category(), "TokenServerRefused");
    assert!(error.to_string().contains(&elsewhere.host()), "{error}");
    assert!(elsewhere.take_asked().is_empty());

    let plain = registry.token_server().replace("https:", "http:");
    registry.wants(Wants::TokenFrom(plain));
    let error = fails(&store, &bytes, registry.source(":v1", &registry.account())).await;
    assert_eq!(error.category(), "TokenServerRefused");

    // With an account of its own it is asked, and shown that one.
    registry.wants(Wants::TokenFrom(elsewhere.token_server()));
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = format!(
        r#"{{"auths": {{"{}": {{"auth": "{auth}"}}, "{}": {{"username": "x", "password": "y"}}}}}}"#,
        elsewhere.host(),
        registry.host(),
    );
    let both = Accounts::from_docker_config(config.as_bytes()).unwrap();
    let error = fails(&store, &bytes, registry.source(":v1", &both)).await;
    assert_eq!(
        error.category(),
        "CredentialsRefused",
        "its tokens are not good here"
    );
    assert_eq!(shows(&elsewhere.take_asked()), ["account"]);
}

#[tokio::test]
async fn an_account_is_not_shown_to_another_registry() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    let elsewhere = Registry::start(&authority).await;
    elsewhere.wants(Wants::Basic);
    let bytes = image(6, SIZE);
    elsewhere.artefact(&bytes);
    let source = elsewhere.source(":v1", &registry.account());
    let error = fails(&store, &bytes, source).await;
    assert_eq!(error.category(), "Unauthorized");
    assert_eq!(shows(&elsewhere.take_asked()), ["nothing"]);
}

#[tokio::test]
async fn what_we_cannot_answer_is_told() {
    let (site, authority) = (Site::new(), Authority::new());
    let (store, registry) = (open(&site, &authority), Registry::start(&authority).await);
    registry.wants(Wants::TheImpossible);
    let bytes = image(7, SIZE);
    registry.artefact(&bytes);
    let error = fails(&store, &bytes, registry.source(":v1", &registry.account())).await;
    assert_eq!(error.category(), "Unauthorized");
    registry.status(Some(403));
    let error = fails(&store, &bytes, registry.source(":v1", &registry.account())).await;
    assert_eq!(error.category(), "Unauthorized");
}

#[tokio::test]
async fn a_private_mirror_gets_its_account_over_https_alone() {
    let (site, authority) = (Site::new(), Authority::new());
    let store = open(&site, &authority);
    let bytes = image(8, SIZE);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (seen, served) = (Arc::clone(&shown), bytes.clone());
    let right = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let router = Router::new().fallback(async move |headers: HeaderMap| {
        let authorization = headers.get(header::AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let good = authorization.as_ref() == Some(&right);
        seen.lock().unwrap().push(authorization);
        if good {
            served.into_response()
        } else {
            StatusCode::FORBIDDEN.into_response()
        }
    });
    let (port, _serving) = authority.serve("127.0.0.1", router).await;
    let host = format!("127.0.0.1:{port}");
    let source = |password: &str| ImageSource {
        place: format!("https://{host}/os.iso").parse().unwrap(),
        accounts: Accounts::one(&host, USER, password).unwrap(),
    };
    let error = fails(&store, &bytes, source(WRONG)).await;
    assert_eq!(error.category(), "CredentialsRefused");
    store
        .fetch(&wanted(&bytes, &[source(PASSWORD)]))
        .await
        .unwrap();
    let beside = |password| {
        let (store, source) = (store.clone(), source(password));
        async move { store.document(&source, SIZE).await }
    };
    assert_eq!(beside(PASSWORD).await.unwrap(), bytes);
    let error = beside(WRONG).await.unwrap_err();
    assert_eq!(error.category(), "CredentialsRefused");
    assert!(shown.lock().unwrap().iter().all(Option::is_some));

    let plain = Origin::start(&bytes).await;
    plain.always(Fault::Status(401));
    let url: Url = plain.url();
    let accounts = Accounts::one(&format!("127.0.0.1:{}", plain.port), USER, PASSWORD).unwrap();
    let other = image(9, SIZE);
    let source = ImageSource {
        accounts,
        ..url.into()
    };
    let error = store.document(&source, SIZE).await.unwrap_err();
    assert_eq!(error.category(), "Unauthorized");
    let error = fails(&store, &other, source).await;
    assert_eq!(error.category(), "Unauthorized");
    assert!(error.remedy().contains("over http none is shown"));
    assert!(plain.seen().iter().all(|seen| !seen.authorized));
}
