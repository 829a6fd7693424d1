//! Large data that goes between processes as a descriptor of sealed memory: no byte of it goes through the stream.

mod attachments;
mod bytes;
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "memory_portable.rs")]
mod memory;
mod vec;

pub(in crate::process_pool) use attachments::{Attached, Attachments};
pub(super) use attachments::{MAX_ATTACHMENTS, NAME, pass, take_wanted};
pub use bytes::{Blob, BlobMut};
pub use vec::{SharedVec, SharedVecMut};
