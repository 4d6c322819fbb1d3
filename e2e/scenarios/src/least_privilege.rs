//! What the ServiceAccounts of operator and agents may do, and what they may not: asked of the API
//! server, by impersonation.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::ControlPlane;

use crate::objects::NAMESPACE;
use crate::world::OPERATOR_NAMESPACE;

/// One question to the authorizer.
struct Question {
    who: &'static str,
    verb: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'static str,
    allowed: bool,
}

const OPERATOR: &str = "system:serviceaccount:lockstep-system:lockstep-operator";
const SITE_AGENT: &str = "system:serviceaccount:site-a:lockstep-site-agent";
const CARD_AGENT: &str = "system:serviceaccount:site-a:xpu-card1";
const HOST_AGENT: &str = "system:serviceaccount:site-a-hosts:lockstep-host-agent";
/// Where the host agents run.
const HOSTS: &str = "site-a-hosts";

const fn may(
    who: &'static str,
    verb: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'static str,
) -> Question {
    Question {
        who,
        verb,
        resource,
        subresource,
        namespace,
        allowed: true,
    }
}

const fn may_not(
    who: &'static str,
    verb: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'static str,
) -> Question {
    Question {
        allowed: false,
        ..may(who, verb, resource, subresource, namespace)
    }
}

const QUESTIONS: &[Question] = &[
    may(OPERATOR, "update", "dpuhosts", "status", NAMESPACE),
    may(OPERATOR, "list", "dpureports", "", NAMESPACE),
    may_not(OPERATOR, "get", "secrets", "", NAMESPACE),
    may_not(OPERATOR, "get", "secrets", "", OPERATOR_NAMESPACE),
    may_not(OPERATOR, "list", "secrets", "", NAMESPACE),
    may_not(OPERATOR, "create", "serviceaccounts", "token", NAMESPACE),
    // Those of cards; admission keeps it from the others.
    may(OPERATOR, "delete", "serviceaccounts", "", NAMESPACE),
    may_not(OPERATOR, "create", "dpureports", "", NAMESPACE),
    // Those that it proposed; admission keeps it from the others.
    may(OPERATOR, "delete", "dpus", "", NAMESPACE),
    may_not(OPERATOR, "delete", "dpuimages", "", NAMESPACE),
    may_not(OPERATOR, "create", "pods", "", OPERATOR_NAMESPACE),
    may_not(OPERATOR, "create", "rolebindings", "", NAMESPACE),
    may(SITE_AGENT, "get", "secrets", "", NAMESPACE),
    may(SITE_AGENT, "create", "dpureports", "", NAMESPACE),
    may_not(SITE_AGENT, "list", "secrets", "", NAMESPACE),
    may_not(SITE_AGENT, "get", "secrets", "", OPERATOR_NAMESPACE),
    may_not(SITE_AGENT, "get", "secrets", "", "default"),
    may_not(SITE_AGENT, "update", "dpus", "status", NAMESPACE),
    may_not(SITE_AGENT, "patch", "dpuhosts", "status", NAMESPACE),
    may_not(SITE_AGENT, "delete", "dpureports", "", NAMESPACE),
    may_not(SITE_AGENT, "create", "pods", "", NAMESPACE),
    may(CARD_AGENT, "update", "dpureports", "", NAMESPACE),
    may_not(CARD_AGENT, "get", "secrets", "", NAMESPACE),
    may_not(CARD_AGENT, "get", "dpuhosts", "", NAMESPACE),
    may_not(CARD_AGENT, "list", "dpureports", "", NAMESPACE),
    may_not(CARD_AGENT, "update", "dpus", "status", NAMESPACE),
    may_not(CARD_AGENT, "create", "serviceaccounts", "token", NAMESPACE),
    may_not(CARD_AGENT, "get", "dpureports", "", "default"),
    may(HOST_AGENT, "patch", "dpureports", "", NAMESPACE),
    may(HOST_AGENT, "create", "leases", "", NAMESPACE),
    may_not(HOST_AGENT, "get", "secrets", "", NAMESPACE),
    may_not(HOST_AGENT, "get", "secrets", "", HOSTS),
    may_not(HOST_AGENT, "list", "dpureports", "", NAMESPACE),
    may_not(HOST_AGENT, "delete", "dpureports", "", NAMESPACE),
    may_not(HOST_AGENT, "create", "dpureports", "", HOSTS),
    may_not(HOST_AGENT, "create", "leases", "", OPERATOR_NAMESPACE),
    may_not(HOST_AGENT, "get", "dpuhosts", "", NAMESPACE),
    may_not(HOST_AGENT, "create", "pods", "", HOSTS),
    may_not(HOST_AGENT, "get", "pods", "", HOSTS),
    may_not(HOST_AGENT, "get", "nodes", "", HOSTS),
    may_not(HOST_AGENT, "create", "serviceaccounts", "token", HOSTS),
];

/// All that the host agent may do in the site's namespace; elsewhere it is nothing.
const OF_HOST_AGENT: [(&str, &str); 2] = [
    (
        "dpureports.provisioning.opiproject.org",
        "[create get patch]",
    ),
    ("leases.coordination.k8s.io", "[create get patch]"),
];

/// Asks every question; returns how many there were.
///
/// # Errors
/// With every answer that is not as it should be.
pub async fn check_roles(plane: &ControlPlane) -> Result<usize> {
    let mut wrong = Vec::new();
    for question in QUESTIONS {
        let Question {
            who,
            verb,
            resource,
            subresource,
            namespace,
            allowed,
        } = question;
        let subresource = format!("--subresource={subresource}");
        let output = plane
            .kubectl()
            .command(&["auth", "can-i", verb, resource, &subresource])
            .args(["--namespace", namespace, "--as", who])
            .output()
            .await
            .context("cannot run kubectl")?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let answer = answer.trim();
        ensure!(
            answer.starts_with("yes") || answer.starts_with("no"),
            "kubectl auth can-i: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if answer.starts_with("yes") != *allowed {
            wrong.push(format!(
                "{who} {verb} {resource} {subresource} in {namespace}: {answer}"
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "not as the roles should be:\n{}",
        wrong.join("\n")
    );
    for namespace in [NAMESPACE, HOSTS, OPERATOR_NAMESPACE, "default"] {
        let wanted: BTreeMap<String, String> = OF_HOST_AGENT
            .iter()
            .filter(|_| namespace == NAMESPACE)
            .map(|(resource, verbs)| ((*resource).to_owned(), (*verbs).to_owned()))
            .collect();
        let found = everything(plane, HOST_AGENT, namespace).await?;
        ensure!(
            found == wanted,
            "the host agent may do in {namespace}: {found:?}"
        );
    }
    Ok(QUESTIONS.len())
}

/// All that somebody may do in a namespace: verbs by resource. Everybody's questions about himself
/// and the addresses that tell of the API are left out.
async fn everything(
    plane: &ControlPlane,
    who: &str,
    namespace: &str,
) -> Result<BTreeMap<String, String>> {
    let args = ["auth", "can-i", "--list", "--no-headers", "--as", who];
    let listed = plane
        .kubectl()
        .run(&[&args[..], &["--namespace", namespace]].concat())
        .await?;
    let mut found = BTreeMap::new();
    for line in listed.lines().filter(|line| !line.starts_with(' ')) {
        let resource = line.split(' ').next().unwrap_or_default();
        if resource.starts_with("selfsubject") {
            continue;
        }
        // The last column; names and addresses before it are in brackets as well.
        let verbs = line.rfind('[').and_then(|from| line.get(from..));
        let mut verbs: Vec<&str> = verbs
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .split(' ')
            .collect();
        verbs.sort_unstable();
        found.insert(resource.to_owned(), format!("[{}]", verbs.join(" ")));
    }
    Ok(found)
}

/// Tries what only admission can refuse: roles know no names. Needs the reports `theirs`, of a BMC,
/// and `host`, of a host.
///
/// # Errors
/// When something is let through, or refused in other words.
pub async fn check_admission(plane: &ControlPlane, theirs: &str, host: &str) -> Result<()> {
    let patch = r#"{"metadata":{"annotations":{"posing":"yes"}}}"#;
    let report = format!("dpureport/{theirs}");
    let host = format!("dpureport/{host}");
    // As the API server tells of a Pod's token: the Pod of another node than that of the report.
    let elsewhere = "--as-user-extra=authentication.kubernetes.io/node-name=elsewhere";
    let annotate = |what| {
        let patch = ["patch", what, "--type=merge", "-p", patch];
        [&patch[..], &["--as", HOST_AGENT, elsewhere]].concat()
    };
    let (of_bmc, of_host) = (annotate(&report), annotate(&host));
    let attempts: [(&str, &[&str], &str); 6] = [
        (
            "the operator deletes a card that it did not propose",
            &["delete", "dpu/card1", "--dry-run=server", "--as", OPERATOR],
            "lockstep-proposed-dpus",
        ),
        (
            "a host agent writes the report of a BMC",
            &of_bmc,
            "written only by its own agent",
        ),
        (
            "a host agent writes the report of another node's host",
            &of_host,
            "(this one is of elsewhere)",
        ),
        (
            "a card's agent writes the report of a BMC",
            &[
                "patch",
                &report,
                "--type=merge",
                "-p",
                patch,
                "--as",
                CARD_AGENT,
            ],
            "written only by its own agent",
        ),
        (
            "the site agent asks for a token of its own",
            &["create", "token", "lockstep-site-agent", "--as", SITE_AGENT],
            "is not that of a card",
        ),
        (
            "a pod with no restrictions",
            &["run", "anything", "--image=anything", "--dry-run=server"],
            "violates PodSecurity",
        ),
    ];
    for (what, args, words) in attempts {
        let output = plane
            .kubectl()
            .command(args)
            .args(["--namespace", NAMESPACE])
            .output()
            .await
            .context("cannot run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{what}: it was let through");
        ensure!(
            said.contains(words),
            "{what}: refused, but not because of that: {said}"
        );
    }
    Ok(())
}
