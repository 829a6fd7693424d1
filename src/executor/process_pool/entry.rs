//! How a process comes to be a worker: before its `main`, and instead of it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::process;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, getpgrp, getpid};
use serde::{Deserialize, Serialize};

use super::frame::{self, FrameReader, Kind};
use super::identity::Identity;
use super::link::NO_SIGNAL;
use super::page::Page;
use super::{codec, high, main_thread, overflow, watch, worker};
use crate::deadlock::print_line;
use crate::executor::panic;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;

/// Set for a process that is to be a worker; gone as soon as it is one.
pub(super) const WORKER: &str = "BOWLINE_WORKER";

/// What a worker that never got so far as to be one ends with.
const NO_WORKER: i32 = 121;

/// So long is what comes before the frames of tasks.
const MOST_SETUP: usize = 1 << 16;

/// How many worker processes there are around this one.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// What a worker is told before its first task. The page's descriptor comes with it.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Setup {
    pub(super) parent: u32,
    pub(super) depth: u32,
    /// Of the process, for `ps`.
    pub(super) name: String,
    /// How long a message may be.
    pub(super) most: u64,
    /// Whether to capture the backtrace of a panic.
    pub(super) backtraces: bool,
}

/// How many worker processes there are around this one: 0 in the program itself.
pub(super) fn depth() -> u32 {
    DEPTH.load(Relaxed)
}

/// Whether this process is to be a worker, and is none yet.
pub(super) fn is_worker_to_be() -> bool {
    mark().is_some()
}

/// What says that this process is to be a worker.
fn mark() -> Option<OsString> {
    env::var_os(WORKER).filter(|_| !is_privileged())
}

/// Whether this program has rights that whoever started it has not: such a one is not for them to tell what to run.
pub(super) fn is_privileged() -> bool {
    // SAFETY:
    // - `getauxval` has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Life before `main`: a worker never gets there.
///
/// Late among its like, so that what other crates set up before `main` is there for the tasks.
#[cfg(not(all(test, loom)))]
#[ctor::ctor(unsafe, priority = late)]
fn before_main() {
    // A library's constructor runs while the loader holds its lock, if the program loads it by `dlopen`: a thread that
    // registers a destructor waits for that lock, and so does every thread of std, the watch among them. There it is for
    // the program to call `ProcessPoolExecutor::init`.
    if is_worker_to_be() && Identity::of_this().is_main_program() {
        become_worker();
    }
}

/// Becomes a worker, for ever, if this process was started as one.
pub(super) fn become_worker() {
    let Some(mark) = mark() else { return };
    panic::never_unwinds(|| match run(&mark) {
        Ok(()) => process::exit(0),
        // The parent is gone: there is nobody to be told.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            process::exit(NO_WORKER)
        }
        Err(error) => {
            print_line(format_args!("bowline: this process was to be a worker, and can't: {error}"));
            process::exit(NO_WORKER);
        }
    });
}

fn run(mark: &OsStr) -> io::Result<()> {
    // SAFETY:
    // - nothing else of the process has begun: this is before `main`, or first in it (`ProcessPoolExecutor::init`).
    unsafe { env::remove_var(WORKER) };
    if mark != VERSION {
        let text = format!("{WORKER} is {}, and this program knows {VERSION} only", mark.display());
        return Err(io::Error::other(text));
    }
    // What the thread that started this one blocked is not for tasks.
    // SAFETY:
    // - zeroes are an empty set of signals; nothing is written to.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    // std does so at the start of `main`.
    // SAFETY:
    // - SIGPIPE is a signal that can be ignored; nothing else of the process has begun.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // Never closed: it ends with the process.
    let stream: &'static OwnedFd = Box::leak(Box::new(take_stdin()?));
    let mut reader = FrameReader::new(MOST_SETUP);
    let mut hello = Vec::new();
    frame::append(&mut hello, Kind::Hello, 0, &Identity::of_this().to_bytes());
    if send(stream, &hello).is_err() {
        // The parent is gone: nobody wants to know.
        process::exit(NO_WORKER);
    }

    let (setup, page) = receive_setup(stream, &mut reader)?;
    let page = Page::open(page)?.leak();
    DEPTH.store(setup.depth, Relaxed);
    let _ = rustix::thread::set_name(&std::ffi::CString::new(setup.name.as_bytes()).unwrap_or_default());
    let parent = Pid::from_raw(setup.parent.cast_signed()).ok_or_else(|| io::Error::other("the parent has no id"))?;
    watch::watch(stream.as_fd(), parent, getpgrp(), page.fate())?;
    let main = main_thread::watch(getpgrp(), page.fate())?;
    overflow::install(page.fate());
    panic::note_locations();
    panic::note_backtraces(setup.backtraces);
    worker::close_in_forks(stream);
    debug_assert!(getpgrp() == getpid(), "a worker leads a group");

    let mut ready = Vec::new();
    frame::append(&mut ready, Kind::Ready, 0, &[]);
    let most = usize::try_from(setup.most).unwrap_or(usize::MAX);
    reader.set_most(most);
    let served = send(stream, &ready).and_then(|()| worker::serve(stream, reader, page, most, &main));
    match served {
        // To exit would be to leave the children behind, if it is sooner than the watch.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            watch::end(getpgrp())
        }
        served => served,
    }
}

/// What the mark says: which conversation the parent expects.
pub(super) const VERSION: &str = "1";

/// Takes the stream out of the way of whoever reads from standard input.
fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_domain(stdin).is_err() {
        let text = format!("{WORKER} is set, and standard input is no socket: it is not for people");
        return Err(io::Error::other(text));
    }
    let stream = high::duplicate(stdin)?;
    loop {
        // Standard streams that are closed are opened, as std does at the start of `main`: what is printed would go to
        // whichever descriptor takes their place.
        let nothing = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
        if nothing.as_raw_fd() > libc::STDERR_FILENO {
            rustix::stdio::dup2_stdin(&nothing)?;
            return Ok(stream);
        }
        let _ = nothing.into_raw_fd();
    }
}

fn receive_setup(stream: &OwnedFd, reader: &mut FrameReader) -> io::Result<(Setup, OwnedFd)> {
    let mut page = None;
    loop {
        match reader.next().map_err(io::Error::other)? {
            None => {}
            Some(frame) if frame.kind == Kind::Setup => {
                let setup = codec::decode::<Setup>(frame.payload).map_err(io::Error::other)?;
                let page = page.ok_or_else(|| io::Error::other("the parent sent no page"))?;
                return Ok((setup, page));
            }
            Some(_) => return Err(io::Error::other("the parent's first frame is not the right one")),
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let buffer = &mut [IoSliceMut::new(reader.space())];
        let received = rustix::io::retry_on_intr(|| recvmsg(stream, buffer, &mut control, RecvFlags::CMSG_CLOEXEC));
        let bytes = match received {
            Err(Errno::CONNRESET) => 0,
            received => received?.bytes,
        };
        if bytes == 0 {
            // The parent is gone, or does not want this worker any more.
            process::exit(NO_WORKER);
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                page = descriptors.last().or(page);
            }
        }
        reader.filled(bytes);
    }
}

/// Sends all of it, and waits until it is sent.
pub(super) fn send(stream: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, NO_SIGNAL))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
