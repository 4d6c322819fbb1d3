//! The Lockstep agent, roles site and xpu.
