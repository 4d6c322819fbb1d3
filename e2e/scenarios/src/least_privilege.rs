//! What the ServiceAccounts of operator and agents may do, and what they may not: asked of the API
//! server, by impersonation.

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
    may_not(OPERATOR, "create", "dpureports", "", NAMESPACE),
    may_not(OPERATOR, "delete", "dpus", "", NAMESPACE),
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
    Ok(QUESTIONS.len())
}

/// Tries what only admission can refuse: roles know no names. Needs the report `theirs`.
///
/// # Errors
/// When something is let through, or refused in other words.
pub async fn check_admission(plane: &ControlPlane, theirs: &str) -> Result<()> {
    let patch = r#"{"metadata":{"annotations":{"posing":"yes"}}}"#;
    let report = format!("dpureport/{theirs}");
    let attempts: [(&str, &[&str], &str); 3] = [
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
