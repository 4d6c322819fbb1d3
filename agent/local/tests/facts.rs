//! Facts against fixture trees, and one smoke test on the real machine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use lockstep_local::{
    Fact, LocalFacts, Root, addresses, boot_id, hostname, memory_bytes, os_release, product_serial,
    product_uuid, tpm, uptime,
};

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = tree.0.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    fn root(&self) -> Root {
        Root::new(self.0.path())
    }
}

fn known(text: &str) -> Fact<String> {
    Fact::Known(text.to_owned())
}

const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.77.0.0/24 2 0 1
        |-- 10.77.0.0
           /24 link UNICAST
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
Local:
  +-- 10.77.0.0/24 2 0 1
     |-- 10.77.0.21
        /32 host LOCAL
     |-- 10.77.0.255
        /32 link BROADCAST
  |-- 127.0.0.1
     /32 host LOCAL
  |-- 169.254.3.4
     /32 host LOCAL
";

// Written as a little-endian kernel prints it.
const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

const IF_INET6: &str = "\
fe800000000000005054fffe123456ab 02 40 20 80     eth0
20010db8000000000000000000000021 02 40 00 80     eth0
20010db8000000000000000000000022 02 40 00 c0     eth0
00000000000000000000000000000001 01 80 10 80       lo
";

#[test]
fn a_whole_card() {
    let tree = Tree::new(&[
        (
            "/proc/sys/kernel/random/boot_id",
            "C0FFEE00-1234-4abc-8def-0123456789ab\n",
        ),
        ("/proc/uptime", "351.07 690.42\n"),
        ("/proc/sys/kernel/osrelease", "6.1.0-40-cloud-arm64\n"),
        ("/proc/sys/kernel/hostname", "card-7\n"),
        (
            "/proc/meminfo",
            "MemTotal:       16302048 kB\nMemFree: 1 kB\n",
        ),
        ("/proc/net/fib_trie", FIB_TRIE),
        ("/proc/net/route", ROUTE),
        ("/proc/net/if_inet6", IF_INET6),
        (
            "/etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        ),
        (
            "/sys/class/dmi/id/product_uuid",
            "4C4C4544-0039-4D10-8051-B4C04F564233\n",
        ),
        ("/sys/class/dmi/id/product_serial", " MT2306XZ00AB \n"),
        ("/sys/class/dmi/id/product_name", "BlueField SoC\n"),
        ("/sys/class/dmi/id/sys_vendor", "Example\n"),
        ("/sys/class/tpm/tpm0/tpm_version_major", "2\n"),
    ]);
    let facts = LocalFacts::read(&tree.root());
    assert_eq!(facts.boot_id, known("c0ffee00-1234-4abc-8def-0123456789ab"));
    assert_eq!(facts.uptime, Fact::Known(Duration::from_millis(351_070)));
    assert_eq!(facts.kernel_release, known("6.1.0-40-cloud-arm64"));
    assert_eq!(facts.hostname, known("card-7"));
    assert_eq!(facts.memory_bytes, Fact::Known(16_302_048 * 1024));
    assert_eq!(
        facts.product_uuid,
        known("4c4c4544-0039-4d10-8051-b4c04f564233")
    );
    assert_eq!(facts.product_serial, known("MT2306XZ00AB"));
    assert_eq!(facts.product_name, known("BlueField SoC"));
    assert_eq!(facts.tpm.known().unwrap().version_major, Some(2));
    let release = facts.os_release.known().unwrap();
    assert_eq!(release.version_id(), Some("12"));
    assert_eq!(release.pretty_name(), "Debian GNU/Linux 12 (bookworm)");
}

#[test]
#[cfg(target_endian = "little")]
fn addresses_without_loopback_broadcast_and_tentative() {
    let tree = Tree::new(&[
        ("/proc/net/fib_trie", FIB_TRIE),
        ("/proc/net/route", ROUTE),
        ("/proc/net/if_inet6", IF_INET6),
    ]);
    let found = addresses(&tree.root()).known().unwrap();
    let seen: Vec<(String, Option<&str>, bool)> = found
        .iter()
        .map(|address| {
            (
                address.ip.to_string(),
                address.interface.as_deref(),
                address.is_link_local(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("10.77.0.21".to_owned(), Some("eth0"), false),
            ("169.254.3.4".to_owned(), None, true),
            ("2001:db8::21".to_owned(), Some("eth0"), false),
            ("fe80::5054:fffe:1234:56ab".to_owned(), Some("eth0"), true),
        ]
    );
}

#[test]
fn one_address_family_is_enough() {
    let tree = Tree::new(&[("/proc/net/fib_trie", FIB_TRIE)]);
    let found = addresses(&tree.root()).known().unwrap();
    assert!(
        found
            .iter()
            .all(|address| matches!(address.ip, IpAddr::V4(_)))
    );
    assert_eq!(found.len(), 2);
    assert_eq!(addresses(&Tree::new(&[]).root()), Fact::NotOffered);
}

#[test]
fn nothing_there_is_not_offered() {
    let facts = LocalFacts::read(&Tree::new(&[]).root());
    assert_eq!(facts.boot_id, Fact::NotOffered);
    assert_eq!(facts.os_release, Fact::NotOffered);
    assert_eq!(facts.product_serial, Fact::NotOffered);
    assert!(
        matches!(facts.tpm, Fact::NotRead(_)),
        "an absent /sys proves nothing"
    );
}

#[test]
fn nonsense_is_not_read() {
    let tree = Tree::new(&[
        ("/proc/sys/kernel/random/boot_id", "not-a-uuid\n"),
        ("/proc/uptime", "-1 x\n"),
        ("/proc/sys/kernel/hostname", "(none)\n"),
        ("/proc/meminfo", "MemTotal: many kB\n"),
        ("/etc/os-release", "VERSION_ID=\"12\n"),
        ("/sys/class/dmi/id/product_uuid", "Not Settable\n"),
        ("/sys/class/net/lo/mtu", "65536\n"),
    ]);
    let root = tree.root();
    assert!(matches!(boot_id(&root), Fact::NotRead(why) if why.contains("UUID")));
    assert!(matches!(uptime(&root), Fact::NotRead(why) if why.contains("seconds")));
    assert!(matches!(hostname(&root), Fact::NotRead(why) if why.contains("no host name")));
    assert!(matches!(memory_bytes(&root), Fact::NotRead(why) if why.contains("MemTotal")));
    assert!(matches!(os_release(&root), Fact::NotRead(why) if why.contains("line 1")));
    assert!(matches!(product_uuid(&root), Fact::NotRead(_)));
    assert_eq!(tpm(&root), Fact::NotOffered);
}

#[test]
fn vendor_placeholders_identify_nothing() {
    for (uuid, serial) in [
        ("00000000-0000-0000-0000-000000000000", "Not Specified"),
        (
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "To be filled by O.E.M.",
        ),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "0000000000"),
        ("00000000-0000-0000-0000-000000000000", ""),
    ] {
        let tree = Tree::new(&[
            ("/sys/class/dmi/id/product_uuid", uuid),
            ("/sys/class/dmi/id/product_serial", serial),
        ]);
        assert_eq!(product_uuid(&tree.root()), Fact::NotOffered, "{uuid}");
        assert_eq!(product_serial(&tree.root()), Fact::NotOffered, "{serial}");
    }
}

#[test]
fn the_second_os_release_counts_when_the_first_is_absent() {
    let tree = Tree::new(&[("/usr/lib/os-release", "ID=small\n")]);
    assert_eq!(os_release(&tree.root()).known().unwrap().id(), "small");
}

#[test]
fn the_real_machine_tells_what_every_linux_tells() {
    let facts = LocalFacts::read(&Root::new("/"));
    assert!(facts.boot_id.known().is_some());
    assert!(facts.uptime.known().is_some_and(|up| up > Duration::ZERO));
    assert!(facts.kernel_release.known().is_some());
    assert!(
        facts
            .memory_bytes
            .known()
            .is_some_and(|bytes| bytes > 64 << 20)
    );
    assert!(!facts.architecture.is_empty());
    assert!(matches!(facts.addresses, Fact::Known(_) | Fact::NotOffered));
}
