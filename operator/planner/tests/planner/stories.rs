//! Stories: what a person sees, and what reaches the machines.

mod adopt;
mod approval;
mod capabilities;
mod configuration;
mod deletion;
mod doubts;
mod edits;
mod faults;
mod first_light;
mod host_wait;
mod image_trust;
mod inspection;
mod inventory;
mod pairing;
mod refusals;
mod requirements;
mod restore;
mod roads;
mod roll_back;
mod shutdown;
mod taint;
mod taken_down;
