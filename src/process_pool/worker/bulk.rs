//! The worker's way for long results: a region of memory, in place of the stream.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::stream::{Sent, Stream};
use crate::process_pool::wire::frame::{self, Kind};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::region::{BULK, MAX_PARTS, Place, Writable};

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
    /// Puts a long result into the region, all but the last part of one that is longer than that, and returns where it
    /// is, or that part. `None`: it goes through the stream, since it is short, or the parent has not taken the one
    /// before, or there is no region. If there was none before, offers one.
    pub(super) fn put(&mut self, id: u64, payload: &[u8], stream: &Stream, page: &Page) -> io::Result<Option<Place>> {
        if payload.len() <= BULK {
            return Ok(None);
        }
        match self {
            Self::Offered { memory, put } if page.taken() == *put => {
                if let Some(mut parts) = memory.parts(payload) {
                    while let Some(place) = memory.put_part(&mut parts, payload) {
                        *put += 1;
                        if place.left == 0 {
                            return Ok(Some(place));
                        }
                        let mut part = Vec::new();
                        frame::append(&mut part, Kind::DoneInRegion, id, &place.to_bytes());
                        stream.send(&part, Instant::now())?;
                        wait_until_taken(page, *put - (MAX_PARTS - 1));
                    }
                }
                let place = memory.put(payload);
                *put += u64::from(place.is_some());
                Ok(place)
            }
            Self::NotYet => {
                *self = Self::offer(stream)?;
                Ok(None)
            }
            Self::Offered { .. } | Self::Never => Ok(None),
        }
    }

    #[cold]
    fn offer(stream: &Stream) -> io::Result<Self> {
        let Ok((memory, file)) = Writable::new() else { return Ok(Self::Never) };
        let offer = frame::header_with(Kind::Region, 0, 0, frame::checksum(&[]), 1);
        match stream.send_with(&offer, &[file.as_fd()], Instant::now())? {
            Sent::All => Ok(Self::Offered { memory, put: 1 }),
            Sent::Nothing(_) | Sent::TooLate => Ok(Self::Never),
        }
    }
}

/// Waits until the parent has taken so much out of the region. Its supervisor waits for nobody meanwhile, and copies some
/// megabytes; without it this process ends.
fn wait_until_taken(page: &Page, wanted: u64) {
    while page.taken() < wanted {
        std::thread::sleep(Duration::from_micros(20));
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::RecvFlags;

    use super::*;
    use crate::process_pool::wire::frame::FrameReader;
    use crate::process_pool::wire::region::{Assembly, Copied};
    use crate::process_pool::wire::socket;

    #[test]
    fn a_result_is_not_written_over_before_the_parent_has_taken_it() {
        let (parent, worker) = UnixStream::pair().expect("a stream");
        let (page, _) = Page::new().expect("a page");
        let stream = Stream::new(Box::leak(Box::new(worker.into()))).expect("it is there");
        let mut results = BulkResults::NotYet;
        let mut put = |length, byte| results.put(1, &vec![byte; length], &stream, &page).expect("it is there");
        assert!(put(BULK + 1, 1).is_none(), "there is no region yet");
        let mut reader = FrameReader::new(0);
        assert!(socket::receive(&parent, &mut reader, RecvFlags::empty(), |_| None).is_ok_and(|bytes| bytes > 0));
        let mut offer = reader.next_message().expect("a frame").expect("all of it");
        let file = offer.take_descriptors().ok().and_then(|mut files| files.pop()).expect("the region");
        let region = Copied::open(file).expect("the region");
        let first = |place| {
            let mut taken = Assembly::new();
            region.read(place, &mut taken).expect("it is in the region");
            taken.take().expect("memory")[0]
        };
        assert!(put(BULK + 1, 1).is_none(), "the parent has not taken the region");
        page.note_taken();
        for byte in 2..5 {
            assert!(put(BULK, 1).is_none(), "it is short, and goes another way");
            let place = put(BULK + 1, byte).expect("space");
            assert!(put(BULK + 1, 1).is_none(), "result {byte} was not taken");
            assert_eq!(first(place), byte);
            page.note_taken();
        }
    }
}
