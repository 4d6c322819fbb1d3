//! Firmware written by a driver, at the kernel's request.
//!
//! The kernel reads the file, by its name below its own firmware folders, then calls the driver, and
//! answers when that has ended. Nothing ends it before, not even the death of whoever asked. Meanwhile
//! the kernel tells whoever listens how far it is, first of all that the driver is called. That word may
//! be lost: nothing is written for certain only where nothing was asked, or the kernel refuses, without
//! that word, for a reason that it has before it calls a driver.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use netlink_sys::{Socket as NetlinkSocket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recvfrom};

use super::devlink::{BUS, DEVICE, Handle};
use super::message::{MessageError, Request, attributes, messages};
use super::socket::{Family, REQUEST, Socket, family};

/// `NETLINK_GENERIC`.
const GENERIC: isize = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`: also a success is told.
const WITH_ANSWER: u16 = REQUEST | 0x04;
const FLASH: u8 = 58;
const ENDED: u8 = 59;
const STATUS: u8 = 60;
/// More than one message of the kernel has.
const BUFFER: usize = 32 << 10;
/// Between looks whether the kernel has answered.
const TICK: Duration = Duration::from_millis(250);
/// The answer lies there when the request returns.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of what a driver says, in characters.
const MOST: usize = 200;

/// How far a driver is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it does.
    pub message: Option<String>,
    /// With what part.
    pub component: Option<String>,
    /// How much of it is done, in a unit of its own.
    pub done: u64,
    /// Of how much; zero where it does not say.
    pub total: u64,
    /// How many seconds this step may take; zero where it does not say.
    pub timeout_seconds: u64,
}

impl Progress {
    /// Hundredths, where it says of how much.
    pub fn percent(&self) -> Option<u64> {
        let done = self.done.min(self.total);
        done.saturating_mul(100).checked_div(self.total)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("(no word)"))?;
        if let Some(component) = &self.component {
            write!(f, " {component}")?;
        }
        match self.percent() {
            Some(percent) => write!(f, ", {percent} %"),
            None => Ok(()),
        }
    }
}

/// Why nothing is known to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlashError {
    /// The driver was not called: nothing is written.
    NotBegun(String),
    /// The driver was called and gave up: it writes no more, and may have written a part.
    Broken(String),
    /// The driver was called, and how it ended is not known.
    Unclear(String),
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlashError::NotBegun(why) | FlashError::Broken(why) | FlashError::Unclear(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for FlashError {}

/// Has the driver of a device write the firmware that lies at this name below a firmware folder of the
/// kernel, and tells of its progress. Blocks until the driver has ended, however long that takes.
///
/// # Errors
/// When the kernel or the driver refuses, in their words.
pub fn flash(
    handle: &Handle,
    file: &str,
    mut told: impl FnMut(Progress),
) -> Result<(), FlashError> {
    let (family, listener) = listen().map_err(FlashError::NotBegun)?;
    let file = [file.as_bytes(), &[0]].concat();
    let request = handle
        .name(Request::new(family.number, WITH_ANSWER, &[FLASH, 1, 0, 0]))
        .attribute(122, &file)
        .finish(1);
    let mut begun = false;
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&request));
        loop {
            let is_answered = asked.is_finished();
            match listener.hear(family.number, handle) {
                // What was told before the answer is read to its end.
                Ok(None) if is_answered => break,
                Ok(None) => {}
                Ok(Some(Heard::Begun)) => begun = true,
                Ok(Some(Heard::Progress(progress))) => {
                    begun = true;
                    told(progress);
                }
                Ok(Some(Heard::Other)) => {}
                // Something was told and is lost; that the driver is called may be it.
                Err(Errno::NOBUFS) => begun = true,
                Err(_) => {
                    begun = true;
                    break;
                }
            }
        }
        let ended = || Answer::None("the thread that asked ended early".to_owned());
        asked.join().unwrap_or_else(|_| ended())
    });
    conclude(answer, begun)
}

fn conclude(answer: Answer, begun: bool) -> Result<(), FlashError> {
    match (answer, begun) {
        (Answer::Done, _) => Ok(()),
        (Answer::Unasked(why), _) => Err(FlashError::NotBegun(why)),
        (Answer::Refused(_, why), true) => Err(FlashError::Broken(why)),
        (Answer::Refused(error, why), false) if is_before_driver(error) => {
            Err(FlashError::NotBegun(why))
        }
        (Answer::Refused(_, why), false) | (Answer::None(why), _) => Err(FlashError::Unclear(why)),
    }
}

/// Whether the kernel refuses so before it calls a driver: whoever asks may not, the device or its file is
/// not there, or it takes no firmware in that way.
fn is_before_driver(error: Errno) -> bool {
    [
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOENT,
        Errno::NODEV,
        Errno::OPNOTSUPP,
        Errno::INVAL,
    ]
    .contains(&error)
}

/// What the kernel says in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done,
    /// Nothing was asked of it.
    Unasked(String),
    Refused(Errno, String),
    /// Nothing that is understood.
    None(String),
}

fn ask(request: &[u8]) -> Answer {
    let opened = || -> io::Result<NetlinkSocket> {
        let mut socket = NetlinkSocket::new(GENERIC)?;
        socket.bind_auto()?;
        socket.set_cap_ack(true)?;
        // Without it the kernel gives a number and no words.
        socket.set_ext_ack(true)?;
        Ok(socket)
    };
    let socket = match opened() {
        Ok(socket) => socket,
        Err(error) => return Answer::Unasked(format!("netlink socket: {error}")),
    };
    let asked = || -> io::Result<Vec<u8>> {
        socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        let mut buffer = vec![0; BUFFER];
        let (length, _, _) = recvfrom(&socket, &mut buffer[..], RecvFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    };
    match asked() {
        Ok(bytes) => answer(&bytes),
        Err(error) => Answer::None(format!("netlink socket: {error}")),
    }
}

/// Reads the kernel's last word.
fn answer(bytes: &[u8]) -> Answer {
    const ERROR: u16 = 2;
    const HAS_WORDS: u16 = 0x200;
    const WORDS: u16 = 1;
    /// The number, and the header of the request that it is about.
    const NUMBER_AND_HEADER: usize = 20;
    let Some(Ok(message)) = messages(bytes).next() else {
        return Answer::None(MessageError.to_string());
    };
    let number = message.payload.first_chunk().copied();
    let Some(number) = number.filter(|_| message.kind == ERROR) else {
        return Answer::None(format!("the kernel answers with message {}", message.kind));
    };
    let number = i32::from_ne_bytes(number);
    if number == 0 {
        return Answer::Done;
    }
    let error = Errno::from_raw_os_error(number.saturating_neg());
    let words = (message.flags & HAS_WORDS != 0).then(|| {
        let rest = message.payload.get(NUMBER_AND_HEADER..).unwrap_or_default();
        let mut words = attributes(rest).filter_map(Result::ok);
        words.find(|attribute| attribute.kind == WORDS)
    });
    let why = match words.flatten() {
        Some(words) => format!("{} ({error})", short(&words.text())),
        None => error.to_string(),
    };
    Answer::Refused(error, why)
}

fn listen() -> Result<(Family, Listener), String> {
    let mut socket = Socket::open(Some(rustix::net::netlink::GENERIC)).map_err(told)?;
    let devlink = family(&mut socket, "devlink").map_err(told)?;
    let devlink = devlink.ok_or("this kernel has no devlink")?;
    let group = devlink.groups.iter().find(|(name, _)| name == "config");
    let (_, group) = group.ok_or("the kernel's devlink tells of nothing that happens")?;
    let joined = || -> io::Result<Listener> {
        let mut socket = NetlinkSocket::new(GENERIC)?;
        socket.bind_auto()?;
        socket.add_membership(*group)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TICK))?;
        Ok(Listener(socket))
    };
    let listener = joined().map_err(told)?;
    Ok((devlink, listener))
}

fn told(error: impl fmt::Display) -> String {
    format!("netlink: {error}")
}

/// Hears what the kernel tells of all devices.
struct Listener(NetlinkSocket);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Begun,
    Progress(Progress),
    /// Of something else.
    Other,
}

impl Listener {
    /// The next word; `None` if there is none for a moment.
    fn hear(&self, family: u16, handle: &Handle) -> Result<Option<Heard>, Errno> {
        let mut buffer = [0_u8; BUFFER];
        match recvfrom(&self.0, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _, _)) => Ok(Some(heard(&buffer[..length], family, handle))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads one notification. The kernel puts no two into one.
fn heard(bytes: &[u8], family: u16, handle: &Handle) -> Heard {
    let Some(Ok(message)) = messages(bytes).next() else {
        return Heard::Other;
    };
    let (header, rest) = message.payload.split_at(message.payload.len().min(4));
    let command = header.first().copied().filter(|_| message.kind == family);
    let (mut bus, mut device) = (None, None);
    let mut progress = Progress::default();
    for attribute in attributes(rest).filter_map(Result::ok) {
        match attribute.kind {
            BUS => bus = Some(attribute.text()),
            DEVICE => device = Some(attribute.text()),
            123 => progress.component = Some(short(&attribute.text())),
            124 => progress.message = Some(short(&attribute.text())),
            125 => progress.done = attribute.quad_word().unwrap_or_default(),
            126 => progress.total = attribute.quad_word().unwrap_or_default(),
            151 => progress.timeout_seconds = attribute.quad_word().unwrap_or_default(),
            _ => {}
        }
    }
    let is_it = bus.as_deref() == Some(handle.bus()) && device.as_deref() == Some(handle.device());
    match command.filter(|_| is_it) {
        Some(FLASH | ENDED) => Heard::Begun,
        Some(STATUS) => Heard::Progress(progress),
        Some(_) | None => Heard::Other,
    }
}

fn short(text: &str) -> String {
    let printed = text.chars().filter(|char| !char.is_control());
    printed.take(MOST).collect()
}

#[cfg(test)]
mod tests;
