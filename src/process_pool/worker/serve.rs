//! A worker's life: it reads calls, runs them, and sends back what they return.

use crate::task::error::CodecError;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::RecvFlags;
use rustix::process::{getpgrp, getpid};

use super::allocation;
use super::bulk::BulkResults;
use super::forward;
use super::main_thread::MainThread;
use super::running;
use super::stream::{Sent, Stream};
use super::watch;
use crate::primitive::spin::spin_until;
use crate::process_pool::wire::blob::{Attachments, Blob, forget_mappings, has_mappings, keep_mappings};
use crate::process_pool::wire::call::{Call, CallFailure, MAX_FAILURE, too_long};
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{self, FrameReader, HEADER, Kind, LostDescriptors, Message};
use crate::process_pool::wire::memory;
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::region::{Assembly, Place, Readable};
use crate::process_pool::wire::socket;
use crate::process_pool::wire::usual::Usual;

/// A reply's buffer with more capacity is not kept for the next reply, but for a long one.
const MAX_KEPT: usize = 1 << 20;
/// A worker that has had nothing to do for so long frees what it keeps for the next long message.
const KEEPS_FOR: Duration = Duration::from_secs(1);

/// Serves until the parent says that nothing will follow.
///
/// Does not return if the stream is gone while the parent is there: the process ends then.
///
/// # Errors
///
/// The parent is gone (broken pipe, connection reset), or it sends nonsense.
pub(super) fn serve(
    descriptor: &'static OwnedFd,
    reader: FrameReader,
    page: &'static Page,
    max_size: usize,
    main: &MainThread,
) -> io::Result<()> {
    let stream = &running::serves_by(page, Stream::new(descriptor)?, max_size).stream;
    keep_mappings();
    let this = getpid();
    let served = serve_on(stream, reader, page, max_size, main);
    // A process that a task has forked off, and that came here in its turn, has no stream to begin with.
    if served.is_err() && getpid() == this && !stream.is_there() {
        watch::lose(page.fate(), getpgrp());
    }
    served
}

fn serve_on(
    stream: &Stream,
    mut reader: FrameReader,
    page: &Page,
    max_size: usize,
    main: &MainThread,
) -> io::Result<()> {
    let (mut reply, mut attachments) = (Vec::new(), Attachments::none());
    let (pause, mut idle_since) = (Usual::unknown(), None::<Instant>);
    let mut asked_for_more = false;
    let (mut region, mut long_call, mut bulk_results) = (None, Assembly::new(), BulkResults::NotYet);
    loop {
        let sent = page.sent();
        while let Some(mut message) = reader.next_message().map_err(io::Error::other)? {
            asked_for_more = false;
            let id = message.id;
            if message.kind == Kind::Region {
                // Without it bulk calls go on coming through the stream.
                region = open_region(&mut message);
                if region.is_some() {
                    let mut mapped = Vec::new();
                    frame::append(&mut mapped, Kind::Region, 0, &[]);
                    stream.send(&mapped, Instant::now())?;
                }
                continue;
            }
            if message.kind == Kind::TaskInRegion {
                let place = Place::of_bytes(message.payload());
                let call = place.and_then(|place| Some((region.as_ref()?.call(place)?, place.left)));
                let (call, left) = call.ok_or_else(|| io::Error::other("the parent sent a task in no region"))?;
                message = if left > 0 || long_call.is_begun() {
                    long_call.add(call, left);
                    // The parent writes the next part.
                    let mut taken = Vec::new();
                    frame::append(&mut taken, Kind::More, id, &[]);
                    stream.send(&taken, Instant::now())?;
                    if left > 0 {
                        continue;
                    }
                    Message::with_own_payload(Kind::Task, id, long_call.take())
                } else {
                    Message::with_payload(Kind::Task, id, call)
                };
            }
            reply.clear();
            reply.resize(HEADER, 0);
            let began = Instant::now();
            let mut kind = match message.kind {
                Kind::Stop => {
                    main.exits();
                    return Ok(());
                }
                Kind::Init => run(message, &mut reply, &mut attachments, max_size.max(MAX_FAILURE)),
                Kind::Task if page.start(id) => {
                    forward::up_to(page.level());
                    let _runs = running::begin(id);
                    run(message, &mut reply, &mut attachments, max_size)
                }
                Kind::Task => Kind::Skipped,
                kind => return Err(io::Error::other(format!("the parent sent a frame of the kind {kind:?}"))),
            };
            if kind == Kind::Done
                && attachments.is_empty()
                && let Some(place) = bulk_results.put(id, &reply[HEADER..], stream, page)?
            {
                kind = Kind::DoneInRegion;
                reply.truncate(HEADER);
                reply.extend(place.to_bytes());
            }
            put_header(&mut reply, kind, id, &attachments);
            let ended = Instant::now();
            // A skipped task took no time, which says nothing of tasks.
            if kind != Kind::Skipped {
                page.note_time(u32::try_from((ended - began).as_nanos()).unwrap_or(u32::MAX));
            }
            if attachments.is_empty() {
                stream.send(&reply, ended)?;
            } else {
                send_with(stream, id, &mut reply, std::mem::take(&mut attachments), max_size, ended)?;
            }
            if reply.capacity() > MAX_KEPT {
                memory::keep(std::mem::take(&mut reply));
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
        memory::note_idle(true);
        while keeps_memory() && is_silent(descriptor) {
            memory::forget_kept();
            forget_mappings();
        }
        if rustix::io::retry_on_intr(|| socket::receive(descriptor, &mut reader, RecvFlags::empty(), |_| None))? == 0 {
            // The stream ended without a frame of the kind `Stop`.
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        memory::note_idle(false);
        if let Some(since) = idle_since.take() {
            pause.note(since.elapsed());
        }
    }
}

/// Returns whether buffers or mappings are kept for what comes next.
fn keeps_memory() -> bool {
    memory::has_kept() || has_mappings()
}

/// Waits until something comes, or for a second. Returns whether nothing came.
#[cold]
fn is_silent(stream: &OwnedFd) -> bool {
    let limit = KEEPS_FOR.try_into().ok();
    poll(&mut [PollFd::new(stream, PollFlags::IN)], limit.as_ref()).is_ok_and(|ready| ready == 0)
}

/// Maps the region of the parent, if it came and can be mapped.
#[cold]
fn open_region(message: &mut Message<'_>) -> Option<Readable> {
    let descriptors = message.take_descriptors().ok()?;
    Readable::open(descriptors.first()?).ok()
}

/// Writes the header of a reply, which has its payload.
fn put_header(reply: &mut [u8], kind: Kind, id: u64, attachments: &Attachments) {
    let (header, payload) = reply.split_at_mut(HEADER);
    let (length, blobs) = (payload.len() as u32, attachments.blobs().len() as u8);
    header.copy_from_slice(&frame::header_with(kind, id, length, frame::checksum(payload), blobs));
}

/// Sends a reply with blobs, or an error in its place if the system goes on refusing to send the blobs.
#[cold]
fn send_with(
    stream: &Stream,
    id: u64,
    reply: &mut Vec<u8>,
    attachments: Attachments,
    max_size: usize,
    now: Instant,
) -> io::Result<()> {
    let descriptors: Vec<_> = attachments.blobs().iter().map(Blob::descriptor).collect();
    let Sent::Nothing(error) = stream.send_with_patience(reply, &descriptors, now, || false)? else { return Ok(()) };
    drop(attachments);
    let text = format!("{}: {error}", LostDescriptors::Withheld);
    put_failure(CallFailure::Encode(CodecError::new(text)), reply, max_size);
    put_header(reply, Kind::Failed, id, &Attachments::none());
    stream.send(reply, now)
}

/// Runs a call and writes its result, or its error, behind the reply's header. Returns the kind of the reply.
fn run(message: Message<'_>, reply: &mut Vec<u8>, attachments: &mut Attachments, max_size: usize) -> Kind {
    allocation::forget_failures();
    let ended = match (message.lost(), Call::read(message.payload())) {
        (Some(lost), _) => Err(CallFailure::Decode(CodecError::new(format!("in the worker {lost}")))),
        // SAFETY:
        // - the parent encoded the call with a value of this function (`Call::of`); it runs the same build.
        (None, Some(thunk)) => unsafe { thunk(message, reply, attachments) },
        (None, None) => Err(CallFailure::NoFunction),
    };
    let failure = match ended {
        Ok(()) if reply.len() - HEADER <= max_size => return Kind::Done,
        Ok(()) => {
            CallFailure::Encode(too_long("the result takes", reply.len() - HEADER, max_size, "the task's result"))
        }
        Err(failure) => failure,
    };
    attachments.truncate(0);
    put_failure(failure, reply, max_size);
    Kind::Failed
}

/// Writes a call's error behind the reply's header.
fn put_failure(failure: CallFailure, reply: &mut Vec<u8>, max_size: usize) {
    reply.truncate(HEADER);
    // It is made of text and numbers: it can be written.
    let _ = codec::encode(&failure, reply);
    let max_size = max_size.max(MAX_FAILURE);
    if reply.len() - HEADER > max_size {
        // The parent would take it for nonsense.
        reply.truncate(HEADER);
        let _ = codec::encode(&failure.shortened(max_size), reply);
    }
}
