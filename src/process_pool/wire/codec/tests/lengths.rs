//! Sequences and maps of known, unknown and false lengths, and what a message may make a reader do.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fails, assert_says, bytes_of, decode, encode, turn};

/// Writes its elements, and says that there are so many.
struct Says<'v, T>(Option<usize>, &'v [T]);

impl<T: Serialize> Serialize for Says<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(self.0)?;
        self.1.iter().try_for_each(|element| list.serialize_element(element))?;
        list.end()
    }
}

/// Writes its entries as a map, and says that there are so many.
struct SaysMap<'v>(Option<usize>, &'v [(String, u8)]);

impl Serialize for SaysMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(self.0)?;
        self.1.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

#[test]
fn sequences_and_maps_of_unknown_length_are_read_back() {
    for length in [0, 1, 2, 300] {
        let list: Vec<u16> = (0..length).collect();
        assert_eq!(turn::<_, Vec<u16>>(&Says(None, &list)).unwrap(), list);
        let units = vec![(); length.into()];
        assert_eq!(turn::<_, Vec<()>>(&Says(None, &units)).unwrap(), units);
        let entries: Vec<_> = (0..length).map(|n| (n.to_string(), n as u8)).collect();
        let map: BTreeMap<String, u8> = entries.iter().cloned().collect();
        assert_eq!(turn::<_, BTreeMap<_, _>>(&SaysMap(None, &entries)).unwrap(), map);
        let around = (1_u8, Says(None, &list), Says(None, &[Says(None, &units)]), 2_u8);
        assert_eq!(turn::<_, (u8, Vec<u16>, Vec<Vec<()>>, u8)>(&around).unwrap(), (1, list, vec![units], 2));
    }
}

#[test]
fn a_length_that_is_not_true_is_an_error_of_the_writer() {
    for says in [0, 1, 3, 1000, usize::MAX] {
        let error = encode(&Says(Some(says), &[(), ()]), &mut Vec::new()).expect_err("there are two");
        let text = "and writes 2";
        if says < usize::MAX {
            assert_says(&error, &[&format!("its `Serialize` says that there are {says} elements"), text]);
        }
        let entries = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        encode(&SaysMap(Some(says), &entries), &mut Vec::new()).expect_err("there are two");
    }

    struct TupleOf(usize);
    impl Serialize for TupleOf {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut tuple = serializer.serialize_tuple(self.0)?;
            tuple.serialize_element(&1_u8)?;
            tuple.end()
        }
    }
    assert_eq!(turn::<_, (u8,)>(&TupleOf(1)).unwrap(), (1,));
    encode(&TupleOf(0), &mut Vec::new()).expect_err("there is one");
    encode(&TupleOf(2), &mut Vec::new()).expect_err("there is one");

    /// Fields are counted by their names: what it says is a hint.
    struct StructOf(usize);
    impl Serialize for StructOf {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("StructOf", self.0)?;
            fields.serialize_field("a", &1_u8)?;
            fields.skip_field("b")?;
            fields.end()
        }
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Read {
        a: u8,
        b: Option<u8>,
    }
    for says in [0, 1, 2, 9] {
        assert_eq!(turn::<_, Read>(&StructOf(says)).unwrap(), Read { a: 1, b: None });
    }
}

#[test]
fn a_writer_that_goes_on_after_an_error_fails() {
    struct GoesOn;
    impl Serialize for GoesOn {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(Some(2))?;
            list.serialize_element(&1_u8)?;
            let _ = list.serialize_element(&Fails);
            list.end()
        }
    }
    let error = encode(&GoesOn, &mut Vec::new()).expect_err("half of it is missing");
    assert_says(&error, &["its `Serialize` goes on after an error"]);

    struct KeysFirst;
    impl Serialize for KeysFirst {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_key(&1_u8)?;
            map.serialize_key(&2_u8)?;
            map.serialize_value(&1_u8)?;
            map.serialize_value(&2_u8)?;
            map.end()
        }
    }
    let error = encode(&KeysFirst, &mut Vec::new()).expect_err("is no map");
    assert_says(&error, &["a key without a value"]);
}

#[test]
fn names_beyond_what_a_byte_counts_are_written_in_full() {
    static NAMES: [&str; 300] = {
        const DIGITS: [u8; 1024] = [b'n'; 1024];
        let mut names = [""; 300];
        let mut at = 0;
        while at < 300 {
            // Each is one letter longer.
            let (name, _) = DIGITS.split_at(at + 1);
            names[at] = match std::str::from_utf8(name) {
                Ok(name) => name,
                Err(_) => panic!(),
            };
            at += 1;
        }
        names
    };
    struct Wide(u16);
    impl Serialize for Wide {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("Wide", NAMES.len())?;
            for (at, name) in NAMES.iter().enumerate() {
                fields.serialize_field(name, &(at as u16 * self.0))?;
            }
            fields.end()
        }
    }
    #[derive(Debug)]
    struct Read(BTreeMap<String, u16>);
    impl<'de> Deserialize<'de> for Read {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Fields;
            impl<'de> Visitor<'de> for Fields {
                type Value = Read;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a struct")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<Read, A::Error> {
                    let mut read = BTreeMap::new();
                    while let Some((name, value)) = fields.next_entry()? {
                        read.insert(name, value);
                    }
                    Ok(Read(read))
                }
            }
            deserializer.deserialize_struct("Wide", &[], Fields)
        }
    }
    let read: Vec<Read> = turn(&[Wide(1), Wide(2), Wide(1)][..]).unwrap();
    for (of, factor) in read.iter().zip([1, 2, 1]) {
        assert_eq!(of.0.len(), NAMES.len());
        assert!(NAMES.iter().enumerate().all(|(at, &name)| of.0[name] == at as u16 * factor));
    }
}

thread_local! {
    static HINTED: Cell<usize> = const { Cell::new(0) };
    static READ: Cell<usize> = const { Cell::new(0) };
}

/// Notes what it is told and reads.
#[derive(Debug)]
struct Notes;

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Units;

        impl<'de> Visitor<'de> for Units {
            type Value = Notes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Notes, A::Error> {
                HINTED.set(HINTED.get().max(list.size_hint().unwrap_or_default()));
                while list.next_element::<()>()?.is_some() {
                    READ.set(READ.get() + 1);
                }
                Ok(Notes)
            }
        }

        deserializer.deserialize_seq(Units)
    }
}

#[test]
fn a_message_makes_a_reader_do_no_more_than_it_is_long() {
    // A length above what there is, in every length of the number itself.
    for shift in 0..64 {
        let mut bytes = bytes_of(&(u64::MAX >> shift));
        let end = bytes.len() - 4;
        bytes.splice(end..end, [0; 20]);
        let _ = decode::<Vec<Notes>>(&bytes);
        let error = decode::<Notes>(&bytes).expect_err("is no list");
        assert_says(&error, &["can't be read back"]);
        assert!(HINTED.get() <= bytes.len() && READ.replace(0) <= bytes.len(), "{bytes:?}");
    }
    // What is honest is as long as what it stands for.
    let units = vec![(); 100_000];
    let bytes = bytes_of(&units);
    assert!(bytes.len() > units.len() && decode::<Vec<()>>(&bytes).unwrap() == units);
    let mut dirty = bytes;
    dirty[50_000] = 1;
    decode::<Vec<()>>(&dirty).expect_err("is no padding");
}
