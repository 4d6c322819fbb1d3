//! What parses bytes from outside, as targets for fuzzing.
//!
//! Each target is one function from bytes to nothing, which panics if a property does not hold.
//! `cargo test` runs every one with a bounded number of seeded inputs and needs nothing special;
//! `cargo xtask fuzz TARGET` runs one under libFuzzer for as long as wanted.

mod cosign;
mod local;
mod redfish;
mod trust;

/// Something that takes bytes from outside.
pub struct Target {
    /// Name for `cargo xtask fuzz NAME`.
    pub name: &'static str,
    /// What the bytes are.
    pub about: &'static str,
    /// Inputs to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Takes one input; panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs that `cargo test` tries.
    pub tries: u32,
}

/// Every target.
pub const ALL: &[Target] = &[
    Target {
        name: "vpd",
        about: "vital product data of a PCI function",
        samples: local::vpd_samples,
        run: local::vpd,
        tries: 4_000,
    },
    Target {
        name: "smbios",
        about: "entry point and table of SMBIOS",
        samples: local::smbios_samples,
        run: local::smbios,
        tries: 4_000,
    },
    Target {
        name: "pci",
        about: "configuration space, error counters, HEST, addresses and uevents",
        samples: local::pci_samples,
        run: local::pci,
        tries: 4_000,
    },
    Target {
        name: "sysfs",
        about: "the files of a PCI function, ids included",
        samples: local::sysfs_samples,
        run: local::sysfs,
        tries: 500,
    },
    Target {
        name: "redfish",
        about: "the documents of a BMC: wrong types, nulls, nested arrays, huge collections, cyclic links",
        samples: redfish::samples,
        run: redfish::run,
        tries: 300,
    },
    Target {
        name: "dsse",
        about: "the signature of an image: an envelope, and a statement in it that was signed",
        samples: trust::samples,
        run: trust::run,
        tries: 4_000,
    },
    Target {
        name: "cosign",
        about: "what cosign has put beside an artefact: a manifest, a payload that was signed, a bundle",
        samples: cosign::samples,
        run: cosign::run,
        tries: 4_000,
    },
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
