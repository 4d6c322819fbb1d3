//! Pushing a boot stream (BFB) to a BlueField over the rshim of its host.
//!
//! Three parts do not touch anything: [`BootStream`] checks the bytes before any is pushed,
//! [`log`] reads what the card says in the ring that `misc` shows, and [`Follower`] tells from
//! that how far an install is and how it ended. [`Rshim`] is the device, under an injectable
//! root.
//!
//! **Opening `boot` resets the card.** So everything that can be said against a push is to be
//! said before; what a refused opening means is [`OpenError`]'s to tell.

mod device;
mod follow;
mod holder;
pub mod log;
mod stream;

pub use device::{Boot, NoSuchRshim, OpenError, Rshim, WriteError};
pub use follow::{Ended, Follower};
pub use holder::Holder;
pub use stream::{BootStream, Image, StreamError, StreamReader, Unfit, generation};
