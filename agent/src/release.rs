//! `lockstep-agent release`: ends a hold without Kubernetes, straight at the
//! host's BMC, from the work order in the state folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lockstep_redfish::{BmcOptions, Redfish};

use crate::site::custody::{Attempt, Carried, carry_out};
use crate::site::order::OrderState;
use crate::site::orders::OrderBook;

/// What the command is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ReleaseArgs {
    /// State folder of the site agent.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// Name of the DpuHost.
    #[arg(long)]
    pub host: String,
    /// BMC account, where the stored one no longer works.
    #[arg(long, requires = "password_file")]
    pub username: Option<String>,
    /// File with that account's password.
    #[arg(long, requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Release although handsOff was set when the host was last seen.
    #[arg(long)]
    pub despite_hands_off: bool,
    /// Release although the BMC shows another key than when the host was held,
    /// where its certificate is not verified.
    #[arg(long)]
    pub accept_new_key: bool,
    /// Seconds that the host may take to be seen on.
    #[arg(long, default_value_t = 120)]
    pub wait_seconds: u64,
}

/// Proves the machine, puts its settings back, powers it on, and marks the
/// order; tells the outcome in words.
pub async fn run(args: &ReleaseArgs) -> Result<String> {
    if !args.state_dir.is_dir() {
        bail!(
            "{} is no folder; give the site agent's stateDir",
            args.state_dir.display()
        );
    }
    let book = OrderBook::open(&args.state_dir)?;
    let Some(_lock) = book.try_lock(&args.host)? else {
        bail!(
            "the work order of {} is being carried out just now; look again when that has ended",
            args.host
        );
    };
    let Some(mut order) = book.get(&args.host)? else {
        let orders = book.list()?.orders;
        let kept: Vec<String> = orders.into_iter().map(|order| order.host).collect();
        bail!(
            "no work order of {} is kept here; there are orders of: {}",
            args.host,
            if kept.is_empty() {
                "nobody".to_owned()
            } else {
                kept.join(", ")
            }
        );
    };
    match order.state {
        OrderState::ExpiredReleased | OrderState::ReleasedOffline => {
            return Ok(format!(
                "{} was released before; nothing was done",
                args.host
            ));
        }
        OrderState::Kept
        | OrderState::Restoring
        | OrderState::PoweringOn
        | OrderState::ExpiredKeptHeld => {}
    }
    if order.hands_off && !args.despite_hands_off {
        bail!(
            "handsOff was set on {} when it was last seen; unset it, or give --despite-hands-off",
            args.host
        );
    }
    if let (Some(username), Some(file)) = (&args.username, &args.password_file) {
        let password = std::fs::read_to_string(file)
            .with_context(|| format!("password file {}", file.display()))?;
        order.access.username = username.clone();
        order.access.password = password.trim_end_matches(['\r', '\n']).to_owned();
    }
    if args.accept_new_key {
        order.expects.bmc_key_pin = None;
    }
    let checks_key = order.meant().bmc_key_pin.is_some();
    let redfish = Redfish::new(order.networks()?, BmcOptions::default());
    let bmc = redfish.bmc(order.target()?)?;
    let attempt = Attempt {
        released: OrderState::ReleasedOffline,
        again: true,
        up_within: Duration::from_secs(args.wait_seconds),
    };
    let carried = carry_out(&book, &mut order, &bmc, attempt).await;
    lockstep_redfish::Bmc::close(&bmc).await;
    match carried? {
        Carried::Released(note) => Ok(format!(
            "{} is released and powered on{}",
            args.host,
            note.map_or_else(String::new, |note| format!(" ({note})"))
        )),
        Carried::NotUp(why) | Carried::NotNow(why) => {
            let hint = if checks_key {
                ". If the BMC has a new key since the host was held, and is the right one, give --accept-new-key"
            } else {
                ""
            };
            bail!("{} is not released: {why}{hint}", args.host)
        }
    }
}
