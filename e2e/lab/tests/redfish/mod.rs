//! A plain Redfish client for one BMC: the tests' hands, independent of the product.

#![allow(dead_code, reason = "each test uses a part")]

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_lab::Credentials;
use lockstep_lab::front::Front;
use reqwest::{Certificate, Client, Method, Response};
use serde_json::{Value, json};

pub(crate) struct Bmc {
    client: Client,
    pub(crate) base: String,
    pub(crate) system: String,
    credentials: Credentials,
}

impl Bmc {
    pub(crate) fn new(front: &Front, credentials: &Credentials) -> Result<Self> {
        Self::trusting(front, credentials, &[])
    }

    /// A client that trusts these authorities alone.
    pub(crate) fn trusting(
        front: &Front,
        credentials: &Credentials,
        authorities: &[Certificate],
    ) -> Result<Self> {
        // Refused when another test of this process was first, which is as good.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Ok(Self {
            client: Client::builder()
                .tls_certs_only(authorities.iter().cloned())
                .no_proxy()
                .timeout(Duration::from_secs(60))
                .build()?,
            base: front.url(),
            system: format!("/redfish/v1/Systems/{}", front.system()),
            credentials: credentials.clone(),
        })
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Response> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .basic_auth(&self.credentials.username, Some(&self.credentials.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn boot_from(&self, target: &str) -> Result<()> {
        let boot = json!({"Boot": {
            "BootSourceOverrideTarget": target,
            "BootSourceOverrideEnabled": "Once",
        }});
        self.call(Method::PATCH, &self.system, Some(boot)).await?;
        Ok(())
    }

    pub(crate) fn reset_path(&self) -> String {
        format!("{}/Actions/ComputerSystem.Reset", self.system)
    }

    pub(crate) async fn reset(&self, kind: &str) -> Result<()> {
        let body = json!({"ResetType": kind});
        self.call(Method::POST, &self.reset_path(), Some(body))
            .await?;
        Ok(())
    }
}
