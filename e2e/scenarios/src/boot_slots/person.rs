//! Somebody with an account at the card's BMC, who is not one of ours.

use anyhow::{Context as _, Result};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::world::World;

pub(super) struct Person {
    client: Client,
    system: String,
    username: String,
    password: String,
}

impl Person {
    pub(super) fn at_card(world: &World) -> Result<Self> {
        let lab = world.machines.lab()?;
        let front = lab.bmc("card1")?;
        let account = lab.credentials();
        Ok(Self {
            client: Client::builder().no_proxy().build()?,
            system: format!("{}/redfish/v1/Systems/{}", front.url(), front.system()),
            username: account.username.clone(),
            password: account.password.clone(),
        })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let url = format!("{}{path}", self.system);
        let mut request = self.client.request(method, url);
        request = request.basic_auth(&self.username, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.text().await?)
    }

    /// The boot order, as the BMC shows it.
    pub(super) async fn order(&self) -> Result<Vec<String>> {
        let system = self.call(Method::GET, "", None).await?;
        let system: Value = serde_json::from_str(&system)?;
        let order = system["Boot"]["BootOrder"].as_array();
        let order = order.context("the BMC shows no boot order")?.iter();
        Ok(order.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    pub(super) async fn put_first(&self, reference: &str) -> Result<()> {
        let mut order = self.order().await?;
        order.retain(|one| one != reference);
        order.insert(0, reference.to_owned());
        let boot = json!({"Boot": {"BootOrder": order}});
        self.call(Method::PATCH, "", Some(boot)).await?;
        Ok(())
    }

    pub(super) async fn reset(&self, kind: &str) -> Result<()> {
        let path = "/Actions/ComputerSystem.Reset";
        let body = json!({"ResetType": kind});
        self.call(Method::POST, path, Some(body)).await?;
        Ok(())
    }
}
