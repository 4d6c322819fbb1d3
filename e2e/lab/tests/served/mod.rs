//! A server of one file, on loopback.

use std::path::{Path, PathBuf};

use anyhow::Result;
use http::header::USER_AGENT;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What somebody asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Who asked, by its own word.
    pub(crate) agent: String,
}

/// Serves one file for every path and tells the requests.
pub(crate) async fn serve(file: &Path) -> Result<(u16, mpsc::UnboundedReceiver<Request>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (sender, requests) = mpsc::unbounded_channel();
    let file = PathBuf::from(file);
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            let (sender, file) = (sender.clone(), file.clone());
            let service = service_fn(move |request: http::Request<Incoming>| {
                let agent = request.headers().get(USER_AGENT);
                let told = sender.send(Request {
                    method: request.method().to_string(),
                    path: request.uri().path().to_owned(),
                    agent: agent
                        .map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned())
                        .unwrap_or_default(),
                });
                let file = file.clone();
                async move {
                    told.map_err(std::io::Error::other)?;
                    let bytes = tokio::fs::read(file).await?;
                    Ok::<_, std::io::Error>(http::Response::new(Full::new(bytes::Bytes::from(
                        bytes,
                    ))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Ok((port, requests))
}
