//! serde's attributes, each with what becomes of a value: it is the same, or it is an error. What it is in every
//! format, JSON for one, is the type's own affair.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::num::ParseIntError;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{assert_says, back, bytes_of, decode, turn};
use crate::process_pool::wire::codec::Json;

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(values: impl IntoIterator<Item = T>) {
    let values: Vec<T> = values.into_iter().collect();
    for value in &values {
        assert_eq!(turn::<_, T>(value).unwrap(), *value);
    }
    // One after the other, and between others.
    let around = (1_u8, values.clone(), Some(values), "end".to_owned());
    assert_eq!(back(&around), around);
}

#[track_caller]
fn refused<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, why: &str) {
    let error = turn::<_, T>(&value).expect_err("is an error");
    assert_says(&error, &[why]);
}

/// An error that tells to take JSON, in which it is the same.
#[track_caller]
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, why: &str) {
    let error = turn::<_, T>(&value).expect_err("is an error");
    assert_says(&error, &[why, "go between processes as `bowline::Json`"]);
    let value = Json(value);
    assert_eq!(back(&value), value);
}

#[track_caller]
fn as_everywhere<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let everywhere: T = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
    assert_ne!(everywhere, value);
    assert_eq!(turn::<_, T>(&value).unwrap(), everywhere);
}

const ASKS: &str = "it asks what was written";
const SKIPS: &str = "it skips a part of what was written";

#[test]
fn rename_and_alias() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", rename = "Other")]
    struct Renamed {
        first_field: u8,
        #[serde(rename = "b")]
        a: u16,
        #[serde(rename = "a", alias = "first_field")]
        b: u16,
    }
    same([Renamed { first_field: 1, a: 2, b: 3 }, Renamed { first_field: 4, a: 5, b: 6 }]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Asymmetric {
        #[serde(rename(serialize = "written", deserialize = "read"))]
        a: u8,
    }
    refused(Asymmetric { a: 1 }, SKIPS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Aliased {
        #[serde(rename(serialize = "written", deserialize = "read"), alias = "written")]
        a: u8,
    }
    same([Aliased { a: 1 }]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Swapped {
        #[serde(rename(serialize = "b"))]
        a: u8,
        #[serde(rename(serialize = "a"))]
        b: u8,
    }
    as_everywhere(Swapped { a: 1, b: 2 });

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", rename_all_fields = "UPPERCASE")]
    enum Variants {
        FirstOne {
            some_field: u8,
        },
        #[serde(rename = "FirstOne")]
        Second,
        #[serde(rename(serialize = "w", deserialize = "r"))]
        Third,
    }
    same([Variants::FirstOne { some_field: 1 }, Variants::Second]);
    refused(Variants::Third, "unknown variant `w`");
}

#[test]
fn skip_serializing_if_on_structs() {
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u32>,
        b: u32,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        c: Vec<u32>,
    }
    same([
        Skips { a: None, b: 0, c: vec![1, 2] },
        Skips { a: Some(1), b: 2, c: vec![] },
        Skips::default(),
        Skips { a: Some(0), b: 0, c: vec![0] },
    ]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Variants {
        Struct {
            #[serde(skip_serializing_if = "String::is_empty", default)]
            a: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            b: Option<Box<Self>>,
        },
    }
    let variant = |a: &str, b| Variants::Struct { a: a.into(), b };
    same([variant("", None), variant("a", None), variant("", Some(Box::new(variant("b", None))))]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Missing {
        #[serde(skip_serializing_if = "is_zero")]
        a: u8,
    }
    refused(Missing { a: 0 }, "missing field `a`");
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

#[test]
fn skip_serializing_if_on_tuples() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tuple(u8, #[serde(skip_serializing_if = "is_zero", default)] u8, #[serde(default)] u8);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Variant {
        Tuple(u8, #[serde(skip_serializing_if = "is_zero", default)] u8, #[serde(default)] u8),
    }
    for (a, b, c) in [(1, 2, 3), (1, 0, 0)] {
        if b == 0 {
            refused(Tuple(a, b, c), "it reads a tuple of 3 where one of 2 was written");
            refused(Variant::Tuple(a, b, c), "it reads a tuple of 3 where one of 2 was written");
        } else {
            assert_eq!(
                (back(&Tuple(a, b, c)), back(&Variant::Tuple(a, b, c))),
                (Tuple(a, b, c), Variant::Tuple(a, b, c))
            );
        }
    }
}

#[test]
fn default_on_fields_and_containers() {
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Defaults {
        #[serde(skip_serializing_if = "is_zero")]
        a: u8,
        b: String,
        #[serde(default = "seven", skip_serializing_if = "is_seven")]
        c: u8,
    }
    same([Defaults::default(), Defaults { a: 3, b: "b".into(), c: 7 }, Defaults { a: 0, b: String::new(), c: 8 }]);
}

fn seven() -> u8 {
    7
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_seven(n: &u8) -> bool {
    *n == 7
}

#[test]
fn skipped_fields() {
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Skipped {
        #[serde(skip)]
        a: u8,
        b: u8,
    }
    same([Skipped { a: 0, b: 1 }]);
    as_everywhere(Skipped { a: 1, b: 2 });

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct SkippedInTuple(u8, #[serde(skip)] u8, u8);
    as_everywhere(SkippedInTuple(1, 2, 3));

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NotWritten {
        #[serde(skip_serializing, default)]
        a: u8,
        b: u8,
    }
    as_everywhere(NotWritten { a: 1, b: 2 });

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NotRead {
        #[serde(skip_deserializing)]
        a: u8,
        b: u8,
    }
    refused(NotRead { a: 1, b: 2 }, SKIPS);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NotWrittenInTuple(#[serde(skip_serializing, default)] u8, #[serde(default)] u8);
    refused(NotWrittenInTuple(1, 2), "it reads a tuple of 2 where one of 1 was written");
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NotReadInTuple(#[serde(skip_deserializing)] u8, u8);
    refused(NotReadInTuple(1, 2), "it reads a tuple of 1 where one of 2 was written");
    // It writes its second field, and reads it as its first.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Crossed(#[serde(skip_serializing, default)] u8, #[serde(skip_deserializing)] u8, #[serde(default)] u8);
    as_everywhere(Crossed(1, 2, 3));
}

#[test]
fn skipped_variants_and_other() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Skipped {
        #[serde(skip)]
        Never,
        First,
        #[serde(skip_serializing)]
        NotWritten(u8),
        #[serde(skip_deserializing)]
        NotRead(u8),
        Last(u8),
    }
    same([Skipped::First, Skipped::Last(3)]);
    refused(Skipped::Never, "cannot be serialized");
    refused(Skipped::NotWritten(1), "cannot be serialized");
    refused(Skipped::NotRead(1), "unknown variant `NotRead`");

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Other {
        #[serde(skip_deserializing)]
        NotRead,
        #[serde(skip_deserializing)]
        NotReadEither(u8),
        First(u8),
        #[serde(other)]
        Rest,
    }
    same([Other::First(1), Other::Rest]);
    as_everywhere(Other::NotRead);
    refused(Other::NotReadEither(1), "more were written than it reads");
}

#[test]
fn flatten() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        b: u8,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        a: u8,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    json(Outer { a: 1, inner: Inner { b: 2 }, rest: BTreeMap::new() }, ASKS);
    json(Outer { a: 1, inner: Inner { b: 2 }, rest: [("c".into(), 3)].into() }, ASKS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Rest {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    same([Rest { a: 1, rest: BTreeMap::new() }]);
    json(Rest { a: 1, rest: [("c".into(), 3)].into() }, ASKS);
    let twice = Rest { a: 1, rest: [("a".into(), 3)].into() };
    refused(Json(twice), "duplicate field `a`");
}

#[test]
fn untagged_and_tagged() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Struct { a: u8 },
    }
    json(Untagged::Number(1), ASKS);
    json(Untagged::Struct { a: 1 }, ASKS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Unit,
        Struct { a: u8 },
    }
    json(Tagged::Unit, ASKS);
    json(Tagged::Struct { a: 1 }, ASKS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    struct TaggedStruct {
        a: u8,
    }
    json(TaggedStruct { a: 1 }, SKIPS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Unit,
        Newtype(u8),
        Tuple(u8, i8),
        Struct { a: u8 },
        Maybe(Option<u8>),
    }
    same([
        Adjacent::Unit,
        Adjacent::Newtype(1),
        Adjacent::Tuple(1, -1),
        Adjacent::Maybe(None),
        Adjacent::Maybe(Some(2)),
    ]);
    json(Adjacent::Struct { a: 1 }, ASKS);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Rest {
        Known,
        #[serde(untagged)]
        Other(u8),
    }
    json(Rest::Other(1), ASKS);
}

/// A number that travels as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Spelt(i32);

impl From<Spelt> for String {
    fn from(spelt: Spelt) -> Self {
        spelt.0.to_string()
    }
}

impl TryFrom<String> for Spelt {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

#[test]
fn from_into_and_try_from() {
    same([Spelt(-1), Spelt(i32::MAX)]);
    assert_says(&turn::<_, Spelt>("none").expect_err("is no number"), &["invalid digit found in string"]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(from = "(u8, u8)", into = "(u8, u8)")]
    struct Pair {
        a: u8,
        b: u8,
    }
    impl From<(u8, u8)> for Pair {
        fn from((a, b): (u8, u8)) -> Self {
            Self { a, b }
        }
    }
    impl From<Pair> for (u8, u8) {
        fn from(pair: Pair) -> Self {
            (pair.a, pair.b)
        }
    }
    same([Pair { a: 1, b: 2 }]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(into = "(u8, u8)")]
    struct OneWay {
        a: u8,
        b: u8,
    }
    impl From<OneWay> for (u8, u8) {
        fn from(pair: OneWay) -> Self {
            (pair.a, pair.b)
        }
    }
    assert!(turn::<_, OneWay>(&OneWay { a: 1, b: 2 }).is_err());
}

mod as_text {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[test]
fn with_transparent_and_remote() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct With {
        #[serde(with = "as_text")]
        a: i128,
        #[serde(with = "serde_bytes")]
        b: Vec<u8>,
    }
    same([With { a: i128::MIN, b: vec![] }, With { a: 0, b: vec![0, 255] }]);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Transparent {
        a: Option<Box<Self>>,
    }
    same([Transparent { a: None }, Transparent { a: Some(Transparent { a: None }.into()) }]);

    #[derive(Clone, Debug, PartialEq)]
    struct Foreign {
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(remote = "Foreign")]
    struct ForeignDef {
        a: u8,
        b: Vec<u8>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Remote(#[serde(with = "ForeignDef")] Foreign);
    same([Remote(Foreign { a: 1, b: vec![2] })]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct OnlyWritten(#[serde(serialize_with = "as_text::serialize")] u8);
    refused(OnlyWritten(1), "more were written than it reads");
}

#[test]
fn deny_unknown_fields_and_borrow() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        a: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
    }
    same([Strict { a: 1, b: None }, Strict { a: 1, b: Some(2) }]);
    #[derive(Serialize)]
    struct Wider {
        a: u8,
        c: u8,
    }
    assert_says(&turn::<_, Strict>(&Wider { a: 1, c: 2 }).expect_err("knows no `c`"), &["unknown field `c`"]);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Borrows<'a> {
        #[serde(borrow)]
        text: std::borrow::Cow<'a, str>,
        of: &'a str,
    }
    let value = Borrows { text: "text".into(), of: "of" };
    let bytes = bytes_of(&value);
    let read: Borrows<'_> = decode(&bytes).unwrap();
    assert_eq!(read, value);
    assert!(matches!(read.text, std::borrow::Cow::Borrowed(_)));
}
