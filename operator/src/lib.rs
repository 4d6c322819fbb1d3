//! The Lockstep operator: observe, plan, record, conclude.
//!
//! Watches keep a [`world::World`]; what changes in it wakes a power domain;
//! [`assemble`] makes the planner's view; [`record`] carries its plan out. Every
//! decision is the planner's, every write a compare-and-swap.

pub mod assemble;
mod author;
mod chores;
pub mod conflicts;
pub mod context;
pub mod drive;
pub mod guards;
pub mod host_controller;
pub mod image_controller;
mod image_demand;
mod image_status;
mod in_host;
pub mod inventory_controller;
mod inventory_objects;
pub mod joins;
pub mod key;
mod kstatus;
pub mod label_controller;
pub mod leader;
pub mod leases;
pub mod manifests;
mod merge_patch;
pub mod metrics;
mod node_labels;
mod node_taint;
mod nodes;
pub mod orphan_controller;
mod pace;
mod patience;
pub mod policy_controller;
pub mod process;
pub mod queue;
mod quiet;
pub mod record;
mod refused;
pub mod run;
pub mod server;
pub mod stores;
pub mod table;
mod untold_images;
mod vetted;
pub mod watched;
pub mod world;
pub mod writes;
