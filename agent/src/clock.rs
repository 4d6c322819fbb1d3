//! Wall-clock time as Kubernetes writes it, and jitter.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// Now, in whole seconds: what is written reads back as the same value.
pub fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Now, as Leases write it.
pub fn micro_now() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// `base` with up to `percent` per cent added or taken away.
pub fn jittered(base: Duration, percent: u32) -> Duration {
    let spread = f64::from(percent.min(100)) / 100.0;
    base.mul_f64(rand::random_range(1.0 - spread..=1.0 + spread))
}

/// The pause after the `failures`th failure in a row: doubling from `first`
/// up to `longest`, then between half and all of that.
pub fn backoff(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(longest).mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_time_reads_back_as_the_same() {
        let time = now();
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time);
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        for (failures, most) in [(1, 1), (3, 4), (7, 60), (500, 60)] {
            let pause = backoff(failures, first, longest);
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{failures}: {pause:?}");
        }
    }
}
