//! Capabilities: who may read which image, under which secret path, with
//! which seed and files.
//!
//! A capability is 256 random bits. It is looked up by its sha256, so that
//! neither the time of a lookup nor a log line tells anything about it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::disk::{At, DiskError, write_atomic};
use crate::inner::lock;
use crate::sight::{Answered, Sight};

/// Digits of a capability.
const CAPABILITY_LEN: usize = 64;
/// Ended capabilities that are remembered, to tell whose they were.
const ENDED: usize = 256;
const PREFIX: &str = "/i/";
const SUFFIX: &str = "/image.iso";

/// The way to one image for one card. The path is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The path below the address at which the store's router is served.
    pub path: String,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").finish_non_exhaustive()
    }
}

/// Whose capability a URL carries, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantInfo {
    /// The card it was granted to.
    pub card_key: String,
    /// The image it leads to.
    pub digest: Digest,
}

/// What has been read through a card's capabilities since they were granted
/// or this process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrantStats {
    /// Requests answered with image bytes or their headers.
    pub requests: u64,
    /// Image bytes handed to the network.
    pub bytes_served: u64,
    /// Requests that failed on our side: image missing, damaged or unreadable.
    pub failures: u64,
    /// Responses being sent now.
    pub active: u64,
    /// When the first request came.
    pub first_request: Option<SystemTime>,
    /// When the last request came.
    pub last_request: Option<SystemTime>,
}

impl GrantStats {
    fn add(&mut self, other: &GrantStats) {
        self.requests += other.requests;
        self.bytes_served += other.bytes_served;
        self.failures += other.failures;
        self.active += other.active;
        self.first_request = match (self.first_request, other.first_request) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last_request = self.last_request.max(other.last_request);
    }
}

/// What lies over an image for one card.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Laid {
    pub(crate) seed: Option<Bytes>,
    /// By the names of their slots.
    pub(crate) files: BTreeMap<String, Bytes>,
}

/// One capability. Replaced, never changed, so that a response under way
/// keeps the seed and the files that it began with.
pub(crate) struct Entry {
    pub(crate) card_key: String,
    pub(crate) digest: Digest,
    pub(crate) laid: Laid,
    capability: String,
    pub(crate) stats: Arc<Mutex<GrantStats>>,
    pub(crate) sight: Arc<Mutex<Sight>>,
    revoked: Arc<AtomicBool>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("card_key", &self.card_key)
            .field("digest", &self.digest)
            .field("capability", &self.log_name())
            .finish_non_exhaustive()
    }
}

impl Entry {
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            path: format!("{PREFIX}{}{SUFFIX}", self.capability),
        }
    }

    pub(crate) fn info(&self) -> GrantInfo {
        GrantInfo {
            card_key: self.card_key.clone(),
            digest: self.digest,
        }
    }

    /// An image as it is for a card that was granted nothing: whoever asks is known otherwise.
    pub(crate) fn ungranted(card_key: &str, digest: Digest) -> Self {
        Self {
            card_key: card_key.to_owned(),
            digest,
            laid: Laid::default(),
            capability: String::new(),
            stats: Arc::default(),
            sight: Arc::default(),
            revoked: Arc::default(),
        }
    }

    /// The same image as it is, with nothing laid over it. What is read of it counts for the card,
    /// but is nothing that was seen of the way to it.
    pub(crate) fn bare(&self) -> Self {
        Self {
            card_key: self.card_key.clone(),
            digest: self.digest,
            laid: Laid::default(),
            capability: self.capability.clone(),
            stats: Arc::clone(&self.stats),
            sight: Arc::default(),
            revoked: Arc::clone(&self.revoked),
        }
    }

    /// What stands for the capability in logs.
    pub(crate) fn log_name(&self) -> String {
        Digest::of(self.capability.as_bytes()).hex()[..8].to_owned()
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

/// Which of a card's grants are meant, by their images.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    All,
    But(&'a Digest),
    Only(&'a Digest),
}

impl Which<'_> {
    fn means(self, digest: &Digest) -> bool {
        match self {
            Self::All => true,
            Self::But(kept) => digest != kept,
            Self::Only(one) => digest == one,
        }
    }
}

/// All capabilities of a store.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    by_card: BTreeMap<(String, Digest), Arc<Entry>>,
    by_hash: HashMap<Digest, Arc<Entry>>,
    /// Hashes of capabilities that ended, and whose they were, the latest last.
    ended: VecDeque<(Digest, String)>,
    /// Whether the file does not say yet what this table says.
    pub(crate) unsaved: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedGrant {
    card_key: String,
    digest: Digest,
    capability: String,
    /// In hexadecimal.
    seed: Option<String>,
    /// In hexadecimal, by the names of their slots.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct SavedGrants {
    grants: Vec<SavedGrant>,
}

impl Grants {
    /// Reads the file; an absent one has no grants. `Ok(Err(reason))` is a
    /// file that cannot be understood.
    pub(crate) fn load(path: &Path) -> Result<Result<Self, String>, DiskError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Ok(Self::default()));
            }
            Err(error) => return Err(error).at(path),
        };
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let saved: SavedGrants =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut grants = Self::default();
        for each in saved.grants {
            if !is_capability(&each.capability) {
                return Err("a capability is malformed".to_owned());
            }
            let seed = each
                .seed
                .map(hex::decode)
                .transpose()
                .map_err(|_| "a seed is not hexadecimal")?;
            let mut files = BTreeMap::new();
            for (slot, content) in each.files {
                let content = hex::decode(content).map_err(|_| "a file is not hexadecimal")?;
                files.insert(slot, Bytes::from(content));
            }
            grants.insert(Entry {
                card_key: each.card_key,
                digest: each.digest,
                laid: Laid {
                    seed: seed.map(Bytes::from),
                    files,
                },
                capability: each.capability,
                stats: Arc::default(),
                sight: Arc::default(),
                revoked: Arc::default(),
            });
        }
        Ok(grants)
    }

    /// The file's new content.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let grants = self
            .by_card
            .values()
            .map(|entry| SavedGrant {
                card_key: entry.card_key.clone(),
                digest: entry.digest,
                capability: entry.capability.clone(),
                seed: entry.laid.seed.as_ref().map(hex::encode),
                files: entry
                    .laid
                    .files
                    .iter()
                    .map(|(slot, content)| (slot.clone(), hex::encode(content)))
                    .collect(),
            })
            .collect();
        serde_json::to_vec(&SavedGrants { grants })
    }

    pub(crate) fn save(path: &Path, json: &[u8]) -> Result<(), DiskError> {
        write_atomic(path, json)
    }

    /// The card's grant for an image, new or with this laid over it from now on.
    pub(crate) fn put(&mut self, card_key: &str, digest: Digest, laid: Laid) -> Grant {
        let old = self.get(card_key, &digest).cloned();
        let entry = match old {
            Some(old) if old.laid == laid => return old.grant(),
            Some(old) => Entry {
                card_key: card_key.to_owned(),
                digest,
                laid,
                capability: old.capability.clone(),
                stats: Arc::clone(&old.stats),
                sight: Arc::clone(&old.sight),
                revoked: Arc::clone(&old.revoked),
            },
            None => Entry {
                card_key: card_key.to_owned(),
                digest,
                laid,
                capability: hex::encode(rand::random::<[u8; 32]>()),
                stats: Arc::default(),
                sight: Arc::new(Mutex::new(Sight::begun())),
                revoked: Arc::default(),
            },
        };
        let grant = entry.grant();
        self.insert(entry);
        self.unsaved = true;
        grant
    }

    /// Begins anew with what is seen of the way to an image. What is still sent to somebody who was
    /// handed it before is told of no more.
    pub(crate) fn hand_out(&mut self, card_key: &str, digest: &Digest) {
        let Some(old) = self.get(card_key, digest).cloned() else {
            return;
        };
        self.insert(Entry {
            card_key: old.card_key.clone(),
            digest: old.digest,
            laid: old.laid.clone(),
            capability: old.capability.clone(),
            stats: Arc::clone(&old.stats),
            sight: Arc::new(Mutex::new(Sight::begun())),
            revoked: Arc::clone(&old.revoked),
        });
    }

    fn insert(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        let hash = Digest::of(entry.capability.as_bytes());
        self.by_hash.insert(hash, Arc::clone(&entry));
        self.by_card
            .insert((entry.card_key.clone(), entry.digest), entry);
    }

    pub(crate) fn get(&self, card_key: &str, digest: &Digest) -> Option<&Arc<Entry>> {
        self.by_card.get(&(card_key.to_owned(), *digest))
    }

    /// Ends grants of a card, responses under way included.
    pub(crate) fn revoke(&mut self, card_key: &str, which: Which<'_>) -> Vec<Digest> {
        let mut revoked = Vec::new();
        let ends = |card: &str, digest: &Digest| card == card_key && which.means(digest);
        self.by_card.retain(|(card, digest), entry| {
            let ends = ends(card, digest);
            if ends {
                entry.revoked.store(true, Ordering::Relaxed);
                revoked.push(*digest);
            }
            !ends
        });
        let ended = &mut self.ended;
        self.by_hash.retain(|hash, entry| {
            let ends = ends(&entry.card_key, &entry.digest);
            if ends {
                ended.push_back((*hash, entry.card_key.clone()));
            }
            !ends
        });
        while self.ended.len() > ENDED {
            self.ended.pop_front();
        }
        self.unsaved |= !revoked.is_empty();
        revoked
    }

    pub(crate) fn all(&self) -> Vec<GrantInfo> {
        self.by_card.values().map(|entry| entry.info()).collect()
    }

    pub(crate) fn uses(&self, digest: &Digest) -> bool {
        self.by_card.values().any(|entry| entry.digest == *digest)
    }

    /// The grant that a text names: a path, or a URL in whatever form a BMC
    /// gives it back.
    pub(crate) fn find(&self, text: &str) -> Option<&Arc<Entry>> {
        text.match_indices(PREFIX).find_map(|(at, _)| {
            let rest = &text[at + PREFIX.len()..];
            let capability = rest.get(..CAPABILITY_LEN)?;
            let named = is_capability(capability) && rest[CAPABILITY_LEN..].starts_with(SUFFIX);
            named
                .then(|| self.by_hash.get(&Digest::of(capability.as_bytes())))
                .flatten()
        })
    }

    /// The grant of a request's path, which must be exactly that.
    pub(crate) fn serve(&self, path: &str) -> Option<&Arc<Entry>> {
        let capability = path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        self.by_hash.get(&Digest::of(capability.as_bytes()))
    }

    /// Notes a request that was not answered for want of a grant, if it is known whose it was.
    pub(crate) fn note_ended(&self, path: &str) {
        let capability = path
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(SUFFIX));
        let Some(hash) = capability.map(|capability| Digest::of(capability.as_bytes())) else {
            return;
        };
        let Some((_, card)) = self.ended.iter().find(|(ended, _)| *ended == hash) else {
            return;
        };
        for entry in self.of_card(card) {
            lock(&entry.sight).answered(Answered::Ended);
        }
    }

    fn of_card(&self, card_key: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let all = self.by_card.values();
        all.filter(move |each| each.card_key == card_key)
    }

    /// What was seen of the way to each image of a card.
    pub(crate) fn sights(&self, card_key: &str) -> Vec<(Digest, Sight)> {
        let of_card = self.of_card(card_key);
        of_card
            .map(|each| (each.digest, *lock(&each.sight)))
            .collect()
    }

    pub(crate) fn stats(&self, card_key: &str) -> Option<GrantStats> {
        let mut sum = None;
        for entry in self.of_card(card_key) {
            sum.get_or_insert_with(GrantStats::default)
                .add(&lock(&entry.stats));
        }
        sum
    }
}

fn is_capability(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == CAPABILITY_LEN && text.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(text: &'static str) -> Laid {
        Laid {
            seed: Some(text.into()),
            files: BTreeMap::from([("bf.cfg".to_owned(), "secret file".into())]),
        }
    }

    fn image(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn a_grant_is_stable_until_revoked() {
        let mut grants = Grants::default();
        let first = grants.put("card-1", image("a"), Laid::default());
        assert_eq!(grants.put("card-1", image("a"), Laid::default()), first);
        let seeded = grants.put("card-1", image("a"), seeded("seed"));
        assert_eq!(seeded, first, "a new seed keeps the path");
        assert_ne!(grants.put("card-2", image("a"), Laid::default()), first);
        assert_ne!(grants.put("card-1", image("b"), Laid::default()), first);

        let entry = Arc::clone(grants.serve(&first.path).unwrap());
        assert_eq!(entry.laid.seed.as_deref(), Some(b"seed".as_slice()));
        let kept = grants.put("card-3", image("b"), Laid::default());
        grants.put("card-3", image("a"), Laid::default());
        assert_eq!(
            grants.revoke("card-3", Which::But(&image("b"))),
            [image("a")]
        );
        assert!(grants.serve(&kept.path).is_some());
        grants.put("card-3", image("a"), Laid::default());
        assert_eq!(
            grants.revoke("card-3", Which::Only(&image("a"))),
            [image("a")]
        );
        assert!(grants.serve(&kept.path).is_some());
        assert_eq!(grants.revoke("card-3", Which::All), [image("b")]);
        assert_eq!(grants.revoke("card-1", Which::All).len(), 2);
        assert!(entry.is_revoked());
        assert!(grants.serve(&first.path).is_none());
        assert!(grants.find(&first.path).is_none());
        assert!(grants.uses(&image("a")), "by the other card");
        assert!(!grants.uses(&image("b")));
        assert_ne!(grants.put("card-1", image("a"), Laid::default()), first);
    }

    #[test]
    fn a_url_is_recognised_in_every_form() {
        let mut grants = Grants::default();
        let path = grants.put("card", image("a"), Laid::default()).path;
        for text in [
            path.clone(),
            format!("http://10.0.0.1:8080{path}"),
            format!("https://store.example/prefix{path}?x=1"),
            format!("//10.0.0.1/i/i{path}"),
        ] {
            assert_eq!(grants.find(&text).unwrap().card_key, "card", "{text}");
        }
        let other = format!("/i/{}/image.iso", "0".repeat(64));
        let cut = &path[..path.len() - 1];
        for text in [
            "",
            "/i/",
            cut,
            &other,
            &path.to_uppercase(),
            "/i/é/image.iso",
        ] {
            assert!(grants.find(text).is_none(), "{text}");
        }
    }

    #[test]
    fn survives_the_file_and_hides_in_debug() {
        let mut grants = Grants::default();
        let grant = grants.put("card", image("a"), seeded("top secret"));
        let again = Grants::parse(&grants.to_json().unwrap()).unwrap();
        let entry = again.serve(&grant.path).unwrap();
        assert_eq!(entry.laid.seed.as_deref(), Some(b"top secret".as_slice()));
        assert_eq!(entry.laid.files["bf.cfg"], "secret file");
        let shown = format!("{again:?} {grant:?}");
        assert!(!shown.contains(&entry.capability) && !shown.contains("secret"));
        assert!(Grants::parse(b"{\"grants\":[").is_err());
        let bad = br#"{"grants":[{"cardKey":"c","digest":"sha256:00","capability":"x"}]}"#;
        assert!(Grants::parse(bad).is_err());
    }
}
