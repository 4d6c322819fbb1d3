//! PCI functions that come and go while the machine runs, from the kernel's own messages.
//!
//! This listens to the running machine, whatever root the files are read under, and needs no
//! rights. Only what the kernel sent is believed: any process may send to such a socket. A
//! listener that falls behind loses messages; it is told so and has to look at everything again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout,
};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use crate::uevent::{self, PciEvent};

/// The kernel's own messages; udev's are group 2.
const KERNEL_GROUP: u32 = 1;
/// A card with many virtual functions makes thousands of messages at once.
const QUEUE_BYTES: usize = 4 << 20;

/// The longest single wait.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An open listener.
#[derive(Debug)]
pub struct HotPlug {
    socket: OwnedFd,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A change of one function.
    Change(PciEvent),
    /// Messages were lost: anything may have changed.
    Lost,
}

impl HotPlug {
    /// Starts to listen; what happened before is not told.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(KOBJECT_UEVENT),
        )?;
        // Beyond the system's limit only with CAP_NET_ADMIN.
        set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES)
            .or_else(|_| set_socket_recv_buffer_size(&socket, QUEUE_BYTES))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self { socket })
    }

    /// The next change, waited for no longer than `patience`, and a day at most.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn next(&self, patience: Duration) -> io::Result<Option<Heard>> {
        // The kernel refuses longer waits than it can count.
        let deadline = Instant::now() + patience.min(LONGEST);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Zero would mean to wait for ever.
            let wait = left.max(Duration::from_millis(1));
            set_socket_timeout(&self.socket, Timeout::Recv, Some(wait))?;
            if let Some(heard) = self.receive()? {
                return Ok(Some(heard));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// The next change if there is one, for a caller that waits for the socket itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none, anything else when the socket fails.
    pub fn try_next(&self) -> io::Result<Heard> {
        loop {
            let mut buffer = [0_u8; uevent::MAX_BYTES];
            match self.message(&mut buffer, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => return Ok(Heard::Lost),
                Err(error) => return Err(error.into()),
                Ok(None) => {}
                Ok(Some(event)) => return Ok(Heard::Change(event)),
            }
        }
    }

    /// One message; `None` when it is not for us or the time is over.
    fn receive(&self) -> io::Result<Option<Heard>> {
        let mut buffer = [0_u8; uevent::MAX_BYTES];
        match self.message(&mut buffer, RecvFlags::empty()) {
            Ok(event) => Ok(event.map(Heard::Change)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::NOBUFS) => Ok(Some(Heard::Lost)),
            Err(error) => Err(error.into()),
        }
    }

    fn message(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<PciEvent>, Errno> {
        const KERNEL: u32 = 0;
        let (length, _, sender) = recvfrom(&self.socket, &mut *buffer, flags)?;
        let from_kernel = sender
            .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
            .is_some_and(|sender| sender.pid() == KERNEL);
        if !from_kernel {
            return Ok(None);
        }
        Ok(uevent::parse(&buffer[..length])
            .ok()
            .and_then(|event| event.pci()))
    }
}

impl AsFd for HotPlug {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What tokio's `AsyncFd` asks for.
impl AsRawFd for HotPlug {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uevent::PciChange;
    use rustix::net::{SendFlags, getsockname, sendto};

    #[test]
    fn a_wait_ends() {
        let listener = HotPlug::open().unwrap();
        let start = Instant::now();
        while listener.next(Duration::from_millis(20)).unwrap().is_some() {}
        assert!(start.elapsed() >= Duration::from_millis(20));
        match listener.try_next() {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    #[test]
    fn what_a_process_sends_is_not_believed() {
        let listener = HotPlug::open().unwrap();
        let own = getsockname(&listener).unwrap();
        let own = SocketAddrNetlink::try_from(own).unwrap();
        let sender = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(KOBJECT_UEVENT),
        )
        .unwrap();
        let message = b"remove@/devices/0000:ff:1f.7\0SUBSYSTEM=pci\0";
        let address = SocketAddrNetlink::new(own.pid(), 0);
        // Where the kernel refuses even to carry it, there is nothing to disbelieve.
        if sendto(&sender, message, SendFlags::empty(), &address).is_ok() {
            let forged = "0000:ff:1f.7".parse().unwrap();
            while let Some(heard) = listener.next(Duration::from_millis(50)).unwrap() {
                assert!(!matches!(heard, Heard::Change(event) if event.address == forged));
            }
        }
    }

    #[test]
    #[ignore = "needs root: asks the kernel to announce a PCI function of this machine again"]
    fn the_kernel_is_heard() {
        let folder = std::fs::read_dir(crate::pci::DEVICES).unwrap().next();
        let folder = folder.unwrap().unwrap();
        let address = folder.file_name().into_string().unwrap().parse().unwrap();
        let listener = HotPlug::open().unwrap();
        std::fs::write(folder.path().join("uevent"), "change").unwrap();
        let heard = listener.next(Duration::from_secs(10)).unwrap();
        let Some(Heard::Change(event)) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!((event.change, event.address), (PciChange::Changed, address));
        assert!(event.sequence.is_some());
    }
}
