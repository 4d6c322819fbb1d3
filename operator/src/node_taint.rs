//! The taint that Lockstep puts on a Node: its key, its owner, and the list without or with it.
//!
//! Its value is the uid of the `DpuHost` that it stands for, so that nobody takes away
//! what another host's hold needs.

use k8s_openapi::api::core::v1::{Node, Taint};
use lockstep_crds::HELD_TAINT;
use lockstep_planner::decision::TaintEffect;

/// The taints of ours that a Node carries: uid of the host, and effect.
pub(crate) fn of_ours(node: &Node) -> Vec<(String, TaintEffect)> {
    taints(node)
        .iter()
        .filter(|taint| taint.key == HELD_TAINT)
        .filter_map(|taint| {
            let known = [TaintEffect::NoSchedule, TaintEffect::NoExecute];
            let effect = known
                .into_iter()
                .find(|effect| effect.as_str() == taint.effect)?;
            Some((taint.value.clone()?, effect))
        })
        .collect()
}

/// The Node's taints with `effect` as the one for the host, or without any for it;
/// `None` if they are so already. Those of others stay as they are.
pub(crate) fn changed(
    node: &Node,
    host_uid: &str,
    effect: Option<TaintEffect>,
) -> Option<Vec<Taint>> {
    let wanted = effect.map(|effect| Taint {
        key: HELD_TAINT.to_owned(),
        value: Some(host_uid.to_owned()),
        effect: effect.as_str().to_owned(),
        time_added: None,
    });
    let is_wanted = |taint: &Taint| {
        wanted.as_ref().is_some_and(|wanted| {
            (&taint.key, &taint.value, &taint.effect)
                == (&wanted.key, &wanted.value, &wanted.effect)
        })
    };
    // A Node stands for one host: what an earlier object of it has left is superseded.
    let is_superseded = |taint: &Taint| {
        taint.key == HELD_TAINT
            && (wanted.is_some() || taint.value.as_deref() == Some(host_uid))
            && !is_wanted(taint)
    };
    let present = taints(node).iter().any(is_wanted);
    if present == wanted.is_some() && !taints(node).iter().any(is_superseded) {
        return None;
    }
    let mut after: Vec<Taint> = taints(node)
        .iter()
        .filter(|taint| !is_superseded(taint))
        .cloned()
        .collect();
    after.extend(wanted.filter(|_| !present));
    Some(after)
}

fn taints(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeSpec;

    fn node(taints: &[(&str, &str, &str)]) -> Node {
        let taints = taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: (*key).to_owned(),
                value: Some((*value).to_owned()),
                effect: (*effect).to_owned(),
                time_added: None,
            })
            .collect();
        Node {
            spec: Some(NodeSpec {
                taints: Some(taints),
                ..NodeSpec::default()
            }),
            ..Node::default()
        }
    }

    #[test]
    fn taints_come_change_and_go_beside_those_of_others() {
        let other = ("node.kubernetes.io/unreachable", "", "NoExecute");
        let (soft, hard) = (
            (HELD_TAINT, "uid-1", "NoSchedule"),
            (HELD_TAINT, "uid-1", "NoExecute"),
        );
        let stale = (HELD_TAINT, "uid-0", "NoExecute");
        let put = Some(TaintEffect::NoExecute);
        let table: &[(&[_], _, Option<&[_]>)] = &[
            (&[], put, Some(&[hard])),
            (&[other], put, Some(&[other, hard])),
            (&[other, hard], put, None),
            (&[soft, other], put, Some(&[other, hard])),
            (&[soft, hard], put, Some(&[hard])),
            (&[stale, other], put, Some(&[other, hard])),
            (&[other, hard], None, Some(&[other])),
            (&[soft, hard], None, Some(&[])),
            (&[stale, other], None, None),
            (&[], None, None),
        ];
        for (before, effect, after) in table {
            let wanted = after.map(|after| taints(&node(after)).to_vec());
            assert_eq!(
                changed(&node(before), "uid-1", *effect),
                wanted,
                "{before:?}"
            );
        }
        assert_eq!(
            changed(&Node::default(), "uid-1", None),
            None,
            "a Node without a spec"
        );
    }

    #[test]
    fn only_our_own_are_seen() {
        let node = node(&[
            ("dedicated", "uid-1", "NoExecute"),
            (HELD_TAINT, "uid-1", "NoExecute"),
            (HELD_TAINT, "uid-2", "PreferNoSchedule"),
        ]);
        assert_eq!(
            of_ours(&node),
            [("uid-1".to_owned(), TaintEffect::NoExecute)]
        );
    }
}
