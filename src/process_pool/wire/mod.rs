//! What goes between a pool and its workers: values as bytes, calls, frames, and the page that both see.
//!
//! Both sides import this room, and it imports neither. The `README.md` beside this file describes the stream and who
//! may make a worker run what.

pub(super) mod blob;
pub(super) mod call;
pub(super) mod callable;
pub(super) mod claim;
pub(super) mod codec;
pub(super) mod exiting;
pub(super) mod fate;
pub(super) mod fork;
pub(super) mod frame;
pub(super) mod identity;
pub(super) mod invocation;
pub(super) mod limits;
pub(super) mod mark;
mod memfd;
pub(super) mod memory;
pub(super) mod object;
mod own_map;
pub(super) mod page;
pub(super) mod progress;
pub(super) mod region;
pub(super) mod registry;
pub(super) mod reply;
pub(super) mod role;
pub(super) mod setup;
pub(super) mod socket;
#[cfg(feature = "tracing")]
pub(super) mod trace;
pub(super) mod usual;
