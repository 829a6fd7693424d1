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

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::RecvFlags;

    use super::*;
    use crate::process_pool::wire::frame::FrameReader;
    use crate::process_pool::wire::region::Copied;
    use crate::process_pool::wire::socket;

    #[test]
    fn a_result_is_not_written_over_before_the_parent_has_taken_it() {
        let (parent, worker) = UnixStream::pair().expect("a stream");
        let (page, _) = Page::new().expect("a page");
        let stream = Stream::new(Box::leak(Box::new(worker.into()))).expect("it is there");
        let mut results = BulkResults::NotYet;
        let mut put = |length, byte| results.put(&vec![byte; length], &stream, &page).expect("it is there");
        assert!(!put(BULK + 1, 1), "there is no region yet");
        let mut reader = FrameReader::new(0);
        assert!(socket::receive(&parent, &mut reader, RecvFlags::empty(), |_| None).is_ok_and(|bytes| bytes > 0));
        let mut offer = reader.next_message().expect("a frame").expect("all of it");
        let file = offer.take_descriptors().ok().and_then(|mut files| files.pop()).expect("the region");
        let region = Copied::open(file).expect("the region");
        let first = || region.read(1).expect("a byte").expect("memory")[0];
        assert!(!put(BULK + 1, 1), "the parent has not taken the region");
        page.note_taken();
        for byte in 2..5 {
            assert!(!put(BULK, 1) && !put(64 << 20, 1), "short or too long: it goes another way");
            assert!(put(BULK + 1, byte));
            assert!(!put(BULK + 1, 1), "result {byte} was not taken");
            assert_eq!(first(), byte);
            page.note_taken();
        }
    }
}
