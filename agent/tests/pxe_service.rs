//! `lockstep-agent pxe` with a real dnsmasq, on a network that exists in namespaces of this test
//! only. Needs root, dnsmasq, busybox and iproute2.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lockstep_agent::pxe::book::Book;
use lockstep_agent::pxe::offer::Offer;

const OFFERED: &str = "02:00:00:00:00:0a";
const OTHER: &str = "02:00:00:00:00:0b";
const PATIENCE: Duration = Duration::from_secs(60);
/// The server's end of a wire, of which the other end lies in a namespace of its own.
const WIRE: &str = "set -e
ip link add server type veth peer name client
ip addr add 192.0.2.1/24 dev server
ip link set server up
unshare --net sleep infinity & client=$!
until [ \"$(readlink /proc/$client/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do :; done
ip link set client netns $client
echo $client > \"$1\"
shift
exec \"$@\"";
/// Asks for an address under the hardware address $1, and writes down the answer.
const ASK: &str = "set -e
ip link set client down
ip link set client address \"$1\"
ip link set client up
exec busybox udhcpc -i client -f -q -n -t \"$2\" -T 1 -s \"$3\"";

struct Network {
    folder: tempfile::TempDir,
    service: Child,
    client: u32,
}

impl Network {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Book::open(&folder.path().join("pxe"), &folder.path().join("state")).unwrap();
        let answer = folder.path().join("answer.sh");
        fs::write(
            &answer,
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr flush dev client\n\
             ip addr add \"$ip/24\" dev client\necho \"$siaddr $boot_file\" > \"$0.told\"\n",
        )
        .unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&answer, executable).unwrap();
        let noted = folder.path().join("client.pid");
        let mut service = Command::new("unshare");
        service
            .args(["--net", "--", "sh", "-c", WIRE, "sh"])
            .arg(&noted);
        let service = with_service(&mut service, folder.path()).spawn().unwrap();
        let client = until("a wire (namespaces need root)", || {
            fs::read_to_string(&noted).ok()?.trim().parse().ok()
        });
        Self {
            folder,
            service,
            client,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn book(&self) -> Book {
        Book::open(&self.path("pxe"), &self.path("state")).unwrap()
    }

    /// Offers these bytes; the name of their file.
    fn offer(&self, bytes: &[u8]) -> String {
        let book = self.book();
        let partial = book.partial();
        fs::write(&partial.path, bytes).unwrap();
        let offer = Offer {
            card: "card1".to_owned(),
            uid: "uid-1".to_owned(),
            digest: "sha256:00".to_owned(),
            macs: vec![OFFERED.to_owned()],
            file: String::new(),
        };
        book.offer(&partial, offer).unwrap();
        book.offer_to("uid-1").unwrap().file
    }

    fn at_the_client(&self, command: &[&str]) -> Output {
        let mut inside = Command::new("nsenter");
        inside.args(["--net", "--target", &self.client.to_string(), "--"]);
        inside.args(command).output().unwrap()
    }

    /// What a machine with that address is told, if it gets an answer to one of so many questions.
    fn told(&self, mac: &str, questions: u32) -> Option<String> {
        let (answer, told) = (self.path("answer.sh"), self.path("answer.sh.told"));
        drop(fs::remove_file(&told));
        let (answer, questions) = (answer.to_str().unwrap(), questions.to_string());
        let asked = self.at_the_client(&["sh", "-c", ASK, "sh", mac, &questions, answer]);
        let told = fs::read_to_string(told).ok();
        assert_eq!(told.is_some(), asked.status.success(), "{asked:?}");
        told.map(|told| told.trim().to_owned())
    }

    fn fetch(&self, file: &str) -> Option<Vec<u8>> {
        let got = self.path("got");
        drop(fs::remove_file(&got));
        let local = got.to_str().unwrap();
        let fetched = self.at_the_client(&[
            "busybox",
            "tftp",
            "-g",
            "-r",
            file,
            "-l",
            local,
            "192.0.2.1",
        ]);
        fetched.status.success().then(|| fs::read(&got).unwrap())
    }

    /// The dnsmasq of the service, if one runs.
    fn dnsmasq(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.path("service/dnsmasq.pid")).ok()?;
        let pid = pid.trim().parse().ok()?;
        is_dnsmasq(pid).then_some(pid)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.service.kill());
        drop(self.service.wait());
        for pid in self.dnsmasq().into_iter().chain([self.client]) {
            drop(
                Command::new("kill")
                    .arg("-KILL")
                    .arg(pid.to_string())
                    .status(),
            );
        }
    }
}

fn with_service<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .arg(env!("CARGO_BIN_EXE_lockstep-agent"))
        .args(["pxe", "--interface=server", "--user=root"])
        .args(["--first=192.0.2.10", "--last=192.0.2.20"])
        .args(["--netmask=255.255.255.0", "--dir"])
        .arg(folder.join("pxe"))
        .arg("--state-dir")
        .arg(folder.join("service"))
        .stdin(Stdio::null())
}

fn is_dnsmasq(pid: u32) -> bool {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.starts_with(b"dnsmasq")
}

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_unmarked_machine_gets_no_address_and_no_file() {
    let network = Network::up();
    let boot: Vec<u8> = (0..=250).cycle().take(200_000).collect();
    let file = network.offer(&boot);
    until("dnsmasq", || network.dnsmasq());
    let told = network.told(OFFERED, 30);
    assert_eq!(told, Some(format!("192.0.2.1 {file}")));
    assert_eq!(network.fetch(&file).as_ref(), Some(&boot));
    assert_eq!(network.fetch("lockstep.conf"), None);
    assert_eq!(network.fetch("../dnsmasq.d/lockstep.conf"), None);
    assert_eq!(network.told(OTHER, 4), None);

    network.book().withdraw("uid-1").unwrap();
    until("end of dnsmasq", || {
        network.dnsmasq().is_none().then_some(())
    });
    assert_eq!(network.told(OFFERED, 4), None);
}

#[test]
fn a_service_that_was_killed_leaves_its_successor_nothing_but_the_folder() {
    let mut network = Network::up();
    let old = network.offer(b"old");
    let left = until("dnsmasq", || network.dnsmasq());
    network.service.kill().unwrap();
    network.service.wait().unwrap();
    assert!(
        is_dnsmasq(left),
        "it went by itself, and this proves nothing"
    );
    let new = network.offer(b"new");
    let mut again = Command::new("nsenter");
    again.arg(format!("--net=/proc/{left}/ns/net")).arg("--");
    network.service = with_service(&mut again, network.folder.path())
        .spawn()
        .unwrap();
    until("successor", || network.dnsmasq().filter(|pid| *pid != left));
    assert!(!is_dnsmasq(left));
    assert_eq!(network.told(OFFERED, 30), Some(format!("192.0.2.1 {new}")));
    assert_eq!(network.fetch(&new), Some(b"new".to_vec()));
    assert_eq!(network.fetch(&old), None);
}
