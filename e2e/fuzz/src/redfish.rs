//! The product's BMC port against a service whose documents are bent by the input.
//!
//! Whatever the documents say: the port ends, asks few questions, changes nothing but what the
//! verb means, at most once, and nothing at all on a machine that is not the expected one.

mod bend;
mod service;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lockstep_redfish::{
    AllowedNetworks, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride, BootTarget, Credentials,
    ExpectedIdentity, ImageUrl, MediaMatch, PowerAction, Redfish, RedfishBmc, TlsTrust,
};
use tokio::runtime::{Builder, Runtime};

use bend::Served;
use service::Service;

const UUID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
const SERIAL: &str = "SN12345";
const IMAGE: &str = "http://192.0.2.1/i/0123456789abcdef/card.iso";
/// The most requests that one call may cost: an ejection looks at 32 slots, before and after.
const MOST_REQUESTS: usize = 400;
/// The longest message of an error.
const MOST_WORDS: usize = 8 * 1024;
const LONGEST: Duration = Duration::from_secs(10);

/// What is asked of the port.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Observe,
    Off,
    Insert,
    Eject,
    Once,
}

struct Bench {
    runtime: Runtime,
    service: Service,
}

fn bench() -> std::io::Result<Bench> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let service = runtime.block_on(Service::start())?;
    Ok(Bench { runtime, service })
}

/// The first byte is the verb, the others bend documents.
pub(crate) fn run(bytes: &[u8]) {
    static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "loopback is there wherever this runs")]
    let bench = BENCH.get_or_init(|| Mutex::new(bench().expect("a port on loopback")));
    let bench = bench.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((choice, bends)) = bytes.split_first() else {
        return;
    };
    let verb = match choice % 5 {
        0 => Verb::Observe,
        1 => Verb::Off,
        2 => Verb::Insert,
        3 => Verb::Eject,
        _ => Verb::Once,
    };
    let mut served = Served::new();
    for bend in bends.chunks_exact(bend::LENGTH) {
        served.bend(bend);
    }
    let is_expected = served.has(UUID, SERIAL);
    bench.service.serve(served);
    let began = Instant::now();
    let asked = bench.runtime.block_on(ask(&bench.service, verb));
    let took = began.elapsed();
    let seen = bench.service.seen();

    assert!(took < LONGEST, "{verb:?} took {took:?}");
    assert!(
        seen.requests <= MOST_REQUESTS,
        "{verb:?}: {} requests",
        seen.requests
    );
    let most = match verb {
        Verb::Observe => 0,
        Verb::Off | Verb::Insert | Verb::Once => 1,
        // One for each slot.
        Verb::Eject => 32,
    };
    assert!(seen.changes <= most, "{verb:?}: {} changes", seen.changes);
    assert!(
        is_expected || seen.changes == 0,
        "{verb:?} changed a stranger"
    );
    if let Err(error) = asked {
        let words = error.to_string().len();
        assert!(words <= MOST_WORDS, "{}: {words} bytes", error.category());
    }
}

fn port(service: &Service) -> Result<RedfishBmc, BmcError> {
    let options = BmcOptions {
        call_deadline: Duration::from_secs(5),
        media_deadline: Duration::from_secs(5),
        read_timeout: Duration::from_secs(2),
        read_tries: 1,
        confirm_window: Duration::from_millis(1),
        ..BmcOptions::default()
    };
    let networks = AllowedNetworks(vec![std::net::IpAddr::from([127, 0, 0, 1]).into()]);
    Redfish::new(networks, options).bmc(BmcTarget {
        address: service.url(),
        system_path: None,
        credentials: Credentials {
            username: "admin".to_owned(),
            password: "secret".to_owned(),
        },
        tls: TlsTrust::PlainHttp,
        expected: ExpectedIdentity {
            system_uuid: Some(UUID.to_owned()),
            serial_number: Some(SERIAL.to_owned()),
            tls_pin: None,
        },
    })
}

async fn ask(service: &Service, verb: Verb) -> Result<(), BmcError> {
    let bmc = port(service)?;
    match verb {
        Verb::Observe => bmc.observe().await.map(drop),
        Verb::Off => bmc.power(PowerAction::ForceOff).await.map(drop),
        Verb::Insert => bmc.insert_media(&ImageUrl::new(IMAGE)).await.map(drop),
        Verb::Eject => bmc.eject_media(&MediaMatch::Any).await.map(drop),
        Verb::Once => {
            let once = BootOverride::Once(BootTarget::Cd);
            bmc.set_boot_override(&once).await.map(drop)
        }
    }
}

/// Every verb with nothing bent, and with one bend of every kind.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let plain = (0..5).map(|verb| vec![verb]);
    let bent = (0..bend::KINDS).map(|kind| vec![kind, kind % 7, 0, kind.wrapping_mul(3), kind, 40]);
    plain.chain(bent).collect()
}
