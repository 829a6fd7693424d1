//! The descriptors that come with frames: each frame gets its own, and what is not announced is an error.

use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::OwnedFd;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};

use super::super::descriptors::{LostDescriptors, withhold};
use super::super::{FrameError, FrameReader, HEADER, Kind, checksum, header_with};
use super::{MAX_SIZE, cuts, run};

/// Descriptors, and what tells which they are and whether they are closed.
struct Pipes(Vec<PipeReader>);

impl Pipes {
    fn new(descriptors: usize) -> (Self, Vec<OwnedFd>) {
        let pipes = (0..descriptors).map(|_| pipe().expect("a pipe"));
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.map(|(reader, writer)| (reader, writer.into())).unzip();
        (Self(readers), writers)
    }

    /// Whether these are the other ends. Closes them.
    fn are_of(&mut self, descriptors: Vec<OwnedFd>) -> bool {
        self.0.len() == descriptors.len()
            && descriptors.into_iter().zip(&mut self.0).enumerate().all(|(at, (descriptor, reader))| {
                std::fs::File::from(descriptor).write_all(&[at as u8]).expect("a reader");
                let mut read = Vec::new();
                reader.read_to_end(&mut read).expect("a pipe");
                read == [at as u8]
            })
    }

    /// Waits until the other ends are closed.
    fn assert_closed(&mut self) {
        for reader in &mut self.0 {
            assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        }
    }
}

fn frame(id: u64, payload: &[u8], descriptors: u8) -> Vec<u8> {
    let header = header_with(Kind::Task, id, payload.len() as u32, checksum(payload), descriptors);
    [&header[..], payload].concat()
}

/// A frame of a sender that keeps the rules.
#[derive(Clone, Debug)]
struct Sent {
    payload: Vec<u8>,
    descriptors: u8,
    /// The receiver can't take all of them.
    is_cut: bool,
    /// The sender's system refuses them.
    is_withheld: bool,
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let payload = prop_oneof![
        20 => vec(any::<u8>(), 0..100),
        1 => (0..300_000_usize).prop_map(|length| vec![9; length]),
    ];
    let descriptors = prop_oneof![2 => 0..1_u8, 2 => 1..4_u8];
    let frame = (payload, descriptors, prop_oneof![6 => 0..1, 1 => 1..3]).prop_map(|(payload, descriptors, lost)| {
        Sent { payload, descriptors, is_cut: lost == 1 && descriptors > 0, is_withheld: lost == 2 && descriptors > 0 }
    });
    vec(frame, 0..20)
}

/// A stream as the system gives it: descriptors come with the byte that they were sent with, and a read ends before the
/// next send behind them.
struct Stream {
    bytes: Vec<u8>,
    read: usize,
    /// Where sends with descriptors begin, and these.
    sends: Vec<(usize, Vec<OwnedFd>, bool)>,
    /// Where each send with descriptors ends.
    ends: Vec<usize>,
}

impl Stream {
    /// Reads at most so many bytes. Returns `false` at the end.
    fn read(&mut self, reader: &mut FrameReader, cut: usize) -> bool {
        let space = reader.space();
        let end = self.ends.iter().copied().find(|&end| end > self.read).unwrap_or(self.bytes.len());
        let bytes = cut.min(space.len()).min(end - self.read);
        space[..bytes].copy_from_slice(&self.bytes[self.read..self.read + bytes]);
        let until = self.read + bytes;
        self.read = until;
        match self.sends.first() {
            Some(&(at, ..)) if at < until => {
                let (_, descriptors, is_cut) = self.sends.remove(0);
                reader.filled_with(bytes, descriptors, is_cut.then_some(LostDescriptors::NotTaken));
            }
            _ => reader.filled(bytes),
        }
        bytes > 0
    }
}

#[test]
#[cfg_attr(miri, ignore = "many pipes")]
fn each_frame_gets_its_own_descriptors_however_the_stream_is_cut() {
    let strategy = (sent(), cuts(), vec(any::<bool>(), 20), any::<bool>());
    run(150, &strategy, |(frames, cuts, joins, lacks_memory)| {
        let mut stream = Stream { bytes: Vec::new(), read: 0, sends: Vec::new(), ends: Vec::new() };
        let mut expected = Vec::new();
        let mut has_sent_some = false;
        for (id, (frame_sent, joins)) in frames.iter().zip(joins).enumerate() {
            let Sent { payload, descriptors, is_cut, is_withheld } = frame_sent;
            let at = stream.bytes.len();
            let mut bytes = frame(id as u64, payload, *descriptors);
            let (pipes, mut given) = Pipes::new((*descriptors).into());
            let result = match (is_cut, is_withheld) {
                (false, false) => Ok(()),
                (true, _) => Err(LostDescriptors::NotTaken),
                (false, true) => Err(LostDescriptors::Withheld),
            };
            // A frame without descriptors may be sent together with the one before.
            if has_sent_some && (*descriptors > 0 || !joins) {
                stream.ends.push(at);
                has_sent_some = false;
            }
            if *is_withheld {
                withhold(bytes.first_chunk_mut().expect("a header"));
                given.clear();
            } else if *descriptors > 0 {
                given.truncate(if *is_cut { given.len() - 1 } else { given.len() });
                stream.sends.push((at, given, *is_cut));
                has_sent_some = true;
            }
            stream.bytes.extend(bytes);
            expected.push((id as u64, payload, result, pipes));
        }
        let mut reader = FrameReader::new(MAX_SIZE);
        if lacks_memory {
            reader
                .set_reserve(|buffer, more| buffer.len() + more <= 64 * 1024 && buffer.try_reserve_exact(more).is_ok());
        }
        let mut cuts = cuts.iter().copied().cycle();
        let mut expected = expected.into_iter();
        let mut is_more = true;
        while is_more {
            is_more = stream.read(&mut reader, cuts.next().unwrap_or(usize::MAX));
            while let Some(mut message) = reader.next_message().expect("frames") {
                let (id, payload, result, mut pipes) = expected.next().expect("as many as were sent");
                assert_eq!(message.id, id);
                assert!(message.lost().is_some() || message.payload() == payload);
                match (message.take_descriptors(), result) {
                    (Ok(descriptors), Ok(())) => assert!(pipes.are_of(descriptors), "the descriptors of frame {id}"),
                    (came, expected) => {
                        assert_eq!(came.map(drop), expected);
                        pipes.assert_closed();
                    }
                }
            }
        }
        assert!(expected.next().is_none() && !reader.is_inside_frame());
    });
}

/// Gives a reader all of these bytes, with so many descriptors, and returns what comes out. They are closed then, if it is
/// an error.
fn outcome(reads: &[(&[u8], usize)]) -> Result<usize, FrameError> {
    let mut reader = FrameReader::new(MAX_SIZE);
    let (mut all, mut frames) = (Vec::new(), 0);
    for &(bytes, descriptors) in reads {
        reader.space()[..bytes.len()].copy_from_slice(bytes);
        let (pipes, given) = Pipes::new(descriptors);
        all.push(pipes);
        if descriptors > 0 {
            reader.filled_with(bytes.len(), given, None)
        } else {
            reader.filled(bytes.len())
        }
        loop {
            match reader.next_message() {
                Ok(Some(_)) => frames += 1,
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_message().err(), Some(error), "it stays broken");
                    all.iter_mut().for_each(Pipes::assert_closed);
                    return Err(error);
                }
            }
        }
    }
    drop(reader);
    all.iter_mut().for_each(Pipes::assert_closed);
    Ok(frames)
}

#[test]
#[cfg_attr(miri, ignore = "many pipes")]
fn descriptors_that_were_not_announced_and_announced_ones_that_do_not_come_are_errors() {
    let (none, two, long) = (frame(1, b"none", 0), frame(2, b"two", 2), frame(3, &[7; 1000], 2));
    let both = [&none[..], &two].concat();
    let of = |frame: &[u8], at: usize| frame.split_at(at).0.to_vec();
    // What is right.
    assert_eq!(outcome(&[(&none, 0), (&two, 2), (&none, 0), (&both, 2)]), Ok(5));
    assert_eq!(outcome(&[(&long[..10], 2), (&long[10..500], 0), (&long[500..], 0), (&two, 2)]), Ok(2));
    // Too few, too many, none, with the wrong frame.
    for wrong in [0, 1, 3] {
        assert_eq!(outcome(&[(&two, wrong)]), Err(FrameError::Descriptors), "{wrong} of two");
    }
    assert_eq!(outcome(&[(&none, 1)]), Err(FrameError::Descriptors));
    assert_eq!(outcome(&[(&none, 2), (&two, 0)]), Err(FrameError::Descriptors));
    // In the middle of a frame: before the frame ends, however long it is.
    assert_eq!(outcome(&[(&long[..100], 2), (&long[100..200], 2)]), Err(FrameError::Descriptors));
    assert_eq!(outcome(&[(&of(&long, 100), 0), (&long[100..200], 2)]), Err(FrameError::Descriptors));
    assert_eq!(outcome(&[(&of(&none, HEADER), 1)]), Err(FrameError::Descriptors));
    // With the header, but not with its first byte.
    assert_eq!(outcome(&[(&of(&two, 10), 0), (&two[10..], 2)]), Err(FrameError::Descriptors));
    // Behind the last frame's end there are none.
    assert_eq!(outcome(&[(&of(&none, 1), 1), (&none[1..2], 1)]), Err(FrameError::Descriptors));
}

#[test]
fn a_stream_by_which_something_else_than_memory_comes_again_and_again_is_broken() {
    let mut reader = FrameReader::new(100);
    let mut came = 0;
    for id in 0..100 {
        let frame = header_with(Kind::Done, id, 0, checksum(&[]), 1);
        reader.space()[..HEADER].copy_from_slice(&frame);
        reader.filled_with(HEADER, Vec::new(), Some(LostDescriptors::Foreign));
        let Ok(message) = reader.next_message() else { break };
        assert_eq!(message.expect("all of it").take_descriptors().err(), Some(LostDescriptors::Foreign));
        came += 1;
    }
    assert_eq!(came, 8);
}
