//! Staging an install on a card, and taking it back.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_crds::names;
use lockstep_redfish::{BmcFacts, BootOverride, BootTarget, ImageUrl, MediaMatch, OverrideEnabled};
use tokio::time::Instant;

use crate::durable;
use crate::kube_client::REQUEST_DEADLINE;
use crate::seed::{Seed, StoreSeed};
use crate::site::actions::Prepared;
use crate::site::execute::{End, Port};
use crate::site::judge::Refusal;
use crate::site::override_note::OverrideNote;
use crate::site::plan::staged_image;
use crate::site::token_reviews::AUDIENCE;
use crate::site::update_note::Subject;
use crate::site::worker::Worker;
use lockstep_redfish::{http_boot_uri, override_in_force, override_setting};

/// As long as an image lives on a card; the API server may allow less.
const TOKEN_SECONDS: i64 = 10 * 365 * 24 * 3600;

impl Worker {
    /// The card's own medium: its seed and files over their slots, behind its own URL.
    pub(super) async fn prepare_medium(
        &mut self,
        directive: &Directive,
    ) -> Result<ImageUrl, Refusal> {
        let (image, digest) = staged_image(directive)?;
        let files = self.files_for(directive).await?;
        let input = self.current();
        let seed = Seed {
            api_server: self.site.config.xpu.api_server.to_string(),
            ca: self.site.seed_ca.current(),
            namespace: self.site.config.namespace.clone(),
            dpu: input.key.name.clone(),
            dpu_uid: Some(input.uid.clone()),
            token: self.token(None).await?,
            image_version: image.version.clone(),
            image_digest: image.digest.clone(),
            // What wipes a card runs no services.
            store: match &directive.action.wipe {
                Some(_) => None,
                None => self.store_of_card().await?,
            },
            wipe: directive.action.wipe.clone(),
        };
        let bytes = serde_json::to_vec(&seed)
            .map_err(|_| Refusal::new("SeedInvalid", "the seed cannot be written as JSON"))?;
        let grant = self
            .site
            .store
            .grant_with_files(digest, &input.uid, Some(bytes), files)
            .await
            .map_err(|error| {
                Refusal::new(error.category(), format!("{error}; {}", error.remedy()))
            })?;
        let fetched_by_card = matches!(
            directive.action.kind,
            ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot
        );
        Ok(if fetched_by_card {
            self.site.url_for_card(&grant.path)
        } else {
            self.site.served_url(&grant.path)
        })
    }

    /// How the card gets services, where they are turned on.
    async fn store_of_card(&self) -> Result<Option<StoreSeed>, Refusal> {
        if self.site.config.xpu.services.is_none() {
            return Ok(None);
        }
        Ok(Some(StoreSeed {
            url: self.site.config.store_url_of_cards().to_string(),
            ca: self.site.store_ca.as_ref().map(|bundle| bundle.current()),
            token: self.token(Some(AUDIENCE)).await?,
        }))
    }

    /// A token of the card's report-only identity; for the API server unless it is for somebody else.
    async fn token(&self, audience: Option<&str>) -> Result<String, Refusal> {
        let account = names::xpu(&self.current().key.name);
        let api: Api<ServiceAccount> =
            Api::namespaced(self.site.client.clone(), &self.site.config.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                audiences: audience.into_iter().map(str::to_owned).collect(),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let params = PostParams {
            field_manager: Some("lockstep-agent/seed".to_owned()),
            ..PostParams::default()
        };
        let call = api.create_token_request(&account, &params, &request);
        let refused = |why: String| {
            Refusal::new(
                "TokenRefused",
                format!(
                    "no token for ServiceAccount {account}: {why}; check that the operator runs (it makes the account) and that this agent may create serviceaccounts/token"
                ),
            )
        };
        let answer = match tokio::time::timeout(REQUEST_DEADLINE, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("the API server gave no answer".to_owned())),
        };
        answer
            .status
            .map(|status| status.token)
            .ok_or_else(|| refused("the answer holds none".to_owned()))
    }

    /// Inserts the medium and points the next boot at it.
    pub(super) async fn stage(
        &mut self,
        prepared: &Prepared,
        mut bmc: Port,
        settled: Instant,
    ) -> End {
        let Prepared::Medium(url) = prepared else {
            return End::Failed(Refusal::new("ImageMissing", "no medium was prepared"));
        };
        let site = Arc::clone(&self.site);
        let facts = self.facts.clone();
        let ours = |facts: &BmcFacts| site.our_media(facts);
        let outdated = facts.as_ref().map(&ours).unwrap_or_default();
        let mut changed = false;
        for old in outdated.into_iter().filter(|old| !old.same_as(url)) {
            match self.eject(&old, bmc, settled).await {
                End::Done(_) => changed = true,
                end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => {
                    return partly(end, changed);
                }
            }
            bmc = match self.may_go_on() {
                Ok(bmc) => bmc,
                Err(refusal) => return partly(End::Failed(refusal), changed),
            };
        }
        let inserted = self
            .step(bmc.insert_media(url), settled, |facts| {
                ours(facts).iter().any(|found| found.same_as(url))
            })
            .await;
        let note = match inserted {
            End::Done(note) => note,
            end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => {
                return partly(end, changed);
            }
        };
        if let Some(facts) = &facts
            && let Err(error) = self.note_override(facts, &BootTarget::Cd)
        {
            return partly(
                End::Failed(Refusal::new("StateUnusable", error.to_string())),
                true,
            );
        }
        let bmc = match self.may_go_on() {
            Ok(bmc) => bmc,
            Err(refusal) => return partly(End::Failed(refusal), true),
        };
        let wanted = BootOverride::Once(BootTarget::Cd);
        let set = self
            .step(bmc.set_boot_override(&wanted), settled, |facts| {
                override_in_force(facts) == Some(&BootTarget::Cd)
            })
            .await;
        match set {
            End::Done(how) => End::Done(how.or(note)),
            end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => partly(end, true),
        }
    }

    async fn eject(&mut self, url: &ImageUrl, bmc: Port, settled: Instant) -> End {
        let site = Arc::clone(&self.site);
        let which = MediaMatch::Image(url.clone());
        self.step(bmc.eject_media(&which), settled, |facts| {
            !site.our_media(facts).iter().any(|found| found.same_as(url))
        })
        .await
    }

    /// Takes back what is armed by any of the ways: puts the boot override back, empties our URL
    /// for HTTP boot, ejects our media, and no others. In this order: a machine that boots in
    /// between finds its disk, not an empty drive.
    pub(super) async fn clear(&mut self, bmc: Port, settled: Instant) -> End {
        let Some(facts) = self.facts.clone() else {
            return End::Failed(Refusal::new(
                "FactsNotRead",
                "the card has not been looked at",
            ));
        };
        let mut note = None;
        let mut changed = false;
        let site = Arc::clone(&self.site);
        let (name, uid) = (self.current().key.name.clone(), self.current().uid.clone());
        if site.is_our_override(&name, &uid, &facts) {
            match self.restore_override(bmc, settled).await {
                End::Done(how) => note = how,
                end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => return end,
            }
            changed = true;
        }
        // What the change before took along is not asked for again.
        let facts = self.facts_now(facts).await;
        match self.forget_http_uri(&facts, changed, settled).await {
            End::Done(how) => {
                changed |= site.our_http_uri(&uid, &facts).is_some();
                note = note.or(how);
            }
            end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => {
                return partly(end, changed);
            }
        }
        for url in self.site.our_media(&facts) {
            let bmc = match self.may_go_on() {
                Ok(bmc) => bmc,
                Err(refusal) => return partly(End::Failed(refusal), changed),
            };
            match self.eject(&url, bmc, settled).await {
                End::Done(how) => {
                    changed = true;
                    note = note.or(how);
                }
                end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => {
                    return partly(end, changed);
                }
            }
        }
        End::Done(note)
    }

    /// Puts the boot override back to what was found.
    pub(super) async fn restore_override(&mut self, bmc: Port, settled: Instant) -> End {
        let site = Arc::clone(&self.site);
        let (name, uid) = (self.current().key.name.clone(), self.current().uid.clone());
        let wanted = self.override_to_restore();
        self.step(bmc.set_boot_override(&wanted), settled, |facts| {
            is_back(&wanted, facts) || !site.is_our_override(&name, &uid, facts)
        })
        .await
    }

    /// After the last of an install is gone from the card: its grant and our notes, each as far as
    /// it can be; the first error. To be tried again until there is none.
    pub(super) async fn forget_install(&mut self) -> Result<(), Refusal> {
        let card = self.current().uid.clone();
        let revoked = self.site.store.revoke(&card).await.map_err(|error| {
            Refusal::new(
                error.category(),
                format!(
                    "the card's URL has ended, but could return if this agent restarts: {error}; {}",
                    error.remedy()
                ),
            )
        });
        let withdrawn = self.withdraw_pxe();
        let forgotten = OverrideNote::remove(&self.site.config.state_dir, &self.current().key.name)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()));
        let updates = self.forget_update(Subject::System);
        revoked.and(withdrawn).and(forgotten).and(updates)
    }

    /// The facts of another look, or these if nobody answers.
    async fn facts_now(&mut self, facts: BmcFacts) -> BmcFacts {
        if http_boot_uri(&facts).is_none() || !self.look().await {
            return facts;
        }
        self.facts.clone().unwrap_or(facts)
    }

    /// Some BMCs cannot disable an override, only set another lasting one: what
    /// was found is what will be put back. A lasting `Cd` is not told from
    /// ours, which some BMCs show as lasting, and ends disabled; so does a lasting `UefiHttp`
    /// or `Pxe` once ours is one.
    pub(super) fn note_override(
        &self,
        facts: &BmcFacts,
        sets: &BootTarget,
    ) -> Result<(), durable::StateError> {
        let (state_dir, name) = (&self.site.config.state_dir, &self.current().key.name);
        let before = OverrideNote::read(state_dir, name, &self.current().uid)?;
        let noted = |is_so: fn(&OverrideNote) -> bool| before.as_ref().is_some_and(is_so);
        let (noted_http, noted_pxe) = (noted(|note| note.http), noted(|note| note.pxe));
        let lasting = override_setting(facts)
            .filter(|state| state.enabled == Some(OverrideEnabled::Continuous))
            .and_then(|state| state.target.as_ref())
            .filter(|target| !matches!(target, BootTarget::Cd | BootTarget::None))
            .filter(|target| {
                let uid = &self.current().uid;
                // A note may be lost with its volume; our URL says the same.
                let ours = || noted_http || self.site.our_http_uri(uid, facts).is_some();
                let is_ours = **target == BootTarget::UefiHttp && ours()
                    || **target == BootTarget::Pxe && noted_pxe;
                !is_ours
            });
        let http = noted_http || *sets == BootTarget::UefiHttp;
        let pxe = noted_pxe || *sets == BootTarget::Pxe;
        if lasting.is_none() && (http, pxe) == (noted_http, noted_pxe) {
            return Ok(());
        }
        let found = lasting.map(|target| target.as_str().to_owned());
        let before = before.unwrap_or_else(|| OverrideNote::of(&self.current().uid));
        OverrideNote {
            target: found.or(before.target),
            http,
            pxe,
            ..before
        }
        .write(state_dir, name)
    }

    fn override_to_restore(&self) -> BootOverride {
        let (state_dir, name) = (&self.site.config.state_dir, &self.current().key.name);
        let found = match OverrideNote::read(state_dir, name, &self.current().uid) {
            Ok(note) => note.and_then(|note| note.target()),
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        };
        found.map_or(BootOverride::Disabled, BootOverride::Continuous)
    }
}

/// Whether a lasting override that was found is in force again, where ours was of the same target.
fn is_back(wanted: &BootOverride, facts: &BmcFacts) -> bool {
    match wanted {
        BootOverride::Continuous(target) => override_setting(facts).is_some_and(|state| {
            state.target.as_ref() == Some(target)
                && state.enabled == Some(OverrideEnabled::Continuous)
        }),
        BootOverride::Once(_)
        | BootOverride::OnceFrom(_)
        | BootOverride::OnceEntry(_)
        | BootOverride::AlwaysFrom(_)
        | BootOverride::Disabled => false,
    }
}

/// A failure after a part took effect is not "certainly nothing".
pub(super) fn partly(end: End, changed: bool) -> End {
    match end {
        End::Failed(refusal) if changed => End::Partly(refusal),
        End::Done(_) | End::Failed(_) | End::Partly(_) | End::Unknown(_) => end,
    }
}
