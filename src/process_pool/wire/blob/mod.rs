//! Large data that goes between processes as a descriptor of sealed memory: no byte of it goes through the stream.

mod attachments;
mod bytes;
#[cfg(all(target_os = "linux", not(bowline_portable)))]
mod kept;
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "memory_portable.rs")]
mod memory;
mod seal_error;
mod vec;

#[cfg(all(target_os = "linux", not(bowline_portable)))]
pub(super) use attachments::MAX_ATTACHMENTS;
pub(in crate::process_pool) use attachments::{Attached, Attachments};
pub(super) use attachments::{NAME, pass, take_wanted};
pub use bytes::{Blob, BlobMut};
#[cfg(all(target_os = "linux", not(bowline_portable)))]
pub(in crate::process_pool) use kept::{forget_mappings, has_mappings, keep_mappings};
pub use seal_error::SealError;
pub use vec::{SharedVec, SharedVecMut};
