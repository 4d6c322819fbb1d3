//! The Lockstep agent: the hands, never the brain.
//!
//! `site` reaches the BMCs of one site, keeps its image store and carries out
//! directives; `host` and `xpu` report from the operating systems of a host and of a card;
//! `release` ends a hold without Kubernetes. Contract of every role: facts are written
//! on change only, an effect is accepted in the report before it is sent, and
//! no accepted effect is ever sent again.

mod card_filesystems;
pub mod clock;
pub mod config;
pub mod durable;
#[cfg(test)]
mod fake_api;
pub mod health;
pub mod host;
pub mod inventory;
pub mod kube_client;
pub mod lease;
pub mod local_inventory;
mod local_report;
mod machine_figures;
pub mod pxe;
pub mod release;
pub mod report;
pub mod seed;
pub mod services;
pub mod shutdown;
pub mod site;
mod wipe;
pub mod xpu;
