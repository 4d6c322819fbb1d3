//! One replica of the operator, as a process.

use std::path::Path;

use lockstep_cluster::{ControlPlane, Look, Subject, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{OPERATOR, SOON};

/// One replica of the operator.
pub(crate) struct Replica {
    child: Child,
    port: u16,
}

impl Replica {
    pub(crate) fn start(plane: &ControlPlane, folder: &Path, name: &str, sites: &str) -> Self {
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        let operator = Subject::user(OPERATOR);
        let text = plane.kubeconfig_for(&operator, &plane.url()).unwrap();
        std::fs::write(&kubeconfig, text).unwrap();
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_lockstep-operator"))
            .args([
                "run",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--site-namespaces",
                sites,
            ])
            .env("KUBECONFIG", kubeconfig)
            .env("HOSTNAME", name)
            .env("RUST_LOG", "info,lockstep_operator=debug")
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, port }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    pub(crate) async fn shows(&self, path: &str, text: &str) {
        eventually(SOON, format!("{path} shows {text}"), || async {
            match self.get(path).await {
                Some(answer) if answer.contains(text) => Look::Holds(()),
                answer => Look::not_yet(format!("{answer:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap();
        let status = tokio::time::timeout(SOON, self.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{status}");
    }
}
