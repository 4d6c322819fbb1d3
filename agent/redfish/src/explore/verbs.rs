//! The two verbs: identify without a credential, explore with one.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use super::walk::Walk;
use super::{Endpoint, Explored, Explorer, Identified, UnreadSystem, system};
use crate::document::text;
use crate::error::BmcError;
use crate::identity::ExpectedIdentity;
use crate::link::{Link, check_gate};
use crate::reading;
use crate::redfish;
use crate::registry::{Redfish, checked_origin};
use crate::room::Room;
use crate::scrub::Scrub;
use crate::target::{BmcTarget, Credentials};

/// Systems behind one BMC that are explored.
const MOST_SYSTEMS: usize = 32;

#[async_trait]
impl Explorer for Redfish {
    async fn identify(&self, endpoint: &Endpoint) -> Result<Identified, BmcError> {
        let deadline = Instant::now() + self.shared.options.identify_deadline;
        let nobody = Credentials {
            username: String::new(),
            password: String::new(),
        };
        let target = target(endpoint, &nobody);
        let origin = checked_origin(&target)?;
        let lane = self.shared.lane(&origin);
        let _turn = turn(&lane, &origin, deadline).await?;
        let room = Some(self.room());
        let mut link = Link::prepare(&self.shared, &target, &origin, room, deadline).await?;
        let root = link.root_for_everybody(deadline).await?;
        Ok(Identified {
            remote: link.remote(),
            tls_pin: link.pin(),
            service: reading::service(&root),
            vendor: text(&root, "Vendor"),
            product: text(&root, "Product").or_else(|| text(&root, "Name")),
        })
    }

    async fn explore(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Explored, BmcError> {
        let options = &self.shared.options;
        let deadline = Instant::now() + options.explore_deadline;
        let target = target(endpoint, credentials);
        let origin = checked_origin(&target)?;
        let lane = self.shared.lane(&origin);
        let mut link = {
            let _turn = turn(&lane, &origin, deadline).await?;
            check_gate(&self.shared, &origin, &target)?;
            let first = deadline.min(Instant::now() + options.call_deadline);
            let room = Some(self.room());
            Link::open(&self.shared, &target, &origin, room, first).await?
        };
        let scrub = Scrub::of(credentials);
        let mut walk = Walk::new(&lane, &mut link, deadline, options.part_timeout, scrub);
        let explored = systems(&mut walk, &target).await;
        drop(walk);
        // The session is ended beside whatever else is said to the BMC: that harms nobody.
        link.log_out().await;
        explored
    }
}

impl Redfish {
    fn room(&self) -> Arc<Room> {
        Room::new(
            &self.shared.explorations,
            self.shared.options.exploration_room,
        )
    }
}

fn target(endpoint: &Endpoint, credentials: &Credentials) -> BmcTarget {
    BmcTarget {
        address: endpoint.address.clone(),
        system_path: None,
        credentials: credentials.clone(),
        tls: endpoint.tls.clone(),
        expected: ExpectedIdentity::default(),
    }
}

async fn turn<'a>(
    lane: &'a Arc<Mutex<()>>,
    origin: &str,
    deadline: Instant,
) -> Result<MutexGuard<'a, ()>, BmcError> {
    let busy = |_| BmcError::Busy {
        address: origin.to_owned(),
    };
    timeout_at(deadline, lane.lock()).await.map_err(busy)
}

async fn systems(walk: &mut Walk<'_>, target: &BmcTarget) -> Result<Explored, BmcError> {
    let (systems, mut unread) = paths(walk).await?;
    let now = now();
    let alone = systems.len() == 1 && unread.is_empty();
    let mut left = systems.len();
    let mut explored = Explored::default();
    for path in systems {
        walk.share_among(left);
        left -= 1;
        let document = match walk.essential(&path).await {
            Ok(document) => document,
            Err(error) => {
                unread.push(unread_system(path, error)?);
                continue;
            }
        };
        let channel = redfish::channel(walk.link(), &target.tls);
        let system = system::explore(walk, path, document, alone, channel, &now).await;
        if let Some(fatal) = walk.take_fatal() {
            return Err(fatal);
        }
        explored.systems.push(system?);
    }
    if explored.systems.is_empty() && !unread.is_empty() {
        return Err(unread.remove(0).why);
    }
    explored.unread = unread;
    Ok(explored)
}

/// The paths of the ComputerSystems, and those that could not be read. Their documents are not
/// held: there may be many.
async fn paths(walk: &mut Walk<'_>) -> Result<(Vec<String>, Vec<UnreadSystem>), BmcError> {
    let mut systems: Vec<String> = Vec::new();
    let mut unread = Vec::new();
    let Some(list) = walk.system_list().await? else {
        return Err(BmcError::SystemNotFound {
            address: walk.link().origin().to_owned(),
            wanted: "at all".to_owned(),
            found: "a list that does not say which there are".to_owned(),
        });
    };
    let count = list.paths.len();
    for (index, path) in list.paths.into_iter().enumerate() {
        if index >= MOST_SYSTEMS {
            let why = BmcError::TooManySystems {
                address: walk.link().origin().to_owned(),
                path: path.clone(),
                most: MOST_SYSTEMS,
            };
            unread.push(UnreadSystem { path, why });
            continue;
        }
        match walk.essential(&path).await {
            // Some collections name themselves, or one system twice.
            Ok(document) => {
                if !systems.contains(&path) && document.get("Members").is_none() {
                    systems.push(path);
                }
            }
            // Listed, and not there after all.
            Err(BmcError::ReadFailed { status: 404, .. }) => {}
            // The others are there all the same.
            Err(error) => unread.push(unread_system(path, error)?),
        }
    }
    if list.beyond > 0 {
        let why = BmcError::BadAnswer {
            address: walk.link().origin().to_owned(),
            path: list.collection.clone(),
            reason: format!("it lists {count} systems and tells of {} more", list.beyond),
        };
        unread.push(unread_system(list.collection, why)?);
    }
    Ok((systems, unread))
}

/// Whoever refuses the credentials refuses them for every system.
fn unread_system(path: String, why: BmcError) -> Result<UnreadSystem, BmcError> {
    if matches!(why, BmcError::CredentialsRefused { .. }) {
        return Err(why);
    }
    tracing::warn!(error = %why, path, "a system that a BMC lists is not read");
    Ok(UnreadSystem { path, why })
}

/// Now, in whole seconds: what is written reads back as the same value.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
