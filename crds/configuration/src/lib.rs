//! A card's own files: what the templates of a `DpuImage` make of the values of a `Dpu`.
//!
//! Rendered by the site agent, which alone reads Secrets; judged without secrets by the operator,
//! which tells what is missing before anything is begun. Both name what goes in by one digest, so
//! that what was judged and what is rendered are the same. No I/O, and no words of ours quote a
//! value.

mod fault;
mod inputs;
mod quoting;
mod scope;
mod template;

pub use fault::Fault;
pub use inputs::{Inputs, check_templates};
