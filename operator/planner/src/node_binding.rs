//! Which Node runs on a host. A Node's name is not the machine: a renamed Node, or a host whose
//! operating system was installed anew, is the same host.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::{DpuHost, DpuReportSpec, names};

use crate::inventory::JoinedHost;
use crate::view::View;

/// The Node of a host: the one that the user names, else the one that was proved last, for as long as
/// it exists and does not prove to run on another host, else the one that an agent proves. An agent that falls silent, a second one that claims the same machine, or a
/// BMC that tells otherwise must not make a host look free that was known to be in use (S12).
pub fn node_of(
    host: &DpuHost,
    joined: Option<&JoinedHost>,
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    let named = host.spec.node_name.clone();
    let proved = || joined.and_then(|joined| joined.node_name.clone());
    let recorded = || {
        let recorded = host.status.as_ref()?.node_name.clone()?;
        let departed = joined.and_then(|joined| joined.departed.as_ref());
        (exists(&recorded) && departed != Some(&recorded)).then_some(recorded)
    };
    named.or_else(recorded).or_else(proved)
}

/// Why it is not settled which Node runs on a host. Who names one in the spec has settled it, and
/// so has an agent that proves the one that counts.
pub(crate) fn node_in_doubt(view: &View) -> Option<&str> {
    let joined = view.joined.as_ref()?;
    let is_proved = joined.node_name.is_some() && joined.node_name == view.node_name;
    let why = joined.contradictions.first().map(String::as_str);
    why.filter(|_| !is_proved && view.host.spec.node_name.is_none())
}

/// Reports that an agent has left behind under the name of a Node that is gone, while the agent
/// of another Node tells of the same machine: they would contradict what runs there now.
pub fn left_behind<'a>(
    reports: &BTreeMap<&'a str, &'a DpuReportSpec>,
    exists: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let prefix = names::host("");
    let of_nodes = reports.iter().filter_map(|(name, report)| {
        let machine = report.machine.as_ref()?;
        Some((name.strip_prefix(prefix.as_str())?, machine))
    });
    let (here, gone): (Vec<_>, Vec<_>) = of_nodes.partition(|(node, _)| exists(node));
    gone.into_iter()
        .filter(|(_, machine)| here.iter().any(|(_, other)| other == machine))
        .map(|(node, _)| names::host(node))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use lockstep_crds::report::Vantage;
    use lockstep_crds::{DpuHostStatus, MachineIdentity};

    #[test]
    fn what_a_renamed_node_leaves_behind_is_left_out() {
        let report = |uuid: &str| {
            let now = Time(jiff::Timestamp::UNIX_EPOCH);
            DpuReportSpec {
                machine: Some(MachineIdentity {
                    system_uuid: Some(uuid.to_owned()),
                    serial_number: None,
                }),
                ..DpuReportSpec::new(Vantage::HostOs, "h", "0.1.0", now)
            }
        };
        let (one, other) = (report("1"), report("2"));
        let reports = BTreeMap::from([
            ("host-old", &one),
            ("host-new", &one),
            ("host-alone", &other),
            ("bmc-host-old", &one),
        ]);
        let left = left_behind(&reports, |node| node == "new");
        assert_eq!(
            left,
            BTreeSet::from(["host-old".to_owned()]),
            "nobody else tells of the machine of `alone`"
        );
        assert!(left_behind(&reports, |_| true).is_empty());
    }

    fn host(named: Option<&str>, recorded: Option<&str>) -> DpuHost {
        let spec = serde_json::from_value(serde_json::json!({"policyRef": {"name": "p"}}));
        let mut host = DpuHost::new("h", spec.unwrap());
        host.spec.node_name = named.map(str::to_owned);
        host.status = Some(DpuHostStatus {
            node_name: recorded.map(str::to_owned),
            ..DpuHostStatus::default()
        });
        host
    }

    #[test]
    fn the_users_word_then_proof_then_what_was_proved_last() {
        let proved = |node: Option<&str>| {
            Some(JoinedHost {
                node_name: node.map(str::to_owned),
                ..JoinedHost::default()
            })
        };
        let departed = |node: &str| {
            Some(JoinedHost {
                departed: Some(node.to_owned()),
                ..JoinedHost::default()
            })
        };
        let exists = |node: &str| node != "gone";
        let table = [
            (Some("a"), proved(Some("b")), Some("c"), Some("a")),
            (None, proved(Some("b")), Some("c"), Some("c")),
            (None, proved(Some("b")), Some("gone"), Some("b")),
            (None, proved(None), Some("c"), Some("c")),
            (None, None, Some("c"), Some("c")),
            (None, proved(None), Some("gone"), None),
            (None, None, Some("gone"), None),
            (None, proved(Some("gone")), None, Some("gone")),
            (None, departed("c"), Some("c"), None),
            (None, departed("other"), Some("c"), Some("c")),
            (Some("c"), departed("c"), Some("c"), Some("c")),
            (Some("gone"), None, Some("c"), Some("gone")),
            (None, None, None, None),
        ];
        for (named, joined, recorded, node) in table {
            let found = node_of(&host(named, recorded), joined.as_ref(), exists);
            assert_eq!(found.as_deref(), node, "{named:?} {joined:?} {recorded:?}");
        }
    }
}
