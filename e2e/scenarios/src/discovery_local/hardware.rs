//! The guest's hardware, and the tables with which its firmware describes it.

/// The disk that is taken out and put back, by QEMU's id.
pub(super) const DISK: &str = "disk2";
/// Its PCI function: buses are numbered port by port, and it sits below the third.
pub(super) const FUNCTION: &str = "0000:03:00.0";

/// Ports with slots, what sits in them, disks, and the tables in files of this folder.
pub(super) fn arguments(tables: &[String]) -> Vec<String> {
    let fixed = [
        ("-m", "1024"),
        ("-smp", "4,sockets=2,cores=2,threads=1"),
        ("-uuid", "4c4c4544-0051-3510-8052-b4c04f4d3132"),
        (
            "-smbios",
            "type=1,manufacturer=Lockstep,product=Lab Host,serial=LAB-4711,sku=L1,family=Lab",
        ),
        ("-smbios", "type=2,serial=BOARD-42"),
        ("-netdev", "user,id=net0"),
        (
            "-device",
            "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,addr=2.0",
        ),
        ("-device", "pcie-root-port,id=rp1,slot=1,chassis=1,addr=3.0"),
        ("-device", "pcie-root-port,id=rp2,slot=2,chassis=2,addr=4.0"),
        ("-device", "pcie-root-port,id=rp3,slot=3,chassis=3,addr=5.0"),
        ("-device", "e1000e,bus=rp1,mac=52:54:00:00:00:02"),
        (
            "-blockdev",
            "driver=null-co,node-name=blocks1,size=67108864",
        ),
        (
            "-blockdev",
            "driver=null-co,node-name=blocks2,size=134217728",
        ),
        (
            "-blockdev",
            "driver=null-co,node-name=blocks3,size=33554432",
        ),
        ("-device", "nvme-subsys,id=subsystem0"),
        (
            "-device",
            "nvme,bus=rp2,serial=NVME-1,subsys=subsystem0,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=4",
        ),
        ("-device", "nvme-ns,drive=blocks1"),
        (
            "-device",
            "virtio-blk-pci,drive=blocks3,serial=VIRTIO-3,addr=6.0",
        ),
        (
            "-device",
            "nvme,id=disk2,bus=rp3,serial=NVME-2,drive=blocks2",
        ),
    ];
    let mut all: Vec<String> = fixed
        .iter()
        .flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()])
        .collect();
    for table in tables {
        all.push("-smbios".to_owned());
        all.push(format!("file={table}"));
    }
    all
}

/// Two memory modules and an empty socket, and three slots, one of them empty.
pub(super) fn tables() -> Vec<Vec<u8>> {
    vec![
        module(0x1101, 512, &["DIMM_A1", "Maker", "SN-A1", "PART-1"]),
        module(0x1102, 512, &["DIMM_B1", "Maker", "SN-B1", "PART-1"]),
        module(0x1103, 0, &["DIMM_A2"]),
        slot(0x0901, "PCIe Slot 1", 3, true),
        slot(0x0902, "PCIe Slot 2", 4, true),
        slot(0x0903, "PCIe Slot 9", 31, false),
    ]
}

/// Type 17 of SMBIOS 2.8: locator, then maker, serial and part number if there is a module.
fn module(handle: u16, mebibytes: u16, strings: &[&str]) -> Vec<u8> {
    let is_there = u8::from(mebibytes > 0);
    let mut body = vec![17, 0x28];
    body.extend(handle.to_le_bytes());
    // Of array 0x1000, without error information, 64 bits wide.
    body.extend([0x00, 0x10, 0xfe, 0xff, 64, 0, 64, 0]);
    body.extend(mebibytes.to_le_bytes());
    // DIMM, in no set, locator, no bank; DDR4, registered.
    body.extend([9, 0, 1, 0, if is_there == 1 { 26 } else { 2 }, 0, 0x20]);
    body.extend(if is_there == 1 { 3200_u16 } else { 0 }.to_le_bytes());
    body.extend([2 * is_there, 3 * is_there, 0, 4 * is_there, 0]);
    body.extend([0; 4]);
    body.extend(if is_there == 1 { 2933_u16 } else { 0 }.to_le_bytes());
    body.extend([0; 6]);
    with_strings(body, strings)
}

/// Type 9 of SMBIOS 2.6: a PCIe slot of sixteen lanes below that device of bus 0.
fn slot(handle: u16, name: &str, device: u8, in_use: bool) -> Vec<u8> {
    let mut body = vec![9, 0x11];
    body.extend(handle.to_le_bytes());
    let usage = if in_use { 4 } else { 3 };
    body.extend([1, 0xa5, 0x0d, usage, 4, device, 0, 0x04, 0x02]);
    body.extend([0, 0, 0, device << 3]);
    with_strings(body, &[name])
}

fn with_strings(mut body: Vec<u8>, strings: &[&str]) -> Vec<u8> {
    for string in strings {
        body.extend(string.bytes());
        body.push(0);
    }
    body.push(0);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_long_as_they_say() {
        for table in tables() {
            let length = usize::from(table[1]);
            let strings = &table[length..];
            assert!(strings.ends_with(&[0, 0]), "{table:?}");
            assert!(strings[0].is_ascii_graphic(), "{table:?}");
        }
    }
}
