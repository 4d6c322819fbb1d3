//! The port against sushy-tools' fake driver, a BMC that we did not write.
//! Its own access log is the witness of what was sent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockstep_redfish::{
    AllowedNetworks, Authentication, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride,
    BootTarget, Confirmation, Credentials, Endpoint, ExpectedIdentity, Explorer, ImageUrl,
    MOST_REQUESTS, MediaMatch, MediaSlot, Offer, OverrideEnabled, PowerAction, PowerState, Reading,
    Redfish, TlsTrust, http_boot_uri,
};

const VERSION: &str = "2.2.0";
const CARD: &str = "8a1e2f64-5c3d-4b7a-9f10-6d2c4e8b9a01";
const HOST: &str = "c3b7d9e2-1f4a-4c6b-8e5d-0a9b8c7d6e5f";
const PASSWORD: &str = "sushy-lab";

struct Sushy {
    emulator: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Sushy {
    fn start() -> Self {
        let tools = sushy_tools();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hash = Command::new(tools.join("bin/python"))
            .args(["-c", "import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(4)).decode())", PASSWORD])
            .output()
            .unwrap();
        assert!(hash.status.success(), "bcrypt: {hash:?}");
        let hash = String::from_utf8(hash.stdout).unwrap();
        fs::write(at("htpasswd"), format!("admin:{hash}")).unwrap();
        fs::create_dir(at("state")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let system = |uuid: &str, name: &str| {
            format!(
                "{{'uuid': '{uuid}', 'name': '{name}', 'power_state': 'Off', \
                 'external_notifier': False, 'nics': []}}"
            )
        };
        let config = format!(
            "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
             SUSHY_EMULATOR_LISTEN_PORT = {port}\n\
             SUSHY_EMULATOR_FAKE_DRIVER = True\n\
             SUSHY_EMULATOR_STATE_DIR = {state:?}\n\
             SUSHY_EMULATOR_AUTH_FILE = {auth:?}\n\
             SUSHY_EMULATOR_FAKE_SYSTEMS = [{card}, {host}]\n",
            state = at("state"),
            auth = at("htpasswd"),
            card = system(CARD, "card"),
            host = system(HOST, "host"),
        );
        fs::write(at("sushy.conf"), config).unwrap();
        let log = File::create(at("log")).unwrap();
        let emulator = Command::new(tools.join("bin/sushy-emulator"))
            .arg("--config")
            .arg(at("sushy.conf"))
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut sushy = Self {
            emulator,
            port,
            folder,
        };
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let gone = sushy.emulator.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < until, "{}", sushy.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        sushy
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Changing requests in the access log: method and the path's end. The
    /// log paints what is not 200.
    fn changes(&self) -> Vec<String> {
        self.log()
            .lines()
            .filter_map(|line| {
                let request = line.split('"').nth(1)?;
                let (method, rest) = ["POST ", "PATCH ", "PUT ", "DELETE "]
                    .iter()
                    .find_map(|method| Some((method, request.split_once(method)?.1)))?;
                let path = rest.split(' ').next()?;
                Some(format!("{method}{}", path.rsplit('/').next()?))
            })
            .collect()
    }

    fn target(&self, uuid: &str, password: &str) -> BmcTarget {
        BmcTarget {
            address: format!("http://127.0.0.1:{}", self.port).parse().unwrap(),
            system_path: None,
            credentials: Credentials {
                username: "admin".to_owned(),
                password: password.to_owned(),
            },
            tls: TlsTrust::PlainHttp,
            expected: ExpectedIdentity {
                system_uuid: Some(uuid.to_owned()),
                ..ExpectedIdentity::default()
            },
        }
    }
}

impl Drop for Sushy {
    fn drop(&mut self) {
        self.emulator.kill().unwrap_or_default();
        self.emulator.wait().map(drop).unwrap_or_default();
    }
}

/// The virtual environment with sushy-tools, made on first use under a lock
/// that everybody who makes it takes.
fn sushy_tools() -> PathBuf {
    let cache = std::env::var_os("LOCKSTEP_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/lockstep"),
        PathBuf::from,
    );
    let tools = cache.join(format!("sushy-tools-{VERSION}"));
    fs::create_dir_all(&cache).unwrap();
    let lock = File::create(cache.join(format!("sushy-tools-{VERSION}.lock"))).unwrap();
    lock.lock().unwrap();
    if !tools.join(".complete").exists() {
        let run = |program: &Path, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status().unwrap();
            assert!(
                status.success(),
                "{}: cannot install sushy-tools",
                program.display()
            );
        };
        let folder = tools.to_str().unwrap();
        run(
            Path::new("/usr/bin/python3"),
            &["-m", "venv", "--system-site-packages", folder],
        );
        let package = format!("sushy-tools=={VERSION}");
        run(&tools.join("bin/pip"), &["install", "--quiet", &package]);
        File::create(tools.join(".complete")).unwrap();
    }
    tools
}

/// Serves a small image on loopback and counts how often it was fetched.
fn image_server() -> (ImageUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nISO!";
                stream.write_all(answer).unwrap_or_default();
            }
        }
    });
    let url = format!("http://127.0.0.1:{port}/i/5f0c9a7e1b2d4c6f/card.iso");
    (ImageUrl::new(url), fetched)
}

fn redfish() -> Redfish {
    let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
    Redfish::new(networks, BmcOptions::default())
}

#[tokio::test]
async fn an_install_round_sends_each_change_once() {
    let sushy = Sushy::start();
    let (image, fetched) = image_server();
    let card = redfish().bmc(sushy.target(CARD, PASSWORD)).unwrap();

    let facts = card.observe().await.unwrap();
    assert_eq!(facts.identity.system_uuid.as_deref(), Some(CARD));
    assert_eq!(facts.power, Reading::Read(PowerState::Off));
    assert_eq!(facts.boot_progress, Reading::NotOffered);
    assert_eq!(facts.channel.authentication, Authentication::Basic);
    assert_eq!(facts.capabilities.sessions.offer, Offer::NotOffered);
    assert_eq!(facts.capabilities.virtual_media.offer, Offer::Offered);
    let manager = facts.manager.value().unwrap();
    assert_eq!(manager.firmware_version.as_deref(), Some("1.00"));
    let found = facts.boot_override.value().unwrap();
    assert_eq!(found.target, Some(BootTarget::Hdd));
    assert_eq!(found.enabled, Some(OverrideEnabled::Continuous));

    let once = BootOverride::Once(BootTarget::Cd);
    for sent in [true, false] {
        let effect = card.insert_media(&image).await.unwrap();
        assert_eq!(
            (effect.sent, effect.confirmation),
            (sent, Confirmation::Confirmed)
        );
        let effect = card.set_boot_override(&once).await.unwrap();
        assert_eq!(effect.sent, sent);
        assert!(matches!(effect.confirmation, Confirmation::Differs(_)));
        // Applied lazily, after up to 11 s.
        let effect = card.power(PowerAction::On).await.unwrap();
        assert_eq!(
            (effect.sent, effect.confirmation),
            (sent, Confirmation::Confirmed)
        );
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 1);

    let cycle = card.power(PowerAction::PowerCycle).await.unwrap_err();
    assert_eq!(cycle.category(), "NotOffered");

    let back = BootOverride::Continuous(BootTarget::Hdd);
    for sent in [true, false] {
        let effect = card
            .eject_media(&MediaMatch::Image(image.clone()))
            .await
            .unwrap();
        assert_eq!(
            (effect.sent, effect.confirmation),
            (sent, Confirmation::Confirmed)
        );
        let effect = card.set_boot_override(&back).await.unwrap();
        assert_eq!(
            (effect.sent, effect.confirmation),
            (sent, Confirmation::Confirmed)
        );
        let effect = card.power(PowerAction::ForceOff).await.unwrap();
        assert_eq!(
            (effect.sent, effect.confirmation),
            (sent, Confirmation::Confirmed)
        );
    }
    assert_eq!(
        sushy.changes(),
        [
            "POST VirtualMedia.InsertMedia",
            &format!("PATCH {CARD}"),
            "POST ComputerSystem.Reset",
            "POST VirtualMedia.EjectMedia",
            &format!("PATCH {CARD}"),
            "POST ComputerSystem.Reset",
        ]
    );
}

#[tokio::test]
async fn machines_behind_one_emulator_are_told_apart() {
    let sushy = Sushy::start();
    let redfish = redfish();
    // By name: sushy redirects to the UUID.
    let mut named = sushy.target(HOST, PASSWORD);
    named.system_path = Some("/redfish/v1/Systems/host".to_owned());
    let facts = redfish.bmc(named.clone()).unwrap().observe().await.unwrap();
    assert_eq!(facts.identity.system_uuid.as_deref(), Some(HOST));
    assert!(facts.identity.system_path.ends_with(HOST));

    // The right path with the wrong machine behind it: nothing is sent.
    named.expected.system_uuid = Some(CARD.to_owned());
    let stranger = redfish.bmc(named).unwrap();
    let error = stranger.power(PowerAction::On).await.unwrap_err();
    assert_eq!(error.category(), "IdentityMismatch");
    assert!(sushy.changes().is_empty(), "{:?}", sushy.changes());
}

#[tokio::test]
async fn refusals_have_names_and_are_counted() {
    let sushy = Sushy::start();
    let redfish = redfish();
    let wrong = redfish.bmc(sushy.target(CARD, "wrong")).unwrap();
    for _ in 0..5 {
        let error = wrong.observe().await.unwrap_err();
        assert_eq!(error.category(), "CredentialsRefused");
    }
    let refused = sushy.log().matches("\" 401 ").count();
    assert_eq!(refused, 2, "{}", sushy.log());

    let card = redfish.bmc(sushy.target(CARD, PASSWORD)).unwrap();
    // sushy has no way to switch an override off: what was found is given back instead.
    let error = card
        .set_boot_override(&BootOverride::Disabled)
        .await
        .unwrap_err();
    assert!(
        matches!(error, BmcError::Refused { status: 400, .. }),
        "{error:?}"
    );
    // An image that cannot be fetched: sushy answers 500, which says nothing for certain.
    let nowhere = ImageUrl::new("http://127.0.0.1:9/i/5f0c9a7e1b2d4c6f/card.iso");
    let error = card.insert_media(&nowhere).await.unwrap_err();
    assert_eq!(error.category(), "OutcomeUnknown");
    assert!(!error.to_string().contains("5f0c9a7e1b2d4c6f"), "{error}");
    let facts = card.observe().await.unwrap();
    assert!(
        facts
            .media
            .value()
            .unwrap()
            .iter()
            .all(|slot| !slot.inserted)
    );
}

/// The fake driver cannot keep the URL: it answers 400 when it has fetched the image already.
#[tokio::test]
async fn a_refused_http_boot_leaves_its_image_to_be_ejected() {
    let sushy = Sushy::start();
    let (image, fetched) = image_server();
    let card = redfish().bmc(sushy.target(CARD, PASSWORD)).unwrap();
    let facts = card.observe().await.unwrap();
    assert_eq!(facts.capabilities.uefi_http.offer, Offer::Offered);
    // It says `None`, as a text.
    assert_eq!(http_boot_uri(&facts), None);

    let wanted = BootOverride::OnceFrom(image.clone());
    let error = card.set_boot_override(&wanted).await.unwrap_err();
    assert!(
        matches!(error, BmcError::Refused { status: 400, .. }),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("5f0c9a7e1b2d4c6f"));
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
    let facts = card.observe().await.unwrap();
    let held = |slot: &MediaSlot| slot.inserted && slot.image.as_ref() == Some(&image);
    assert!(facts.media.value().unwrap().iter().any(held), "{facts:?}");
    assert!(!card.forget_http_uri(&image).await.unwrap().sent);
    let which = MediaMatch::Image(image.clone());
    assert!(card.eject_media(&which).await.unwrap().sent);
    assert_eq!(
        sushy.changes(),
        [
            format!("PATCH {CARD}"),
            "POST VirtualMedia.EjectMedia".to_owned()
        ]
    );
}

#[tokio::test]
async fn two_machines_behind_one_service_are_explored_and_left_as_they_are() {
    let sushy = Sushy::start();
    let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
    let redfish = Redfish::new(networks, BmcOptions::default());
    let endpoint = Endpoint {
        address: format!("http://127.0.0.1:{}", sushy.port).parse().unwrap(),
        tls: TlsTrust::PlainHttp,
    };
    let identified = redfish.identify(&endpoint).await.unwrap();
    assert_eq!(identified.service.redfish_version.as_deref(), Some("1.5.0"));
    assert_eq!(identified.tls_pin, None);
    let asked = |sushy: &Sushy| sushy.log().matches("\"GET /redfish").count();
    let before = asked(&sushy);

    let credentials = Credentials {
        username: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let found = redfish.explore(&endpoint, &credentials).await.unwrap();
    assert!(found.unread.is_empty(), "{:?}", found.unread);
    let found = found.systems;
    let uuids: Vec<_> = found
        .iter()
        .map(|one| one.identity.system_uuid.clone().unwrap())
        .collect();
    assert_eq!(uuids.len(), 2);
    assert!(uuids.contains(&CARD.to_owned()) && uuids.contains(&HOST.to_owned()));
    for one in &found {
        let uuid = one.identity.system_uuid.as_ref().unwrap();
        let path = format!("/redfish/v1/Systems/{uuid}");
        assert_eq!(one.system_path, Some(path));
        assert_eq!(one.role.as_str(), "Host", "{}", one.recognised_by);
        assert_eq!(
            one.bmc.power.as_ref().map(ToString::to_string).as_deref(),
            Some("Off")
        );
        // Both are in one chassis, whose serial number is neither's.
        let machine = one.inventory.system.as_ref().unwrap();
        assert_eq!(machine.serial_number, None);
        let record = one.inventory.capabilities.as_ref().unwrap();
        assert_eq!(record.virtual_media.offer.as_str(), "Offered");
        assert_eq!(record.boot_progress.offer.as_str(), "NotOffered");
    }
    let asked = asked(&sushy) - before;
    assert!(asked <= MOST_REQUESTS as usize, "{asked}");
    assert!(sushy.changes().is_empty(), "{:?}", sushy.changes());
}
