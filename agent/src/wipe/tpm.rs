//! The TPM: `TPM2_Clear` by its lockout hierarchy (TCG TPM 2.0 Library, Part 3), which ends every
//! key and NV index of the owner and makes new seeds, and then a look at what is left.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use lockstep_crds::wipe::WipeItem;
use lockstep_local::{Fact, Root, tpm};

use crate::wipe::{failed, left, wiped};

const NAME: &str = "Tpm";
const DEVICE: &str = "/dev/tpm0";
/// More than any answer that is asked for here.
const MOST: usize = 4096;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const CLEAR: u32 = 0x126;
const GET_CAPABILITY: u32 = 0x17a;
const NV_READ_PUBLIC: u32 = 0x169;
const LOCKOUT: u32 = 0x4000_000a;
const PASSWORD: u32 = 0x4000_0009;
const HANDLES: u32 = 1;
const FIRST_NV: u32 = 0x0100_0000;
const FIRST_PERSISTENT: u32 = 0x8100_0000;
/// From here on persistent objects are the platform's.
const FIRST_OF_PLATFORM: u32 = 0x8180_0000;
/// An NV index that the firmware made stays.
const PLATFORM_CREATE: u32 = 1 << 30;
/// As many as one answer holds.
const AT_ONCE: u32 = 64;

/// Clears the first TPM.
pub(super) fn wipe(root: &Root) -> WipeItem {
    match tpm(root) {
        Fact::NotOffered => return left(NAME, "this system sees none; a driver may be missing"),
        Fact::NotRead(why) => {
            return failed(NAME, format!("nobody can tell whether there is one: {why}"));
        }
        Fact::Known(found) if found.version_major == Some(1) => {
            return left(
                NAME,
                "it is a TPM 1.2, which is cleared in the setup of the firmware alone",
            );
        }
        Fact::Known(_) => {}
    }
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(Path::new(DEVICE));
    match device
        .map_err(Trouble::from)
        .and_then(|device| clear(&mut Device(device)))
    {
        Ok(kept) => wiped(
            NAME,
            format!(
                "cleared: no key and no NV index of its owner is left, {kept} of the firmware's are"
            ),
        ),
        Err(trouble) => failed(NAME, trouble.to_string()),
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("/dev/tpm0: {0}")]
    Device(#[from] io::Error),
    #[error(
        "TPM2_Clear is locked: somebody set the lockout authorisation or disabled clearing (TPM error {0:#x}); clear it in the setup of the card's firmware"
    )]
    Locked(u32),
    #[error("it refused {what} with TPM error {code:#x}")]
    Refused { what: &'static str, code: u32 },
    #[error("its answer to {0} is not understood")]
    Odd(&'static str),
    #[error("it was cleared, and holds {what} {handle:#x} still")]
    Left { what: &'static str, handle: u32 },
}

/// A TPM that answers commands.
trait Commands {
    fn ask(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

struct Device(File);

impl Commands for Device {
    fn ask(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut answer = vec![0; MOST];
        let read = self.0.read(&mut answer)?;
        answer.truncate(read);
        Ok(answer)
    }
}

/// Clears the TPM and looks what is left; how many NV indices of the firmware are.
fn clear(tpm: &mut impl Commands) -> Result<usize, Trouble> {
    let mut body = LOCKOUT.to_be_bytes().to_vec();
    // One session: the empty password.
    body.extend(9_u32.to_be_bytes());
    body.extend(PASSWORD.to_be_bytes());
    body.extend([0, 0, 0, 0, 0]);
    ask(tpm, SESSIONS, CLEAR, "TPM2_Clear", &body).map_err(|trouble| match trouble {
        Trouble::Refused { code, .. } if is_locked(code) => Trouble::Locked(code),
        Trouble::Device(_)
        | Trouble::Locked(_)
        | Trouble::Refused { .. }
        | Trouble::Odd(_)
        | Trouble::Left { .. } => trouble,
    })?;
    let of_owner = |handle: &u32| *handle < FIRST_OF_PLATFORM;
    if let Some(handle) = handles(tpm, FIRST_PERSISTENT)?.into_iter().find(of_owner) {
        return Err(Trouble::Left {
            what: "the key",
            handle,
        });
    }
    let indices = handles(tpm, FIRST_NV)?;
    for handle in &indices {
        if attributes(tpm, *handle)? & PLATFORM_CREATE == 0 {
            return Err(Trouble::Left {
                what: "the NV index",
                handle: *handle,
            });
        }
    }
    Ok(indices.len())
}

/// `AUTH_FAIL`, `BAD_AUTH` of a session, `DISABLED`, `LOCKOUT`.
fn is_locked(code: u32) -> bool {
    matches!(code, 0x120 | 0x921) || matches!(code & 0xbf, 0x8e | 0xa2)
}

fn ask(
    tpm: &mut impl Commands,
    tag: u16,
    code: u32,
    what: &'static str,
    body: &[u8],
) -> Result<Vec<u8>, Trouble> {
    let length = u32::try_from(10 + body.len()).map_err(|_| Trouble::Odd(what))?;
    let mut command = tag.to_be_bytes().to_vec();
    command.extend(length.to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(body);
    let answer = tpm.ask(&command)?;
    let odd = Trouble::Odd(what);
    let (Some(length), Some(code)) = (number(&answer, 2), number(&answer, 6)) else {
        return Err(odd);
    };
    if usize::try_from(length) != Ok(answer.len()) {
        return Err(odd);
    }
    if code != 0 {
        return Err(Trouble::Refused { what, code });
    }
    Ok(answer[10..].to_vec())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Every handle of the range that begins there.
fn handles(tpm: &mut impl Commands, first: u32) -> Result<Vec<u32>, Trouble> {
    let what = "TPM2_GetCapability";
    let mut found: Vec<u32> = Vec::new();
    loop {
        let from = found.last().map_or(first, |last| last.wrapping_add(1));
        let mut body = HANDLES.to_be_bytes().to_vec();
        body.extend(from.to_be_bytes());
        body.extend(AT_ONCE.to_be_bytes());
        let told = ask(tpm, NO_SESSIONS, GET_CAPABILITY, what, &body)?;
        let odd = || Trouble::Odd(what);
        let more = *told.first().ok_or_else(odd)? != 0;
        let count = number(&told, 5).ok_or_else(odd)?;
        let before = found.len();
        let listed = told.get(9..).unwrap_or_default().chunks_exact(4);
        let count = usize::try_from(count.min(AT_ONCE)).map_err(|_| odd())?;
        if listed.len() < count {
            return Err(odd());
        }
        for handle in listed.take(count) {
            let handle = number(handle, 0).ok_or_else(odd)?;
            // A TPM that goes in circles would be asked for ever.
            if handle < from {
                return Err(odd());
            }
            if handle >> 24 == first >> 24 {
                found.push(handle);
            }
        }
        if !more || found.len() == before {
            return Ok(found);
        }
    }
}

fn attributes(tpm: &mut impl Commands, index: u32) -> Result<u32, Trouble> {
    let what = "TPM2_NV_ReadPublic";
    let told = ask(tpm, NO_SESSIONS, NV_READ_PUBLIC, what, &index.to_be_bytes())?;
    // Size, index and the algorithm of its name come first.
    number(&told, 8).ok_or(Trouble::Odd(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TPM with these persistent objects and NV indices, and what clearing it answers.
    struct Fake {
        persistent: Vec<u32>,
        nv: Vec<(u32, u32)>,
        clears: u32,
        asked: Vec<Vec<u8>>,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                persistent: vec![0x8100_0001, 0x8101_0001],
                nv: vec![(0x0100_0001, 0), (0x01c0_0002, PLATFORM_CREATE)],
                clears: 0,
                asked: Vec::new(),
            }
        }
    }

    fn answer(code: u32, body: &[u8]) -> Vec<u8> {
        let mut all = NO_SESSIONS.to_be_bytes().to_vec();
        all.extend(u32::try_from(10 + body.len()).unwrap().to_be_bytes());
        all.extend(code.to_be_bytes());
        all.extend(body);
        all
    }

    impl Commands for Fake {
        fn ask(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            self.asked.push(command.to_vec());
            Ok(match number(command, 6).unwrap() {
                CLEAR => {
                    if self.clears == 0 {
                        self.persistent.clear();
                        self.nv
                            .retain(|(_, attributes)| attributes & PLATFORM_CREATE != 0);
                    }
                    answer(self.clears, &[])
                }
                GET_CAPABILITY => {
                    let from = number(command, 14).unwrap();
                    let all = if from >= FIRST_PERSISTENT {
                        self.persistent.clone()
                    } else {
                        self.nv.iter().map(|(index, _)| *index).collect()
                    };
                    // One at a time, so that the rest is asked for.
                    let rest: Vec<u32> = all.into_iter().filter(|one| *one >= from).collect();
                    let mut body = vec![u8::from(rest.len() > 1)];
                    body.extend(HANDLES.to_be_bytes());
                    body.extend(u32::try_from(rest.len().min(1)).unwrap().to_be_bytes());
                    rest.iter()
                        .take(1)
                        .for_each(|one| body.extend(one.to_be_bytes()));
                    answer(0, &body)
                }
                NV_READ_PUBLIC => {
                    let index = number(command, 10).unwrap();
                    let found = self.nv.iter().find(|(one, _)| *one == index).unwrap();
                    let mut body = vec![0, 14];
                    body.extend(index.to_be_bytes());
                    body.extend([0, 0x0b]);
                    body.extend(found.1.to_be_bytes());
                    body.extend([0, 0, 0, 32, 0, 0]);
                    answer(0, &body)
                }
                _ => answer(0x143, &[]),
            })
        }
    }

    #[test]
    fn the_clear_is_the_one_of_the_specification() {
        let mut tpm = Fake::new();
        assert_eq!(clear(&mut tpm).unwrap(), 1);
        let bytes = "80020000001b000001264000000a00000009400000090000000000";
        assert_eq!(hex::encode(&tpm.asked[0]), bytes);
    }

    #[test]
    fn a_tpm_that_keeps_something_or_refuses_is_not_wiped() {
        let mut keeps = Fake::new();
        keeps.clears = 0x143;
        let why = clear(&mut keeps).unwrap_err().to_string();
        assert!(why.contains("TPM2_Clear with TPM error 0x143"), "{why}");
        for code in [0x120, 0x921, 0x98e, 0x9a2] {
            keeps.clears = code;
            let why = clear(&mut keeps).unwrap_err().to_string();
            assert!(why.contains("lockout authorisation"), "{why}");
        }
        let mut lies = Lies(Fake::new());
        let why = clear(&mut lies).unwrap_err().to_string();
        assert!(why.contains("holds the key 0x81000001 still"), "{why}");
        lies.0.persistent.clear();
        let why = clear(&mut lies).unwrap_err().to_string();
        assert!(why.contains("holds the NV index 0x1000001 still"), "{why}");
    }

    /// Says that it was cleared.
    struct Lies(Fake);

    impl Commands for Lies {
        fn ask(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            if number(command, 6) == Some(CLEAR) {
                return Ok(answer(0, &[]));
            }
            self.0.ask(command)
        }
    }

    #[test]
    fn half_an_answer_is_not_taken() {
        struct Half;
        impl Commands for Half {
            fn ask(&mut self, _: &[u8]) -> io::Result<Vec<u8>> {
                Ok(answer(0, &[])[..7].to_vec())
            }
        }
        let why = clear(&mut Half).unwrap_err().to_string();
        assert!(why.contains("not understood"), "{why}");
    }
}
