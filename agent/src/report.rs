//! One `DpuReport` and its only writer.
//!
//! A report is created once and then changed by merge patches that carry the
//! resourceVersion they were made for: a patch lands on what this writer last
//! saw, or not at all. Equal content is never written. After any failure the
//! report is read again before the next write, because a failed write may
//! have landed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use lockstep_crds::{DpuReport, DpuReportSpec};
use serde_json::{Map, Value, json};

use crate::kube_client::{REQUEST_DEADLINE, said};

/// Why a report is written; the field manager of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Facts changed.
    Facts,
    /// A directive is accepted, before its effect.
    Accept,
    /// A directive ended.
    Outcome,
}

impl Cause {
    /// The field manager.
    pub fn manager(self) -> &'static str {
        match self {
            Self::Facts => "lockstep-agent/report",
            Self::Accept => "lockstep-agent/accept",
            Self::Outcome => "lockstep-agent/outcome",
        }
    }
}

/// A report was not written. It may have been, unless it is a conflict.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Somebody else changed it; nothing was written.
    #[error("report {0} was changed by somebody else")]
    Conflict(String),
    /// It was there and is not any more; nothing was written.
    #[error("report {0} was deleted")]
    Deleted(String),
    /// No answer in time.
    #[error("the API server gave no answer about report {0}")]
    NoAnswer(String),
    /// The API server's refusal, or no connection.
    #[error("report {name}: {}", said(cause))]
    Api {
        /// The report.
        name: String,
        /// What the client said.
        cause: Box<kube::Error>,
    },
}

#[derive(Debug)]
enum Current {
    Unread,
    Absent,
    Present {
        version: String,
        owners: Vec<OwnerReference>,
        spec: Box<DpuReportSpec>,
    },
}

/// What is done about a report that does not exist.
#[derive(Clone, Copy, Debug)]
enum IfAbsent {
    Make,
    Tell,
}

/// The only writer of one report.
#[derive(Debug)]
pub struct ReportWriter {
    api: Api<DpuReport>,
    name: String,
    owner: Option<OwnerReference>,
    current: Current,
}

impl ReportWriter {
    /// A writer; nothing is read yet. With `owner`, Kubernetes removes the
    /// report together with that object.
    pub fn new(api: Api<DpuReport>, name: String, owner: Option<OwnerReference>) -> Self {
        Self {
            api,
            name,
            owner,
            current: Current::Unread,
        }
    }

    /// A writer of a report as it was just read; nobody owns it.
    pub fn knowing(api: Api<DpuReport>, report: DpuReport) -> Self {
        let name = report.metadata.name.clone().unwrap_or_default();
        let mut writer = Self::new(api, name, None);
        writer.keep(Some(report));
        writer
    }

    /// The report's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the API server holds, as far as this writer knows.
    pub fn known(&self) -> Option<&DpuReportSpec> {
        match &self.current {
            Current::Present { spec, .. } => Some(spec),
            Current::Unread | Current::Absent => None,
        }
    }

    /// The resourceVersion of that; `None` if it does not exist or nothing is known of it.
    pub fn version(&self) -> Option<&str> {
        match &self.current {
            Current::Present { version, .. } => Some(version),
            Current::Unread | Current::Absent => None,
        }
    }

    /// It was changed or deleted: it is read again before the next write.
    pub fn forget(&mut self) {
        self.current = Current::Unread;
    }

    /// Reads the report from the API server.
    pub async fn read(&mut self) -> Result<Option<&DpuReportSpec>, ReportError> {
        self.current = Current::Unread;
        let found = self.bounded(self.api.get_opt(&self.name)).await?;
        self.keep(found);
        Ok(self.known())
    }

    /// Writes `spec`, unless the report says just that. Tells whether it wrote. A report that
    /// does not exist is made.
    pub async fn write(&mut self, spec: &DpuReportSpec, cause: Cause) -> Result<bool, ReportError> {
        self.read_and_write(spec, cause, IfAbsent::Make).await
    }

    /// The same for a report that was there: that somebody deleted it is told and not undone.
    pub async fn change(
        &mut self,
        spec: &DpuReportSpec,
        cause: Cause,
    ) -> Result<bool, ReportError> {
        self.read_and_write(spec, cause, IfAbsent::Tell).await
    }

    async fn read_and_write(
        &mut self,
        spec: &DpuReportSpec,
        cause: Cause,
        if_absent: IfAbsent,
    ) -> Result<bool, ReportError> {
        if matches!(self.current, Current::Unread) {
            self.read().await?;
        }
        let written = self.try_write(spec, cause, if_absent).await;
        if written.is_err() {
            self.current = Current::Unread;
        }
        written
    }

    async fn try_write(
        &mut self,
        spec: &DpuReportSpec,
        cause: Cause,
        if_absent: IfAbsent,
    ) -> Result<bool, ReportError> {
        if let Current::Present {
            version,
            owners,
            spec: known,
        } = &self.current
        {
            let wanted_owners = self.owners();
            if **known == *spec && *owners == wanted_owners {
                return Ok(false);
            }
            let mut metadata = json!({"resourceVersion": version});
            if *owners != wanted_owners {
                metadata["ownerReferences"] = json!(wanted_owners);
            }
            let patch = json!({
                "metadata": metadata,
                "spec": difference(&json!(known), &json!(spec)),
            });
            let params = PatchParams {
                field_manager: Some(cause.manager().to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::Merge(patch);
            match self
                .bounded(self.api.patch(&self.name, &params, &patch))
                .await
            {
                Ok(found) => {
                    self.keep(Some(found));
                    return Ok(true);
                }
                Err(ReportError::Api { cause, .. }) if is_not_found(&cause) => {}
                Err(error) => return Err(error),
            }
        }
        match if_absent {
            IfAbsent::Tell => return Err(ReportError::Deleted(self.name.clone())),
            IfAbsent::Make => {}
        }
        let report = DpuReport {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: spec.clone(),
        };
        let params = PostParams {
            field_manager: Some(cause.manager().to_owned()),
            ..PostParams::default()
        };
        let found = self.bounded(self.api.create(&params, &report)).await?;
        self.keep(Some(found));
        Ok(true)
    }

    fn owners(&self) -> Vec<OwnerReference> {
        self.owner.clone().into_iter().collect()
    }

    fn keep(&mut self, found: Option<DpuReport>) {
        self.current = match found {
            None => Current::Absent,
            Some(report) => Current::Present {
                version: report.metadata.resource_version.unwrap_or_default(),
                owners: report.metadata.owner_references.unwrap_or_default(),
                spec: Box::new(report.spec),
            },
        };
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ReportError> {
        match tokio::time::timeout(REQUEST_DEADLINE, call).await {
            Err(_) => Err(ReportError::NoAnswer(self.name.clone())),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                Err(ReportError::Conflict(self.name.clone()))
            }
            Ok(Err(cause)) => Err(ReportError::Api {
                name: self.name.clone(),
                cause: Box::new(cause),
            }),
        }
    }
}

/// Whether the API server says that it does not exist. Anything on the way may say 404.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "NotFound")
}

/// The JSON merge patch that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), difference(before, value));
            }
            Some(_) | None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;

    #[test]
    fn a_difference_holds_what_changed_and_null_for_what_went() {
        let old = json!({"a": 1, "b": {"c": 2, "d": [1, 2], "gone": true}, "gone": {"x": 1}});
        let new = json!({"a": 1, "b": {"c": 3, "d": [2]}, "new": {"y": 1}});
        assert_eq!(
            difference(&old, &new),
            json!({"b": {"c": 3, "d": [2], "gone": null}, "gone": null, "new": {"y": 1}})
        );
        assert_eq!(difference(&new, &new), json!({}));
    }

    fn spec(subject: &str) -> DpuReportSpec {
        serde_json::from_value(json!({
            "vantage": "Site", "subject": subject, "agentVersion": "1",
            "observedAt": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn equal_content_is_not_written_and_a_stranger_is_noticed() {
        let api = FakeApi::default();
        let reports = Api::namespaced(api.client(), "site");
        let mut writer = ReportWriter::new(reports, "site-s".to_owned(), None);
        assert!(writer.write(&spec("a"), Cause::Facts).await.unwrap());
        assert!(!writer.write(&spec("a"), Cause::Facts).await.unwrap());
        assert!(writer.write(&spec("b"), Cause::Outcome).await.unwrap());
        let mut other = api.get("dpureports/site-s").unwrap();
        other["spec"]["subject"] = json!("c");
        api.put("dpureports/site-s", other);
        let conflict = writer.write(&spec("d"), Cause::Accept).await;
        assert!(matches!(conflict, Err(ReportError::Conflict(_))));
        assert_eq!(writer.read().await.unwrap().unwrap().subject, "c");
        assert!(writer.write(&spec("d"), Cause::Facts).await.unwrap());
        api.remove("dpureports/site-s");
        assert!(writer.write(&spec("e"), Cause::Facts).await.unwrap());
        assert_eq!(api.writes().len(), 4);
    }
}
