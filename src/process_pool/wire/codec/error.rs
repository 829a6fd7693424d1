//! What goes wrong with a value on its way, and what is said of it.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::{de, ser};

/// Why a value could not be sent to another process, or was not understood there.
///
/// Its text says of which type the value is, and what to do if the type writes what it can't read. Cheap to clone.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct CodecError {
    message: Arc<str>,
}

/// What to do about a type that writes what it can't read.
const ADVICE: &str = "types that look at what was written before they read it (serde's `untagged`, `flatten`, `tag`, a \
                      `serde_json::Value`) or skip a part of it go between processes as `bowline::Json`";

impl CodecError {
    /// An error that was told elsewhere: in another process.
    pub(crate) fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }

    #[cold]
    pub(super) fn of<T: ?Sized>(what: &str, fault: &Fault) -> Self {
        let name = type_name::<T>();
        Self::new(match fault.is_advised() {
            true => format!("`{name}` can't be {what}: {fault}; {ADVICE}"),
            false => format!("`{name}` can't be {what}: {fault}"),
        })
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CodecError {}

/// What is wrong, as long as serde's calls are under way.
#[derive(Debug)]
pub(super) struct Fault(Box<Reason>);

#[derive(Debug)]
struct Reason {
    text: Cow<'static, str>,
    /// Whether the type might go as [`Json`](super::Json).
    is_advised: bool,
}

impl Fault {
    /// The type and the format do not get on.
    #[cold]
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { text: text.into(), is_advised: true }))
    }

    /// No other format would help.
    #[cold]
    pub(super) fn without_advice(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { text: text.into(), is_advised: false }))
    }

    /// The value would overflow the stack.
    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::without_advice("it is nested too deep for the stack")
    }

    #[cold]
    pub(super) fn no_memory(bytes: usize) -> Self {
        Self::without_advice(format!("there is no memory for {bytes} bytes"))
    }

    /// The type reads on where what was written has come to its end.
    #[cold]
    pub(super) fn ended() -> Self {
        Self::new("it reads more than was written")
    }

    /// What was read can't have been written for this type.
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
    /// The type refuses the value.
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::without_advice(message.to_string())
    }
}

impl de::Error for Fault {
    /// The type's own refusal, or serde's of what was taken for the type's bytes.
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
