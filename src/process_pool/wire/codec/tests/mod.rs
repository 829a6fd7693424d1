//! What goes in comes out, and what can't says so.

mod attributes;
mod disagreements;
mod json;
mod lengths;
mod nesting;
mod shapes;
mod std_types;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::{CodecError, decode, encode};

fn bytes_of<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).expect("can be written");
    bytes
}

fn back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    decode(&bytes_of(value)).expect("is read back")
}

/// A value's way there and back.
fn turn<T: Serialize + ?Sized, U: DeserializeOwned>(value: &T) -> Result<U, CodecError> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes)?;
    decode(&bytes)
}

#[track_caller]
fn assert_says(error: &CodecError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

/// What bytes without a meaning are read as.
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
struct Flat {
    first: Option<u32>,
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
fn names_are_written_once_and_structs_of_one_type_are_small() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        horizontal: u8,
        vertical: u8,
    }
    let point = |n: u8| Point { horizontal: n, vertical: n + 1 };
    let (one, many): (Vec<_>, Vec<_>) = ((0..1).map(point).collect(), (0..101).map(point).collect());
    assert_eq!(back(&many), many);
    // Two codes, two values and the end.
    assert_eq!(bytes_of(&many).len() - bytes_of(&one).len(), 100 * 5);
}

struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("there is no such thing"))
    }
}

#[test]
fn a_value_is_appended_and_a_failure_leaves_the_buffer_as_it_was() {
    let mut buffer = b"before".to_vec();
    encode("slices too", &mut buffer).expect("can be written");
    assert_eq!(buffer[..buffer.len() - 4], *b"before\x0aslices too");
    let before = buffer.clone();
    let error = encode(&("half of it", Fails), &mut buffer).expect_err("can't be written");
    assert_eq!(buffer, before);
    assert_says(&error, &["Fails)` can't be written: there is no such thing"]);
}

#[test]
fn an_error_says_why_as_the_type_does() {
    use std::os::unix::ffi::OsStrExt;

    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/\xff"));
    let error = encode(path, &mut Vec::new()).expect_err("is no text");
    assert_eq!(error.to_string(), "`std::path::Path` can't be written: path contains invalid UTF-8 characters");
    let bytes = bytes_of(&0_u8);
    let error = decode::<std::num::NonZeroU8>(&bytes).expect_err("is zero");
    assert_says(&error, &["NonZero<u8>` can't be read back: invalid value: integer `0`, expected a nonzero u8; types"]);

    struct Unsayable;
    impl fmt::Display for Unsayable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half of")?;
            Err(fmt::Error)
        }
    }
    impl Serialize for Unsayable {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    let error = encode(&Unsayable, &mut Vec::new()).expect_err("says nothing");
    assert_says(&error, &["Unsayable` can't be written: its `Display` failed"]);
}

#[test]
fn bytes_that_are_left_over_are_an_error() {
    let mut bytes = bytes_of(&7_u32);
    bytes.splice(1..1, *b"xyz");
    let error = decode::<u32>(&bytes).expect_err("more than one value");
    assert_says(&error, &["`u32` can't be read back: 3 bytes more were written than it reads"]);
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
    assert_says(&error, &["Either` can't be read back: it asks what was written", "bowline::Json"]);
    let error = decode::<Value>(&bytes_of(&json!(3))).expect_err("can't be read");
    assert_says(&error, &["Value` can't be read back: it asks what was written", "bowline::Json"]);
    let flat = Flat { first: None, rest: [("third".into(), json!([3]))].into() };
    let error = turn::<_, Flat>(&flat).expect_err("can't be read");
    assert_says(&error, &["Flat` can't be read back: it asks what was written", "bowline::Json"]);
}

#[test]
fn an_error_can_be_told_again() {
    let error = CodecError::new("as it was");
    assert_eq!(error.clone().to_string(), "as it was");
    assert_eq!(back(&error).to_string(), "as it was");
}
