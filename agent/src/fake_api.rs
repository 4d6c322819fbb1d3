//! An API server in memory, for tests: objects, lists, merge patches with conflicts,
//! tokens, and a list of every write with its field manager.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Query, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::{Value, json};

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    writes: Vec<String>,
    version: u64,
    gone: bool,
    unlisted: Option<String>,
    slow: BTreeMap<String, Duration>,
    forbidden: BTreeSet<String>,
    refuses: Option<String>,
    tokens: BTreeMap<String, Value>,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let router = Router::new().fallback(move |query, request| {
            let api = api.clone();
            async move { api.answer(query, request).await }
        });
        Client::new(router, "site")
    }

    /// Makes or replaces an object, as somebody else would.
    pub(crate) fn put(&self, key: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(key.to_owned(), object);
    }

    pub(crate) fn remove(&self, key: &str) {
        self.state.lock().unwrap().objects.remove(key);
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(key).cloned()
    }

    /// Every write so far: `KEY MANAGER`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().writes.clone()
    }

    /// Answers nothing but errors.
    pub(crate) fn vanish(&self, gone: bool) {
        self.state.lock().unwrap().gone = gone;
    }

    /// Lists go out of a cache that lacks this object.
    pub(crate) fn lists_without(&self, key: Option<&str>) {
        self.state.lock().unwrap().unlisted = key.map(str::to_owned);
    }

    /// What it answers to reads of this object is on its way for so long.
    pub(crate) fn read_slowly(&self, key: &str, delay: Duration) {
        let mut state = self.state.lock().unwrap();
        state.slow.insert(key.to_owned(), delay);
    }

    /// The agent has, or has not, the right to read this object.
    pub(crate) fn forbid(&self, key: &str, forbidden: bool) {
        let mut state = self.state.lock().unwrap();
        if forbidden {
            state.forbidden.insert(key.to_owned());
        } else {
            state.forbidden.remove(key);
        }
    }

    /// What it says of a token that it is asked about.
    pub(crate) fn knows_token(&self, token: &str, status: Value) {
        let mut state = self.state.lock().unwrap();
        state.tokens.insert(token.to_owned(), status);
    }

    /// Refuses the writes of one field manager.
    pub(crate) fn refuse(&self, manager: Option<&str>) {
        self.state.lock().unwrap().refuses = manager.map(str::to_owned);
    }

    /// Waits until the object is as `wanted` says.
    pub(crate) async fn until(&self, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            if let Some(object) = self.get(key).filter(&wanted) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{key} never came to be as wanted: {:#?}", self.get(key));
    }

    async fn answer(
        &self,
        Query(query): Query<HashMap<String, String>>,
        request: Request,
    ) -> Response {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        if query.contains_key("watch") {
            // Nothing ever changes for a watcher.
            return std::future::pending().await;
        }
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let response = self.respond(&method, &path, &query, &body);
        let delay = {
            let state = self.state.lock().unwrap();
            let key = path.split_once("/namespaces/site/").map(|(_, key)| key);
            key.filter(|_| method == Method::GET)
                .and_then(|key| state.slow.get(key).copied())
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        response
    }

    fn respond(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
        body: &Bytes,
    ) -> Response {
        let mut state = self.state.lock().unwrap();
        if state.gone {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        if path.ends_with("/tokenreviews") {
            let mut review: Value = serde_json::from_slice(body).unwrap();
            let token = review["spec"]["token"].as_str().unwrap();
            let known = state.tokens.get(token).cloned();
            review["status"] = known.unwrap_or_else(|| json!({"authenticated": false}));
            return ok(&review);
        }
        let (_, key) = path.split_once("/namespaces/site/").unwrap();
        let manager = query.get("fieldManager").cloned().unwrap_or_default();
        if *method != Method::GET && state.refuses.as_ref() == Some(&manager) {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        match *method {
            Method::GET if !key.contains('/') => {
                let prefix = format!("{key}/");
                let unlisted = state.unlisted.clone();
                let of_kind = |(name, _): &(&String, &Value)| {
                    name.starts_with(&prefix) && unlisted.as_ref() != Some(*name)
                };
                let items: Vec<&Value> = state
                    .objects
                    .iter()
                    .filter(of_kind)
                    .map(|(_, object)| object)
                    .collect();
                ok(&json!({"metadata": {"resourceVersion": "1"}, "items": items}))
            }
            Method::GET if state.forbidden.contains(key) => {
                failure(StatusCode::FORBIDDEN, "Forbidden")
            }
            Method::GET => match state.objects.get(key) {
                Some(object) => ok(object),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            },
            Method::POST if key.ends_with("/token") => {
                state.writes.push(format!("{key} {manager}"));
                let mut answer: Value = serde_json::from_slice(body).unwrap();
                answer["status"] =
                    json!({"token": "very-secret", "expirationTimestamp": "2036-01-01T00:00:00Z"});
                ok(&answer)
            }
            Method::POST => {
                let object: Value = serde_json::from_slice(body).unwrap();
                let key = format!("{key}/{}", object["metadata"]["name"].as_str().unwrap());
                if state.objects.contains_key(&key) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists");
                }
                store(&mut state, key, object, &manager)
            }
            Method::PATCH => {
                let Some(mut object) = state.objects.get(key).cloned() else {
                    return failure(StatusCode::NOT_FOUND, "NotFound");
                };
                let patch: Value = serde_json::from_slice(body).unwrap();
                if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                merge(&mut object, &patch);
                store(&mut state, key.to_owned(), object, &manager)
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

fn store(state: &mut State, key: String, mut object: Value, manager: &str) -> Response {
    state.version += 1;
    object["metadata"]["resourceVersion"] = json!(state.version.to_string());
    state.writes.push(format!("{key} {manager}"));
    let response = ok(&object);
    state.objects.insert(key, object);
    response
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn ok(object: &Value) -> Response {
    (StatusCode::OK, object.to_string()).into_response()
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, status.to_string()).into_response()
}
