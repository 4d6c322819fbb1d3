//! One question and its answer.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with,
};

use super::message::{MessageError, Request, attributes, messages};
use crate::Fact;

/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 0x01;
/// `NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH`: everything there is.
pub(super) const DUMP: u16 = REQUEST | 0x300;
/// What the kernel puts at most into one answer to a dump is half of this.
const BUFFER: usize = 64 << 10;
/// The most bytes of answers that are kept.
const MOST_BYTES: usize = 8 << 20;
/// Between question and last answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NetlinkError {
    /// The kernel refuses; the number says why.
    Refused(Errno),
    /// The socket fails.
    Socket(io::Error),
    /// The answer is cut off.
    Damaged,
    /// The answer is larger than any should be.
    TooMuch,
    /// What was asked for changed while the kernel told it.
    Changed,
    /// The answer did not end in time.
    Late,
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetlinkError::Refused(error) => write!(f, "the kernel refuses: {error}"),
            NetlinkError::Socket(error) => write!(f, "netlink socket: {error}"),
            NetlinkError::Damaged => MessageError.fmt(f),
            NetlinkError::TooMuch => write!(f, "more than {MOST_BYTES} bytes of answers"),
            NetlinkError::Changed => f.write_str("it changed while the kernel told it"),
            NetlinkError::Late => write!(f, "no answer within {PATIENCE:?}"),
        }
    }
}

impl From<Errno> for NetlinkError {
    fn from(error: Errno) -> Self {
        NetlinkError::Socket(error.into())
    }
}

impl From<MessageError> for NetlinkError {
    fn from(MessageError: MessageError) -> Self {
        NetlinkError::Damaged
    }
}

pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Without a protocol: rtnetlink.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks, and collects the payloads of the answers up to the end that the kernel marks.
    pub(super) fn ask(&mut self, request: Request) -> Result<Vec<Vec<u8>>, NetlinkError> {
        const NOOP: u16 = 1;
        const ERROR: u16 = 2;
        const DONE: u16 = 3;
        const MULTIPLE: u16 = 0x02;
        const INTERRUPTED: u16 = 0x10;
        const KERNEL: u32 = 0;
        self.sequence += 1;
        let bytes = request.finish(self.sequence);
        let kernel = SocketAddrNetlink::new(KERNEL, 0);
        sendto(&self.fd, &bytes, SendFlags::empty(), &kernel)?;
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        let mut total = 0;
        let mut buffer = vec![0_u8; BUFFER];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NetlinkError::Late);
            }
            set_socket_timeout(&self.fd, Timeout::Recv, Some(left))?;
            let (length, whole, sender) =
                match recvfrom(&self.fd, &mut buffer[..], RecvFlags::TRUNC) {
                    Ok(received) => received,
                    Err(Errno::AGAIN | Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
            let from_kernel = sender
                .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                .is_some_and(|sender| sender.pid() == KERNEL);
            if !from_kernel {
                continue;
            }
            if whole > length {
                return Err(NetlinkError::Damaged);
            }
            for message in messages(&buffer[..length]) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                if message.kind != ERROR && message.flags & INTERRUPTED != 0 {
                    return Err(NetlinkError::Changed);
                }
                match message.kind {
                    NOOP => {}
                    ERROR | DONE => return end(message.payload).map(|()| answers),
                    _ => {
                        total += message.payload.len();
                        if total > MOST_BYTES {
                            return Err(NetlinkError::TooMuch);
                        }
                        answers.push(message.payload.to_vec());
                        if message.flags & MULTIPLE == 0 {
                            return Ok(answers);
                        }
                    }
                }
            }
        }
    }
}

/// Both forms of the end carry an error number, zero or negative.
fn end(payload: &[u8]) -> Result<(), NetlinkError> {
    let number = payload.first_chunk().copied().map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(number) if number < 0 => Err(NetlinkError::Refused(Errno::from_raw_os_error(
            number.saturating_neg(),
        ))),
        Some(_) | None => Err(NetlinkError::Damaged),
    }
}

/// Asks a generic family one of its dumps. A kernel without the family does not offer it.
pub(super) fn dump(
    family: &str,
    command: u8,
    version: u8,
    attribute: Option<(u16, &[u8])>,
) -> Fact<Vec<Vec<u8>>> {
    ask_family(family, |number| {
        let mut request = Request::new(number, DUMP, &[command, version, 0, 0]);
        if let Some((kind, payload)) = attribute {
            request = request.attribute(kind, payload);
        }
        request
    })
}

/// Asks a generic family. A kernel without the family, or without the device that is asked for, does not
/// offer it.
pub(super) fn ask_family(family: &str, request: impl FnOnce(u16) -> Request) -> Fact<Vec<Vec<u8>>> {
    let ask = || {
        let mut socket = Socket::open(Some(GENERIC))?;
        let Some(known) = self::family(&mut socket, family)? else {
            return Ok(None);
        };
        let mut answers = match socket.ask(request(known.number)) {
            Err(NetlinkError::Refused(Errno::NODEV | Errno::OPNOTSUPP)) => return Ok(None),
            answers => answers?,
        };
        // Each begins with the family's own header: command, version, nothing.
        for answer in &mut answers {
            answer.drain(..answer.len().min(4));
        }
        Ok(Some(answers))
    };
    match ask() {
        Ok(Some(answers)) => Fact::Known(answers),
        Ok(None) => Fact::NotOffered,
        Err::<_, NetlinkError>(error) => Fact::NotRead(format!("netlink family {family}: {error}")),
    }
}

/// What the kernel gave a family at its start.
pub(super) struct Family {
    pub(super) number: u16,
    /// To whom it tells of what happens, by name.
    pub(super) groups: Vec<(String, u32)>,
}

/// Looks a family up.
pub(super) fn family(socket: &mut Socket, family: &str) -> Result<Option<Family>, NetlinkError> {
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const GROUPS: u16 = 7;
    const FAMILY_NAME: u16 = 2;
    let name = [family.as_bytes(), &[0]].concat();
    let request =
        Request::new(CONTROL, REQUEST, &[GET_FAMILY, 1, 0, 0]).attribute(FAMILY_NAME, &name);
    let answers = match socket.ask(request) {
        Err(NetlinkError::Refused(Errno::NOENT)) => return Ok(None),
        answers => answers?,
    };
    let (mut number, mut groups) = (None, Vec::new());
    for answer in &answers {
        for attribute in attributes(answer.get(4..).unwrap_or_default()) {
            let attribute = attribute?;
            match attribute.kind {
                FAMILY_ID => number = attribute.word(),
                GROUPS => groups = parse_groups(attribute.payload)?,
                _ => {}
            }
        }
    }
    let number = number.ok_or(NetlinkError::Damaged)?;
    Ok(Some(Family { number, groups }))
}

fn parse_groups(list: &[u8]) -> Result<Vec<(String, u32)>, MessageError> {
    const NAME: u16 = 1;
    const NUMBER: u16 = 2;
    let mut groups = Vec::new();
    for group in attributes(list) {
        let (mut name, mut number) = (None, None);
        for attribute in attributes(group?.payload) {
            let attribute = attribute?;
            match attribute.kind {
                NAME => name = Some(attribute.text()),
                NUMBER => number = attribute.double_word(),
                _ => {}
            }
        }
        groups.extend(name.zip(number));
    }
    Ok(groups)
}
