//! What arrives from a worker: bytes, and descriptors of memory. Others come if the worker's program has closed the
//! descriptor of a blob, and its number is another file's by now.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::primitive::spawn_thread;
use crate::process_pool::wire::frame::{FrameReader, LostDescriptors};
use crate::process_pool::wire::socket;

/// Of a thread that only closes descriptors.
const STACK_SIZE: usize = 64 << 10;

/// Receives bytes and descriptors of a worker, as [`socket::receive`] does. Whoever drops the descriptors waits for
/// nothing.
pub(super) fn receive(stream: impl AsFd, reader: &mut FrameReader, flags: RecvFlags) -> Result<usize, Errno> {
    socket::receive(stream, reader, flags, keep_memory)
}

/// Keeps the descriptors if all of them are of memory. If not, keeps none, and returns why.
///
/// A thread of their own closes those: that of a socket may wait for the other end (`SO_LINGER`), that of a file for the
/// program or the server behind it. Memory is only freed.
#[cold]
fn keep_memory(descriptors: &mut Vec<OwnedFd>) -> Option<LostDescriptors> {
    if descriptors.iter().all(|descriptor| rustix::fs::fcntl_get_seals(descriptor).is_ok()) {
        return None;
    }
    // If there is no thread they stay open: that costs less than a supervisor that waits.
    let foreign = ManuallyDrop::new(std::mem::take(descriptors));
    let _ = spawn_thread("bowline-close".to_owned(), STACK_SIZE, move || drop(ManuallyDrop::into_inner(foreign)));
    Some(LostDescriptors::Foreign)
}
