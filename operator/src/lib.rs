//! The Lockstep operator.
