//! From structures to what they say. Offsets are those of DSP0134.

use lockstep_crds::identity::meaningful_uuid;

use super::structure::Structure;
use super::types::{
    Baseboard, Bios, Chassis, MemoryArray, MemoryDevice, OnboardDevice, PciLocation, Processor,
    Slot, SlotUse, System,
};
use super::{EntryPoint, Smbios};

/// Keeps what a structure says; `false` when it is too short for its type.
pub(super) fn take(s: &Structure<'_>, entry: &EntryPoint, into: &mut Smbios) -> bool {
    // The shortest that the oldest version of the specification with that type allows.
    let shortest = match s.kind {
        0 => 0x12,
        1 | 2 | 41 => 8,
        3 => 9,
        4 => 0x1a,
        9 => 0x0c,
        16 => 0x0f,
        17 => 0x15,
        _ => return true,
    };
    if !s.has(shortest) {
        return false;
    }
    match s.kind {
        // Of what may stand only once, the first counts.
        0 => into.bios = into.bios.take().or_else(|| Some(bios(s))),
        1 => into.system = into.system.take().or_else(|| Some(system(s, entry))),
        2 => into.baseboards.push(baseboard(s)),
        3 => into.chassis.push(chassis(s)),
        4 => into.processors.push(processor(s)),
        9 => into.slots.push(slot(s)),
        16 => into.memory_arrays.push(memory_array(s)),
        17 => into.memory_devices.push(memory_device(s)),
        41 => into.onboard_devices.push(onboard_device(s)),
        _ => {}
    }
    true
}

fn bios(s: &Structure<'_>) -> Bios {
    let release = match (s.byte(0x14), s.byte(0x15)) {
        (None | Some(0xff), _) | (_, None | Some(0xff)) => None,
        (Some(major), Some(minor)) => Some(format!("{major}.{minor}")),
    };
    Bios {
        vendor: s.text(0x04),
        version: s.text(0x05),
        date: s.text(0x08),
        release,
    }
}

fn system(s: &Structure<'_>, entry: &EntryPoint) -> System {
    System {
        manufacturer: s.text(0x04),
        product: s.text(0x05),
        version: s.text(0x06),
        serial: s.serial(0x07),
        uuid: s.chunk(0x08).and_then(|bytes| uuid(bytes, entry)),
        sku: s.text(0x19),
        family: s.text(0x1a),
    }
}

/// Since version 2.6 the first three parts are little-endian; before, they were not.
fn uuid(mut bytes: [u8; 16], entry: &EntryPoint) -> Option<String> {
    if (entry.major, entry.minor) >= (2, 6) {
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
    }
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    meaningful_uuid(&text)
}

fn baseboard(s: &Structure<'_>) -> Baseboard {
    Baseboard {
        manufacturer: s.text(0x04),
        product: s.text(0x05),
        version: s.text(0x06),
        serial: s.serial(0x07),
        asset_tag: s.text(0x08),
    }
}

fn chassis(s: &Structure<'_>) -> Chassis {
    const LOCKABLE: u8 = 0x80;
    Chassis {
        manufacturer: s.text(0x04),
        kind: s.byte(0x05).unwrap_or_default() & !LOCKABLE,
        serial: s.serial(0x07),
        asset_tag: s.text(0x08),
    }
}

fn processor(s: &Structure<'_>) -> Processor {
    const POPULATED: u8 = 1 << 6;
    // Counts in one byte, with 0xff for "see the word that version 3.0 added".
    let count = |narrow: usize, wide: usize| match s.byte(narrow)? {
        0 => None,
        0xff => s.word(wide).filter(|count| !matches!(count, 0 | 0xffff)),
        count => Some(u16::from(count)),
    };
    Processor {
        socket: s.text(0x04),
        populated: s.byte(0x18).is_some_and(|status| status & POPULATED != 0),
        manufacturer: s.text(0x07),
        version: s.text(0x10),
        cores: count(0x23, 0x2a),
        enabled_cores: count(0x24, 0x2c),
        threads: count(0x25, 0x2e),
        max_mhz: s.word(0x14).filter(|mhz| *mhz != 0),
        serial: s.serial(0x20),
        part_number: s.text(0x22),
    }
}

fn slot(s: &Structure<'_>) -> Slot {
    const HOT_PLUG: u8 = 1 << 1;
    Slot {
        designation: s.text(0x04),
        kind: s.byte(0x05).unwrap_or_default(),
        usage: match s.byte(0x07) {
            Some(3) => SlotUse::Available,
            Some(4) => SlotUse::InUse,
            Some(5) => SlotUse::Unavailable,
            Some(_) | None => SlotUse::Unknown,
        },
        id: s.word(0x09),
        lanes: match s.byte(0x06) {
            Some(8) => Some(1),
            Some(9) => Some(2),
            Some(10) => Some(4),
            Some(11) => Some(8),
            Some(12) => Some(12),
            Some(13) => Some(16),
            Some(14) => Some(32),
            Some(_) | None => None,
        },
        hot_plug: s.byte(0x0c).map(|flags| flags & HOT_PLUG != 0),
        location: location(s, 0x0d),
    }
}

/// Segment, bus, device and function; all ones where a slot is not of PCI.
fn location(s: &Structure<'_>, at: usize) -> Option<PciLocation> {
    let [low, high, bus, place] = s.chunk(at)?;
    let segment = u16::from_le_bytes([low, high]);
    let known = segment != 0xffff && (bus, place) != (0xff, 0xff);
    known.then_some(PciLocation {
        segment,
        bus,
        device: place >> 3,
        function: place & 7,
    })
}

fn memory_array(s: &Structure<'_>) -> MemoryArray {
    const SEE_EXTENDED: u32 = 0x8000_0000;
    MemoryArray {
        handle: s.handle,
        system_memory: s.byte(0x05) == Some(3),
        corrects_errors: match s.byte(0x06) {
            Some(3 | 4) => Some(false),
            Some(5 | 6) => Some(true),
            Some(_) | None => None,
        },
        max_bytes: match s.dword(0x07) {
            Some(SEE_EXTENDED) => s.qword(0x0f),
            kib => kib.map(|kib| u64::from(kib) << 10),
        }
        .filter(|bytes| *bytes != 0),
        sockets: s.word(0x0d),
    }
}

fn memory_device(s: &Structure<'_>) -> MemoryDevice {
    const UNKNOWN: u16 = 0xffff;
    const SEE_EXTENDED: u16 = 0x7fff;
    const IN_KIB: u16 = 0x8000;
    let bytes = match s.word(0x0c) {
        None | Some(UNKNOWN) => None,
        Some(SEE_EXTENDED) => s
            .dword(0x1c)
            .map(|mib| u64::from(mib & 0x7fff_ffff) << 20)
            .filter(|bytes| *bytes != 0),
        Some(size) if size & IN_KIB != 0 => Some(u64::from(size & !IN_KIB) << 10),
        Some(size) => Some(u64::from(size) << 20),
    };
    // A word with 0xffff for "see the double word that version 3.3 added".
    let speed = |narrow: usize, wide: usize| match s.word(narrow)? {
        0 => None,
        0xffff => s.dword(wide).filter(|mts| *mts != 0),
        mts => Some(u32::from(mts)),
    };
    MemoryDevice {
        array: s.word(0x04).unwrap_or(UNKNOWN),
        locator: s.text(0x10),
        bank: s.text(0x11),
        bytes,
        kind: s.byte(0x12).and_then(memory_kind).map(str::to_owned),
        max_mts: speed(0x15, 0x54),
        configured_mts: speed(0x20, 0x58),
        manufacturer: s.text(0x17),
        serial: s.serial(0x18),
        part_number: s.text(0x1a),
    }
}

fn memory_kind(number: u8) -> Option<&'static str> {
    Some(match number {
        0x07 => "RAM",
        0x09 => "Flash",
        0x0f => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x1f => "Logical non-volatile device",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => return None,
    })
}

fn onboard_device(s: &Structure<'_>) -> OnboardDevice {
    const ENABLED: u8 = 0x80;
    let kind = s.byte(0x05).unwrap_or_default();
    OnboardDevice {
        designation: s.text(0x04),
        kind: kind & !ENABLED,
        enabled: kind & ENABLED != 0,
        instance: s.byte(0x06).unwrap_or_default(),
        location: location(s, 0x07),
    }
}
