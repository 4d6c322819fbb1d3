//! What the API server says of a host whose work order may have to be carried out.

use std::time::Duration;

use kube::api::{ApiResource, Object};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};
use lockstep_crds::DpuHost;
use lockstep_crds::directive::WorkOrder;
use serde::Deserialize;

use crate::kube_client::REQUEST_DEADLINE;
use crate::site::context::Site;
use crate::site::expiry::Seen;
use crate::site::order::Order;

/// How often the API server is asked before it counts as gone.
const ASKED: u32 = 3;
/// Between questions.
const PAUSE: Duration = Duration::from_secs(3);

/// As much of a `DpuHost` as an order depends on: nothing else of it can keep
/// an order from being read.
type Brief = Object<BriefSpec, BriefStatus>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BriefSpec {
    #[serde(default)]
    hands_off: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct BriefStatus {
    hold: Option<BriefHold>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BriefHold {
    work_order: Option<WorkOrder>,
}

/// What the API server says of the host now; asked more than once before
/// silence counts.
pub(super) async fn ask(site: &Site, order: &Order) -> Seen {
    let api: Api<DeserializeGuard<Brief>> = Api::namespaced_with(
        site.client.clone(),
        &site.config.namespace,
        &ApiResource::erase::<DpuHost>(&()),
    );
    for round in 1..=ASKED {
        match tokio::time::timeout(REQUEST_DEADLINE, api.get_opt(&order.host)).await {
            Ok(Ok(host)) => {
                let host = host.filter(|host| host.uid().as_ref() == Some(&order.host_uid));
                return match host {
                    None => Seen::Gone,
                    Some(DeserializeGuard(Ok(host))) => Seen::Present {
                        work_order: host.status.and_then(|status| status.hold?.work_order),
                        hands_off: host.spec.hands_off,
                    },
                    Some(DeserializeGuard(Err(error))) => {
                        tracing::error!(host = %order.host, "this release cannot read the DpuHost: {error}");
                        Seen::Unreadable
                    }
                };
            }
            Ok(Err(error)) => {
                tracing::warn!(host = %order.host, round, "API server not to be asked: {error}");
            }
            Err(_) => {
                tracing::warn!(host = %order.host, round, "API server gives no answer");
            }
        }
        if round < ASKED {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Seen::Unreachable
}
