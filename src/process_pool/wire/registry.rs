//! The functions that this program can be told to call: those that it may send itself, and no other address.
//!
//! Where a call of a function is compiled, its [thunk](super::call::Thunk)'s address goes into a section of the object,
//! beside the [anchor](super::identity::ANCHOR) of the crate's copy that it belongs to; the linker joins the entries to
//! a table.
//!
//! On processors for which the compiler has no inline assembly there is no table: there any address in the object's
//! code counts as a function.

/// Puts a thunk into the table. Generates no code.
macro_rules! register {
    ($thunk:path) => {
        #[cfg(all(
            not(miri),
            any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64")
        ))]
        // SAFETY:
        // - no instruction: two words in a section of their own.
        unsafe {
            core::arch::asm!(
                ".pushsection bowline_calls, \"awR\", %progbits",
                ".balign {size}",
                ".{size}byte {thunk}",
                ".{size}byte {anchor}",
                ".popsection",
                size = const size_of::<usize>(),
                thunk = sym $thunk,
                anchor = sym $crate::process_pool::wire::identity::ANCHOR,
                options(nomem, nostack, preserves_flags)
            );
        }
    };
}
pub(in crate::process_pool) use register;

/// Returns whether a function of this copy of the crate is registered at this address.
pub(in crate::process_pool) fn contains(address: usize) -> bool {
    table::contains(address)
}

#[cfg(all(
    not(miri),
    any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64")
))]
mod table {
    use std::sync::OnceLock;

    use crate::process_pool::wire::identity::{ANCHOR, anchor};

    /// As [`register`](super::register) writes it.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Entry {
        thunk: usize,
        anchor: usize,
    }

    // The linker makes them, for each object.
    unsafe extern "C" {
        #[link_name = "__start_bowline_calls"]
        static START: Entry;
        #[link_name = "__stop_bowline_calls"]
        static STOP: Entry;
    }

    pub(in crate::process_pool) fn contains(address: usize) -> bool {
        static SORTED: OnceLock<Box<[usize]>> = OnceLock::new();
        SORTED.get_or_init(sorted).binary_search(&address).is_ok()
    }

    fn sorted() -> Box<[usize]> {
        // An entry, so that there is a table.
        // SAFETY:
        // - as for `register`.
        unsafe {
            core::arch::asm!(
                ".pushsection bowline_calls, \"awR\", %progbits",
                ".balign {size}",
                ".{size}byte 0",
                ".{size}byte {anchor}",
                ".popsection",
                size = const size_of::<usize>(),
                anchor = sym ANCHOR,
                options(nomem, nostack, preserves_flags)
            );
        }
        let (start, stop) = (&raw const START, &raw const STOP);
        let length = (stop.addr() - start.addr()) / size_of::<Entry>();
        // SAFETY:
        // - the section consists of such entries, and only the loader writes to them.
        let entries = unsafe { std::slice::from_raw_parts(start, length) };
        let own = entries.iter().filter(|entry| entry.anchor == anchor() && entry.thunk != 0).map(|entry| entry.thunk);
        let mut sorted: Vec<usize> = own.collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.into()
    }
}

#[cfg(not(all(
    not(miri),
    any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64")
)))]
mod table {
    pub(in crate::process_pool) fn contains(_: usize) -> bool {
        true
    }
}

#[cfg(all(test, not(loom), not(miri), target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::process_pool::wire::blob::Attachments;
    use crate::process_pool::wire::call::{Call, CallFailure};
    use crate::process_pool::wire::frame::Message;
    use crate::process_pool::wire::identity::Identity;

    fn place(call: &Call) -> u64 {
        u64::from_le_bytes(*call.payload().first_chunk().expect("a place"))
    }

    fn has_function(place: u64) -> bool {
        Call::read(&place.to_le_bytes()).is_some()
    }

    fn add_one(n: u64) -> u64 {
        n + 1
    }

    #[test]
    fn what_can_be_sent_is_registered_and_no_address_beside_it() {
        let calls = [
            Call::of(add_one, (1,), 100),
            Call::of(|n: u8| n, (1,), 100),
            Call::of_chunk(add_one, vec![1], 100),
            Call::of_initializer(|_: u8| {}, (1,), 100),
        ];
        for call in calls {
            let place = place(&call.expect("a call"));
            assert!(has_function(place));
            for distance in [1, 2, 4, 8, u64::MAX, 3 << 12] {
                let beside = place.wrapping_add(distance);
                let address = Identity::of_this().address_of(beside);
                assert_eq!(has_function(beside), address.is_some_and(contains), "{distance}");
            }
            assert!(!has_function(place + 1));
        }
    }

    #[test]
    fn a_function_of_this_program_that_nobody_sends_is_not_registered() {
        unsafe fn thunk(_: Message<'_>, _: &mut Vec<u8>, _: &mut Attachments) -> Result<(), CallFailure> {
            Ok(())
        }
        let function: crate::process_pool::wire::call::Thunk = thunk;
        let place = Identity::of_this().offset_of(function as usize).expect("a function of this program");
        assert!(Identity::of_this().address_of(place).is_some() && !has_function(place));
    }
}
