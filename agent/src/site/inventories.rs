//! Machines of which a host's inspection wants to know anew what they are made of.
//!
//! Workers read what they need to act; what a machine is made of is the search's to read, hours
//! apart. Where an image requires versions that only a search tells, the inspection names the
//! reports, and the search reads those machines now. It is told of all that is wanted as long as
//! it is, so that nothing is lost where a machine is found, moved or forgotten meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_crds::DpuHost;
use lockstep_crds::inspection::Inspected;
use tokio::sync::watch;

/// The inspections that are wanted, by the report in which they are answered.
pub type Wanted = BTreeMap<String, Inspected>;

/// What is wanted of the search of a site.
#[derive(Clone, Debug, Default)]
pub struct Inventories(watch::Sender<Arc<Wanted>>);

impl Inventories {
    /// This is wanted from now on, and nothing else.
    pub fn want(&self, wanted: Wanted) {
        self.0.send_if_modified(|before| {
            let is_news = **before != wanted;
            if is_news {
                *before = Arc::new(wanted);
            }
            is_news
        });
    }

    /// What is wanted, and whenever that changes.
    pub fn follow(&self) -> watch::Receiver<Arc<Wanted>> {
        let mut following = self.0.subscribe();
        following.mark_changed();
        following
    }
}

/// What the inspections of these hosts want of a search. A report answers one inspection at a
/// time: of several the one that was asked for first, until that has ended.
pub fn wanted(hosts: &[Arc<DpuHost>]) -> Wanted {
    let mut wanted = Wanted::new();
    for host in hosts {
        let asked = host
            .status
            .as_ref()
            .and_then(|status| status.inspection.as_ref());
        let (Some(asked), Some(uid)) = (asked, host.metadata.uid.as_deref()) else {
            continue;
        };
        let inspected = asked.of(uid);
        for report in &asked.reports {
            let first = wanted
                .entry(report.clone())
                .or_insert_with(|| inspected.clone());
            let order = |one: &Inspected| (one.asked_at.0, one.host_uid.clone());
            if order(&inspected) < order(first) {
                *first = inspected.clone();
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host(uid: &str, asked_at: &str, reports: &[&str]) -> Arc<DpuHost> {
        let host = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
            "metadata": {"name": uid, "uid": uid},
            "spec": {"site": "s", "policyRef": {"name": "p"}},
            "status": {"inspection": {"askedAt": asked_at, "reports": reports}},
        });
        Arc::new(serde_json::from_value(host).unwrap())
    }

    #[test]
    fn a_report_that_two_hosts_wait_for_answers_the_first_until_that_has_ended() {
        let (early, late) = ("2026-05-01T00:00:00Z", "2026-05-01T00:00:01Z");
        let one = host("uid-g", late, &["bmc-found-a", "bmc-found-b"]);
        let other = host("uid-h", early, &["bmc-found-a"]);
        let told = |hosts: &[Arc<DpuHost>]| -> Vec<(String, String)> {
            let wanted = wanted(hosts).into_iter();
            wanted
                .map(|(report, asked)| (report, asked.host_uid))
                .collect()
        };
        let a_and_b = |a: &str, b: &str| {
            [("bmc-found-a", a), ("bmc-found-b", b)]
                .map(|(report, host)| (report.to_owned(), host.to_owned()))
        };
        let both = a_and_b("uid-h", "uid-g");
        assert_eq!(told(&[one.clone(), other.clone()]), both);
        assert_eq!(told(&[other, one.clone()]), both);
        assert_eq!(told(&[one]), a_and_b("uid-g", "uid-g"));
    }
}
