//! A scripted BMC on loopback: documents as sushy-tools serves them, the
//! effects of actions, and faults on demand. Threads and blocking sockets, so
//! that a fault can be anything a peer can do to a connection.

mod documents;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use documents::documents;
pub(crate) use documents::slot;

pub(crate) const UUID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
pub(crate) const PASSWORD: &str = "right";
pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/27946b59-9e44-4fa7-8e91-f3527a1ef094";
pub(crate) const CD: &str =
    "/redfish/v1/Systems/27946b59-9e44-4fa7-8e91-f3527a1ef094/VirtualMedia/Cd";
const TOKEN: &str = "token-";

/// What one request brought.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

/// What happens instead of the usual answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status and body, without the effect.
    Answer(u16, String),
    /// The same with these headers.
    AnswerWith(u16, Vec<(&'static str, String)>, String),
    /// 307 to this place.
    Redirect(String),
    /// The connection closes without an answer, after the effect.
    DropAfterEffect,
    /// Silence until the peer gives up.
    Never,
    /// From this request on, the system has another UUID.
    SwapMachine(&'static str),
}

#[derive(Default)]
struct State {
    documents: BTreeMap<String, Value>,
    faults: Vec<(&'static str, String, usize, Fault)>,
    seen: Vec<Seen>,
    password: String,
    sessions: Vec<String>,
    sessions_made: usize,
    sessions_only: bool,
    once_reads_continuous: bool,
    makes_of_boot: Option<fn(&mut Value)>,
}

pub(crate) struct ScriptedBmc {
    pub(crate) address: SocketAddr,
    pub(crate) certificate_pem: Option<String>,
    state: Arc<Mutex<State>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// Exchanges going on now, and the most there ever were.
    busy: Arc<(AtomicUsize, AtomicUsize)>,
    acceptor: Option<JoinHandle<()>>,
}

impl ScriptedBmc {
    pub(crate) fn plain() -> Self {
        Self::start(None, None)
    }

    /// With a new self-signed certificate for 127.0.0.1.
    pub(crate) fn tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self::start(Some(Arc::new(config)), Some(made.cert.pem()))
    }

    fn start(tls: Option<Arc<ServerConfig>>, certificate_pem: Option<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            documents: documents(),
            password: PASSWORD.to_owned(),
            once_reads_continuous: true,
            ..State::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let busy = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let acceptor = {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            let (connections, busy) = (Arc::clone(&connections), Arc::clone(&busy));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    connections.fetch_add(1, Ordering::SeqCst);
                    let Ok(stream) = stream else { continue };
                    let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
                    let (tls, busy) = (tls.clone(), Arc::clone(&busy));
                    std::thread::spawn(move || match tls {
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            let mut stream = StreamOwned::new(connection, stream);
                            serve(&mut stream, &state, &stop, &busy);
                            stream.conn.send_close_notify();
                            stream.flush().unwrap_or_default();
                        }
                        None => serve(&mut { stream }, &state, &stop, &busy),
                    });
                }
            })
        };
        Self {
            address,
            certificate_pem,
            state,
            connections,
            stop,
            busy,
            acceptor: Some(acceptor),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next `times` requests with this method, to paths that end so, meet the fault.
    pub(crate) fn fail(&self, method: &'static str, path_end: &str, times: usize, fault: Fault) {
        self.state()
            .faults
            .push((method, path_end.to_owned(), times, fault));
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        change(self.state().documents.get_mut(path).unwrap());
    }

    pub(crate) fn add(&self, path: &str, document: Value) {
        self.state().documents.insert(path.to_owned(), document);
    }

    pub(crate) fn document(&self, path: &str) -> Value {
        self.state().documents[path].clone()
    }

    pub(crate) fn set_password(&self, password: &str) {
        self.state().password = password.to_owned();
    }

    /// Offers a SessionService from now on.
    pub(crate) fn offer_sessions(&self) {
        self.change("/redfish/v1/", |root| {
            root["SessionService"] = json!({"@odata.id": "/redfish/v1/SessionService"});
            root["Links"] =
                json!({"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}});
        });
    }

    /// Takes no password but for a session from now on.
    pub(crate) fn take_sessions_only(&self) {
        self.state().sessions_only = true;
    }

    /// A boot override that is set once reads so.
    pub(crate) fn reads_once(&self) {
        self.state().once_reads_continuous = false;
    }

    /// What becomes of `Boot` after a change.
    pub(crate) fn makes_of_boot(&self, change: fn(&mut Value)) {
        self.state().makes_of_boot = Some(change);
    }

    pub(crate) fn forget_sessions(&self) {
        self.state().sessions.clear();
    }

    pub(crate) fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.method == method)
            .count()
    }

    /// Requests that change the machine; sessions are not the machine.
    pub(crate) fn changes(&self) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.method != "GET" && !seen.path.contains("SessionService"))
            .collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.busy.1.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedBmc {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; a failure means that it is gone already.
        TcpStream::connect(self.address)
            .map(drop)
            .unwrap_or_default();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

enum Answer {
    Reply(u16, Vec<(&'static str, String)>, String),
    Close,
    Never,
}

/// Serves one connection until the peer or a fault ends it.
fn serve<S: Read + Write>(
    stream: &mut S,
    state: &Mutex<State>,
    stop: &AtomicBool,
    busy: &(AtomicUsize, AtomicUsize),
) {
    loop {
        let Some(seen) = read_request(stream) else {
            return;
        };
        let now = busy.0.fetch_add(1, Ordering::SeqCst) + 1;
        busy.1.fetch_max(now, Ordering::SeqCst);
        let answer = answer(&mut state.lock().unwrap(), &seen);
        // A BMC takes its time: calls that overlap meet here.
        std::thread::sleep(Duration::from_millis(1));
        // Whoever has the reply may call again before this thread runs on.
        if !matches!(answer, Answer::Never) {
            busy.0.fetch_sub(1, Ordering::SeqCst);
        }
        let written = match answer {
            Answer::Reply(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                stream
                    .write_all(format!("{head}\r\n{body}").as_bytes())
                    .and_then(|()| stream.flush())
                    .is_ok()
            }
            Answer::Close => false,
            Answer::Never => {
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                busy.0.fetch_sub(1, Ordering::SeqCst);
                false
            }
        };
        if !written {
            return;
        }
    }
}

fn read_request<S: Read>(stream: &mut S) -> Option<Seen> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        method,
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        bytes: body,
    })
}

fn answer(state: &mut State, seen: &Seen) -> Answer {
    state.seen.push(seen.clone());
    let fault = state
        .faults
        .iter_mut()
        .find(|(method, end, times, _)| {
            *times > 0 && seen.method == *method && seen.path.ends_with(end.as_str())
        })
        .map(|entry| {
            entry.2 -= 1;
            entry.3.clone()
        });
    match fault {
        Some(Fault::Answer(status, body)) => return Answer::Reply(status, Vec::new(), body),
        Some(Fault::AnswerWith(status, headers, body)) => {
            return Answer::Reply(status, headers, body);
        }
        Some(Fault::Redirect(target)) => {
            return Answer::Reply(307, vec![("Location", target)], String::new());
        }
        Some(Fault::Never) => return Answer::Never,
        Some(Fault::SwapMachine(uuid)) => {
            state.documents.get_mut(SYSTEM).unwrap()["UUID"] = json!(uuid);
        }
        Some(Fault::DropAfterEffect) => {
            effect(state, seen);
            return Answer::Close;
        }
        None => {}
    }
    if seen.path != "/redfish/v1/" && !authorised(state, seen) {
        let body = json!({"error": {"message": "Incorrect username or password"}});
        return Answer::Reply(401, Vec::new(), body.to_string());
    }
    if seen.method == "GET" {
        return match state.documents.get(&seen.path) {
            Some(document) => Answer::Reply(200, Vec::new(), document.to_string()),
            None => Answer::Reply(404, Vec::new(), "{}".to_owned()),
        };
    }
    effect(state, seen)
}

fn authorised(state: &State, seen: &Seen) -> bool {
    if seen.path.ends_with("/Sessions") {
        return seen.body["Password"] == json!(state.password);
    }
    if let Some(token) = seen.headers.get("x-auth-token") {
        return state.sessions.contains(token);
    }
    if state.sessions_only {
        return false;
    }
    let expected = format!("admin:{}", state.password);
    seen.headers
        .get("authorization")
        .is_some_and(|value| value == &format!("Basic {}", base64(expected.as_bytes())))
}

/// The effect of a changing request, as sushy-tools has it.
fn effect(state: &mut State, seen: &Seen) -> Answer {
    let done = Answer::Reply(204, Vec::new(), String::new());
    match (seen.method.as_str(), seen.path.rsplit('/').next().unwrap()) {
        ("POST", "ComputerSystem.Reset") => {
            let power = match seen.body["ResetType"].as_str().unwrap() {
                "On" | "ForceOn" | "ForceRestart" => "On",
                "ForceOff" | "GracefulShutdown" => "Off",
                _ => return done,
            };
            state.documents.get_mut(SYSTEM).unwrap()["PowerState"] = json!(power);
            done
        }
        ("POST", "VirtualMedia.InsertMedia") => {
            let slot = slot_of(state, &seen.path);
            slot["Image"] = seen.body["Image"].clone();
            slot["Inserted"] = json!(true);
            done
        }
        ("POST", "VirtualMedia.EjectMedia") => {
            let slot = slot_of(state, &seen.path);
            slot["Image"] = json!("");
            slot["Inserted"] = json!(false);
            done
        }
        ("POST", "Sessions") => {
            state.sessions_made += 1;
            let token = format!("{TOKEN}{}", state.sessions_made);
            let path = format!("/redfish/v1/SessionService/Sessions/{token}");
            state.sessions.push(token.clone());
            Answer::Reply(
                201,
                vec![("X-Auth-Token", token), ("Location", path)],
                "{}".to_owned(),
            )
        }
        ("DELETE", token) => {
            state.sessions.retain(|session| session != token);
            done
        }
        ("PATCH", _) => {
            let continuous = state.once_reads_continuous;
            let makes_of_boot = state.makes_of_boot;
            let document = state.documents.get_mut(&seen.path).unwrap();
            merge(document, &seen.body);
            if continuous && document["Boot"]["BootSourceOverrideEnabled"] == json!("Once") {
                document["Boot"]["BootSourceOverrideEnabled"] = json!("Continuous");
            }
            if let Some(change) = makes_of_boot {
                change(&mut document["Boot"]);
            }
            done
        }
        _ => Answer::Reply(405, Vec::new(), "{}".to_owned()),
    }
}

fn slot_of<'a>(state: &'a mut State, action: &str) -> &'a mut Value {
    let path = action.split("/Actions/").next().unwrap();
    state.documents.get_mut(path).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match from {
        Value::Object(map) => {
            for (key, value) in map {
                merge(&mut into[key.as_str()], value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            *into = from.clone();
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk
                .iter()
                .fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            (0..4).map(move |digit| {
                if digit > chunk.len() {
                    '='
                } else {
                    char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])
                }
            })
        })
        .collect()
}
