//! JSON inside of the codec's format, for types that this format can't read back.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

use super::error::NotJson;
use super::lossless;

/// A value that goes between processes as JSON: for types that the binary format can't read back.
///
/// Arguments and results go between processes in a compact format that contains values, lengths, and the names of
/// fields and variants, but no types. A type whose `Deserialize` looks at the data first, or skips a part of it, needs
/// a format with types: everything that contains `#[serde(untagged)]`, `#[serde(flatten)]` or `#[serde(tag = "..")]`,
/// structs with fields that are written and not read, and `serde_json::Value`. Take such an argument as `Json<T>`
/// (`|Json(settings): Json<Settings>| ..`), and return such a result in one.
///
/// A value arrives as it was, or as an error. Except for what the type itself does in every format: a field that it
/// skips, two fields that it writes under each other's names, the scope of a `SocketAddrV6`, which serde leaves out.
///
/// # JSON
///
/// The wrapper is one string of JSON in every outer format. It takes several times the size and the time of the binary
/// format, and has JSON's limits. The following are errors when the value is written, or read:
///
/// - floating point numbers that are not finite, some `f32`s that are rounded twice and come out as their neighbours,
///   and integers of more than 64 bits;
/// - `Some` of a value that is written as `null` (`Some(None)`, `Some(())`), which would be read back as `None`;
/// - maps whose keys are neither text nor numbers nor `bool`s, or both text and others;
/// - values that are nested more than 127 deep.
///
/// Bytes are a list of numbers in JSON: an `untagged` enum that has both takes the first of them. Keys are text in
/// JSON: a type that looks at its keys first (an `untagged` enum as a key) finds text where it wrote numbers. `T` must
/// own its data. Its `Serialize` is called twice.
///
/// # Examples
///
/// ```
/// use bowline::Json;
/// use serde_json::{Value, from_str, json, to_string};
///
/// let settings = Json(json!({ "depth": 3, "names": ["a", "b"] }));
/// assert_eq!(settings["depth"], 3); // a `Value`, but for the name
///
/// let sent = to_string(&settings)?; // here the outer format is JSON too
/// assert_eq!(sent, r#""{\"depth\":3,\"names\":[\"a\",\"b\"]}""#);
/// let Json(received) = from_str::<Json<Value>>(&sent)?;
/// assert_eq!(received, settings.into_inner());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// Returns the value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        lossless::check(&self.0).map_err(ser::Error::custom)?;
        let mut text = Text(Vec::new());
        serde_json::to_writer(&mut text, &self.0).map_err(ser::Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(&text.0).map_err(ser::Error::custom)?)
    }
}

/// A buffer for JSON that fails if there is no memory.
struct Text(Vec<u8>);

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.try_reserve(bytes.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText<T>(PhantomData<T>);

        impl<T: DeserializeOwned> Visitor<'_> for OfText<T> {
            type Value = Json<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string of JSON")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Json<T>, E> {
                serde_json::from_str(text).map(Json).map_err(|error| E::custom(NotJson(error)))
            }
        }

        deserializer.deserialize_str(OfText(PhantomData))
    }
}
