//! PXE: a folder that the agent of a site keeps, and a dnsmasq that answers from it.
//!
//! The two share nothing else. The site's agent, which has the credentials of BMCs, needs no
//! privilege on a network for it; the dnsmasq, which does, knows no more than what it gives to
//! cards. It is ours ([`service`]) or the site's own, told to read the folder:
//!
//! | in the folder | |
//! |---|---|
//! | `dnsmasq.d/lockstep.conf` | who gets what; no card, no line |
//! | `tftp/` | the boot files, under names that cannot be guessed; nobody may list it |

pub mod book;
pub mod offer;
pub mod service;

use std::path::{Path, PathBuf};

/// The places in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Of this folder.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What dnsmasq reads.
    pub fn conf(&self) -> PathBuf {
        self.0.join("dnsmasq.d/lockstep.conf")
    }

    /// What it serves.
    pub fn tftp(&self) -> PathBuf {
        self.0.join("tftp")
    }

    /// Boot files that are not whole yet.
    fn partial(&self) -> PathBuf {
        self.0.join("partial")
    }
}
