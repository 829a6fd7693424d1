//! A worker's start, from its parent's side: the process, the handshake, the initializer.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};

use super::core::{Core, Settings};
use super::link::{Exchange, NO_SIGNAL, SocketLink};
use super::process::Process;
use crate::process_pool::lost::WorkerExit;
use crate::process_pool::start_error::StartFailure;
use crate::process_pool::wire::call::{Failure, MOST_FAILURE};
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{self, Frame, FrameReader, Kind};
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::room;
use crate::process_pool::worker::entry::{Setup, depth};
use crate::task::panic;

/// Longer than this no single wait of the handshake is.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// So long is what a worker says before its first task.
const MOST_HELLO: usize = 1 << 12;

/// So much of a pool's name its processes show.
const MOST_NAME: usize = 15;

/// A worker that is up.
pub(in crate::process_pool) struct Started {
    pub(in crate::process_pool) process: Arc<Process>,
    pub(in crate::process_pool) link: Arc<SocketLink>,
    pub(in crate::process_pool) reader: FrameReader,
}

/// Why there is none.
pub(in crate::process_pool) enum NotStarted {
    /// It can be tried again.
    Failed { failure: StartFailure, stderr: Vec<String> },
    /// The initializer failed, for this reason: it would fail again.
    Broken(String),
}

/// Starts a worker and waits until it is ready.
pub(in crate::process_pool) fn start(core: &Core) -> Result<Started, NotStarted> {
    let failed = |error| NotStarted::Failed { failure: StartFailure::Spawn(error), stderr: Vec::new() };
    let (process, stream) = Process::start(&core.settings.program).map_err(failed)?;
    let process = Arc::new(process);
    core.add_process(&process);
    let mut handshake = Handshake::new(&core.settings, &stream);
    let page = match handshake.shake(process.pid()) {
        Ok(page) => page,
        Err(ended) => return Err(give_up(core, &process, ended)),
    };
    let mut reader = handshake.reader;
    reader.set_most(core.settings.most.max(MOST_FAILURE));
    reader.set_reserve(room::reserve);
    let link = Arc::new(SocketLink::new(stream, page, Arc::clone(&process)));
    let mut started = Started { process, link, reader };
    if let Err(reason) = initialize(&core.settings, &mut started) {
        let exit = started.end(core, reason.is_none());
        return Err(NotStarted::Broken(match reason {
            Some(reason) => format!("the initializer failed: {reason}"),
            None => format!("worker process {} {exit} in the initializer", started.process.pid()),
        }));
    }
    Ok(started)
}

impl Started {
    /// Ends the worker, if it has not ended, and says how it did.
    pub(in crate::process_pool) fn end(&self, core: &Core, is_end_of_stream: bool) -> WorkerExit {
        let exit = if is_end_of_stream { self.process.reap_at_end_of_stream() } else { self.process.reap() };
        core.remove_process(&self.process);
        exit.with_last_word(self.link.page().fate())
    }
}

/// Why a handshake came to nothing.
enum Ended {
    /// The worker is gone.
    Gone,
    Failure(StartFailure),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Self::Gone,
            _ => Self::Failure(StartFailure::Spawn(error)),
        }
    }
}

fn give_up(core: &Core, process: &Arc<Process>, ended: Ended) -> NotStarted {
    // A worker that is refused or too late is killed here, one that ended is reaped.
    let failure = match ended {
        Ended::Gone => StartFailure::Ended(process.reap_at_end_of_stream()),
        Ended::Failure(failure) => {
            process.reap();
            failure
        }
    };
    core.remove_process(process);
    NotStarted::Failed { failure, stderr: process.last_lines() }
}

struct Handshake<'s> {
    settings: &'s Settings,
    stream: &'s UnixStream,
    reader: FrameReader,
    end: Option<Instant>,
}

impl<'s> Handshake<'s> {
    fn new(settings: &'s Settings, stream: &'s UnixStream) -> Self {
        // So far that nobody lives to see it is no limit.
        let end = Instant::now().checked_add(settings.start_timeout);
        Self { settings, stream, reader: FrameReader::new(MOST_HELLO), end }
    }

    fn shake(&mut self, pid: u32) -> Result<Page, Ended> {
        let difference = self.next(Kind::Hello, |hello| Identity::of_this().difference(hello.payload))?;
        if let Some(difference) = difference {
            return Err(Ended::Failure(StartFailure::OtherProgram(difference.into())));
        }
        let (page, descriptor) = Page::new()?;
        let setup = Setup {
            depth: depth() + 1,
            name: self.settings.name.chars().take(MOST_NAME).collect(),
            most: self.settings.most as u64,
            backtraces: panic::are_backtraces_asked_for(),
        };
        let mut payload = Vec::new();
        codec::encode(&setup, &mut payload).map_err(io::Error::other)?;
        let mut message = Vec::new();
        frame::append(&mut message, Kind::Setup, u64::from(pid), &payload);
        self.send_with(&message, descriptor.as_fd())?;
        drop(descriptor);
        self.next(Kind::Ready, |_| ())?;
        Ok(page)
    }

    /// Sends a message of a few bytes, and a descriptor with it.
    fn send_with(&self, message: &[u8], descriptor: std::os::fd::BorrowedFd<'_>) -> Result<(), Ended> {
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pushed = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(pushed, "there is room for one");
        let parts = [IoSlice::new(message)];
        let sent = sendmsg(self.stream, &parts, &mut control, NO_SIGNAL).map_err(io::Error::from)?;
        if sent < message.len() {
            return Err(io::Error::other("the worker's stream does not take a whole message").into());
        }
        Ok(())
    }

    /// The next frame, which has to be of this kind, within the time that is left.
    fn next<R>(&mut self, kind: Kind, read: impl FnOnce(Frame<'_>) -> R) -> Result<R, Ended> {
        let refused = |text: String| Ended::Failure(StartFailure::Refused(text.into()));
        loop {
            match self.reader.next() {
                Err(error) => return Err(refused(error.to_string())),
                Ok(Some(frame)) if frame.kind == kind => return Ok(read(frame)),
                Ok(Some(frame)) if frame.kind == Kind::Refused => {
                    return Err(refused(String::from_utf8_lossy(frame.payload).into_owned()));
                }
                Ok(Some(frame)) => return Err(refused(format!("it sent {:?} in place of {kind:?}", frame.kind))),
                Ok(None) => {}
            }
            let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Ended::Failure(StartFailure::Timeout(self.settings.start_timeout)));
            }
            self.stream.set_read_timeout(left.map(|left| left.clamp(Duration::from_millis(1), DAY)))?;
            match io::Read::read(&mut &*self.stream, self.reader.space()) {
                Ok(0) => return Err(Ended::Gone),
                Ok(bytes) => self.reader.filled(bytes),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Has the worker run the initializer. It takes as long as it takes. `Err(None)`: the worker ended.
fn initialize(settings: &Settings, started: &mut Started) -> Result<(), Option<String>> {
    let Some(call) = &settings.initializer else { return Ok(()) };
    let (link, reader) = (&started.link, &mut started.reader);
    link.enqueue_init(call);
    loop {
        match link.exchange(reader).map_err(|error| Some(error.to_string()))? {
            Exchange::Sent => break,
            Exchange::Again => {}
            Exchange::Gone => return Err(None),
        }
    }
    loop {
        match reader.next().map_err(|error| Some(error.to_string()))? {
            Some(frame) if frame.kind == Kind::Done => {
                let error = codec::decode::<Option<String>>(frame.payload);
                return error.map_err(|error| Some(error.to_string()))?.map_or(Ok(()), |error| Err(Some(error)));
            }
            Some(frame) if frame.kind == Kind::Failed => {
                let failure = codec::decode::<Failure>(frame.payload).map_err(|error| Some(error.to_string()))?;
                return Err(Some(failure.into_error(started.process.pid()).to_string()));
            }
            // The rest of the arguments is on its way.
            Some(frame) if frame.kind == Kind::More => {}
            Some(frame) => return Err(Some(format!("the worker sent {:?}", frame.kind))),
            None => {
                if link.receive(reader).map_err(|error| Some(error.to_string()))? == 0 {
                    return Err(None);
                }
            }
        }
    }
}
