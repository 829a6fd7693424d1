//! The messages of the socket between a pool and a worker: a header, with a checksum of its own, and a payload.
//!
//! ```text
//! kind  descriptors  0  0 | length | id             | payload's CRC | header's CRC | payload
//! 1     1            1  1   4        8                4               4              length      (bytes, little endian)
//! ```
//!
//! Descriptors come with the first byte of their frame's header (`descriptors.rs`); the header says how many there are.
//!
//! A reader believes a header, its length above all, only when the header's own checksum is right: a stray line of text
//! in the stream is an error at once, and not a wait for two gigabytes.
//!
//! This file names nothing else of the crate, and its items are `pub(crate)`: the fuzz target in `fuzz/` includes it.

mod descriptors;
mod message;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;

use descriptors::{Arrivals, Came};
pub(crate) use descriptors::{LostDescriptors, withhold};
pub(crate) use message::Message;

/// The length of a header.
pub(crate) const HEADER: usize = 24;

/// The length of the part of the header that its checksum covers.
const CHECKED: usize = HEADER - 4;

/// The length of the reader's buffer while frames are small.
const USUAL_BUFFER: usize = 64 * 1024;

/// The minimum length of the buffer, if there is no memory for more.
const MIN_BUFFER: usize = 256;

/// Less space behind what is buffered is not worth a read, unless the frame lacks no more.
const SCANT: usize = 4 * 1024;

/// The kind of a frame: what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Setup = 2,
    Init = 3,
    Ready = 4,
    Task = 5,
    Done = 6,
    Failed = 7,
    Skipped = 8,
    More = 9,
    Stop = 10,
    Refused = 11,
    Region = 12,
    TaskInRegion = 13,
    DoneInRegion = 14,
    Progress = 15,
    Trace = 16,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            1 => Self::Hello,
            2 => Self::Setup,
            3 => Self::Init,
            4 => Self::Ready,
            5 => Self::Task,
            6 => Self::Done,
            7 => Self::Failed,
            8 => Self::Skipped,
            9 => Self::More,
            10 => Self::Stop,
            11 => Self::Refused,
            12 => Self::Region,
            13 => Self::TaskInRegion,
            14 => Self::DoneInRegion,
            15 => Self::Progress,
            16 => Self::Trace,
            unknown => return Err(FrameError::Kind(unknown)),
        })
    }
}

/// Makes the header of a frame whose payload has this length and this [`checksum`].
pub(crate) fn header(kind: Kind, id: u64, payload_length: u32, payload_crc: u32) -> [u8; HEADER] {
    header_with(kind, id, payload_length, payload_crc, 0)
}

/// As [`header`], of a frame with which this many descriptors go, at most 253: that is what the kernel takes.
pub(crate) fn header_with(kind: Kind, id: u64, payload_length: u32, payload_crc: u32, descriptors: u8) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = kind as u8;
    bytes[1] = descriptors;
    bytes[4..8].copy_from_slice(&payload_length.to_le_bytes());
    bytes[8..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..20].copy_from_slice(&payload_crc.to_le_bytes());
    sign(&mut bytes);
    bytes
}

/// Writes the header's own checksum.
fn sign(header: &mut [u8; HEADER]) {
    let own = checksum(&header[..CHECKED]);
    header[CHECKED..].copy_from_slice(&own.to_le_bytes());
}

/// Returns the checksum of a payload: CRC-32, which finds any damage within four bytes in a row.
pub(crate) fn checksum(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

/// Appends a whole frame.
///
/// # Panics
///
/// If the payload has 4 GiB or more.
pub(crate) fn append(buffer: &mut Vec<u8>, kind: Kind, id: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload has less than 4 GiB");
    buffer.reserve(HEADER + payload.len());
    buffer.extend_from_slice(&header(kind, id, length, checksum(payload)));
    buffer.extend_from_slice(payload);
}

/// A frame that has arrived, as it lies in the reader's buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'b> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) payload: &'b [u8],
}

/// There was no memory for a payload of this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory {
    pub(crate) bytes: usize,
}

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no memory for a message of {} bytes", self.bytes)
    }
}

/// A header that can be believed.
#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    descriptors: u8,
    id: u64,
    length: usize,
    payload_crc: u32,
}

impl Head {
    fn parse(bytes: &[u8; HEADER], max_size: usize) -> Result<Self, FrameError> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(CHECKED) != checksum(&bytes[..CHECKED]) || bytes[2..4] != [0; 2] {
            return Err(FrameError::Header);
        }
        let kind = Kind::try_from(bytes[0])?;
        let descriptors = bytes[1];
        let length = word(4);
        match usize::try_from(length) {
            Ok(payload) if payload <= max_size => Ok(Self {
                kind,
                descriptors,
                id: u64::from(word(8)) | u64::from(word(12)) << 32,
                length: payload,
                payload_crc: word(16),
            }),
            _ => Err(FrameError::TooLong { length, max_size }),
        }
    }
}

/// A frame's header, the place of its payload, if that was not thrown away, and what came with it.
type Taken = (Head, Option<Range<usize>>, Came);

/// Reserves memory in a buffer for this many bytes behind those that are in it. Returns whether there is memory.
pub(crate) type Reserve = fn(&mut Vec<u8>, usize) -> bool;

/// A payload that there is no memory for, while it is being read and thrown away.
struct Discarded {
    head: Head,
    /// Where the header is in the stream.
    at: u64,
    /// How many bytes of it have not arrived.
    left: usize,
    crc: crc32fast::Hasher,
}

/// Takes a stream apart into frames, however its bytes arrive.
///
/// A frame that there is no memory for costs that frame, and not the stream.
///
/// Its memory grows with what has arrived, not with what was announced. A byte is moved less than three times on
/// average, including the growth for a large frame, and bytes of frames that come and go whole are never moved.
pub(crate) struct FrameReader {
    /// The bytes that have arrived and were not handed out are `start..end`. Those behind are zeroes or old.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    max_size: usize,
    /// The payload that the bytes that arrive belong to, while it is thrown away.
    discarded: Option<Discarded>,
    reserve: Reserve,
    broken: Option<FrameError>,
    /// What came with the bytes.
    arrivals: Arrivals,
    /// How many bytes were moved within the buffer, or with it.
    #[cfg(test)]
    moved: usize,
}

impl FrameReader {
    /// Makes a reader of frames with payloads of at most `max_size` bytes. Allocates with the first
    /// [`space`](Self::space).
    pub(crate) fn new(max_size: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            // The length of a whole frame fits.
            max_size: max_size.min(usize::MAX - HEADER),
            discarded: None,
            reserve: |buffer, more| buffer.try_reserve_exact(more).is_ok(),
            broken: None,
            arrivals: Arrivals::default(),
            #[cfg(test)]
            moved: 0,
        }
    }

    /// Sets the maximum length of the payloads that follow.
    pub(crate) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size.min(usize::MAX - HEADER);
    }

    /// Sets the function by which the buffer grows.
    pub(crate) fn set_reserve(&mut self, reserve: Reserve) {
        self.reserve = reserve;
    }

    /// Returns the space to read into: never empty, and at least 64 KiB if nothing is buffered and there is memory.
    ///
    /// The buffer grows to at most twice of what is in it, when it is full, and shrinks again when a large frame was
    /// taken out. If it can't grow for a payload, that payload is thrown away.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.broken.is_some() {
            // No frame is handed out any more.
            self.start = self.end;
        }
        self.absorb();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let (length, arrived, tail) = (self.buffer.len(), self.end - self.start, self.buffer.len() - self.end);
        let wasteful = length > USUAL_BUFFER && arrived <= length / 4;
        let full = tail < SCANT && self.lacking().is_none_or(|lacking| tail < lacking);
        if wasteful || full {
            // As many bytes as are moved here were taken out before, or will come before the buffer is full again. Or
            // else there is space for all that the frame lacks, and it is not moved again.
            let whole = self.lacking().map_or(usize::MAX, |lacking| arrived + lacking);
            let has_grown = self.resize((2 * arrived).min(whole).max(USUAL_BUFFER));
            if full && !has_grown {
                self.discard();
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Notes that this many bytes were read into the [`space`](Self::space).
    ///
    /// # Panics
    ///
    /// If there was less space.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.end, "more bytes were read than there was space for");
        self.end += bytes;
        self.arrivals.count(bytes);
    }

    /// As [`filled`](Self::filled), with descriptors that came with these bytes. `lost`: why some of them are not here.
    ///
    /// # Panics
    ///
    /// If there was less space.
    #[cold]
    pub(crate) fn filled_with(&mut self, bytes: usize, descriptors: Vec<OwnedFd>, lost: Option<LostDescriptors>) {
        self.arrivals.add(bytes, descriptors, lost);
        self.filled(bytes);
    }

    /// Takes out the next frame. `None` if it has not arrived as a whole.
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or there was no memory for a frame. From then on every call returns the same error.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((head, payload, _)) = self.take()? else { return Ok(None) };
        let Some(payload) = payload else {
            let error = FrameError::NoMemory(NoMemory { bytes: head.length });
            self.broken = Some(error);
            return Err(error);
        };
        Ok(Some(Frame { kind: head.kind, id: head.id, payload: &self.buffer[payload] }))
    }

    /// Takes out the next frame, as [`next`](Self::next) does. The buffer of a large frame with nothing behind it goes
    /// to the caller, who can free it before the next frame is read. A frame whose payload there was no memory for
    /// comes [without it](Message::lost).
    ///
    /// # Errors
    ///
    /// The bytes are no frame. From then on every call returns the same error.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message<'_>>, FrameError> {
        let Some((Head { kind, id, length, descriptors: announced, .. }, payload, descriptors)) = self.take()? else {
            return Ok(None);
        };
        let Some(payload) = payload else {
            let lost = Some(NoMemory { bytes: length });
            return Ok(Some(Message { kind, id, bytes: Cow::Borrowed(&[]), payload: 0, lost, announced, descriptors }));
        };
        if length > USUAL_BUFFER && payload.end == self.end {
            (self.start, self.end) = (0, 0);
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.truncate(payload.end);
            let (bytes, payload) = (Cow::Owned(buffer), payload.start);
            return Ok(Some(Message { kind, id, bytes, payload, lost: None, announced, descriptors }));
        }
        let bytes = Cow::Borrowed(&self.buffer[payload]);
        Ok(Some(Message { kind, id, bytes, payload: 0, lost: None, announced, descriptors }))
    }

    /// Takes out the next frame: its header, the place of its payload, if that was not thrown away, and what came with
    /// it.
    fn take(&mut self) -> Result<Option<Taken>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let taken = self.take_next();
        if let Err(error) = taken {
            self.broken = Some(error);
            self.arrivals.close();
        }
        taken
    }

    fn take_next(&mut self) -> Result<Option<Taken>, FrameError> {
        let found = if self.discarded.is_some() {
            self.end_of_discarded()?.map(|(at, head)| (at, head, None))
        } else {
            self.find()?.map(|(head, payload)| (self.position(), head, Some(payload)))
        };
        let Some((at, head, payload)) = found else {
            if self.arrivals.has_some() {
                let (at, head) = match &self.discarded {
                    Some(discarded) => (discarded.at, Some(discarded.head)),
                    None => (self.position(), self.head()?),
                };
                self.arrivals.check_unfinished(at, head.map(|head| head.descriptors))?;
            }
            return Ok(None);
        };
        if let Some(payload) = &payload {
            self.start = payload.end;
        }
        let descriptors = self.arrivals.take(at..self.position(), head.descriptors)?;
        Ok(Some((head, payload, descriptors)))
    }

    /// Returns where in the stream that begins which was not handed out.
    fn position(&self) -> u64 {
        self.arrivals.bytes() - (self.end - self.start) as u64
    }

    /// Returns whether the stream, if it ends here, ends in the middle of a frame. Called when [`next`](Self::next) has
    /// no more.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.start < self.end || self.discarded.is_some()
    }

    /// Throws away what has arrived of the payload that there is no memory for.
    fn absorb(&mut self) {
        let Some(discarded) = &mut self.discarded else { return };
        let here = discarded.left.min(self.end - self.start);
        discarded.crc.update(&self.buffer[self.start..self.start + here]);
        discarded.left -= here;
        self.start += here;
    }

    /// Returns the header of the payload that was thrown away, if all of it was.
    fn end_of_discarded(&mut self) -> Result<Option<(u64, Head)>, FrameError> {
        self.absorb();
        let Some(Discarded { at, head, crc, .. }) = self.discarded.take_if(|discarded| discarded.left == 0) else {
            return Ok(None);
        };
        if crc.finalize() == head.payload_crc { Ok(Some((at, head))) } else { Err(FrameError::Payload) }
    }

    /// Returns the next frame's header and the place of its payload, if all of it is here.
    fn find(&self) -> Result<Option<(Head, Range<usize>)>, FrameError> {
        let Some(head) = self.head()? else { return Ok(None) };
        let first = self.start + HEADER;
        if self.end - first < head.length {
            return Ok(None);
        }
        let payload = first..first + head.length;
        if checksum(&self.buffer[payload.clone()]) != head.payload_crc {
            return Err(FrameError::Payload);
        }
        Ok(Some((head, payload)))
    }

    fn head(&self) -> Result<Option<Head>, FrameError> {
        let bytes = self.buffer[self.start..self.end].first_chunk();
        bytes.map(|bytes| Head::parse(bytes, self.max_size)).transpose()
    }

    /// Returns how many bytes the next frame lacks, if that is known and not zero.
    fn lacking(&self) -> Option<usize> {
        if self.discarded.is_some() {
            return None;
        }
        let whole = HEADER + self.head().ok()??.length;
        whole.checked_sub(self.end - self.start).filter(|&lacking| lacking > 0)
    }

    /// Moves what has arrived to the front of the buffer, and gives that this length, if there is memory; otherwise it
    /// keeps its length. Returns whether the buffer is at least this long.
    #[cold]
    fn resize(&mut self, length: usize) -> bool {
        #[cfg(test)]
        {
            self.moved += self.end - self.start;
        }
        let mut shorter = Vec::new();
        if length < self.buffer.len() && shorter.try_reserve_exact(length).is_ok() {
            shorter.extend_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = shorter;
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, self.end - self.start);
        let more = length.saturating_sub(self.buffer.len());
        if more > 0 && !(self.reserve)(&mut self.buffer, more) {
            // Without any space nothing would arrive any more. Where there is no memory for this, there is none for an
            // error.
            self.buffer.resize(self.buffer.len().max(MIN_BUFFER), 0);
            return false;
        }
        self.buffer.resize(length.max(self.buffer.len()), 0);
        true
    }

    /// Frees the memory of a payload that there is not enough for. The rest of the payload will be thrown away as it
    /// comes.
    #[cold]
    fn discard(&mut self) {
        // As long as the header is not complete, there is space for the rest of it.
        let Ok(Some(head)) = self.head() else { return };
        let mut crc = crc32fast::Hasher::new();
        let arrived = &self.buffer[self.start + HEADER..self.end];
        // A whole payload is there to be taken out.
        let Some(left) = head.length.checked_sub(arrived.len()).filter(|&left| left > 0) else { return };
        crc.update(arrived);
        self.discarded = Some(Discarded { head, at: self.position(), left, crc });
        self.buffer = Vec::new();
        (self.start, self.end) = (0, 0);
        self.resize(USUAL_BUFFER);
    }

    #[cfg(all(test, not(loom)))]
    fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The header's checksum is wrong, or a reserved byte is not zero.
    Header,
    /// The payload's checksum is wrong.
    Payload,
    /// There is no such kind of frame.
    Kind(u8),
    /// The descriptors that came are not those that were announced.
    Descriptors,
    /// The announced length is more than this reader takes.
    TooLong { length: u32, max_size: usize },
    /// It is a frame, and there was no memory for it.
    NoMemory(NoMemory),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("what arrived is not the header of a message"),
            Self::Payload => f.write_str("a message was damaged on its way"),
            Self::Descriptors => f.write_str("other descriptors came with a message than it announces"),
            Self::Kind(kind) => write!(f, "a message is of an unknown kind ({kind})"),
            Self::TooLong { length, max_size } => {
                write!(f, "a message has {length} bytes, and at most {max_size} are allowed")
            }
            Self::NoMemory(lost) => lost.fmt(f),
        }
    }
}

impl Error for FrameError {}

#[cfg(all(test, not(loom)))]
mod tests;
