//! The walk over one BMC's documents: every path once, within a number of reads, and with a short
//! deadline for each document that the inventory can do without.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_crds::inventory::Unread;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::document::{bounded, error_message, link};
use crate::documents::Documents;
use crate::error::BmcError;
use crate::link::{Link, SystemList};
use crate::pages::Pages;
use crate::room::{Document, Held, weigh};
use crate::scrub::Scrub;

/// Reads of one exploration, login not counted. A read that fails may be made twice more before
/// the walk notices that there are none left.
pub const MOST_REQUESTS: u32 = 160;

/// Documents that a BMC may leave unanswered before it is asked for nothing more.
const MOST_SILENCES: u32 = 4;

/// Dead links in one collection before the rest of it is given up.
const MOST_DEAD: i64 = 3;

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The BMC has none.
    Absent,
    /// It could not be read: why.
    Failed(String),
}

/// Of the documents that are remembered: their texts, for all of them together.
const MOST_REMEMBERED: usize = 512 * 1024;

/// What is remembered of a path.
#[derive(Debug)]
enum Kept {
    /// The text of its document: parsed, it would take ten times as much.
    Text {
        text: Box<[u8]>,
        _held: Option<Held>,
    },
    Missing(Missing),
}

/// Members of a collection.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Paths and documents of those that were read.
    pub(crate) documents: Vec<(String, Document)>,
    /// How many were not.
    pub(crate) omitted: i64,
    /// How many are listed and not there.
    pub(crate) dead: i64,
}

impl Listed {
    /// How many of those that are listed are not among the documents.
    pub(crate) fn wanting(&self) -> i64 {
        self.omitted.saturating_add(self.dead)
    }
}

/// One exploration. Holds the BMC's lane for one document at a time, and for the pages of the list
/// of systems together, so that calls which cannot wait wait for no more than that.
pub(crate) struct Walk<'a> {
    lane: &'a Mutex<()>,
    link: &'a mut Link,
    /// Until when anything is read.
    deadline: Instant,
    part_timeout: Duration,
    /// Reads that may have been made when the part that is explored now is done.
    share: u32,
    silences: u32,
    seen: BTreeMap<String, Kept>,
    /// Bytes of the texts in it.
    remembered: usize,
    /// What the service root takes, which the link keeps.
    _root: Option<Held>,
    unread: Vec<Unread>,
    /// What ends the exploration as a whole.
    fatal: Option<BmcError>,
    scrub: Scrub,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        lane: &'a Mutex<()>,
        link: &'a mut Link,
        deadline: Instant,
        part_timeout: Duration,
        scrub: Scrub,
    ) -> Self {
        Self {
            _root: link.room().and_then(|room| room.take_last()),
            lane,
            link,
            deadline,
            part_timeout,
            share: MOST_REQUESTS,
            silences: 0,
            seen: BTreeMap::new(),
            remembered: 0,
            unread: Vec::new(),
            fatal: None,
            scrub,
        }
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        self.link
    }

    /// Shares what is left of the reads among so many parts, the next of which begins.
    pub(crate) fn share_among(&mut self, parts: usize) {
        let asked = self.link.asked();
        let left = MOST_REQUESTS.saturating_sub(asked);
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        self.share = asked + left / parts;
    }

    /// The ComputerSystems that the BMC lists; `None` where it does not say.
    pub(crate) async fn system_list(&mut self) -> Result<Option<SystemList>, BmcError> {
        let turn = self.turn(self.deadline).await?;
        let list = self.link.system_list(self.deadline).await;
        drop(turn);
        list
    }

    /// A document without which there is nothing to tell: with all the time there is.
    pub(crate) async fn essential(&mut self, path: &str) -> Result<Document, BmcError> {
        if let Some(Ok(document)) = self.recall(path) {
            return Ok(document);
        }
        let turn = self.turn(self.deadline).await?;
        let read = self.link.get(path, self.deadline).await;
        drop(turn);
        let document = self.with_room(read?);
        self.remember(path, &document);
        Ok(document)
    }

    fn with_room(&self, value: Value) -> Document {
        let held = self.link.room().and_then(|room| room.take_last());
        Document::new(value, held)
    }

    /// What is remembered of a path, if anything is.
    fn recall(&self, path: &str) -> Option<Result<Document, Missing>> {
        match self.seen.get(key(path))? {
            Kept::Missing(missing) => Some(Err(missing.clone())),
            Kept::Text { text, .. } => {
                let held = match self.link.room().map(|room| room.hold(weigh(text))) {
                    Some(Ok(held)) => Some(held),
                    Some(Err(why)) => return Some(Err(Missing::Failed(why.to_string()))),
                    None => None,
                };
                let value = serde_json::from_slice(text).ok()?;
                Some(Ok(Document::new(value, held)))
            }
        }
    }

    /// Remembers a document as far as there is room. One that is forgotten is read once more if
    /// it is asked for again.
    fn remember(&mut self, path: &str, document: &Value) {
        let Ok(text) = serde_json::to_vec(document) else {
            return;
        };
        let sum = self.remembered + text.len();
        if sum > MOST_REMEMBERED {
            return;
        }
        let held = match self.link.room().map(|room| room.hold(text.len())) {
            Some(Ok(held)) => Some(held),
            Some(Err(_)) => return,
            None => None,
        };
        let text = Kept::Text {
            text: text.into_boxed_slice(),
            _held: held,
        };
        self.remembered = sum;
        self.seen.insert(key(path).to_owned(), text);
    }

    async fn turn(&self, deadline: Instant) -> Result<tokio::sync::MutexGuard<'a, ()>, BmcError> {
        timeout_at(deadline, self.lane.lock())
            .await
            .map_err(|_| BmcError::Busy {
                address: self.link.origin().to_owned(),
            })
    }

    /// A document that the inventory can do without.
    pub(crate) async fn read(&mut self, path: &str) -> Result<Document, Missing> {
        if let Some(known) = self.recall(path) {
            return known;
        }
        let read = match self.may_ask() {
            Ok(()) => self.ask(path).await,
            // Another system's share may have room for it.
            Err(why) => return Err(Missing::Failed(why)),
        };
        match &read {
            Ok(document) => self.remember(path, document),
            Err(missing) => {
                let missing = Kept::Missing(missing.clone());
                self.seen.insert(key(path).to_owned(), missing);
            }
        }
        read
    }

    fn may_ask(&self) -> Result<(), String> {
        if self.fatal.is_some() {
            Err("the exploration has ended".to_owned())
        } else if self.link.asked() >= self.share {
            Err(format!("the limit of {MOST_REQUESTS} reads for one BMC"))
        } else if self.silences >= MOST_SILENCES {
            Err(format!("the BMC left {MOST_SILENCES} reads unanswered"))
        } else if Instant::now() >= self.deadline {
            Err("the deadline of the exploration".to_owned())
        } else {
            Ok(())
        }
    }

    async fn ask(&mut self, path: &str) -> Result<Document, Missing> {
        let read = match self.turn(self.deadline).await {
            Ok(turn) => {
                let deadline = self.deadline.min(Instant::now() + self.part_timeout);
                let read = self.link.get(path, deadline).await;
                drop(turn);
                read
            }
            Err(busy) => Err(busy),
        };
        match read {
            Ok(document) => {
                let document = self.with_room(document);
                self.without_error(document)
            }
            Err(BmcError::ReadFailed {
                status: 404 | 405 | 410 | 501,
                ..
            }) => Err(Missing::Absent),
            Err(error @ BmcError::CredentialsRefused { .. }) => {
                let why = error.to_string();
                self.fatal = Some(error);
                Err(Missing::Failed(why))
            }
            Err(error) => {
                if matches!(
                    error,
                    BmcError::NoAnswer { .. } | BmcError::Unreachable { .. }
                ) {
                    self.silences += 1;
                }
                Err(Missing::Failed(error.to_string()))
            }
        }
    }

    /// Some answer 200 with nothing but an error; others add one to a document that is right.
    fn without_error(&self, document: Document) -> Result<Document, Missing> {
        let is_resource = document.get("@odata.id").is_some() || document.get("Members").is_some();
        if document.get("error").is_some_and(Value::is_object) && !is_resource {
            let why = error_message(&document.to_string(), &self.scrub);
            return Err(Missing::Failed(format!("HTTP 200 with an error: {why}")));
        }
        Ok(document)
    }

    /// The document at `path`, with a failure noted as one of `group`.
    pub(crate) async fn part(&mut self, group: &str, path: Option<String>) -> Option<Document> {
        match self.read(&path?).await {
            Ok(document) => Some(document),
            Err(Missing::Absent) => None,
            Err(Missing::Failed(why)) => {
                self.note(group, &why);
                None
            }
        }
    }

    /// At most `most` members of the collection that `owner` names under `key`. `None`: it names
    /// none, or there is none, or it could not be read.
    pub(crate) async fn members(
        &mut self,
        group: &str,
        owner: &Value,
        key: &str,
        most: usize,
    ) -> Option<Listed> {
        let path = link(owner, key)?;
        let pages = self.pages(group, &path, most).await?;
        let beyond = pages.beyond();
        let mut listed = self.listed(group, &path, pages.paths, most).await;
        listed.omitted = listed.omitted.saturating_add(beyond);
        Some(listed)
    }

    /// What the collection at `path` lists: its pages until `most` members are known. `None`:
    /// there is none, or it could not be read.
    pub(crate) async fn pages(&mut self, group: &str, path: &str, most: usize) -> Option<Pages> {
        let collection = self.part(group, Some(path.to_owned())).await?;
        let Some(members) = collection.get("Members") else {
            self.note(group, &format!("{path} has no Members"));
            return None;
        };
        if !members.is_array() && !members.is_object() {
            self.note(group, &format!("Members of {path} is {}", kind_of(members)));
            return None;
        }
        let mut pages = Pages::of(path, most);
        let mut next = pages.take(&collection);
        drop(collection);
        while let Some(path) = next {
            let page = self.part(group, Some(path)).await;
            next = page.and_then(|page| pages.take(&page));
        }
        Some(pages)
    }

    /// At most `most` of the documents at these paths; each once, and none that is its own list.
    pub(crate) async fn listed(
        &mut self,
        group: &str,
        list: &str,
        paths: Vec<String>,
        most: usize,
    ) -> Listed {
        let mut known = BTreeSet::from([key(list).to_owned()]);
        let paths: Vec<String> = paths
            .into_iter()
            .filter(|path| known.insert(key(path).to_owned()))
            .collect();
        let mut found = Listed::default();
        let mut left = 0;
        for (index, path) in paths.iter().enumerate() {
            if found.documents.len() == most || found.dead == MOST_DEAD {
                left = paths.len() - index;
                break;
            }
            match self.read(path).await {
                Ok(document) => found.documents.push((path.clone(), document)),
                Err(Missing::Absent) => found.dead += 1,
                Err(Missing::Failed(why)) => {
                    self.note(group, &why);
                    found.omitted = found.omitted.saturating_add(1);
                }
            }
        }
        if found.dead == MOST_DEAD && left > 0 {
            self.note(group, &format!("{list} names members that are not there"));
        }
        found.omitted = found
            .omitted
            .saturating_add(i64::try_from(left).unwrap_or(i64::MAX));
        found
    }

    /// Notes what kept a part of a group from being read: the first reason counts.
    pub(crate) fn note(&mut self, group: &str, why: &str) {
        if self.unread.iter().all(|unread| unread.group != group) {
            self.unread.push(Unread {
                group: group.to_owned(),
                why: bounded(why, 256),
            });
        }
    }

    /// Notes that there is more of something than is read.
    pub(crate) fn note_left_out(&mut self, group: &str, what: &str, count: i64) {
        if count > 0 {
            self.note(
                group,
                &format!("{count} more {what} are listed and not read"),
            );
        }
    }

    /// What was noted since this was last asked.
    pub(crate) fn take_unread(&mut self) -> Vec<Unread> {
        std::mem::take(&mut self.unread)
    }

    /// What ended the exploration, if something did.
    pub(crate) fn take_fatal(&mut self) -> Option<BmcError> {
        self.fatal.take()
    }
}

impl Documents for Walk<'_> {
    fn origin(&self) -> &str {
        self.link.origin()
    }

    fn root(&self) -> &Value {
        self.link.root()
    }

    async fn get(&mut self, path: &str) -> Result<Document, BmcError> {
        let address = self.link.origin().to_owned();
        let path = path.to_owned();
        self.read(&path).await.map_err(|missing| match missing {
            Missing::Absent => BmcError::ReadFailed {
                address,
                path,
                status: 404,
                detail: "there is none".to_owned(),
            },
            Missing::Failed(reason) => BmcError::NoAnswer {
                address,
                path,
                reason,
            },
        })
    }
}

/// A path under which a document is remembered: with and without a slash at its end it is one.
fn key(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
