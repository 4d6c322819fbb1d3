//! The thread that starts processes which must not outlive us.
//!
//! The kernel sends the parent-death signal when the *thread* that started the child
//! ends, and runtimes end threads when they please. So all such children are started
//! by one thread that lives as long as the process.

use std::{
    io,
    process::{Child, Command},
    sync::{Mutex, OnceLock, mpsc},
};

type Answer = mpsc::Sender<io::Result<Child>>;

static KEEPER: OnceLock<Mutex<mpsc::Sender<(Command, Answer)>>> = OnceLock::new();

/// Spawns `command` from the keeper thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<(Command, Answer)>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Nobody waits for the answer any more: the child must not stay alone.
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn())
                    && let Err(error) = child.kill()
                {
                    tracing::warn!(pid = child.id(), %error, "cannot stop an unclaimed process");
                }
            }
        });
        Mutex::new(orders)
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    let (answer, reply) = mpsc::channel();
    keeper
        .lock()
        .map_err(|_poisoned| gone())?
        .send((command, answer))
        .map_err(|_closed| gone())?;
    reply.recv().map_err(|_closed| gone())?
}
