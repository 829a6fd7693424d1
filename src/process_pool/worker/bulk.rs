//! The worker's way for long results: a region of memory, in place of the stream.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use super::stream::{Sent, Stream};
use crate::process_pool::wire::frame::{self, Kind};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::region::{BULK, Writable};

/// The worker's end of the region for results.
pub(super) enum BulkResults {
    /// No result was long.
    NotYet,
    /// How often something was put in, the region itself included: as often the parent takes something out.
    Offered { memory: Writable, put: u64 },
    /// There is none, for want of something.
    Never,
}

impl BulkResults {
    /// Puts a long result into the region. Returns `false` if it goes through the stream: it is short or too long, or the
    /// parent has not taken the one before, or there is no region. If there was none before, offers one.
    pub(super) fn put(&mut self, payload: &[u8], stream: &Stream, page: &Page) -> io::Result<bool> {
        if payload.len() <= BULK {
            return Ok(false);
        }
        match self {
            Self::Offered { memory, put } if page.taken() == *put => {
                let is_there = memory.put(payload);
                *put += u64::from(is_there);
                Ok(is_there)
            }
            Self::NotYet => {
                *self = Self::offer(stream)?;
                Ok(false)
            }
            Self::Offered { .. } | Self::Never => Ok(false),
        }
    }

    #[cold]
    fn offer(stream: &Stream) -> io::Result<Self> {
        let Ok((memory, file)) = Writable::new() else { return Ok(Self::Never) };
        let offer = frame::header_with(Kind::Region, 0, 0, frame::checksum(&[]), 1);
        match stream.send_with(&offer, &[file.as_fd()], Instant::now())? {
            Sent::All => Ok(Self::Offered { memory, put: 1 }),
            Sent::Nothing(_) => Ok(Self::Never),
        }
    }
}
