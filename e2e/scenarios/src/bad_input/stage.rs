//! Where a case is played: a card of its own, with its BMC, image, policy and Secret.

use anyhow::{Context as _, Result, ensure};
use lockstep_lab::Credentials;
use lockstep_lab::front::Front;
use lockstep_lab::image::Image;
use serde_json::{Value, json};

use crate::bad_input::certificates::Certificates;
use crate::image_server::ImageServer;
use crate::objects::{NAMESPACE, SITE};
use crate::world::World;

/// Everything that one case has to itself.
pub struct Stage<'w> {
    /// The world that all cases share.
    pub world: &'w World,
    /// Name of the case and of its objects.
    pub name: &'static str,
    /// The card's BMC.
    pub bmc: &'w Front,
    /// The image that the user wants.
    pub image: Image,
    /// Another one of the same length.
    pub other_image: Image,
    /// Where it is to be had.
    pub server: ImageServer,
    /// A server that nobody approved.
    pub elsewhere: ImageServer,
    /// What the BMC takes.
    pub credentials: Credentials,
    /// What it takes after its password was changed.
    pub rotated: Credentials,
    /// For BMCs that speak TLS.
    pub certificates: &'w Certificates,
}

/// What a user applies.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The BMC's credentials.
    pub secret: Value,
    /// The artefact.
    pub image: Value,
    /// The policy.
    pub policy: Value,
    /// The chassis.
    pub host: Value,
    /// The card.
    pub card: Value,
    /// What else there is.
    pub more: Vec<Value>,
    /// What is not applied before the case is put right.
    pub kept_back: Vec<Value>,
}

impl Objects {
    fn all(&self) -> Vec<&Value> {
        [
            &self.secret,
            &self.image,
            &self.policy,
            &self.host,
            &self.card,
        ]
        .into_iter()
        .chain(&self.more)
        .collect()
    }

    /// Keeps an object back until the case is put right.
    pub fn keep_back(&mut self, which: impl Fn(&mut Self) -> &mut Value) {
        let object = std::mem::take(which(self));
        self.kept_back.push(object);
    }
}

impl Stage<'_> {
    /// Name of what contends with the case's objects.
    pub fn rival(&self) -> String {
        format!("{}-rival", self.name)
    }

    /// What a careful user would apply: a card in a chassis, all in order.
    pub fn objects(&self) -> Objects {
        let trust = if self.bmc.url().starts_with("https://") {
            json!({"trust": "Ca", "caConfigMapRef": {"name": self.name}})
        } else {
            json!({"trust": "PlainHttp"})
        };
        let mut card = ours(
            "Dpu",
            self.name,
            json!({
                "hostRefs": [{"name": self.name, "pairing": "Asserted"}],
                "bmc": {
                    "address": self.bmc.url(),
                    "credentialsRef": {"name": self.name},
                    "tls": trust,
                },
                "identity": {"systemUuid": self.bmc.system()},
            }),
        );
        card["spec"]["site"] = SITE.into();
        Objects {
            secret: self.secret(&self.credentials),
            image: ours(
                "DpuImage",
                self.name,
                json!({
                    "version": self.image.version,
                    "digest": format!("sha256:{}", self.image.sha256),
                    "sizeBytes": self.image.size,
                    "sources": [self.server.url("image.iso")],
                }),
            ),
            policy: ours(
                "DpuBootPolicy",
                self.name,
                json!({
                    "mode": "Enforce",
                    "imageRef": {"name": self.name},
                    "install": {"osTimeoutSeconds": 30, "maxAttempts": 1},
                }),
            ),
            host: self.host(self.name, json!({"role": "ChassisOnly"})),
            card,
            more: Vec::new(),
            kept_back: Vec::new(),
        }
    }

    /// A Secret with these credentials.
    pub fn secret(&self, credentials: &Credentials) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "type": "kubernetes.io/basic-auth",
            "stringData": {
                "username": credentials.username,
                "password": credentials.password,
            },
        })
    }

    /// The Secret with the right name and this password.
    pub fn secret_with_password(&self, password: &str) -> Value {
        self.secret(&Credentials {
            username: self.credentials.username.clone(),
            password: password.to_owned(),
        })
    }

    /// A ConfigMap with a CA.
    pub fn ca(&self, bundle: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "data": {"ca.crt": bundle},
        })
    }

    /// A host under the case's policy.
    pub fn host(&self, name: &str, spec: Value) -> Value {
        let mut host = ours("DpuHost", name, spec);
        host["spec"]["site"] = SITE.into();
        host["spec"]["policyRef"] = json!({"name": self.name});
        host
    }

    /// The card's host as a server, with the case's other BMC for its own.
    ///
    /// # Errors
    /// When the case has no other BMC.
    pub fn server(&self, objects: &Objects) -> Result<Value> {
        let (bmc, uuid) = self.other_bmc(objects)?;
        let spec = json!({"bmc": bmc, "identity": {"systemUuid": uuid}});
        Ok(self.host(self.name, spec))
    }

    /// How the case's other BMC is reached, and the UUID of its system.
    ///
    /// # Errors
    /// When the case has no other BMC.
    pub fn other_bmc(&self, objects: &Objects) -> Result<(Value, String)> {
        let machine = self.world.bmc(&self.rival())?;
        let mut bmc = objects.card["spec"]["bmc"].clone();
        bmc["address"] = machine.address.into();
        Ok((bmc, machine.uuid))
    }

    /// The card's twin in a chassis of its own: the same but for what `spec` says.
    pub fn rivals(&self, objects: &Objects, spec: &Value) -> Vec<Value> {
        let rival = self.rival();
        let mut card = objects.card.clone();
        card["metadata"]["name"] = rival.clone().into();
        card["spec"]["hostRefs"][0]["name"] = rival.clone().into();
        if let (Some(into), Some(from)) = (card["spec"].as_object_mut(), spec.as_object()) {
            into.extend(from.clone());
            into.retain(|_, value| !value.is_null());
        }
        vec![self.host(&rival, json!({"role": "ChassisOnly"})), card]
    }

    /// Applies what is there.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, objects: &Objects) -> Result<()> {
        self.apply_these(objects.all().into_iter().filter(|one| !one.is_null()))
            .await
    }

    /// Applies these.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn apply_these<'o>(
        &self,
        objects: impl IntoIterator<Item = &'o Value>,
    ) -> Result<()> {
        let texts: Vec<String> = objects.into_iter().map(Value::to_string).collect();
        let kubectl = self.world.control_plane.kubectl();
        kubectl.apply_text(&texts.join("\n---\n")).await?;
        Ok(())
    }

    /// Deletes an object (`KIND/NAME`), waiting for its end or not.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn delete(&self, object: &str, wait: bool) -> Result<()> {
        let wait = format!("--wait={wait}");
        let kubectl = self.world.control_plane.kubectl();
        kubectl
            .run(&["delete", object, "-n", NAMESPACE, &wait])
            .await
            .with_context(|| format!("deleting {object}"))?;
        Ok(())
    }

    /// Nobody asked the server that was not approved.
    ///
    /// # Errors
    /// When somebody did.
    pub fn nobody_elsewhere(&self) -> Result<()> {
        let asked = self.elsewhere.requests();
        ensure!(
            asked == 0,
            "{asked} requests to a host that nobody approved"
        );
        Ok(())
    }
}

/// An object of our API.
#[expect(clippy::needless_pass_by_value, reason = "callers build it in place")]
fn ours(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    })
}
