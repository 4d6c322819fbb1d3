//! What every task of a site agent shares.

use std::sync::Arc;

use kube::Client;
use lockstep_redfish::ImageUrl;
use lockstep_serve::Callers;
use lockstep_store::Store;
use url::Url;

use crate::config::SiteConfig;
use crate::health::Metrics;
use crate::lease::Mandate;
use crate::pxe::book::Book;
use crate::site::attended::Attended;
use crate::site::bundle::Bundle;
use crate::site::calls::Dial;
use crate::site::glances::Glances;
use crate::site::inventories::Inventories;
use crate::site::orders::OrderBook;
use lockstep_redfish::UrlOwner;

/// One site's agent.
#[derive(Clone)]
pub struct Site {
    /// What it was told.
    pub config: SiteConfig,
    /// The API server.
    pub client: Client,
    /// The BMCs.
    pub dial: Arc<dyn Dial>,
    /// The images.
    pub store: Store,
    /// Who has called where the images are served.
    pub callers: Callers,
    /// What is offered by PXE, where the site has that.
    pub pxe: Option<Book>,
    /// The work orders.
    pub orders: OrderBook,
    /// Looks at hosts for the workers of their cards.
    pub glances: Glances,
    /// BMCs that their workers saw lately, for discovery.
    pub attended: Attended,
    /// Machines that discovery is to read now.
    pub inventories: Inventories,
    /// Whether it may act.
    pub mandate: Mandate,
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// PEM bundle by which cards trust the API server.
    pub seed_ca: Arc<Bundle>,
    /// PEM bundle by which cards trust the store, where they fetch services from it over https.
    pub store_ca: Option<Arc<Bundle>>,
}

impl Site {
    /// Whose medium a URL stands for. Ours are found by their base URL even
    /// when the store no longer knows the grant.
    pub fn owner_of(&self, url: &ImageUrl) -> UrlOwner {
        if let Some(grant) = self.store.owner_of_url(url.expose()) {
            return UrlOwner::Ours(Some(grant.digest.to_string()));
        }
        let bases = [
            &self.config.store.advertise_url,
            self.config.store_url_of_cards(),
        ];
        let served = |url: &Url| {
            let ours = bases.iter().any(|base| url.origin() == base.origin());
            ours && url.path().starts_with("/i/")
        };
        match Url::parse(url.expose()) {
            Ok(url) if served(&url) => UrlOwner::Ours(None),
            Ok(_) | Err(_) => UrlOwner::Foreign,
        }
    }

    /// Whose URL for HTTP boot it is, in the BMC of the card whose object has that uid; `None` if it
    /// was granted to another card: a BMC of several machines may keep one URL for all of them.
    pub fn uri_owner(&self, uri: &ImageUrl, uid: &str) -> Option<UrlOwner> {
        match self.store.owner_of_url(uri.expose()) {
            Some(grant) if grant.card_key != uid => None,
            Some(_) | None => Some(self.owner_of(uri)),
        }
    }

    /// The URL under which a BMC finds a granted path.
    pub fn served_url(&self, path: &str) -> ImageUrl {
        url_below(&self.config.store.advertise_url, path)
    }

    /// The URL under which the firmware of a card does.
    pub fn url_for_card(&self, path: &str) -> ImageUrl {
        url_below(self.config.store_url_of_cards(), path)
    }
}

fn url_below(base: &Url, path: &str) -> ImageUrl {
    ImageUrl::new(format!("{}{path}", base.as_str().trim_end_matches('/')))
}
