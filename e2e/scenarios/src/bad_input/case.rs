//! One case of bad input: what goes wrong, what must be said, what puts it right.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::LocalBoxFuture;
use http::Method;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, DpuHost, DpuImage};
use lockstep_lab::front::{Fault, Front, Request, Rule};
use serde_json::Value;

use crate::bad_input::stage::{Objects, Stage};
use crate::objects::NAMESPACE;

/// Time in which requests are counted once the trouble is known.
pub const WINDOW: Duration = Duration::from_secs(15);
/// For what is said at once.
pub const SOON: Duration = Duration::from_secs(90);
/// For what is said after several tries of a slow source.
pub const SLOWLY: Duration = Duration::from_secs(300);
/// How long a delayed first effect takes to reach its BMC: time enough to break something.
pub const ON_ITS_WAY: Duration = Duration::from_secs(4);
/// For the operation to go on once the cause is gone.
const RECOVERY: Duration = Duration::from_secs(240);

/// A change of the world or of what the user applies.
pub type Act = for<'a, 'w> fn(&'a Stage<'w>, &'a mut Objects) -> LocalBoxFuture<'a, Result<()>>;

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the objects are applied.
    Before,
    /// While the first effect is on its way to the card's BMC.
    MidInstall,
}

/// Which BMCs a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bmcs {
    /// The card's.
    One,
    /// The card's, with a certificate that nobody trusts.
    Tls,
    /// The card's and another one.
    Two,
}

/// Whose status must tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The `Dpu`.
    Card,
    /// The `Dpu` that contends with it.
    RivalCard,
    /// The `DpuHost`.
    Host,
    /// The `DpuHost` that contends with it.
    RivalHost,
    /// The `DpuImage`.
    Image,
}

/// What must be said.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// By whom; by each of them.
    pub of: &'static [Of],
    /// Reason of its `Ready` condition, which is False.
    pub reason: &'static str,
    /// Words of cause and remedy in its message.
    pub says: [&'static str; 2],
}

/// The most that may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Requests to the card's BMC within [`WINDOW`], once the trouble is known.
    pub bmc: usize,
    /// Requests with an answer of 401 until it is put right; `None` if that is not the trouble.
    pub refused: Option<usize>,
    /// Requests to the image server until it is put right.
    pub image: u64,
}

/// What follows when it is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The card is installed: every effect once, up to its power-on.
    PowerOn,
    /// The same, after these effects that came to nothing.
    PowerOnAfter(&'static [&'static str]),
    /// The card is judged anew, with this reason.
    Judged(&'static str),
}

/// While the card may not be touched it is only looked at, and its image fetched once.
pub const LOOKED_AT: Bound = Bound {
    bmc: 120,
    refused: None,
    image: 1,
};

/// Where and when a case is played, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// When it goes wrong.
    pub when: Moment,
    /// The BMCs it needs.
    pub bmcs: Bmcs,
    /// How long until it is said.
    pub within: Duration,
    /// What follows when it is put right.
    pub then: Then,
}

/// That of most cases: one BMC, wrong from the start, said soon, installed in the end.
pub const USUAL: Setting = Setting {
    when: Moment::Before,
    bmcs: Bmcs::One,
    within: SOON,
    then: Then::PowerOn,
};

/// One case.
pub struct Case {
    /// Its name, and that of its objects.
    pub name: &'static str,
    /// Where and when it is played.
    pub setting: Setting,
    /// What goes wrong.
    pub wrong: Act,
    /// What must be said.
    pub expect: &'static [Expect],
    /// The most that may be asked meanwhile.
    pub bound: Bound,
    /// What puts it right.
    pub right: Act,
}

/// Plays a case; returns what was seen, in one line.
///
/// # Errors
/// When anything is not as told.
pub async fn play(case: &Case, stage: &Stage<'_>) -> Result<String> {
    seen(case, stage)
        .await
        .with_context(|| format!("case {}", case.name))
}

async fn seen(case: &Case, stage: &Stage<'_>) -> Result<String> {
    let mut objects = stage.objects();
    match case.setting.when {
        Moment::Before => {
            (case.wrong)(stage, &mut objects).await?;
            stage.apply(&objects).await?;
        }
        Moment::MidInstall => {
            let late = Fault::Delay(ON_ITS_WAY);
            apply_up_to_first_effect(stage, &objects, late).await?;
            (case.wrong)(stage, &mut objects).await?;
        }
    }
    for expect in case.expect {
        for of in expect.of {
            let message = said(stage, *of, expect.reason, case.setting.within).await?;
            for words in expect.says {
                ensure!(
                    message.contains(words),
                    "{of:?} says {message:?}, without {words:?}"
                );
            }
        }
    }
    let counted = count(case, stage).await?;
    (case.right)(stage, &mut objects).await?;
    let began = Instant::now();
    match case.setting.then {
        Then::PowerOn => installed(stage, &[]).await?,
        Then::PowerOnAfter(in_vain) => installed(stage, in_vain).await?,
        Then::Judged(reason) => {
            said(stage, Of::Card, reason, RECOVERY).await?;
            let effects = effects(stage.bmc);
            ensure!(effects.is_empty(), "effects without proof: {effects:?}");
        }
    }
    let reasons: Vec<&str> = case.expect.iter().map(|expect| expect.reason).collect();
    Ok(format!(
        "{:<24} {}; {counted}; went on {} s after the repair",
        case.name,
        reasons.join(", "),
        began.elapsed().as_secs()
    ))
}

/// Applies the objects, and returns while the first effect is on its way to the card's BMC, which
/// this fault makes take [`ON_ITS_WAY`].
///
/// # Errors
/// When there is none in time.
pub async fn apply_up_to_first_effect(
    stage: &Stage<'_>,
    objects: &Objects,
    late: Fault,
) -> Result<()> {
    let rule = Rule::on(Method::POST, "InsertMedia", late).once();
    stage.bmc.add_rule(rule);
    stage.apply(objects).await?;
    stage
        .bmc
        .wait_for("InsertMedia", SOON, |one| one.path.ends_with("InsertMedia"))
        .await?;
    Ok(())
}

/// The card is powered on to be installed, and nothing was done to it but that after these effects.
async fn installed(stage: &Stage<'_>, in_vain: &[&str]) -> Result<()> {
    stage
        .bmc
        .wait_for("the power-on after the repair", RECOVERY, |one| {
            one.forwarded && one.reset_type().as_deref() == Some("On")
        })
        .await?;
    let effects = effects(stage.bmc);
    let wanted = [in_vain, &["InsertMedia", "PATCH", "Reset On"]].concat();
    ensure!(
        effects == wanted,
        "the card's BMC was made to do {effects:?}, not {wanted:?}"
    );
    Ok(())
}

/// Requests while the trouble lasts, against their bounds; and no new effect meanwhile.
async fn count(case: &Case, stage: &Stage<'_>) -> Result<String> {
    let done = settled_effects(stage.bmc).await?;
    let before = stage.bmc.requests().len();
    tokio::time::sleep(WINDOW).await;
    ensure!(
        effects(stage.bmc) == done,
        "effects while it was wrong: {:?} after {done:?}",
        effects(stage.bmc)
    );
    let asked = stage.bmc.requests().len() - before;
    let bound = case.bound;
    ensure!(
        asked <= bound.bmc,
        "{asked} requests to the BMC in {} s, more than {}",
        WINDOW.as_secs(),
        bound.bmc
    );
    let mut told = format!(
        "{asked} requests to the BMC in {} s (at most {})",
        WINDOW.as_secs(),
        bound.bmc
    );
    if let Some(most) = bound.refused {
        let refused = stage
            .bmc
            .requests()
            .iter()
            .filter(|one| one.status == Some(401))
            .count();
        ensure!(
            refused <= most,
            "{refused} requests were answered 401, more than {most}"
        );
        told = format!("{told}, {refused} answered 401 (at most {most})");
    }
    let fetched = stage.server.requests();
    ensure!(
        fetched <= bound.image,
        "{fetched} requests to the image server, more than {}",
        bound.image
    );
    Ok(format!(
        "{told}, {fetched} to the image server (at most {})",
        bound.image
    ))
}

/// What the BMC was made to do, once nothing is on its way any more.
async fn settled_effects(bmc: &Front) -> Result<Vec<String>> {
    let quiet = ON_ITS_WAY + Duration::from_secs(2);
    let done = eventually(SOON, "an end of what is under way", async || {
        let last = bmc.changes().pop().map(|one| one.instant.elapsed());
        match last {
            Some(ago) if ago < quiet => Look::not_yet(format!("a change {} s ago", ago.as_secs())),
            Some(_) | None => Look::Holds(effects(bmc)),
        }
    })
    .await?;
    Ok(done)
}

/// What the BMC was made to do: changes that reached it.
fn effects(bmc: &Front) -> Vec<String> {
    let changes = bmc.changes();
    changes
        .iter()
        .filter(|one| one.forwarded)
        .map(shown)
        .collect()
}

fn shown(request: &Request) -> String {
    match request.reset_type() {
        Some(kind) => format!("Reset {kind}"),
        None if request.path.ends_with("InsertMedia") => "InsertMedia".to_owned(),
        None if request.method == Method::PATCH => "PATCH".to_owned(),
        None => format!("{} {}", request.method, request.path),
    }
}

/// Waits until a status gives this reason; returns its message.
async fn said(stage: &Stage<'_>, of: Of, reason: &str, within: Duration) -> Result<String> {
    let (resource, name) = match of {
        Of::Card => (ApiResource::erase::<Dpu>(&()), stage.name.to_owned()),
        Of::RivalCard => (ApiResource::erase::<Dpu>(&()), stage.rival()),
        Of::Host => (ApiResource::erase::<DpuHost>(&()), stage.name.to_owned()),
        Of::RivalHost => (ApiResource::erase::<DpuHost>(&()), stage.rival()),
        Of::Image => (ApiResource::erase::<DpuImage>(&()), stage.name.to_owned()),
    };
    let what = format!("{} {name} saying {reason}", resource.kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(stage.world.control_plane.client(), NAMESPACE, &resource);
    let message = eventually(within, what, async || match api.get(&name).await {
        Ok(object) => match ready(&object.data) {
            Some((status, seen, message)) if seen == reason && status == "False" => {
                Look::Holds(message)
            }
            Some((status, seen, message)) => {
                Look::not_yet(format!("Ready is {status}: {seen}: {message}"))
            }
            None => Look::not_yet("no Ready condition"),
        },
        Err(error) => Look::not_yet(error),
    })
    .await?;
    Ok(message)
}

/// Status, reason and message of the `Ready` condition.
fn ready(object: &Value) -> Option<(String, String, String)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready")?;
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}
