//! The parent's end of a worker's stream.
//!
//! A thread that has something to send puts it behind what is there (`enqueue`, under the dispatcher's mutex, which
//! decides the order) and then sends what the stream takes (`flush`, outside of the mutex). The rest stays. No thread
//! polls for that: a worker that is about to sleep in the middle of a frame asks for the rest, and its supervisor then
//! sends all of it.
//!
//! Every send has `NOSIGNAL`: EPIPE instead of SIGPIPE.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustix::process::Signal;

use super::arrivals;
use super::deadlines::Deadlines;
use super::dispatcher;
use super::job::Job;
use super::notes::Speaker;
use super::process::Process;
use super::relay;
use super::terms::TimeLimit;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet::{AtomicBool, AtomicU64, Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::blob::Blob;
use crate::process_pool::wire::call::{Call, Parcel};
use crate::process_pool::wire::frame::{self, FrameReader, HEADER, Kind};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::region::{Calls, MAX_PARTS, Parts, Writable};
use crate::process_pool::wire::socket;

/// Longer payloads are not copied beside others.
const SMALL: usize = 16 << 10;
/// About how many bytes are sent at once.
const BATCH: usize = 64 << 10;

/// A frame to be sent.
struct Piece {
    kind: Kind,
    id: u64,
    parcel: Option<Arc<Parcel>>,
}

impl Piece {
    fn has_blobs(&self) -> bool {
        self.parcel.as_ref().is_some_and(|parcel| !parcel.blobs().is_empty())
    }

    fn header(&self) -> [u8; HEADER] {
        match &self.parcel {
            // `Call` has checked these against limits that fit.
            Some(parcel) => {
                let (length, blobs) = (parcel.payload().len() as u32, parcel.blobs().len() as u8);
                frame::header_with(self.kind, self.id, length, parcel.checksum(), blobs)
            }
            None => frame::header(self.kind, self.id, 0, frame::checksum(&[])),
        }
    }

    /// Returns the call, if it goes through the region where there is one.
    fn bulk_call(&self) -> Option<&Arc<Parcel>> {
        self.parcel.as_ref().filter(|parcel| self.kind == Kind::Task && parcel.is_bulk())
    }
}

/// The result of an [exchange](SocketLink::exchange).
pub(super) enum Exchange {
    /// Nothing is left to be sent, or the worker does not read any more.
    Sent,
    /// Something is left.
    Again,
    /// The worker is gone.
    Gone,
}

/// The result of [`Sending::fill`].
enum Filled {
    Nothing,
    Some,
    /// Nothing, before this has its checksum, which is not computed while others wait for the lock.
    Unchecked(Arc<Parcel>),
}

/// What is being sent.
#[derive(Default)]
struct Sending {
    /// Whole frames, and the header of the large one that follows.
    bytes: Vec<u8>,
    sent: usize,
    /// What goes with the first byte of the first frame in `bytes`.
    with: Option<With>,
    region: Region,
    /// A thread computes the checksum of what is next.
    is_checking: bool,
    large: Option<(Arc<Parcel>, usize)>,
    /// The call that goes through the region in parts, and its number. Nothing overtakes it.
    in_parts: Option<(u64, Arc<Parcel>, Parts)>,
    /// How many parts were written, of all calls.
    parts: u64,
}

/// Descriptors that go with a frame.
enum With {
    Blobs(Arc<Parcel>),
    Region(OwnedFd),
}

impl With {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Blobs(parcel) => parcel.blobs().iter().map(Blob::descriptor).collect(),
            Self::Region(file) => vec![file.as_fd()],
        }
    }
}

/// The memory by which bulk calls get to the worker.
#[derive(Default)]
enum Region {
    /// There was no bulk call.
    #[default]
    NotYet,
    /// The worker has not said that it has mapped it.
    Offered(Writable),
    Open(Calls),
    /// There is none, for want of something.
    Never,
}

/// What the worker has taken out of the region.
#[derive(Default)]
struct Taken {
    /// The last task that it has replied to.
    replied: AtomicU64,
    /// How many parts of calls.
    parts: AtomicU64,
}

/// The way to a worker process.
pub(super) struct SocketLink {
    stream: UnixStream,
    page: Page,
    process: Arc<Process>,
    /// How often to check whether the worker is there: another process may have its end of the stream.
    look_each: Option<Duration>,
    pending: Mutex<VecDeque<Piece>>,
    sending: Mutex<Sending>,
    taken: Taken,
    /// The stream was full before all was sent. Written with `sending` locked.
    has_rest: AtomicBool,
    serial: u64,
    deadlines: Arc<Deadlines>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SocketLink {
    /// The way to this process, which is up.
    pub(super) fn new(stream: UnixStream, page: Page, process: Arc<Process>, deadlines: Arc<Deadlines>) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        process.note_program();
        let look_each = process.look_each();
        // In place of the handshake's limit. It can't fail with a stream and a time that is not zero.
        let _ = stream.set_read_timeout(look_each);
        Self {
            stream,
            page,
            process,
            look_each,
            pending: Mutex::default(),
            sending: Mutex::default(),
            taken: Taken::default(),
            has_rest: AtomicBool::new(false),
            serial: MADE.fetch_add(1, Relaxed),
            deadlines,
        }
    }

    /// Kills the worker and its children, unless it was reaped. What it has sent before is there to be read.
    pub(super) fn kill(&self) {
        self.process.signal(Signal::KILL);
        // A process that has left the group may have the other end.
        self.cut();
    }

    /// Sends the worker and its children a signal, unless it was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    fn push(&self, kind: Kind, id: u64, call: Option<&Call>) {
        lock(&self.pending).push_back(Piece { kind, id, parcel: call.map(|call| Arc::clone(call.parcel())) });
    }

    /// Notes that the worker has mapped the region.
    pub(super) fn open_region(&self) {
        let region = &mut lock(&self.sending).region;
        *region = match std::mem::take(region) {
            Region::Offered(memory) => Region::Open(Calls::new(memory)),
            other => other,
        };
    }

    /// Notes that the worker has replied to a task: it does not read its call any more.
    pub(super) fn note_reply(&self, id: u64) {
        // ORDERING: Release, for the Acquire of `put_in_region`: the next call is written after the worker has read this
        // one.
        self.taken.replied.store(id, Release);
    }

    /// Notes that the worker has taken a part of a call out of the region. To be followed by a send.
    pub(super) fn note_part(&self) {
        // ORDERING: Release, for the Acquire of `put_part`, as above.
        self.taken.parts.fetch_add(1, Release);
    }

    /// Puts the initializer's call behind what is to be sent.
    pub(super) fn enqueue_init(&self, call: &Call) {
        self.push(Kind::Init, 0, Some(call));
    }

    /// Sends what the stream takes without waiting. Returns whether that is all.
    fn try_send(&self) -> io::Result<bool> {
        let mut sending = lock(&self.sending);
        let mut has_sent = false;
        let all = loop {
            match sending.fill(&self.pending, &self.taken) {
                Filled::Some => {}
                Filled::Nothing => {
                    if self.has_rest() {
                        self.has_rest.store(false, Relaxed);
                    }
                    break true;
                }
                // Another thread computes it, and sends what there is then.
                Filled::Unchecked(_) if sending.is_checking => break true,
                Filled::Unchecked(parcel) => {
                    sending.is_checking = true;
                    drop(sending);
                    parcel.checksum();
                    sending = lock(&self.sending);
                    sending.is_checking = false;
                    continue;
                }
            }
            match sending.send_some(&self.stream) {
                Ok(bytes) => {
                    sending.advance(bytes);
                    has_sent = true;
                }
                Err(Errno::INTR) => {}
                // Announces the rest, and tries once more: if the stream is still full, the worker has not read what is
                // in it. It will send something when it has, and whoever receives that finds the announcement.
                // ORDERING: Relaxed: the kernel's lock of the stream is taken by the second try after this, then by the
                // worker, who then sends what the supervisor receives.
                Err(Errno::AGAIN) if !self.has_rest() => self.has_rest.store(true, Relaxed),
                Err(Errno::AGAIN) => break false,
                Err(error) => return Err(error.into()),
            }
        };
        drop(sending);
        if has_sent {
            self.page.note_sent();
        }
        Ok(all)
    }

    /// Waits for bytes, and receives them into the reader. Returns their number. Zero: the worker is gone.
    pub(super) fn receive(&self, reader: &mut FrameReader) -> io::Result<usize> {
        loop {
            match arrivals::receive(&self.stream, reader, RecvFlags::empty()) {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(0),
                Err(Errno::AGAIN) if !self.process.has_ended() => {}
                // What the worker sent before it ended, if it came after the last look.
                Err(Errno::AGAIN) => {
                    return Ok(arrivals::receive(&self.stream, reader, RecvFlags::DONTWAIT).unwrap_or(0));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what the stream takes. If something is left, waits until the stream takes more, or until there is
    /// something to receive, and receives that.
    pub(super) fn exchange(&self, reader: &mut FrameReader) -> io::Result<Exchange> {
        match self.try_send() {
            Ok(true) => return Ok(Exchange::Sent),
            Ok(false) => {}
            // What the worker sent before is there to be read.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                return Ok(Exchange::Sent);
            }
            Err(error) => return Err(error),
        }
        let mut ready = [PollFd::new(&self.stream, PollFlags::IN | PollFlags::OUT)];
        let limit = self.look_each.and_then(|limit| limit.try_into().ok());
        match poll(&mut ready, limit.as_ref()) {
            Ok(0) if self.process.has_ended() => return Ok(Exchange::Sent),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let comes = ready[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if comes && self.receive(reader)? == 0 {
            return Ok(Exchange::Gone);
        }
        Ok(Exchange::Again)
    }

    /// Returns whether the stream was full before all was sent.
    pub(super) fn has_rest(&self) -> bool {
        self.has_rest.load(Relaxed)
    }

    /// Ends the stream at both ends, whoever else has them.
    pub(super) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsFd for SocketLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Speaker for SocketLink {
    fn note_heard(&self, task: u64, weight: u32) {
        self.page.note_heard(task, weight);
    }

    fn serial(&self) -> u64 {
        self.serial
    }
}

impl dispatcher::Link for SocketLink {
    fn enqueue(&self, id: u64, job: &Job) {
        self.page.offer(id, job.attempt);
        if cfg!(feature = "tracing") {
            self.page.set_level(relay::wanted());
        }
        self.push(Kind::Task, id, Some(&job.call));
    }

    fn enqueue_stop(&self) {
        self.push(Kind::Stop, 0, None);
    }

    fn flush(&self) {
        // The supervisor sees a broken stream.
        let _ = self.try_send();
    }

    fn recall(&self, id: u64) -> bool {
        self.page.recall(id)
    }

    fn limit(&self, id: u64, limit: TimeLimit) {
        self.deadlines.limit((self.serial, id), limit);
    }

    fn forget_limit(&self, id: u64) {
        self.deadlines.forget((self.serial, id));
    }

    fn ask_to_stop(&self, id: u64) {
        self.page.ask_to_stop(id);
    }

    fn serial(&self) -> u64 {
        self.serial
    }

    fn last_time(&self) -> Duration {
        Duration::from_nanos(self.page.time().into())
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Sending {
    /// Takes the next frames, if everything was sent. Returns whether there is something to send.
    fn fill(&mut self, pending: &Mutex<VecDeque<Piece>>, taken: &Taken) -> Filled {
        if self.sent < self.bytes.len() || self.large.is_some() {
            return Filled::Some;
        }
        self.bytes.clear();
        self.sent = 0;
        while self.bytes.len() < BATCH && self.large.is_none() {
            if self.in_parts.is_some() {
                if self.put_part(taken) {
                    continue;
                }
                // The supervisor continues when it notes that the worker has taken one.
                break;
            }
            // Descriptors go with the first byte of what is sent at once.
            let may_follow = |piece: &mut Piece| self.bytes.is_empty() || !piece.has_blobs();
            let Some(piece) = lock(pending).pop_front_if(may_follow) else { break };
            if let Some(parcel) = piece.bulk_call() {
                if self.put_in_region(piece.id, parcel, taken) {
                    continue;
                }
                if !parcel.has_checksum() {
                    let parcel = Arc::clone(parcel);
                    lock(pending).push_front(piece);
                    if self.bytes.is_empty() {
                        return Filled::Unchecked(parcel);
                    }
                    break;
                }
            }
            self.bytes.extend(piece.header());
            let Some(parcel) = piece.parcel else { continue };
            if !parcel.blobs().is_empty() {
                self.with = Some(With::Blobs(Arc::clone(&parcel)));
            }
            if parcel.payload().len() > SMALL {
                self.large = Some((parcel, 0));
            } else {
                self.bytes.extend_from_slice(parcel.payload());
            }
        }
        if self.bytes.is_empty() { Filled::Nothing } else { Filled::Some }
    }

    /// Puts a bulk call into the region, and behind the bytes a frame that says so. Returns `false` if it goes through
    /// the stream: the region is full, or not there. If there was none before, offers one.
    #[cold]
    fn put_in_region(&mut self, id: u64, parcel: &Arc<Parcel>, taken: &Taken) -> bool {
        let call = parcel.payload();
        match &mut self.region {
            // ORDERING: Acquire, for the Release of `note_part`.
            Region::Open(_) if self.parts != taken.parts.load(Acquire) => {}
            Region::Open(calls) => {
                // ORDERING: Acquire, for the Release of `note_reply`.
                let replied = taken.replied.load(Acquire);
                if let Some(parts) = calls.parts(call, replied) {
                    self.in_parts = Some((id, Arc::clone(parcel), parts));
                    return true;
                }
                let Some(place) = calls.put(id, call, replied) else { return false };
                frame::append(&mut self.bytes, Kind::TaskInRegion, id, &place.to_bytes());
                return true;
            }
            Region::NotYet if self.bytes.is_empty() => match Writable::new() {
                Ok((memory, file)) => {
                    self.region = Region::Offered(memory);
                    self.with = Some(With::Region(file));
                    self.bytes.extend(frame::header_with(Kind::Region, 0, 0, frame::checksum(&[]), 1));
                }
                Err(_) => self.region = Region::Never,
            },
            _ => {}
        }
        false
    }

    /// Puts the next part of a call into the region, and behind the bytes a frame that says so. Returns `false` if there
    /// is no space before the worker has taken one.
    #[cold]
    fn put_part(&mut self, taken: &Taken) -> bool {
        // ORDERING: Acquire, for the Release of `note_part`.
        if self.parts.saturating_sub(taken.parts.load(Acquire)) >= MAX_PARTS {
            return false;
        }
        let (Some((id, parcel, parts)), Region::Open(calls)) = (&mut self.in_parts, &mut self.region) else {
            return false;
        };
        if let Some(place) = calls.put_part(parts, parcel.payload()) {
            self.parts += 1;
            frame::append(&mut self.bytes, Kind::TaskInRegion, *id, &place.to_bytes());
            if place.left > 0 {
                return true;
            }
        }
        self.in_parts = None;
        true
    }

    /// Sends what the stream takes of the next bytes without waiting. Returns their number.
    fn send_some(&mut self, stream: &UnixStream) -> Result<usize, Errno> {
        if let Some(with) = &self.with {
            match socket::send_with(stream, &self.bytes, &with.descriptors(), SendFlags::DONTWAIT) {
                Ok(bytes) => {
                    self.with = None;
                    return Ok(bytes);
                }
                // That is the end of the task, not of the worker: it is told that the descriptors do not come.
                Err(error) if socket::is_of_descriptors(error) => {
                    frame::withhold(self.bytes.first_chunk_mut().expect("it begins with a header"));
                    self.with = None;
                }
                Err(error) => return Err(error),
            }
        }
        let (flags, rest) = (SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &self.bytes[self.sent..]);
        match &self.large {
            // At once: a worker that finds the header alone would ask for the rest.
            Some((parcel, sent)) => {
                let parts = [IoSlice::new(rest), IoSlice::new(&parcel.payload()[*sent..])];
                rustix::net::sendmsg(stream, &parts, &mut SendAncillaryBuffer::default(), flags)
            }
            None => rustix::net::send(stream, rest, flags),
        }
    }

    /// Notes that so many bytes were sent.
    fn advance(&mut self, bytes: usize) {
        let before = bytes.min(self.bytes.len() - self.sent);
        self.sent += before;
        if let Some((parcel, sent)) = &mut self.large {
            *sent += bytes - before;
            if *sent == parcel.payload().len() {
                self.large = None;
            }
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests;
