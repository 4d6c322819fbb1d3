//! The API server, asked as somebody: what it allows, and which policy refuses what.

use lockstep_cluster::Kubectl;
use serde_json::Value;

use crate::NAMESPACE;

pub(crate) struct Cluster {
    pub(crate) kubectl: Kubectl,
}

impl Cluster {
    /// kubectl as somebody else.
    pub(crate) async fn run(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["--as", user, "-n", NAMESPACE];
        all.extend(args);
        self.kubectl.run(&all).await.map_err(|e| format!("{e:#}"))
    }

    pub(crate) async fn write(
        &self,
        verb: &str,
        user: &str,
        object: &Value,
    ) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let mut args = vec![verb, "-f", file.to_str().unwrap()];
        if verb == "apply" {
            args.extend(["--server-side", "--force-conflicts"]);
        }
        self.run(user, &args).await
    }

    pub(crate) async fn allows(&self, verb: &str, user: &str, object: &Value) {
        if let Err(error) = self.write(verb, user, object).await {
            panic!("{user} must be allowed to {verb} {object}: {error}");
        }
    }

    /// Refused, and by this policy.
    pub(crate) async fn refuses(&self, policy: &str, verb: &str, user: &str, object: &Value) {
        let said = self.write(verb, user, object).await;
        is_refused(policy, &format!("{user} {verb} {object}"), said);
    }

    pub(crate) async fn refuses_call(&self, policy: &str, user: &str, args: &[&str]) {
        let said = self.run(user, args).await;
        is_refused(policy, &format!("{user} {args:?}"), said);
    }
}

pub(crate) fn is_refused(policy: &str, what: &str, said: Result<String, String>) {
    match said {
        Ok(said) => panic!("{what} must be refused: {said}"),
        // A policy that cannot be evaluated refuses, too, and tells nobody why.
        Err(said) => assert!(
            said.contains(&format!("ValidatingAdmissionPolicy '{policy}'"))
                && !said.contains("resulted in error"),
            "{what} must be refused by {policy}, with its own words: {said}"
        ),
    }
}
