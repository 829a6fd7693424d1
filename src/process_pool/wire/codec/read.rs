//! The deserializer.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use super::error::Fault;
use super::headroom::Headroom;
use super::names::{END, NEW, Read};
use super::schema::{DataType, SUM, Schema};
use crate::process_pool::wire::blob::{self, Attached};

/// Reads one value.
pub(super) struct Reader<'a, 'de> {
    rest: &'de [u8],
    sum: [u8; SUM],
    names: Read<'de>,
    schema: Schema,
    headroom: Headroom,
    /// The blobs that came with the message.
    attached: &'a mut Attached,
    /// How many compounds were begun and not read to their end.
    open: usize,
}

impl<'a, 'de> Reader<'a, 'de> {
    pub(super) fn new(message: &'de [u8], attached: &'a mut Attached) -> Result<Self, Fault> {
        let (rest, &sum) = message.split_last_chunk().ok_or_else(Fault::ended)?;
        let (names, schema, headroom) = (Read::new(), Schema::new(), Headroom::here());
        Ok(Self { rest, sum, names, schema, headroom, attached, open: 0 })
    }

    /// Checks the end of the message.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        if !self.rest.is_empty() {
            return Err(Fault::new(format!("{} bytes more were written than it reads", self.rest.len())));
        }
        if self.open > 0 {
            return Err(Fault::new("its `Deserialize` goes on after an error"));
        }
        if self.schema.sum() != self.sum {
            return Err(Fault::new("its `Deserialize` does not read what its `Serialize` writes"));
        }
        Ok(())
    }

    #[inline]
    fn pop(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self.rest.split_first().ok_or_else(Fault::ended)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<&'de [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(Fault::ended)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (&taken, rest) = self.rest.split_first_chunk().ok_or_else(Fault::ended)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Fault> {
        match *self.rest {
            [first @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(first.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        const LENGTH: usize = 10;
        let mut number = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(LENGTH) {
            if at == LENGTH - 1 && byte > 1 {
                return Err(Fault::not_a("a number"));
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(Fault::ended())
    }

    #[inline]
    fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T, Fault> {
        T::try_from(self.varint()?).map_err(|_| Fault::not_a("a number"))
    }

    #[inline]
    fn signed<T: TryFrom<i64>>(&mut self) -> Result<T, Fault> {
        let number = self.varint()?;
        let number = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        T::try_from(number).map_err(|_| Fault::not_a("a number"))
    }

    #[inline]
    fn flag(&mut self, what: &str) -> Result<bool, Fault> {
        match self.pop()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::not_a(what)),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'de [u8], Fault> {
        let length = self.unsigned()?;
        self.take(length)
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fault::not_a("text"))
    }

    /// Reads the name of a field or a variant. `None` behind the last field.
    #[inline]
    fn name(&mut self) -> Result<Option<&'de str>, Fault> {
        let code = self.pop()?;
        match self.names.of(code) {
            None if code != END => self.new_name(code).map(Some),
            name => Ok(name),
        }
    }

    #[cold]
    fn new_name(&mut self, code: u8) -> Result<&'de str, Fault> {
        if code != NEW {
            return Err(Fault::not_a("a name"));
        }
        let name = self.text()?;
        self.names.keep(name);
        Ok(name)
    }

    /// Reads a blob.
    #[cold]
    fn blob<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Unit);
        self.schema.note(DataType::Blob);
        let (place, bytes) = (self.unsigned()?, self.varint()?);
        let blob = self.attached.blob(place, bytes).map_err(Fault::without_advice)?;
        blob::pass(blob);
        visitor.visit_unit()
    }

    /// Reads elements up to their end.
    #[inline]
    fn elements<V>(
        &mut self,
        left: Left,
        read: impl FnOnce(&mut Elements<'_, '_, 'de>) -> Result<V, Fault>,
    ) -> Result<V, Fault> {
        self.headroom.check()?;
        self.open += 1;
        let mut elements = Elements { reader: self, left };
        let value = read(&mut elements)?;
        if elements.has_next()? {
            return Err(Fault::new("it leaves elements unread"));
        }
        self.open -= 1;
        Ok(value)
    }

    /// Reads elements whose number comes first or not at all, and their padding.
    #[inline]
    fn padded<V>(&mut self, read: impl FnOnce(&mut Elements<'_, '_, 'de>) -> Result<V, Fault>) -> Result<V, Fault> {
        let length = self.varint()?;
        let start = self.rest.len();
        let (left, length) = match length.checked_sub(1).map(usize::try_from) {
            None => (Left::Marked, 0),
            Some(Ok(length)) if length <= start => (Left::Counted(length), length),
            _ => return Err(Fault::not_a("a sequence")),
        };
        let value = self.elements(left, read)?;
        if let Some(lack @ 1..) = length.checked_sub(start - self.rest.len())
            && self.take(lack)?.iter().any(|&byte| byte != 0)
        {
            return Err(Fault::not_a("a sequence"));
        }
        Ok(value)
    }

    #[inline]
    fn tuple<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        let written = self.varint()?;
        if written != length as u64 {
            return Err(Fault::new(format!("it reads a tuple of {length} where one of {written} was written")));
        }
        self.elements(Left::Counted(length), |elements| visitor.visit_seq(elements))
    }

    #[inline]
    fn fields<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        self.headroom.check()?;
        self.open += 1;
        let mut fields = Fields { reader: self, has_ended: false };
        let value = visitor.visit_map(&mut fields)?;
        if !fields.has_ended && fields.reader.name()?.is_some() {
            return Err(Fault::new("it leaves fields unread"));
        }
        self.open -= 1;
        Ok(value)
    }
}

/// Copies what was read, if there is memory for it.
fn owned(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut owned = Vec::new();
    owned.try_reserve_exact(bytes.len()).map_err(|_| Fault::no_memory(bytes.len()))?;
    owned.extend_from_slice(bytes);
    Ok(owned)
}

macro_rules! read {
    ($($deserialize:ident $kind:ident, $visit:ident: |$reader:ident| $read:expr;)*) => {
        $(
            #[inline]
            fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                let $reader = self;
                $reader.schema.note(DataType::$kind);
                visitor.$visit($read)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("it asks what was written, and the bytes do not say that"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("it skips a part of what was written, and the bytes do not say how long that is"))
    }

    read! {
        deserialize_bool Bool, visit_bool: |reader| reader.flag("a bool")?;
        deserialize_i8 I8, visit_i8: |reader| reader.pop()?.cast_signed();
        deserialize_i16 I16, visit_i16: |reader| reader.signed()?;
        deserialize_i32 I32, visit_i32: |reader| reader.signed()?;
        deserialize_i64 I64, visit_i64: |reader| reader.signed()?;
        deserialize_i128 I128, visit_i128: |reader| i128::from_le_bytes(reader.array()?);
        deserialize_u8 U8, visit_u8: |reader| reader.pop()?;
        deserialize_u16 U16, visit_u16: |reader| reader.unsigned()?;
        deserialize_u32 U32, visit_u32: |reader| reader.unsigned()?;
        deserialize_u64 U64, visit_u64: |reader| reader.varint()?;
        deserialize_u128 U128, visit_u128: |reader| u128::from_le_bytes(reader.array()?);
        deserialize_f32 F32, visit_f32: |reader| f32::from_bits(u32::from_le_bytes(reader.array()?));
        deserialize_f64 F64, visit_f64: |reader| f64::from_bits(u64::from_le_bytes(reader.array()?));
        deserialize_char Char, visit_char: |reader| {
            char::from_u32(reader.unsigned()?).ok_or_else(|| Fault::not_a("a char"))?
        };
        deserialize_str Text, visit_borrowed_str: |reader| reader.text()?;
        deserialize_identifier Text, visit_borrowed_str: |reader| reader.text()?;
        deserialize_bytes Bytes, visit_borrowed_bytes: |reader| reader.bytes()?;
        deserialize_byte_buf Bytes, visit_byte_buf: |reader| owned(reader.bytes()?)?;
        deserialize_string Text, visit_string: |reader| {
            String::from_utf8(owned(reader.bytes()?)?).map_err(|_| Fault::not_a("text"))?
        };
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Option);
        self.headroom.check()?;
        if self.flag("an option")? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Unit);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if std::ptr::eq(name, blob::NAME) {
            return self.blob(visitor);
        }
        self.headroom.check()?;
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Sequence);
        self.padded(|elements| visitor.visit_seq(elements))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Tuple);
        self.tuple(length, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Map);
        self.padded(|elements| visitor.visit_map(elements))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.schema.note(DataType::Struct);
        self.fields(visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.headroom.check()?;
        visitor.visit_enum(self)
    }
}

/// How many elements are left.
#[derive(Clone, Copy)]
enum Left {
    Counted(usize),
    /// A byte before each says whether there is one.
    Marked,
}

/// The elements of a sequence, a map or a tuple.
struct Elements<'r, 'a, 'de> {
    reader: &'r mut Reader<'a, 'de>,
    left: Left,
}

impl<'de> Elements<'_, '_, 'de> {
    /// Goes on to the next element. Returns whether there is one.
    #[inline]
    fn has_next(&mut self) -> Result<bool, Fault> {
        match &mut self.left {
            Left::Counted(0) => return Ok(false),
            Left::Counted(left) => *left -= 1,
            Left::Marked => {
                if !self.reader.flag("a sequence")? {
                    self.left = Left::Counted(0);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.has_next()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn hint(&self) -> Option<usize> {
        match self.left {
            Left::Counted(left) => Some(left),
            Left::Marked => None,
        }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, '_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for &mut Elements<'_, '_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// The fields of a struct, as a map with their names as keys.
struct Fields<'r, 'a, 'de> {
    reader: &'r mut Reader<'a, 'de>,
    has_ended: bool,
}

impl<'de> de::MapAccess<'de> for &mut Fields<'_, '_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.has_ended {
            return Ok(None);
        }
        let Some(name) = self.reader.name()? else {
            self.has_ended = true;
            return Ok(None);
        };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reader<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let name = self.name()?.ok_or_else(|| Fault::not_a("a variant"))?;
        Ok((seed.deserialize(BorrowedStrDeserializer::new(name))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        self.schema.note(DataType::UnitVariant);
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.schema.note(DataType::NewtypeVariant);
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::TupleVariant);
        self.tuple(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.schema.note(DataType::StructVariant);
        self.fields(visitor)
    }
}
