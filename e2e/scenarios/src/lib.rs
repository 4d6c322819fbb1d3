//! End-to-end scenarios: the product on real parts, judged by witnesses outside our code.
//!
//! A scenario is one file with one `run` function and one line in
//! [`registry::ALL`]. It gets a [`world::World`] (real control plane, real
//! firmware in VMs or an emulated BMC, the operator and the agents as users run
//! them) and returns figures. Its logs stay in one folder; what it started is
//! stopped by pid, also after a failure.

pub mod aarch64_agent;
pub mod address_swap;
pub mod adopt;
pub mod adopt_update;
pub mod artefacts;
pub mod bad_input;
pub mod bench_discovery;
pub mod bench_store;
pub mod bmc_quirks;
pub mod boot_slots;
pub mod crash_points;
pub mod cross;
pub mod dead_man;
pub mod discovery_join;
pub mod discovery_local;
pub mod discovery_mixed;
pub mod first_light;
pub mod found_to_ready;
pub mod helm;
mod helm_hosts;
mod helm_world;
pub mod host_in_use;
pub mod host_wait;
mod https_front;
pub mod image_registry;
pub mod image_server;
pub mod image_trust;
pub mod images;
pub mod install_devlink;
pub mod install_ipu;
pub mod install_pxe;
pub mod install_redfish_update;
pub mod install_rshim;
pub mod install_service;
pub mod install_uefi_http;
pub mod install_virtual_media;
pub mod journey;
pub mod least_privilege;
mod nginx;
pub mod objects;
pub mod packages;
pub mod registry;
pub mod report;
pub mod restore;
pub mod rshim_device;
pub mod simulated;
pub mod simulated_fleet;
pub mod simulator_conformance;
pub mod store_crash;
pub mod store_process;
pub mod story;
pub mod strike;
mod three_roads;
pub mod update_bmc;
pub mod update_firmware;
pub mod update_rollback;
pub mod upgrade_mid_operation;
pub mod wipe;
pub mod world;
pub mod xpu_diskless;
