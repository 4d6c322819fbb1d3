//! What is planned for a host between an edit of what it is known by and the next join.

use lockstep_crds::DpuHost;
use lockstep_operator::host_controller::reconcile;
use lockstep_planner::inventory::{JoinedHost, SiteJoin, SiteView};
use serde_json::json;

use crate::site::{Site, lines};
use crate::support::*;

/// A join that has nothing to tell of the hosts.
fn hosts(view: &SiteView<'_>) -> SiteJoin {
    let hosts = view.hosts.iter().map(|host| {
        let name = host.metadata.name.clone().unwrap();
        (name, JoinedHost::default())
    });
    SiteJoin {
        hosts: hosts.collect(),
        ..SiteJoin::default()
    }
}

#[tokio::test]
async fn nothing_is_written_of_a_host_that_is_joined_anew_in_a_moment() {
    let machine = serde_json::to_value(host("h")).unwrap();
    let mut site = Site::new(hosts, vec![("dpuhosts/h", machine)]).await;
    let plan = async |site: &Site| {
        let outcome = reconcile(&site.context, &key("h")).await;
        (outcome.result, lines(&site.server.take_seen()))
    };
    let nothing = || Vec::<String>::new();
    site.catch_up::<DpuHost>("dpuhosts/h");
    assert_eq!(plan(&site).await, ("behind", nothing()));
    site.pass(0).await;
    let status = vec!["PATCH dpuhosts/h/status".to_owned()];
    assert_eq!(plan(&site).await, ("ok", status.clone()));
    site.catch_up::<DpuHost>("dpuhosts/h");
    site.server.write("dpuhosts/h", |host| {
        host["metadata"]["generation"] = json!(2);
        host["spec"]["identity"] = json!({"serialNumber": "S2"});
    });
    site.catch_up::<DpuHost>("dpuhosts/h");
    assert_eq!(plan(&site).await, ("behind", nothing()));
    assert_eq!(plan(&site).await, ("behind", nothing()));
    site.pass(2).await;
    assert_eq!(plan(&site).await, ("ok", status));
}
