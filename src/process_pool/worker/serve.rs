//! A worker's life: reads calls, runs them, and sends back what they return.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustix::process::{getpgrp, getpid};

use super::entry::send;
use super::main_thread::MainThread;
use super::watch;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicI32;
use crate::primitive::spin::spin_until;
use crate::process_pool::usual::Usual;
use crate::process_pool::wire::call::{Call, Failure, MOST_FAILURE, too_long};
use crate::process_pool::wire::codec::{self, CodecError};
use crate::process_pool::wire::frame::{self, FrameReader, HEADER, Kind, Message};
use crate::process_pool::wire::page::Page;

/// Serves until the parent says that nothing will follow.
///
/// Does not return if the stream is gone while the parent is there: the process ends then.
///
/// # Errors
///
/// The parent is gone (broken pipe, connection reset), or it sends nonsense.
pub(in crate::process_pool) fn serve(
    stream: &OwnedFd,
    reader: FrameReader,
    page: &Page,
    most: usize,
    main: &MainThread,
) -> io::Result<()> {
    let stream = Stream { file: file_of(stream)?, descriptor: stream, checked: Cell::new(Instant::now()) };
    let this = getpid();
    let served = serve_on(&stream, reader, page, most, main);
    // A process that a task has forked off, and that came here in its turn, has no stream to begin with.
    if served.is_err() && getpid() == this && !stream.is_there() {
        watch::lose(page.fate(), getpgrp());
    }
    served
}

/// The stream, by its number, which a task can close, or give to another file.
struct Stream<'f> {
    descriptor: &'f OwnedFd,
    file: (u64, u64),
    checked: Cell<Instant>,
}

/// How long the stream is taken to be there after it was. Its high number is another file's only when all lower ones are, or after a
/// loop over all numbers: either takes a thousand system calls. (A number that is nobody's is an error of the call.)
const TAKEN_TO_BE_THERE: Duration = Duration::from_micros(100);

/// What the kernel knows a file by.
fn file_of(descriptor: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl Stream<'_> {
    /// Whether the number is that of the stream.
    fn is_there(&self) -> bool {
        file_of(self.descriptor).is_ok_and(|file| file == self.file)
    }

    /// Sends to the parent, and to nobody else. The time is the present one.
    fn send(&self, bytes: &[u8], now: Instant) -> io::Result<()> {
        if now - self.checked.get() > TAKEN_TO_BE_THERE {
            if !self.is_there() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.checked.set(now);
        }
        send(self.descriptor, bytes)
    }
}

fn serve_on(
    stream: &Stream<'_>,
    mut reader: FrameReader,
    page: &Page,
    most: usize,
    main: &MainThread,
) -> io::Result<()> {
    let mut reply = Vec::new();
    let (pause, mut idle_since) = (Usual::unknown(), None::<Instant>);
    let mut asked_for_more = false;
    loop {
        let rings = page.rings();
        while let Some(message) = reader.next_message().map_err(io::Error::other)? {
            asked_for_more = false;
            let id = message.id;
            reply.clear();
            reply.resize(HEADER, 0);
            let began = Instant::now();
            let kind = match message.kind {
                Kind::Stop => {
                    main.exits();
                    return Ok(());
                }
                Kind::Init => run(message, &mut reply, most.max(MOST_FAILURE)),
                Kind::Task if page.start(id) => run(message, &mut reply, most),
                Kind::Task => Kind::Skipped,
                kind => return Err(io::Error::other(format!("the parent sent a frame of the kind {kind:?}"))),
            };
            let payload = &reply[HEADER..];
            let header = frame::header(kind, id, payload.len() as u32, frame::checksum(payload));
            reply[..HEADER].copy_from_slice(&header);
            let ended = Instant::now();
            // To skip one took no time, and says nothing of tasks.
            if kind != Kind::Skipped {
                page.note_time(u32::try_from((ended - began).as_nanos()).unwrap_or(u32::MAX));
            }
            stream.send(&reply, ended)?;
            if reply.capacity() > MOST_KEPT {
                reply = Vec::new();
            }
            idle_since = Some(Instant::now());
        }
        if reader.is_inside_frame() {
            // The parent polls for room in the stream only if somebody asks.
            if !asked_for_more {
                asked_for_more = true;
                let mut more = Vec::new();
                frame::append(&mut more, Kind::More, 0, &[]);
                stream.send(&more, Instant::now())?;
            }
        } else if pause.is_worth_a_spin() {
            spin_until(|| page.rings() != rings);
        }
        let descriptor = stream.descriptor;
        match rustix::io::retry_on_intr(|| rustix::net::recv(descriptor, reader.space(), RecvFlags::empty()))? {
            // An end without a goodbye.
            (0, _) => return Err(io::ErrorKind::ConnectionReset.into()),
            (bytes, _) => reader.filled(bytes),
        }
        if let Some(since) = idle_since.take() {
            pause.note(since.elapsed());
        }
    }
}

/// A reply's buffer that is larger is not kept.
const MOST_KEPT: usize = 1 << 20;

/// Runs a call and writes what became of it behind the reply's header.
fn run(message: Message<'_>, reply: &mut Vec<u8>, most: usize) -> Kind {
    let ended = match (message.lost(), Call::read(message.payload())) {
        (Some(lost), _) => Err(Failure::Decode(CodecError::new(format!("in the worker {lost}")))),
        // SAFETY:
        // - the parent encoded the call with a value of this function (`Call::of`); it runs the same build.
        (None, Some(thunk)) => unsafe { thunk(message, reply) },
        (None, None) => Err(Failure::NoFunction),
    };
    let failure = match ended {
        Ok(()) if reply.len() - HEADER <= most => return Kind::Done,
        Ok(()) => Failure::Encode(too_long("the result takes", reply.len() - HEADER, most, "the task's result")),
        Err(failure) => failure,
    };
    reply.truncate(HEADER);
    // It is made of text and numbers: nothing refuses to be written.
    let _ = codec::encode(&failure, reply);
    let most = most.max(MOST_FAILURE);
    if reply.len() - HEADER > most {
        // The parent would take it for nonsense.
        reply.truncate(HEADER);
        let _ = codec::encode(&failure.shortened(most), reply);
    }
    Kind::Failed
}

/// The worker's stream, to be closed in a process that is forked off it: while that one has it, nobody would see the worker's
/// end.
static STREAM: AtomicI32 = AtomicI32::new(-1);

/// Has the stream closed in every process that is forked off this one.
pub(in crate::process_pool) fn close_in_forks(stream: &OwnedFd) {
    extern "C" fn close() {
        // Once: in a process that is forked off that one it may be another file.
        let stream = STREAM.swap(-1, Relaxed);
        // SAFETY:
        // - this is a process of its own: nobody else in it uses the descriptor, of which it has a copy. `close` may be
        //   called after a fork.
        unsafe { libc::close(stream) };
    }
    STREAM.store(stream.as_raw_fd(), Relaxed);
    // SAFETY:
    // - the function is there for the life of the process, and does only what may be done after a fork.
    unsafe { libc::pthread_atfork(None, None, Some(close)) };
}
