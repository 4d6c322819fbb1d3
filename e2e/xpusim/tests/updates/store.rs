//! A store on loopback that BMCs fetch from: one image under any name but `gone`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub(crate) const IMAGE: &[u8] = b"an image, as far as anybody here knows";

pub(crate) struct Store {
    address: SocketAddr,
    task: AbortHandle,
}

impl Store {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Self {
            address,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn url(&self, file: &str) -> String {
        format!("http://{}/i/0123456789abcdef/{file}", self.address)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let (status, body) = if String::from_utf8_lossy(&request).contains("gone") {
        ("404 Not Found", &b""[..])
    } else {
        ("200 OK", IMAGE)
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = head.into_bytes();
    answer.extend(body);
    stream.write_all(&answer).await.unwrap_or_default();
}
