//! The check whether JSON can represent a value: a serializer that writes nothing.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

use super::error::Fault;
use super::headroom::Headroom;

/// Checks a value for JSON.
///
/// # Errors
///
/// JSON would change the value, or the value is nested too deep to be written and read.
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), Fault> {
    value.serialize(&mut Check { headroom: Headroom::here(), nested: 0, levels: 0 }).map(drop)
}

/// The maximum depth of nested values that serde_json reads.
const MAX_NESTED: usize = 127;
/// The maximum depth including levels that JSON does not show: newtypes, `Some`.
const MAX_LEVELS: usize = 512;

/// The form in which a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Null,
    Text,
    /// The text `null`, which is JSON by itself.
    TextNull,
    /// Numbers and `bool`s, which are text as keys.
    Scalar,
    Compound,
}

struct Check {
    headroom: Headroom,
    /// How many lists and objects are around what is written.
    nested: usize,
    levels: usize,
}

impl Check {
    /// Checks a value inside of another one, of which JSON shows `shown` levels.
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T, shown: usize) -> Result<Form, Fault> {
        self.headroom.check()?;
        self.nested += shown;
        self.levels += 1;
        if self.nested > MAX_NESTED || self.levels > MAX_LEVELS {
            return Err(Fault::without_advice("it is nested too deep for JSON"));
        }
        let form = value.serialize(&mut *self)?;
        self.nested -= shown;
        self.levels -= 1;
        Ok(form)
    }

    fn compound(&mut self, shown: usize) -> Result<Compound<'_>, Fault> {
        if self.nested + shown > MAX_NESTED {
            return Err(Fault::without_advice("it is nested too deep for JSON"));
        }
        Ok(Compound { check: self, shown, keys: None, is_raw: false, last: Form::Compound })
    }
}

fn finite(is_finite: bool) -> Result<Form, Fault> {
    match is_finite {
        true => Ok(Form::Scalar),
        false => Err(Fault::without_advice("JSON has no infinite numbers and no NaN")),
    }
}

/// A type that looks at the data first reads a long integer as a float.
fn short(is_short: bool) -> Result<Form, Fault> {
    match is_short {
        true => Ok(Form::Scalar),
        false => Err(Fault::without_advice("an integer of more than 64 bits is not safe in JSON")),
    }
}

macro_rules! scalars {
    ($($serialize:ident $type:ty)*) => {
        $(
            fn $serialize(self, _: $type) -> Result<Form, Fault> {
                Ok(Form::Scalar)
            }
        )*
    };
}

impl<'c> Serializer for &'c mut Check {
    type Ok = Form;
    type Error = Fault;
    type SerializeSeq = Compound<'c>;
    type SerializeTuple = Compound<'c>;
    type SerializeTupleStruct = Compound<'c>;
    type SerializeTupleVariant = Compound<'c>;
    type SerializeMap = Compound<'c>;
    type SerializeStruct = Compound<'c>;
    type SerializeStructVariant = Compound<'c>;

    scalars! {
        serialize_bool bool
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64
    }

    fn serialize_i128(self, value: i128) -> Result<Form, Fault> {
        short(i64::try_from(value).is_ok() || u64::try_from(value).is_ok())
    }

    fn serialize_u128(self, value: u128) -> Result<Form, Fault> {
        short(u64::try_from(value).is_ok())
    }

    fn serialize_f32(self, value: f32) -> Result<Form, Fault> {
        finite(value.is_finite())?;
        // A type that looks at the data first (`untagged`, `flatten`) reads an `f64`, and rounds that: rounding twice
        // may give another number.
        match value.to_string().parse::<f64>() {
            Ok(wide) if (wide as f32).to_bits() == value.to_bits() => Ok(Form::Scalar),
            _ => Err(Fault::new(format!("{value:e} is rounded to another `f32` on its way through JSON"))),
        }
    }

    fn serialize_f64(self, value: f64) -> Result<Form, Fault> {
        finite(value.is_finite())
    }

    fn serialize_char(self, _: char) -> Result<Form, Fault> {
        Ok(Form::Text)
    }

    fn serialize_str(self, value: &str) -> Result<Form, Fault> {
        Ok(if value.trim() == "null" { Form::TextNull } else { Form::Text })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Form, Fault> {
        Ok(Form::Text)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Form, Fault> {
        Ok(Form::Compound)
    }

    fn serialize_none(self) -> Result<Form, Fault> {
        Ok(Form::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Form, Fault> {
        match self.inner(value, 0)? {
            Form::Null => Err(Fault::without_advice("`Some` of what JSON has as `null` would be read back as `None`")),
            form => Ok(form),
        }
    }

    fn serialize_unit(self) -> Result<Form, Fault> {
        Ok(Form::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Form, Fault> {
        Ok(Form::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Form, Fault> {
        Ok(Form::Text)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Form, Fault> {
        self.inner(value, 0)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Form, Fault> {
        self.inner(value, 1).map(|_| Form::Compound)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'c>, Fault> {
        self.compound(1)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'c>, Fault> {
        self.compound(1)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'c>, Fault> {
        self.compound(1)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Compound<'c>, Fault> {
        self.compound(2)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'c>, Fault> {
        self.compound(1)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'c>, Fault> {
        // Raw JSON, which serde_json takes out of the string that contains it.
        let is_raw = name == "$serde_json::private::RawValue";
        self.compound(1).map(|compound| Compound { is_raw, ..compound })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Compound<'c>, Fault> {
        self.compound(2)
    }
}

/// A list or an object.
struct Compound<'c> {
    check: &'c mut Check,
    shown: usize,
    /// Whether the keys of a map are text.
    keys: Option<bool>,
    is_raw: bool,
    last: Form,
}

impl Compound<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.last = self.check.inner(value, self.shown)?;
        Ok(())
    }

    fn form(self) -> Form {
        if self.is_raw && self.last == Form::TextNull { Form::Null } else { Form::Compound }
    }
}

macro_rules! compounds {
    ($($trait:ident $serialize:ident($($name:ty)?);)*) => {
        $(
            impl ser::$trait for Compound<'_> {
                type Ok = Form;
                type Error = Fault;

                fn $serialize<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), Fault> {
                    self.part(value)
                }

                fn end(self) -> Result<Form, Fault> {
                    Ok(self.form())
                }
            }
        )*
    };
}

compounds! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(&'static str);
    SerializeStructVariant serialize_field(&'static str);
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = Form;
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        let is_text = matches!(self.check.inner(key, self.shown)?, Form::Text | Form::TextNull);
        if self.keys.replace(is_text).is_some_and(|keys| keys != is_text) {
            return Err(Fault::without_advice("a key that is text may be the same in JSON as one that is not"));
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<Form, Fault> {
        Ok(self.form())
    }
}
