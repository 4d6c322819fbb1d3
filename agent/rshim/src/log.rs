//! What the card says of its boot: a small ring that `misc` shows below its settings, once
//! `DISPLAY_LEVEL` is 2. Whoever reads it gets all that it holds, old and new alike.

/// What stands above the log.
const HEADING: &str = "Log Messages";
/// What a ring can hold at most is a fraction of this.
const MOST_LINES: usize = 1024;
const LONGEST_LINE: usize = 256;

/// What a line says of the one who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A message of a boot stage, or of what runs after them all.
    Message {
        /// `INFO`, `WARN`, `ERR` or `ASSERT`.
        level: &'a str,
        /// `BL2`, `UEFI`, or `MISC` for installers and systems.
        module: &'a str,
        /// The message.
        text: &'a str,
    },
    /// A boot stage crashed.
    Crash(&'a str),
    /// A register of a crash, or what nobody writes.
    Other(&'a str),
}

/// The lines of the log in the text of `misc`; none if it shows no log.
pub fn lines(misc: &str) -> Vec<String> {
    let below = misc
        .lines()
        .skip_while(|line| !line.contains(HEADING))
        .skip(1)
        .skip_while(|line| line.starts_with("---"));
    below
        .map(|line| line.trim_end_matches(['\0', '\r', ' ']))
        .filter(|line| !line.trim().is_empty())
        .take(MOST_LINES)
        .map(|line| line.chars().take(LONGEST_LINE).collect())
        .collect()
}

/// What a line says.
pub fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.starts_with("PANIC(") || line.starts_with("Exception(") {
        return Line::Crash(line);
    }
    let message = || {
        let (head, text) = line.split_once("]:")?;
        let (level, module) = head.split_once('[')?;
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
        (word(level) && word(module)).then_some(Line::Message {
            level,
            module,
            text: text.trim(),
        })
    };
    message().unwrap_or(Line::Other(line))
}

/// The lines of `now` that were not in the ring `before`. A ring that was emptied, or began anew
/// with the reset of its card, shares nothing with the one before.
pub fn fresh<'a>(before: &[String], now: &'a [String]) -> &'a [String] {
    let most = before.len().min(now.len());
    let shared = (1..=most)
        .rev()
        .find(|count| before[before.len() - count..] == now[..*count]);
    &now[shared.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MISC: &str = "\
DISPLAY_LEVEL   2 (0:basic, 1:advanced, 2:log)
BOOT_MODE       1 (0:rshim, 1:emmc, 2:emmc-boot-swap)
---------------------------------------
             Log Messages
---------------------------------------
 INFO[BL2]: start
 ERR[UEFI]: no boot entry

 PANIC(BL31): PC = 0x1234
   elr_el3         0xdeadbeef
 INFO[MISC]: DPU is ready
";

    #[test]
    fn the_log_is_what_stands_below_its_heading() {
        let log = lines(MISC);
        assert_eq!(log.len(), 5);
        assert_eq!(
            parse(&log[0]),
            Line::Message {
                level: "INFO",
                module: "BL2",
                text: "start"
            }
        );
        assert_eq!(parse(&log[2]), Line::Crash("PANIC(BL31): PC = 0x1234"));
        assert!(matches!(parse(&log[3]), Line::Other(_)));
        assert_eq!(lines("BOOT_MODE 1\n"), Vec::<String>::new());
        assert_eq!(lines(""), Vec::<String>::new());
    }

    fn log(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_is_new_is_fresh_whatever_became_of_the_ring() {
        for (before, now, wanted) in [
            ("", "", ""),
            ("", "a b", "a b"),
            ("a b", "a b", ""),
            ("a b", "a b c", "c"),
            // It has no room for the oldest any more.
            ("a b c", "b c d", "d"),
            // It was emptied, or its card was reset.
            ("a b c", "", ""),
            ("a b c", "a", "a"),
            ("a b c", "x y", "x y"),
            ("a a", "a a a", "a"),
        ] {
            assert_eq!(
                fresh(&log(before), &log(now)),
                log(wanted),
                "{before}|{now}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_appended_is_fresh(
            kept in prop::collection::vec("[a-z]{1,3}", 0..10),
            added in prop::collection::vec("[A-Z]{1,3}", 0..10),
            gone in 0_usize..10,
        ) {
            let now: Vec<String> = kept.iter().skip(gone).chain(&added).cloned().collect();
            let wanted = if gone >= kept.len() { &now[..] } else { &added[..] };
            prop_assert_eq!(fresh(&kept, &now), wanted);
        }

        #[test]
        fn any_text_is_read(text in "((INFO|ERR|PANIC)?[\\[\\(A-Z\\]\\):]{0,8}[ -~]{0,30}\n|-*Log Messages\n){0,10}") {
            for line in lines(&text) {
                parse(&line);
            }
        }
    }
}
