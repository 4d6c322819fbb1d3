//! The BMC addresses over sushy-tools' fake systems: what they show, record and break.

mod redfish;

use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_lab::front::{Fault, Rule, TlsIdentity};
use lockstep_lab::{FakeBmcs, LabSpec, MachineSpec};
use redfish::Bmc;
use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

fn two() -> LabSpec {
    LabSpec::new([MachineSpec::card("card1"), MachineSpec::host("host1")])
}

#[tokio::test]
async fn each_bmc_shows_one_system_and_records_what_it_is_asked() -> Result<()> {
    let state = tempfile::tempdir()?;
    let bmcs = FakeBmcs::up(state.path(), &two()).await?;
    let front = bmcs.bmc("card1")?;
    let card = Bmc::new(front, bmcs.credentials())?;
    let other = Bmc::new(bmcs.bmc("host1")?, bmcs.credentials())?;

    for collection in ["Systems", "Managers"] {
        let list = card.get(&format!("/redfish/v1/{collection}")).await?;
        assert_eq!(list["Members@odata.count"], 1, "{list}");
    }
    let stranger = card.send(Method::GET, &other.system, None).await?;
    assert_eq!(stranger.status(), StatusCode::NOT_FOUND);
    let by_name = card
        .send(Method::GET, "/redfish/v1/Systems/card1", None)
        .await?;
    assert_eq!(by_name.status(), StatusCode::NOT_FOUND);
    assert!(front.changes().is_empty(), "reads change nothing");

    card.reset("On").await?;
    let on = front
        .wait_for("power on", SOON, |one| {
            one.reset_type().as_deref() == Some("On") && one.delivered
        })
        .await?;
    assert_eq!(on.status, Some(204));
    assert_eq!(front.changes().len(), 1);
    assert!(bmcs.bmc("host1")?.changes().is_empty());
    bmcs.down()
}

#[tokio::test]
async fn faults_strike_before_or_after_the_effect() -> Result<()> {
    let state = tempfile::tempdir()?;
    let bmcs = FakeBmcs::up(state.path(), &two()).await?;
    let front = bmcs.bmc("card1")?;
    let card = Bmc::new(front, bmcs.credentials())?;
    let boot = async || -> Result<String> {
        let system = card.get(&card.system).await?;
        let target = &system["Boot"]["BootSourceOverrideTarget"];
        Ok(target.as_str().context("no target")?.to_owned())
    };

    front.add_rule(Rule::on(Method::PATCH, "/Systems/", Fault::Drop).once());
    assert!(card.boot_from("Cd").await.is_err());
    let dropped = front.changes().pop().context("not recorded")?;
    assert!(!dropped.forwarded && dropped.status.is_none());
    assert_eq!(boot().await?, "Hdd", "nothing happened");

    front.add_rule(Rule::on(Method::PATCH, "/Systems/", Fault::DropReply).once());
    assert!(card.boot_from("Cd").await.is_err());
    let lost = front.changes().pop().context("not recorded")?;
    assert!(lost.forwarded && lost.status == Some(204) && !lost.delivered);
    assert_eq!(boot().await?, "Cd", "it happened");

    let refused = Fault::Answer {
        status: 401,
        body: "{}".to_owned(),
    };
    let rule = front.add_rule(Rule::all(refused));
    let answer = card.send(Method::GET, &card.system, None).await?;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    front.remove_rule(rule);

    front.add_rule(Rule::all(Fault::Garbage).once());
    let answer = card.send(Method::GET, &card.system, None).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.json::<serde_json::Value>().await.is_err());

    let Value::Object(more) = json!({"Model": "Example DPU", "PowerState": "Paused"}) else {
        anyhow::bail!("no members");
    };
    let rule = front.add_rule(Rule::on(Method::GET, "/Systems", Fault::Tells(more)));
    let system = card.get(&card.system).await?;
    assert_eq!(system["Model"], "Example DPU");
    assert_eq!(system["PowerState"], "Paused");
    assert_eq!(system["Boot"]["BootSourceOverrideTarget"], "Cd");
    let collection = card.get("/redfish/v1/Systems").await?;
    assert!(collection.get("Model").is_none(), "{collection}");
    front.remove_rule(rule);

    let fails = Fault::Fails {
        after: Duration::ZERO,
        status: 418,
    };
    let rule = front.add_rule(Rule::on(Method::GET, "/redfish", fails));
    let nothing = format!("{}/Nothing", card.system);
    let answer = card.send(Method::GET, &nothing, None).await?;
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    let answer = card.send(Method::GET, &card.system, None).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    front.remove_rule(rule);

    // A hanging request is seen by the test while it hangs, and ends with its rule.
    front.add_rule(Rule::on(Method::POST, "Reset", Fault::Hang));
    let (hung, ()) = tokio::join!(card.reset("On"), async {
        front
            .wait_for("a reset", SOON, |one| one.reset_type().is_some())
            .await
            .unwrap();
        front.clear_rules();
    });
    assert!(hung.is_err());
    bmcs.down()
}

#[tokio::test]
async fn connections_are_refused_and_come_back() -> Result<()> {
    let state = tempfile::tempdir()?;
    let bmcs = FakeBmcs::up(state.path(), &two()).await?;
    let card = Bmc::new(bmcs.bmc("card1")?, bmcs.credentials())?;
    card.boot_from("Cd").await?;

    bmcs.bmc("card1")?.refuse_connections(true);
    let refused = async {
        loop {
            match card.send(Method::GET, "/redfish/v1/", None).await {
                Err(error) if error.is_connect() => return,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, refused).await?;
    bmcs.bmc("card1")?.refuse_connections(false);
    let back = async { while card.get("/redfish/v1/").await.is_err() {} };
    tokio::time::timeout(SOON, back).await?;

    // The emulator dies and comes back with what it knew.
    bmcs.kill_emulator().await?;
    assert!(card.reset("On").await.is_err());
    let lost = bmcs.bmc("card1")?.changes().pop().context("not recorded")?;
    assert!(!lost.forwarded, "a dead BMC has no effects");
    bmcs.restart_emulator().await?;
    let system = card.get(&card.system).await?;
    assert_eq!(system["Boot"]["BootSourceOverrideTarget"], "Cd");
    bmcs.down()
}

#[tokio::test]
async fn two_bmcs_trade_addresses_with_their_certificates() -> Result<()> {
    let state = tempfile::tempdir()?;
    let mut spec = two();
    let mut authorities = Vec::new();
    for name in ["card1", "host1"] {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        authorities.push(Certificate::from_pem(made.cert.pem().as_bytes())?);
        let identity = TlsIdentity {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        };
        spec.tls.insert(name.to_owned(), identity);
    }
    let bmcs = FakeBmcs::up(state.path(), &spec).await?;
    let (card, host) = (bmcs.bmc("card1")?, bmcs.bmc("host1")?);
    let client = |authority: usize| {
        Bmc::trusting(
            card,
            bmcs.credentials(),
            &authorities[authority..=authority],
        )
    };

    let before = client(0)?;
    assert!(before.base.starts_with("https://"));
    before.get(&before.system).await?;
    assert!(client(1)?.get("/redfish/v1/").await.is_err());

    let card_system = card.system();
    card.swap(host);
    assert_eq!(host.system(), card_system);
    assert!(client(0)?.get("/redfish/v1/").await.is_err());
    let after = client(1)?;
    after.get(&after.system).await?;
    let gone = after.send(Method::GET, &before.system, None).await?;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);

    // Without TLS in play only the system changes.
    card.retarget(&card_system);
    after.get(&before.system).await?;
    let body = json!({"ResetType": "On"});
    let refused = after
        .send(Method::POST, &after.reset_path(), Some(body))
        .await?;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let last = card.changes().pop().context("not recorded")?;
    assert!(
        !last.forwarded,
        "no change reaches a system that moved away"
    );
    bmcs.down()
}
