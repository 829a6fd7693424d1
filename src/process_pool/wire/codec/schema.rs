//! The schema of a value: the types of serde's data model that it consists of, as a sum.

/// The type that one call of serde's reads or writes. Two calls are of one type if they mean the same in any pair of
/// `Serialize` and `Deserialize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum DataType {
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
    /// Strings, and the identifiers as which a map's keys are read.
    Text,
    Bytes,
    Option,
    /// Units and unit structs. (A newtype struct has the type of its content.)
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
    Blob,
}

/// The types of all calls, in their order. Two different ones have the same sum in one of four billion cases.
pub(super) struct Schema {
    sum: u64,
    /// The last type, and how many calls in a row were of it.
    last: u8,
    run: u64,
}

impl Schema {
    pub(super) const fn new() -> Self {
        Self { sum: 0, last: 0, run: 0 }
    }

    /// Notes a call.
    #[inline]
    pub(super) fn note(&mut self, called: DataType) {
        let called = called as u8;
        if called != self.last {
            self.fold();
            self.last = called;
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

    /// Returns the sum of what was noted.
    pub(super) fn sum(&mut self) -> [u8; SUM] {
        self.fold();
        (self.sum as u32).to_le_bytes()
    }
}

/// The length of a sum.
pub(super) const SUM: usize = 4;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::DataType::{Bool, U8};
    use super::{DataType, Schema};

    fn sum(calls: &[DataType]) -> [u8; 4] {
        let mut schema = Schema::new();
        calls.iter().for_each(|&call| schema.note(call));
        schema.sum()
    }

    #[test]
    fn a_sum_tells_types_numbers_and_order_apart() {
        let schemas: [&[DataType]; 8] =
            [&[], &[U8], &[Bool], &[U8, U8], &[U8, Bool], &[Bool, U8], &[U8, Bool, U8], &[U8, U8, Bool]];
        for (at, schema) in schemas.iter().enumerate() {
            assert!(schemas[..at].iter().all(|other| sum(other) != sum(schema)), "{schema:?}");
        }
        assert_eq!(sum(&[U8; 1000]), sum(&[U8; 1000]));
    }
}
