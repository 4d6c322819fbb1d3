//! Functions of a card by name.

use super::*;

const BF3: (u16, u16) = (0x15b3, 0xa2dc);

fn physical<'a>(tree: &'a Tree, address: &str, total: u16, enabled: u16) -> FunctionFiles<'a> {
    let path = format!("0000:00:01.0/{address}");
    tree.function(&path, BF3.0, BF3.1)
        .config(Some(DSN))
        .vpd("MT2251XZ0123")
        .file("sriov_totalvfs", format!("{total}\n"))
        .file("sriov_numvfs", format!("{enabled}\n"))
}

/// The virtual function and the link to it.
fn virtual_function<'a>(
    tree: &'a Tree,
    of: FunctionFiles<'a>,
    index: u16,
    address: &str,
) -> FunctionFiles<'a> {
    let path = format!("0000:00:01.0/{address}");
    tree.function(&path, BF3.0, 0x101e).link("physfn", "../pf");
    of.link(&format!("virtfn{index}"), &format!("../{address}"))
}

fn shown(named: &Named) -> Vec<String> {
    named
        .functions
        .iter()
        .map(|one| {
            let interface = one.interface.as_deref().unwrap_or("-");
            let counts = one
                .sriov
                .map(|sriov| format!(" {}/{}", sriov.enabled, sriov.total));
            format!(
                "{} {} {interface}{}",
                one.name,
                one.address,
                counts.unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn parts_are_named_with_address_and_interface() {
    let tree = Tree::new();
    let first = physical(&tree, "0000:3b:00.0", 16, 2)
        .file("net/enp59s0f0np0/phys_port_name", "p0\n")
        .file("net/eth9/phys_port_name", "pf0vf0\n")
        .file("net/eth0/phys_port_name", "c1pf0\n")
        .file("mlx5_core.sf.10/sfnum", "88\n")
        .file("mlx5_core.sf.10/net/enp59s0f0s88/mtu", "1500\n")
        .file("mlx5_core.sf.9/sfnum", "5\n")
        .file("mlx5_core.eth.1/sfnum", "7\n");
    let first = virtual_function(&tree, first, 0, "0000:3b:00.2");
    virtual_function(&tree, first, 1, "0000:3b:00.3");
    tree.write(
        &format!("{DEVICES}/0000:3b:00.3/net/enp59s0f0v1/mtu"),
        "1500\n",
    );
    physical(&tree, "0000:3b:00.1", 16, 0);
    let cards = tree.cards();
    assert_eq!(cards.len(), 1);
    assert_eq!(
        shown(&cards[0].named),
        [
            "pf0 0000:3b:00.0 enp59s0f0np0 2/16",
            "pf0vf0 0000:3b:00.2 -",
            "pf0vf1 0000:3b:00.3 enp59s0f0v1",
            "pf0sf5 0000:3b:00.0 -",
            "pf0sf88 0000:3b:00.0 enp59s0f0s88",
            "pf1 0000:3b:00.1 - 0/16",
        ]
    );
    assert_eq!(cards[0].named.omitted, 0);
}

#[test]
fn hundreds_of_virtual_functions_are_counted_and_every_physical_one_is_named() {
    let tree = Tree::new();
    for (physical_index, bus) in [(0_u16, 0x40), (1, 0x41)] {
        let address = format!("0000:3b:00.{physical_index}");
        let mut files = physical(&tree, &address, 127, 126);
        for index in 0..126_u16 {
            let address = format!("0000:{bus:02x}:{:02x}.{}", index / 8, index % 8);
            files = virtual_function(&tree, files, index, &address);
        }
    }
    let card = tree.cards().remove(0);
    assert_eq!(card.named.functions.len(), MOST_NAMED);
    let of = |physical: u8| {
        let functions = card.named.functions.iter();
        functions
            .filter(|one| one.name.physical == physical)
            .count()
    };
    assert_eq!((of(0), of(1)), (16, 16), "neither crowds out the other");
    assert_eq!(card.named.omitted, 2 * 127 - 32);
    let second = &shown(&card.named)[16..18];
    assert_eq!(
        second,
        ["pf1 0000:3b:00.1 - 126/127", "pf1vf0 0000:41:00.0 -"]
    );
}

#[test]
fn what_cannot_be_followed_is_counted_and_devices_are_told_apart() {
    let tree = Tree::new();
    physical(&tree, "0000:3b:00.0", 8, 3).link("virtfn1", "../nonsense");
    physical(&tree, "0000:5e:00.0", 8, 0).file("mlx5_core.sf.2/sfnum", "many\n");
    let card = tree.cards().remove(0);
    assert_eq!(
        shown(&card.named),
        ["pf0 0000:3b:00.0 - 3/8", "d1pf0 0000:5e:00.0 - 0/8"]
    );
    assert_eq!(card.named.omitted, 4);
}
