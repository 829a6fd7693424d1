//! The frame reader against streams that are whole, cut, damaged and made up.

mod check;
mod descriptors;

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Frame, FrameError, FrameReader, HEADER, Kind, NoMemory, USUAL_BUFFER, append, checksum, header, withhold};
use check::{Outcome, read_in_cuts, repair};

const KINDS: [Kind; 16] = [
    Kind::Hello,
    Kind::Setup,
    Kind::Init,
    Kind::Ready,
    Kind::Task,
    Kind::Done,
    Kind::Failed,
    Kind::Skipped,
    Kind::More,
    Kind::Stop,
    Kind::Refused,
    Kind::Region,
    Kind::TaskInRegion,
    Kind::DoneInRegion,
    Kind::Progress,
    Kind::Trace,
];

/// What the readers of the tests take.
const MAX_SIZE: usize = 1 << 20;

fn read(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut cuts = cuts.iter().copied().cycle();
    read_in_cuts(bytes, MAX_SIZE, || cuts.next().unwrap_or(usize::MAX), FrameReader::capacity)
}

/// Gives all of the bytes to the reader, and takes no frame.
fn give(reader: &mut FrameReader, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = reader.space();
        let now = space.len().min(bytes.len());
        space[..now].copy_from_slice(&bytes[..now]);
        reader.filled(now);
        bytes = &bytes[now..];
    }
}

fn sample() -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, Kind::Task, 0x0102_0304_0506_0708, b"some arguments");
    bytes
}

/// A forged header, with a right checksum.
fn forged(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = header(Kind::Done, 7, 0, checksum(&[])).to_vec();
    change(&mut bytes);
    repair(&mut bytes[..HEADER], false);
    bytes
}

fn first_error(bytes: &[u8]) -> Option<FrameError> {
    let outcome = read(bytes, &[]);
    assert_eq!(outcome.frames, 0);
    outcome.error
}

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn frames() -> impl Strategy<Value = Vec<(Kind, u64, Vec<u8>)>> {
    // Most are small, some are longer than a buffer.
    let payload = prop_oneof![
        20 => vec(any::<u8>(), 0..100),
        1 => (0..300_000_usize, any::<u8>()).prop_map(|(length, fill)| (0..length).map(|at| at as u8 ^ fill).collect()),
    ];
    vec((select(&KINDS[..]), any::<u64>(), payload), 0..20)
}

fn stream(frames: &[(Kind, u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, id, payload) in frames {
        append(&mut bytes, *kind, *id, payload);
    }
    bytes
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1..64_usize, 1 => 1..100_000_usize], 1..8)
}

#[test]
fn the_bytes_of_a_frame_are_fixed() {
    let bytes = sample();
    assert_eq!(bytes[..8], [5, 0, 0, 0, 14, 0, 0, 0]);
    assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[16..20], checksum(b"some arguments").to_le_bytes());
    assert_eq!(bytes[20..24], checksum(&bytes[..20]).to_le_bytes());
    assert_eq!(bytes[24..], *b"some arguments");
    // The check value of CRC-32 in the catalogues.
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn every_kind_is_read_as_itself() {
    for kind in KINDS {
        assert_eq!(Kind::try_from(kind as u8), Ok(kind));
        let mut reader = FrameReader::new(MAX_SIZE);
        give(&mut reader, &header(kind, 3, 0, checksum(&[])));
        assert_eq!(reader.next(), Ok(Some(Frame { kind, id: 3, payload: &[] })));
        assert_eq!(reader.next(), Ok(None));
    }
    let known = (0..=u8::MAX).filter(|&byte| Kind::try_from(byte).is_ok()).count();
    assert_eq!(known, KINDS.len());
}

#[test]
fn frames_come_out_as_they_went_in_however_they_are_cut() {
    run(150, &(frames(), cuts()), |(frames, cuts)| {
        let bytes = stream(&frames);
        let outcome = read(&bytes, &cuts);
        assert_eq!(outcome, Outcome { accepted: bytes, frames: frames.len(), error: None });
    });
}

#[test]
fn a_flipped_bit_is_an_error_and_never_a_frame() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit / 8 < HEADER { FrameError::Header } else { FrameError::Payload };
        assert_eq!(first_error(&flipped), Some(expected), "bit {bit}");
    }
}

#[test]
fn a_part_of_a_frame_is_no_frame() {
    let bytes = sample();
    for length in 0..bytes.len() {
        let mut reader = FrameReader::new(MAX_SIZE);
        give(&mut reader, &bytes[..length]);
        assert_eq!(reader.next(), Ok(None), "{length} bytes");
        assert_eq!(reader.is_inside_frame(), length > 0, "{length} bytes");
        give(&mut reader, &bytes[length..]);
        assert!(matches!(reader.next(), Ok(Some(_))), "cut at {length}");
        assert!(!reader.is_inside_frame(), "cut at {length}");
    }
}

#[test]
fn a_length_that_is_only_claimed_costs_no_memory() {
    let claim = header(Kind::Done, 1, u32::MAX, 0);
    assert_eq!(first_error(&claim), Some(FrameError::TooLong { length: u32::MAX, max_size: MAX_SIZE }));

    // Who allows it waits for it, in the room that there is.
    let mut reader = FrameReader::new(usize::MAX);
    give(&mut reader, &claim);
    assert_eq!(reader.next(), Ok(None));
    assert!(!reader.space().is_empty());
    assert_eq!(reader.capacity(), USUAL_BUFFER);
}

#[test]
fn a_length_over_the_cap_is_an_error_and_the_cap_is_none() {
    for (length, taken) in [(99, true), (100, true), (101, false)] {
        let mut reader = FrameReader::new(100);
        let mut bytes = Vec::new();
        append(&mut bytes, Kind::More, 0, &vec![0; length]);
        give(&mut reader, &bytes);
        assert_eq!(reader.next().is_ok_and(|frame| frame.is_some()), taken, "{length} bytes");
    }
    let too_long = forged(|header| header[4..8].copy_from_slice(&(MAX_SIZE as u32 + 1).to_le_bytes()));
    assert_eq!(first_error(&too_long), Some(FrameError::TooLong { length: MAX_SIZE as u32 + 1, max_size: MAX_SIZE }));
}

#[test]
fn an_unknown_kind_is_an_error() {
    for kind in [0, 17, 42, 255] {
        assert_eq!(first_error(&forged(|header| header[0] = kind)), Some(FrameError::Kind(kind)));
    }
}

#[test]
fn a_reserved_byte_that_is_set_is_an_error() {
    assert_eq!(read(&forged(|_| ()), &[]).frames, 1, "a frame, but for what is changed below");
    for at in 2..4 {
        assert_eq!(first_error(&forged(|header| header[at] = 1)), Some(FrameError::Header));
    }
}

#[test]
fn text_in_the_stream_is_an_error_as_soon_as_a_header_is_full() {
    let text = b"thread 'main' panicked at src/main.rs:1:1";
    let mut reader = FrameReader::new(MAX_SIZE);
    give(&mut reader, &text[..HEADER - 1]);
    assert_eq!(reader.next(), Ok(None));
    give(&mut reader, &text[HEADER - 1..HEADER]);
    assert_eq!(reader.next(), Err(FrameError::Header));
}

#[test]
fn a_broken_stream_stays_broken_and_keeps_nothing() {
    let mut reader = FrameReader::new(MAX_SIZE);
    give(&mut reader, &[b'x'; HEADER]);
    for _ in 0..100 {
        assert_eq!(reader.next(), Err(FrameError::Header));
        give(&mut reader, &sample());
        give(&mut reader, &[0; USUAL_BUFFER]);
        assert_eq!(reader.capacity(), USUAL_BUFFER);
    }
}

#[test]
fn a_large_payload_is_not_moved_for_each_read() {
    let payload = vec![7; 16 << 20];
    let mut bytes = Vec::new();
    append(&mut bytes, Kind::Done, 1, &payload);
    let mut reader = FrameReader::new(payload.len());
    let mut taken = 0;
    for part in bytes.chunks(USUAL_BUFFER) {
        give(&mut reader, part);
        if let Some(frame) = reader.next().expect("the stream is whole") {
            assert!(frame.payload == payload);
            taken += 1;
        }
    }
    assert_eq!(taken, 1);
    // It ends with the frame, and not at the next power of two.
    assert_eq!(reader.capacity(), bytes.len());
    assert!(reader.moved < 2 * bytes.len(), "{} bytes moved for {}", reader.moved, bytes.len());
}

#[test]
fn the_buffer_of_a_large_message_is_its_own_and_that_of_others_stays() {
    let mut reader = FrameReader::new(MAX_SIZE);
    let mut large = Vec::new();
    append(&mut large, Kind::Task, 1, &vec![7; MAX_SIZE]);
    give(&mut reader, &large);
    let message = reader.next_message().expect("the stream is whole").expect("all of it is here");
    assert_eq!((message.kind, message.id), (Kind::Task, 1));
    assert!(message.payload().len() == MAX_SIZE && message.payload().iter().all(|&byte| byte == 7));
    drop(message);
    assert_eq!(reader.capacity(), 0);
    // A small one, and a large one with another behind it.
    give(&mut reader, sample().as_slice());
    assert_eq!(reader.next_message().unwrap().unwrap().payload(), b"some arguments");
    assert_eq!(reader.capacity(), USUAL_BUFFER);
    large.extend_from_slice(&sample());
    give(&mut reader, &large);
    assert_eq!(reader.next_message().unwrap().unwrap().payload().len(), MAX_SIZE);
    assert_eq!(reader.next_message().unwrap().unwrap().payload(), b"some arguments");
    assert!(reader.next_message().unwrap().is_none() && !reader.is_inside_frame());
    give(&mut reader, b"nonsense, and not the header of a frame");
    assert!(reader.next_message().is_err() && reader.next_message().is_err());
}

#[test]
fn the_memory_of_a_large_frame_is_given_back() {
    let mut reader = FrameReader::new(MAX_SIZE);
    let mut bytes = Vec::new();
    append(&mut bytes, Kind::Done, 1, &vec![7; MAX_SIZE]);
    // Some of the next frame is here as well.
    bytes.extend_from_slice(&sample()[..30]);
    give(&mut reader, &bytes);
    assert!(reader.next().is_ok_and(|frame| frame.is_some()));
    assert!(reader.capacity() > MAX_SIZE);
    assert!(!reader.space().is_empty());
    assert_eq!(reader.capacity(), USUAL_BUFFER);
    give(&mut reader, &sample()[30..]);
    assert!(reader.next().is_ok_and(|frame| frame.is_some_and(|frame| frame.payload == b"some arguments")));
}

thread_local! {
    /// A longer buffer is refused to the readers of this test.
    static MEMORY: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A reader that can have so much memory.
fn reader_with(memory: usize) -> FrameReader {
    let mut reader = FrameReader::new(MAX_SIZE);
    MEMORY.set(memory);
    reader.set_reserve(|buffer, more| buffer.len() + more <= MEMORY.get() && buffer.try_reserve_exact(more).is_ok());
    reader
}

#[test]
fn a_payload_without_memory_is_thrown_away_and_the_stream_goes_on() {
    let (first, large, last) = (b"small".to_vec(), vec![7; 5 * USUAL_BUFFER], b"behind it".to_vec());
    let frames = [(Kind::Done, 1, first), (Kind::Done, 2, large), (Kind::Failed, 3, last)];
    let bytes = stream(&frames);
    for cut in [1, 7, HEADER, 1000, USUAL_BUFFER, bytes.len()] {
        // No memory for a longer buffer, or none at all.
        for memory in [USUAL_BUFFER, 0] {
            let mut reader = reader_with(memory);
            let mut read = Vec::new();
            for mut part in bytes.chunks(cut) {
                while !part.is_empty() {
                    let space = reader.space();
                    let now = space.len().min(part.len());
                    space[..now].copy_from_slice(&part[..now]);
                    reader.filled(now);
                    part = &part[now..];
                    while let Some(message) = reader.next_message().unwrap() {
                        read.push((message.kind, message.id, message.payload().to_vec(), message.lost()));
                    }
                }
            }
            let [first, large, last] = &*read else { panic!("{} frames of a stream of 3", read.len()) };
            assert_eq!((first.1, &first.2, first.3), (1, &frames[0].2, None), "cut at {cut}");
            assert_eq!((large.0, large.1, large.2.len()), (Kind::Done, 2, 0));
            assert_eq!(large.3, Some(NoMemory { bytes: 5 * USUAL_BUFFER }));
            assert_eq!((last.0, last.1, &last.2, last.3), (Kind::Failed, 3, &frames[2].2, None));
            assert!(!reader.is_inside_frame() && reader.capacity() <= USUAL_BUFFER);
        }
    }
}

#[test]
fn a_payload_that_is_thrown_away_is_checked_all_the_same_and_is_inside_the_frame_until_then() {
    let mut bytes = stream(&[(Kind::Done, 2, vec![7; 3 * USUAL_BUFFER])]);
    *bytes.last_mut().unwrap() ^= 1;
    let mut reader = reader_with(USUAL_BUFFER);
    let (first, rest) = bytes.split_at(2 * USUAL_BUFFER);
    give(&mut reader, first);
    assert!(reader.next_message().unwrap().is_none() && reader.is_inside_frame());
    give(&mut reader, rest);
    assert_eq!(reader.next_message().err(), Some(FrameError::Payload));
}

#[test]
fn memory_that_comes_back_is_used_again() {
    let bytes = stream(&[(Kind::Done, 1, vec![7; 3 * USUAL_BUFFER]), (Kind::Done, 2, vec![8; 3 * USUAL_BUFFER])]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut reader = reader_with(USUAL_BUFFER);
    give(&mut reader, first);
    assert!(reader.next_message().unwrap().is_some_and(|message| message.lost().is_some()));
    MEMORY.set(usize::MAX);
    give(&mut reader, second);
    assert_eq!(reader.next_message().unwrap().unwrap().payload(), [8; 3 * USUAL_BUFFER]);
}

#[test]
fn a_frame_without_memory_is_an_error_to_who_takes_whole_ones_only() {
    let bytes = stream(&[(Kind::Setup, 1, vec![7; 3 * USUAL_BUFFER]), (Kind::Ready, 0, Vec::new())]);
    let mut reader = reader_with(USUAL_BUFFER);
    give(&mut reader, &bytes);
    let error = FrameError::NoMemory(NoMemory { bytes: 3 * USUAL_BUFFER });
    for _ in 0..2 {
        assert_eq!(reader.next(), Err(error));
    }
}

#[test]
fn small_frames_are_not_moved() {
    let bytes = sample();
    let mut reader = FrameReader::new(MAX_SIZE);
    for _ in 0..10_000 {
        give(&mut reader, &bytes);
        assert!(reader.next().is_ok_and(|frame| frame.is_some()));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.space().len(), USUAL_BUFFER, "all of the buffer, for nothing is in it");
    }
    assert_eq!(reader.moved, 0);

    // Nor is each when reads end in the middle of one.
    let many = bytes.repeat(10_000);
    for part in many.chunks(bytes.len() + 1) {
        give(&mut reader, part);
        while let Ok(Some(_)) = reader.next() {}
    }
    assert!(!reader.is_inside_frame());
    assert!(reader.moved < many.len() / 100, "{} bytes moved for {}", reader.moved, many.len());
}

#[test]
fn the_end_of_a_large_payload_may_come_in_drops() {
    let mut bytes = Vec::new();
    append(&mut bytes, Kind::Done, 1, &vec![7; MAX_SIZE]);
    let (most_of_it, drops) = bytes.split_at(MAX_SIZE - 2_000);
    let mut reader = FrameReader::new(MAX_SIZE);
    give(&mut reader, most_of_it);
    for drop in drops {
        assert_eq!(reader.next(), Ok(None));
        give(&mut reader, &[*drop]);
    }
    assert!(reader.next().is_ok_and(|frame| frame.is_some()));
    assert!(reader.moved < 2 * bytes.len(), "{} bytes moved for {}", reader.moved, bytes.len());
}

#[test]
fn a_reader_that_is_not_asked_keeps_all_frames() {
    let many = sample().repeat(10_000);
    let mut reader = FrameReader::new(MAX_SIZE);
    let give_all = |reader: &mut FrameReader| many.chunks(1_000).for_each(|part| give(reader, part));
    let take = |reader: &mut FrameReader, count: usize| {
        for _ in 0..count {
            let frame = reader.next().expect("the stream is whole").expect("there is one more");
            assert_eq!(frame.payload, b"some arguments");
        }
    };
    give_all(&mut reader);
    // What is left is more than a small buffer, and little for the one there is.
    take(&mut reader, 7_500);
    give_all(&mut reader);
    take(&mut reader, 12_500);
    assert_eq!(reader.next(), Ok(None));
    assert!(!reader.is_inside_frame());
    assert!(reader.moved < 2 * 2 * many.len(), "{} bytes moved for 2 * {}", reader.moved, many.len());
}

#[test]
#[should_panic(expected = "more bytes were read than there was space for")]
fn more_than_the_space_can_not_have_been_read() {
    let mut reader = FrameReader::new(MAX_SIZE);
    let space = reader.space().len();
    reader.filled(space + 1);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn random_bytes_break_nothing() {
    run(
        2_000,
        &(vec(any::<u8>(), 0..300), cuts(), any::<bool>(), any::<bool>()),
        |(mut bytes, cuts, fix, payloads)| {
            if fix {
                repair(&mut bytes, payloads);
            }
            // The outcome is the bytes' and not that of their cuts.
            assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        },
    );
}

/// Damage to a stream.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Header(Index, usize, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Truncate(Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>, starts: &[usize]) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << (bit % 8),
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Header(frame, at, byte) => {
                let at = frame.get(starts) + at;
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Self::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat(at, count) => {
                let at = at.index(length);
                let again = bytes[at..length.min(at + count)].to_vec();
                bytes.splice(at..at, again);
            }
            Self::Truncate(at) => bytes.truncate(at.index(length)),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (
            any::<Index>(),
            prop_oneof![2 => Just(0), 1 => Just(1), 2 => 0..HEADER],
            prop_oneof![4 => any::<u8>(), 1 => Just(u8::MAX)]
        )
            .prop_map(|(frame, at, byte)| Damage::Header(frame, at, byte)),
        (any::<Index>(), 1..80_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<Index>(), vec(any::<u8>(), 1..80)).prop_map(|(at, more)| Damage::Insert(at, more)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        any::<Index>().prop_map(Damage::Truncate),
    ]
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn damaged_streams_give_what_was_whole_and_then_an_error_or_nothing() {
    let seen = std::cell::RefCell::new(std::collections::HashMap::<_, u32>::new());
    let strategy = (frames(), vec(damage(), 1..4), cuts(), any::<bool>(), any::<bool>());
    run(600, &strategy, |(frames, damages, cuts, fix, payloads)| {
        let whole = stream(&frames);
        let mut starts = vec![0];
        starts.extend(frames.iter().scan(0, |at, (_, _, payload)| {
            *at += HEADER + payload.len();
            Some(*at)
        }));
        let mut bytes = whole.clone();
        for damage in &damages {
            damage.apply(&mut bytes, &starts);
        }
        if fix {
            repair(&mut bytes, payloads);
        }
        let outcome = read(&bytes, &cuts);
        assert_eq!(outcome, read(&bytes, &[]));
        // All that lies before the first damage is taken.
        let same = whole.iter().zip(&bytes).take_while(|(was, is)| was == is).count();
        let untouched = starts.iter().filter(|&&end| end <= same).max().copied().unwrap_or(0);
        assert!(outcome.accepted.len() >= untouched);
        *seen.borrow_mut().entry(outcome.error.map(|error| std::mem::discriminant(&error))).or_default() += 1;
    });
    let seen = seen.into_inner();
    assert!(seen.len() == 6 && seen.values().all(|&count| count > 5), "every outcome is reached: {seen:?}");
}
