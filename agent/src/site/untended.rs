//! What is said of a machine that cannot be looked after.
//!
//! Its report would otherwise go on saying what was true when it was last
//! looked at, and directives would be planned that nobody is there to accept.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use lockstep_crds::condition;
use lockstep_crds::report::Reachability;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::report::{Cause, ReportError, ReportWriter};
use crate::site::context::Site;
use crate::site::machine::{MachineKey, Untended};

/// The first pause after a failed write, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Says it once, in a report that exists; tries until `ending`.
pub(super) async fn tell(
    site: Arc<Site>,
    key: MachineKey,
    untended: Untended,
    ending: CancellationToken,
) {
    let api = Api::namespaced(site.client.clone(), &site.config.namespace);
    let mut writer = ReportWriter::new(api, key.report(), Some(key.owner(&untended.uid)));
    let mut failures = 0_u32;
    while !ending.is_cancelled() {
        match write(&mut writer, &untended).await {
            Ok(true) => {
                tracing::warn!(machine = %key, reason = untended.refusal.reason, "not looked after: {}", untended.refusal.message);
                site.metrics.wrote(Cause::Facts.manager());
                return;
            }
            Ok(false) => return,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(machine = %key, "{error}");
            }
        }
        tokio::select! {
            () = ending.cancelled() => {}
            () = tokio::time::sleep(clock::backoff(failures, PAUSES.0, PAUSES.1)) => {}
        }
    }
}

/// Tells whether it wrote. A machine without a report has never been reached,
/// and nobody relies on it.
async fn write(writer: &mut ReportWriter, untended: &Untended) -> Result<bool, ReportError> {
    let known = writer.read().await?;
    let Some(mut spec) = known
        .filter(|known| known.subject_uid == untended.uid)
        .cloned()
    else {
        return Ok(false);
    };
    let refusal = &untended.refusal;
    let is_told = |said: &Reachability| !said.ok && said.reason.as_ref() == Some(&refusal.reason);
    if spec.reachable.as_ref().is_some_and(is_told) {
        return Ok(false);
    }
    let now = clock::now();
    spec.observed_at = now.clone();
    spec.reachable = Some(Reachability {
        ok: false,
        since: now,
        reason: Some(refusal.reason.clone()),
        message: Some(condition::truncated(&refusal.message)),
    });
    writer.write(&spec, Cause::Facts).await
}
