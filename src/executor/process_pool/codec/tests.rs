//! What goes in comes out, and what can't says so.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::any;
use proptest::{prop_assert_eq, prop_assume, proptest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CodecError, Json, decode, encode};

fn bytes_of<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).expect("can be written");
    bytes
}

fn back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    decode(&bytes_of(value)).expect("is read back")
}

#[track_caller]
fn assert_says(error: &CodecError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Named { name: String, tags: Vec<Option<u16>>, of: BTreeMap<i64, Box<Shape>> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u32),
    Text(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    first: Option<u32>,
    second: u32,
    #[serde(flatten)]
    rest: HashMap<String, Value>,
}

#[test]
fn values_are_read_back_as_they_were_written() {
    let inner = Box::new(Shape::Circle(-0.0));
    let shape = Shape::Named {
        name: "ü".into(),
        tags: vec![None, Some(3)],
        of: [(-1, inner), (2, Shape::Nothing.into())].into(),
    };
    let value = (shape, u128::MAX, 'x', (), [1_u8; 5], f64::INFINITY);
    assert_eq!(back(&value), value);
}

#[test]
fn text_and_bytes_can_be_borrowed_from_what_arrived() {
    let bytes = bytes_of(&("text", serde_bytes::Bytes::new(b"bytes")));
    let (text, of_bytes): (&str, &[u8]) = decode(&bytes).expect("can be read");
    assert_eq!((text, of_bytes), ("text", &b"bytes"[..]));
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
}

#[test]
fn a_value_is_appended_and_a_failure_leaves_the_buffer_as_it_was() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut buffer = b"before".to_vec();
    encode("slices too", &mut buffer).expect("can be written");
    assert_eq!(buffer, *b"before\x0aslices too");
    let before = buffer.clone();
    let error = encode(&("half of it", Fails), &mut buffer).expect_err("can't be written");
    assert_eq!(buffer, before);
    assert_says(&error, &["Fails)` can't be written: its `Serialize` failed"]);
}

#[test]
fn bytes_that_are_left_over_are_an_error() {
    let mut bytes = bytes_of(&7_u32);
    bytes.extend_from_slice(b"xyz");
    let error = decode::<u32>(&bytes).expect_err("more than one value");
    assert_says(&error, &["`u32` can't be read back: 3 bytes more were written"]);
}

#[test]
fn bytes_that_end_early_are_an_error() {
    let bytes = bytes_of(&("some text", 3_u64));
    for length in 0..bytes.len() {
        let error = decode::<(String, u64)>(&bytes[..length]).expect_err("not all of it");
        assert_says(&error, &["`(alloc::string::String, u64)` can't be read back"]);
    }
}

#[test]
fn types_that_look_at_the_data_first_are_told_to_go_as_json() {
    let error = decode::<Either>(&bytes_of(&Either::Number(3))).expect_err("can't be read");
    assert_says(&error, &["Either` can't be read back", "bowline::Json"]);
    let error = decode::<Value>(&bytes_of(&json!(3))).expect_err("can't be read");
    assert_says(&error, &["Value` can't be read back", "bowline::Json"]);
    let sparse = Sparse { first: None, second: 2, rest: [("third".into(), json!([3]))].into() };
    let error = encode(&sparse, &mut Vec::new()).expect_err("can't be written");
    assert_says(&error, &["Sparse` can't be written", "unknown length", "bowline::Json"]);
}

#[test]
fn as_json_they_are_read_back() {
    fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
        // Something before and behind it, for it must know its own end.
        let value = (1_u8, Json(value), 2_u8);
        assert_eq!(back(&value), value);
        let text = serde_json::to_string(&value).expect("any format will do");
        assert_eq!(serde_json::from_str::<(u8, Json<T>, u8)>(&text).expect("is read back"), value);
    }
    round(Either::Number(3));
    round(vec![Either::Text("\"quoted\" \u{0}\u{1F980}".into()), Either::Number(u32::MAX)]);
    round(Sparse { first: None, second: 2, rest: [("third".into(), json!({ "x": [3, null, 0.1] }))].into() });
    round(json!([u64::MAX, i64::MIN, "text", {}]));
    round(i128::MIN);
    round(());
}

#[test]
fn json_that_fails_says_why() {
    let error = encode(&Json(HashMap::from([((1, 2), 3)])), &mut Vec::new()).expect_err("such a key is not JSON");
    assert_says(&error, &["Json<", "can't be written: key must be a string"]);
    let error = decode::<Json<u32>>(&bytes_of("[1]")).expect_err("a list is no number");
    assert_says(&error, &["Json<u32>` can't be read back: invalid type: sequence, expected u32 at line 1 column 0"]);
    // And the next error is not told that.
    let _ = serde_json::from_str::<Json<u32>>("\"x\"").expect_err("is no number");
    let error = decode::<std::num::NonZeroU8>(&[0]).expect_err("is zero");
    assert_says(&error, &["NonZero<u8>` can't be read back: its `Deserialize` failed"]);
}

#[test]
fn json_goes_as_deep_as_it_is_documented() {
    let nested = |depth: usize| (0..depth).fold(json!(0), |value, _| json!([value]));
    assert_eq!(back(&Json(nested(127))).into_inner(), nested(127));
    assert_says(&decode::<Json<Value>>(&bytes_of(&Json(nested(128)))).expect_err("too deep"), &["recursion limit"]);
    assert_says(&decode::<Json<f64>>(&bytes_of(&Json(f64::NAN))).expect_err("was null"), &["invalid type: null"]);
}

#[test]
fn json_is_used_like_its_value() {
    let mut list = Json::from(vec![1]);
    list.push(2);
    assert_eq!(list.len(), 2);
    let Json(inner) = list.clone();
    assert_eq!(inner, list.into_inner());
}

#[test]
fn an_error_can_be_told_again() {
    let error = CodecError::new("as it was");
    assert_eq!(error.clone().to_string(), "as it was");
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_float_survives_json(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        prop_assert_eq!(back(&Json(float)).to_bits(), bits);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_value_that_can_be_sent(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = decode::<(Shape, Vec<String>, Option<bool>)>(&bytes) {
            // Compared as bytes: a float may be none.
            prop_assert_eq!(bytes_of(&back(&value)), bytes_of(&value));
        }
    }
}
