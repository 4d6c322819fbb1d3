//! The bytes of services on this card, by their digests, and what services say.
//!
//! What runs is never the file itself: it is hashed into memory that is sealed then, and that memory
//! is executed. So nothing runs that was changed after it was hashed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lockstep_store::Digest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::site::judge::Refusal;

/// The most bytes of one service: they are in memory while it runs.
pub(super) const MOST: u64 = 256 << 20;
/// Before a log is begun anew.
const MOST_LOG: u64 = 1 << 20;
/// Of a log, what is told of a service that ended.
const LAST_WORDS: usize = 300;
const PIECE: usize = 256 << 10;
/// What the memory of a service is called, before its name: by it another process of this agent knows it.
pub(super) const MEMORY: &str = "lockstep-service-";
const PARTIAL: &str = "part";
const LOG: &str = "log";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
}

/// The executable of a service, in memory that nobody can change any more.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) memory: File,
    pub(super) digest: Digest,
}

impl Shelf {
    /// Makes the folder if it is not there.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Whether these bytes were published here. They are hashed again before they run.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// What there is of a download.
    pub(super) fn partial(&self, digest: &Digest) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path(digest).with_extension(PARTIAL))
    }

    /// Gives a download its name once it has the digest; of other bytes nothing stays.
    pub(super) fn publish(&self, digest: &Digest) -> Result<(), Refusal> {
        let whole = self.path(digest);
        let partial = whole.with_extension(PARTIAL);
        let mut file = File::open(&partial).map_err(|error| unusable(&error))?;
        let found = hash(&mut file, |_| Ok(())).map_err(|error| unusable(&error))?;
        if found != *digest {
            fs::remove_file(&partial).map_err(|error| unusable(&error))?;
            return Err(Refusal::new(
                "BytesDiffer",
                format!(
                    "the site's store gave out bytes with {found}, and {digest} is offered; nothing of them stays here"
                ),
            ));
        }
        let publish = || -> io::Result<()> {
            file.sync_all()?;
            fs::rename(&partial, &whole)?;
            File::open(&self.dir)?.sync_all()
        };
        publish().map_err(|error| unusable(&error))
    }

    /// The bytes in sealed memory, hashed as they went there. Damaged ones are removed.
    pub(super) fn seal(&self, service: &str, digest: &Digest) -> Result<Sealed, Refusal> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|error| unusable(&error))?;
        let mut memory = memory(service).map_err(|error| no_memory(&error))?;
        let found = hash(&mut file, |piece| memory.write_all(piece));
        let found = found.map_err(|error| no_memory(&error))?;
        if found != *digest {
            fs::remove_file(&path).map_err(|error| unusable(&error))?;
            return Err(Refusal::new(
                "BytesDamaged",
                format!(
                    "what is kept on this card as {digest} has {found} now; it was removed and is fetched again"
                ),
            ));
        }
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&memory, seals).map_err(|error| no_memory(&error.into()))?;
        Ok(Sealed {
            memory,
            digest: found,
        })
    }

    /// Removes the bytes that nobody wants, and the logs of services that are not there.
    pub(super) fn sweep(&self, digests: &BTreeSet<Digest>, services: &BTreeSet<&str>) {
        let wanted: BTreeSet<String> = digests.iter().map(Digest::hex).collect();
        let Ok(listed) = fs::read_dir(&self.dir) else {
            return;
        };
        for file in listed.flatten() {
            let path = file.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let keeps = match (stem, path.extension().and_then(|ending| ending.to_str())) {
                (Some(stem), Some(LOG)) => services.contains(stem),
                (Some(stem), None | Some(PARTIAL)) if stem.parse::<Digest>().is_ok() => {
                    wanted.contains(stem)
                }
                // Somebody else's.
                (_, _) => true,
            };
            if !keeps && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "not removed");
            }
        }
    }

    /// Where a service's output goes. It outlives this process, as the service does.
    pub(super) fn log(&self, service: &str) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(self.log_path(service))
    }

    fn log_path(&self, service: &str) -> PathBuf {
        self.dir.join(format!("{service}.{LOG}"))
    }

    /// Keeps a log from filling the disk: what appends to it goes on at its new end.
    pub(super) fn trim(&self, service: &str) {
        let path = self.log_path(service);
        let is_long = fs::metadata(&path).is_ok_and(|meta| meta.len() > MOST_LOG);
        if is_long
            && let Err(error) = File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(0))
        {
            tracing::warn!(service, %error, "its log cannot be begun anew");
        }
    }

    /// The end of what a service said, in one line.
    pub(super) fn last_words(&self, service: &str) -> Option<String> {
        let mut file = File::open(self.log_path(service)).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))
            .ok()?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let words: Vec<&str> = text.split_whitespace().collect();
        let said = words.join(" ");
        let from = said.chars().count().saturating_sub(LAST_WORDS);
        let end: String = said
            .chars()
            .skip(from)
            .filter(|c| !c.is_control())
            .collect();
        (!end.is_empty()).then_some(end)
    }
}

/// Memory that can be executed. Kernels before 6.3 know no other, and do not know the flag.
fn memory(service: &str) -> io::Result<File> {
    let name = format!("{MEMORY}{service}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create(&name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(&name, flags),
        made => made,
    };
    Ok(File::from(made?))
}

/// Hashes a file, handing on what is read; one that is too long is an error.
pub(super) fn hash(
    file: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut had = 0_u64;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        had += read as u64;
        if had > MOST {
            return Err(io::Error::other(format!("it has more than {MOST} bytes")));
        }
        hasher.update(&piece[..read]);
        each(&piece[..read])?;
    }
    let hex = hex::encode(hasher.finalize());
    hex.parse().map_err(io::Error::other)
}

pub(super) fn unusable(error: &io::Error) -> Refusal {
    Refusal::new(
        "ShelfUnusable",
        format!(
            "services cannot be kept on this card: {error}; --services-dir must be writable for its agent and have room"
        ),
    )
}

fn no_memory(error: &io::Error) -> Refusal {
    Refusal::new(
        "NoMemory",
        format!(
            "the service cannot be brought into memory to run there: {error}; the card needs room for it, and a kernel that lets memory be executed (vm.memfd_noexec)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&dir.path().join("services")).unwrap();
        (dir, shelf)
    }

    fn put(shelf: &Shelf, bytes: &[u8], as_digest: &Digest) {
        shelf.partial(as_digest).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn only_bytes_with_the_digest_get_its_name() {
        let (_dir, shelf) = shelf();
        let digest = Digest::of(b"payload");
        put(&shelf, b"other", &digest);
        let refusal = shelf.publish(&digest).unwrap_err();
        assert_eq!(refusal.reason, "BytesDiffer");
        assert!(!shelf.has(&digest));
        put(&shelf, b"payload", &digest);
        shelf.publish(&digest).unwrap();
        assert!(shelf.has(&digest));
    }

    #[test]
    fn what_is_sealed_is_what_was_hashed_and_damage_is_removed() {
        let (_dir, shelf) = shelf();
        let digest = Digest::of(b"payload");
        put(&shelf, b"payload", &digest);
        shelf.publish(&digest).unwrap();
        let mut sealed = shelf.seal("web", &digest).unwrap();
        fs::write(shelf.path(&digest), b"changed").unwrap();
        sealed.memory.rewind().unwrap();
        assert_eq!(hash(&mut sealed.memory, |_| Ok(())).unwrap(), digest);
        assert!(sealed.memory.write_all(b"x").is_err());
        let refusal = shelf.seal("web", &digest).unwrap_err();
        assert_eq!(refusal.reason, "BytesDamaged");
        assert!(!shelf.has(&digest));
    }

    #[test]
    fn what_nobody_wants_goes_and_what_is_not_ours_stays() {
        let (dir, shelf) = shelf();
        let (kept, gone) = (Digest::of(b"a"), Digest::of(b"b"));
        for (bytes, digest) in [(b"a", kept), (b"b", gone)] {
            put(&shelf, bytes, &digest);
            shelf.publish(&digest).unwrap();
            put(&shelf, b"half", &digest);
            shelf.log(&digest.hex()[..4]).unwrap();
        }
        let foreign = dir.path().join("services/README");
        fs::write(&foreign, "x").unwrap();
        let name = kept.hex()[..4].to_owned();
        shelf.sweep(&BTreeSet::from([kept]), &BTreeSet::from([name.as_str()]));
        assert!(shelf.has(&kept) && !shelf.has(&gone) && foreign.exists());
        let left = fs::read_dir(dir.path().join("services")).unwrap().count();
        assert_eq!(
            left, 4,
            "bytes, partial and log of one, and the foreign file"
        );
    }

    #[test]
    fn last_words_are_the_end_of_what_was_said() {
        let (_dir, shelf) = shelf();
        assert_eq!(shelf.last_words("web"), None);
        let mut log = shelf.log("web").unwrap();
        log.write_all(format!("{}\nport in\x07 use\n", "x".repeat(5000)).as_bytes())
            .unwrap();
        let words = shelf.last_words("web").unwrap();
        assert!(
            words.ends_with("port in use") && words.chars().count() <= LAST_WORDS,
            "{words}"
        );
        log.set_len(MOST_LOG + 1).unwrap();
        shelf.trim("web");
        assert_eq!(log.metadata().unwrap().len(), 0);
    }
}
