//! The card behind the imitation.

use std::time::{Duration, Instant};

/// What the real one has for everything that it shows.
const MISC: usize = 4069;

/// What becomes of an attempt to open `boot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOpen {
    /// The card is reset, and takes a boot stream.
    #[default]
    Resets,
    /// The device is gone.
    Gone,
    /// The reset fails, and nobody knows how far it came.
    Fails,
}

/// A card, and the side of the rshim that faces the host.
#[derive(Debug)]
pub struct Card {
    /// `BlueField-3(Rev 1)`.
    pub device: String,
    /// `DPU mode`.
    pub mode: String,
    /// `pcie-0000:03:00.2`.
    pub device_name: String,
    /// This side has given the rshim away.
    pub dropped: bool,
    /// The host is locked out.
    pub locked: bool,
    /// Whether somebody has `boot` open.
    pub boot_open: bool,
    /// What opening it does.
    pub on_open: OnOpen,
    /// Opening it does not reset the card (`BOOT_RESET_SKIP`).
    pub skips_reset: bool,
    /// Its driver knows `BOOT_RESET_SKIP`.
    pub knows_reset_skip: bool,
    /// Bytes that one write takes at most.
    pub most_at_once: usize,
    /// Bytes a second; without it as fast as they come.
    pub rate: Option<u64>,
    /// After so many bytes the card takes nothing more.
    pub takes: Option<usize>,
    /// Nothing answers reads of `misc`.
    pub misc_hangs: bool,
    /// Bytes of a whole boot stream. Of fewer it says that it started, and waits for the rest.
    pub whole: usize,
    /// What it says once a boot stream has come, and how long after.
    pub script: Vec<(Duration, String)>,
    /// The boot stream that came last.
    pub received: Vec<u8>,
    /// How often it was reset.
    pub resets: usize,
    /// What was set in `misc`, in order.
    pub settings: Vec<String>,
    /// Whether it tells its uptime, as cards of the third generation do.
    pub tells_uptime: bool,
    display_level: u8,
    log: Vec<String>,
    up_since: Instant,
    up_before: Duration,
    closed: Option<Instant>,
    said: usize,
}

impl Default for Card {
    fn default() -> Self {
        Self {
            device: "BlueField-3(Rev 1)".to_owned(),
            mode: "DPU mode".to_owned(),
            device_name: "pcie-0000:03:00.2".to_owned(),
            dropped: false,
            locked: false,
            boot_open: false,
            on_open: OnOpen::Resets,
            skips_reset: false,
            knows_reset_skip: true,
            most_at_once: 50_000,
            rate: None,
            takes: None,
            misc_hangs: false,
            whole: 0,
            script: Vec::new(),
            received: Vec::new(),
            resets: 0,
            settings: Vec::new(),
            tells_uptime: true,
            display_level: 0,
            log: vec![
                "INFO[BL2]: start".to_owned(),
                "INFO[MISC]: DPU is ready".to_owned(),
            ],
            up_since: Instant::now(),
            up_before: Duration::from_secs(86_400),
            closed: None,
            said: 0,
        }
    }
}

impl Card {
    /// An installer that does what it should, with so long between its lines.
    pub fn installs(&mut self, pause: Duration) {
        self.says(
            pause,
            &[
                "INFO[BL2]: start",
                "INFO[MISC]: Ubuntu installation started",
                "INFO[MISC]: BFB-Installer: Installing DPU OS passed, total 60% complete",
                "INFO[MISC]: Installation finished",
                "INFO[MISC]: Rebooting...",
                "INFO[BL2]: start",
                "INFO[MISC]: Linux up",
            ],
        );
    }

    /// What it says once a boot stream has come, with so long between the lines.
    pub fn says(&mut self, pause: Duration, lines: &[&str]) {
        self.script = (1..)
            .zip(lines)
            .map(|(count, line)| (pause * count, (*line).to_owned()))
            .collect();
    }

    /// Whether its log shows this by now.
    pub fn has_said(&mut self, what: &str) -> bool {
        self.speak();
        self.log.iter().any(|line| line.contains(what))
    }

    /// It came up so long ago, by its own account.
    pub fn has_been_up(&mut self, span: Duration) {
        self.up_since = Instant::now();
        self.up_before = span;
    }

    pub(crate) fn open_boot(&mut self) -> Result<(), i32> {
        const EIO: i32 = 5;
        const EBUSY: i32 = 16;
        const ENODEV: i32 = 19;
        const EINVAL: i32 = 22;
        const EPERM: i32 = 1;
        if self.dropped {
            return Err(EINVAL);
        }
        if self.locked {
            return Err(EPERM);
        }
        if self.boot_open {
            return Err(EBUSY);
        }
        match self.on_open {
            OnOpen::Gone => return Err(ENODEV),
            OnOpen::Fails => return Err(EIO),
            OnOpen::Resets => {}
        }
        self.boot_open = true;
        self.received.clear();
        if !self.skips_reset {
            self.resets += 1;
            self.log.clear();
            self.has_been_up(Duration::ZERO);
        }
        self.closed = None;
        self.said = 0;
        Ok(())
    }

    /// Takes a part of the bytes, or fails with an error number.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Duration), i32> {
        const ETIMEDOUT: i32 = 110;
        let room = self
            .takes
            .map_or(usize::MAX, |most| most.saturating_sub(self.received.len()));
        let taken = bytes.len().min(self.most_at_once).min(room);
        if taken == 0 && !bytes.is_empty() {
            return Err(ETIMEDOUT);
        }
        self.received.extend_from_slice(&bytes[..taken]);
        let lasts = self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(taken as f64 / rate as f64)
        });
        Ok((taken, lasts))
    }

    pub(crate) fn close_boot(&mut self) {
        self.boot_open = false;
        self.closed = Some(Instant::now());
    }

    /// What `misc` shows now.
    pub(crate) fn misc(&mut self) -> String {
        self.speak();
        let flag = |flag: bool| u8::from(flag);
        let mut text = format!(
            "DISPLAY_LEVEL   {} (0:basic, 1:advanced, 2:log)\n\
             BF_MODE         {}\n\
             BOOT_MODE       {} (0:rshim, 1:emmc, 2:emmc-boot-swap)\n\
             BOOT_TIMEOUT    300 (seconds)\n\
             USB_TIMEOUT     40 (seconds)\n\
             DROP_MODE       {} (0:normal, 1:drop)\n\
             SW_RESET        0 (1: reset)\n\
             DEV_NAME        {}\n\
             DEV_INFO        {}\n\
             OPN_STR         N/A\n",
            self.display_level,
            self.mode,
            flag(!self.boot_open),
            flag(self.dropped),
            self.device_name,
            self.device,
        );
        if self.tells_uptime {
            let up = self.up_before + self.up_since.elapsed();
            text += &format!("UP_TIME         {}(s)\n", up.as_secs());
        }
        text += &format!(
            "SECURE_NIC_MODE {} (0:no, 1:yes)\n\
             FORCE_CMD       0 (1: send Force command)\n",
            flag(self.locked)
        );
        if self.display_level == 2 {
            let line = "---------------------------------------\n";
            text += &format!("{line}             Log Messages\n{line}");
            for said in &self.log {
                text += &format!(" {said}\n");
            }
        }
        text.truncate(MISC);
        text
    }

    pub(crate) fn set(&mut self, text: &str) -> Result<(), i32> {
        const EINVAL: i32 = 22;
        let mut words = text.split_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            return Err(EINVAL);
        };
        match key {
            "DISPLAY_LEVEL" => self.display_level = value.parse().map_err(|_| EINVAL)?,
            "DROP_MODE" => self.dropped = value != "0",
            "BOOT_RESET_SKIP" if self.knows_reset_skip => self.skips_reset = value != "0",
            "BOOT_MODE" | "CLEAR_ON_READ" => {}
            _ => return Err(EINVAL),
        }
        self.settings.push(format!("{key} {value}"));
        Ok(())
    }

    fn speak(&mut self) {
        let Some(closed) = self.closed else { return };
        let now = closed.elapsed();
        let is_whole = self.received.len() >= self.whole;
        let lines = if is_whole { self.script.len() } else { 1 };
        while self.said < lines
            && let Some((at, line)) = self.script.get(self.said)
            && *at <= now
        {
            if line.contains("start") && line.contains("BL2") {
                self.has_been_up_since_now();
            }
            self.log.push(self.script[self.said].1.clone());
            self.said += 1;
        }
    }

    fn has_been_up_since_now(&mut self) {
        self.up_since = Instant::now();
        self.up_before = Duration::ZERO;
    }
}
