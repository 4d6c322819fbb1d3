//! The files of a card's own: tried before anything is begun, made when an install is staged.
//!
//! The values that are in Secrets are read by name, here and nowhere else, and go into the files
//! and nowhere else: they are in no report, no journal, no message and no log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt};
use lockstep_configuration::Inputs;
use lockstep_crds::directive::Directive;
use lockstep_crds::dpu::SecretKeyRef;
use lockstep_crds::report::ConfigurationTried;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage, FOR_CARDS, condition};
use lockstep_store::Digest;
use tokio::time::Instant;

use crate::site::activity::Activity;
use crate::site::context::Site;
use crate::site::judge::Refusal;
use crate::site::machine::{Care, MachineKey, MachineKind};
use crate::site::target::{NOT_ANSWERED, TargetError, read_secret};
use crate::site::wanted::image_of;
use crate::site::worker::Worker;

/// How long a trial that went well is good for while something is under way: a Secret may have
/// gone since.
const TRIAL_AGE: Duration = Duration::from_secs(300);
/// The longest text that is taken from a Secret, in bytes.
const SECRET_MAX: usize = 16 * 1024;

/// Files by the names of their slots.
type Files = BTreeMap<String, Vec<u8>>;

/// Tells the workers of cards what the files of their cards are made of. Pure.
pub(super) fn configure(
    cares: &mut BTreeMap<MachineKey, Care>,
    hosts: &[Arc<DpuHost>],
    cards: &[Arc<Dpu>],
    policies: &[Arc<DpuBootPolicy>],
    images: &[Arc<DpuImage>],
) {
    if images.iter().all(|image| image.spec.files.is_empty()) {
        return;
    }
    for card in cards {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: card.name_any(),
        };
        if let Some(Care::Look(input)) = cares.get_mut(&key)
            && let Some(image) = image_of(card, hosts, policies, images)
        {
            input.configuration = Inputs::of(card, &image.name_any(), &image.spec);
        }
    }
}

impl Worker {
    /// Tries whether the card's files can be made, if that has to be told anew.
    pub(super) async fn try_configuration(&mut self) {
        let Some(inputs) = self.current().configuration.clone() else {
            self.tried = None;
            return;
        };
        let digest = inputs.digest();
        let told = self.tried.as_ref().filter(|told| told.inputs == digest);
        let is_fresh = match self.current().activity {
            Activity::UnderWay => self.tried_at.is_some_and(|at| at.elapsed() < TRIAL_AGE),
            Activity::Kept | Activity::Proposed => true,
        };
        if told.is_some_and(|told| told.ok) && is_fresh {
            return;
        }
        let refusal = match self.own_files(&inputs).await {
            Ok(_) => None,
            Err(TargetError::Unusable(refusal)) => Some(refusal),
            Err(TargetError::NotTold(why)) if why.reason != NOT_ANSWERED => Some(why),
            Err(TargetError::NotTold(why)) => {
                tracing::warn!(machine = %self.current().key, "the card's files not tried: {}", why.message);
                // What was told of just these inputs still counts.
                self.tried = told.cloned();
                return;
            }
        };
        self.tried_at = Some(Instant::now());
        let (reason, message) = refusal.map_or((None, None), |refusal| {
            let message = condition::truncated(&refusal.message);
            (Some(refusal.reason), Some(message))
        });
        self.tried = Some(ConfigurationTried {
            inputs: digest,
            ok: reason.is_none(),
            reason,
            message,
        });
    }

    /// The files that an install comes with: of just what the directive was planned for.
    pub(super) async fn files_for(&self, directive: &Directive) -> Result<Files, Refusal> {
        let inputs = self.current().configuration.as_ref();
        if inputs.map(Inputs::digest) != directive.action.configuration {
            return Err(Refusal::new(
                "ConfigurationChanged",
                "the values of the Dpu, or the files of its DpuImage, are not those that this was planned for; it is planned anew by itself, if operator and site agent are of one release",
            ));
        }
        let Some(inputs) = inputs else {
            return Ok(Files::new());
        };
        self.own_files(inputs).await.map_err(|error| match error {
            TargetError::Unusable(refusal) => refusal,
            TargetError::NotTold(why) => Refusal::new(
                "ConfigurationNotMade",
                format!("{}; it is tried again by itself", why.message),
            ),
        })
    }

    async fn own_files(&self, inputs: &Inputs) -> Result<Files, TargetError> {
        let Site {
            client,
            config,
            store,
            ..
        } = &*self.site;
        let not_stored = || {
            let message = format!("image {} is not in the site's store", inputs.image_digest());
            TargetError::NotTold(Refusal::new(NOT_ANSWERED, message))
        };
        let digest: Digest = inputs.image_digest().parse().map_err(|_| not_stored())?;
        if store.info(&digest).is_none() {
            return Err(not_stored());
        }
        let secrets = read_secrets(client, &config.namespace, inputs).await?;
        let files = inputs.render(&secrets).map_err(|fault| {
            Refusal::new(fault.category(), format!("{fault}; {}", fault.remedy()))
        })?;
        match store.takes_files(digest, &files).await {
            Ok(()) => Ok(files),
            Err(error) if error.is_permanent() => {
                let told = format!("{error}; {}", error.remedy());
                Err(Refusal::new(error.category(), told).into())
            }
            Err(error) => {
                let refusal = Refusal::new(NOT_ANSWERED, error.to_string());
                Err(TargetError::NotTold(refusal))
            }
        }
    }
}

/// The values that are in Secrets, by their names in templates. Each Secret is read once.
async fn read_secrets(
    client: &Client,
    namespace: &str,
    inputs: &Inputs,
) -> Result<BTreeMap<String, String>, TargetError> {
    let mut read: BTreeMap<&str, Secret> = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, place) in inputs.secrets() {
        let secret = match read.get(place.name.as_str()) {
            Some(secret) => secret,
            None => {
                let found = read_secret(client, namespace, &place.name).await?;
                let secret = found.ok_or_else(|| {
                    Refusal::new(
                        "SecretMissing",
                        format!(
                            "Secret {} does not exist in namespace {namespace}; create it with the key {}, or correct value {name} of the Dpu",
                            place.name, place.key
                        ),
                    )
                })?;
                require_for_cards(&secret, name, &place.name)?;
                read.entry(&place.name).or_insert(secret)
            }
        };
        values.insert(name.to_owned(), text(secret, name, place)?);
    }
    Ok(values)
}

/// Whoever may write a `Dpu` names any Secret; which may go onto cards, its owner says.
fn require_for_cards(secret: &Secret, name: &str, of: &str) -> Result<(), Refusal> {
    let annotations = secret.metadata.annotations.as_ref();
    if annotations
        .and_then(|all| all.get(FOR_CARDS))
        .map(String::as_str)
        == Some("true")
    {
        return Ok(());
    }
    Err(Refusal::new(
        "SecretNotForCards",
        format!(
            "Secret {of} does not say that it may go onto cards; annotate it with {FOR_CARDS}: \"true\", or correct value {name} of the Dpu"
        ),
    ))
}

fn text(secret: &Secret, name: &str, place: &SecretKeyRef) -> Result<String, Refusal> {
    let SecretKeyRef { name: of, key } = place;
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let Some(bytes) = data else {
        return Err(Refusal::new(
            "SecretKeyMissing",
            format!("Secret {of} has no key {key}; add it, or correct value {name} of the Dpu"),
        ));
    };
    let invalid = |what: &str| {
        Refusal::new(
            "SecretInvalid",
            format!(
                "Secret {of} holds {what} under {key}; give value {name} of the Dpu text of {SECRET_MAX} bytes at most"
            ),
        )
    };
    if bytes.0.len() > SECRET_MAX {
        return Err(invalid("too much"));
    }
    String::from_utf8(bytes.0.clone()).map_err(|_| invalid("no text"))
}
