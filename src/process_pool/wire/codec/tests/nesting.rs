//! Values that are nested too deep: an error, on any stack.

use std::thread;

use serde::{Deserialize, Serialize};

use super::{assert_says, back, bytes_of, decode, encode};

/// As deep as it is long. It is dropped as deep, too.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    of: Option<Box<List>>,
}

/// Each way in which serde nests values. None grows its stack.
#[derive(Debug, Serialize, Deserialize)]
enum Ways {
    End,
    Newtype(Box<Ways>),
    Tuple(u8, Box<Ways>),
    Struct { of: Box<Ways> },
    Some(Option<Box<Ways>>),
    Sequence(Vec<Ways>),
    Pair(Box<(u8, Ways)>),
    Map(std::collections::BTreeMap<u8, Ways>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Newtype(Option<Box<Newtype>>);

fn list(length: usize) -> List {
    (0..length).fold(List { of: None }, |list, _| List { of: Some(Box::new(list)) })
}

impl List {
    /// Without a call for each level.
    fn take_apart(mut self) {
        while let Some(next) = self.of.take() {
            self = *next;
        }
    }
}

/// The bytes of a list that no writer of this thread's could write.
fn bytes_of_list(length: usize) -> Vec<u8> {
    // With a name from the second level on: codes for the field, a tag, and the ends.
    let two = bytes_of(&list(2));
    let sum = &two[two.len() - 4..];
    let (field, tag) = (2_u8, 1_u8);
    let mut bytes = vec![1, 2, b'o', b'f'];
    bytes.push(tag);
    for _ in 1..length {
        bytes.extend([field, tag]);
    }
    bytes.extend([field, 0]);
    bytes.resize(bytes.len() + length + 1, 0);
    bytes.extend(sum);
    assert!(length > 2 || bytes == two, "{bytes:?} {two:?}");
    bytes
}

fn on_stack<R: Send + 'static>(size: usize, run: impl FnOnce() -> R + Send + 'static) -> R {
    thread::Builder::new().stack_size(size).spawn(run).unwrap().join().unwrap()
}

const TOO_DEEP: &str = "it is nested too deep for the stack";

#[test]
fn a_value_that_is_nested_too_deep_to_write_is_an_error() {
    for size in [64 << 10, 256 << 10, 2 << 20, 16 << 20] {
        on_stack(size, || {
            let deep = list(1_000_000);
            let mut buffer = b"before".to_vec();
            let error = encode(&deep, &mut buffer).expect_err("is deep");
            assert_says(&error, &["List` can't be written: ", TOO_DEEP]);
            assert_eq!(buffer, b"before");
            deep.take_apart();
        });
    }
}

#[test]
fn a_value_that_is_nested_too_deep_to_read_is_an_error() {
    let bytes = bytes_of_list(2);
    assert!(decode::<List>(&bytes).is_ok());
    for size in [64 << 10, 256 << 10, 2 << 20, 16 << 20] {
        on_stack(size, || {
            let error = decode::<List>(&bytes_of_list(1_000_000)).expect_err("is deep");
            assert_says(&error, &["List` can't be read back: ", TOO_DEEP]);
        });
    }
}

#[test]
fn whatever_nests_it_a_value_is_not_too_deep_for_a_thread() {
    type Wrap = fn(Ways) -> Ways;
    let ways: [Wrap; 7] = [
        |inner| Ways::Newtype(inner.into()),
        |inner| Ways::Tuple(1, inner.into()),
        |inner| Ways::Struct { of: inner.into() },
        |inner| Ways::Some(Some(inner.into())),
        |inner| Ways::Sequence(vec![inner]),
        |inner| Ways::Pair((1, inner).into()),
        |inner| Ways::Map([(1, inner)].into()),
    ];
    for wrap in ways {
        on_stack(256 << 10, move || {
            let shallow = (0..20).fold(Ways::End, |inner, _| wrap(inner));
            assert_eq!(format!("{:?}", back(&shallow)), format!("{shallow:?}"));
            let deep = (0..100_000).fold(Ways::End, |inner, _| wrap(inner));
            let error = encode(&deep, &mut Vec::new()).expect_err("is deep");
            assert_says(&error, &[TOO_DEEP]);
            // To drop it would take as many calls.
            std::mem::forget(deep);
        });
    }
    on_stack(256 << 10, || {
        let deep = (0..100_000).fold(Newtype(None), |inner, _| Newtype(Some(Box::new(inner))));
        assert_says(&encode(&deep, &mut Vec::new()).expect_err("is deep"), &[TOO_DEEP]);
        std::mem::forget(deep);
    });
}

#[test]
fn what_was_read_can_be_dropped_on_a_usual_thread() {
    // The deepest list that a thread with a lot of stack reads.
    let deepest = on_stack(64 << 20, || {
        let (mut fits, mut fails) = (1_usize, 1_000_000);
        while fits + 1 < fails {
            let length = fits.midpoint(fails);
            match decode::<List>(&bytes_of_list(length)) {
                Err(error) if error.to_string().contains(TOO_DEEP) => fails = length,
                // It was read: a sum of another length is no matter here.
                _ => fits = length,
            }
        }
        list(fits)
    });
    on_stack(2 << 20, || drop(deepest));
}

#[test]
fn a_value_of_little_depth_fits_where_little_stack_is_left() {
    /// Calls the function with not much more than so many bytes of stack left.
    fn with_left(left: usize, bottom: usize, run: &mut dyn FnMut()) {
        let here = crate::primitive::stack_pointer();
        let filled = std::hint::black_box([0_u8; 1024]);
        if here - bottom > left + 4096 {
            with_left(left, bottom, run)
        } else {
            run()
        }
        std::hint::black_box(filled);
    }
    on_stack(1 << 20, || {
        let bottom = crate::primitive::stack_of_thread().unwrap().start;
        for left in [512 << 10, 128 << 10, 40 << 10] {
            with_left(left, bottom, &mut || assert_eq!(back(&(1, Some([2, 3]))), (1, Some([2, 3]))));
        }
    });
}

/// A stack of its own, as that of a coroutine.
#[cfg(target_arch = "x86_64")]
fn on_foreign_stack(stack: &mut [u8], run: extern "C" fn()) {
    let top = stack.as_mut_ptr_range().end.addr() & !15;
    // SAFETY:
    // - the stack pointer is set to a stack of the caller's, aligned as a call expects it, and back again before
    //   anything else is done. The function does not unwind, or that ends the process: it is called as `extern "C"`.
    // - a call may change whatever `clobber_abi` names, and keeps `r12`.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {call}",
            "mov rsp, r12",
            top = in(reg) top,
            call = sym call,
            in("rdi") run,
            out("r12") _,
            clobber_abi("C"),
        );
    }

    extern "C" fn call(run: extern "C" fn()) {
        run();
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn on_a_stack_of_somebody_elses_the_mapping_says_where_it_ends() {
    // As much is mapped by itself, as is a stack.
    let mut stack = vec![0_u8; 2 << 20];
    extern "C" fn on_it() {
        let value = (1, vec![Some(list(30))]);
        assert_eq!(format!("{:?}", back(&value)), format!("{value:?}"));
        // More than is assumed of an unknown stack, and less than there is.
        let fits = list(if cfg!(debug_assertions) { 1000 } else { 9000 });
        encode(&fits, &mut Vec::new()).unwrap();
        fits.take_apart();
        let deep = list(100_000);
        assert_says(&encode(&deep, &mut Vec::new()).unwrap_err(), &[TOO_DEEP]);
        deep.take_apart();
        assert_says(&decode::<List>(&bytes_of_list(100_000)).unwrap_err(), &[TOO_DEEP]);
        DONE.set(true);
    }
    on_foreign_stack(&mut stack, on_it);
    assert!(DONE.get());
}

thread_local! {
    static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
