//! UEFI HTTP boot: the firmware fetches the image from a URL that its BMC is given, once for an
//! install, or at every boot of a card that runs a stateless image.
//!
//! Target and URL go in one request, so there is no state between two. What a BMC makes of it
//! differs: some keep the override lasting, some fetch the image themselves and show a medium,
//! some take the target and drop the URL, after which the machine would boot from wherever DHCP
//! says.

use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_redfish::{
    BmcFacts, BootOverride, BootTarget, ImageUrl, OverrideEnabled, Reading, UrlOwner,
    http_boot_uri, override_in_force, override_setting,
};
use tokio::time::Instant;

use crate::site::actions::Prepared;
use crate::site::context::Site;
use crate::site::execute::{End, Port};
use crate::site::install::partly;
use crate::site::judge::Refusal;
use crate::site::machine::MachineKind;
use crate::site::override_note::OverrideNote;
use crate::site::plan::{Plan, staged_image};
use crate::site::worker::Worker;

/// Whether the next boot goes where HTTP boot was asked for: to the URL, or to the medium that the
/// BMC made of it.
fn boots_over_http(facts: &BmcFacts) -> bool {
    matches!(
        override_in_force(facts),
        Some(BootTarget::UefiHttp | BootTarget::Cd)
    )
}

/// Some BMCs show the medium that they made of the URL, and not the URL.
fn boots_medium(facts: &BmcFacts) -> bool {
    override_in_force(facts) == Some(&BootTarget::Cd)
}

impl Site {
    /// Whose URL for HTTP boot the machine of the object with that uid holds, with the URL; `None`
    /// if there is none, or it is another machine's.
    fn http_boot<'a>(&self, uid: &str, facts: &'a BmcFacts) -> Option<(&'a ImageUrl, UrlOwner)> {
        let uri = http_boot_uri(facts)?;
        Some((uri, self.uri_owner(uri, uid)?))
    }

    /// Our URL for HTTP boot in the machine of that object.
    pub(super) fn our_http_uri<'a>(&self, uid: &str, facts: &'a BmcFacts) -> Option<&'a ImageUrl> {
        self.http_boot(uid, facts)
            .filter(|(_, owner)| *owner != UrlOwner::Foreign)
            .map(|(uri, _)| uri)
    }

    /// Whether the machine is armed as a `StageHttpBoot` or `SetNetworkBoot` wants it.
    pub(super) fn has_http_boot(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        let Some(image) = &directive.action.image else {
            return false;
        };
        let wanted = UrlOwner::Ours(Some(image.digest.clone()));
        let held = self.http_boot(&directive.target.uid, facts);
        let is_set = held.is_some_and(|(_, owner)| owner == wanted);
        is_set && boots_over_http(facts) || boots_medium(facts) && self.has_medium(directive, facts)
    }

    /// The same for one URL.
    fn boots_from(&self, url: &ImageUrl, facts: &BmcFacts) -> bool {
        let is_set = http_boot_uri(facts).is_some_and(|held| held.same_as(url));
        let is_medium = || self.our_media(facts).iter().any(|held| held.same_as(url));
        is_set && boots_over_http(facts) || boots_medium(facts) && is_medium()
    }

    /// Whether the override in force is one that an install sets. `Cd` is, whoever set it; for
    /// `UefiHttp` the URL or our note must say so, for machines without a disk boot so always; for
    /// `Pxe` our note alone; and for a boot entry that it is the one of our note.
    pub(super) fn is_our_override(&self, name: &str, uid: &str, facts: &BmcFacts) -> bool {
        match override_in_force(facts) {
            Some(BootTarget::Cd) => true,
            Some(BootTarget::UefiHttp) => {
                self.our_http_uri(uid, facts).is_some()
                    || http_boot_uri(facts).is_none() && self.noted_http_boot(name, uid)
            }
            Some(BootTarget::Pxe) => self.noted_pxe_boot(name, uid),
            Some(BootTarget::Other(_)) => self.is_our_entry(name, uid, facts),
            Some(_) | None => false,
        }
    }

    /// Whether we set HTTP boot on this machine, where it was not set before.
    fn noted_http_boot(&self, name: &str, uid: &str) -> bool {
        match OverrideNote::read(&self.config.state_dir, name, uid) {
            Ok(note) => {
                note.is_some_and(|note| note.http && note.target() != Some(BootTarget::UefiHttp))
            }
            Err(error) => {
                tracing::error!("{error}");
                false
            }
        }
    }
}

fn is_lasting(facts: &BmcFacts) -> bool {
    override_setting(facts)
        .is_some_and(|setting| setting.enabled == Some(OverrideEnabled::Continuous))
}

/// What is not read must not be taken for absent.
pub(super) fn require_boot_read(facts: &BmcFacts) -> Result<(), Refusal> {
    for reading in [&facts.pending_boot_override, &facts.boot_override] {
        if let Reading::NotRead(why) = reading {
            return Err(Refusal::new(
                "BootNotRead",
                format!(
                    "the boot settings could not be read ({why}); they are read again before the next try"
                ),
            ));
        }
    }
    Ok(())
}

impl Worker {
    pub(super) fn plan_http_boot(
        &self,
        directive: &Directive,
        facts: &BmcFacts,
    ) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let (image, digest) = staged_image(directive)?;
        self.require_stored(image, &digest)?;
        require_boot_read(facts)?;
        let uid = &self.current().uid;
        if let Some((_, UrlOwner::Foreign)) = self.site.http_boot(uid, facts) {
            return Err(Refusal::new(
                "ForeignHttpBoot",
                "the card's BMC holds an HttpBootUri that Lockstep did not set; empty it, if nobody needs it",
            ));
        }
        let granted = self
            .site
            .store
            .granted(&digest, uid)
            .map(|grant| self.site.url_for_card(&grant.path));
        let is_set = granted.is_some_and(|url| self.site.boots_from(&url, facts));
        if is_set && (directive.action.kind == ActionKind::StageHttpBoot || is_lasting(facts)) {
            return Ok(Plan::Nothing("the image was staged already".to_owned()));
        }
        Ok(Plan::Act)
    }

    /// Gives the BMC the URL and sets the next boot, or every boot, to it.
    pub(super) async fn set_http_boot(
        &mut self,
        prepared: &Prepared,
        from: impl FnOnce(ImageUrl) -> BootOverride,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let (Prepared::Medium(url), Some(facts)) = (prepared, self.facts.clone()) else {
            return End::Failed(Refusal::new("ImageMissing", "no image was prepared"));
        };
        if let Err(error) = self.note_override(&facts, &BootTarget::UefiHttp) {
            return End::Failed(Refusal::new("StateUnusable", error.to_string()));
        }
        let wanted = from(url.clone());
        let site = self.site.clone();
        // A target without the URL is an end too, and one to tell at once; not where it was so
        // before.
        let was_set = override_in_force(&facts) == Some(&BootTarget::UefiHttp);
        let dropped = AtomicBool::new(false);
        let end = self
            .step(bmc.set_boot_override(&wanted), settled, |facts| {
                let set = override_in_force(facts) == Some(&BootTarget::UefiHttp);
                let is_staged = site.boots_from(url, facts);
                let drops = set && !is_staged && !was_set;
                dropped.store(drops, Ordering::Relaxed);
                drops || is_staged
            })
            .await;
        if !dropped.load(Ordering::Relaxed) {
            return end;
        }
        let refusal = Refusal::new(
            "HttpBootUriDropped",
            "the BMC took the boot target UefiHttp and not the URL, so the card would boot from wherever DHCP says; this BMC needs another of install.methods, or other firmware",
        );
        let back = match self.may_go_on() {
            Ok(bmc) => self.restore_override(bmc, settled).await,
            Err(why) => End::Failed(why),
        };
        match back {
            End::Done(_) => End::Failed(refusal),
            End::Failed(_) | End::Partly(_) | End::Unknown(_) => End::Partly(refusal),
        }
    }

    /// What the card booted from before is fetched by nobody any more.
    pub(super) async fn end_outdated_grants(&self, directive: &Directive) -> Result<(), Refusal> {
        let (_, digest) = staged_image(directive)?;
        let uid = &self.current().uid;
        self.site
            .store
            .revoke_others(uid, &digest)
            .await
            .map_err(|error| Refusal::new(error.category(), format!("{error}; {}", error.remedy())))
    }

    /// Empties our URL, where one is left.
    pub(super) async fn forget_http_uri(
        &mut self,
        facts: &BmcFacts,
        changed: bool,
        settled: Instant,
    ) -> End {
        let (site, uid) = (self.site.clone(), self.current().uid.clone());
        let Some(uri) = site.our_http_uri(&uid, facts) else {
            return End::Done(None);
        };
        let bmc = match self.may_go_on() {
            Ok(bmc) => bmc,
            Err(refusal) => return partly(End::Failed(refusal), changed),
        };
        let call = bmc.forget_http_uri(uri);
        self.step(call, settled, |facts| {
            site.our_http_uri(&uid, facts).is_none()
        })
        .await
    }
}
