//! The serializer.

use std::fmt::{self, Write as _};

use serde::ser::{self, Serialize, Serializer};

use super::error::Fault;
use super::headroom::Headroom;
use super::names::{END, NEW, Written};
use super::schema::{DataType, Schema};
use crate::process_pool::wire::blob::{self, Attachments};
use crate::process_pool::wire::memory;

/// Writes one value behind what is in the buffer.
pub(super) struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
    names: Written,
    schema: Schema,
    headroom: Headroom,
    /// The blobs that go with the message, if it may have any.
    attachments: Option<&'b mut Attachments>,
    /// A part of the value failed.
    is_broken: bool,
}

/// The space that is left behind bytes for which the buffer grows, if they are more than this.
const AFTER: usize = 256;

impl<'b> Writer<'b> {
    pub(super) fn new(buffer: &'b mut Vec<u8>, attachments: Option<&'b mut Attachments>) -> Self {
        let (names, schema, headroom) = (Written::new(), Schema::new(), Headroom::here());
        Self { buffer, names, schema, headroom, attachments, is_broken: false }
    }

    /// Writes the end of the message.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        if self.is_broken {
            return Err(Fault::new("its `Serialize` goes on after an error"));
        }
        let sum = self.schema.sum();
        self.extend(&sum)
    }

    #[inline]
    fn reserve(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.buffer.capacity() - self.buffer.len() < bytes { self.grow(bytes) } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        // What follows long bytes is mostly short: to grow once more for that would double the memory.
        let more = bytes.saturating_add(AFTER);
        if let Some(mut kept) = memory::take_kept(self.buffer.len().saturating_add(more)) {
            kept.extend_from_slice(self.buffer);
            *self.buffer = kept;
            return Ok(());
        }
        let more = if bytes > AFTER { more } else { bytes };
        self.buffer.try_reserve(more).map_err(|_| Fault::no_memory(bytes))?;
        memory::ask_for_large_pages(self.buffer, self.buffer.capacity());
        Ok(())
    }

    #[inline]
    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        self.reserve(1)?;
        self.buffer.push(byte);
        Ok(())
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.reserve(bytes.len())?;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn varint(&mut self, mut number: u64) -> Result<(), Fault> {
        if number < 0x80 {
            return self.push(number as u8);
        }
        let (mut bytes, mut length) = ([0; 10], 0);
        while number >= 0x80 {
            bytes[length] = number as u8 | 0x80;
            number >>= 7;
            length += 1;
        }
        bytes[length] = number as u8;
        self.extend(&bytes[..=length])
    }

    #[inline]
    fn signed(&mut self, number: i64) -> Result<(), Fault> {
        // Zigzag: 0, -1, 1, -2, …
        self.varint((number << 1 ^ number >> 63).cast_unsigned())
    }

    #[inline]
    fn name(&mut self, name: &'static str) -> Result<(), Fault> {
        match self.names.code(name) {
            Some(code) => self.push(code),
            None => self.new_name(name),
        }
    }

    #[cold]
    fn new_name(&mut self, name: &'static str) -> Result<(), Fault> {
        self.push(NEW)?;
        self.varint(name.len() as u64)?;
        self.extend(name.as_bytes())?;
        self.names.keep(name).map_err(|_| Fault::no_memory(size_of::<&str>()))
    }

    /// Writes a part of a value.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let written = value.serialize(&mut *self);
        // A `Serialize` that goes on nevertheless leaves half of it behind.
        self.is_broken |= written.is_err();
        written
    }

    /// Writes the blob that a value gives.
    #[cold]
    fn blob<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let (written, blob) = blob::take_wanted(|| value.serialize(&mut *self));
        written?;
        let blob = blob.ok_or_else(|| Fault::without_advice("it has the name of a blob, and is none"))?;
        let bytes = blob.len() as u64;
        let attachments = self.attachments.as_deref_mut();
        let attachments = attachments.ok_or_else(|| Fault::without_advice("a blob can't be sent here"))?;
        let place = attachments.place_of(blob).map_err(Fault::without_advice)?;
        self.schema.note(DataType::Blob);
        self.varint(place as u64)?;
        self.varint(bytes)
    }

    fn elements(&mut self, announced: Option<usize>) -> Result<Elements<'_, 'b>, Fault> {
        self.headroom.check()?;
        let length = announced.map_or(Some(0), |announced| (announced as u64).checked_add(1));
        self.varint(length.ok_or_else(|| Fault::no_memory(usize::MAX))?)?;
        let start = self.buffer.len();
        Ok(Elements { writer: self, announced, written: 0, is_in_entry: false, start })
    }

    fn tuple(&mut self, length: usize) -> Result<Elements<'_, 'b>, Fault> {
        self.headroom.check()?;
        self.varint(length as u64)?;
        let start = self.buffer.len();
        Ok(Elements { writer: self, announced: Some(length), written: 0, is_in_entry: false, start })
    }

    fn fields(&mut self) -> Result<Fields<'_, 'b>, Fault> {
        self.headroom.check()?;
        Ok(Fields(self))
    }
}

macro_rules! numbers {
    ($($serialize:ident $type:ty, $kind:ident: |$writer:ident, $value:ident| $write:expr;)*) => {
        $(
            #[inline]
            fn $serialize(self, $value: $type) -> Result<(), Fault> {
                let $writer = self;
                $writer.schema.note(DataType::$kind);
                $write
            }
        )*
    };
}

impl<'w, 'b> Serializer for &'w mut Writer<'b> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Elements<'w, 'b>;
    type SerializeTuple = Elements<'w, 'b>;
    type SerializeTupleStruct = Elements<'w, 'b>;
    type SerializeTupleVariant = Elements<'w, 'b>;
    type SerializeMap = Elements<'w, 'b>;
    type SerializeStruct = Fields<'w, 'b>;
    type SerializeStructVariant = Fields<'w, 'b>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        serialize_bool bool, Bool: |writer, value| writer.push(value.into());
        serialize_i8 i8, I8: |writer, value| writer.push(value.cast_unsigned());
        serialize_i16 i16, I16: |writer, value| writer.signed(value.into());
        serialize_i32 i32, I32: |writer, value| writer.signed(value.into());
        serialize_i64 i64, I64: |writer, value| writer.signed(value);
        serialize_i128 i128, I128: |writer, value| writer.extend(&value.to_le_bytes());
        serialize_u8 u8, U8: |writer, value| writer.push(value);
        serialize_u16 u16, U16: |writer, value| writer.varint(value.into());
        serialize_u32 u32, U32: |writer, value| writer.varint(value.into());
        serialize_u64 u64, U64: |writer, value| writer.varint(value);
        serialize_u128 u128, U128: |writer, value| writer.extend(&value.to_le_bytes());
        serialize_f32 f32, F32: |writer, value| writer.extend(&value.to_bits().to_le_bytes());
        serialize_f64 f64, F64: |writer, value| writer.extend(&value.to_bits().to_le_bytes());
        serialize_char char, Char: |writer, value| writer.varint(u32::from(value).into());
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.schema.note(DataType::Text);
        self.varint(value.len() as u64)?;
        self.extend(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.schema.note(DataType::Bytes);
        self.varint(value.len() as u64)?;
        self.extend(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.schema.note(DataType::Option);
        self.push(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.schema.note(DataType::Option);
        self.headroom.check()?;
        self.push(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        self.schema.note(DataType::Unit);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.schema.note(DataType::UnitVariant);
        self.name(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Fault> {
        if std::ptr::eq(name, blob::NAME) {
            return self.blob(value);
        }
        self.headroom.check()?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.schema.note(DataType::NewtypeVariant);
        self.headroom.check()?;
        self.name(variant)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Elements<'w, 'b>, Fault> {
        self.schema.note(DataType::Sequence);
        self.elements(length)
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Elements<'w, 'b>, Fault> {
        self.schema.note(DataType::Tuple);
        self.tuple(length)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Elements<'w, 'b>, Fault> {
        self.serialize_tuple(length)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Elements<'w, 'b>, Fault> {
        self.schema.note(DataType::TupleVariant);
        self.name(variant)?;
        self.tuple(length)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Elements<'w, 'b>, Fault> {
        self.schema.note(DataType::Map);
        self.elements(length)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'w, 'b>, Fault> {
        self.schema.note(DataType::Struct);
        self.fields()
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'w, 'b>, Fault> {
        self.schema.note(DataType::StructVariant);
        self.name(variant)?;
        self.fields()
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let mut said = Said { text: String::new(), lack: None };
        match write!(said, "{value}") {
            Ok(()) => self.serialize_str(&said.text),
            Err(fmt::Error) => {
                Err(said.lack.map_or_else(|| Fault::without_advice("its `Display` failed"), Fault::no_memory))
            }
        }
    }
}

/// The text of a `Display`. It fails if there is no memory.
struct Said {
    text: String,
    lack: Option<usize>,
}

impl fmt::Write for Said {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.try_reserve(text.len()).is_err() {
            self.lack = Some(text.len());
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// Writes the elements of a sequence, a map or a tuple.
pub(super) struct Elements<'w, 'b> {
    writer: &'w mut Writer<'b>,
    /// The number of elements that the type announced. `None`: a byte before each says that there is one.
    announced: Option<usize>,
    written: usize,
    /// In a map: a key was written, and its value was not.
    is_in_entry: bool,
    /// Where the first element begins.
    start: usize,
}

impl Elements<'_, '_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        if self.announced.is_none() {
            self.writer.push(1)?;
        }
        self.written += 1;
        self.writer.part(value)
    }

    /// Checks that the keys and values of a map alternate.
    #[inline]
    fn turn(&mut self, to_key: bool) -> Result<(), Fault> {
        if std::mem::replace(&mut self.is_in_entry, to_key) == to_key {
            self.writer.is_broken = true;
            return Err(Fault::new("its `Serialize` writes a key without a value, or a value without a key"));
        }
        Ok(())
    }

    /// Checks the end of a tuple.
    fn end(&self) -> Result<(), Fault> {
        match self.announced {
            Some(announced) if announced != self.written => Err(Fault::new(format!(
                "its `Serialize` says that there are {announced} elements, and writes {}",
                self.written
            ))),
            _ => Ok(()),
        }
    }

    /// Writes the end of a sequence, padded: one of `n` elements takes at least `n` bytes.
    fn end_padded(self) -> Result<(), Fault> {
        self.end()?;
        let Some(announced) = self.announced else { return self.writer.push(0) };
        let took = self.writer.buffer.len() - self.start;
        if let Some(lack @ 1..) = announced.checked_sub(took) {
            self.writer.reserve(lack)?;
            self.writer.buffer.resize(self.start + announced, 0);
        }
        Ok(())
    }
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.end_padded()
    }
}

impl ser::SerializeMap for Elements<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.turn(true)?;
        self.element(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.turn(false)?;
        self.writer.part(value)
    }

    fn end(mut self) -> Result<(), Fault> {
        self.turn(true)?;
        self.end_padded()
    }
}

macro_rules! tuples {
    ($($trait:ident $serialize:ident;)*) => {
        $(
            impl ser::$trait for Elements<'_, '_> {
                type Ok = ();
                type Error = Fault;

                #[inline]
                fn $serialize<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                    self.element(value)
                }

                #[inline]
                fn end(self) -> Result<(), Fault> {
                    Elements::end(&self)
                }
            }
        )*
    };
}

tuples! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

/// Writes the fields of a struct, without those that the type skips.
pub(super) struct Fields<'w, 'b>(&'w mut Writer<'b>);

macro_rules! structs {
    ($($trait:ident)*) => {
        $(
            impl ser::$trait for Fields<'_, '_> {
                type Ok = ();
                type Error = Fault;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    name: &'static str,
                    value: &T,
                ) -> Result<(), Fault> {
                    self.0.name(name)?;
                    self.0.part(value)
                }

                #[inline]
                fn end(self) -> Result<(), Fault> {
                    self.0.push(END)
                }
            }
        )*
    };
}

structs!(SerializeStruct SerializeStructVariant);
