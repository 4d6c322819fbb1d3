//! The part of an API server that compare-and-swap rests on, with a log of requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kube::{Client, Config};
use serde_json::{Value, json};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// What follows the namespace, or the version if there is none: `dpuhosts/h/status`, `nodes/n`.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

impl Seen {
    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[derive(Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<String, Value>,
    seen: Vec<Seen>,
    /// A status field that this server's schema does not have.
    pruned: Option<&'static str>,
    /// Whether every request is refused.
    broken: bool,
    /// Name of an object that is refused for what it says.
    invalid: Option<&'static str>,
}

/// A running server.
#[derive(Clone)]
pub(crate) struct ApiServer {
    inner: Arc<Mutex<Inner>>,
    pub(crate) client: Client,
}

impl ApiServer {
    /// Starts one that holds these objects, by path.
    pub(crate) async fn start(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let inner = Inner {
            version: 100,
            objects: objects
                .into_iter()
                .map(|(path, object)| (path.to_owned(), object))
                .collect(),
            seen: Vec::new(),
            pruned: None,
            broken: false,
            invalid: None,
        };
        let inner = Arc::new(Mutex::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        // Another test of this binary may have been first, which is as good.
        provider.install_default().ok();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Self {
            inner,
            client: Client::try_from(config).unwrap(),
        }
    }

    /// Every request since the last time this was asked.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.inner.lock().unwrap().seen)
    }

    /// From now on drops this field from every status.
    pub(crate) fn prunes(&self, field: &'static str) {
        self.inner.lock().unwrap().pruned = Some(field);
    }

    /// From now on refuses, or serves, every request.
    pub(crate) fn breaks(&self, broken: bool) {
        self.inner.lock().unwrap().broken = broken;
    }

    /// From now on refuses to create, or creates, an object of this name.
    pub(crate) fn refuses(&self, name: Option<&'static str>) {
        self.inner.lock().unwrap().invalid = name;
    }

    /// Writes an object as somebody else would.
    pub(crate) fn write(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner.lock().unwrap();
        let mut object = inner.objects.get(path).cloned().unwrap_or_default();
        change(&mut object);
        inner.store(path.to_owned(), object, StatusCode::OK);
    }

    /// Deletes an object as somebody else would.
    pub(crate) fn remove(&self, path: &str) {
        self.inner.lock().unwrap().objects.remove(path);
    }

    /// Every object, by path.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        self.inner.lock().unwrap().objects.clone()
    }

    /// An object as it is now.
    pub(crate) fn object(&self, path: &str) -> Value {
        self.inner
            .lock()
            .unwrap()
            .objects
            .get(path)
            .cloned()
            .unwrap_or_default()
    }
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = match parts.uri.path().split_once("/namespaces/") {
        Some((_, path)) => path.split_once('/').map_or("", |(_, rest)| rest),
        None => parts.uri.path().trim_start_matches("/api/v1/"),
    }
    .to_owned();
    let seen = Seen {
        method: parts.method.to_string(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body,
    };
    let mut inner = inner.lock().unwrap();
    inner.seen.push(seen.clone());
    inner.serve(&seen)
}

impl Inner {
    fn serve(&mut self, seen: &Seen) -> Response {
        if self.broken {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        let (path, subresource) = match seen.path.strip_suffix("/status") {
            Some(path) => (path.to_owned(), true),
            None => (seen.path.clone(), false),
        };
        match seen.method.as_str() {
            "GET" => match self.objects.get(&path) {
                Some(object) => (StatusCode::OK, object.to_string()).into_response(),
                None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            },
            "POST" => {
                let name = seen.body["metadata"]["name"].as_str().unwrap();
                if self.invalid == Some(name) {
                    return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
                }
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return refusal(StatusCode::CONFLICT, "AlreadyExists");
                }
                self.store(path, seen.body.clone(), StatusCode::CREATED)
            }
            "PUT" | "PATCH" => {
                let Some(mut object) = self.objects.get(&path).cloned() else {
                    return refusal(StatusCode::NOT_FOUND, "NotFound");
                };
                let wanted = &seen.body["metadata"]["resourceVersion"];
                let is_old = *wanted != object["metadata"]["resourceVersion"];
                if is_old && (seen.method == "PUT" || !wanted.is_null()) {
                    return refusal(StatusCode::CONFLICT, "Conflict");
                }
                match (seen.method.as_str(), subresource) {
                    ("PUT", true) => object["status"] = seen.body["status"].clone(),
                    ("PATCH", true) => merge(&mut object["status"], &seen.body["status"]),
                    ("PATCH", false) => merge(&mut object, &seen.body),
                    ("PUT", false) => object = seen.body.clone(),
                    _ => return refusal(StatusCode::METHOD_NOT_ALLOWED, "Unexpected"),
                }
                self.store(path, object, StatusCode::OK)
            }
            "DELETE" => {
                let Some(object) = self.objects.get(&path) else {
                    return refusal(StatusCode::NOT_FOUND, "NotFound");
                };
                let wanted = &seen.body["preconditions"];
                let meta = &object["metadata"];
                let held = |field: &str| wanted[field].is_null() || wanted[field] == meta[field];
                if !held("uid") || !held("resourceVersion") {
                    return refusal(StatusCode::CONFLICT, "Conflict");
                }
                let gone = object.to_string();
                self.objects.remove(&path);
                (StatusCode::OK, gone).into_response()
            }
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "Unexpected"),
        }
    }

    fn store(&mut self, path: String, mut object: Value, code: StatusCode) -> Response {
        if let (Some(field), Some(status)) = (self.pruned, object["status"].as_object_mut()) {
            status.remove(field);
        }
        self.version += 1;
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        match self.objects.get(&path) {
            None => object["metadata"]["generation"] = json!(1),
            Some(before) if before["spec"] != object["spec"] => {
                let generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
                object["metadata"]["generation"] = json!(generation + 1);
            }
            Some(_) => {}
        }
        self.objects.insert(path, object.clone());
        (code, object.to_string()).into_response()
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": reason,
    });
    (code, status.to_string()).into_response()
}
