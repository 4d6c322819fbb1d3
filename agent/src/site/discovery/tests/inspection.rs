//! A machine of which somebody wants to know anew what it is made of.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inspection::Inspected;
use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use super::fleet::{Manner, bench, range, system, until};
use crate::site::attended::Attendance;

const MINUTE: Duration = Duration::from_secs(60);

fn asked(second: i64) -> Inspected {
    Inspected {
        host_uid: "uid-h".to_owned(),
        asked_at: Time(jiff::Timestamp::from_second(second).unwrap()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_read_at_once_where_an_inspection_asks_for_it() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    // Its worker vouches for it, so that the search need not look.
    let attendance = Attendance {
        at: Instant::now(),
        pin: Some(SpkiPin::of(b"key of SN-1")),
        machine: None,
        service: None,
    };
    bench.means.site.attended.saw(key, attendance);
    let answers = |second: i64| {
        let told = bench.found("SN-1").unwrap();
        let wanted = format!("1970-01-01T00:00:{second:02}Z");
        told["inspected"]["askedAt"] == wanted
    };
    let identity = system("SN-1", 0).identity;
    let wants = |second| {
        let inventories = &bench.means.site.inventories;
        inventories.want(&identity, &asked(second));
    };
    let reads = bench.fleet.calls("explore").len();
    wants(1);
    until(MINUTE / 10, "it is read", || answers(1)).await;
    assert_eq!(bench.fleet.calls("explore").len(), reads + 1);
    // While it is read something else is asked for: what is being read does not answer that.
    wants(2);
    until(MINUTE / 10, "it is being read", || {
        bench.fleet.calls("explore").len() == reads + 2
    })
    .await;
    wants(3);
    until(MINUTE / 10, "it is read again", || answers(3)).await;
    assert_eq!(bench.fleet.calls("explore").len(), reads + 3);
    // What fails is tried again, and nothing is answered meanwhile.
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Refuses);
    wants(4);
    tokio::time::sleep(MINUTE).await;
    assert!(answers(3));
    bench.fleet.change(key, |bmc| bmc.manner = Manner::Answers);
    until(20 * MINUTE, "it is read at last", || answers(4)).await;
    // A machine that nobody found is nobody's to read.
    let inventories = &bench.means.site.inventories;
    inventories.want(&system("SN-9", 0).identity, &asked(5));
    tokio::time::sleep(MINUTE).await;
    assert!(answers(4));
    search.end().await;
}
