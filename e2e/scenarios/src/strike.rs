//! One install with a strike at each of its points.
//!
//! A point is a state of one directive (`PowerOn accepted`) or the moment between an effect and
//! its reply (`card: Reset On done`). Each is struck once in a story; a strike counts when the
//! state is still there after it, and a point that was never struck fails the story.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use http::Method;
use lockstep_lab::front::{Fault, Request, Rule, RuleId};
use lockstep_lab::image::Image;

use crate::journey::{AT_THE_CARD, AT_THE_HOST, CardAgent, Pair, Seen, effect};
use crate::objects::Choices;
use crate::report::Report;
use crate::story;
use crate::world::World;

/// One story, with all of its crashes.
const STORY: Duration = Duration::from_secs(600);
/// How often is looked for the next point.
const LOOK: Duration = Duration::from_millis(40);
/// What every read of a BMC takes: a look lasts long enough to be struck.
const SLOW: Duration = Duration::from_millis(150);
/// How long what was killed stays away.
const AWAY: Duration = Duration::from_secs(1);
/// How long the operator may stay away for something to happen meanwhile.
const MISSED: Duration = Duration::from_secs(15);
/// How long nothing more must be done after the end.
const QUIET: Duration = Duration::from_secs(6);

/// The actions of an install.
const ACTIONS: [&str; 5] = [
    "HoldHost",
    "StageInstall",
    "PowerOn",
    "ClearInstall",
    "ReleaseHost",
];

/// Effects after which an action has one more. An agent that is killed in between awaits that one
/// for a minute or two: it is left to the pass on VMs.
const HALVES: [&str; 2] = ["card: InsertMedia done", "card: PATCH Hdd done"];

/// Who is killed, or what else is done, at every point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The operator is killed.
    Operator,
    /// The site agent is killed.
    Agent,
    /// The emulator is killed.
    Emulator,
    /// All three are killed.
    Everybody,
    /// Operator and site agent are replaced, as an upgrade does.
    Replacement,
    /// Nobody is killed; replies of changes are lost.
    LostReply,
}

impl Strike {
    fn kills_operator(self) -> bool {
        matches!(self, Self::Operator | Self::Everybody)
    }

    fn kills_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Everybody)
    }

    fn kills_emulator(self) -> bool {
        matches!(self, Self::Emulator | Self::Everybody)
    }

    /// The points at which it must have struck by the end.
    fn points(self) -> BTreeSet<String> {
        let done = AT_THE_CARD
            .iter()
            .map(|effect| format!("card: {effect} done"))
            .chain(
                AT_THE_HOST
                    .iter()
                    .map(|effect| format!("host: {effect} done")),
            );
        let stages = ACTIONS.iter().flat_map(|action| {
            // A hold that changes nothing at the BMC is told in one write.
            let stages: &[&str] = match *action {
                "HoldHost" => &["recorded", "ended"],
                _ => &["recorded", "accepted", "ended"],
            };
            stages.iter().map(move |stage| format!("{action} {stage}"))
        });
        match self {
            Self::Agent => stages
                .chain(done)
                .filter(|point| !HALVES.contains(&point.as_str()))
                .collect(),
            Self::Operator | Self::Emulator | Self::Everybody => stages.chain(done).collect(),
            // A site agent that is told to end finishes what it has begun; of the two that it
            // carries out at the same time, one may pass while the other is struck.
            Self::Replacement => stages
                .filter(|point| point != "ClearInstall accepted" && point != "ReleaseHost accepted")
                .collect(),
            Self::LostReply => BTreeSet::new(),
        }
    }
}

/// Waits that outlast what the crashes cost.
pub fn choices() -> Choices {
    Choices {
        host_timeout: 3600,
        os_timeout: 1200,
        ..Choices::default()
    }
}

/// A change whose reply is kept back until somebody was killed.
struct HeldReply {
    machine: &'static str,
    point: String,
    effect: &'static str,
    rule: RuleId,
}

/// One install with a strike at each of its points.
pub struct Story {
    strike: Strike,
    pair: Pair,
    /// What the card's own agent says it runs, where no system boots.
    image: Option<Image>,
    struck: BTreeSet<String>,
    held: Vec<HeldReply>,
    card: Option<CardAgent>,
}

impl Story {
    /// A story that has not begun.
    pub fn new(strike: Strike, pair: Pair, image: Option<Image>) -> Self {
        Self {
            strike,
            pair,
            image,
            struck: BTreeSet::new(),
            held: Vec::new(),
            card: None,
        }
    }

    /// Plays it from `apply` to Ready, and judges it.
    ///
    /// # Errors
    /// When it does not get Ready, or not in the one right way, or a point was not struck.
    pub async fn play(&mut self, world: &mut World, report: &mut Report) -> Result<()> {
        let began = Instant::now();
        let Pair { card, .. } = self.pair;
        self.prepare(world)?;
        let yaml = self.pair.yaml(world, &choices())?;
        world.control_plane.kubectl().apply_text(&yaml).await?;
        let mut strikes = 0;
        loop {
            let seen = self.pair.look(world).await?;
            let fresh = self.fresh(world, &seen)?;
            if !fresh.is_empty() {
                strikes += 1;
                eprintln!(
                    "  {:>4} s  {:?} at {}",
                    began.elapsed().as_secs(),
                    self.strike,
                    list(&fresh)
                );
                self.hit(world, fresh).await?;
                continue;
            }
            if seen.ready {
                break;
            }
            if let Some(image) = &self.image
                && self.card.is_none()
                && seen.card_is_on()
                && seen.points().contains("PowerOn ended")
            {
                self.card = Some(CardAgent::boot(world, &self.pair, image).await?);
            }
            world.check()?;
            ensure!(
                began.elapsed() < STORY,
                "{:?}: {card} was not Ready after {} s; {}; done: {:?}",
                self.strike,
                STORY.as_secs(),
                seen.shown(),
                self.pair.effects(world)?
            );
            tokio::time::sleep(LOOK).await;
        }
        let pair = self.pair;
        let before = pair.effects(world)?;
        story::stays_so(QUIET, "no effect after Ready", async || {
            Ok(pair.effects(world)? == before)
        })
        .await?;
        pair.judge(world).await?;
        let missed: BTreeSet<String> = self
            .strike
            .points()
            .difference(&self.struck)
            .cloned()
            .collect();
        ensure!(
            missed.is_empty(),
            "{:?}: these points passed without a strike: {}",
            self.strike,
            list(&missed)
        );
        let lost = self.lost_replies(world)?;
        ensure!(
            self.strike != Strike::LostReply || lost == AT_THE_CARD.len() + AT_THE_HOST.len(),
            "only {lost} replies were lost"
        );
        report.say(format!(
            "{:?}: {strikes} strikes at {} points, {lost} replies of changes lost, Ready after {} s; done once each: {}; host: {}",
            self.strike,
            self.struck.len(),
            began.elapsed().as_secs(),
            before.0.join(", "),
            before.1.join(", ")
        ));
        Ok(())
    }

    /// Changes that were done and whose reply never arrived.
    fn lost_replies(&self, world: &World) -> Result<usize> {
        let mut lost = 0;
        for name in [self.pair.card, self.pair.host] {
            let changes = world.machines.bmc(name)?.changes();
            lost += changes.iter().filter(|one| is_kept_back(one)).count();
        }
        Ok(lost)
    }

    /// Keeps back, or loses, the reply of every change.
    fn prepare(&mut self, world: &World) -> Result<()> {
        let Pair { card, host } = self.pair;
        let effects = AT_THE_CARD
            .iter()
            .map(|effect| (card, "card", *effect))
            .chain(AT_THE_HOST.iter().map(|effect| (host, "host", *effect)));
        for (machine, role, effect) in effects {
            let (method, path) = match effect.split(' ').next() {
                Some("PATCH") => (Method::PATCH, "/redfish/v1/"),
                Some("Reset") => (Method::POST, "ComputerSystem.Reset"),
                Some("InsertMedia") => (Method::POST, "InsertMedia"),
                Some("EjectMedia") => (Method::POST, "EjectMedia"),
                other => bail!("no rule for {other:?}"),
            };
            let point = format!("{role}: {effect} done");
            let fault = match self.strike {
                Strike::LostReply => Fault::DropReply,
                Strike::Replacement => continue,
                Strike::Agent if HALVES.contains(&point.as_str()) => continue,
                Strike::Operator | Strike::Agent | Strike::Emulator | Strike::Everybody => {
                    Fault::HangReply
                }
            };
            let rule = Rule::on(method, path, fault).once();
            let rule = world.machines.bmc(machine)?.add_rule(rule);
            if self.strike != Strike::LostReply {
                self.held.push(HeldReply {
                    machine,
                    point,
                    effect,
                    rule,
                });
            }
        }
        if self.strike != Strike::LostReply {
            self.pair.slow_down(world, SLOW)?;
        }
        Ok(())
    }

    /// The points that are there now and were not struck yet.
    fn fresh(&self, world: &World, seen: &Seen) -> Result<BTreeSet<String>> {
        if self.strike == Strike::LostReply {
            return Ok(BTreeSet::new());
        }
        let mut points = seen.points();
        let stages = [" recorded", " accepted", " ended"];
        points.retain(|point| stages.iter().any(|stage| point.ends_with(stage)));
        for held in &self.held {
            let changes = world.machines.bmc(held.machine)?.changes();
            let waits = changes
                .iter()
                .any(|one| is_kept_back(one) && effect(one) == held.effect);
            if waits {
                points.insert(held.point.clone());
            }
        }
        Ok(points.difference(&self.struck).cloned().collect())
    }

    /// Strikes at these points, and lets the replies go that were kept back for it.
    async fn hit(&mut self, world: &mut World, fresh: BTreeSet<String>) -> Result<()> {
        if self.strike == Strike::Replacement {
            self.struck.extend(fresh);
            return self.replace(world).await;
        }
        if self.strike.kills_agent() {
            world.kill_agent().await?;
        }
        if self.strike.kills_operator() {
            world.kill_operator().await?;
        }
        if self.strike.kills_emulator() {
            world.machines.kill_emulator().await?;
        }
        let seen = self.pair.look(world).await?;
        let still = self.fresh(world, &seen)?;
        self.struck.extend(fresh.intersection(&still).cloned());
        if self.strike.kills_emulator() {
            let cut_short = self.cut_short(world)?;
            self.struck.extend(cut_short);
        }
        let (free, kept) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| self.struck.contains(&held.point));
        let free: Vec<HeldReply> = free;
        self.held = kept;
        for held in &free {
            world.machines.bmc(held.machine)?.remove_rule(held.rule);
        }
        if self.strike == Strike::Operator {
            self.happens_meanwhile(world, &seen).await?;
        } else {
            tokio::time::sleep(AWAY).await;
        }
        if self.strike.kills_emulator() {
            world.machines.restart_emulator().await?;
        }
        if self.strike.kills_agent() {
            world.start_agent().await?;
        }
        if self.strike.kills_operator() {
            world.end_leadership().await?;
            world.start_operator().await?;
        }
        Ok(())
    }

    /// Effects that the BMC was asked for when it was killed: nobody will ever answer them,
    /// done or not.
    fn cut_short(&self, world: &World) -> Result<BTreeSet<String>> {
        let mut points = BTreeSet::new();
        for held in &self.held {
            let changes = world.machines.bmc(held.machine)?.changes();
            let asked = |one: &Request| one.forwarded && !one.delivered;
            if changes
                .iter()
                .any(|one| asked(one) && effect(one) == held.effect)
            {
                points.insert(held.point.clone());
            }
        }
        Ok(points)
    }

    /// Replaces both. What comes and goes meanwhile has met one of them on its way.
    async fn replace(&mut self, world: &mut World) -> Result<()> {
        let client = world.control_plane.client();
        let pair = self.pair;
        let replaced = async {
            world.replace_agent().await?;
            world.replace_operator().await
        };
        tokio::pin!(replaced);
        loop {
            let look = async {
                tokio::time::sleep(LOOK).await;
                pair.look_with(client.clone()).await
            };
            tokio::select! {
                ended = &mut replaced => return ended,
                seen = look => self.struck.extend(seen?.points()),
            }
        }
    }

    /// The agent goes on while there is no operator: until the next thing has happened.
    async fn happens_meanwhile(&self, world: &World, before: &Seen) -> Result<()> {
        let waiting = self.fresh(world, before)?;
        let end = Instant::now() + MISSED;
        while Instant::now() < end {
            let seen = self.pair.look(world).await?;
            if seen.points() != before.points() || self.fresh(world, &seen)? != waiting {
                return Ok(());
            }
            if before.points().iter().all(|point| point.ends_with("ended")) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Whether the BMC has done it and its reply has not arrived.
fn is_kept_back(change: &Request) -> bool {
    change.status.is_some() && !change.delivered
}

fn list(points: &BTreeSet<String>) -> String {
    let points: Vec<&str> = points.iter().map(String::as_str).collect();
    points.join(", ")
}
