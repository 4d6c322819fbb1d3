//! What goes wrong, and what it is called.

use std::sync::Arc;

use lockstep_redfish::{Endpoint, Explorer as _};

use super::*;

#[tokio::test]
async fn reads_are_retried_a_bounded_number_of_times() {
    let bmc = ScriptedBmc::plain();
    let port = port(&bmc);
    bmc.fail("GET", SYSTEM, 2, Fault::Answer(500, "busy".to_owned()));
    assert!(port.observe().await.is_ok());

    let reads = |bmc: &ScriptedBmc| bmc.seen().iter().filter(|seen| seen.path == SYSTEM).count();
    let before = reads(&bmc);
    bmc.fail("GET", SYSTEM, 99, Fault::Answer(503, "busy".to_owned()));
    let error = port.observe().await.unwrap_err();
    assert!(matches!(error, BmcError::ReadFailed { status: 503, .. }));
    assert_eq!(reads(&bmc) - before, 3);
}

#[tokio::test]
async fn odd_answers_have_their_own_names() {
    for (fault, category) in [
        (Fault::Answer(200, "<html>".to_owned()), "BadAnswer"),
        (Fault::Answer(200, "[]".to_owned()), "BadAnswer"),
        (Fault::Answer(200, " ".repeat(5 << 20)), "BadAnswer"),
        (Fault::Answer(403, "{}".to_owned()), "AccessDenied"),
        (Fault::Answer(404, "{}".to_owned()), "ReadFailed"),
    ] {
        let bmc = ScriptedBmc::plain();
        bmc.fail("GET", SYSTEM, 99, fault.clone());
        let error = port(&bmc).power(PowerAction::On).await.unwrap_err();
        assert_eq!(error.category(), category);
        assert_eq!(error.effect(), EffectCertainty::None);
        assert!(bmc.changes().is_empty());
    }
}

#[tokio::test]
async fn a_silent_bmc_costs_no_more_than_the_deadline() {
    let bmc = ScriptedBmc::plain();
    bmc.fail("GET", "", 99, Fault::Never);
    let options = BmcOptions {
        call_deadline: Duration::from_millis(900),
        read_timeout: Duration::from_millis(400),
        ..quick()
    };
    let port = Redfish::new(loopback(), options).bmc(target(&bmc)).unwrap();
    let start = Instant::now();
    let error = port.observe().await.unwrap_err();
    assert_eq!(error.category(), "NoAnswer");
    assert!(start.elapsed() < Duration::from_millis(1500));
}

#[tokio::test]
async fn an_unreachable_bmc_is_told_apart_from_a_silent_one() {
    let bmc = ScriptedBmc::plain();
    let target = target(&bmc);
    drop(bmc);
    let port = Redfish::new(loopback(), quick()).bmc(target).unwrap();
    assert_eq!(port.observe().await.unwrap_err().category(), "Unreachable");
}

#[tokio::test]
async fn a_lost_reply_is_an_unknown_outcome_and_is_not_repeated() {
    for fault in [
        Fault::DropAfterEffect,
        Fault::Never,
        Fault::Answer(500, "{}".to_owned()),
        Fault::Answer(504, String::new()),
        Fault::Answer(
            200,
            json!({"error": {"message": "General error"}}).to_string(),
        ),
        Fault::Answer(200, "<html>".to_owned()),
    ] {
        let bmc = ScriptedBmc::plain();
        bmc.fail("POST", "ComputerSystem.Reset", 1, fault.clone());
        let options = BmcOptions {
            call_deadline: Duration::from_millis(1500),
            ..quick()
        };
        let port = Redfish::new(loopback(), options).bmc(target(&bmc)).unwrap();
        let error = port.power(PowerAction::On).await.unwrap_err();
        assert_eq!(error.category(), "OutcomeUnknown", "{fault:?}: {error}");
        assert_eq!(error.effect(), EffectCertainty::Unknown);
        assert_eq!(bmc.changes().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_refused_change_certainly_had_no_effect() {
    for status in [400, 403, 405, 409, 412] {
        let bmc = ScriptedBmc::plain();
        let body = json!({"error": {"@Message.ExtendedInfo": [{"Message": "Not now."}]}});
        bmc.fail(
            "POST",
            "ComputerSystem.Reset",
            1,
            Fault::Answer(status, body.to_string()),
        );
        let error = port(&bmc).power(PowerAction::On).await.unwrap_err();
        assert!(matches!(&error, BmcError::Refused { detail, .. } if detail == "Not now."));
        assert_eq!(error.effect(), EffectCertainty::None);
        assert_eq!(bmc.changes().len(), 1);
    }
    // A redirected change is not followed.
    let bmc = ScriptedBmc::plain();
    bmc.fail(
        "POST",
        "ComputerSystem.Reset",
        1,
        Fault::Redirect(SYSTEM.to_owned()),
    );
    let error = port(&bmc).power(PowerAction::On).await.unwrap_err();
    assert_eq!(error.category(), "Refused");
    assert_eq!(bmc.changes().len(), 1);
}

#[tokio::test]
async fn a_bmc_that_refuses_if_match_is_asked_once_more_without() {
    let refusal = json!({"error": {"message": "The header If-Match cannot be used here."}});
    let wanted = BootOverride::Once(BootTarget::Cd);
    for (times, status, ok) in [(1, 400, true), (1, 412, true), (2, 400, false)] {
        let bmc = ScriptedBmc::plain();
        let fault = Fault::Answer(status, refusal.to_string());
        bmc.fail("PATCH", SYSTEM, times, fault);
        let set = port(&bmc).set_boot_override(&wanted).await;
        assert_eq!(set.is_ok(), ok, "{status}: {set:?}");
        let changes = bmc.changes();
        assert_eq!(changes.len(), 2, "{status}");
        assert!(changes[0].headers.contains_key("if-match"));
        assert!(!changes[1].headers.contains_key("if-match"));
    }
    // Any other refusal is one.
    let bmc = ScriptedBmc::plain();
    let body = json!({"error": {"message": "Cd is not possible now."}});
    bmc.fail("PATCH", SYSTEM, 1, Fault::Answer(400, body.to_string()));
    let error = port(&bmc).set_boot_override(&wanted).await.unwrap_err();
    assert_eq!(error.category(), "Refused");
    assert_eq!(bmc.changes().len(), 1);
}

#[tokio::test]
async fn members_that_are_not_there_hide_no_others() {
    let bmc = ScriptedBmc::plain();
    let slots = format!("{SYSTEM}/VirtualMedia");
    bmc.change(&slots, |document| {
        let ghost = json!({"@odata.id": format!("{slots}/Gone")});
        document["Members"].as_array_mut().unwrap().insert(0, ghost);
    });
    bmc.change("/redfish/v1/Systems", |document| {
        let ghost = json!({"@odata.id": format!("/redfish/v1/Systems/{UUID}-gone")});
        document["Members"].as_array_mut().unwrap().insert(0, ghost);
    });
    let image = ImageUrl::new(IMAGE);
    let inserted = port(&bmc).insert_media(&image).await.unwrap();
    assert!(inserted.sent);
    assert_eq!(bmc.changes().len(), 1);
}

#[tokio::test]
async fn no_error_shows_an_image_url_or_a_password() {
    let bmc = ScriptedBmc::plain();
    let body = json!({"error": {"message":
        format!("Failed fetching image from URL {IMAGE}: no route; path /i/0123456789abcdef/")
    }});
    bmc.fail(
        "POST",
        "InsertMedia",
        1,
        Fault::Answer(500, body.to_string()),
    );
    let error = port(&bmc)
        .insert_media(&ImageUrl::new(IMAGE))
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("no route"), "{shown}");
    assert!(
        !shown.contains("0123456789abcdef") && !shown.contains(PASSWORD),
        "{shown}"
    );
}

#[tokio::test]
async fn no_error_shows_what_a_bmc_quotes_of_credentials_or_token() {
    let quoting = |text: String| {
        let body = json!({"error": {"@Message.ExtendedInfo": [{"Message": text}]}});
        Fault::Answer(400, body.to_string())
    };
    // DMTF's PropertyValueFormatError quotes the value that was posted.
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    bmc.fail(
        "POST",
        "Sessions",
        1,
        quoting(format!(
            "The value '{PASSWORD}' for admin's Password is of a different format."
        )),
    );
    let error = port(&bmc).observe().await.unwrap_err();
    assert_eq!(error.category(), "SessionRefused");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("a different format"), "{shown}");
    assert!(
        !shown.contains(PASSWORD) && !shown.contains("admin"),
        "{shown}"
    );

    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    let token = bmc
        .seen()
        .iter()
        .find_map(|seen| seen.headers.get("x-auth-token").cloned())
        .unwrap();
    bmc.fail(
        "GET",
        SYSTEM,
        1,
        quoting(format!("{token} may not read http://192.0.2.1/i/x.iso")),
    );
    let error = port.power(PowerAction::On).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("may not read"), "{shown}");
    assert!(
        !shown.contains(&token) && !shown.contains("192.0.2.1"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_error_tells_category_and_remedy() {
    let bmc = ScriptedBmc::plain();
    bmc.set_password("rotated");
    let error = port(&bmc).observe().await.unwrap_err();
    assert!(error.to_string().contains(&bmc.address.to_string()));
    assert!(error.remedy().contains("Secret"));
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_is_tried_once_more() {
    for (lost, category) in [(1, None), (2, Some("NoAnswer"))] {
        let bmc = ScriptedBmc::plain();
        bmc.offer_sessions();
        bmc.fail("POST", "/Sessions", lost, Fault::DropAfterEffect);
        let facts = port(&bmc).observe().await;
        assert_eq!(facts.err().map(|error| error.category()), category);
        let seen = bmc.seen();
        let logins = seen
            .iter()
            .filter(|one| one.method == "POST" && one.path.ends_with("/Sessions"));
        assert_eq!(logins.count(), 2, "{lost} lost");
    }
}

/// A BMC that was found, with 32 modules of memory of so many bytes, the last of which it never
/// shows.
fn stalls_while_it_is_read(module: usize) -> ScriptedBmc {
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    let path = |number: usize| format!("{memory}/{number}");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = json!({"@odata.id": memory});
    });
    let members: Vec<_> = (0..32).map(|n| json!({"@odata.id": path(n)})).collect();
    bmc.add(&memory, json!({"@odata.id": memory, "Members": members}));
    for number in 0..31 {
        let shown = json!({"@odata.id": path(number), "Description": "x".repeat(module)});
        bmc.add(&path(number), shown);
    }
    bmc.fail("GET", "/Memory/31", 9, Fault::Never);
    bmc
}

/// One BMC fills the memory for all that are explored here; by default it takes 32 of them.
#[tokio::test(flavor = "multi_thread")]
async fn bmcs_that_stall_while_they_are_found_keep_no_worker_from_its_own() {
    let options = BmcOptions {
        exploration_room: 250 * 1024,
        explorations_room: 250 * 1024,
        ..quick()
    };
    let stranger = Arc::new(stalls_while_it_is_read(3000));
    let own = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), options);
    let worker = redfish.bmc(target(&own)).unwrap();
    worker.observe().await.unwrap();
    let search = {
        let (redfish, stranger) = (redfish.clone(), Arc::clone(&stranger));
        tokio::spawn(async move {
            let endpoint = Endpoint {
                address: format!("http://{}", stranger.address).parse().unwrap(),
                tls: TlsTrust::PlainHttp,
            };
            redfish.explore(&endpoint, &credentials(PASSWORD)).await
        })
    };
    let stalls = async {
        while !stranger
            .seen()
            .iter()
            .any(|seen| seen.path.ends_with("/Memory/31"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stalls)
        .await
        .unwrap();
    let observed = worker.observe().await;
    search.abort();
    assert!(observed.is_ok(), "{:?}", observed.err());
}

#[tokio::test]
async fn a_want_of_memory_here_is_not_laid_to_the_machine() {
    let bmc = ScriptedBmc::plain();
    let options = BmcOptions {
        calls_room: 16,
        ..quick()
    };
    let port = Redfish::new(loopback(), options).bmc(target(&bmc)).unwrap();
    let error = port.observe().await.unwrap_err();
    assert_eq!(error.category(), "AgentBusy", "{error}");
    assert!(
        error
            .to_string()
            .starts_with("this agent is reading too much"),
        "{error}"
    );
    assert!(
        error
            .remedy()
            .starts_with("Nothing is wrong with this machine")
    );
}
