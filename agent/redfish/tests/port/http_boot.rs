//! UEFI HTTP boot from a URL that the BMC is given, and what BMCs make of it.

use super::*;

/// A BMC whose `Boot` takes a URL, and holds none.
fn offering() -> ScriptedBmc {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| system["Boot"]["HttpBootUri"] = json!(null));
    bmc
}

fn from_image() -> BootOverride {
    BootOverride::OnceFrom(ImageUrl::new(IMAGE))
}

fn held(facts: &lockstep_redfish::BmcFacts) -> Option<&ImageUrl> {
    lockstep_redfish::http_boot_uri(facts)
}

#[tokio::test]
async fn target_and_url_are_one_request_and_the_url_is_emptied_by_another() {
    let bmc = offering();
    bmc.reads_once();
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.capabilities.uefi_http.offer, Offer::Offered);
    assert_eq!(held(&facts), None);

    let effect = port.set_boot_override(&from_image()).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    assert!(!port.set_boot_override(&from_image()).await.unwrap().sent);
    let facts = port.observe().await.unwrap();
    assert_eq!(held(&facts), Some(&ImageUrl::new(IMAGE)));
    assert!(!format!("{facts:?}").contains("0123456789abcdef"));

    let other = ImageUrl::new("http://192.0.2.1:8080/i/other/card.iso");
    assert!(!port.forget_http_uri(&other).await.unwrap().sent);
    let back = BootOverride::Continuous(BootTarget::Hdd);
    assert!(port.set_boot_override(&back).await.unwrap().sent);
    let image = ImageUrl::new(IMAGE);
    let effect = port.forget_http_uri(&image).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    assert!(!port.forget_http_uri(&image).await.unwrap().sent);
    let bodies: Vec<_> = bmc.changes().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [
            json!({"Boot": {
                "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once",
                "HttpBootUri": IMAGE,
            }}),
            json!({"Boot": {
                "BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous",
            }}),
            json!({"Boot": {"HttpBootUri": null}}),
        ]
    );
}

#[tokio::test]
async fn what_is_read_back_is_told_apart() {
    let keeps = |_: &mut serde_json::Value| {};
    let fetches_itself = |boot: &mut serde_json::Value| {
        boot["BootSourceOverrideTarget"] = json!("Cd");
    };
    let drops_the_url = |boot: &mut serde_json::Value| boot["HttpBootUri"] = json!(null);
    let shows_none = |boot: &mut serde_json::Value| boot["HttpBootUri"] = json!("None");
    for (makes_of_it, seen) in [
        (
            keeps as fn(&mut serde_json::Value),
            Some("reads Continuous"),
        ),
        (fetches_itself, Some("reads Cd")),
        (drops_the_url, None),
        (shows_none, None),
    ] {
        let bmc = offering();
        bmc.makes_of_boot(makes_of_it);
        let effect = port(&bmc).set_boot_override(&from_image()).await.unwrap();
        assert!(effect.sent);
        match (seen, effect.confirmation) {
            (Some(words), Confirmation::Differs(how)) => assert!(how.contains(words), "{how}"),
            (None, Confirmation::NotSeen) => {}
            (_, other) => panic!("{other:?}"),
        }
        assert_eq!(bmc.changes().len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_offered_is_not_asked_for() {
    let without_uri = ScriptedBmc::plain();
    let without_target = offering();
    without_target.change(SYSTEM, |system| {
        system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["Pxe", "Cd"]);
    });
    for (bmc, names) in [(without_uri, "HttpBootUri"), (without_target, "UefiHttp")] {
        let port = port(&bmc);
        let facts = port.observe().await.unwrap();
        assert_eq!(facts.capabilities.uefi_http.offer, Offer::NotOffered);
        let error = port.set_boot_override(&from_image()).await.unwrap_err();
        assert_eq!(error.category(), "NotOffered");
        assert!(error.to_string().contains(names), "{error}");
        assert!(bmc.changes().is_empty());
    }
}

#[tokio::test]
async fn settings_for_the_next_reset_take_the_url_and_unread_is_not_absent() {
    let bmc = offering();
    let settings = format!("{SYSTEM}/Settings");
    bmc.change(SYSTEM, |system| {
        system["@Redfish.Settings"] = json!({"SettingsObject": {"@odata.id": settings}});
        // What it runs with is over.
        system["Boot"]["HttpBootUri"] = json!("http://192.0.2.9/old.efi");
    });
    bmc.add(
        &settings,
        json!({"@odata.id": settings, "Boot": {
            "BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled",
            "HttpBootUri": null,
        }}),
    );
    let port = port(&bmc);
    assert_eq!(held(&port.observe().await.unwrap()), None);
    assert!(port.set_boot_override(&from_image()).await.unwrap().sent);
    assert_eq!(bmc.changes()[0].path, settings);
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.capabilities.uefi_http.offer, Offer::Offered);
    assert_eq!(held(&facts), Some(&ImageUrl::new(IMAGE)));

    bmc.fail("GET", "/Settings", 9, Fault::Answer(503, String::new()));
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.capabilities.uefi_http.offer, Offer::NotRead);
}

#[tokio::test]
async fn refusals_and_lost_replies_are_told_without_the_url() {
    let quoting = json!({"error": {"message": format!("cannot fetch {IMAGE}")}}).to_string();
    for (fault, certainty) in [
        (Fault::Answer(400, quoting.clone()), EffectCertainty::None),
        (Fault::Answer(500, quoting), EffectCertainty::Unknown),
        (Fault::DropAfterEffect, EffectCertainty::Unknown),
    ] {
        let bmc = offering();
        bmc.fail("PATCH", SYSTEM, 1, fault);
        let error = port(&bmc)
            .set_boot_override(&from_image())
            .await
            .unwrap_err();
        assert_eq!(error.effect(), certainty, "{error}");
        assert!(!format!("{error} {error:?}").contains("0123456789abcdef"));
        assert_eq!(bmc.changes().len(), 1);
    }
}

#[tokio::test]
async fn neither_is_done_to_a_stranger() {
    let bmc = offering();
    bmc.change(SYSTEM, |system| {
        system["UUID"] = json!(STRANGER);
        system["Boot"]["HttpBootUri"] = json!(IMAGE);
    });
    let port = port(&bmc);
    let image = ImageUrl::new(IMAGE);
    for result in [
        port.set_boot_override(&from_image()).await,
        port.forget_http_uri(&image).await,
    ] {
        assert_eq!(result.unwrap_err().category(), "IdentityMismatch");
    }
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn a_boot_source_for_good_is_one_request_and_offered_where_an_override_may_last() {
    let bmc = offering();
    bmc.reads_once();
    let port = port(&bmc);
    let offered = |facts: &lockstep_redfish::BmcFacts| {
        let now = serde_json::from_str("\"2026-06-01T00:00:00Z\"").unwrap();
        let owner = |_: &ImageUrl| lockstep_redfish::UrlOwner::Foreign;
        let report = lockstep_redfish::bmc_report(facts, owner, |_| None, None, &now);
        report.capabilities.network_boot.unwrap().to_string()
    };
    let list = |values: serde_json::Value| {
        bmc.change(SYSTEM, |system| {
            system["Boot"]["BootSourceOverrideEnabled@Redfish.AllowableValues"] = values;
        });
    };
    list(json!(["Disabled", "Once"]));
    assert_eq!(offered(&port.observe().await.unwrap()), "NotOffered");
    list(json!(["Disabled", "Once", "Continuous"]));
    assert_eq!(offered(&port.observe().await.unwrap()), "Offered");

    let always = BootOverride::AlwaysFrom(ImageUrl::new(IMAGE));
    assert!(port.set_boot_override(&from_image()).await.unwrap().sent);
    let effect = port.set_boot_override(&always).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    assert!(!port.set_boot_override(&always).await.unwrap().sent);
    let last = bmc.changes().pop().unwrap().body;
    assert_eq!(
        last,
        json!({"Boot": {
            "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Continuous",
            "HttpBootUri": IMAGE,
        }})
    );
}
