//! The format of values. A value arrives as it was, or as an error.
//!
//! ```text
//! message      value | sum of the schema (4)
//! integers     8 bits: 1 byte · up to 64 bits: LEB128, signed ones by zigzag · 128 bits: 16 bytes
//! others       bool, option's tag: 1 byte · float: its bits · char: as a u32 · text, bytes: length | bytes · unit: nothing
//! tuple        length | value …
//! sequence     length + 1 | value … | padding to `length` bytes     or   0 | (1 | value) … | 0
//! map          as a sequence, of a key and a value each
//! struct       (name | value) … | 0
//! enum         name | nothing, value, tuple or struct
//! blob         its place among the descriptors of the message | length
//! name         1 | length | bytes, the first time   or   2 + its place among the names of the message (254 at most)
//! ```
//!
//! - Fields and variants have their names, so that a type may leave fields out, skip variants and use other names.
//! - A sequence of `n` takes at least `n` bytes, so that a reader can refuse an impossible length: the message bounds
//!   the memory and the time of decoding.
//! - Both sides fold the types of serde's calls into a sum ([`Schema`](schema::Schema)), and the reader compares: a
//!   type that reads something else than it writes is an error. So is a type that leaves something unread.

mod error;
mod headroom;
mod json;
mod lossless;
mod names;
mod read;
mod schema;
mod write;

use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed};
use serde::ser::Serialize;

use error::{Fault, error_of};
pub use json::Json;
use read::Reader;
use write::Writer;

use super::blob::{Attached, Attachments};
use super::memory::Reserved;
use crate::task::error::CodecError;

/// Appends the bytes of a value without blobs to the buffer.
///
/// # Errors
///
/// As [`encode_with`]; or there is a blob.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn encode<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    encode_into(value, buffer, None)
}

/// Appends a value's bytes to the buffer, and its blobs to those that go with the message.
///
/// # Errors
///
/// The value's `Serialize` fails or is not consistent, the value is nested too deep for the stack, has too many blobs, or
/// there is no memory. The buffer and the blobs are unchanged then.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn encode_with<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CodecError> {
    let before = attachments.blobs().len();
    encode_into(value, buffer, Some(attachments)).inspect_err(|_| attachments.truncate(before))
}

fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    attachments: Option<&mut Attachments>,
) -> Result<(), CodecError> {
    let before = buffer.len();
    write(value, buffer, attachments).map_err(|fault| {
        buffer.truncate(before);
        error_of::<T>("written", &fault)
    })
}

fn write<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    attachments: Option<&mut Attachments>,
) -> Result<(), Fault> {
    let mut writer = Writer::new(buffer, attachments);
    value.serialize(&mut writer)?;
    writer.finish()
}

/// Reads a value without blobs that [`encode`] has written, from all of the bytes.
///
/// # Errors
///
/// As [`decode_with`].
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is received"))]
pub(in crate::process_pool) fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    decode_with(bytes, &mut Attached::none())
}

/// Reads a value that [`encode_with`] has written, from all of the bytes, with the blobs that came with them.
///
/// # Errors
///
/// The bytes are no such value, or more than one, the type's `Deserialize` fails, the value is nested too deep for the
/// stack, there is no memory for a large one, or a blob did not come or is not what it should be.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is received"))]
pub(in crate::process_pool) fn decode_with<'b, T: Deserialize<'b>>(
    bytes: &'b [u8],
    attached: &mut Attached,
) -> Result<T, CodecError> {
    read(bytes, attached, PhantomData::<T>).map_err(|fault| error_of::<T>("read back", &fault))
}

fn read<'b, S: DeserializeSeed<'b>>(bytes: &'b [u8], attached: &mut Attached, seed: S) -> Result<S::Value, Fault> {
    let mut reader = Reader::new(bytes, attached)?;
    // The type allocates what it reads by code that ends the process if there is no memory.
    let _reserved = Reserved::to_decode(bytes.len()).ok_or_else(|| Fault::no_memory(bytes.len().saturating_mul(2)))?;
    let value = seed.deserialize(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(all(test, not(loom)))]
mod tests;
