//! A worker's life: it reads calls, runs them, and sends back what they return.

use crate::task::error::CodecError;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::net::RecvFlags;
use rustix::process::{getpgrp, getpid};

use super::allocation;
use super::main_thread::MainThread;
use super::running;
use super::stream::Stream;
use super::watch;
use crate::primitive::spin::spin_until;
use crate::process_pool::wire::call::{Call, CallFailure, MAX_FAILURE, too_long};
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{self, FrameReader, HEADER, Kind, Message};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::usual::Usual;

/// A reply's buffer with more capacity is freed.
const MAX_KEPT: usize = 1 << 20;

/// Serves until the parent says that nothing will follow.
///
/// Does not return if the stream is gone while the parent is there: the process ends then.
///
/// # Errors
///
/// The parent is gone (broken pipe, connection reset), or it sends nonsense.
pub(super) fn serve(
    descriptor: &OwnedFd,
    reader: FrameReader,
    page: &'static Page,
    max_size: usize,
    main: &MainThread,
) -> io::Result<()> {
    running::serves_by(page);
    let stream = Stream::new(descriptor)?;
    let this = getpid();
    let served = serve_on(&stream, reader, page, max_size, main);
    // A process that a task has forked off, and that came here in its turn, has no stream to begin with.
    if served.is_err() && getpid() == this && !stream.is_there() {
        watch::lose(page.fate(), getpgrp());
    }
    served
}

fn serve_on(
    stream: &Stream<'_>,
    mut reader: FrameReader,
    page: &Page,
    max_size: usize,
    main: &MainThread,
) -> io::Result<()> {
    let mut reply = Vec::new();
    let (pause, mut idle_since) = (Usual::unknown(), None::<Instant>);
    let mut asked_for_more = false;
    loop {
        let sent = page.sent();
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
                Kind::Init => run(message, &mut reply, max_size.max(MAX_FAILURE)),
                Kind::Task if page.start(id) => {
                    let _runs = running::begin(id);
                    run(message, &mut reply, max_size)
                }
                Kind::Task => Kind::Skipped,
                kind => return Err(io::Error::other(format!("the parent sent a frame of the kind {kind:?}"))),
            };
            let payload = &reply[HEADER..];
            let header = frame::header(kind, id, payload.len() as u32, frame::checksum(payload));
            reply[..HEADER].copy_from_slice(&header);
            let ended = Instant::now();
            // A skipped task took no time, which says nothing of tasks.
            if kind != Kind::Skipped {
                page.note_time(u32::try_from((ended - began).as_nanos()).unwrap_or(u32::MAX));
            }
            stream.send(&reply, ended)?;
            if reply.capacity() > MAX_KEPT {
                reply = Vec::new();
            }
            idle_since = Some(Instant::now());
        }
        if reader.is_inside_frame() {
            // The parent sends the rest only if this asks for it.
            if !asked_for_more {
                asked_for_more = true;
                let mut more = Vec::new();
                frame::append(&mut more, Kind::More, 0, &[]);
                stream.send(&more, Instant::now())?;
            }
        } else if pause.is_worth_a_spin() {
            spin_until(|| page.sent() != sent);
        }
        let descriptor = stream.descriptor();
        match rustix::io::retry_on_intr(|| rustix::net::recv(descriptor, reader.space(), RecvFlags::empty()))? {
            // The stream ended without a frame of the kind `Stop`.
            (0, _) => return Err(io::ErrorKind::ConnectionReset.into()),
            (bytes, _) => reader.filled(bytes),
        }
        if let Some(since) = idle_since.take() {
            pause.note(since.elapsed());
        }
    }
}

/// Runs a call and writes its result, or its error, behind the reply's header. Returns the kind of the reply.
fn run(message: Message<'_>, reply: &mut Vec<u8>, max_size: usize) -> Kind {
    allocation::forget_failures();
    let ended = match (message.lost(), Call::read(message.payload())) {
        (Some(lost), _) => Err(CallFailure::Decode(CodecError::new(format!("in the worker {lost}")))),
        // SAFETY:
        // - the parent encoded the call with a value of this function (`Call::of`); it runs the same build.
        (None, Some(thunk)) => unsafe { thunk(message, reply) },
        (None, None) => Err(CallFailure::NoFunction),
    };
    let failure = match ended {
        Ok(()) if reply.len() - HEADER <= max_size => return Kind::Done,
        Ok(()) => {
            CallFailure::Encode(too_long("the result takes", reply.len() - HEADER, max_size, "the task's result"))
        }
        Err(failure) => failure,
    };
    reply.truncate(HEADER);
    // It is made of text and numbers: it can be written.
    let _ = codec::encode(&failure, reply);
    let max_size = max_size.max(MAX_FAILURE);
    if reply.len() - HEADER > max_size {
        // The parent would take it for nonsense.
        reply.truncate(HEADER);
        let _ = codec::encode(&failure.shortened(max_size), reply);
    }
    Kind::Failed
}
