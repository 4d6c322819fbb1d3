//! The files of the imitation.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::card::Card;
use crate::fuse::{Answers, Reply, Request};

const ROOT: u64 = 1;
pub(crate) const BOOT: u64 = 2;
pub(crate) const MISC: u64 = 3;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
/// The part of the flags of an opening that says what for.
const ACCESS: u32 = 3;
/// Between looks whether what hangs still does.
const HANGING: Duration = Duration::from_millis(5);

pub(crate) struct Files {
    card: Arc<Mutex<Card>>,
    opened: u64,
    /// Openings of `misc` that were read.
    read: Arc<Mutex<BTreeSet<u64>>>,
}

impl Files {
    pub(crate) fn of(card: &Arc<Mutex<Card>>) -> Self {
        Self {
            card: Arc::clone(card),
            opened: 0,
            read: Arc::default(),
        }
    }

    fn open(&mut self, node: u64, flags: u32, reply: Reply) {
        self.opened += 1;
        let opened = if node == BOOT && flags & ACCESS != 0 {
            lock(&self.card).open_boot()
        } else {
            Ok(())
        };
        match opened {
            Ok(()) => reply.opened(self.opened),
            Err(number) => reply.error(number),
        }
    }

    /// What hangs must not keep others from being answered.
    fn read_misc(&self, handle: u64, size: usize, reply: Reply) {
        let (card, read) = (Arc::clone(&self.card), Arc::clone(&self.read));
        thread::spawn(move || {
            while lock(&card).misc_hangs {
                thread::sleep(HANGING);
            }
            // One read gets as much as it asks for, and the next one the end.
            if !lock(&read).insert(handle) {
                return reply.data(&[]);
            }
            let text = lock(&card).misc();
            reply.data(&text.as_bytes()[..text.len().min(size)]);
        });
    }

    fn write_boot(&self, data: &[u8], reply: Reply) {
        let taken = lock(&self.card).take(data);
        match taken {
            Ok((taken, Duration::ZERO)) => reply.written(taken),
            Ok((taken, lasts)) => {
                thread::spawn(move || {
                    thread::sleep(lasts);
                    reply.written(taken);
                });
            }
            Err(number) => reply.error(number),
        }
    }
}

impl Answers for Files {
    fn answer(&mut self, node: u64, request: Request<'_>, reply: Reply) {
        match request {
            Request::Lookup(b"boot") => reply.entry(BOOT),
            Request::Lookup(b"misc") => reply.entry(MISC),
            Request::Lookup(_) => reply.error(ENOENT),
            Request::Attributes => reply.attributes(node, node == ROOT),
            Request::Open { flags } => self.open(node, flags, reply),
            Request::Read { handle, size } if node == MISC => self.read_misc(handle, size, reply),
            Request::Read { .. } => reply.error(EINVAL),
            Request::Write { data } if node == MISC => {
                let set = lock(&self.card).set(&String::from_utf8_lossy(data));
                match set {
                    Ok(()) => reply.written(data.len()),
                    Err(number) => reply.error(number),
                }
            }
            Request::Write { data } => self.write_boot(data, reply),
            Request::Release { handle, flags } => {
                lock(&self.read).remove(&handle);
                if node == BOOT && flags & ACCESS != 0 {
                    lock(&self.card).close_boot();
                }
                reply.done();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
