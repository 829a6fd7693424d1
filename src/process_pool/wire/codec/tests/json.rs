//! JSON, inside and outside of the format.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::any;
use proptest::{prop_assert_eq, prop_assume, proptest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Either, Flat, assert_says, back, bytes_of, decode, encode, turn};
use crate::process_pool::wire::codec::Json;

#[track_caller]
fn refused<T: Serialize>(value: T, why: &str) {
    let error = encode(&Json(value), &mut Vec::new()).expect_err("JSON would change it");
    assert_says(&error, &["Json<", "can't be written: ", why]);
    assert!(!error.to_string().contains("bowline::Json`"), "{error}");
}

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
    // Something before and behind it, for it must know its own end.
    let value = (1_u8, Json(value), 2_u8);
    assert_eq!(back(&value), value);
    let text = serde_json::to_string(&value).expect("any format will do");
    assert_eq!(serde_json::from_str::<(u8, Json<T>, u8)>(&text).expect("is read back"), value);
}

#[test]
fn types_that_look_at_the_data_first_are_read_back_as_json() {
    same(Either::Number(3));
    same(vec![Either::Text("\"quoted\" \u{0}\u{1F980} null".into()), Either::Number(u32::MAX)]);
    same(Flat { first: None, rest: [("third".into(), json!({ "x": [3, null, 0.1] }))].into() });
    same(json!([u64::MAX, i64::MIN, "text", "null", null, {}, -0.0, 1.0, 1e300]));
    same((i128::from(i64::MIN), u128::from(u64::MAX), f32::MIN_POSITIVE));
    same(());
    same((None::<u8>, Some("null".to_owned()), Some(Some(3)), None::<Option<()>>));
    same([(Some('k'), 1), (Some('"'), 2)].map(|(key, value)| BTreeMap::from([(key, value)])));
    same((BTreeMap::from([(-3, 'a'), (3, 'b')]), BTreeMap::from([(true, 1)])));
}

#[test]
fn what_json_writes_as_null_is_not_sent_as_some() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype(Option<Option<u8>>);
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Nothing,
        Maybe(Option<u8>),
    }
    const WHY: &str = "`Some` of what JSON has as `null`";
    refused(Some(None::<u8>), WHY);
    refused(vec![Some(Some(())), None], WHY);
    refused(BTreeMap::from([("key", Some(Unit))]), WHY);
    refused(Newtype(Some(None)), WHY);
    refused(Some(Value::Null), WHY);
    refused((1, Some(Box::new(Untagged::Nothing))), WHY);
    refused(Some(Untagged::Maybe(None)), WHY);
    same((Some(vec![None::<u8>]), Some([(); 2]), Some(json!("null"))));
}

#[test]
fn numbers_that_json_does_not_have_are_not_sent() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(number, "no infinite numbers and no NaN");
        refused(vec![(1, Some(number as f32))], "no infinite numbers and no NaN");
    }
    // Read as an `f64` and rounded again, it would be its neighbour.
    refused(f32::from_bits(0x15ae_43fd), "is rounded to another `f32`");
    same([0.1_f32, f32::MAX, f32::EPSILON]);
    // Some types would read them as floats.
    refused(u128::from(u64::MAX) + 1, "more than 64 bits");
    refused([i128::from(i64::MIN) - 1], "more than 64 bits");
}

#[test]
fn keys_that_may_be_the_same_in_json_are_not_sent() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
    #[serde(untagged)]
    enum Key {
        Number(u8),
        Text(&'static str),
    }
    refused(BTreeMap::from([(Key::Number(1), 'a'), (Key::Text("1"), 'b')]), "a key that is text may be the same");
    refused(HashMap::from([((1, 2), 3)]), "key must be a string");
    refused(HashMap::from([(None::<u8>, 3)]), "key must be a string");
}

#[test]
fn json_that_fails_says_why() {
    let error = decode::<Json<u32>>(&bytes_of("[1]")).expect_err("a list is no number");
    let text = "Json<u32>` can't be read back: invalid type: sequence, expected u32 at line 1 column 0";
    assert!(error.to_string().ends_with(text), "{error}");
    let error = turn::<_, Vec<Json<Either>>>(&vec![Json(-1)]).expect_err("is neither");
    assert_says(&error, &["did not match any variant of untagged enum Either"]);
    assert!(!error.to_string().contains("bowline::Json`"), "{error}");
}

/// Shows nothing in JSON but how it ends.
#[derive(Serialize)]
struct Hidden(Option<Box<Self>>);

#[test]
fn json_goes_as_deep_as_it_is_documented() {
    let nested = |depth: usize| (0..depth).fold(json!(0), |value, _| json!([value]));
    assert_eq!(back(&Json(nested(127))).into_inner(), nested(127));
    refused(nested(128), "too deep for JSON");

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Newtype(Box<Self>),
        Tuple(u8, Box<Self>),
        Struct { inner: Box<Self> },
    }
    // Two levels each, but for a newtype.
    let two = |tree| Tree::Struct { inner: Tree::Tuple(1, Box::new(tree)).into() };
    let deep = || {
        Tree::Newtype(Tree::Newtype(Tree::Newtype((0..31).fold(Tree::Leaf, |tree, _| two(tree)).into()).into()).into())
    };
    same(deep());
    refused(Tree::Newtype(Box::new(deep())), "too deep for JSON");
    let hidden = Json((0..100_000).fold(Hidden(None), |hidden, _| Hidden(Some(Box::new(hidden)))));
    assert_says(&encode(&hidden, &mut Vec::new()).expect_err("is deep"), &["too deep for JSON"]);
    std::mem::forget(hidden);
}

#[test]
fn json_is_used_like_its_value() {
    let mut list = Json::from(vec![1]);
    list.push(2);
    assert_eq!(list.len(), 2);
    let Json(inner) = list.clone();
    assert_eq!(inner, list.into_inner());
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_float_survives_json(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        prop_assert_eq!(back(&Json(float)).to_bits(), bits);
    }
}
