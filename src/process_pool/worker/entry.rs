//! How a process comes to be a worker: before its `main`, and instead of it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::process;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{getpgrp, getpid};
use serde::{Deserialize, Serialize};

use super::main_thread::MainThread;
use super::{high, main_thread, overflow, peer, serve, watch};
use crate::deadlock::print_line;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, AtomicU32};
use crate::process_pool::parent::link::NO_SIGNAL;
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{self, FrameReader, Kind};
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::wire::mark::{self, Addressee, Mark};
use crate::process_pool::wire::page::Page;
use crate::task::panic;

/// What a worker that never got so far as to be one ends with.
const NO_WORKER: i32 = 121;

/// So long is what comes before the frames of tasks.
const MOST_SETUP: usize = 1 << 16;

/// How many worker processes there are around this one.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Whether this process has taken its mark, and runs what the program does before `main`.
static IS_BEGINNING: AtomicBool = AtomicBool::new(false);

/// The stream to the parent and the page that is shared with it. Never closed: they end with the process.
static STREAM: OnceLock<OwnedFd> = OnceLock::new();
static PAGE: OnceLock<Page> = OnceLock::new();

/// What a worker is told before its first task. The page's descriptor comes with it.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) struct Setup {
    pub(in crate::process_pool) depth: u32,
    /// Of the process, for `ps`.
    pub(in crate::process_pool) name: String,
    /// How long a message may be.
    pub(in crate::process_pool) most: u64,
    /// Whether to capture the backtrace of a panic.
    pub(in crate::process_pool) backtraces: bool,
}

/// How many worker processes there are around this one: 0 in the program itself.
pub(in crate::process_pool) fn depth() -> u32 {
    DEPTH.load(Relaxed)
}

/// Whether this process is to be a worker, and is none yet.
pub(in crate::process_pool) fn is_worker_to_be() -> bool {
    IS_BEGINNING.load(Relaxed) || Mark::of_this_process().is_some()
}

/// Life before `main`: a worker never gets there.
///
/// `run_the_rest` does what else the program does before `main`: tasks find it done.
#[cfg(not(any(miri, all(test, loom))))]
pub(in crate::process_pool) fn before_main(run_the_rest: impl FnOnce() -> io::Result<()>) {
    let Some(mark) = Mark::of_this_process() else { return };
    // A library's initialisers run while the loader holds its lock, if the program loads it by `dlopen`: a thread that
    // registers a destructor waits for that lock, and so does every thread of std, the watch among them. There it is for
    // the program to call `ProcessPoolExecutor::init`.
    if !Identity::of_this().is_main_program() {
        return;
    }
    let is_for_this = match mark.addressee() {
        _ if peer::is_privileged() => return take_mark(),
        Addressee::This => true,
        // It, and with it the program, begins when the program says so.
        Addressee::AnotherInLibrary => return,
        // It is among the rest.
        Addressee::AnotherInProgram | Addressee::Unknown => false,
    };
    if is_for_this {
        take_mark();
        IS_BEGINNING.store(true, Relaxed);
    }
    let rest_has_run = run_the_rest();
    IS_BEGINNING.store(false, Relaxed);
    if !is_for_this {
        // Nobody took it. The program is not to run as if it had been started by a person: the parent is told why.
        take_mark();
    }
    serve(&mark, rest_has_run);
}

/// Becomes a worker, for ever, if this process was started as one of this copy of the crate.
pub(in crate::process_pool) fn become_worker() {
    let Some(mark) = Mark::of_this_process() else { return };
    if peer::is_privileged() {
        take_mark();
    } else if mark.addressee() == Addressee::This {
        take_mark();
        serve(&mark, Ok(()));
    }
}

/// No process that this one starts is a worker of its parent.
fn take_mark() {
    Mark::remove();
}

/// Is a worker, and ends as one.
fn serve(mark: &Mark, has_begun: io::Result<()>) {
    panic::never_unwinds(|| match run(mark, has_begun) {
        Ok(()) => process::exit(0),
        // The parent is gone: there is nobody to be told.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            process::exit(NO_WORKER)
        }
        Err(error) => {
            complain(&error);
            process::exit(NO_WORKER);
        }
    });
}

fn complain(error: &io::Error) {
    print_line(format_args!("bowline: this process was to be a worker, and can't: {error}"));
}

/// Tells the parent why this process is no worker, and ends. Returns only if the parent is gone: then that is what is wrong,
/// whatever else seems to be.
fn refuse(stream: &OwnedFd, error: io::Error) -> io::Error {
    let mut closed = [PollFd::new(stream, PollFlags::empty())];
    if poll(&mut closed, Some(&Timespec::default())).is_ok_and(|closed| closed > 0) {
        return io::ErrorKind::BrokenPipe.into();
    }
    // First: who is told kills this process.
    complain(&error);
    let mut refusal = Vec::new();
    frame::append(&mut refusal, Kind::Refused, 0, error.to_string().as_bytes());
    let _ = send(stream, &refusal);
    process::exit(NO_WORKER)
}

fn run(mark: &Mark, has_begun: io::Result<()>) -> io::Result<()> {
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
    let taken = take_stdin()?;
    let stream = STREAM.get_or_init(|| taken);
    let mut reader = FrameReader::new(MOST_SETUP);
    let got_up = has_begun.and_then(|()| get_up(mark, stream, &mut reader));
    let Up { page, most, main } = got_up.map_err(|error| refuse(stream, error))?;
    match serve::serve(stream, reader, page, most, &main) {
        // To exit would be to leave the children behind, if it is sooner than the watch.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            watch::end(getpgrp())
        }
        served => served,
    }
}

/// What a worker has when it is up.
struct Up {
    page: &'static Page,
    /// How long a message may be.
    most: usize,
    main: MainThread,
}

/// All that comes before the frames of tasks.
fn get_up(mark: &Mark, stream: &'static OwnedFd, reader: &mut FrameReader) -> io::Result<Up> {
    let parent = peer::check(stream)?;
    let addressee = mark.addressee();
    if addressee == Addressee::Unknown {
        let text = format!("{} is {}, which this program does not know", mark::NAME, mark.text().display());
        return Err(io::Error::other(text));
    }
    let mut message = Vec::new();
    frame::append(&mut message, Kind::Hello, 0, &Identity::of_this().to_bytes());
    send(stream, &message)?;

    let (setup, page) = receive_setup(stream, reader)?;
    if addressee != Addressee::This {
        // A parent that compared the identity above would not have sent a set-up.
        return Err(io::Error::other("another copy of this crate was to be the worker"));
    }
    let page = Page::open(page)?;
    let page = PAGE.get_or_init(|| page);
    DEPTH.store(setup.depth, Relaxed);
    let _ = rustix::thread::set_name(&std::ffi::CString::new(setup.name.as_bytes()).unwrap_or_default());
    let no_watch = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("no thread that watches the {what} could be started: {error}"))
    };
    watch::watch(stream.as_fd(), parent, getpgrp(), page.fate()).map_err(|error| no_watch("parent", error))?;
    let main = main_thread::watch(getpgrp(), page.fate()).map_err(|error| no_watch("main thread", error))?;
    overflow::install(page.fate());
    panic::note_locations();
    panic::note_backtraces(setup.backtraces);
    serve::close_in_forks(stream);
    debug_assert!(getpgrp() == getpid(), "a worker leads a group");

    let most = usize::try_from(setup.most).unwrap_or(usize::MAX);
    reader.set_most(most);
    message.clear();
    frame::append(&mut message, Kind::Ready, 0, &[]);
    send(stream, &message)?;
    Ok(Up { page, most, main })
}

/// Takes the stream out of the way of whoever reads from standard input.
fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_domain(stdin).is_err() {
        let text = format!("{} is set, and standard input is no socket: it is not for people", mark::NAME);
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
pub(in crate::process_pool) fn send(stream: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, NO_SIGNAL))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
