//! The table of scenarios.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use anyhow::Result;

use crate::artefacts::Binaries;
use crate::report::Report;
use crate::{
    aarch64_agent, address_swap, adopt, adopt_update, bad_input, bmc_quirks, boot_slots,
    crash_points, dead_man, discovery_join, discovery_local, discovery_mixed, first_light,
    found_to_ready, helm, host_in_use, host_wait, image_registry, image_trust, install_devlink,
    install_ipu, install_pxe, install_redfish_update, install_rshim, install_service,
    install_uefi_http, install_virtual_media, restore, rshim_device, simulated_fleet,
    simulator_conformance, store_crash, update_bmc, update_firmware, update_rollback,
    upgrade_mid_operation, wipe, xpu_diskless,
};

/// What a scenario gets.
#[derive(Clone, Debug)]
pub struct Context {
    /// A fresh folder for state and logs.
    pub folder: PathBuf,
    /// The product.
    pub binaries: Binaries,
}

/// A future that ends in a report. It stays on its thread.
pub type Running = Pin<Box<dyn Future<Output = Result<Report>>>>;

/// When a scenario runs without being asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In every `cargo xtask test`.
    Ci,
    /// In `cargo xtask test --all` only.
    All,
}

/// One scenario.
pub struct Scenario {
    /// Name for `cargo xtask e2e NAME`.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// When it runs.
    pub tier: Tier,
    /// Runs it.
    pub run: fn(Context) -> Running,
}

/// Every scenario, from fast to slow.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "first-light",
        about: "a card VM is installed through virtual media while its host VM is held off, then both run",
        tier: Tier::Ci,
        run: |context| Box::pin(first_light::run(context)),
    },
    Scenario {
        name: "bmc-quirks",
        about: "every quirk of BMCs that the field knows: its reason, few requests, no change twice",
        tier: Tier::Ci,
        run: |context| Box::pin(bmc_quirks::run(context)),
    },
    Scenario {
        name: "demo-fleet",
        about: "what the demo shows: a simulated fleet, each card to Ready or to the reason why it cannot be installed",
        tier: Tier::Ci,
        run: |context| Box::pin(simulated_fleet::run(context)),
    },
    Scenario {
        name: "found-to-ready",
        about: "BMCs are found, cards approved by a policy, and an image that requires firmware waits for it, then goes on",
        tier: Tier::Ci,
        run: |context| Box::pin(found_to_ready::run(context)),
    },
    Scenario {
        name: "install-ipu",
        about: "an Intel IPU is armed while it runs and restarted whole by its BMC, its host held off; beside a host that is up it is refused",
        tier: Tier::All,
        run: |context| Box::pin(install_ipu::run(context)),
    },
    Scenario {
        name: "install-redfish-update",
        about: "cards whose BMCs write the image: fetched or sent, whatever their tasks say, and a BMC that restarts meanwhile",
        tier: Tier::All,
        run: |context| Box::pin(install_redfish_update::run(context)),
    },
    Scenario {
        name: "update-bmc",
        about: "cards whose BMCs get other firmware before a system: pending, restarts, lost tasks, another key, and an older version refused",
        tier: Tier::All,
        run: |context| Box::pin(update_bmc::run(context)),
    },
    Scenario {
        name: "update-firmware",
        about: "cards whose own firmware runs after a power cycle, under the hold: vanished tasks, lies, one that never runs, and a card that runs its system",
        tier: Tier::All,
        run: |context| Box::pin(update_firmware::run(context)),
    },
    Scenario {
        name: "install-rshim",
        about: "cards pushed to over the rshim of their hosts: byte for byte, busy, cut off, stuck, and never by an isolated host",
        tier: Tier::All,
        run: |context| Box::pin(install_rshim::run(context)),
    },
    Scenario {
        name: "rshim-device",
        about: "a boot stream pushed to an rshim that is a character device of a VM's kernel: every byte arrives, and a busy one is refused",
        tier: Tier::All,
        run: |context| Box::pin(rshim_device::run(context)),
    },
    Scenario {
        name: "install-devlink",
        about: "firmware flashed by devlink to a VM's kernel and netdevsim: byte for byte, never believed, never twice, never by an isolated host",
        tier: Tier::All,
        run: |context| Box::pin(install_devlink::run(context)),
    },
    Scenario {
        name: "host-in-use",
        about: "a host that is up, or whose Node is Ready, is not touched, nor are its cards",
        tier: Tier::Ci,
        run: |context| Box::pin(host_in_use::run(context)),
    },
    Scenario {
        name: "store-crash",
        about: "the image store killed after every durable step, its volume filled: nothing unverified, nothing lost",
        tier: Tier::All,
        run: |context| Box::pin(store_crash::run(context)),
    },
    Scenario {
        name: "image-registry",
        about: "a private OCI registry: signed-in pulls, wrong passwords, a registry that is down, a tag that moves, signatures in the format of cosign",
        tier: Tier::All,
        run: |context| Box::pin(image_registry::run(context)),
    },
    Scenario {
        name: "address-swap",
        about: "two BMCs trade addresses in mid-operation; no change reaches the wrong machine",
        tier: Tier::Ci,
        run: |context| Box::pin(address_swap::run(context)),
    },
    Scenario {
        name: "discovery-join",
        about: "every vantage point of a card in one object; junk, contradictions, swaps and replacements kept apart",
        tier: Tier::Ci,
        run: |context| Box::pin(discovery_join::run(context)),
    },
    Scenario {
        name: "discovery-mixed",
        about: "BMCs of every kind by range, list and lease: each live one found and linked, no credential out of place",
        tier: Tier::All,
        run: |context| Box::pin(discovery_mixed::run(context)),
    },
    Scenario {
        name: "adopt",
        about: "cards that run something already: the maker's system, the wanted image, another one under its name",
        tier: Tier::All,
        run: |context| Box::pin(adopt::run(context)),
    },
    Scenario {
        name: "adopt-update",
        about: "a card that runs the wanted image is adopted without a change; a newer image reinstalls it",
        tier: Tier::All,
        run: |context| Box::pin(adopt_update::run(context)),
    },
    Scenario {
        name: "update-rollback",
        about: "v1, v2, then v3 whose system never reports: the card runs v2 again by itself, says why, and stays with it; then its disk is lost, v2 withdrawn, and v4 hangs: the golden image",
        tier: Tier::All,
        run: |context| Box::pin(update_rollback::run(context)),
    },
    Scenario {
        name: "boot-slots",
        about: "two slots on one disk: A comes back by its boot entry without an install; B's slot is destroyed, the firmware boots A by itself, and B is installed anew; a boot order that somebody changes is put right",
        tier: Tier::All,
        run: |context| Box::pin(boot_slots::run(context)),
    },
    Scenario {
        name: "image-trust",
        about: "images unsigned, signed by strangers, for other bytes or other cards, too old, or swapped in the store after they were verified: none reaches a card, and each goes on once put right",
        tier: Tier::All,
        run: |context| Box::pin(image_trust::run(context)),
    },
    Scenario {
        name: "install-virtual-media",
        about: "one signed image by three roads, all open and chosen by the order in the policy: the card's BMC inserts it; then signed images that the card has outrun or that are for another architecture change nothing",
        tier: Tier::All,
        run: |context| Box::pin(install_virtual_media::run(context)),
    },
    Scenario {
        name: "install-uefi-http",
        about: "the same signed image by the second: the card's firmware fetches it over HTTPS, its BMC armed by one PATCH and disarmed by one",
        tier: Tier::All,
        run: |context| Box::pin(install_uefi_http::run(context)),
    },
    Scenario {
        name: "install-pxe",
        about: "the same signed image by the third: the card's firmware fetches it from a real dnsmasq, and nothing is offered afterwards",
        tier: Tier::All,
        run: |context| Box::pin(install_pxe::run(context)),
    },
    Scenario {
        name: "xpu-diskless",
        about: "a card without an installed system boots a stateless image three times over the network, the store restarted in between, and is set free when it is deleted",
        tier: Tier::All,
        run: |context| Box::pin(xpu_diskless::run(context)),
    },
    Scenario {
        name: "install-service",
        about: "a card VM gets a signed service once its system runs, then another version; an unsigned one is refused, and what is unnamed ends",
        tier: Tier::All,
        run: |context| Box::pin(install_service::run(context)),
    },
    Scenario {
        name: "wipe",
        about: "patterns on the disk and in the TPM of a card are gone, read from outside; the card is retired: off, disarmed, its agent without identity, its host let go",
        tier: Tier::All,
        run: |context| Box::pin(wipe::run(context)),
    },
    Scenario {
        name: "crash-points",
        about: "operator and agent killed at every step, replies lost: nothing is done twice",
        tier: Tier::Ci,
        run: |context| Box::pin(crash_points::run(context)),
    },
    Scenario {
        name: "crash-points-emulator",
        about: "the BMCs die at every step of an install and come back: nothing is done twice",
        tier: Tier::All,
        run: |context| Box::pin(crash_points::run_on_emulator(context)),
    },
    Scenario {
        name: "crash-points-vm",
        about: "all three killed at every step of an install on VMs: one system, booted once",
        tier: Tier::All,
        run: |context| Box::pin(crash_points::run_on_vms(context)),
    },
    Scenario {
        name: "upgrade-mid-operation",
        about: "operator and agent replaced at every step, by a newer release and back: adopted or Stalled",
        tier: Tier::All,
        run: |context| Box::pin(upgrade_mid_operation::run(context)),
    },
    Scenario {
        name: "host-wait",
        about: "a card that never boots, for each onTimeout; a slot without power: the hold is refused, or is one by taint",
        tier: Tier::All,
        run: |context| Box::pin(host_wait::run(context)),
    },
    Scenario {
        name: "bad-input",
        about: "what users, networks and BMCs get wrong: a condition with its remedy, few requests, recovery",
        tier: Tier::All,
        run: |context| Box::pin(bad_input::run(context)),
    },
    Scenario {
        name: "restore",
        about: "etcd goes back to a snapshot older than reality: observed and adopted, no effect twice",
        tier: Tier::All,
        run: |context| Box::pin(restore::run(context)),
    },
    Scenario {
        name: "dead-man",
        about: "operator and API server gone: the work order ends the hold; then the offline release",
        tier: Tier::All,
        run: |context| Box::pin(dead_man::run(context)),
    },
    Scenario {
        name: "helm",
        about: "the charts on a real node: a card goes through, pods deleted, upgrade, uninstall refused then clean",
        tier: Tier::All,
        run: |context| Box::pin(helm::run(context)),
    },
    Scenario {
        name: "simulator-conformance",
        about: "DMTF's validators and checkers against every simulated BMC: no failure without its reason",
        tier: Tier::All,
        run: |context| Box::pin(simulator_conformance::run(context)),
    },
    Scenario {
        name: "discovery-local",
        about: "a VM with slots, disks and memory modules: its agents say what its own tools say, hot-plug included",
        tier: Tier::All,
        run: |context| Box::pin(discovery_local::run(context)),
    },
    Scenario {
        name: "aarch64-agent",
        about: "the agent of a real card's architecture, under QEMU, reports to a real API server",
        tier: Tier::All,
        run: |context| Box::pin(aarch64_agent::run(context)),
    },
];

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
