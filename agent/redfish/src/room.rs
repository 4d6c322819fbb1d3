//! What documents may take in memory, counted before they are parsed.
//!
//! Parsed JSON takes many times what its text does: an object of one small member is eight bytes
//! on the wire and more than 600 in memory. So what counts is the memory and not the length: of
//! one document, of all that is held of one BMC at a time, and of all explorations together. Calls to
//! BMCs that are known share memory of their own: what strangers answer with leaves them theirs.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// What this text takes once it is parsed, the text itself included. Never less than it really
/// is, and for documents of real BMCs not much more.
pub(crate) fn weigh(text: &[u8]) -> usize {
    /// A node of a map has room for eleven members, however few it has.
    const OBJECT: usize = 640;
    /// The first members of an array come in fours.
    const ARRAY: usize = 128;
    /// A further value, and the room into which lists grow.
    const FURTHER: usize = 96;
    /// Half of what the shortest text takes beside its characters.
    const QUOTE: usize = 16;
    let parts = text.iter().map(|byte| match byte {
        b'{' => OBJECT,
        b'[' => ARRAY,
        b',' => FURTHER,
        b'"' => QUOTE,
        _ => 0,
    });
    parts.sum::<usize>().saturating_add(text.len() * 2)
}

/// The memory that all explorations of a process share, or all calls.
#[derive(Debug)]
pub(crate) struct Pool {
    taken: AtomicUsize,
    most: usize,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            most,
        })
    }
}

/// What one exploration or call has of it.
#[derive(Debug)]
struct Account {
    pool: Arc<Pool>,
    taken: AtomicUsize,
    most: usize,
}

/// The memory of one exploration or call.
#[derive(Debug)]
pub(crate) struct Room {
    account: Arc<Account>,
    /// For the document that was read last, until somebody takes it.
    last: Mutex<Option<Held>>,
}

impl Room {
    pub(crate) fn new(pool: &Arc<Pool>, most: usize) -> Arc<Self> {
        Arc::new(Self {
            account: Arc::new(Account {
                pool: Arc::clone(pool),
                taken: AtomicUsize::new(0),
                most,
            }),
            last: Mutex::default(),
        })
    }

    /// Sets so much aside, until it is dropped.
    ///
    /// # Errors
    /// What has no more room.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Full> {
        let account = &self.account;
        if !add(&account.taken, bytes, account.most) {
            return Err(Full::Own(account.most));
        }
        if !add(&account.pool.taken, bytes, account.pool.most) {
            account.taken.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full::Shared(account.pool.most));
        }
        Ok(Held {
            account: Arc::clone(account),
            bytes,
        })
    }

    /// Sets room aside for a document that is about to be parsed, instead of the one before.
    pub(crate) fn expect(&self, bytes: usize) -> Result<(), Full> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = None;
        *last = Some(self.hold(bytes)?);
        Ok(())
    }

    /// The room of the document that was read last.
    pub(crate) fn take_last(&self) -> Option<Held> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }
}

/// What has no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// This BMC has answered with too much.
    #[error("the limit of {} KiB for what is read of one BMC at a time", .0 / 1024)]
    Own(usize),
    /// All BMCs together have, this one or others.
    #[error("the limit of {} MiB for what is read of all BMCs at a time", .0 / (1024 * 1024))]
    Shared(usize),
}

fn add(taken: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let more = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= most);
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// Room that is set aside for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        let pool = &self.account.pool;
        pool.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A document, and the room that is its own where room is counted.
#[derive(Debug, Default)]
pub(crate) struct Document {
    value: Value,
    _held: Option<Held>,
}

impl Document {
    pub(crate) fn new(value: Value, held: Option<Held>) -> Self {
        Self { value, _held: held }
    }

    /// The document alone, for those who count no room.
    pub(crate) fn into_value(self) -> Value {
        self.value
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::new(value, None)
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_weighs_what_it_takes() {
        const COUNT: usize = 1000;
        let many = |one: &str| vec![one; COUNT].join(",").into_bytes();
        // By hand: a Value is 32 bytes, a node of a map 11 x (24 + 32) and its own 12.
        assert!(weigh(&many("0")) >= COUNT * 32 * 2);
        assert!(weigh(&many(r#"{"":0}"#)) >= COUNT * (32 * 2 + 628));
        assert!(weigh(&many("[0]")) >= COUNT * (32 * 2 + 4 * 32));
        assert!(weigh(&many(r#""""#)) >= COUNT * 32 * 2);
        let text = vec![b'x'; COUNT];
        assert_eq!(weigh(&text), 2 * COUNT);
    }

    #[test]
    fn room_comes_back_and_one_exploration_has_no_more_than_its_own() {
        let pool = Pool::new(250);
        let rooms: Vec<_> = (0..3).map(|_| Room::new(&pool, 100)).collect();
        let first = rooms[0].hold(60).unwrap();
        assert_eq!(rooms[0].hold(41).unwrap_err(), Full::Own(100));
        let _second = rooms[1].hold(100).unwrap();
        assert_eq!(rooms[2].hold(100).unwrap_err(), Full::Shared(250));
        drop(first);
        // Nothing of what was refused is still set aside.
        let third = rooms[2].hold(100).unwrap();
        drop(third);
        assert!(rooms[0].hold(100).is_ok());
        assert_eq!(pool.taken.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_document_that_is_read_takes_the_place_of_one_that_nobody_took() {
        let pool = Pool::new(100);
        let room = Room::new(&pool, 100);
        room.expect(80).unwrap();
        room.expect(90).unwrap();
        let document = Document::new(Value::Null, room.take_last());
        assert!(room.expect(20).is_err() && room.take_last().is_none());
        drop(document);
        assert!(room.expect(20).is_ok());
        drop(room);
        assert_eq!(pool.taken.load(Ordering::Relaxed), 0);
    }
}
