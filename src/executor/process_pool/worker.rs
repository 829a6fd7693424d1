//! A worker's life: reads calls, runs them, and sends back what they return.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::net::RecvFlags;

use super::call::{Call, Failure, MOST_FAILURE, too_long};
use super::codec;
use super::entry::send;
use super::frame::{self, FrameReader, HEADER, Kind, Message};
use super::page::Page;
use super::spin::{Usual, spin_until};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicI32;

/// Serves until the parent says that nothing will follow.
///
/// # Errors
///
/// The parent is gone (broken pipe, connection reset), or it sends nonsense.
pub(super) fn serve(stream: &OwnedFd, mut reader: FrameReader, page: &Page, most: usize) -> io::Result<()> {
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
                    end_within(LONGEST_EXIT);
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
            // To skip one took no time, and says nothing of tasks.
            if kind != Kind::Skipped {
                page.note_time(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            send(stream, &reply)?;
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
                send(stream, &more)?;
            }
        } else if pause.is_worth_a_spin() {
            spin_until(|| page.rings() != rings);
        }
        match rustix::io::retry_on_intr(|| rustix::net::recv(stream, reader.space(), RecvFlags::empty()))? {
            // An end without a goodbye.
            (0, _) => return Err(io::ErrorKind::ConnectionReset.into()),
            (bytes, _) => reader.filled(bytes),
        }
        if let Some(since) = idle_since.take() {
            pause.note(since.elapsed());
        }
    }
}

/// So many seconds the functions may take that run at the exit of a process.
const LONGEST_EXIT: u32 = 10;

/// Has the system end this process if it has not ended by itself.
fn end_within(seconds: u32) {
    // SAFETY:
    // - SIGALRM is a signal, and its default action ends the process.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    // SAFETY:
    // - `alarm` has no preconditions.
    unsafe { libc::alarm(seconds) };
}

/// A reply's buffer that is larger is not kept.
const MOST_KEPT: usize = 1 << 20;

/// Runs a call and writes what became of it behind the reply's header.
fn run(message: Message<'_>, reply: &mut Vec<u8>, most: usize) -> Kind {
    let ended = match Call::read(message.payload()) {
        // SAFETY:
        // - the parent encoded the call with a value of this function (`Call::of`); it runs the same build.
        Some(thunk) => unsafe { thunk(message, reply) },
        None => Err(Failure::NoFunction),
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
pub(super) fn close_in_forks(stream: &OwnedFd) {
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
