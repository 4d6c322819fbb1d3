//! The work orders of one state folder.
//!
//! Each order is one file, the only truth about it: the site agent and the
//! offline command work on the same files, one at a time by a lock file.

use std::fs::File;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::durable::{self, StateError};
use crate::site::order::Order;

/// What a folder of orders holds.
#[derive(Debug)]
pub struct Listing {
    /// The orders.
    pub orders: Vec<Order>,
    /// The files that hold none that this release understands.
    pub damaged: Vec<StateError>,
}

/// All orders of one state folder.
#[derive(Clone, Debug)]
pub struct OrderBook {
    dir: PathBuf,
    changed: watch::Sender<u64>,
}

impl OrderBook {
    /// Opens, or makes, the folder of orders.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let dir = state_dir.join("orders");
        durable::make_private_dir(&dir)?;
        Ok(Self {
            dir,
            changed: watch::Sender::new(0),
        })
    }

    /// Tells when this process changed an order.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The order of a host.
    pub fn get(&self, host: &str) -> Result<Option<Order>, StateError> {
        read(&self.path(host))
    }

    /// Every order. One that cannot be read hides no other.
    pub fn list(&self) -> Result<Listing, StateError> {
        let mut listing = Listing {
            orders: Vec::new(),
            damaged: Vec::new(),
        };
        for entry in std::fs::read_dir(&self.dir).map_err(durable::failed(&self.dir))? {
            let path = entry.map_err(durable::failed(&self.dir))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(order) => listing.orders.extend(order),
                Err(error) => listing.damaged.push(error),
            }
        }
        Ok(listing)
    }

    /// Keeps an order, synced to disk.
    pub fn put(&self, order: &Order) -> Result<(), StateError> {
        if self.get(&order.host)?.as_ref() == Some(order) {
            return Ok(());
        }
        durable::write(&self.path(&order.host), order)?;
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Drops an order.
    pub fn remove(&self, host: &str) -> Result<(), StateError> {
        durable::remove(&self.path(host))?;
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The right to act on a host's order; `None` while somebody else has it.
    pub fn try_lock(&self, host: &str) -> Result<Option<File>, StateError> {
        durable::try_lock(&self.dir.join(format!("{host}.lock")))
    }

    /// Changes an order that exists and belongs to that object, unless
    /// somebody is acting on it.
    pub fn amend(
        &self,
        host: &str,
        uid: &str,
        change: impl FnOnce(&mut Order),
    ) -> Result<(), StateError> {
        let Some(_lock) = self.try_lock(host)? else {
            return Ok(());
        };
        if let Some(mut order) = self.get(host)?.filter(|order| order.host_uid == uid) {
            change(&mut order);
            self.put(&order)?;
        }
        Ok(())
    }

    fn path(&self, host: &str) -> PathBuf {
        self.dir.join(format!("{host}.json"))
    }
}

fn read(path: &Path) -> Result<Option<Order>, StateError> {
    durable::read(path).map_err(|error| {
        error.or_move_away(
            "nothing then ends this hold without the operator, and the PowerRestorePolicy that was found is not put back",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples::order;

    #[test]
    fn an_order_survives_its_file_and_is_amended_for_its_own_host_only() {
        let dir = tempfile::tempdir().unwrap();
        let book = OrderBook::open(dir.path()).unwrap();
        book.put(&order()).unwrap();
        assert_eq!(book.get("h1").unwrap(), Some(order()));
        assert_eq!(book.list().unwrap().orders, [order()]);
        book.amend("h1", "uid-other", |order| order.hands_off = true)
            .unwrap();
        assert!(!book.get("h1").unwrap().unwrap().hands_off);
        book.amend("h1", "uid-h1", |order| order.hands_off = true)
            .unwrap();
        assert!(book.get("h1").unwrap().unwrap().hands_off);
        book.remove("h1").unwrap();
        assert_eq!(book.list().unwrap().orders, []);
    }

    #[test]
    fn what_is_not_understood_hides_no_other_order() {
        let dir = tempfile::tempdir().unwrap();
        let book = OrderBook::open(dir.path()).unwrap();
        book.put(&order()).unwrap();
        let mut newer = serde_json::to_value(order()).unwrap();
        newer["state"] = "Pondering".into();
        let path = dir.path().join("orders/h2.json");
        std::fs::write(&path, newer.to_string()).unwrap();
        std::fs::write(dir.path().join("orders/h3.json"), "{").unwrap();
        let listing = book.list().unwrap();
        assert_eq!(listing.orders, [order()]);
        let mut said: Vec<String> = listing.damaged.iter().map(ToString::to_string).collect();
        said.sort();
        assert!(said[0].contains("h2.json") && said[0].contains("move the file away"));
        assert_eq!(said.len(), 2);
        assert!(book.get("h2").is_err());
    }
}
