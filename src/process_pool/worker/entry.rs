//! How a process becomes a worker: before its `main`, which never runs then.

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

use super::main_thread::MainThread;
use super::stream::{close_in_forks, send};
use super::{high, limits, main_thread, overflow, peer, serve, watch};
use crate::deadlock::print_line;
use crate::primitive::Ordering::Relaxed;
use crate::process_pool::wire::frame::{self, FrameReader, Kind};
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::wire::mark::{self, Addressee, Mark};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::setup::Setup;
use crate::process_pool::wire::{codec, memory, role};
use crate::task::panic;

/// The exit code of a process that was to be a worker, and could not.
const NO_WORKER: i32 = 121;

/// The maximum length of what comes before the frames of tasks.
const MAX_SETUP: usize = 1 << 16;

/// The stream to the parent, and the page that is shared with it. Never closed: they end with the process.
static STREAM: OnceLock<OwnedFd> = OnceLock::new();
static PAGE: OnceLock<Page> = OnceLock::new();

/// Becomes a worker, and does not return, if this process was started as one.
///
/// `run_the_rest` runs what else the program does before `main`: a worker runs it before its first task.
#[cfg(not(any(miri, all(test, loom))))]
pub(in crate::process_pool) fn before_main(run_the_rest: impl FnOnce() -> io::Result<()>) {
    let Some(mark) = Mark::of_this_process() else { return };
    // A library's initialisers run while the loader holds its lock, if the program loads it by `dlopen`: a thread that
    // registers a destructor waits for that lock, and so does every thread of std, the watch among them. There it is
    // for the program to call `ProcessPoolExecutor::init`.
    if !Identity::of_this().is_main_program() {
        return;
    }
    let is_for_this = match mark.addressee() {
        _ if role::is_privileged() => return Mark::remove(),
        Addressee::This => true,
        // That copy, and with it the worker, begins when the program calls `init`.
        Addressee::AnotherInLibrary => return,
        // That copy is among the rest.
        Addressee::AnotherInProgram | Addressee::Unknown => false,
    };
    let rest_has_run = if is_for_this {
        Mark::remove();
        role::while_beginning(run_the_rest)
    } else {
        let rest_has_run = run_the_rest();
        // No copy took it. The program is not to run as if it had been started by a person: the parent is told why.
        Mark::remove();
        rest_has_run
    };
    serve(&mark, rest_has_run);
}

/// Becomes a worker, and does not return, if this process was started as one of this copy of the crate.
pub(in crate::process_pool) fn become_worker() {
    let Some(mark) = Mark::of_this_process() else { return };
    if role::is_privileged() {
        Mark::remove();
    } else if mark.addressee() == Addressee::This {
        Mark::remove();
        serve(&mark, Ok(()));
    }
}

/// Runs as a worker, and exits.
fn serve(mark: &Mark, rest_has_run: io::Result<()>) {
    panic::never_unwinds(|| match run(mark, rest_has_run) {
        Ok(()) => process::exit(0),
        // The parent is gone: nobody reads an error.
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

/// Tells the parent why this process is no worker, and ends. Returns only if the parent is gone: then that is what is
/// wrong, whatever else seems to be.
fn refuse(stream: &OwnedFd, error: io::Error) -> io::Error {
    let mut closed = [PollFd::new(stream, PollFlags::empty())];
    if error.kind() == io::ErrorKind::BrokenPipe
        || poll(&mut closed, Some(&Timespec::default())).is_ok_and(|closed| closed > 0)
    {
        return io::ErrorKind::BrokenPipe.into();
    }
    // First: the parent kills this process when it has read the refusal.
    complain(&error);
    let mut refusal = Vec::new();
    frame::append(&mut refusal, Kind::Refused, 0, error.to_string().as_bytes());
    let _ = send(stream, &refusal);
    process::exit(NO_WORKER)
}

fn run(mark: &Mark, rest_has_run: io::Result<()>) -> io::Result<()> {
    // Tasks do not inherit which signals were blocked in the thread that started this process.
    // SAFETY:
    // - zeroes are an empty set of signals; nothing is written to.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    // As std does at the start of `main`.
    // SAFETY:
    // - SIGPIPE is a signal that can be ignored; nothing else of the process has begun.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let taken = take_stdin()?;
    let stream = STREAM.get_or_init(|| taken);
    let mut reader = FrameReader::new(MAX_SETUP);
    let got_up = rest_has_run.and_then(|()| get_up(mark, stream, &mut reader));
    let Up { page, max_size, main } = got_up.map_err(|error| refuse(stream, error))?;
    match serve::serve(stream, reader, page, max_size, &main) {
        // An exit before the watch has acted would leave the children behind.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            watch::end(getpgrp())
        }
        served => served,
    }
}

/// What a worker that is up serves with.
struct Up {
    page: &'static Page,
    /// The maximum length of a message.
    max_size: usize,
    main: MainThread,
}

/// Does all that comes before the frames of tasks: the checks, the handshake, the set-up.
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
    role::set_depth(setup.depth);
    let _ = rustix::thread::set_name(&std::ffi::CString::new(setup.name.as_bytes()).unwrap_or_default());
    let no_watch = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("no thread that watches the {what} could be started: {error}"))
    };
    watch::watch(stream.as_fd(), parent, getpgrp(), page.fate()).map_err(|error| no_watch("parent", error))?;
    let main = main_thread::watch(getpgrp(), page.fate()).map_err(|error| no_watch("main thread", error))?;
    overflow::install(page.fate());
    panic::note_locations();
    panic::BACKTRACES.store(setup.backtraces, Relaxed);
    if !setup.keeps_memory {
        memory::keep_none();
    }
    close_in_forks(stream);
    debug_assert!(getpgrp() == getpid(), "a worker leads a group");
    // Last: what comes before needs threads and memory.
    limits::apply(&setup.limits, page.fate())?;

    let max_size = usize::try_from(setup.max_size).unwrap_or(usize::MAX);
    reader.set_max_size(max_size);
    message.clear();
    frame::append(&mut message, Kind::Ready, 0, &[]);
    send(stream, &message)?;
    Ok(Up { page, max_size, main })
}

/// Moves the stream to a high number, and opens `/dev/null` as standard input in its place.
fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_domain(stdin).is_err() {
        let text = format!("{} is set, and standard input is no socket: it is not for people", mark::NAME);
        return Err(io::Error::other(text));
    }
    let stream = high::duplicate(stdin)?;
    loop {
        // Opens standard streams that are closed, as std does at the start of `main`: what is printed would go to
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
            // The parent is gone, or has given this worker up.
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
