//! The types that serde knows of.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroI128, NonZeroU8, NonZeroUsize, Saturating, Wrapping};
use std::ops::{Bound, Range, RangeFrom, RangeInclusive, RangeTo};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Strategy, any};
use proptest::{option, prop_assert, prop_assert_eq, proptest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Shape, back, bytes_of, decode};

/// Alone, and between others.
#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(value: T) {
    assert_eq!(back(&value), value);
    let around = (1_u16, vec![value.clone(), value.clone()], Some(value), "end".to_owned());
    assert_eq!(back(&around), around);
}

#[test]
fn numbers_are_the_same() {
    same((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    same((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    same((i8::MAX, i16::MAX, i32::MAX, i64::MAX, i128::MAX, isize::MAX));
    same((0_u64, -1_i64, 1_i64, 127_u64, 128_u64, 1_u64 << 63));
    same((Wrapping(-3_i8), Saturating(u32::MAX), Reverse(5_u8), NonZeroU8::MAX, NonZeroI128::MIN, NonZeroUsize::MIN));
    for shift in 0..64 {
        same((u64::MAX >> shift, (1_u64 << shift), i64::MIN >> shift, i64::MAX >> shift));
    }
    // Signalling ones as well.
    for bits in [0x7ff0_0000_0000_0001_u64, 0xfff8_0000_dead_beef, 1, 1 << 63, 0x7ff0_0000_0000_0000] {
        assert_eq!(back(&f64::from_bits(bits)).to_bits(), bits);
    }
    for bits in [0x7f80_0001_u32, 0xffc0_beef, 1, 1 << 31, 0x7f80_0000] {
        assert_eq!(back(&f32::from_bits(bits)).to_bits(), bits);
    }
    same((true, false, 'a', '\u{0}', '\u{10ffff}', 'ß'));
}

#[test]
fn collections_are_the_same() {
    same((vec![(); 1000], [(); 3], [0_u8; 0], Vec::<[u64; 0]>::new(), vec![[(); 0]; 9]));
    same(vec![vec![Vec::<Vec<u8>>::new(); 3], vec![], vec![vec![vec![]; 2]]]);
    same((HashMap::from([((1_u8, "a".to_owned()), Some(1)), ((2, String::new()), None)]), BTreeMap::from([((), ())])));
    same((HashSet::from([vec![1_u8], vec![]]), BTreeSet::from(['b', 'a']), HashMap::<(), u8>::new()));
    same((VecDeque::from([1, 2, 3]), LinkedList::from(["a".to_owned()])));
    same([[1_i16, 2], [3, 4]]);
    same((1, 2_u8, 3_i64, 'c', true, 0.5, (), "seven".to_owned(), (1,), [9], vec![10], Some(11)));
    assert_eq!(back(&BinaryHeap::from([3, 1, 2])).into_sorted_vec(), [1, 2, 3]);
}

#[test]
fn options_and_results_are_the_same() {
    for value in [None, Some(None), Some(Some(None)), Some(Some(Some(())))] {
        same(value);
    }
    same([None, Some(None), Some(Some(()))]);
    same([Ok(1), Err("no".to_owned())]);
    same(Ok::<(), Result<Option<()>, ()>>(()));
    same(Err::<(), _>(Ok::<_, ()>(Some(()))));
}

#[test]
fn text_paths_and_bytes_are_the_same() {
    same((
        String::new(),
        "text\u{0}ü\u{1F980}".to_owned(),
        "boxed".to_owned().into_boxed_str(),
        Arc::<str>::from("arc"),
    ));
    same((PathBuf::from("/a/ü"), CString::new("c").unwrap(), OsString::from("os")));
    same(OsString::from_vec(b"not \xff utf-8".to_vec()));
    same((Cow::<'static, str>::Owned("cow".into()), Cow::<'static, [u8]>::Owned(vec![1, 2])));
    same((serde_bytes::ByteBuf::from(vec![0_u8, 255]), serde_bytes::ByteArray::new([1_u8, 2]), Box::<[u8]>::from([1])));
    let long = "x".repeat(3 << 20);
    assert!(back(&long) == long);
}

#[test]
fn times_ranges_and_addresses_are_the_same() {
    same((Duration::MAX, Duration::ZERO, SystemTime::UNIX_EPOCH + Duration::new(5, 7)));
    same((Range { start: 1, end: 5 }, RangeInclusive::new('a', 'z'), RangeFrom { start: -1 }, RangeTo { end: 3 }));
    same([Bound::Unbounded, Bound::Included(1), Bound::Excluded(u64::MAX)]);
    same((IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)));
    same([SocketAddr::from(([127, 0, 0, 1], 80)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, 65535))]);
}

#[test]
fn boxes_and_cells_are_the_same() {
    same((Box::new(1), Rc::new(2), Arc::new(vec![3]), Cell::new(4), RefCell::new('5'), PhantomData::<Mutex<u8>>));
    let values = back(&(Mutex::new(1), RwLock::new("two".to_owned()), AtomicUsize::new(3), AtomicI32::new(-4)));
    assert_eq!((values.0.into_inner().unwrap(), values.1.into_inner().unwrap().as_str()), (1, "two"));
    assert_eq!((values.2.load(Ordering::Relaxed), values.3.load(Ordering::Relaxed)), (3, -4));
    assert!(back(&AtomicBool::new(true)).into_inner());
    assert!(decode::<Mutex<u8>>(&bytes_of(&1_u16)).is_err());
}

type Mixed = (
    Vec<(u8, i64, String)>,
    Option<BTreeMap<i16, Vec<char>>>,
    [Option<u128>; 3],
    Result<Vec<bool>, (u32, f32)>,
    Vec<Vec<()>>,
);

fn mixed() -> impl Strategy<Value = Mixed> {
    (
        vec(any::<(u8, i64, String)>(), 0..5),
        option::of(btree_map(any::<i16>(), vec(any::<char>(), 0..4), 0..4)),
        any::<[Option<u128>; 3]>(),
        proptest::result::maybe_ok(vec(any::<bool>(), 0..9), any::<(u32, f32)>()),
        vec(vec(any::<()>(), 0..9), 0..5),
    )
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_values_are_the_same(value in mixed()) {
        prop_assert_eq!(back(&value), value);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_value_that_can_be_sent(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = decode::<(Shape, Vec<String>, Option<bool>)>(&bytes) {
            // Compared as bytes: a float may be none.
            prop_assert!(bytes_of(&back(&value)) == bytes_of(&value));
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_a_value_that_is_no_larger(
        value in mixed(),
        at in any::<usize>(),
        by in 1..=u8::MAX,
    ) {
        let mut bytes = bytes_of(&value);
        let at = at % bytes.len();
        bytes[at] ^= by;
        if let Ok(read) = decode::<Mixed>(&bytes) {
            prop_assert!(bytes_of(&read).len() <= bytes.len() + 64);
        }
    }
}
