//! What goes between a pool and its workers: values as bytes, calls, frames, and the page that both see.

pub(super) mod call;
pub(super) mod callable;
pub(super) mod claim;
pub(super) mod codec;
pub(super) mod fate;
pub(super) mod frame;
pub(super) mod identity;
pub(super) mod mark;
pub(super) mod object;
pub(super) mod page;
pub(super) mod registry;
pub(super) mod reply;
pub(super) mod room;
