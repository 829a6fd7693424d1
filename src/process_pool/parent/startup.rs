//! A worker's start, on its parent's side: the process, the handshake, the initializer.

use crate::task::error::{LastLines, LossReason, StartFailure, WorkerExit};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::arrivals;
use super::exit::{self, Evidence};
use super::link::{Exchange, SocketLink};
use super::oom::OomKills;
use super::process::Process;
use super::settings::Settings;
use super::shared::Shared;
use crate::process_pool::wire::call::{CallFailure, MAX_FAILURE};
use crate::process_pool::wire::frame::{self, Frame, FrameError, FrameReader, Kind};
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::setup::Setup;
use crate::process_pool::wire::{codec, memory, role};

/// The maximum of a single wait of the handshake.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum length of what a worker says before its first task.
const MAX_HELLO: usize = 1 << 12;
/// How many characters of a pool's name its processes show.
const MAX_NAME: usize = 15;

/// Whether a worker's stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamState {
    Ended,
    Open,
}

/// A worker that is up.
pub(super) struct Started {
    pub(super) process: Arc<Process>,
    pub(super) link: Arc<SocketLink>,
    pub(super) reader: FrameReader,
    /// What the system had counted when it was up.
    oom_kills: Option<OomKills>,
}

/// How a worker ended.
pub(super) struct Ended {
    pub(super) exit: WorkerExit,
    pub(super) reason: Option<LossReason>,
}

/// Why a worker did not start.
pub(super) enum NotStarted {
    /// The start can be tried again.
    Failed { failure: StartFailure, lines: LastLines },
    /// The initializer failed, for this reason: it would fail again.
    Broken(String),
}

/// Starts a worker and waits until it is ready.
pub(super) fn start(shared: &Shared) -> Result<Started, NotStarted> {
    let failed = |error| NotStarted::Failed { failure: StartFailure::Spawn(error), lines: LastLines::default() };
    let (process, stream) = Process::start(&shared.settings.program).map_err(failed)?;
    let process = Arc::new(process);
    shared.add_process(&process);
    let mut handshake = Handshake::new(&shared.settings, &stream);
    let page = match handshake.shake(process.pid()) {
        Ok(page) => page,
        Err(ended) => return Err(give_up(shared, &process, ended)),
    };
    let mut reader = handshake.reader;
    reader.set_max_size(shared.settings.max_message_size.max(MAX_FAILURE));
    reader.set_reserve(memory::reserve);
    let link = Arc::new(SocketLink::new(stream, page, Arc::clone(&process), Arc::clone(shared.deadlines())));
    let oom_kills = OomKills::before(process.pid());
    let mut started = Started { process, link, reader, oom_kills };
    if let Err(error) = initialize(&shared.settings, &mut started) {
        return Err(NotStarted::Broken(match error {
            InitError::NotSent(failure) => {
                started.end(shared, StreamState::Open);
                return Err(NotStarted::Failed { failure, lines: started.process.last_lines() });
            }
            InitError::Failed(reason) => {
                started.end(shared, StreamState::Open);
                format!("the initializer failed: {reason}")
            }
            InitError::Gone => {
                let Ended { exit, reason } = started.end(shared, StreamState::Ended);
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                format!("worker process {} {exit} in the initializer{reason}", started.process.pid())
            }
        }));
    }
    Ok(started)
}

impl Started {
    /// Ends the worker, if it has not ended, and returns how it ended. The stream has ended unless the worker sent
    /// nonsense, or its initializer failed.
    pub(super) fn end(&self, shared: &Shared, stream: StreamState) -> Ended {
        let exit = match stream {
            StreamState::Ended => self.process.reap_at_end_of_stream(),
            StreamState::Open => self.process.reap(),
        };
        shared.remove_process(&self.process);
        let fate = self.link.page().fate();
        let exit = exit.with_last_word(fate);
        let evidence = Evidence {
            limits: &shared.settings.limits,
            fate,
            cpu_time: self.process.cpu_time(),
            inherited_cpu_seconds: exit::inherited_cpu_seconds(),
            was_killed_here: self.process.was_killed_here(),
            oom_kills: self.oom_kills.as_ref(),
        };
        let reason = evidence.reason(&exit);
        Ended { exit, reason }
    }
}

/// Why a handshake failed.
enum HandshakeError {
    /// The worker is gone.
    Gone,
    Failed(StartFailure),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Self::Gone,
            _ => Self::Failed(StartFailure::Spawn(error)),
        }
    }
}

fn give_up(shared: &Shared, process: &Arc<Process>, ended: HandshakeError) -> NotStarted {
    // Kills a worker that is refused or too late, and reaps one that has ended.
    let failure = match ended {
        HandshakeError::Gone => StartFailure::Ended(process.reap_at_end_of_stream()),
        HandshakeError::Failed(failure) => {
            process.reap();
            failure
        }
    };
    shared.remove_process(process);
    NotStarted::Failed { failure, lines: process.last_lines() }
}

struct Handshake<'s> {
    settings: &'s Settings,
    stream: &'s UnixStream,
    reader: FrameReader,
    end: Option<Instant>,
}

impl<'s> Handshake<'s> {
    fn new(settings: &'s Settings, stream: &'s UnixStream) -> Self {
        // A time that the clock can't represent is no limit.
        let end = Instant::now().checked_add(settings.start_timeout);
        Self { settings, stream, reader: FrameReader::new(MAX_HELLO), end }
    }

    fn shake(&mut self, pid: u32) -> Result<Page, HandshakeError> {
        let difference = self.next(Kind::Hello, |hello| Identity::of_this().difference(hello.payload))?;
        if let Some(difference) = difference {
            return Err(HandshakeError::Failed(StartFailure::OtherProgram(difference.into())));
        }
        let (page, descriptor) = Page::new()?;
        let setup = Setup {
            depth: role::depth() + 1,
            name: self.settings.name.chars().take(MAX_NAME).collect(),
            max_size: self.settings.max_message_size as u64,
            backtraces: wants_backtraces(),
            // It would count as growth.
            keeps_memory: self.settings.lifespan.max_growth.is_none(),
            limits: self.settings.limits.clone(),
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
    fn send_with(&self, message: &[u8], descriptor: std::os::fd::BorrowedFd<'_>) -> Result<(), HandshakeError> {
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pushed = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(pushed, "there is room for one");
        let parts = [IoSlice::new(message)];
        let sent = sendmsg(self.stream, &parts, &mut control, SendFlags::NOSIGNAL).map_err(io::Error::from)?;
        if sent < message.len() {
            return Err(io::Error::other("the worker's stream does not take a whole message").into());
        }
        Ok(())
    }

    /// Reads the next frame, which has to be of this kind, within the time that is left.
    fn next<R>(&mut self, kind: Kind, read: impl FnOnce(Frame<'_>) -> R) -> Result<R, HandshakeError> {
        let refused = |text: String| HandshakeError::Failed(StartFailure::Refused(text.into()));
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
                return Err(HandshakeError::Failed(StartFailure::Timeout(self.settings.start_timeout)));
            }
            self.stream.set_read_timeout(left.map(|left| left.clamp(Duration::from_millis(1), DAY)))?;
            match arrivals::receive(self.stream, &mut self.reader, RecvFlags::empty()) {
                Ok(0) => return Err(HandshakeError::Gone),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

/// Why an initializer did not end well.
enum InitError {
    /// The worker ended in it.
    Gone,
    /// It failed, for this reason.
    Failed(String),
    /// It did not begin: its call did not get to the worker as a whole.
    NotSent(StartFailure),
}

impl From<FrameError> for InitError {
    fn from(error: FrameError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The stream is at fault, and not the initializer.
impl From<io::Error> for InitError {
    fn from(error: io::Error) -> Self {
        Self::NotSent(StartFailure::Spawn(error))
    }
}

/// Sends the worker the initializer's call, if there is one, and waits for its end, without a limit.
fn initialize(settings: &Settings, started: &mut Started) -> Result<(), InitError> {
    let Some(call) = &settings.initializer else { return Ok(()) };
    let (link, reader) = (&started.link, &mut started.reader);
    link.enqueue_init(call);
    loop {
        match link.exchange(reader)? {
            Exchange::Sent => break,
            Exchange::Again => {}
            Exchange::Gone => return Err(InitError::Gone),
        }
        // Frames are taken out each time: otherwise their number has no limit.
        while let Some(frame) = reader.next()? {
            if let Some(end) = end_of_initializer(&frame, started.process.pid()) {
                return end;
            }
        }
    }
    loop {
        match reader.next()? {
            Some(frame) => {
                if let Some(end) = end_of_initializer(&frame, started.process.pid()) {
                    return end;
                }
            }
            None => {
                if link.receive(reader)? == 0 {
                    return Err(InitError::Gone);
                }
            }
        }
    }
}

/// Returns how the initializer ended, if this frame says that it did.
fn end_of_initializer(frame: &Frame<'_>, pid: u32) -> Option<Result<(), InitError>> {
    let failed = |reason: String| Some(Err(InitError::Failed(reason)));
    match frame.kind {
        Kind::Done => match codec::decode::<Option<String>>(frame.payload) {
            Ok(None) => Some(Ok(())),
            Ok(Some(error)) => failed(error),
            Err(error) => failed(error.to_string()),
        },
        Kind::Failed => match codec::decode::<CallFailure>(frame.payload) {
            Ok(CallFailure::WithoutBlobs(error)) => {
                let refused = StartFailure::Refused(format!("the initializer's arguments: {error}").into());
                Some(Err(InitError::NotSent(refused)))
            }
            Ok(failure) => failed(failure.into_error(pid).to_string()),
            Err(error) => failed(error.to_string()),
        },
        // The rest of the arguments is on its way.
        Kind::More => None,
        kind => failed(format!("the worker sent {kind:?}")),
    }
}

/// Returns whether the environment asks for the backtraces of panics, as [`Backtrace::capture`](std::backtrace::Backtrace::capture)
/// reads it.
fn wants_backtraces() -> bool {
    let asks = |variable| std::env::var_os(variable).map(|value| value != "0");
    asks("RUST_LIB_BACKTRACE").or_else(|| asks("RUST_BACKTRACE")).unwrap_or(false)
}
