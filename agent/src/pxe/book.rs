//! The offers of a site's agent, and the folder as it follows from them.
//!
//! The notes say what is offered; the folder is made from them, anew at each start and at each
//! change. Whatever a crash leaves there that no note names goes with the next of these.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Folder;
use super::offer::{Offer, lines};
use crate::durable::{self, StateError, failed};

/// Who knows a name may read the file of that name, and nobody may list them: as over TFTP.
const HIDES_NAMES: u32 = 0o711;
/// The server may be another user of this group.
const FOR_THE_SERVER: u32 = 0o640;

/// The offers, by the uids of their cards.
#[derive(Clone, Debug)]
pub struct Book {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    folder: Folder,
    notes: PathBuf,
    offers: BTreeMap<String, Offer>,
}

#[derive(Default, Serialize, Deserialize)]
struct Notes {
    offers: Vec<Offer>,
}

/// Why a card is not offered what it was to be.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// An address belongs to one card; what that one is offered stands.
    #[error("the card {} is offered an image at one of the addresses in bootMacs; an address belongs to one card", .0.card)]
    Taken(Box<Offer>),
    /// Folder or notes cannot be written. It may be offered then: withdraw it.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A boot file that is being written; nobody is offered it yet.
#[derive(Debug)]
pub struct Partial {
    /// Where.
    pub path: PathBuf,
    name: String,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone from there if it was offered; what stays is removed at the next start.
        drop(fs::remove_file(&self.path));
    }
}

impl Book {
    /// The offers that an earlier process noted, of which those without a boot file are over.
    ///
    /// # Errors
    /// If folder or notes cannot be used.
    pub fn open(folder: &Path, state_dir: &Path) -> Result<Self, StateError> {
        durable::make_private_dir(state_dir)?;
        let notes = state_dir.join("pxe.json");
        let folder = Folder::new(folder);
        make_dir(&folder.tftp(), HIDES_NAMES)?;
        make_dir(&folder.partial(), 0o700)?;
        if let Some(parent) = folder.conf().parent() {
            make_dir(parent, 0o755)?;
        }
        for left in files(&folder.partial())? {
            durable::remove(&left)?;
        }
        let noted = durable::read::<Notes>(&notes)
            .map_err(|error| error.or_move_away("cards are then offered nothing by PXE"))?;
        let offers = noted.unwrap_or_default().offers;
        let is_there = |offer: &Offer| folder.tftp().join(&offer.file).is_file();
        let offers = offers.into_iter().filter(is_there);
        let offers = offers.map(|offer| (offer.uid.clone(), offer)).collect();
        let shelf = Shelf {
            folder,
            notes,
            offers,
        };
        shelf.settle()?;
        Ok(Self {
            shelf: Arc::new(Mutex::new(shelf)),
        })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the card of the object with that uid is offered.
    pub fn offer_to(&self, uid: &str) -> Option<Offer> {
        self.shelf().offers.get(uid).cloned()
    }

    /// Another card that is offered something at one of these addresses.
    pub fn other_at(&self, macs: &[String], uid: &str) -> Option<Offer> {
        self.shelf().other_at(macs, uid).cloned()
    }

    /// A place to write a boot file to.
    pub fn partial(&self) -> Partial {
        let name = format!("{}.efi", hex::encode(rand::random::<[u8; 32]>()));
        Partial {
            path: self.shelf().folder.partial().join(&name),
            name,
        }
    }

    /// Offers a boot file that is whole, in place of what the card was offered before.
    ///
    /// # Errors
    /// As each [`OfferError`] says.
    pub fn offer(&self, partial: &Partial, offered: Offer) -> Result<(), OfferError> {
        let mut shelf = self.shelf();
        // Under one lock with the insertion: two cards may be staged at once.
        if let Some(other) = shelf.other_at(&offered.macs, &offered.uid) {
            return Err(OfferError::Taken(Box::new(other.clone())));
        }
        let file = shelf.folder.tftp().join(&partial.name);
        let publish = || -> io::Result<()> {
            let whole = fs::File::open(&partial.path)?;
            whole.set_permissions(fs::Permissions::from_mode(0o644))?;
            whole.sync_all()?;
            fs::rename(&partial.path, &file)
        };
        publish().map_err(failed(&file))?;
        let offer = Offer {
            file: partial.name.clone(),
            ..offered
        };
        shelf.offers.insert(offer.uid.clone(), offer);
        Ok(shelf.settle()?)
    }

    /// Offers that card nothing any more.
    ///
    /// # Errors
    /// If folder or notes cannot be written. Ask again.
    pub fn withdraw(&self, uid: &str) -> Result<(), StateError> {
        self.keep(|offer| offer.uid != uid)
    }

    /// Withdraws all offers but these.
    ///
    /// # Errors
    /// As [`Book::withdraw`].
    pub fn keep(&self, is_kept: impl Fn(&Offer) -> bool) -> Result<(), StateError> {
        let mut shelf = self.shelf();
        shelf.offers.retain(|_, offer| is_kept(offer));
        shelf.settle()
    }
}

impl Shelf {
    fn other_at(&self, macs: &[String], uid: &str) -> Option<&Offer> {
        let mut others = self.offers.values().filter(|offer| offer.uid != uid);
        others.find(|offer| offer.macs.iter().any(|mac| macs.contains(mac)))
    }

    /// Brings notes and folder to what is offered now.
    fn settle(&self) -> Result<(), StateError> {
        durable::write(
            &self.notes,
            &Notes {
                offers: self.offers.values().cloned().collect(),
            },
        )?;
        self.tell_dnsmasq()?;
        let offered = |file: &Path| {
            let name = file.file_name();
            let mut offers = self.offers.values();
            offers.any(|offer| name.is_some_and(|name| name == offer.file.as_str()))
        };
        for file in files(&self.folder.tftp())? {
            if !offered(&file) {
                durable::remove(&file)?;
            }
        }
        Ok(())
    }

    /// Replaced as a whole, and only if it says something else: each change restarts a server.
    fn tell_dnsmasq(&self) -> Result<(), StateError> {
        let conf = self.folder.conf();
        let lines = lines(self.offers.values());
        if fs::read_to_string(&conf).is_ok_and(|said| said == lines) {
            return Ok(());
        }
        // Not one of those that a server reads.
        let fresh = conf.with_extension("new");
        let replace = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FOR_THE_SERVER)
                .open(&fresh)?;
            file.set_permissions(fs::Permissions::from_mode(FOR_THE_SERVER))?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &conf)
        };
        replace().map_err(failed(&conf))
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(failed(path))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    list().map_err(failed(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "02:00:00:00:00:01";

    struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        fn book(&self) -> Book {
            Book::open(&self.dir.path().join("pxe"), &self.dir.path().join("state")).unwrap()
        }

        fn served(&self) -> Vec<String> {
            let files = files(&self.dir.path().join("pxe/tftp")).unwrap();
            let names = files.iter().map(|file| file.file_name().unwrap());
            names
                .map(|name| name.to_string_lossy().into_owned())
                .collect()
        }

        fn conf(&self) -> String {
            fs::read_to_string(self.dir.path().join("pxe/dnsmasq.d/lockstep.conf")).unwrap()
        }
    }

    fn bench() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn offered(card: &str, mac: &str) -> Offer {
        Offer {
            card: card.to_owned(),
            uid: format!("uid-{card}"),
            digest: "sha256:00".to_owned(),
            macs: vec![mac.to_owned()],
            file: String::new(),
        }
    }

    fn offer(book: &Book, card: &str, mac: &str) -> String {
        let partial = book.partial();
        fs::write(&partial.path, "boot").unwrap();
        book.offer(&partial, offered(card, mac)).unwrap();
        book.offer_to(&format!("uid-{card}")).unwrap().file
    }

    #[test]
    fn an_offer_is_there_until_it_is_withdrawn_and_a_new_one_has_another_name() {
        let bench = bench();
        let book = bench.book();
        assert_eq!((bench.conf(), bench.served()), (String::new(), Vec::new()));
        let first = offer(&book, "a", MAC);
        assert_eq!(first.len(), 64 + ".efi".len());
        assert!(
            bench
                .conf()
                .contains(&format!("dhcp-boot=tag:lockstep-0,{first}\n"))
        );
        let again = offer(&book, "a", MAC);
        assert_ne!(first, again);
        assert_eq!(bench.served(), [again.as_str()]);
        assert!(!bench.conf().contains(&first));
        let other = book.other_at(&[MAC.to_owned()], "uid-b").unwrap();
        assert_eq!(other.card, "a");
        assert!(book.other_at(&[MAC.to_owned()], "uid-a").is_none());
        book.withdraw("uid-a").unwrap();
        assert_eq!((bench.conf(), bench.served()), (String::new(), Vec::new()));
        assert!(bench.book().offer_to("uid-a").is_none());
    }

    #[test]
    fn who_comes_second_to_an_address_is_offered_nothing_and_the_first_keeps_it() {
        let bench = bench();
        let book = bench.book();
        let first = offer(&book, "a", MAC);
        let told = bench.conf();
        let partial = book.partial();
        fs::write(&partial.path, "boot").unwrap();
        let refused = book.offer(&partial, offered("b", MAC)).unwrap_err();
        assert!(
            matches!(&refused, OfferError::Taken(other) if other.card == "a"),
            "{refused}"
        );
        assert!(book.offer_to("uid-b").is_none());
        assert_eq!((bench.served(), bench.conf()), (vec![first], told));
    }

    #[test]
    fn the_next_process_goes_on_with_what_was_offered_and_with_nothing_else() {
        let bench = bench();
        let file = offer(&bench.book(), "a", MAC);
        let gone = offer(&bench.book(), "b", "02:00:00:00:00:02");
        let (pxe, told) = (bench.dir.path().join("pxe"), bench.conf());
        // A crash left these; one file went with its volume.
        fs::write(pxe.join("tftp/left.efi"), "seed").unwrap();
        fs::write(pxe.join("partial/left.efi"), "seed").unwrap();
        fs::write(pxe.join("dnsmasq.d/lockstep.conf"), "dhcp-boot=left.efi\n").unwrap();
        fs::remove_file(pxe.join("tftp").join(gone)).unwrap();
        let book = bench.book();
        assert_eq!(book.offer_to("uid-a").unwrap().file, file);
        assert!(book.offer_to("uid-b").is_none());
        assert_eq!(bench.served(), [file.as_str()]);
        assert!(files(&pxe.join("partial")).unwrap().is_empty());
        let now = bench.conf();
        assert!(now.contains(&file) && !now.contains("left") && now.len() < told.len());
        book.keep(|_| false).unwrap();
        assert!(bench.conf().is_empty() && bench.served().is_empty());
    }

    #[test]
    fn what_was_never_offered_leaves_nothing() {
        let bench = bench();
        let book = bench.book();
        let partial = book.partial();
        let path = partial.path.clone();
        fs::write(&path, "half").unwrap();
        drop(partial);
        assert!(!path.exists());
        let tftp = fs::metadata(bench.dir.path().join("pxe/tftp")).unwrap();
        assert_eq!(tftp.permissions().mode() & 0o777, HIDES_NAMES);
    }
}
