//! Descriptors: how tests send them, and run out of them.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Sends bytes, and descriptors with them.
pub(crate) fn send_with(stream: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    let mut sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("a message");
    while sent < bytes.len() {
        sent += rustix::net::send(stream, &bytes[sent..], SendFlags::NOSIGNAL).expect("the rest");
    }
}

/// Passes on all bytes and descriptors, and notes how many bytes there were. Ends with the stream.
pub(crate) fn relay(from: &UnixStream, to: &UnixStream, count: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let Ok(received) = recvmsg(from, parts, &mut control, RecvFlags::CMSG_CLOEXEC) else { break };
        if received.bytes == 0 {
            break;
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        count.fetch_add(received.bytes, SeqCst);
        send_with(to, &buffer[..received.bytes], &descriptors);
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// From now on this process may open so many more files. Returns what it might before.
pub(crate) fn leave(more: usize) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // Numbers below the limit are given out, whatever their number.
    let free = (0..).filter(|&number| {
        // SAFETY:
        // - a number.
        unsafe { libc::fcntl(number, libc::F_GETFD) < 0 }
    });
    let limit = free.take(more + 1).last().expect("a number") as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: before.maximum }).expect("a limit");
    before
}

/// Gives up all that this thread may do beyond others.
pub(crate) fn drop_capabilities() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).expect("less");
}

/// Waits until no other test, in whichever process, fills the way of descriptors, which is one for all processes of a user. It stays so
/// until what is returned is dropped.
pub(crate) fn alone_on_the_way() -> fs::File {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("way");
    let file = fs::File::options().create(true).append(true).open(path).expect("a file");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    file
}

/// Descriptors that are on their way to nobody, more than a user may have there.
pub(crate) fn fill_the_way() -> (UnixStream, UnixStream) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum }).expect("a limit");
    let (from, to) = UnixStream::pair().expect("a socket");
    let null = OwnedFd::from(fs::File::open("/dev/null").expect("a file"));
    let all: Vec<_> = (0..60).map(|_| null.try_clone().expect("a descriptor")).collect();
    send_with(&from, &[0], &all);
    send_with(&from, &[0], &all);
    (from, to)
}
