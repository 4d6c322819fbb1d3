//! Figures for Prometheus. Those about objects are taken from the cache at the scrape.

use std::fmt::Error as EncodeError;
use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::Phase;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::world::World;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

type Seconds = Family<ControllerLabel, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0])
}

/// All figures; a cheap handle.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Seconds,
    decisions: Family<DecisionLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Family<KindLabel, Counter>,
    unreadable: Family<KindLabel, Counter>,
    dpus: Family<PhaseLabel, Gauge>,
    leader: Gauge,
    guards_intact: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lockstep");
        let mut metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(seconds),
            decisions: Family::default(),
            writes: Family::default(),
            watch_errors: Family::default(),
            unreadable: Family::default(),
            dpus: Family::default(),
            leader: Gauge::default(),
            guards_intact: Gauge::default(),
        };
        registry.register(
            "reconciles",
            "Reconciles by result",
            metrics.reconciles.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "Duration of reconciles, API calls included",
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "decisions",
            "Decisions about power domains by kind and reason",
            metrics.decisions.clone(),
        );
        registry.register(
            "writes",
            "Writes accepted by the API server, by kind and cause",
            metrics.writes.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed watches by kind",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Deliveries of objects that this release cannot read, by kind",
            metrics.unreadable.clone(),
        );
        registry.register("dpus", "Dpus by phase", metrics.dpus.clone());
        registry.register(
            "leader",
            "1 on the replica that reconciles",
            metrics.leader.clone(),
        );
        registry.register(
            "guards_intact",
            "1 while all admission guards are in place and unchanged",
            metrics.guards_intact.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    /// Counts a reconcile.
    pub fn reconciled(&self, controller: &'static str, result: &'static str, took: Duration) {
        self.reconciles
            .get_or_create(&ReconcileLabels { controller, result })
            .inc();
        let label = ControllerLabel { controller };
        self.reconcile_seconds
            .get_or_create(&label)
            .observe(took.as_secs_f64());
    }

    /// Counts a decision.
    pub fn decided(&self, decision: &'static str, reason: &'static str) {
        self.decisions
            .get_or_create(&DecisionLabels { decision, reason })
            .inc();
    }

    /// Counts an accepted write.
    pub fn wrote(&self, kind: &'static str, cause: &'static str) {
        self.writes
            .get_or_create(&WriteLabels { kind, cause })
            .inc();
    }

    /// How many writes of that kind and cause were accepted.
    pub fn writes(&self, kind: &'static str, cause: &'static str) -> u64 {
        self.writes
            .get_or_create(&WriteLabels { kind, cause })
            .get()
    }

    /// Counts a failed watch.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts an object that could not be read.
    pub fn unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&KindLabel { kind }).inc();
    }

    /// Says whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Everything, in the OpenMetrics text format.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn encode(&self, world: &World) -> Result<String, EncodeError> {
        self.guards_intact.set(i64::from(world.guards().intact()));
        // Phases that nobody is in any more must fall to zero, so all are set.
        for phase in Phase::KNOWN {
            self.phase(phase).set(0);
        }
        for dpu in world.readable_cards() {
            let phase = dpu.status.as_ref().and_then(|status| status.phase.as_ref());
            self.phase(phase.unwrap_or(&Phase::Discovered)).inc();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn phase(&self, phase: &Phase) -> Gauge {
        self.dpus.get_or_create_owned(&PhaseLabel {
            phase: phase.to_string(),
        })
    }
}
