//! What BMCs that answer with very much may cost in memory. A process of its own: the peak of
//! a process is that of everything in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::{
    AllowedNetworks, Bmc as _, BmcOptions, BmcTarget, Credentials, Endpoint, ExpectedIdentity,
    ExploredSystem, Explorer, Redfish, TlsTrust,
};
use serde_json::json;

const MODULES: usize = 30;

/// A BMC with modules of memory, each of which has this in it.
fn bmc(pad: &Arc<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pad = Arc::clone(pad);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let pad = Arc::clone(&pad);
            std::thread::spawn(move || answer(&stream, &pad));
        }
    });
    address
}

fn answer(stream: &TcpStream, pad: &str) {
    let mut out = stream;
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        for line in lines.by_ref() {
            if line.unwrap_or_default().is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let path = path.trim_end_matches('/');
        let body = document(path, pad);
        let status = if body.is_some() { "200 OK" } else { "404 No" };
        let body = body.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if out.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn document(path: &str, pad: &str) -> Option<String> {
    let link = |path: &str| json!({"@odata.id": path});
    let memory = "/redfish/v1/Systems/1/Memory";
    let media = "/redfish/v1/Systems/1/VirtualMedia";
    Some(match path {
        "/redfish/v1" => {
            json!({"RedfishVersion": "1.15.0", "Systems": link("/redfish/v1/Systems")}).to_string()
        }
        "/redfish/v1/Systems" => json!({"Members": [link("/redfish/v1/Systems/1")]}).to_string(),
        "/redfish/v1/Systems/1" => json!({
            "@odata.id": path, "SystemType": "DPU", "SerialNumber": "PADDED", "Memory": link(memory),
            "VirtualMedia": link(media),
        })
        .to_string(),
        path if path == memory || path == media => {
            let members: Vec<_> = (0..MODULES)
                .map(|n| link(&format!("{path}/{n}")))
                .collect();
            json!({"@odata.id": path, "Members": members}).to_string()
        }
        path if path.starts_with(media) => {
            format!(r#"{{"@odata.id":"{path}","MediaTypes":["CD"],"pad":[{pad}]}}"#)
        }
        path if path.starts_with(memory) => {
            format!(r#"{{"@odata.id":"{path}","CapacityMiB":1024,"pad":[{pad}]}}"#)
        }
        _ => return None,
    })
}

fn redfish() -> Redfish {
    let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
    // An unoptimised build on a busy machine is slow; what is measured is memory.
    let patient = Duration::from_secs(60);
    let options = BmcOptions {
        read_timeout: patient,
        part_timeout: patient,
        call_deadline: patient,
        ..BmcOptions::default()
    };
    Redfish::new(networks, options)
}

async fn explore(redfish: &Redfish, address: SocketAddr) -> ExploredSystem {
    let endpoint = Endpoint {
        address: format!("http://{address}").parse().unwrap(),
        tls: TlsTrust::PlainHttp,
    };
    let mut found = redfish.explore(&endpoint, &credentials()).await.unwrap();
    found.systems.remove(0)
}

fn credentials() -> Credentials {
    Credentials {
        username: "admin".to_owned(),
        password: "not-a-secret".to_owned(),
    }
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1024
}

/// A site agent has 512 MiB by default, and keeps the work orders that end holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bmcs_that_answer_with_very_much_take_no_more_than_their_room() {
    // Of the default concurrency.
    const BMCS: usize = 64;
    let many = |one: &str, count: usize| Arc::new(vec![one; count].join(","));
    let redfish = redfish();

    // First of all, for later peaks would hide this one: a worker that looks keeps no document.
    let pad = many(r#"{"":0}"#, 2_600);
    let watched = BmcTarget {
        address: format!("http://{}", bmc(&pad)).parse().unwrap(),
        system_path: None,
        credentials: credentials(),
        tls: TlsTrust::PlainHttp,
        expected: ExpectedIdentity::default(),
    };
    let before = peak_mib();
    let facts = redfish.bmc(watched).unwrap().observe().await.unwrap();
    let grown = peak_mib() - before;
    println!("one look: {grown} MiB");
    assert!(grown < 12, "{grown} MiB");
    assert_eq!(facts.media.value().map(Vec::len), Some(MODULES));

    // Longer than any document that is taken.
    let long = bmc(&many("0", 2_000_000));
    let before = peak_mib();
    let found = explore(&redfish, long).await;
    let grown = peak_mib() - before;
    println!("documents of 4 MB: {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
    assert_eq!(found.identity.serial_number.as_deref(), Some("PADDED"));
    let memory = found.inventory.memory.unwrap();
    assert!(memory.modules.is_empty() && memory.total_bytes.is_none());
    assert_eq!(memory.omitted, i64::try_from(MODULES).unwrap());
    let unread = &found.inventory.unread;
    let why = unread.iter().find(|one| one.group == "memory").unwrap();
    assert!(why.why.contains("longer than"), "{why:?}");

    // Short, and taking as much as a document may; all at once.
    let before = peak_mib();
    let explored: Vec<_> = (0..BMCS)
        .map(|_| {
            let (redfish, address) = (redfish.clone(), bmc(&pad));
            tokio::spawn(async move { explore(&redfish, address).await })
        })
        .collect();
    let mut told = 0;
    for one in explored {
        let found = one.await.unwrap();
        let memory = found.inventory.memory.unwrap();
        let modules = memory.modules.len();
        assert_eq!(
            modules + usize::try_from(memory.omitted).unwrap(),
            MODULES,
            "what is left out is counted"
        );
        let unread = &found.inventory.unread;
        assert!(
            unread.iter().any(|one| one.why.contains("the limit of")),
            "{unread:?}"
        );
        told += modules;
    }
    let grown = peak_mib() - before;
    println!("{BMCS} at once, {told} of their documents taken: {grown} MiB");
    assert!(told > 0);
    assert!(grown < 192, "{grown} MiB");

    // One like any other has its turn afterwards: nothing is still set aside.
    let found = explore(&redfish, bmc(&many("0", 10))).await;
    let memory = found.inventory.memory.unwrap();
    assert_eq!((memory.modules.len(), memory.omitted), (MODULES, 0));
    assert!(found.inventory.unread.is_empty());
}
