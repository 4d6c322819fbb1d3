//! `upgrade-mid-operation`: N → N+1 → N of operator and site agent while a card is installed.
//!
//! There is one release, so N+1 is played in two ways. In the first story operator and agent are
//! replaced at every step, as Deployments do. In the second, both are gone at a step, an object
//! is rewritten in their names to what a newer release could have written, N comes back, and then
//! N+1 with its values. What N does not know it leaves as it is: it adopts, or stands still as
//! `UnknownRecord`. Nothing begins again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::names;
use serde_json::{Value, json};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::journey::{CardAgent, Pair};
use crate::objects::{self, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::strike::{Story, Strike, choices};
use crate::world::{Kind, OPERATOR_NAMESPACE, World};

const ROLLING: Pair = Pair {
    card: "card1",
    host: "host1",
};
const REWRITTEN: Pair = Pair {
    card: "card2",
    host: "host2",
};
/// For the next step to come; a failed directive is tried again after 15 s.
const SOON: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(40);
/// What every read of a BMC takes: a state lasts long enough to be met.
const SLOW: Duration = Duration::from_millis(150);
/// How long nothing must happen to what is not known.
const QUIET: Duration = Duration::from_secs(6);
/// A field of N+1's schema.
const FIELD: &str = "tomorrow";

/// A condition of N+1.
const CONDITION: &str = "TomorrowReady";

/// What N+1 has written when N comes back.
struct Newer {
    /// The state of a directive at which that happens.
    at: &'static str,
    /// In words.
    what: &'static str,
    /// Writes it into the status of the host.
    write: fn(&mut Value),
}

/// Values without which the record cannot be understood.
const UNKNOWN: [Newer; 5] = [
    Newer {
        at: "StageInstall recorded",
        what: "an action",
        write: |status| {
            each(status, "directives", |one| {
                one["action"]["kind"] = json!("StageTomorrow");
            });
        },
    },
    Newer {
        at: "PowerOn unknown",
        what: "an armed effect",
        write: |status| {
            each(status, "cards", |one| {
                one["armed"] = json!(["VirtualMedia", "TomorrowEffect"]);
            });
        },
    },
    Newer {
        at: "PowerOn unknown",
        what: "a hold state",
        write: |status| status["hold"]["state"] = json!("FrozenTomorrow"),
    },
    Newer {
        at: "PowerOn unknown",
        what: "a release reason",
        write: |status| status["hold"]["releasing"] = json!("TomorrowReason"),
    },
    Newer {
        at: "ClearInstall recorded",
        what: "a target",
        write: |status| {
            each(status, "directives", |one| {
                one["target"]["kind"] = json!("SwitchTomorrow");
            });
        },
    },
];

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::medium(&context.folder, "1.0")?;
    let server = ImageServer::serve(image.path.clone()).await?;
    let machines = [ROLLING, REWRITTEN].map(|pair| pair.machines()).concat();
    let mut world = World::start(&context.folder, Kind::Fake, machines, &context.binaries).await?;
    newer_schema(&world).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let yaml = [
        objects::policy("v1", &choices()),
        objects::image("v1", &image, &server.url("v1.iso")),
    ]
    .concat();
    world.control_plane.kubectl().apply_text(&yaml).await?;

    let mut rolling = Story::new(Strike::Replacement, ROLLING, Some(image.clone()));
    rolling.play(&mut world, &mut report).await?;

    REWRITTEN.slow_down(&world, SLOW)?;
    let yaml = REWRITTEN.yaml(&world, &choices())?;
    world.control_plane.kubectl().apply_text(&yaml).await?;
    let [action, armed, hold, reason, target] = &UNKNOWN;
    not_understood(&mut world, action, &mut report).await?;
    renamed_step(&mut world, &mut report).await?;
    unknown_outcome(&mut world, &mut report).await?;
    not_understood(&mut world, armed, &mut report).await?;
    not_understood(&mut world, hold, &mut report).await?;
    not_understood(&mut world, reason, &mut report).await?;
    let _card = CardAgent::boot(&world, &REWRITTEN, &image).await?;
    not_understood(&mut world, target, &mut report).await?;
    let began = Instant::now();
    while !REWRITTEN.look(&world).await?.ready {
        world.check()?;
        let seen = REWRITTEN.look(&world).await?;
        ensure!(
            began.elapsed() < SOON,
            "card2 is not Ready: {}",
            seen.shown()
        );
        tokio::time::sleep(LOOK).await;
    }
    REWRITTEN.judge(&world).await?;
    let status = status(&world).await?;
    ensure!(
        status[FIELD] == json!({"kept": true}),
        "the field that N does not know is {} at the end",
        status[FIELD]
    );
    let conditions = status["conditions"].as_array();
    ensure!(
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == CONDITION)),
        "the condition that N does not know is gone at the end: {}",
        status["conditions"]
    );
    report.say("a field and a condition of N+1, written in mid-install, are still there at Ready");
    world.check()?;
    world.stop().await?;
    Ok(report)
}

/// N meets a value that it must not guess: it stands still, touches nothing, and N+1 goes on.
async fn not_understood(world: &mut World, newer: &Newer, report: &mut Report) -> Result<()> {
    let Pair { card, host } = REWRITTEN;
    let (at, what) = (newer.at, newer.what);
    let before = gone_at(world, at).await?;
    let mut written = before.clone();
    (newer.write)(&mut written);
    ensure!(
        written != before,
        "{at}: {what} of N+1 has no place in {before}"
    );
    write_status(world, &written).await?;
    let done = REWRITTEN.effects(world)?;
    back(world).await?;
    let found = story::await_host(&world.control_plane, host, "UnknownRecord", SOON, |host| {
        story::host_reason(host) == "UnknownRecord"
    })
    .await
    .with_context(|| format!("{at}: {what} of N+1"))?;
    story::await_card(&world.control_plane, card, "UnknownRecord", SOON, |card| {
        story::reason(card) == "UnknownRecord"
    })
    .await?;
    let kept = facts(&written);
    story::stays_so(
        QUIET,
        "no effect and nothing lost while N does not understand the record",
        async || Ok(REWRITTEN.effects(world)? == done && facts(&status(world).await?) == kept),
    )
    .await
    .with_context(|| format!("{at}: {what} of N+1; written {written}"))?;
    let said = found.status.unwrap_or_default().message.unwrap_or_default();
    report.say(format!("{at}, {what} of N+1: {said}"));

    world.kill_agent().await?;
    world.kill_operator().await?;
    let mut restored = before;
    unset(&mut restored, &written);
    write_status(world, &restored).await?;
    back(world).await
}

/// Says in `status`, as a merge patch does, that it has nothing where only `written` has something.
fn unset(status: &mut Value, written: &Value) {
    let (Some(status), Some(written)) = (status.as_object_mut(), written.as_object()) else {
        return;
    };
    for (name, written) in written {
        unset(status.entry(name).or_insert(Value::Null), written);
    }
}

/// A step by another name, a condition and a field that N does not know: it goes on with them.
async fn renamed_step(world: &mut World, report: &mut Report) -> Result<()> {
    let at = "StageInstall accepted";
    let mut status = gone_at(world, at).await?;
    status["step"] = json!("ArmTomorrow");
    each(&mut status, "directives", |one| {
        one["step"] = json!("ArmTomorrow");
    });
    status[FIELD] = json!({"kept": true});
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.push(json!({
            "type": CONDITION, "status": "Unknown", "reason": "Tomorrow", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }));
    }
    write_status(world, &status).await?;
    back(world).await?;
    report.say(format!("{at}: N went on under a step by another name"));
    Ok(())
}

/// An outcome that N does not know counts as unknown: what is seen decides.
async fn unknown_outcome(world: &mut World, report: &mut Report) -> Result<()> {
    let at = "PowerOn ended";
    point(world, "PowerOn accepted").await?;
    world.kill_operator().await?;
    point(world, at).await?;
    world.kill_agent().await?;
    let name = names::card_bmc(REWRITTEN.card);
    let agent = format!(
        "--as=system:serviceaccount:{NAMESPACE}:{}",
        lockstep_crds::SITE_AGENT
    );
    let patch = json!({"spec": {"execution": {"outcome": {"result": "LandedTomorrow"}}}});
    patch_object(world, &["dpureport", &name, &agent], &patch).await?;
    let before = REWRITTEN.look(world).await?.record.seq;
    let done = REWRITTEN.effects(world)?;
    back(world).await?;
    // That it was adopted shows at the end: a power-on that failed would be repeated.
    story::stays_so(QUIET, "no directive and no effect after it", async || {
        let seen = REWRITTEN.look(world).await?;
        Ok(seen.record.seq == before && REWRITTEN.effects(world)? == done)
    })
    .await?;
    report.say(format!(
        "{at}: an outcome that N does not know; the card is seen on, and awaited"
    ));
    Ok(())
}

/// Waits for a state of a directive.
async fn point(world: &mut World, at: &str) -> Result<()> {
    let end = Instant::now() + SOON;
    loop {
        let seen = REWRITTEN.look(world).await?;
        if seen.points().contains(at) {
            return Ok(());
        }
        world.check()?;
        ensure!(
            Instant::now() < end,
            "{at} did not come: {}; done: {:?}",
            seen.shown(),
            REWRITTEN.effects(world)?
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Both are gone at that state; returns the record as they left it.
async fn gone_at(world: &mut World, at: &str) -> Result<Value> {
    point(world, at).await?;
    world.kill_agent().await?;
    world.kill_operator().await?;
    status(world).await
}

async fn back(world: &mut World) -> Result<()> {
    world.end_leadership().await?;
    world.start_operator().await?;
    world.start_agent().await
}

/// Applies `change` to every entry of a list.
fn each(status: &mut Value, list: &str, change: impl Fn(&mut Value)) {
    if let Some(entries) = status[list].as_array_mut() {
        entries.iter_mut().for_each(change);
    }
}

/// What is shown of the reports of others, whatever the record says.
const SHOWN: [&str; 5] = ["actors", "capabilities", "firmware", "nodeName", "slots"];

/// A status without what is said to people: N says what it awaits and what it sees, and must lose
/// nothing else.
fn facts(status: &Value) -> Value {
    let mut facts = status.clone();
    if let Some(facts) = facts.as_object_mut() {
        facts.remove("message");
        facts.retain(|name, _| !SHOWN.contains(&name.as_str()));
        if let Some(conditions) = facts.get_mut("conditions").and_then(Value::as_array_mut) {
            let ours = ["Ready", "Reconciling", "Stalled"];
            conditions.retain(|one| ours.iter().all(|ours| one["type"] != *ours));
        }
    }
    facts
}

/// The host's status, word for word.
async fn status(world: &World) -> Result<Value> {
    let kubectl = world.control_plane.kubectl();
    let text = kubectl
        .run(&[
            "get",
            "dpuhost",
            REWRITTEN.host,
            "-n",
            NAMESPACE,
            "-o",
            "json",
        ])
        .await?;
    let host: Value = serde_json::from_str(&text).context("kubectl shows no JSON")?;
    Ok(host["status"].clone())
}

/// Writes the host's status as an operator.
async fn write_status(world: &World, status: &Value) -> Result<()> {
    let operator = format!("--as=system:serviceaccount:{OPERATOR_NAMESPACE}:lockstep-operator");
    let target = ["dpuhost", REWRITTEN.host, "--subresource=status", &operator];
    patch_object(world, &target, &json!({"status": status})).await
}

async fn patch_object(world: &World, target: &[&str], patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    let mut args = vec!["patch", "-n", NAMESPACE, "--type=merge", "-p", &patch];
    args.extend(target);
    world.control_plane.kubectl().run(&args).await?;
    Ok(())
}

/// The CRD of N+1 has a field more.
async fn newer_schema(world: &World) -> Result<()> {
    let path =
        format!("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/{FIELD}");
    let patch = json!([{
        "op": "add", "path": path,
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }])
    .to_string();
    let name = "dpuhosts.provisioning.opiproject.org";
    let args = ["patch", "crd", name, "--type=json", "-p", &patch];
    world.control_plane.kubectl().run(&args).await?;
    Ok(())
}
