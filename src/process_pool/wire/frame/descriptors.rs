//! The descriptors that come with frames.
//!
//! The system gives descriptors with the bytes that they were sent with, and never those of two sends at once. The
//! sender sends the descriptors of a frame with the first byte of its header. So they come with the bytes among which
//! that one is, and a reader that takes out all whole frames before it reads again has the descriptors of one frame at
//! most.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::{FrameError, HEADER, sign};
use crate::process_pool::wire::memfd::above_standard;

/// How often descriptors that are not of memory may come through a stream: whoever closes them may wait for long.
const MAX_FOREIGN: u32 = 8;

/// In a header: the frame has descriptors, and the system refused to send them.
const WITHHELD: u8 = u8::MAX;

/// Changes a header with descriptors to one of a frame whose descriptors do not come.
#[cold]
pub(crate) fn withhold(header: &mut [u8; HEADER]) {
    header[1] = WITHHELD;
    sign(header);
}

/// Why the descriptors of a frame did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostDescriptors {
    /// The sender's system refused to send them.
    Withheld,
    /// The receiver could have no more.
    NotTaken,
    /// Some that came are of something else than memory.
    Foreign,
}

impl LostDescriptors {
    /// Returns what to tell people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Withheld => {
                "the system refused to send its blobs, as it does where too many descriptors are on their way between \
                 the processes of a user (RLIMIT_NOFILE, `ulimit -n`)"
            }
            Self::NotTaken => {
                "the process that received it could not take its blobs: it has too many open files (RLIMIT_NOFILE, \
                 `ulimit -n`)"
            }
            Self::Foreign => "what came as a blob is not sealed memory",
        }
    }
}

impl fmt::Display for LostDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The descriptors of a frame, or why they did not come.
pub(super) type Came = Result<Vec<OwnedFd>, LostDescriptors>;

/// Descriptors that came at once.
struct Arrival {
    /// The bytes that they came with, by their places in the stream.
    from: u64,
    until: u64,
    descriptors: Vec<OwnedFd>,
    /// Why some of them are not here.
    lost: Option<LostDescriptors>,
}

impl Arrival {
    /// Returns whether they came with the byte in this place.
    fn came_with(&self, at: u64) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// How much of a stream has arrived, and which descriptors with it that were not handed out.
#[derive(Default)]
pub(super) struct Arrivals {
    bytes: u64,
    waiting: VecDeque<Arrival>,
    /// How often some came that are not of memory.
    foreign: u32,
}

impl Arrivals {
    /// Returns how many bytes have arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Adds descriptors that came with the bytes which are [counted](Self::count) next. None of them keeps the number of
    /// a standard stream.
    pub(super) fn add(&mut self, bytes: usize, descriptors: Vec<OwnedFd>, lost: Option<LostDescriptors>) {
        let moved = descriptors.into_iter().map(above_standard).collect();
        let (descriptors, lost) = match moved {
            Ok(descriptors) => (descriptors, lost),
            Err(_) => (Vec::new(), lost.or(Some(LostDescriptors::NotTaken))),
        };
        self.foreign += u32::from(lost == Some(LostDescriptors::Foreign));
        let from = self.bytes;
        self.waiting.push_back(Arrival { from, until: from + bytes as u64, descriptors, lost });
    }

    #[inline]
    pub(super) fn has_some(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Closes all of them.
    pub(super) fn close(&mut self) {
        self.waiting.clear();
    }

    /// Takes what came with the frame in this place, which announces this many and is whole.
    ///
    /// # Errors
    ///
    /// Others came, or they came with a place where no frame begins.
    #[inline]
    pub(super) fn take(&mut self, frame: Range<u64>, announced: u8) -> Result<Came, FrameError> {
        if announced == 0 && self.waiting.is_empty() { Ok(Ok(Vec::new())) } else { self.take_some(frame, announced) }
    }

    #[cold]
    fn take_some(&mut self, frame: Range<u64>, announced: u8) -> Result<Came, FrameError> {
        if self.foreign > MAX_FOREIGN {
            return Err(FrameError::Descriptors);
        }
        let taken = match announced {
            0 => Ok(Vec::new()),
            WITHHELD => Err(LostDescriptors::Withheld),
            _ => {
                let Some(arrival) = self.waiting.pop_front().filter(|arrival| arrival.came_with(frame.start)) else {
                    return Err(FrameError::Descriptors);
                };
                match arrival {
                    Arrival { lost: Some(lost), .. } => Err(lost),
                    Arrival { descriptors, .. } if descriptors.len() == usize::from(announced) => Ok(descriptors),
                    _ => return Err(FrameError::Descriptors),
                }
            }
        };
        match self.waiting.front() {
            // The next frame begins behind the bytes that these came with.
            Some(next) if next.until <= frame.end => Err(FrameError::Descriptors),
            _ => Ok(taken),
        }
    }

    /// Checks what came with the last frame, which has not arrived as a whole and begins in this place. It announces
    /// this many, if its header is here.
    ///
    /// # Errors
    ///
    /// Something came that is not that frame's: no more frames have begun.
    #[cold]
    pub(super) fn check_unfinished(&self, at: u64, announced: Option<u8>) -> Result<(), FrameError> {
        let may_have = announced.is_none_or(|announced| !matches!(announced, 0 | WITHHELD));
        match self.waiting.front() {
            Some(arrival) if self.waiting.len() == 1 && may_have && arrival.came_with(at) => Ok(()),
            None => Ok(()),
            _ => Err(FrameError::Descriptors),
        }
    }
}
