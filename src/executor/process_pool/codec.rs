//! Values as bytes: postcard, and JSON inside it for the types that postcard can't read back.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use postcard::de_flavors;
use postcard::ser_flavors::Flavor;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

/// Appends a value's bytes to the buffer.
///
/// # Errors
///
/// If the value's `Serialize` fails, or postcard can't write such a value. The buffer is as it was then.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = buffer.len();
    forget_json_error();
    postcard::serialize_with_flavor(value, Append(buffer)).map_err(|error| {
        buffer.truncate(before);
        CodecError::of::<T>("written", &error)
    })
}

/// Reads a value that [`encode`] has written, from all of the bytes.
///
/// # Errors
///
/// If the bytes are no such value, or are more than one, if the type's `Deserialize` fails, or if the value is nested too deep
/// ([`keep_within_stack`]).
pub(super) fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    forget_json_error();
    let floor = FLOOR.try_with(Cell::get).unwrap_or(0);
    let mut deserializer = postcard::Deserializer::from_flavor(Take { rest: bytes, floor });
    let value = T::deserialize(&mut deserializer);
    match value.and_then(|value| Ok((value, deserializer.finalize()?))) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError::left_over::<T>(rest.len())),
        Err(error) => Err(CodecError::of::<T>("read back", &error)),
    }
}

thread_local! {
    /// The address down to which this thread's stack may be used to read a value; 0 for any.
    static FLOOR: Cell<usize> = const { Cell::new(0) };
}

/// Has [`decode`] fail on this thread, and not overflow its stack, of which so many bytes are left.
pub(super) fn keep_within_stack(left: usize) {
    FLOOR.set(here().saturating_sub(left - left / 8));
}

/// About where the stack is at.
#[inline]
fn here() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}

/// The bytes of a value, as long as there is stack: a value that refers to itself is read by as many calls as it is deep.
struct Take<'b> {
    rest: &'b [u8],
    floor: usize,
}

/// None of reading: a value is nested too deep.
const TOO_DEEP: postcard::Error = postcard::Error::SerializeBufferFull;

impl<'b> de_flavors::Flavor<'b> for Take<'b> {
    type Remainder = &'b [u8];
    type Source = &'b [u8];

    #[inline]
    fn pop(&mut self) -> postcard::Result<u8> {
        if here() < self.floor {
            return Err(TOO_DEEP);
        }
        let (&first, rest) = self.rest.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }

    #[inline]
    fn try_take_n(&mut self, many: usize) -> postcard::Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(many).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<&'b [u8]> {
        Ok(self.rest)
    }
}

/// A buffer that is appended to, a slice at a time. (postcard's own takes it byte by byte.)
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Why a value could not be sent to another process, or was not understood there.
///
/// Its text says of which type the value is, and what to do if the type writes what it can't read. Cheap to clone.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct CodecError {
    message: Arc<str>,
}

/// What to do about a type that writes what it can't read.
const ADVICE: &str = "types that read what describes itself (serde's `untagged`, `flatten`, `skip_serializing_if`, a \
                      `serde_json::Value`) go between processes as `bowline::Json`";

impl CodecError {
    /// An error that was told elsewhere: in another process.
    pub(in crate::executor) fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }

    #[cold]
    fn of<T: ?Sized>(what: &str, error: &postcard::Error) -> Self {
        use postcard::Error::{
            CollectStrError, DeserializeUnexpectedEnd, SerdeDeCustom, SerdeSerCustom, SerializeSeqLengthUnknown,
            WontImplement,
        };
        let name = type_name::<T>();
        let of_json = JSON_ERROR.try_with(RefCell::take).ok().flatten();
        Self::new(match *error {
            SerdeSerCustom | SerdeDeCustom if let Some(of_json) = of_json => {
                format!("`{name}` can't be {what}: {of_json}")
            }
            SerdeSerCustom => format!("`{name}` can't be {what}: its `Serialize` failed"),
            // A type's own refusal, or serde's of what was taken for the type's bytes.
            SerdeDeCustom => format!("`{name}` can't be {what}: its `Deserialize` failed; {ADVICE}"),
            TOO_DEEP => format!("`{name}` can't be {what}: it is nested too deep for the stack"),
            CollectStrError => format!("`{name}` can't be {what}: its `Display` failed"),
            SerializeSeqLengthUnknown => {
                format!("`{name}` can't be {what}: it writes a sequence or map of unknown length; {ADVICE}")
            }
            WontImplement => format!("`{name}` can't be {what}: the bytes do not say what they are; {ADVICE}"),
            DeserializeUnexpectedEnd => {
                format!("`{name}` can't be {what}: it reads more than was written; {ADVICE}")
            }
            ref other => format!("`{name}` can't be {what}: {other}; {ADVICE}"),
        })
    }

    #[cold]
    fn left_over<T>(bytes: usize) -> Self {
        let name = type_name::<T>();
        Self::new(format!("`{name}` can't be read back: {bytes} bytes more were written than it reads; {ADVICE}"))
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CodecError {}

thread_local! {
    /// Why this thread's last [`Json`] failed: postcard does not keep what an error says.
    static JSON_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn forget_json_error() {
    let _ = JSON_ERROR.try_with(RefCell::take);
}

fn note_json_error(error: &serde_json::Error) {
    let _ = JSON_ERROR.try_with(|last| last.replace(Some(error.to_string())));
}

/// A value that goes between processes as JSON: for types that the binary format can't read back.
///
/// Arguments and results go between processes in a compact format ([postcard](https://docs.rs/postcard)) that holds
/// values, and nothing that says of what type they are. A type whose `Deserialize` looks at the data first, or whose
/// `Serialize` leaves parts out, needs a format that does: everything with `#[serde(untagged)]`, `#[serde(flatten)]`,
/// `#[serde(tag = "..")]` or `#[serde(skip_serializing_if = "..")]` in it, and `serde_json::Value`. Take such an
/// argument as `Json<T>` (`|Json(settings): Json<Settings>| ..`), and return such a result in one.
///
/// The wrapper is one string of JSON in every outer format. That is several times the size and the time of the binary
/// format, and has JSON's limits: maps have keys that are text or numbers, floating point numbers are finite (`NaN` is
/// written as `null`, which is not read back), and values are nested 127 deep at most. `T` must own its data.
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
    /// Takes the value out.
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
        let text = serde_json::to_string(&self.0).map_err(|error| {
            note_json_error(&error);
            ser::Error::custom(error)
        })?;
        serializer.serialize_str(&text)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: DeserializeOwned> Visitor<'_> for Text<T> {
            type Value = Json<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string of JSON")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Json<T>, E> {
                serde_json::from_str(text).map(Json).map_err(|error| {
                    note_json_error(&error);
                    E::custom(error)
                })
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
