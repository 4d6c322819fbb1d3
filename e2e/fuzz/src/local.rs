//! Parsers of what the local machine says of itself.

use std::fmt::Debug;

use lockstep_local::pci::{self, Id};
use lockstep_local::{Root, smbios as tables, uevent, vpd as product_data};

/// An answer is the same each time, and no larger than its input can explain.
fn settled<T: Debug + PartialEq>(bytes: &[u8], parse: impl Fn(&[u8]) -> T) {
    let first = parse(bytes);
    assert_eq!(first, parse(bytes));
    let shown = format!("{first:?}").len();
    let most = 256 * bytes.len() + 4096;
    assert!(shown <= most, "{shown} bytes out of {}", bytes.len());
}

pub(crate) fn vpd(bytes: &[u8]) {
    settled(bytes, product_data::parse);
    if let Ok(vpd) = product_data::parse(bytes) {
        for field in &vpd.fields {
            assert_eq!(field.keyword.len(), 2, "{field:?}");
            assert!(!field.value.contains(char::is_control), "{field:?}");
        }
    }
}

pub(crate) fn vpd_samples() -> Vec<Vec<u8>> {
    let mut bytes = b"\x82\x09\0ConnectX7\x90".to_vec();
    let mut fields = b"PN\x06900-9DSN\x05MT123V0\x02\x01\xff".to_vec();
    fields.extend(b"RV\x01");
    let length = u16::try_from(fields.len() + 1).unwrap_or(0);
    bytes.extend(length.to_le_bytes());
    bytes.extend(fields);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.push(sum.wrapping_neg());
    bytes.push(0x78);
    vec![bytes, b"\x82\0\0\x78".to_vec(), vec![0; 64]]
}

/// The first byte says whether the entry point is sound, or taken from the input too.
pub(crate) fn smbios(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    if choice % 2 == 0 {
        settled(rest, |table| tables::parse(&entry(table.len()), table));
    } else {
        let (entry, table) = rest.split_at(rest.len().min(31));
        settled(rest, |_| tables::parse(entry, table));
    }
}

fn entry(length: usize) -> Vec<u8> {
    let mut entry = b"_SM3_\0\x18\x03\x04\0\x01\0".to_vec();
    entry.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    entry.extend([0; 8]);
    let sum = entry.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    entry[5] = sum.wrapping_neg();
    entry
}

pub(crate) fn smbios_samples() -> Vec<Vec<u8>> {
    let mut table = vec![0];
    for kind in [0_u8, 1, 2, 3, 4, 9, 16, 17, 41] {
        table.extend([kind, 60, kind, 0]);
        table.extend((0..56_u8).map(|byte| byte % 4));
        table.extend(b"Example\0One\0Two\0\0");
    }
    table.extend([127, 4, 0xff, 0, 0, 0]);
    let mut raw = vec![1];
    raw.extend(entry(table.len() - 1));
    raw.resize(32, 0);
    raw.extend(&table[1..]);
    vec![table, raw]
}

/// The first byte says what the others are.
pub(crate) fn pci(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    match choice % 5 {
        0 => {
            settled(rest, pci::parse_config);
            if let [a, b, c, d, ..] = rest {
                let id = |low, high| Id(u16::from_le_bytes([low, high]));
                settled(rest, |_| {
                    format!("{:?}", pci::model(id(*a, *b), id(*c, *d)))
                });
            }
        }
        1 => settled(rest, pci::parse_hest),
        2 => settled(rest, |rest| {
            pci::parse_counters(&String::from_utf8_lossy(rest))
        }),
        3 => settled(rest, uevent::parse),
        _ => {
            let text = String::from_utf8_lossy(rest);
            if let Ok(address) = text.parse::<pci::Address>() {
                assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}

pub(crate) fn pci_samples() -> Vec<Vec<u8>> {
    let mut config = vec![0; 4097];
    config[1..5].copy_from_slice(&[0xb3, 0x15, 0xdc, 0xa2]);
    config[1 + 6] = 0x10;
    config[1 + 0x34] = 0x48;
    config[1 + 0x48..1 + 0x4a].copy_from_slice(&[0x03, 0x60]);
    config[1 + 0x60..1 + 0x62].copy_from_slice(&[0x10, 0]);
    config[1 + 0x100..1 + 0x104].copy_from_slice(&[1, 0, 1, 0x20]);
    config[1 + 0x200..1 + 0x204].copy_from_slice(&[3, 0, 1, 0]);
    let mut hest = b"\x01HEST".to_vec();
    hest.extend(44_u32.to_le_bytes());
    hest.resize(45, 0);
    vec![
        config,
        hest,
        b"\x02RxErr 0\nBadTLP 12\nTOTAL_ERR_COR 12\n".to_vec(),
        b"\x03add@/devices/pci0000:00/0000:01:00.0\0ACTION=add\0SUBSYSTEM=pci\0".to_vec(),
        b"\x040000:01:00.0".to_vec(),
    ]
}

/// Files of one function, in the order in which the input fills them.
const FILES: [&str; 12] = [
    "vendor",
    "device",
    "class",
    "subsystem_vendor",
    "subsystem_device",
    "revision",
    "numa_node",
    "current_link_speed",
    "current_link_width",
    "sriov_numvfs",
    "config",
    "vpd",
];
/// Between the files; none of them needs it.
const BORDER: u8 = 0xfe;

/// The input is cut into the files of one function.
pub(crate) fn sysfs(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    let function = folder
        .path()
        .join(pci::DEVICES.trim_start_matches('/'))
        .join("0000:01:00.0");
    if std::fs::create_dir_all(&function).is_err() {
        return;
    }
    for (name, part) in FILES.iter().zip(bytes.split(|byte| *byte == BORDER)) {
        if std::fs::write(function.join(name), part).is_err() {
            return;
        }
    }
    settled(bytes, |_| {
        let root = Root::new(folder.path());
        let found = pci::functions(&root).known();
        let cards = found
            .as_ref()
            .map(|functions| pci::cards(&root, &functions.found));
        // What stands for the folder is not the input's.
        format!("{found:?} {cards:?}").replace(&folder.path().display().to_string(), "")
    });
}

pub(crate) fn sysfs_samples() -> Vec<Vec<u8>> {
    let texts = [
        "0x15b3",
        "0xa2dc",
        "0x020000",
        "0x15b3",
        "0x0051",
        "0x01",
        "0",
        "32.0 GT/s PCIe",
        "16",
        "0",
    ];
    let mut bytes = texts.join(&char::from(0_u8).to_string()).into_bytes();
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = BORDER;
        }
    }
    bytes.push(BORDER);
    bytes.extend(&pci_samples()[0][1..257]);
    bytes.push(BORDER);
    bytes.extend(&vpd_samples()[0]);
    vec![bytes]
}
