//! As much of FUSE as a few files take: requests are read from `/dev/fuse`, answers written
//! there. The kernel's `fuse.h` has the layout of both.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// What one request may hand over.
pub(crate) const MAX_WRITE: usize = 128 << 10;
pub(crate) const IN_HEADER: usize = 40;
const ENOSYS: i32 = 38;

/// What is asked.
pub(crate) enum Request<'a> {
    Lookup(&'a [u8]),
    Attributes,
    Open { flags: u32 },
    Read { handle: u64, size: usize },
    Write { data: &'a [u8] },
    Release { handle: u64, flags: u32 },
}

/// Whoever answers.
pub(crate) trait Answers: Send + 'static {
    /// Answers a request about a node, now or from another thread later.
    fn answer(&mut self, node: u64, request: Request<'_>, reply: Reply);
}

/// The way back for one request.
pub(crate) struct Reply {
    device: Arc<File>,
    unique: u64,
}

impl Reply {
    pub(crate) fn data(self, data: &[u8]) {
        self.send(0, data);
    }

    pub(crate) fn done(self) {
        self.send(0, &[]);
    }

    pub(crate) fn error(self, number: i32) {
        self.send(-number, &[]);
    }

    pub(crate) fn attributes(self, node: u64, folder: bool) {
        let mut answer = Bytes::default();
        answer.u64(1).u32(0).u32(0).attributes(node, folder);
        self.send(0, &answer.0);
    }

    pub(crate) fn entry(self, node: u64) {
        let mut answer = Bytes::default();
        answer.u64(node).u64(0).u64(1).u64(1).u32(0).u32(0);
        answer.attributes(node, false);
        self.send(0, &answer.0);
    }

    /// Opened as a device: each read and write comes through as it is.
    pub(crate) fn opened(self, handle: u64) {
        const DIRECT_IO: u32 = 1;
        let mut answer = Bytes::default();
        answer.u64(handle).u32(DIRECT_IO).u32(0);
        self.send(0, &answer.0);
    }

    pub(crate) fn written(self, bytes: usize) {
        let mut answer = Bytes::default();
        answer.u32(u32::try_from(bytes).unwrap_or(0)).u32(0);
        self.send(0, &answer.0);
    }

    fn send(self, error: i32, data: &[u8]) {
        let mut answer = Bytes::default();
        let length = u32::try_from(16 + data.len()).unwrap_or(u32::MAX);
        answer
            .u32(length)
            .u32(error.cast_unsigned())
            .u64(self.unique);
        answer.0.extend_from_slice(data);
        // Nobody waits for it any more, or the mount is gone.
        (&*self.device).write_all(&answer.0).ok();
    }
}

#[derive(Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn attributes(&mut self, node: u64, folder: bool) -> &mut Self {
        let mode = if folder { 0o040_755 } else { 0o100_600 };
        // Size, blocks and times are nothing, as those of a device are.
        self.u64(node);
        for _ in 0..5 {
            self.u64(0);
        }
        self.u32(0).u32(0).u32(0).u32(mode).u32(1);
        self.u32(0).u32(0).u32(0).u32(4096).u32(0)
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    point: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl Mount {
    pub(crate) fn at(point: &Path, answers: impl Answers) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        // The kernel takes the number of a descriptor of the process that mounts.
        let flags = fcntl_getfd(&device)?;
        fcntl_setfd(&device, flags - FdFlags::CLOEXEC)?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", &options, "rshim-imitation"])
            .arg(point)
            .status();
        fcntl_setfd(&device, flags)?;
        let mounted = mounted?;
        if !mounted.success() {
            return Err(io::Error::other(format!("mount: {mounted}")));
        }
        let device = Arc::new(device);
        let server = thread::Builder::new()
            .name("rshim-imitation".to_owned())
            .spawn(move || serve(&device, None, answers))?;
        Ok(Self {
            point: point.to_owned(),
            server: Some(server),
        })
    }

    /// Takes it away, whoever has something open there.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        let ended = Command::new("umount").arg("-l").arg(&self.point).status()?;
        if !ended.success() {
            return Err(io::Error::other(format!("umount: {ended}")));
        }
        // It ends with the last opening of its files, which may be one that hangs.
        drop(server);
        Ok(())
    }
}

/// Answers until there is nothing to answer any more. Of a device, every request is about one `node`.
pub(crate) fn serve(device: &Arc<File>, node: Option<u64>, mut answers: impl Answers) {
    let mut buffer = vec![0; MAX_WRITE + 8192];
    loop {
        let read = match (&**device).read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A request that was taken back before it was read; or else the mount is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return,
        };
        let request = &buffer[..read];
        if read < IN_HEADER {
            return;
        }
        let reply = Reply {
            device: Arc::clone(device),
            unique: u64_at(request, 8),
        };
        let node = node.unwrap_or_else(|| u64_at(request, 16));
        dispatch(&mut answers, u32_at(request, 4), node, request, reply);
    }
}

fn dispatch(answers: &mut impl Answers, opcode: u32, node: u64, request: &[u8], reply: Reply) {
    let body = &request[IN_HEADER..];
    let asked = match opcode {
        1 => Request::Lookup(body.strip_suffix(&[0]).unwrap_or(body)),
        // Shells truncate what they write to.
        3 | 4 => Request::Attributes,
        14 => Request::Open {
            flags: u32_at(body, 0),
        },
        15 => Request::Read {
            handle: u64_at(body, 0),
            size: u32_at(body, 16) as usize,
        },
        16 => Request::Write {
            data: body.get(40..).unwrap_or_default(),
        },
        18 => Request::Release {
            handle: u64_at(body, 0),
            flags: u32_at(body, 8),
        },
        // A flush, and the end.
        25 | 38 => return reply.done(),
        26 => return reply.data(&greeting(body)),
        // What is forgotten, or taken back, is not answered.
        2 | 36 | 42 => return,
        _ => return reply.error(ENOSYS),
    };
    answers.answer(node, asked, reply);
}

fn greeting(asked: &[u8]) -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    let mut answer = Bytes::default();
    answer.u32(7).u32(31).u32(u32_at(asked, 8)).u32(BIG_WRITES);
    // Requests in the background, and when that is many.
    answer.u32(16 | 12 << 16).u32(MAX_WRITE as u32).u32(1);
    for _ in 0..9 {
        answer.u32(0);
    }
    answer.0
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    chunk.map_or(0, u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok());
    chunk.map_or(0, u64::from_ne_bytes)
}
