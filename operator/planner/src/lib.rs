//! Decisions about one power domain, pure: no I/O, no clock, no randomness.
//!
//! [`plan`] takes everything known about a host and its cards and the time, and
//! returns what to do, what to record and what to tell people. The operator
//! observes, calls it, and carries the result out; it decides nothing itself.
//! Safety rules S1–S16 of the design are enforced here and re-checked by
//! [`invariants`].

pub mod admit;
mod approval;
mod armed_firmware;
mod arriving;
mod beside;
mod boot_order;
mod bundle;
pub mod card;
mod card_record;
pub mod choice;
mod configuration;
pub mod custody;
pub mod decision;
mod drift;
mod drift_words;
mod failure;
mod fetch;
mod firmware;
mod firmware_activation;
mod firmware_record;
mod flash;
mod give_back;
pub mod host;
mod image_bytes;
mod inspection;
mod install;
pub mod intent;
pub mod invariants;
pub mod inventory;
mod joining;
pub mod leave;
pub mod ledger;
mod mechanism;
mod network_boot;
mod node_binding;
mod obstacle;
mod pairing;
mod plan;
pub mod project;
mod push;
mod pxe;
pub mod reach;
pub mod reason;
mod repair;
mod repair_begins;
pub mod requirement;
mod retire;
mod road;
mod roll_back;
pub mod room;
mod services;
mod show_card;
mod show_choice;
mod show_drift;
mod show_filesystems;
mod show_inventory;
mod show_services;
mod shown;
pub mod slot_power;
mod slots;
pub mod stage;
pub mod standing;
mod taint;
mod takedown;
mod torn;
mod update;
pub mod vetting;
pub mod view;
mod wait;
mod waiting_firmware;
mod whole_card;
mod wipe;

pub use approval::not_approved;
pub use arriving::arriving;
pub use decision::{Decision, Plan};
pub use node_binding::{left_behind, node_of};
pub use plan::plan;
pub use reason::Reason;
pub use roll_back::back_image;
pub use show_inventory::show_card_inventory;
pub use view::View;
