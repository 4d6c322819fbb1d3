//! What a push takes in memory, however large the image. A process of its own: the peak of a
//! process is that of everything in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lockstep_redfish::{
    AllowedNetworks, BmcOptions, BmcTarget, Credentials, ExpectedIdentity, Push, Redfish, TlsTrust,
    Updater as _,
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

const IMAGE: u64 = 4 << 30;
const FILL: u8 = 0x5a;

/// A BMC that takes pushes and keeps nothing of them: it tells how many bytes of the image came.
fn bmc() -> (SocketAddr, Receiver<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || answer(&stream, &told));
        }
    });
    (address, came)
}

fn answer(stream: &TcpStream, told: &Sender<u64>) {
    let mut out = stream;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0_u64;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(told) = line.strip_prefix("content-length: ") {
                length = told.parse().unwrap();
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let (status, body) = if first.starts_with("POST") {
            told.send(fill(&mut reader, length)).unwrap();
            ("202 Accepted", "{}".to_owned())
        } else {
            ("200 OK", document(path))
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if out.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// How many bytes of the body are the image's: its head and tail have none of them.
fn fill(reader: &mut impl BufRead, length: u64) -> u64 {
    let mut body = reader.take(length);
    let mut found = 0;
    loop {
        let bytes = body.fill_buf().unwrap();
        if bytes.is_empty() {
            return found;
        }
        let count = bytes.len();
        // What is the same throughout needs no look at each byte.
        let whole = bytes[0] == FILL && bytes[1..] == bytes[..count - 1];
        found += if whole {
            count as u64
        } else {
            bytes.iter().filter(|byte| **byte == FILL).count() as u64
        };
        body.consume(count);
    }
}

fn document(path: &str) -> String {
    let link = |path: &str| json!({"@odata.id": path});
    match path.trim_end_matches('/') {
        "/redfish/v1" => json!({
            "RedfishVersion": "1.15.0", "Systems": link("/redfish/v1/Systems"),
            "UpdateService": link("/redfish/v1/UpdateService"),
        }),
        "/redfish/v1/Systems" => json!({"Members": [link("/redfish/v1/Systems/1")]}),
        "/redfish/v1/Systems/1" => json!({"@odata.id": path, "SerialNumber": "MT2334XZ0A1"}),
        _ => json!({"@odata.id": path, "MultipartHttpPushUri": "/redfish/v1/push"}),
    }
    .to_string()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_four_gibibytes_takes_no_more_memory_than_a_small_one() {
    let (address, came) = bmc();
    let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
    let target = BmcTarget {
        address: format!("http://{address}").parse().unwrap(),
        system_path: None,
        credentials: Credentials {
            username: "admin".to_owned(),
            password: "not-a-secret".to_owned(),
        },
        tls: TlsTrust::PlainHttp,
        expected: ExpectedIdentity {
            serial_number: Some("MT2334XZ0A1".to_owned()),
            ..ExpectedIdentity::default()
        },
    };
    let options = BmcOptions {
        push_deadline: Duration::from_secs(600),
        ..BmcOptions::default()
    };
    let bmc = Redfish::new(networks, options).bmc(target).unwrap();
    let send = async |length: u64| {
        let image = tokio::io::repeat(FILL).take(length);
        bmc.push(Push::new("big.bfb", length, image).unwrap())
            .await
            .unwrap();
        assert_eq!(came.recv().unwrap(), length);
        peak_kib()
    };
    let small = send(1 << 20).await;
    let large = send(IMAGE).await;
    println!("1 MiB: {small} KiB, 4 GiB: {large} KiB");
    assert!(large - small < 4 * 1024, "{} KiB more", large - small);
}
