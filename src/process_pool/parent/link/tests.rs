//! What goes through the region, and in which order, without a worker.

use super::*;
use crate::process_pool::wire::region::{Place, Readable};

const MIB: usize = 1 << 20;

/// A call that takes a little more than this many bytes.
fn call(bytes: usize) -> Arc<Parcel> {
    let call = Call::of(std::mem::drop::<Vec<u8>>, (vec![7; bytes],), usize::MAX);
    Arc::clone(call.expect("it can be encoded").parcel())
}

fn piece(id: u64, parcel: &Arc<Parcel>) -> Piece {
    Piece { kind: Kind::Task, id, parcel: Some(Arc::clone(parcel)) }
}

/// The parent's end, with a region that is open, and the worker's.
fn open() -> (Sending, Readable) {
    let (memory, file) = Writable::new().expect("a region");
    let worker = Readable::open(&file).expect("the same region");
    (Sending { region: Region::Open(Calls::new(memory)), ..Sending::default() }, worker)
}

/// Takes what is to be sent: the kinds of the frames, their tasks, and the places in the region.
fn sent(sending: &mut Sending) -> Vec<(Kind, u64, Option<Place>)> {
    let mut reader = FrameReader::new(usize::MAX);
    let mut frames = Vec::new();
    let bytes = std::mem::take(&mut sending.bytes);
    for bytes in bytes.chunks(1000) {
        reader.space()[..bytes.len()].copy_from_slice(bytes);
        reader.filled(bytes.len());
        while let Some(frame) = reader.next().expect("a frame") {
            frames.push((frame.kind, frame.id, Place::of_bytes(frame.payload)));
        }
    }
    frames
}

#[test]
fn a_call_is_not_written_over_before_the_worker_has_replied_to_it() {
    let ((mut sending, worker), taken) = (open(), Taken::default());
    let calls = [20, 1, 20, 1].map(|mib| call(mib * MIB));
    assert!(sending.put_in_region(5, &calls[0], &taken));
    assert!(sending.put_in_region(6, &calls[1], &taken));
    assert!(!sending.put_in_region(7, &calls[2], &taken));
    taken.replied.store(5, Relaxed);
    assert!(sending.put_in_region(7, &calls[3], &taken));
    let frames = sent(&mut sending);
    assert_eq!(frames.iter().map(|frame| frame.1).collect::<Vec<_>>(), [5, 6, 7]);
    let places: Vec<_> = frames.iter().map(|frame| frame.2.expect("a place")).collect();
    assert!(worker.call(places[1]) == Some(calls[1].payload()) && worker.call(places[2]) == Some(calls[3].payload()));
}

#[test]
fn a_call_longer_than_the_region_goes_in_parts_which_wait_for_the_worker_and_nothing_overtakes_it() {
    let ((mut sending, _worker), taken) = (open(), Taken::default());
    let (long, short) = (call(33 * MIB), call(1));
    let pending = Mutex::new(VecDeque::from([piece(1, &long), piece(2, &short)]));
    let (mut parts, mut waits) = (Vec::new(), 0);
    loop {
        let filled = sending.fill(&pending, &taken);
        let frames = sent(&mut sending);
        if matches!(filled, Filled::Nothing) {
            assert_eq!((sending.parts - taken.parts.load(Relaxed), frames.len()), (MAX_PARTS, 0));
            taken.parts.fetch_add(1, Relaxed);
            waits += 1;
            continue;
        }
        parts.extend(frames);
        if parts.last().is_some_and(|frame| frame.1 == 2) {
            break;
        }
    }
    assert_eq!(parts.pop().map(|frame| frame.0), Some(Kind::Task));
    assert!(parts.iter().all(|frame| (frame.0, frame.1) == (Kind::TaskInRegion, 1)));
    assert_eq!(waits + MAX_PARTS, parts.len() as u64);
    let left: Vec<_> = parts.iter().map(|frame| frame.2.expect("a place").left).collect();
    assert!(left.is_sorted_by(|one, next| one > next) && left.last() == Some(&0), "{left:?}");
    assert!(!sending.put_in_region(3, &call(MIB), &taken), "the last parts were not taken");
    taken.parts.store(sending.parts, Relaxed);
    assert!(sending.put_in_region(3, &call(MIB), &taken));
}

#[test]
fn the_checksum_of_a_bulk_call_in_the_stream_is_not_computed_under_the_lock() {
    let (mut sending, taken) = (Sending { region: Region::Never, ..Sending::default() }, Taken::default());
    let (bulk, short) = (call(MIB), call(1));
    let pending = Mutex::new(VecDeque::from([piece(1, &short), piece(2, &bulk), piece(3, &short)]));
    assert!(matches!(sending.fill(&pending, &taken), Filled::Some));
    assert_eq!(sent(&mut sending).len(), 1);
    let Filled::Unchecked(parcel) = sending.fill(&pending, &taken) else { panic!("it has no checksum") };
    assert!(Arc::ptr_eq(&parcel, &bulk) && !parcel.has_checksum());
    parcel.checksum();
    assert!(matches!(sending.fill(&pending, &taken), Filled::Some));
    assert!(sending.large.take().is_some_and(|(large, _)| Arc::ptr_eq(&large, &bulk)));
    sending.bytes.clear();
    assert!(matches!(sending.fill(&pending, &taken), Filled::Some));
    assert_eq!(sent(&mut sending).first().map(|frame| frame.1), Some(3));
}

#[test]
fn a_region_is_offered_by_the_first_frame_of_those_that_are_sent_at_once() {
    let (mut sending, taken) = (Sending::default(), Taken::default());
    let call = call(MIB);
    sending.bytes.push(0);
    assert!(!sending.put_in_region(1, &call, &taken));
    assert!(sending.with.is_none() && matches!(sending.region, Region::NotYet), "its descriptor would be another's");
    sending.bytes.clear();
    assert!(!sending.put_in_region(1, &call, &taken), "the worker has yet to map it");
    assert!(matches!(sending.with, Some(With::Region(_))) && matches!(sending.region, Region::Offered(_)));
}
