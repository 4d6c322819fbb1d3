//! Reports are written a few at a time, and every one as it was wanted last.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::report::Vantage;
use tokio::time::Instant;

use super::super::telling::{Telling, Write};
use crate::fake_api::FakeApi;

fn report(id: &str, version: &str) -> DpuReportSpec {
    let at = Time(Timestamp::UNIX_EPOCH);
    DpuReportSpec::new(Vantage::FoundBmc, id, version, at)
}

fn begun(telling: &mut Telling, now: Instant) -> Vec<Write> {
    std::iter::from_fn(|| telling.next(now)).collect()
}

async fn end(telling: &mut Telling, writes: Vec<Write>, now: Instant) {
    for write in writes {
        telling.written(write.perform().await, now);
    }
}

#[tokio::test]
async fn a_report_that_changed_twice_while_it_waited_is_written_once_and_again_later() {
    let api = FakeApi::default();
    let mut telling = Telling::new(&api.client(), "site");
    let begin = Instant::now();
    let second = |number| begin + Duration::from_secs(number);
    for number in 0..8 {
        telling.want(report(&number.to_string(), "1"), begin);
    }
    let first = begun(&mut telling, begin);
    assert_eq!(first.len(), 8);
    telling.want(report("late", "1"), second(1));
    telling.want(report("late", "2"), second(2));
    end(&mut telling, first, second(3)).await;
    let told = || {
        let report = api.get("dpureports/bmc-found-late").unwrap();
        report["spec"]["agentVersion"].clone()
    };
    let writes = begun(&mut telling, second(3));
    assert_eq!(writes.len(), 1);
    end(&mut telling, writes, second(3)).await;
    assert_eq!(told(), "2");
    assert_eq!(telling.wake(), None);
    telling.want(report("late", "3"), second(60));
    let writes = begun(&mut telling, second(60));
    end(&mut telling, writes, second(60)).await;
    assert_eq!(told(), "3");
}
