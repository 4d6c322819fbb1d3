//! nginx as a site would have it: from Debian, on a port of loopback.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::requirements;
use lockstep_process::{Daemon, Lifetime, Program};
use tokio::net::TcpStream;

use crate::world::free_port;

/// Until it answers.
const UP: Duration = Duration::from_secs(10);

/// A running nginx.
pub(crate) struct Nginx {
    daemon: Daemon,
    port: u16,
    errors: PathBuf,
}

impl Nginx {
    /// Starts one with one server, of which `tls` and `server` are the parameters of `listen` and
    /// what else is to stand in its block.
    pub(crate) async fn start(folder: &Path, tls: bool, server: &str) -> Result<Self> {
        tokio::task::spawn_blocking(|| requirements::ensure_these(&["nginx"])).await??;
        let port = free_port()?;
        let ssl = if tls { " ssl" } else { "" };
        let text = format!(
            "user root;
daemon off;
worker_processes auto;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  scgi_temp_path scgi;
  uwsgi_temp_path uwsgi;
  server {{
    listen 127.0.0.1:{port}{ssl};
{server}  }}
}}
"
        );
        let prefix = folder.join("nginx");
        std::fs::create_dir_all(&prefix)?;
        let config = prefix.join("nginx.conf");
        std::fs::write(&config, text)?;
        let errors = prefix.join("error.log");
        let mut args = Vec::new();
        for (name, path) in [("-p", &prefix), ("-c", &config), ("-e", &errors)] {
            args.extend([name.into(), path.clone().into_os_string()]);
        }
        let program = Program {
            name: "nginx",
            binary: PathBuf::from("/usr/sbin/nginx"),
            args,
            env: Vec::new(),
            order: 0,
            grace: Duration::from_secs(5),
        };
        let daemon = Daemon::start(&program, &prefix, Lifetime::ThisProcess)?;
        eventually(UP, "nginx", async || {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(_) => Look::Holds(()),
                Err(error) => Look::not_yet(error),
            }
        })
        .await
        .with_context(|| format!("see {}", errors.display()))?;
        Ok(Self {
            daemon,
            port,
            errors,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it says of requests that failed.
    pub(crate) fn errors(&self) -> &Path {
        &self.errors
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.daemon.stop().await
    }
}
