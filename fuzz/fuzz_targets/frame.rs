//! Any bytes, however they are cut, to the reader of the frames between a pool and its worker processes.
//!
//! The first byte says whether the checksums are set right, so that what is behind them is reached; the second is the
//! seed of the cuts.

#![no_main]

// The sources themselves: the reader is not public.
#[rustfmt::skip]
#[allow(dead_code)]
#[path = "../../src/process_pool/wire/frame/mod.rs"]
mod frame;

#[path = "../../src/process_pool/wire/frame/tests/check.rs"]
mod check;

use check::{read_in_cuts, repair};
use frame::{FrameError, FrameReader, HEADER, append, checksum, withhold};

const MAX_SIZE: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [mode, seed, bytes @ ..] = data else { return };
    let mut bytes = bytes.to_vec();
    if mode & 1 != 0 {
        repair(&mut bytes, mode & 2 != 0);
    }
    let mut state = u32::from(*seed);
    let cut = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Many short ones, some long.
        1 << (state >> 28) | (state >> 20 & 7) as usize
    };
    // What the reader holds can't be seen from here, but the space that it offers is checked.
    let memory = |_: &FrameReader| 0;
    let in_cuts = read_in_cuts(&bytes, MAX_SIZE, cut, memory);
    let at_once = read_in_cuts(&bytes, MAX_SIZE, || usize::MAX, memory);
    assert_eq!(in_cuts, at_once, "what is read does not depend on the cuts");
});
