//! All that a card's files are made of.

use std::collections::BTreeMap;

use lockstep_crds::Dpu;
use lockstep_crds::dpu::{CardValue, SecretKeyRef};
use lockstep_crds::image::{DpuImageSpec, ImageFile};
use minijinja::Value;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::scope::{Missed, Scope};
use crate::template::Template;

/// Stands for a secret where there are none.
const NOT_TOLD: &str = "(secret)";

/// Whether every template can be understood.
///
/// # Errors
/// The first that cannot.
pub fn check_templates(files: &[ImageFile]) -> Result<(), Fault> {
    files
        .iter()
        .try_for_each(|file| Template::parse(&file.slot, &file.template).map(drop))
}

/// What a card's files are made of, but for secrets, of which only the places are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    dpu: CardFacts,
    site: String,
    host: Option<String>,
    image: ImageNamed,
    values: Vec<CardValue>,
    files: Vec<ImageFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CardFacts {
    name: String,
    namespace: String,
    uid: String,
    serial_number: Option<String>,
    system_uuid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ImageNamed {
    name: String,
    version: String,
    digest: String,
}

impl Inputs {
    /// What the files of `image`, which has that name, are made of for a card; `None` if the image
    /// asks for none.
    pub fn of(dpu: &Dpu, name: &str, image: &DpuImageSpec) -> Option<Self> {
        if image.files.is_empty() {
            return None;
        }
        let identity = dpu.spec.identity.clone().unwrap_or_default();
        let metadata = &dpu.metadata;
        Some(Self {
            dpu: CardFacts {
                name: metadata.name.clone().unwrap_or_default(),
                namespace: metadata.namespace.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                serial_number: identity.serial_number,
                system_uuid: identity.system_uuid,
            },
            site: dpu.spec.site.clone(),
            host: dpu.spec.host_refs.first().map(|host| host.name.clone()),
            image: ImageNamed {
                name: name.to_owned(),
                version: image.version.clone(),
                digest: image.digest.clone(),
            },
            values: dpu.spec.values.clone(),
            files: image.files.clone(),
        })
    }

    /// Names all of it: 64 hex digits. No secret goes in.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(Sha256::digest(json))
    }

    /// Digest of the image that the files are for.
    pub fn image_digest(&self) -> &str {
        &self.image.digest
    }

    /// The values that are in Secrets, by name, with their places.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretKeyRef)> {
        self.values.iter().filter_map(|value| {
            let from = value.value_from.as_ref()?;
            Some((value.name.as_str(), &from.secret_key_ref))
        })
    }

    /// Whether the files can be made, as far as that can be told without secrets.
    ///
    /// # Errors
    /// What is known to fail.
    pub fn check(&self) -> Result<(), Fault> {
        let secrets = self.secrets();
        let stand_ins: BTreeMap<String, String> = secrets
            .map(|(name, _)| (name.to_owned(), NOT_TOLD.to_owned()))
            .collect();
        match self.render(&stand_ins) {
            // What fails with a stand-in may work with the secret.
            Err(Fault::RenderFailed { .. }) if !stand_ins.is_empty() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// The files, by the names of their slots. `secrets` has the values that are in Secrets.
    ///
    /// # Errors
    /// The first file that cannot be made.
    pub fn render(
        &self,
        secrets: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        let mut rendered = BTreeMap::new();
        for file in &self.files {
            let missed = Missed::default();
            let template = Template::parse(&file.slot, &file.template)?;
            let text = template.render(&self.root(secrets, &missed), &missed)?;
            rendered.insert(file.slot.clone(), text.into_bytes());
        }
        Ok(rendered)
    }

    fn root(&self, secrets: &BTreeMap<String, String>, missed: &Missed) -> Value {
        let scope = |path| Scope::new(path, missed);
        let mut dpu = scope("dpu.")
            .with("name", self.dpu.name.as_str())
            .with("namespace", self.dpu.namespace.as_str())
            .with("uid", self.dpu.uid.as_str());
        if let Some(serial) = &self.dpu.serial_number {
            dpu = dpu.with("serialNumber", serial.as_str());
        }
        if let Some(uuid) = &self.dpu.system_uuid {
            dpu = dpu.with("systemUuid", uuid.as_str());
        }
        let image = scope("image.")
            .with("name", self.image.name.as_str())
            .with("version", self.image.version.as_str())
            .with("digest", self.image.digest.as_str());
        let mut values = scope("values.");
        for given in &self.values {
            let text = given.value.as_ref().or_else(|| secrets.get(&given.name));
            if let Some(text) = text {
                values = values.with(&given.name, text.as_str());
            }
        }
        let mut root = scope("")
            .with("dpu", dpu.into_value())
            .with("image", image.into_value())
            .with("values", values.into_value())
            .with("site", self.site.as_str());
        if let Some(host) = &self.host {
            root = root.with("host", host.as_str());
        }
        root.into_value()
    }
}

#[cfg(test)]
mod tests;
