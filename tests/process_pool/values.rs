//! Values between processes arrive as they were, or as an error: whatever serde leaves out, however deep they are, and
//! however little memory there is.

#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;

use bowline::{ProcessPoolExecutor, TaskError};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::support::workers::{echo, pid, pool_of};
use crate::support::{LIMIT, alone, within};

#[track_caller]
fn error_of(result: Result<impl std::fmt::Debug, TaskError>) -> String {
    match result {
        Err(TaskError::Encode(error) | TaskError::Decode(error)) => error.to_string(),
        other => panic!("it arrived: {other:?}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<u32>,
    b: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    c: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Variants {
    #[serde(skip_deserializing)]
    NotRead,
    Struct {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<Box<Variants>>,
        b: Skips,
    },
    Last(u8),
}

#[test]
fn what_serde_leaves_out_changes_nothing() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let skips = Skips { a: None, b: 0, c: vec![1, 2] };
        assert_eq!(pool.submit(echo::<Skips>, (skips.clone(),)).result().unwrap(), skips);
        let all = [skips.clone(), Skips::default(), Skips { a: Some(1), b: 2, c: vec![] }];
        let results: Vec<_> = pool.map(echo::<Skips>, all.clone()).map(Result::unwrap).collect();
        assert_eq!(results, all);
        let last = Variants::Struct { a: Some(Variants::Last(3).into()), b: skips };
        let variants = vec![Variants::Last(1), Variants::Struct { a: None, b: Skips::default() }, last];
        assert_eq!(pool.submit(echo::<Vec<Variants>>, (variants.clone(),)).result().unwrap(), variants);
        let error = error_of(pool.submit(echo::<Variants>, (Variants::NotRead,)).result());
        assert!(error.contains("unknown variant `NotRead`"), "{error}");
    });
}

/// A sequence that does not know its length.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Evens(Vec<u32>);

impl Serialize for Evens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        self.0.iter().filter(|n| *n % 2 == 0).try_for_each(|n| list.serialize_element(n))?;
        list.end()
    }
}

#[test]
fn a_sequence_of_unknown_length_arrives() {
    within(LIMIT, || {
        let evens = Evens((0..2000).step_by(2).collect());
        assert_eq!(pool_of(1).submit(echo::<Evens>, (evens.clone(),)).result().unwrap(), evens);
    });
}

/// Writes a number, and reads one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Twisted(i32);

impl Serialize for Twisted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.unsigned_abs())
    }
}

#[test]
fn a_type_that_reads_something_else_than_it_writes_is_an_error() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        for error in [
            error_of(pool.submit(echo::<Twisted>, (Twisted(2),)).result()),
            error_of(pool.submit(|| Twisted(2), ()).result()),
        ] {
            assert!(
                error.contains("Twisted") && error.contains("does not read what its `Serialize` writes"),
                "{error}"
            );
            assert!(error.contains("`bowline::Json`"), "{error}");
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn what_a_type_says_of_an_error_arrives() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let path = || PathBuf::from(OsStr::from_bytes(b"/not/\xff"));
        for error in
            [error_of(pool.submit(echo::<PathBuf>, (path(),)).result()), error_of(pool.submit(path, ()).result())]
        {
            assert!(error.contains("PathBuf"), "{error}");
            assert!(error.contains("can't be written: path contains invalid UTF-8 characters"), "{error}");
        }
    });
}

/// As deep as it is long, and dropped as deep.
#[derive(Debug, Serialize, Deserialize)]
struct List(Option<Box<List>>);

impl List {
    fn of(length: usize) -> Self {
        (0..length).fold(Self(None), |list, _| Self(Some(Box::new(list))))
    }

    /// Without a call for each level.
    fn take_apart(mut self) -> usize {
        let mut length = 0;
        while let Some(next) = self.0.take() {
            self = *next;
            length += 1;
        }
        length
    }
}

/// A list that takes no calls to be dropped.
#[derive(Debug, Serialize, Deserialize)]
struct Loose(Option<List>);

impl Loose {
    fn of(length: usize) -> Self {
        Self(Some(List::of(length)))
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        self.0.take().map(List::take_apart);
    }
}

const TOO_DEEP: &str = "it is nested too deep for the stack";

#[test]
fn an_argument_or_result_that_is_nested_too_deep_is_an_error_on_any_thread() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        for size in [128 << 10, 2 << 20, 32 << 20] {
            let submit = || {
                let error = error_of(pool.submit(echo::<Loose>, (Loose::of(1_000_000),)).result());
                assert!(error.contains("can't be written") && error.contains(TOO_DEEP), "{error}");
            };
            thread::scope(|scope| {
                thread::Builder::new().stack_size(size).spawn_scoped(scope, submit).unwrap().join().unwrap();
            });
        }
        // Here or there, whoever finds it.
        for length in [100, 1000, 3000, 5000, 10_000, 20_000, 80_000, 1_000_000] {
            match pool.submit(|list: Loose| list.0.is_some(), (Loose::of(length),)).result() {
                Ok(is_there) => assert!(is_there),
                result => assert!(length > 100 && error_of(result).contains(TOO_DEEP), "{length}"),
            }
            match pool.submit(Loose::of, (length,)).result() {
                Ok(mut list) => assert_eq!(list.0.take().unwrap().take_apart(), length),
                result => assert!(length > 100 && error_of(result).contains(TOO_DEEP), "{length}"),
            }
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn what_arrived_can_be_dropped_on_a_usual_thread() {
    alone(|| {
        let pool = pool_of(1);
        let arrives = |length| pool.submit(Loose::of, (length,)).result().ok();
        let (mut fits, mut fails) = (1_usize, 1_000_000);
        while fits + 20 < fails {
            let length = fits.midpoint(fails);
            *(if arrives(length).is_some() { &mut fits } else { &mut fails }) = length;
        }
        let deepest = arrives(fits).unwrap().0.take();
        assert!(fits > 500, "{fits}");
        thread::Builder::new().stack_size(2 << 20).spawn(move || drop(deepest)).unwrap().join().unwrap();
    });
}

/// Leaves so many bytes of memory to the calling process.
fn leave(bytes: u64) {
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("the system tells");
    let pages: u64 = sizes.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
    let size = pages * 4096 + bytes;
    let limit = libc::rlimit { rlim_cur: size, rlim_max: libc::RLIM_INFINITY };
    // SAFETY:
    // - it reads the limit, which is there.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

/// More than what an allocator keeps for a thread.
const LARGE: usize = 96 << 20;

fn large() -> String {
    "x".repeat(LARGE)
}

#[test]
fn an_argument_that_there_is_no_memory_for_is_an_error() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let text = large();
        leave((LARGE / 2) as u64);
        let task = pool.submit(|text: String| text.len(), (text,));
        let error = error_of(task.result());
        assert!(error.contains("can't be written: there is no memory for "), "{error}");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn a_result_that_there_is_no_memory_for_is_an_error() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let make = || {
            let text = large();
            leave((LARGE / 2) as u64);
            text
        };
        let error = error_of(pool.submit(make, ()).result());
        assert!(error.contains("can't be written: there is no memory for "), "{error}");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

/// What `pool`'s only worker makes of a large argument when it has so much memory left.
fn send_large(pool: &ProcessPoolExecutor, left: u64) -> Result<usize, TaskError> {
    pool.submit(leave, (left,)).result().expect("it is limited");
    pool.submit(|text: String| text.len(), (large(),)).result()
}

#[test]
fn a_message_whose_value_there_is_no_memory_for_is_an_error() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        // Enough for the message and not for its value.
        let error = error_of(send_large(&pool, (LARGE * 5 / 2) as u64));
        assert!(error.contains("can't be read back: there is no memory for "), "{error}");
        assert_eq!(send_large(&pool, (LARGE * 8) as u64).unwrap(), LARGE);
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}
