//! Errors of encoding and decoding.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::task::error::CodecError;

/// What to do about a type that writes what it can't read.
const ADVICE: &str = "types that look at what was written before they read it (serde's `untagged`, `flatten`, `tag`, a \
                      `serde_json::Value`) or skip a part of it go between processes as `bowline::Json`";

/// Makes the error of a value of the type `T` that could not be `what`.
#[cold]
pub(super) fn error_of<T: ?Sized>(what: &str, fault: &Fault) -> CodecError {
    let name = type_name::<T>();
    CodecError::new(match fault.is_advised() {
        true => format!("`{name}` can't be {what}: {fault}; {ADVICE}"),
        false => format!("`{name}` can't be {what}: {fault}"),
    })
}

/// Its text, for the other process.
impl Serialize for CodecError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodecError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// An error while serde's calls are under way.
#[derive(Debug)]
pub(super) struct Fault(Box<Reason>);

#[derive(Debug)]
struct Reason {
    text: Cow<'static, str>,
    /// Whether the error advises to send the type as [`Json`](super::Json).
    is_advised: bool,
}

impl Fault {
    /// Makes an error of a type that does not fit the format.
    #[cold]
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { text: text.into(), is_advised: true }))
    }

    /// Makes an error for which no other format would help.
    #[cold]
    pub(super) fn without_advice(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { text: text.into(), is_advised: false }))
    }

    /// Makes the error of a value that would overflow the stack.
    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::without_advice("it is nested too deep for the stack")
    }

    /// Makes the error of a value that there is no memory for.
    #[cold]
    pub(super) fn no_memory(bytes: usize) -> Self {
        Self::without_advice(format!("there is no memory for {bytes} bytes"))
    }

    /// Makes the error of a type that reads more than was written.
    #[cold]
    pub(super) fn ended() -> Self {
        Self::new("it reads more than was written")
    }

    /// Makes the error of bytes that can't have been written for this type.
    #[cold]
    pub(super) fn not_a(what: &str) -> Self {
        Self::new(format!("it reads {what} where something else was written"))
    }

    fn is_advised(&self) -> bool {
        self.0.is_advised
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Error for Fault {}

impl ser::Error for Fault {
    /// Makes the error of a type that refuses the value.
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::without_advice(message.to_string())
    }
}

impl de::Error for Fault {
    /// Makes the error of a type that refuses the data, or of serde's code for it.
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        let is_json = type_name::<T>() == type_name::<NotJson>();
        Self(Box::new(Reason { text: message.to_string().into(), is_advised: !is_json }))
    }
}

/// Why a string is not the JSON of a type. The codec does not advise [`Json`](super::Json) then.
pub(super) struct NotJson(pub(super) serde_json::Error);

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
