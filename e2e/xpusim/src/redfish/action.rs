//! POST: actions.

use http::{StatusCode, header};
use serde_json::{Map, Value};

use super::message::Message;
use super::tree::{self, Post, View};
use super::{Body, ROOT, Reply, Request, create, push};
use crate::domain::{Domain, Image, Index, Refused};
use crate::effect::What;
use crate::fault::Fault;
use crate::reset::ResetType;

pub(super) fn post(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    post: Post,
) -> Result<Reply, Message> {
    // A push is no JSON.
    let body = if post == Post::Push {
        Map::new()
    } else {
        let empty = request.body.iter().all(u8::is_ascii_whitespace);
        let demand = Fault::BodyDemanded;
        if empty && struck(domain, machine, request, demand) {
            return Err(Message::MalformedJson);
        }
        // What is created must be told anyway.
        if !empty && !matches!(post, Post::Sessions | Post::Accounts | Post::Volumes) {
            domain.fulfils(machine, demand, request.method, request.path);
        }
        object(request.body)?
    };
    let mut reply = act(domain, machine, request, post, &body)?;
    if reply.status == StatusCode::ACCEPTED {
        relocate(domain, machine, request, &mut reply);
        if matches!(post, Post::SimpleUpdate | Post::Push) {
            say_less(domain, machine, request, &mut reply);
        }
    }
    Ok(reply)
}

fn struck(domain: &mut Domain, machine: Index, request: &Request<'_>, fault: Fault) -> bool {
    let rule = domain.strikes_request(machine, fault, request.method, request.path);
    rule.is_some()
}

/// Where a task's monitor is: in a path, as it should be, in a URL, or nowhere.
fn relocate(domain: &mut Domain, machine: Index, request: &Request<'_>, reply: &mut Reply) {
    if struck(domain, machine, request, Fault::LocationMissing) {
        reply.headers.retain(|(name, _)| *name != header::LOCATION);
    }
    if struck(domain, machine, request, Fault::LocationAbsolute) {
        let host = request.headers.get(header::HOST);
        let host = host
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        for (name, value) in &mut reply.headers {
            if *name == header::LOCATION {
                *value = format!("https://{host}{value}");
            }
        }
    }
}

/// An update is taken, and its task is not told.
fn say_less(domain: &mut Domain, machine: Index, request: &Request<'_>, reply: &mut Reply) {
    let without = struck(domain, machine, request, Fault::UpdateWithoutTask);
    if without {
        reply.status = StatusCode::OK;
    }
    if without || struck(domain, machine, request, Fault::TaskUnnamed) {
        reply.headers.retain(|(name, _)| *name != header::LOCATION);
        reply.body = Body::Nothing;
    }
}

fn act(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    post: Post,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    match post {
        Post::Sessions => create::open_session(domain, machine, body),
        Post::Accounts => create::create_account(domain, machine, body),
        Post::Volumes => create::create_volume(domain, machine, body),
        Post::ResetSystem => reset_system(domain, machine, body),
        Post::ResetManager => {
            let types = domain.machines[machine].personality.reset.manager_types;
            let action = "Manager.Reset";
            known(action, body, &["ResetType"])?;
            // Without a type the service chooses (DSP0266).
            if body.contains_key("ResetType") {
                choice(action, body, "ResetType", types)?;
            }
            domain.restart_manager(machine);
            Ok(Reply::done())
        }
        Post::ResetToDefaults => {
            let action = "Manager.ResetToDefaults";
            known(action, body, &["ResetType", "ResetToDefaultsType"])?;
            // NVIDIA's documentation has the second name.
            let name = if body.contains_key("ResetToDefaultsType") {
                "ResetToDefaultsType"
            } else {
                "ResetType"
            };
            choice(action, body, name, &["ResetAll"])?;
            domain.factory_reset(machine);
            Ok(Reply::done())
        }
        Post::InsertMedia(slot) => insert(domain, machine, slot, body),
        Post::EjectMedia(slot) => {
            known("VirtualMedia.EjectMedia", body, &[])?;
            match domain.eject(machine, slot) {
                Ok(()) => Ok(Reply::done()),
                // Nothing there: as wanted.
                Err(Refused::Occupied) => Ok(Reply::done()),
                Err(refused) => Err(refusal(refused)),
            }
        }
        Post::SimpleUpdate => simple_update(domain, machine, body),
        Post::ClearLog => {
            domain.machines[machine].logs.clear();
            Ok(Reply::done())
        }
        Post::Collect => {
            let action = "LogService.CollectDiagnosticData";
            choice(action, body, "DiagnosticDataType", &["Manager", "OS"])?;
            let task = domain.collect(machine);
            accepted(domain, machine, task)
        }
        Post::ResetBios => {
            let offers = &domain.machines[machine].personality.offers;
            for (name, value) in offers.bios.unwrap_or_default() {
                let pending = &mut domain.machines[machine].bios_pending;
                pending.insert((*name).to_owned(), (*value).to_owned());
            }
            setting(domain, machine, "bios", "factory");
            Ok(Reply::done())
        }
        Post::ResetKeys => {
            let kinds = ["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"];
            let kind = choice("SecureBoot.ResetKeys", body, "ResetKeysType", &kinds)?;
            setting(domain, machine, "secure boot keys", kind);
            Ok(Reply::done())
        }
        Post::ResetChip => {
            domain.reset_chip(machine);
            Ok(Reply::done())
        }
        Post::SetMode => {
            let mode = choice("Mode.Set", body, "Mode", &["DpuMode", "NicMode"])?;
            domain.machines[machine].nic_mode.next = mode == "NicMode";
            setting(domain, machine, "mode", mode);
            Ok(Reply::done())
        }
        Post::Push => push::push(domain, machine, request),
    }
}

fn setting(domain: &mut Domain, machine: Index, name: &str, value: &str) {
    let what = What::Setting {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    domain.note(machine, what);
}

fn reset_system(
    domain: &mut Domain,
    machine: Index,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    let action = "ComputerSystem.Reset";
    known(action, body, &["ResetType"])?;
    let types = domain.machines[machine].personality.reset.types;
    let names: Vec<&str> = types.iter().map(|one| one.as_str()).collect();
    let wanted = choice(action, body, "ResetType", &names)?;
    let kind = ResetType::parse(wanted).ok_or(Message::InternalError)?;
    domain.reset(machine, kind).map_err(refusal)?;
    Ok(Reply::done())
}

fn insert(
    domain: &mut Domain,
    machine: Index,
    slot: usize,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    let action = "VirtualMedia.InsertMedia";
    let names = [
        "Image",
        "Inserted",
        "WriteProtected",
        "TransferProtocolType",
        "TransferMethod",
        "UserName",
        "Password",
    ];
    known(action, body, &names)?;
    let image = match body.get("Image") {
        Some(Value::String(image)) if !image.is_empty() => image.clone(),
        _ => return Err(Message::ActionParameterMissing(action, "Image")),
    };
    let media = domain.machines[machine].personality.media.as_ref();
    for (name, values) in media.map_or(&[][..], |media| media.parameters) {
        if body.contains_key(*name) {
            choice(action, body, name, values)?;
        }
    }
    let protected = body
        .get("WriteProtected")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    match domain
        .insert(machine, slot, image, protected)
        .map_err(refusal)?
    {
        Some(task) => accepted(domain, machine, task),
        None => Ok(Reply::done()),
    }
}

fn simple_update(
    domain: &mut Domain,
    machine: Index,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    let action = "UpdateService.SimpleUpdate";
    let names = [
        "ImageURI",
        "TransferProtocol",
        "Targets",
        "Username",
        "Password",
        "ForceUpdate",
        "@Redfish.OperationApplyTime",
    ];
    known(action, body, &names)?;
    let Some(Value::String(uri)) = body.get("ImageURI") else {
        return Err(Message::ActionParameterMissing(action, "ImageURI"));
    };
    let protocols = domain.machines[machine].personality.update.protocols;
    if body.contains_key("TransferProtocol") {
        choice(action, body, "TransferProtocol", protocols)?;
    }
    let components = components(domain, machine, body.get("Targets"), uri).map_err(|target| {
        Message::ActionParameterValueNotInList(action, target, "Targets".to_owned())
    })?;
    let image = Image::Pulled(uri);
    let task = domain
        .update(machine, &components, &image)
        .map_err(refusal)?;
    accepted(domain, machine, task)
}

/// The components that an update is for: its targets, else the one that the
/// file is named after, else the operating system, else the first.
pub(super) fn components(
    domain: &Domain,
    machine: Index,
    targets: Option<&Value>,
    file: &str,
) -> Result<Vec<usize>, String> {
    let firmware = &domain.machines[machine].firmware;
    let targets = targets.and_then(Value::as_array);
    let targets = targets.map_or(&[][..], Vec::as_slice).iter();
    let found: Vec<usize> = targets
        .filter_map(Value::as_str)
        .map(|target| {
            let id = target.rsplit('/').next().unwrap_or(target);
            let found = firmware.iter().position(|one| one.id == id);
            found.ok_or_else(|| target.to_owned())
        })
        .collect::<Result<_, _>>()?;
    if !found.is_empty() {
        return Ok(found);
    }
    let file = file.to_ascii_lowercase();
    let named = firmware
        .iter()
        .position(|one| file.contains(&one.id.to_ascii_lowercase()));
    let os = || firmware.iter().position(|one| one.installs_os);
    Ok(vec![named.or_else(os).unwrap_or(0)])
}

/// 202 with the task.
pub(super) fn accepted(domain: &Domain, machine: Index, task: u64) -> Result<Reply, Message> {
    let view = View::new(domain, machine);
    let tasks = &domain.machines[machine].bmc.tasks;
    let found = tasks.iter().find(|one| one.id == task);
    let document = tree::task(&view, found.ok_or(Message::InternalError)?);
    let location = format!("{ROOT}/TaskService/TaskMonitors/{task}");
    Ok(Reply::new(StatusCode::ACCEPTED, Body::Json(document)).with(header::LOCATION, location))
}

pub(super) fn refusal(refused: Refused) -> Message {
    match refused {
        Refused::WrongState(power) => Message::WrongState(power.as_str()),
        Refused::Busy | Refused::Occupied => Message::ResourceInUse,
        Refused::UpdateBusy(status, seconds) => Message::UpdateBusy(status, seconds),
        Refused::Failed => Message::InternalError,
    }
}

/// The body as an object; an empty body is an empty one.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Message> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Message::MalformedJson),
    }
}

fn known(action: &'static str, body: &Map<String, Value>, names: &[&str]) -> Result<(), Message> {
    match body.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(Message::ActionParameterUnknown(action, name.clone())),
        None => Ok(()),
    }
}

/// A parameter that must have one of these values.
fn choice<'a>(
    action: &'static str,
    body: &'a Map<String, Value>,
    name: &'static str,
    values: &[&str],
) -> Result<&'a str, Message> {
    let Some(value) = body.get(name) else {
        return Err(Message::ActionParameterMissing(action, name));
    };
    match value.as_str().filter(|text| values.contains(text)) {
        Some(text) => Ok(text),
        None => Err(Message::ActionParameterValueNotInList(
            action,
            name.to_owned(),
            value.to_string(),
        )),
    }
}
