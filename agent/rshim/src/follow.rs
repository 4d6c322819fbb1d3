//! How far an install is, by what the card's log says, and how it ended.
//!
//! The installer's own end proves nothing: a part may have failed though it goes on and starts
//! the card again. So each part is looked at, and what counts in the end is what the card
//! reports once it is up.

use crate::log::{self, Line};

/// More failed parts than any installer has.
const MOST_FAILED: usize = 16;

/// How an install ended, by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The installer said that it was done, and of no part that it failed.
    Installed,
    /// It was not; with what was said.
    Failed(String),
    /// The card came up, and nothing was said of an install.
    WithoutInstall,
}

/// Follows one install.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    /// The ring as it was seen last.
    seen: Vec<String>,
    begun: bool,
    complete: bool,
    failed: Vec<String>,
    percent: Option<u8>,
    last: Option<String>,
    ended: Option<Ended>,
}

impl Follower {
    /// One that knows of nothing but this, which was in the ring before.
    pub fn after(misc: &str) -> Self {
        Self {
            seen: log::lines(misc),
            ..Self::default()
        }
    }

    /// Takes what `misc` shows now; tells whether there was anything new.
    pub fn read(&mut self, misc: &str) -> bool {
        let now = log::lines(misc);
        let fresh = log::fresh(&self.seen, &now).to_vec();
        self.seen = now;
        for line in &fresh {
            self.take(line);
        }
        !fresh.is_empty()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// How it ended if nothing more is ever said; `None` if nobody can tell.
    pub fn ended_in_silence(&self) -> Option<Ended> {
        let silent = || self.complete.then(|| self.judged());
        self.ended.clone().or_else(silent)
    }

    /// Whether an installer has said anything.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// How far it is, in words.
    pub fn progress(&self) -> String {
        let last = self.last.as_deref().unwrap_or("nothing yet");
        match self.percent {
            Some(percent) => format!("{percent} %, {last}"),
            None => last.to_owned(),
        }
    }

    fn take(&mut self, line: &str) {
        if self.ended.is_some() {
            return;
        }
        match log::parse(line) {
            Line::Crash(what) => self.ended = Some(Ended::Failed(format!("it crashed: {what}"))),
            Line::Message {
                level: "ASSERT",
                module,
                text,
            } => {
                self.ended = Some(Ended::Failed(format!("{module} asserts: {text}")));
            }
            Line::Message { text, .. } => self.hear(text),
            Line::Other(_) => {}
        }
    }

    fn hear(&mut self, text: &str) {
        self.last = Some(text.to_owned());
        let said = text.to_ascii_lowercase();
        let says = |words: &str| said.contains(words);
        self.percent = percent(&said).or(self.percent);
        self.begun |= says("installation started") || says("bfb-installer:");
        self.complete |= says("installation finished") || says("installation completed");
        self.begun |= self.complete;
        if says("critical error") {
            self.ended = Some(Ended::Failed(text.to_owned()));
        } else if says("in enhanced nic mode") {
            self.ended = Some(Ended::Failed(
                "the card came up in NIC mode, in which no system runs on it".to_owned(),
            ));
        } else if says("bfb-installer:") && says(" failed") && self.failed.len() < MOST_FAILED {
            self.failed.push(text.to_owned());
        } else if says("rebooting...") && self.begun {
            self.ended = Some(self.judged());
        } else if says("linux up") || says("dpu is ready") {
            self.ended = Some(if self.begun {
                self.judged()
            } else {
                Ended::WithoutInstall
            });
        }
    }

    fn judged(&self) -> Ended {
        if self.failed.is_empty() {
            Ended::Installed
        } else {
            Ended::Failed(self.failed.join("; "))
        }
    }
}

/// `40` of `total 40% complete`.
fn percent(said: &str) -> Option<u8> {
    let (before, _) = said.split_once('%')?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn misc(lines: &[&str]) -> String {
        let mut text = "BOOT_MODE 1\n---\n  Log Messages\n---\n".to_owned();
        for line in lines {
            text += &format!(" {line}\n");
        }
        text
    }

    const BOOT: &[&str] = &["INFO[PSC]: PSC BL1 START", "INFO[BL2]: start"];
    const SOUND: &[&str] = &[
        "INFO[MISC]: Ubuntu installation started",
        "INFO[MISC]: BFB-Installer: Installing DPU OS passed, total 40% complete",
        "INFO[MISC]: BFB-Installer: Installing NIC firmware passed, total 80% complete",
        "INFO[MISC]: Installation finished",
        "INFO[MISC]: Rebooting...",
    ];

    fn told(before: &[&str], lines: &[&str]) -> Follower {
        let mut follower = Follower::after(&misc(before));
        let all: Vec<&str> = before.iter().chain(lines).copied().collect();
        assert_eq!(follower.read(&misc(&all)), !lines.is_empty());
        follower
    }

    #[test]
    fn an_install_is_followed_to_its_end() {
        let mut lines = BOOT.to_vec();
        lines.extend(&SOUND[..3]);
        let follower = told(&["INFO[MISC]: DPU is ready"], &lines);
        assert_eq!(follower.ended(), None);
        assert_eq!(follower.ended_in_silence(), None);
        assert!(follower.progress().starts_with("80 %, BFB-Installer"));
        lines.extend(&SOUND[3..]);
        let follower = told(&["INFO[MISC]: DPU is ready"], &lines);
        assert_eq!(follower.ended(), Some(&Ended::Installed));
    }

    #[test]
    fn an_installer_that_says_nothing_after_it_finished_has_finished() {
        let follower = told(&[], &SOUND[..4]);
        assert_eq!(follower.ended(), None);
        assert_eq!(follower.ended_in_silence(), Some(Ended::Installed));
    }

    #[test]
    fn a_failed_part_counts_though_the_installer_goes_on() {
        let failed =
            "INFO[MISC]: BFB-Installer: Installing NIC firmware failed, total 80% complete";
        let lines = [SOUND[0], SOUND[1], failed, SOUND[3], SOUND[4]];
        let follower = told(&[], &lines);
        assert!(
            matches!(follower.ended(), Some(Ended::Failed(why)) if why.contains("NIC firmware failed"))
        );
    }

    #[test]
    fn only_the_installer_itself_says_that_a_part_failed() {
        for said in [
            "INFO[MISC]: 2 checks passed, 0 failed",
            "WARN[UEFI]: PXE boot failed",
            "INFO[MISC]: bfb-installer: failover is on",
        ] {
            let mut lines = SOUND.to_vec();
            lines.insert(2, said);
            let follower = told(&[], &lines);
            assert_eq!(follower.ended(), Some(&Ended::Installed), "{said}");
        }
    }

    #[test]
    fn every_other_end_is_known() {
        for (lines, wanted) in [
            (
                vec![SOUND[0], "ERR[MISC]: CRITICAL ERROR: no eMMC"],
                "CRITICAL ERROR",
            ),
            (vec!["PANIC(BL31): PC = 0x10"], "it crashed: PANIC(BL31)"),
            (
                vec!["Exception(BL2): syndrome = 0x96000050(Data Abort)"],
                "it crashed: Exception(BL2)",
            ),
            (vec!["ASSERT[UEFI]: ASSERT Foo.c(12)"], "UEFI asserts"),
            (vec!["INFO[UEFI]: In Enhanced NIC mode"], "NIC mode"),
        ] {
            let follower = told(BOOT, &lines);
            assert!(
                matches!(follower.ended(), Some(Ended::Failed(why)) if why.contains(wanted)),
                "{lines:?}: {:?}",
                follower.ended()
            );
        }
        let follower = told(&[], &["INFO[BL2]: start", "INFO[MISC]: Linux up"]);
        assert_eq!(follower.ended(), Some(&Ended::WithoutInstall));
    }

    #[test]
    fn what_the_card_said_before_is_no_news() {
        let follower = told(SOUND, &["INFO[BL2]: start"]);
        assert_eq!(follower.ended_in_silence(), None);
    }

    proptest! {
        #[test]
        fn an_end_stays_what_it_was(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    SOUND[0], SOUND[1], SOUND[3], SOUND[4], BOOT[0],
                    "INFO[MISC]: BFB-Installer: x failed", "PANIC(BL2): PC = 0x0", "INFO[MISC]: Linux up",
                ]),
                0..12,
            ),
        ) {
            let mut follower = Follower::default();
            let mut end = None;
            for count in 1..=lines.len() {
                follower.read(&misc(&lines[..count]));
                if end.is_some() {
                    prop_assert_eq!(follower.ended(), end.as_ref());
                }
                end = follower.ended().cloned();
            }
        }
    }
}
