//! Carrying a plan out, against the compare-and-swap of an API server: what is
//! written, in which order, and what is not.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{Action, ActionKind, Directive, Expects, Step, Target, TargetKind};
use lockstep_crds::{Dpu, DpuHost, DpuStatus, FINALIZER, HELD_TAINT, Phase};
use lockstep_operator::metrics::Metrics;
use lockstep_operator::record::{RecordError, carry_out};
use lockstep_operator::writes::{WriteError, Writes};
use lockstep_planner::decision::{Finalizers, NodeTaint, TaintEffect, Transition};
use lockstep_planner::inventory::JoinedHost;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{CardView, Wanted};
use lockstep_planner::{Decision, Plan, View};
use serde_json::{Value, json};
use support::apiserver::{ApiServer, Seen};
use support::*;

async fn cluster() -> ApiServer {
    let host = serde_json::to_value(host("h")).unwrap();
    let card = serde_json::to_value(card("c", "h")).unwrap();
    ApiServer::start([("dpuhosts/h", host), ("dpus/c", card)]).await
}

/// The view of somebody whose cache is up to date.
fn view(server: &ApiServer) -> View {
    let host: DpuHost = serde_json::from_value(server.object("dpuhosts/h")).unwrap();
    let dpu: Dpu = serde_json::from_value(server.object("dpus/c")).unwrap();
    View {
        host,
        policy: Some(policy(None)),
        host_report: None,
        host_agent: None,
        site_agent: None,
        images: Vec::new(),
        node_name: None,
        node: None,
        tainted: BTreeMap::new(),
        cards: vec![CardView {
            dpu,
            report: None,
            os: None,
            os_agent: None,
            wanted: Wanted::Nothing,
            conflicts: Vec::new(),
            sightings: Vec::new(),
            in_host: None,
            host_access: None,
            requirements: Vec::new(),
            vetting: Vetting::of_nothing(),
            firmware: Vec::new(),
            services: Vec::new(),
            offered: Vec::new(),
            configuration: None,
            fallback: None,
            golden: None,
            wiper: None,
            joined: None,
        }],
        conflicts: Vec::new(),
        guards_intact: true,
        joined: Some(JoinedHost::default()),
    }
}

fn writes(server: &ApiServer) -> (Writes, Metrics) {
    let metrics = Metrics::default();
    (
        Writes::new(server.client.clone(), "test".to_owned(), metrics.clone()),
        metrics,
    )
}

fn directive(seq: i64) -> Directive {
    Directive {
        seq,
        step: Step::StageInstall,
        executor: SITE.to_owned(),
        target: Target {
            kind: TargetKind::Card,
            name: "c".into(),
            uid: "uid-Dpu-c".into(),
        },
        action: Action {
            kind: ActionKind::StageInstall,
            image: None,
            component: None,
            activation: None,
            configuration: None,
            boot_macs: Vec::new(),
            wipe: None,
            power_on: None,
            work_order: None,
        },
        expects: Expects::default(),
        blast_radius: vec!["dpu/c".into()],
        issued_at: Time(at(0)),
        deadline: Time(at(0) + SignedDuration::from_secs(180)),
        settle_seconds: 30,
    }
}

/// The plan that begins an install from what `view` shows.
fn start(view: &View) -> Plan {
    let mut status = view.host.status.clone().unwrap_or_default();
    status.seq += 1;
    let directive = directive(status.seq);
    status.directives.push(directive.clone());
    let card = DpuStatus {
        phase: Some(Phase::Installing),
        ..DpuStatus::default()
    };
    Plan {
        decision: Decision::Start(vec![directive]),
        host_status: status,
        cards: vec![("c".to_owned(), card)],
        finalizers: Finalizers {
            host: true,
            cards: vec!["c".to_owned()],
        },
        service_accounts: vec!["c".to_owned()],
        withdrawn_accounts: Vec::new(),
        events: vec![Transition {
            card: Some("c".to_owned()),
            reason: "Installing".to_owned(),
            message: "begun".to_owned(),
            warning: false,
        }],
        taints: Vec::new(),
        look_again: None,
    }
}

/// The plan that finds everything as it is.
fn settled(view: &View) -> Plan {
    let dpu = &view.cards[0].dpu;
    let protected = |finalizers: &Option<Vec<String>>| {
        finalizers.iter().flatten().any(|name| name == FINALIZER)
    };
    Plan {
        decision: Decision::Settled,
        host_status: view.host.status.clone().unwrap_or_default(),
        cards: vec![("c".to_owned(), dpu.status.clone().unwrap_or_default())],
        finalizers: Finalizers {
            host: protected(&view.host.metadata.finalizers),
            cards: protected(&dpu.metadata.finalizers)
                .then(|| "c".to_owned())
                .into_iter()
                .collect(),
        },
        service_accounts: Vec::new(),
        withdrawn_accounts: Vec::new(),
        events: Vec::new(),
        taints: Vec::new(),
        look_again: None,
    }
}

#[tokio::test]
async fn protection_comes_before_the_record_and_news_after_it() {
    let server = cluster().await;
    let (writes, metrics) = writes(&server);
    let view = view(&server);
    carry_out(&writes, &view, &start(&view)).await.unwrap();

    let seen = server.take_seen();
    let lines: Vec<String> = seen.iter().map(Seen::line).collect();
    assert_eq!(
        lines,
        [
            "PATCH dpuhosts/h",
            "PATCH dpus/c",
            "POST serviceaccounts",
            "PATCH dpuhosts/h/status",
            "PATCH dpus/c/status",
            "POST events",
        ]
    );
    assert_eq!(seen[0].body["metadata"]["resourceVersion"], "10");
    assert_eq!(seen[0].body["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(
        seen[2].body["metadata"]["ownerReferences"][0]["uid"],
        "uid-Dpu-c"
    );
    assert_eq!(
        seen[3].body["metadata"]["resourceVersion"], "101",
        "as the protection left it"
    );
    assert_eq!(seen[3].query, "&fieldManager=lockstep-record");
    assert_eq!(seen[4].query, "&fieldManager=lockstep-conclude");
    assert_eq!(seen[4].body["metadata"]["resourceVersion"], "102");
    assert_eq!(
        seen[4].body["status"],
        json!({"phase": "Installing"}),
        "only what differs"
    );
    for (kind, cause, count) in [
        ("DpuHost", "record", 1),
        ("Dpu", "conclude", 1),
        ("DpuHost", "finalizer", 1),
        ("Dpu", "finalizer", 1),
        ("ServiceAccount", "account", 1),
        ("Event", "event", 1),
    ] {
        assert_eq!(metrics.writes(kind, cause), count, "{kind} {cause}");
    }
}

#[tokio::test]
async fn nothing_is_written_when_nothing_differs() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    server.take_seen();
    let after = view(&server);
    carry_out(&writes, &after, &settled(&after)).await.unwrap();
    assert!(server.take_seen().is_empty());

    // Times are finer in memory than on the wire. That alone is no difference.
    let mut finer = settled(&after);
    let issued = &mut finer.host_status.directives[0].issued_at;
    *issued = Time(issued.0 + SignedDuration::from_nanos(1));
    carry_out(&writes, &after, &finer).await.unwrap();
    assert!(server.take_seen().is_empty());
}

#[tokio::test]
async fn of_two_leaders_only_one_records() {
    let server = cluster().await;
    let view = view(&server);
    let plan = start(&view);
    let ((one, _), (other, _)) = (writes(&server), writes(&server));
    carry_out(&one, &view, &plan).await.unwrap();
    server.take_seen();
    let error = carry_out(&other, &view, &plan).await.unwrap_err();
    assert!(
        matches!(error, RecordError::Write(WriteError::Conflict(_))),
        "{error}"
    );
    assert_eq!(server.take_seen().len(), 1, "a lost race stops at once");
    let directives = server.object("dpuhosts/h")["status"]["directives"].clone();
    assert_eq!(directives.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_record_lost_in_the_last_moment_tells_nobody() {
    let server = cluster().await;
    let mut stale = view(&server);
    let (writes, metrics) = writes(&server);
    // Protected already, so that the record is the first write; and outdated.
    stale.host.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    stale.cards[0].dpu.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    stale.host.metadata.resource_version = Some("9".to_owned());
    let error = carry_out(&writes, &stale, &start(&stale))
        .await
        .unwrap_err();
    assert!(
        matches!(error, RecordError::Write(WriteError::Conflict(_))),
        "{error}"
    );
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    assert_eq!(lines, ["POST serviceaccounts", "PATCH dpuhosts/h/status"]);
    assert_eq!(server.object("dpuhosts/h")["status"], Value::Null);
    assert_eq!(metrics.writes("DpuHost", "record"), 0);
}

#[tokio::test]
async fn a_cache_older_than_our_own_write_is_not_planned_from() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    assert!(writes.caught_up(&before.host) && writes.caught_up(&before.cards[0].dpu));
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    assert!(!writes.caught_up(&before.host) && !writes.caught_up(&before.cards[0].dpu));
    let after = view(&server);
    assert!(writes.caught_up(&after.host) && writes.caught_up(&after.cards[0].dpu));
    // A namesake that was created meanwhile is another object.
    carry_out(&writes, &after, &start(&after)).await.unwrap();
    let mut namesake = before.host;
    namesake.metadata.uid = Some("another".to_owned());
    assert!(writes.caught_up(&namesake));
}

#[tokio::test]
async fn what_a_newer_release_wrote_stays_in_the_record() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    server.write("dpuhosts/h", |host| {
        host["status"]["newer"] = json!({"field": 1});
    });
    let after = view(&server);
    let mut plan = settled(&after);
    plan.host_status.message = Some("another word".to_owned());
    carry_out(&writes, &after, &plan).await.unwrap();
    let status = server.object("dpuhosts/h")["status"].clone();
    assert_eq!(status["newer"], json!({"field": 1}));
    assert_eq!(status["message"], "another word");
}

#[tokio::test]
async fn what_is_undone_is_let_go_after_its_last_word() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    server.take_seen();
    let after = view(&server);
    let mut plan = settled(&after);
    plan.host_status.directives.clear();
    plan.finalizers = Finalizers::default();
    carry_out(&writes, &after, &plan).await.unwrap();
    let seen = server.take_seen();
    let lines: Vec<String> = seen.iter().map(Seen::line).collect();
    assert_eq!(
        lines,
        [
            "PATCH dpuhosts/h/status",
            "PATCH dpus/c",
            "PATCH dpuhosts/h"
        ]
    );
    assert_eq!(seen[0].query, "&fieldManager=lockstep-conclude");
    assert_eq!(
        server.object("dpuhosts/h")["metadata"]["finalizers"],
        json!([])
    );
}

fn tainting(effect: Option<TaintEffect>) -> Vec<NodeTaint> {
    vec![NodeTaint {
        node: "n".to_owned(),
        effect,
    }]
}

#[tokio::test]
async fn a_node_follows_the_record_and_is_cleared_before_its_host_is_let_go() {
    let server = cluster().await;
    let (writes, metrics) = writes(&server);
    let other = json!({"key": "dedicated", "value": "x", "effect": "NoSchedule"});
    server.write("nodes/n", |node| {
        *node = json!({"metadata": {"name": "n"}, "spec": {"taints": [other.clone()]}});
    });
    let before = view(&server);
    let mut plan = start(&before);
    plan.taints = tainting(Some(TaintEffect::NoExecute));
    carry_out(&writes, &before, &plan).await.unwrap();
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    assert_eq!(
        lines[3..6],
        ["PATCH dpuhosts/h/status", "GET nodes/n", "PATCH nodes/n"]
    );
    let ours = json!({"key": HELD_TAINT, "value": "uid-DpuHost-h", "effect": "NoExecute"});
    assert_eq!(
        server.object("nodes/n")["spec"]["taints"],
        json!([other.clone(), ours])
    );
    assert_eq!(metrics.writes("Node", "taint"), 1);

    // A cache that does not show it yet costs a read and no write.
    let after = view(&server);
    let mut same = settled(&after);
    same.taints = tainting(Some(TaintEffect::NoExecute));
    carry_out(&writes, &after, &same).await.unwrap();
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    assert_eq!(lines, ["GET dpuhosts/h", "GET nodes/n"]);

    let mut end = settled(&after);
    end.host_status.directives.clear();
    end.taints = tainting(None);
    end.finalizers = Finalizers::default();
    carry_out(&writes, &after, &end).await.unwrap();
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    assert_eq!(
        lines,
        [
            "PATCH dpuhosts/h/status",
            "GET nodes/n",
            "PATCH nodes/n",
            "PATCH dpus/c",
            "PATCH dpuhosts/h"
        ]
    );
    assert_eq!(server.object("nodes/n")["spec"]["taints"], json!([other]));
}

#[tokio::test]
async fn no_node_follows_a_record_that_another_leader_has_replaced() {
    let server = cluster().await;
    let (writes, metrics) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    let old = view(&server);
    let taint = json!({"key": HELD_TAINT, "value": "uid-DpuHost-h", "effect": "NoSchedule"});
    for (taints, effect) in [
        (json!([]), Some(TaintEffect::NoExecute)),
        (json!([taint]), None),
    ] {
        server.write("nodes/n", |node| {
            *node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints.clone()}});
        });
        server.write("dpuhosts/h", |host| host["status"]["seq"] = json!(7));
        let mut plan = settled(&old);
        plan.taints = tainting(effect);
        let error = carry_out(&writes, &old, &plan).await.unwrap_err();
        assert!(
            matches!(error, RecordError::Write(WriteError::Conflict(_))),
            "{error}"
        );
        assert_eq!(server.object("nodes/n")["spec"]["taints"], taints);
    }
    assert_eq!(metrics.writes("Node", "taint"), 0);
}

#[tokio::test]
async fn a_host_whose_node_cannot_be_cleared_is_not_let_go() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    let after = view(&server);
    let mut end = settled(&after);
    end.taints = tainting(Some(TaintEffect::NoExecute));
    end.finalizers = Finalizers::default();
    let error = carry_out(&writes, &after, &end).await.unwrap_err();
    assert!(
        matches!(error, RecordError::Write(WriteError::Gone(_))),
        "there is no such Node: {error}"
    );
    assert_eq!(
        server.object("dpuhosts/h")["metadata"]["finalizers"],
        json!([FINALIZER])
    );
    // One that is gone has no taint to be taken away.
    end.taints = tainting(None);
    carry_out(&writes, &view(&server), &end).await.unwrap();
    assert_eq!(
        server.object("dpuhosts/h")["metadata"]["finalizers"],
        json!([])
    );
}

#[tokio::test]
async fn nothing_is_begun_for_what_cannot_be_protected() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let mut view = view(&server);
    view.cards[0].dpu.metadata.deletion_timestamp = Some(Time(at(0)));
    let error = carry_out(&writes, &view, &start(&view)).await.unwrap_err();
    assert!(matches!(error, RecordError::TooLate(_)), "{error}");
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    assert_eq!(lines, ["PATCH dpuhosts/h"], "no record");
}

#[tokio::test]
async fn a_shown_start_makes_no_identity() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let view = view(&server);
    let mut plan = start(&view);
    plan.host_status = view.host.status.clone().unwrap_or_default();
    plan.finalizers = Finalizers::default();
    carry_out(&writes, &view, &plan).await.unwrap();
    let seen = server.take_seen();
    assert!(
        seen.iter()
            .all(|seen| !seen.path.starts_with("serviceaccounts")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_identity_of_an_earlier_namesake_is_not_taken_over() {
    let earlier = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "xpu-c", "namespace": SITE, "ownerReferences": [
            {"apiVersion": "a/v1", "kind": "Dpu", "name": "c", "uid": "earlier"},
        ]},
    });
    let server = ApiServer::start([("serviceaccounts/xpu-c", earlier)]).await;
    let (writes, _) = writes(&server);
    let error = writes.account(&card("c", "h")).await.unwrap_err();
    assert!(matches!(error, WriteError::ForeignAccount(_)), "{error}");
}

#[tokio::test]
async fn the_identity_of_a_retired_card_ends_before_its_status_says_so() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let view = view(&server);
    writes.account(&view.cards[0].dpu).await.unwrap();
    server.take_seen();
    let mut plan = settled(&view);
    plan.withdrawn_accounts = vec!["c".to_owned()];
    plan.cards[0].1.phase = Some(Phase::Retired);
    carry_out(&writes, &view, &plan).await.unwrap();
    let lines: Vec<String> = server.take_seen().iter().map(Seen::line).collect();
    let place = |line: &str| lines.iter().position(|seen| seen == line);
    let (gone, told) = (
        place("DELETE serviceaccounts/xpu-c"),
        place("PATCH dpus/c/status"),
    );
    assert!(gone.is_some() && gone < told, "{lines:?}");
    // Once more, as after a crash between the two: nothing is there.
    writes.withdraw_account(&view.cards[0].dpu).await.unwrap();

    let earlier = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "xpu-c", "namespace": SITE, "ownerReferences": [
            {"apiVersion": "a/v1", "kind": "Dpu", "name": "c", "uid": "another"},
        ]},
    });
    let server = ApiServer::start([("serviceaccounts/xpu-c", earlier)]).await;
    let (writes, _) = self::writes(&server);
    writes.withdraw_account(&card("c", "h")).await.unwrap();
    assert_eq!(
        server.object("serviceaccounts/xpu-c")["metadata"]["name"],
        "xpu-c"
    );
}

#[tokio::test]
async fn no_identity_is_taken_by_a_record_that_another_leader_has_replaced() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    let before = view(&server);
    carry_out(&writes, &before, &start(&before)).await.unwrap();
    let old = view(&server);
    // The card is in use again, and the other leader has begun an install.
    server.write("dpuhosts/h", |host| host["status"]["seq"] = json!(7));
    let mut plan = settled(&old);
    plan.withdrawn_accounts = vec!["c".to_owned()];
    let error = carry_out(&writes, &old, &plan).await.unwrap_err();
    assert!(
        matches!(error, RecordError::Write(WriteError::Conflict(_))),
        "{error}"
    );
    assert_eq!(
        server.object("serviceaccounts/xpu-c")["metadata"]["name"],
        "xpu-c"
    );
}

#[tokio::test]
async fn an_identity_that_was_revoked_is_made_again_for_the_next_install() {
    let server = cluster().await;
    let (writes, _) = writes(&server);
    writes.account(&card("c", "h")).await.unwrap();
    writes.account(&card("c", "h")).await.unwrap();
    server.remove("serviceaccounts/xpu-c");
    writes.account(&card("c", "h")).await.unwrap();
    assert_eq!(
        server.object("serviceaccounts/xpu-c")["metadata"]["name"],
        "xpu-c"
    );
}

#[tokio::test]
async fn a_server_that_drops_what_it_does_not_know_is_found_out() {
    let server = cluster().await;
    server.prunes("seq");
    let (writes, _) = writes(&server);
    let view = view(&server);
    let error = carry_out(&writes, &view, &start(&view)).await.unwrap_err();
    assert!(error.to_string().contains("lockstep-crds"), "{error}");
    assert!(
        server
            .take_seen()
            .iter()
            .all(|seen| seen.line() != "POST events")
    );
}
