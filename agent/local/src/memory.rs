//! Memory by NUMA node. The whole is [`crate::memory_bytes`], its modules are in
//! [`crate::smbios`].

use serde::{Deserialize, Serialize};

use crate::{Fact, Root};

const NODES: &str = "/sys/devices/system/node";

/// The memory of one NUMA node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryNode {
    /// The node's number.
    pub node: u32,
    /// What the kernel manages there, in bytes.
    pub bytes: u64,
}

/// The nodes in order; [`Fact::NotOffered`] on a kernel without NUMA.
pub fn memory_nodes(root: &Root) -> Fact<Vec<MemoryNode>> {
    root.names(NODES).and_then(|names| {
        let mut nodes = Vec::new();
        let numbers = names
            .iter()
            .filter_map(|name| name.strip_prefix("node")?.parse::<u32>().ok());
        for node in numbers {
            let path = format!("{NODES}/node{node}/meminfo");
            match root.text(&path) {
                Fact::Known(text) => match total(&text) {
                    Some(bytes) => nodes.push(MemoryNode { node, bytes }),
                    None => return Fact::NotRead(format!("{path}: no MemTotal in kB")),
                },
                // It went offline while we looked.
                Fact::NotOffered => {}
                Fact::NotRead(why) => return Fact::NotRead(why),
            }
        }
        nodes.sort_unstable_by_key(|node| node.node);
        Fact::Known(nodes)
    })
}

/// `Node 0 MemTotal:       32768 kB`
fn total(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.split_once("MemTotal:"))
        .and_then(|(_, rest)| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .and_then(|kib| kib.checked_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nodes_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(memory_nodes(&root), Fact::NotOffered);
        for (node, text) in [
            (10, "Node 10 MemTotal:  2048 kB\nNode 10 MemFree: 1 kB\n"),
            (9, "\nNode 9 MemTotal:       1024 kB\n"),
        ] {
            let folder = dir
                .path()
                .join(format!("sys/devices/system/node/node{node}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("meminfo"), text).unwrap();
        }
        let nodes = memory_nodes(&root).known().unwrap();
        assert_eq!(
            nodes.iter().map(|n| (n.node, n.bytes)).collect::<Vec<_>>(),
            [(9, 1 << 20), (10, 2 << 20)]
        );
        let broken = dir.path().join("sys/devices/system/node/node9/meminfo");
        fs::write(broken, "MemTotal: much\n").unwrap();
        assert!(matches!(memory_nodes(&root), Fact::NotRead(why) if why.contains("node9")));
    }
}
