//! Which calls serde made, as a sum.

/// What one call reads or writes. Calls are of one kind that mean the same to any pair of `Serialize` and `Deserialize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Bool = 1,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    /// Strings, and the names that keys of a map are read as.
    Text,
    Bytes,
    Option,
    /// Units and unit structs. (A newtype struct is no call: it is what is in it.)
    Unit,
    Sequence,
    /// Tuples, tuple structs and arrays.
    Tuple,
    Map,
    Struct,
    UnitVariant,
    NewtypeVariant,
    TupleVariant,
    StructVariant,
}

/// The kinds of all calls, in their order. Two are the same if their sums are, but for one chance in four billion.
pub(super) struct Trace {
    sum: u64,
    /// The last kind, and how many calls in a row were of that.
    last: u8,
    run: u64,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self { sum: 0, last: 0, run: 0 }
    }

    /// Notes a call.
    #[inline]
    pub(super) fn note(&mut self, kind: Kind) {
        let kind = kind as u8;
        if kind != self.last {
            self.fold();
            self.last = kind;
        }
        self.run += 1;
    }

    #[inline]
    fn fold(&mut self) {
        let word = self.sum ^ (self.run << 8 | u64::from(self.last));
        let product = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.sum = product ^ product >> 32;
        self.run = 0;
    }

    pub(super) fn sum(&mut self) -> [u8; SUM] {
        self.fold();
        (self.sum as u32).to_le_bytes()
    }
}

/// How long a sum is.
pub(super) const SUM: usize = 4;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Kind::{Bool, U8};
    use super::{Kind, Trace};

    fn sum(kinds: &[Kind]) -> [u8; 4] {
        let mut trace = Trace::new();
        kinds.iter().for_each(|&kind| trace.note(kind));
        trace.sum()
    }

    #[test]
    fn a_sum_tells_kinds_numbers_and_order_apart() {
        let traces: [&[Kind]; 8] =
            [&[], &[U8], &[Bool], &[U8, U8], &[U8, Bool], &[Bool, U8], &[U8, Bool, U8], &[U8, U8, Bool]];
        for (at, trace) in traces.iter().enumerate() {
            assert!(traces[..at].iter().all(|other| sum(other) != sum(trace)), "{trace:?}");
        }
        assert_eq!(sum(&[U8; 1000]), sum(&[U8; 1000]));
    }
}
