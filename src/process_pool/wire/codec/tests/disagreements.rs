//! Types that read something else than they write are an error, and not another value.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;

use super::{assert_says, back, turn};

#[derive(Debug, Serialize, Deserialize)]
struct Struct {
    a: u8,
    b: u8,
}
#[derive(Debug, Serialize, Deserialize)]
struct TupleStruct(u8, u8);
#[derive(Debug, Serialize, Deserialize)]
struct UnitStruct;
#[derive(Debug, Serialize, Deserialize)]
enum Unit {
    V,
}
#[derive(Debug, Serialize, Deserialize)]
enum Newtype {
    V(u8),
}
#[derive(Debug, Serialize, Deserialize)]
enum Tuple {
    V(u8, u8),
}
#[derive(Debug, Serialize, Deserialize)]
enum StructVariant {
    V { a: u8, b: u8 },
}

#[track_caller]
fn disagree<W: Serialize, R: DeserializeOwned + Debug>(written: W) {
    let error = turn::<_, R>(&written).expect_err("is another type");
    assert_says(&error, &["can't be read back", "`bowline::Json`"]);
    // With something behind it that might be taken for the rest.
    turn::<_, (R, Vec<u8>)>(&(written, vec![0_u8; 40])).expect_err("is another type");
}

#[test]
fn numbers_of_another_kind() {
    disagree::<_, i32>(1_u8);
    disagree::<_, u16>(1_u8);
    disagree::<_, u8>(1_u64);
    disagree::<_, u32>(1_usize);
    disagree::<_, i64>(2_u64);
    disagree::<_, i8>(1_u8);
    disagree::<_, bool>(1_u8);
    disagree::<_, u8>(true);
    disagree::<_, f32>(1_u32);
    disagree::<_, u128>(1_i128);
    disagree::<_, u32>('a');
    disagree::<_, [i64; 3]>([1_u64; 3]);
    disagree::<_, Vec<i8>>(vec![1_u8; 3]);
}

#[test]
fn texts_bytes_units_and_options() {
    disagree::<_, ByteBuf>("text");
    disagree::<_, String>(ByteBuf::from(b"text"));
    disagree::<_, Vec<u8>>(ByteBuf::from([1, 1, 1]));
    disagree::<_, ByteBuf>(vec![1_u8, 1]);
    disagree::<_, String>('a');
    disagree::<_, bool>(Some(()));
    disagree::<_, Option<()>>(true);
    disagree::<_, Option<u8>>(1_u8);
    disagree::<_, u8>(Some(1_u8));
    disagree::<_, ()>([(); 0]);
    disagree::<_, [(); 0]>(());
}

#[test]
fn compounds() {
    disagree::<_, (u8, u8)>(Struct { a: 1, b: 2 });
    disagree::<_, Struct>((1_u8, 2_u8));
    disagree::<_, Struct>(BTreeMap::from([("a", 1_u8), ("b", 2)]));
    disagree::<_, BTreeMap<String, u8>>(Struct { a: 1, b: 2 });
    disagree::<_, (u8, u8)>(vec![1_u8, 2]);
    disagree::<_, Vec<u8>>((1_u8, 2_u8));
    disagree::<_, Vec<(u8, u8)>>(BTreeMap::from([(1_u8, 2_u8)]));
    disagree::<_, BTreeMap<u8, u8>>(vec![(1_u8, 2_u8)]);
    disagree::<_, (u8,)>((1_u8, 2_u8));
    disagree::<_, (u8, u8, u8)>((1_u8, 2_u8));
    disagree::<_, [u8; 1]>(1_u8);
    // As much as they are the same.
    assert!(matches!(turn(&TupleStruct(1, 2)).unwrap(), (1_u8, 2_u8)));
    assert!(matches!(turn(&[1_u8, 2]).unwrap(), TupleStruct(1, 2)));
    assert!(matches!(turn(&()).unwrap(), UnitStruct));
}

#[test]
fn enums() {
    disagree::<_, Newtype>(Unit::V);
    disagree::<_, Unit>(Newtype::V(1));
    disagree::<_, Newtype>(Tuple::V(1, 2));
    disagree::<_, Tuple>(Newtype::V(2));
    disagree::<_, StructVariant>(Tuple::V(0, 0));
    disagree::<_, Tuple>(StructVariant::V { a: 1, b: 2 });
    disagree::<_, u8>(Unit::V);
    disagree::<_, String>(Unit::V);
    disagree::<_, Unit>("V");
    disagree::<_, Result<u8, u8>>(Unit::V);
}

/// Reads with a visitor that does what the function says.
macro_rules! reads {
    ($name:ident, $deserialize:ident($($arg:expr),*), $visit:ident($access:ident: $of:ident) $body:block) => {
        #[derive(Debug)]
        struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visits;

                impl<'de> Visitor<'de> for Visits {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("something")
                    }

                    fn $visit<A: $of<'de>>(self, mut $access: A) -> Result<$name, A::Error> {
                        $body
                        Ok($name)
                    }
                }

                deserializer.$deserialize($($arg,)* Visits)
            }
        }
    };
}

reads!(FirstOnly, deserialize_seq(), visit_seq(list: SeqAccess) {
    list.next_element::<u8>()?;
});
reads!(FirstOfPair, deserialize_tuple(2), visit_seq(pair: SeqAccess) {
    pair.next_element::<u8>()?;
});
reads!(FirstField, deserialize_struct("Struct", &["a", "b"]), visit_map(fields: MapAccess) {
    fields.next_entry::<String, u8>()?;
});
reads!(BothFields, deserialize_struct("Struct", &["a", "b"]), visit_map(fields: MapAccess) {
    fields.next_entry::<String, u8>()?;
    fields.next_entry::<String, u8>()?;
});
reads!(KeysOnly, deserialize_map(), visit_map(entries: MapAccess) {
    while entries.next_key::<u8>()?.is_some() {}
});
reads!(Skips, deserialize_seq(), visit_seq(list: SeqAccess) {
    while list.next_element::<IgnoredAny>()?.is_some() {}
});
reads!(Swallows, deserialize_seq(), visit_seq(list: SeqAccess) {
    while let Some(true) = list.next_element::<u8>().ok().map(|next| next.is_some()) {}
});

reads!(Refuses, deserialize_seq(), visit_seq(list: SeqAccess) {
    while list.next_element::<u8>()?.is_some() {}
    Err::<(), A::Error>(A::Error::custom("it is not wanted"))?;
});

#[test]
fn types_that_leave_something_unread() {
    let error = turn::<_, FirstOnly>(&vec![1_u8, 2]).expect_err("there are two");
    assert_says(&error, &["FirstOnly` can't be read back: it leaves elements unread"]);
    let error = turn::<_, FirstField>(&Struct { a: 1, b: 2 }).expect_err("there are two");
    assert_says(&error, &["FirstField` can't be read back: it leaves fields unread"]);
    disagree::<_, FirstOnly>(vec![1_u8, 2]);
    disagree::<_, FirstOfPair>((1_u8, 2_u8));
    disagree::<_, FirstField>(Struct { a: 1, b: 2 });
    disagree::<_, KeysOnly>(BTreeMap::from([(1_u8, 1_u8), (2, 2)]));
    disagree::<_, Skips>(vec![1_u8]);
    disagree::<_, Swallows>(vec!["a"]);
    // These know that there is nothing left.
    turn::<_, FirstOnly>(&[1_u8][..]).unwrap();
    turn::<_, BothFields>(&Struct { a: 1, b: 2 }).unwrap();
    turn::<_, Swallows>(&vec![1_u8, 2]).unwrap();
}

#[test]
fn a_type_that_goes_on_after_an_error() {
    /// Takes what can't be read for nothing.
    #[derive(Debug, PartialEq)]
    struct Lenient(Option<u8>);
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(Option::<u8>::deserialize(deserializer).unwrap_or_default()))
        }
    }
    #[derive(Debug, PartialEq)]
    struct Asks(Option<u8>);
    impl<'de> Deserialize<'de> for Asks {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(serde_json::Value::deserialize(deserializer).ok().map(|_| 1)))
        }
    }
    /// Takes a list that is refused after all of it was read for nothing.
    #[derive(Debug)]
    struct Tries;
    impl<'de> Deserialize<'de> for Tries {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let _ = Refuses::deserialize(deserializer);
            Ok(Self)
        }
    }
    assert_eq!(turn::<_, Lenient>(&Some(3_u8)).unwrap(), Lenient(Some(3)));
    let error = turn::<_, Tries>(&vec![1_u8]).expect_err("is not wanted");
    assert_says(&error, &["Tries` can't be read back: its `Deserialize` goes on after an error"]);
    disagree::<_, Lenient>("text");
    disagree::<_, Lenient>(((), 1_u8));
    disagree::<_, Asks>(1_u8);
    disagree::<_, Asks>(());
    disagree::<_, Vec<Asks>>(vec![(), ()]);
    assert_eq!(back(&Some(3_u8)), Some(3));
}
