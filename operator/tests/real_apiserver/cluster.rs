//! The objects in the cluster, as the test looks at them and writes them.

use std::path::PathBuf;

use lockstep_cluster::{Kubectl, Look, eventually};
use serde_json::Value;

use crate::{SITE_AGENT, SOON};

/// The administrator's view of the site.
pub(crate) struct Cluster {
    pub(crate) admin: Kubectl,
    pub(crate) folder: PathBuf,
}

impl Cluster {
    pub(crate) async fn object(&self, what: &str) -> Value {
        let args = ["-n", "site-lab", "get", what, "-o", "json"];
        serde_json::from_str(&self.admin.run(&args).await.unwrap()).unwrap()
    }

    /// Waits until an object's condition has that status and reason.
    pub(crate) async fn condition(&self, what: &str, type_: &str, status: &str, reason: &str) {
        eventually(
            SOON,
            format!("{what} has {type_}={status}, {reason}"),
            || async {
                let object = self.object(what).await;
                let conditions = object["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let found = conditions.iter().any(|condition| {
                    condition["type"] == type_
                        && condition["status"] == status
                        && condition["reason"] == reason
                });
                if found {
                    Look::Holds(())
                } else {
                    Look::not_yet(object["status"].to_string())
                }
            },
        )
        .await
        .unwrap();
    }

    /// Changes an object as a person does.
    pub(crate) async fn change(&self, what: &str, change: &Value) {
        let change = change.to_string();
        let patch = [
            "-n",
            "site-lab",
            "patch",
            what,
            "--type=merge",
            "-p",
            &change,
        ];
        self.admin.run(&patch).await.unwrap();
    }

    /// Writes an object as the site's agent.
    pub(crate) async fn report(&self, object: &Value) {
        let file = self.folder.join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let apply = [
            "--as",
            SITE_AGENT,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            file,
        ];
        self.admin.run(&apply).await.unwrap();
    }
}
