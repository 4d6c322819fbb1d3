//! The resource tree: a path to its document and to what can be done there.

mod chassis;
mod integrity;
mod manager;
mod network;
mod root;
mod schema;
mod security;
mod services;
mod storage;
mod system;

use serde_json::{Value, json};

use super::ROOT;
use crate::clock::Moment;
use crate::domain::{Domain, Index};
use crate::machine::Machine;
use crate::personality::{MediaPlace, Personality};

pub(super) use root::metadata;
use schema::kind;
pub(super) use security::{is_role, session};
pub(super) use services::task;
pub(super) use storage::RAID_TYPES;
pub(super) use system::stage_words;

/// A resource, or a place that only takes POST.
#[derive(Debug)]
pub(super) struct Node {
    /// The document; null where nothing can be read.
    pub(super) body: Value,
    pub(super) patch: Option<Patch>,
    pub(super) post: Option<Post>,
    pub(super) delete: Option<Delete>,
    /// The task that this is the monitor of.
    pub(super) monitor_of: Option<u64>,
}

/// What PATCH does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    System,
    SystemSettings,
    BiosSettings,
    SecureBoot,
    Manager,
    NetworkProtocol,
    AccountService,
    SessionService,
    Account(String),
    Role,
}

/// What POST does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    Sessions,
    Accounts,
    Volumes,
    ResetSystem,
    ResetManager,
    ResetToDefaults,
    InsertMedia(usize),
    EjectMedia(usize),
    SimpleUpdate,
    Push,
    ClearLog,
    Collect,
    ResetBios,
    ResetKeys,
    ResetChip,
    SetMode,
}

/// What DELETE does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delete {
    Session(String),
    Account(String),
    Task(u64),
    Volume(u64),
}

impl Node {
    fn read(body: Value) -> Self {
        Self {
            body,
            patch: None,
            post: None,
            delete: None,
            monitor_of: None,
        }
    }

    fn action(post: Post) -> Self {
        Self {
            post: Some(post),
            ..Self::read(Value::Null)
        }
    }

    fn patched_by(mut self, patch: Patch) -> Self {
        self.patch = Some(patch);
        self
    }

    fn posted_to(mut self, post: Post) -> Self {
        self.post = Some(post);
        self
    }

    fn deleted_by(mut self, delete: Delete) -> Self {
        self.delete = Some(delete);
        self
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.body.is_null()
    }

    /// The Allow header.
    pub(super) fn allow(&self) -> String {
        let mut methods = Vec::new();
        if self.is_readable() {
            methods.extend(["GET", "HEAD"]);
        }
        if self.post.is_some() {
            methods.push("POST");
        }
        if self.patch.is_some() {
            methods.push("PATCH");
        }
        if self.delete.is_some() {
            methods.push("DELETE");
        }
        methods.join(", ")
    }
}

/// What documents are made from.
pub(super) struct View<'a> {
    pub(super) domain: &'a Domain,
    pub(super) index: Index,
    pub(super) machine: &'a Machine,
    pub(super) personality: &'static Personality,
}

impl<'a> View<'a> {
    pub(super) fn new(domain: &'a Domain, index: Index) -> Self {
        let machine = &domain.machines[index];
        Self {
            domain,
            index,
            machine,
            personality: machine.personality,
        }
    }

    /// A moment as the BMC writes it.
    fn date(&self, moment: Moment) -> String {
        moment.date(self.domain.start).to_string()
    }

    fn system(&self) -> String {
        format!("{ROOT}/Systems/{}", self.personality.ids.system)
    }

    fn manager(&self) -> String {
        format!("{ROOT}/Managers/{}", self.personality.ids.manager)
    }

    /// The chassis that holds the machine, where there are chassis.
    fn chassis(&self) -> Option<String> {
        let (id, _) = self.personality.ids.chassis.first()?;
        self.personality
            .offers
            .chassis
            .then(|| format!("{ROOT}/Chassis/{id}"))
    }

    fn media_is_at(&self, place: MediaPlace) -> bool {
        let media = self.personality.media.as_ref();
        media.is_some_and(|media| media.place == place)
    }
}

/// The resource at a path below the service root.
pub(super) fn find(view: &View<'_>, segments: &[&str]) -> Option<Node> {
    let ids = &view.personality.ids;
    match segments {
        [] => Some(root::root(view)),
        ["odata"] => Some(root::odata()),
        ["Systems"] => Some(collection(
            "ComputerSystem",
            "Systems",
            &format!("{ROOT}/Systems"),
            &[ids.system.to_owned()],
        )),
        ["Systems", id, rest @ ..] if *id == ids.system => system::find(view, rest),
        ["Managers"] => Some(collection(
            "Manager",
            "Managers",
            &format!("{ROOT}/Managers"),
            &[ids.manager.to_owned()],
        )),
        ["Managers", id, rest @ ..] if *id == ids.manager => manager::find(view, rest),
        ["Chassis", rest @ ..] if view.personality.offers.chassis => chassis::find(view, rest),
        ["UpdateService", rest @ ..] => services::update(view, rest),
        ["TaskService", rest @ ..] => services::tasks(view, rest),
        ["SessionService", rest @ ..] => security::sessions(view, rest),
        ["AccountService", rest @ ..] => security::accounts(view, rest),
        ["ComponentIntegrity", rest @ ..] if !view.personality.offers.integrity.is_empty() => {
            integrity::find(view, rest)
        }
        _ => None,
    }
}

/// A collection of `kind`, with these ids as members.
fn collection(of: &str, name: &str, path: &str, ids: &[String]) -> Node {
    let members: Vec<Value> = ids
        .iter()
        .map(|id| json!({"@odata.id": format!("{path}/{id}")}))
        .collect();
    Node::read(json!({
        "@odata.id": path,
        "@odata.type": format!("#{of}Collection.{of}Collection"),
        "Name": format!("{name} Collection"),
        "Members@odata.count": members.len(),
        "Members": members,
    }))
}

/// A member's index by its id, where ids are a prefix and a number.
fn numbered(id: &str, prefix: &str, count: usize) -> Option<usize> {
    let number: usize = id.strip_prefix(prefix)?.parse().ok()?;
    (number < count && id == format!("{prefix}{number}")).then_some(number)
}

fn link(path: impl Into<String>) -> Value {
    json!({"@odata.id": path.into()})
}

fn healthy() -> Value {
    json!({"State": "Enabled", "Health": "OK"})
}
