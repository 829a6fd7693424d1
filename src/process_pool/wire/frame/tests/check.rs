//! What any stream of bytes must hold a [`FrameReader`] to. Shared with the fuzz target in `fuzz/`, which has the same
//! names one level up.

use super::{FrameError, FrameReader, HEADER, append, checksum, withhold};

/// How large the buffer may be however little has arrived.
const USUAL_BUFFER: usize = 64 * 1024;

/// What a reader made of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The frames that were accepted, as they would be written.
    pub(super) accepted: Vec<u8>,
    pub(super) frames: usize,
    pub(super) error: Option<FrameError>,
}

/// Gives the bytes to a reader, the next so many of them each time. `memory` tells what the reader holds, if it is
/// known.
///
/// # Panics
///
/// If the reader takes memory for what did not arrive, accepts a frame that is not there, or does not stay broken.
pub(super) fn read_in_cuts(
    bytes: &[u8],
    max_size: usize,
    mut cut: impl FnMut() -> usize,
    memory: impl Fn(&FrameReader) -> usize,
) -> Outcome {
    let mut reader = FrameReader::new(max_size);
    let mut outcome = Outcome { accepted: Vec::new(), frames: 0, error: None };
    let mut arrived = 0;
    loop {
        let missing = bytes.len() - arrived;
        let space = reader.space();
        let room = space.len();
        assert!(room > 0, "there is always space");
        assert!(room <= USUAL_BUFFER.max(2 * arrived), "space for {room} bytes, and {arrived} have arrived");
        let now = cut().max(1).min(missing).min(room);
        space[..now].copy_from_slice(&bytes[arrived..arrived + now]);
        let held = memory(&reader);
        let buffered = arrived - outcome.accepted.len();
        assert!(held <= USUAL_BUFFER.max(2 * arrived), "{held} bytes of memory, and {arrived} have arrived");
        assert!(
            held <= USUAL_BUFFER.max(4 * buffered),
            "{held} bytes of memory for {buffered} that are not handed out"
        );
        arrived += now;
        reader.filled(now);
        loop {
            match reader.next() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= max_size);
                    assert_eq!(outcome.error, None, "a broken stream has no more frames");
                    let from = outcome.accepted.len();
                    append(&mut outcome.accepted, frame.kind, frame.id, frame.payload);
                    if bytes.get(from + 1) == Some(&u8::MAX) {
                        // It says that its descriptors do not come: the only frame with some that is whole without them.
                        withhold(outcome.accepted[from..].first_chunk_mut().expect("a header"));
                    }
                    outcome.frames += 1;
                    let to = outcome.accepted.len();
                    assert!(to <= arrived && outcome.accepted[from..] == bytes[from..to], "what is accepted was sent");
                }
                Ok(None) => {
                    assert_eq!(outcome.error, None, "a broken stream stays broken");
                    assert_eq!(reader.is_inside_frame(), outcome.accepted.len() < arrived);
                    break;
                }
                Err(error) => {
                    assert_eq!(*outcome.error.get_or_insert(error), error, "the first error stays");
                    break;
                }
            }
        }
        if arrived == bytes.len() {
            return outcome;
        }
    }
}

/// Gives every header in the stream, and every payload if it should, the checksum it needs: what is broken in other
/// ways gets past the checksums so.
pub(super) fn repair(bytes: &mut [u8], payloads: bool) {
    let mut at = 0;
    while let Some(frame) = bytes.get_mut(at..).filter(|frame| frame.len() >= HEADER) {
        let (header, behind) = frame.split_at_mut(HEADER);
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if let Some(payload) = behind.get(..length).filter(|_| payloads) {
            header[16..20].copy_from_slice(&checksum(payload).to_le_bytes());
        }
        let own = checksum(&header[..20]);
        header[20..].copy_from_slice(&own.to_le_bytes());
        at = at.saturating_add(HEADER).saturating_add(length);
    }
}
