//! The search against a fleet and an API server in memory, in time that stands still and leaps.

mod addresses;
mod alternate;
mod change;
mod fleet;
mod held;
mod inspection;
mod keys;
mod partial;
mod proof;
mod replaced;
mod returning;
mod scale;
mod schedule;
mod telling;
mod trust;
mod worlds;
