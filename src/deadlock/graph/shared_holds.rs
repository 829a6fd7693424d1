//! The places of one context's shared holds in the index of [holders](super::holders).

use super::holds::INLINE;

/// The place of one inline hold of one context: the context's index, and the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HoldRef(u32);

impl HoldRef {
    pub(super) const NONE: Self = Self(u32::MAX);
    const SLOT_BITS: u32 = INLINE.trailing_zeros();

    /// Returns the place of the hold in this slot of the context with this index.
    pub(super) fn new(context: usize, slot: usize) -> Self {
        Self((context << Self::SLOT_BITS | slot) as u32)
    }

    /// Returns the index of the context and the slot, unless it is [`NONE`](Self::NONE).
    pub(super) fn get(self) -> Option<(usize, usize)> {
        let number = self.0 as usize;
        (self != Self::NONE).then_some((number >> Self::SLOT_BITS, number % INLINE))
    }
}

/// The holds of the same list before and after one.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) previous: HoldRef,
    pub(super) next: HoldRef,
}

/// The places of one context's shared holds in the index.
pub(in crate::deadlock) struct SharedHolds {
    pub(super) links: [Link; INLINE],
    /// The bits of the inline slots that are in the index.
    pub(super) linked: u32,
    /// Whether it holds more than fits inline, and is registered: those holds are not in the index.
    pub(super) is_spilled: bool,
}

impl SharedHolds {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { links: [Link { previous: HoldRef::NONE, next: HoldRef::NONE }; INLINE], linked: 0, is_spilled: false }
    }
}
