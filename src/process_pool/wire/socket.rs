//! How bytes and descriptors get into a stream and out of it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::blob::MAX_ATTACHMENTS;
use super::frame::{FrameReader, LostDescriptors};

/// The length of a control message with as many descriptors as the kernel takes.
const CONTROL: usize = rustix::cmsg_space!(ScmRights(MAX_ATTACHMENTS));

/// Receives bytes, and the descriptors that come with them, into the reader. Returns the number of bytes. `look` may take
/// descriptors away, and then returns why.
///
/// The caller takes all whole frames out of the reader before it receives again.
pub(in crate::process_pool) fn receive(
    stream: impl AsFd,
    reader: &mut FrameReader,
    flags: RecvFlags,
    look: impl FnOnce(&mut Vec<OwnedFd>) -> Option<LostDescriptors>,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffer = &mut [IoSliceMut::new(reader.space())];
    let received = recvmsg(stream, buffer, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    let (bytes, is_cut) = (received.bytes, received.flags.contains(ReturnFlags::CTRUNC));
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if is_cut || !descriptors.is_empty() {
        let lost = look(&mut descriptors).or(is_cut.then_some(LostDescriptors::NotTaken));
        reader.filled_with(bytes, descriptors, lost);
    } else {
        reader.filled(bytes);
    }
    Ok(bytes)
}

/// Sends bytes, and descriptors with the first of them. Returns how many bytes were sent: if any, all descriptors were.
#[cold]
pub(in crate::process_pool) fn send_with(
    stream: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let pushed = control.push(SendAncillaryMessage::ScmRights(descriptors));
    debug_assert!(pushed, "a message has at most as many");
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL)
}

/// Returns whether an error of [`send_with`] is about the descriptors, and not about the stream.
pub(in crate::process_pool) fn is_of_descriptors(error: Errno) -> bool {
    !matches!(error, Errno::AGAIN | Errno::INTR | Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::SHUTDOWN)
}
