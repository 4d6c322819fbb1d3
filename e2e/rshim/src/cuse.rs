//! A character device whose driver is this program: `/dev/cuse` hands it the same requests as
//! `/dev/fuse`, without a file system around them. The kernel's `fuse.h` has the layout.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use crate::fuse::{Answers, Bytes, IN_HEADER, MAX_WRITE, serve, u32_at, u64_at};

/// The first request, which asks what the device is.
const CUSE_INIT: u32 = 4096;

/// Makes the device `/dev/NAME`, whose requests are all about `node`. It stays as long as this
/// program does.
pub(crate) fn device(name: &str, node: u64, answers: impl Answers) -> io::Result<()> {
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/cuse")?;
    let mut asked = vec![0; MAX_WRITE + 8192];
    let read = device.read(&mut asked)?;
    if read < IN_HEADER || u32_at(&asked, 4) != CUSE_INIT {
        return Err(io::Error::other(
            "the kernel does not ask what the device is",
        ));
    }
    device.write_all(&greeting(u64_at(&asked, 8), name)?)?;
    let device: Arc<File> = Arc::new(device);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || serve(&device, Some(node), answers))?;
    Ok(())
}

fn greeting(unique: u64, name: &str) -> io::Result<Vec<u8>> {
    let information = format!("DEVNAME={name}\0");
    let most = u32::try_from(MAX_WRITE).map_err(io::Error::other)?;
    let mut body = Bytes::default();
    body.u32(7).u32(31).u32(0).u32(0).u32(most).u32(most);
    // The kernel chooses the numbers of the device; the rest is spare.
    body.u32(0).u32(0);
    for _ in 0..10 {
        body.u32(0);
    }
    body.0.extend(information.as_bytes());
    let length = u32::try_from(16 + body.0.len()).map_err(io::Error::other)?;
    let mut answer = Bytes::default();
    answer.u32(length).u32(0).u64(unique);
    answer.0.extend(body.0);
    Ok(answer.0)
}
