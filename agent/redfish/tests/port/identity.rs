//! Nothing is done to a stranger.

use super::*;

#[tokio::test]
async fn nothing_is_done_to_a_stranger() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| system["UUID"] = json!(STRANGER));
    let port = port(&bmc);
    // Looking is allowed: the report shows who it is.
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.identity.system_uuid.as_deref(), Some(STRANGER));
    for result in &every_change(&port).await[..4] {
        assert_eq!(result.as_ref().unwrap_err().category(), "IdentityMismatch");
        assert_eq!(result.as_ref().unwrap_err().effect(), EffectCertainty::None);
    }
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn a_machine_that_changes_between_two_reads_is_noticed() {
    let bmc = ScriptedBmc::plain();
    // The slot is read after the system: the swap happens in between.
    bmc.fail(
        "GET",
        "/VirtualMedia/Floppy",
        1,
        Fault::SwapMachine(STRANGER),
    );
    let error = port(&bmc)
        .insert_media(&ImageUrl::new(IMAGE))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "IdentityMismatch");
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn without_anything_to_prove_nothing_is_changed() {
    let bmc = ScriptedBmc::plain();
    let unproven = BmcTarget {
        expected: ExpectedIdentity::default(),
        ..target(&bmc)
    };
    let port = Redfish::new(loopback(), quick()).bmc(unproven).unwrap();
    assert!(port.observe().await.is_ok());
    assert!(port.power(PowerAction::On).await.is_err());
    assert!(bmc.changes().is_empty());
}
