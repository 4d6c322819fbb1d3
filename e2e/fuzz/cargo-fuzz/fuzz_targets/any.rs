//! One binary for every target: `LOCKSTEP_FUZZ_TARGET` says which.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lockstep_fuzz::{Target, find};

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("LOCKSTEP_FUZZ_TARGET").unwrap_or_default();
        find(&name).unwrap_or_else(|| panic!("LOCKSTEP_FUZZ_TARGET={name:?} is no target"))
    })
}

fuzz_target!(|data: &[u8]| (target().run)(data));
