//! Random types: what is written as one and read as another is the same value, or an error.

use std::cell::Cell;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde::de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleVariant,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{bytes_of, encode};
use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::codec::error::Fault;

fn read<'b, S: DeserializeSeed<'b>>(bytes: &'b [u8], seed: S) -> Result<S::Value, Fault> {
    crate::process_pool::wire::codec::read(bytes, &mut Attached::none(), seed)
}

/// Names of fields and variants.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A type.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Unit,
    Bool,
    U8,
    U64,
    I32,
    I64,
    I128,
    F32,
    Char,
    Text,
    Bytes,
    Option(Box<Shape>),
    Newtype(Box<Shape>),
    Sequence(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    Tuple(Vec<Shape>),
    /// With which fields are left out when they are `None`.
    Struct(Vec<(usize, bool, Shape)>),
    Enum(Vec<(usize, Variant)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Variant {
    Unit,
    Newtype(Shape),
    Tuple(Vec<Shape>),
    Struct(Vec<(usize, bool, Shape)>),
}

/// A value of a type.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Unit,
    Bool(bool),
    U8(u8),
    U64(u64),
    I32(i32),
    I64(i64),
    I128(i128),
    /// Its bits.
    F32(u32),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Option(Option<Box<Node>>),
    /// With whether its length is told, and how far that is from the truth.
    Sequence(Vec<Node>, Says),
    Map(Vec<(Node, Node)>, Says),
    Tuple(Vec<Node>),
    /// Without those that are left out.
    Struct(Vec<(&'static str, Node)>),
    Enum(&'static str, Content),
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Unit,
    Newtype(Box<Node>),
    Tuple(Vec<Node>),
    Struct(Vec<(&'static str, Node)>),
}

/// What a writer says of a length. What is said is no part of the value.
#[derive(Clone, Copy, Debug)]
enum Says {
    Nothing,
    Right,
    Wrong(usize),
}

impl PartialEq for Says {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Says {
    fn of(self, length: usize) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Right => Some(length),
            Self::Wrong(by) => Some(length.wrapping_add(by)),
        }
    }
}

fn fields<S: SerializeStruct>(mut to: S, fields: &[(&'static str, Node)]) -> Result<S::Ok, S::Error> {
    fields.iter().try_for_each(|(name, value)| to.serialize_field(name, value))?;
    to.end()
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::U8(value) => to.serialize_u8(*value),
            Self::U64(value) => to.serialize_u64(*value),
            Self::I32(value) => to.serialize_i32(*value),
            Self::I64(value) => to.serialize_i64(*value),
            Self::I128(value) => to.serialize_i128(*value),
            Self::F32(bits) => to.serialize_f32(f32::from_bits(*bits)),
            Self::Char(value) => to.serialize_char(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) => to.serialize_bytes(value),
            Self::Option(None) => to.serialize_none(),
            Self::Option(Some(value)) => to.serialize_some(value),
            Self::Sequence(nodes, says) => {
                let mut list = to.serialize_seq(says.of(nodes.len()))?;
                nodes.iter().try_for_each(|node| list.serialize_element(node))?;
                list.end()
            }
            Self::Map(entries, says) => {
                let mut map = to.serialize_map(says.of(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Self::Tuple(nodes) => {
                let mut tuple = to.serialize_tuple(nodes.len())?;
                nodes.iter().try_for_each(|node| tuple.serialize_element(node))?;
                tuple.end()
            }
            Self::Struct(nodes) => fields(to.serialize_struct("Struct", nodes.len())?, nodes),
            Self::Enum(name, Content::Unit) => to.serialize_unit_variant("Enum", 0, name),
            Self::Enum(name, Content::Newtype(node)) => to.serialize_newtype_variant("Enum", 0, name, node),
            Self::Enum(name, Content::Tuple(nodes)) => {
                let mut tuple = to.serialize_tuple_variant("Enum", 0, name, nodes.len())?;
                nodes.iter().try_for_each(|node| tuple.serialize_field(node))?;
                tuple.end()
            }
            Self::Enum(name, Content::Struct(nodes)) => {
                let mut fields = to.serialize_struct_variant("Enum", 0, name, nodes.len())?;
                nodes.iter().try_for_each(|(name, value)| fields.serialize_field(name, value))?;
                fields.end()
            }
        }
    }
}

thread_local! {
    /// How many values were read, and what was promised of lengths.
    static READ: Cell<usize> = const { Cell::new(0) };
    static HINTED: Cell<usize> = const { Cell::new(0) };
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        READ.set(READ.get() + 1);
        match self {
            Shape::Unit => <()>::deserialize(from).map(|()| Node::Unit),
            Shape::Bool => bool::deserialize(from).map(Node::Bool),
            Shape::U8 => u8::deserialize(from).map(Node::U8),
            Shape::U64 => u64::deserialize(from).map(Node::U64),
            Shape::I32 => i32::deserialize(from).map(Node::I32),
            Shape::I64 => i64::deserialize(from).map(Node::I64),
            Shape::I128 => i128::deserialize(from).map(Node::I128),
            Shape::F32 => f32::deserialize(from).map(|float| Node::F32(float.to_bits())),
            Shape::Char => char::deserialize(from).map(Node::Char),
            Shape::Text => String::deserialize(from).map(Node::Text),
            Shape::Bytes => serde_bytes::ByteBuf::deserialize(from).map(|bytes| Node::Bytes(bytes.into_vec())),
            Shape::Option(_) => from.deserialize_option(Reads(self)),
            Shape::Newtype(_) => from.deserialize_newtype_struct("Newtype", Reads(self)),
            Shape::Sequence(_) => from.deserialize_seq(Reads(self)),
            Shape::Map(..) => from.deserialize_map(Reads(self)),
            Shape::Tuple(shapes) => from.deserialize_tuple(shapes.len(), Reads(self)),
            Shape::Struct(_) => from.deserialize_struct("Struct", &NAMES, Reads(self)),
            Shape::Enum(_) => from.deserialize_enum("Enum", &NAMES, Reads(self)),
        }
    }
}

/// What reads a compound.
struct Reads<'s>(&'s Shape);

/// What reads the fields of a struct, and of a variant.
struct ReadsFields<'s>(&'s [(usize, bool, Shape)]);
struct ReadsTuple<'s>(&'s [Shape]);

impl<'de> Visitor<'de> for ReadsFields<'_> {
    type Value = Vec<(&'static str, Node)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut nodes: Vec<(&'static str, Node)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some((at, _, shape)) = self.0.iter().find(|(at, ..)| NAMES[*at] == name) else {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            if nodes.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::duplicate_field(NAMES[*at]));
            }
            nodes.push((NAMES[*at], map.next_value_seed(shape)?));
        }
        let lacks =
            self.0.iter().find(|(at, may_lack, _)| !may_lack && nodes.iter().all(|(name, _)| *name != NAMES[*at]));
        lacks.map_or(Ok(nodes), |(at, ..)| Err(A::Error::missing_field(NAMES[*at])))
    }
}

impl<'de> Visitor<'de> for ReadsTuple<'_> {
    type Value = Vec<Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tuple")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Node>, A::Error> {
        let next = |shape| list.next_element_seed(shape)?.ok_or_else(|| A::Error::custom("lacks one"));
        self.0.iter().map(next).collect()
    }
}

impl<'de> Visitor<'de> for Reads<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        let Shape::Option(shape) = self.0 else { unreachable!() };
        Ok(Node::Option(Some(Box::new(shape.deserialize(from)?))))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        let Shape::Newtype(shape) = self.0 else { unreachable!() };
        shape.deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        HINTED.set(HINTED.get().max(list.size_hint().unwrap_or_default()));
        let shape = match self.0 {
            Shape::Sequence(shape) => shape,
            Shape::Tuple(shapes) => return ReadsTuple(shapes).visit_seq(list).map(Node::Tuple),
            _ => unreachable!(),
        };
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(&**shape)? {
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes, Says::Nothing))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        HINTED.set(HINTED.get().max(map.size_hint().unwrap_or_default()));
        let (keys, values) = match self.0 {
            Shape::Map(keys, values) => (keys, values),
            Shape::Struct(shapes) => return ReadsFields(shapes).visit_map(map).map(Node::Struct),
            _ => unreachable!(),
        };
        let mut entries = Vec::new();
        while let Some(entry) = map.next_key_seed(&**keys)? {
            entries.push((entry, map.next_value_seed(&**values)?));
        }
        Ok(Node::Map(entries, Says::Nothing))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        let Shape::Enum(variants) = self.0 else { unreachable!() };
        let (name, access) = data.variant::<String>()?;
        let Some((at, variant)) = variants.iter().find(|(at, _)| NAMES[*at] == name) else {
            return Err(A::Error::unknown_variant(&name, &NAMES));
        };
        let content = match variant {
            Variant::Unit => access.unit_variant().map(|()| Content::Unit),
            Variant::Newtype(shape) => access.newtype_variant_seed(shape).map(|node| Content::Newtype(node.into())),
            Variant::Tuple(shapes) => access.tuple_variant(shapes.len(), ReadsTuple(shapes)).map(Content::Tuple),
            Variant::Struct(shapes) => access.struct_variant(&NAMES, ReadsFields(shapes)).map(Content::Struct),
        }?;
        Ok(Node::Enum(NAMES[*at], content))
    }
}

fn field_shapes(shape: impl Strategy<Value = Shape>) -> impl Strategy<Value = Vec<(usize, bool, Shape)>> {
    vec((0..NAMES.len(), any::<bool>(), shape), 0..4).prop_map(|mut fields| {
        fields.sort_by_key(|field| field.0);
        fields.dedup_by_key(|field| field.0);
        fields
    })
}

fn shapes() -> impl Strategy<Value = Shape> {
    use Shape::{Bool, Bytes, Char, F32, I32, I64, I128, Text, U8, U64, Unit};
    let leaf = proptest::sample::select(vec![Unit, Bool, U8, U64, I32, I64, I128, F32, Char, Text, Bytes]);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let variant = prop_oneof![
            Just(Variant::Unit),
            inner.clone().prop_map(Variant::Newtype),
            vec(inner.clone(), 0..3).prop_map(Variant::Tuple),
            field_shapes(inner.clone()).prop_map(Variant::Struct),
        ];
        let variants = vec((0..NAMES.len(), variant), 1..4).prop_map(|mut variants| {
            variants.sort_by_key(|variant| variant.0);
            variants.dedup_by_key(|variant| variant.0);
            Shape::Enum(variants)
        });
        prop_oneof![
            inner.clone().prop_map(|shape| Shape::Option(shape.into())),
            inner.clone().prop_map(|shape| Shape::Newtype(shape.into())),
            inner.clone().prop_map(|shape| Shape::Sequence(shape.into())),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| Shape::Map(key.into(), value.into())),
            vec(inner.clone(), 0..4).prop_map(Shape::Tuple),
            field_shapes(inner).prop_map(Shape::Struct),
            variants,
        ]
    })
}

/// Small numbers are often taken for something else.
fn small() -> BoxedStrategy<u64> {
    prop_oneof![0..4_u64, any::<u64>()].boxed()
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![Just(Says::Nothing), Just(Says::Right)]
}

fn tuple_of(shapes: &[Shape]) -> BoxedStrategy<Vec<Node>> {
    shapes.iter().map(nodes).collect::<Vec<_>>().boxed()
}

fn fields_of(shapes: &[(usize, bool, Shape)]) -> BoxedStrategy<Vec<(&'static str, Node)>> {
    let field = |(at, may_lack, shape): &(usize, bool, Shape)| {
        let (name, may_lack) = (NAMES[*at], *may_lack);
        (nodes(shape), any::<bool>()).prop_map(move |(node, lacks)| (!(may_lack && lacks)).then_some((name, node)))
    };
    shapes.iter().map(field).collect::<Vec<_>>().prop_map(|fields| fields.into_iter().flatten().collect()).boxed()
}

/// The values of a type.
fn nodes(shape: &Shape) -> BoxedStrategy<Node> {
    match shape {
        Shape::Unit => Just(Node::Unit).boxed(),
        Shape::Bool => any::<bool>().prop_map(Node::Bool).boxed(),
        Shape::U8 => small().prop_map(|n| Node::U8(n as u8)).boxed(),
        Shape::U64 => small().prop_map(Node::U64).boxed(),
        Shape::I32 => small().prop_map(|n| Node::I32(n as i32)).boxed(),
        Shape::I64 => small().prop_map(|n| Node::I64(n as i64)).boxed(),
        Shape::I128 => any::<i128>().prop_map(Node::I128).boxed(),
        Shape::F32 => any::<u32>().prop_map(Node::F32).boxed(),
        Shape::Char => any::<char>().prop_map(Node::Char).boxed(),
        Shape::Text => any::<String>().prop_map(Node::Text).boxed(),
        Shape::Bytes => vec(any::<u8>(), 0..5).prop_map(Node::Bytes).boxed(),
        Shape::Option(shape) => {
            proptest::option::of(nodes(shape)).prop_map(|node| Node::Option(node.map(Box::new))).boxed()
        }
        Shape::Newtype(shape) => nodes(shape),
        Shape::Sequence(shape) => {
            (vec(nodes(shape), 0..4), says()).prop_map(|(nodes, says)| Node::Sequence(nodes, says)).boxed()
        }
        Shape::Map(keys, values) => {
            let entries = vec((nodes(keys), nodes(values)), 0..3);
            (entries, says()).prop_map(|(entries, says)| Node::Map(entries, says)).boxed()
        }
        Shape::Tuple(shapes) => tuple_of(shapes).prop_map(Node::Tuple).boxed(),
        Shape::Struct(shapes) => fields_of(shapes).prop_map(Node::Struct).boxed(),
        Shape::Enum(variants) => {
            let variant = |(at, variant): &(usize, Variant)| {
                let name = NAMES[*at];
                let content = match variant {
                    Variant::Unit => Just(Content::Unit).boxed(),
                    Variant::Newtype(shape) => nodes(shape).prop_map(|node| Content::Newtype(node.into())).boxed(),
                    Variant::Tuple(shapes) => tuple_of(shapes).prop_map(Content::Tuple).boxed(),
                    Variant::Struct(shapes) => fields_of(shapes).prop_map(Content::Struct).boxed(),
                };
                content.prop_map(move |content| Node::Enum(name, content))
            };
            proptest::strategy::Union::new(variants.iter().map(variant)).boxed()
        }
    }
}

/// A type, a value of it, and a type that differs in one place or more.
fn pairs() -> impl Strategy<Value = (Shape, Node, Shape)> {
    (shapes(), shapes(), any::<proptest::sample::Index>()).prop_flat_map(|(shape, other, at)| {
        let (mut changed, size) = (shape.clone(), size_of_shape(&shape));
        change(&mut changed, &mut at.index(size), &other);
        (Just(shape.clone()), nodes(&shape), Just(changed))
    })
}

/// The types inside of a type.
fn parts(shape: &mut Shape) -> Vec<&mut Shape> {
    match shape {
        Shape::Option(inner) | Shape::Newtype(inner) | Shape::Sequence(inner) => vec![inner],
        Shape::Map(keys, values) => vec![keys, values],
        Shape::Tuple(shapes) => shapes.iter_mut().collect(),
        Shape::Struct(fields) => fields.iter_mut().map(|field| &mut field.2).collect(),
        Shape::Enum(variants) => variants.iter_mut().flat_map(|variant| parts_of_variant(&mut variant.1)).collect(),
        _ => Vec::new(),
    }
}

fn parts_of_variant(variant: &mut Variant) -> Vec<&mut Shape> {
    match variant {
        Variant::Unit => Vec::new(),
        Variant::Newtype(shape) => vec![shape],
        Variant::Tuple(shapes) => shapes.iter_mut().collect(),
        Variant::Struct(fields) => fields.iter_mut().map(|field| &mut field.2).collect(),
    }
}

fn size_of_shape(shape: &Shape) -> usize {
    1 + parts(&mut shape.clone()).into_iter().map(|part| size_of_shape(part)).sum::<usize>()
}

/// Puts another type in the place of the part with this number.
fn change(shape: &mut Shape, at: &mut usize, other: &Shape) {
    if *at == 0 {
        shape.clone_from(other);
        *at = usize::MAX;
        return;
    }
    *at -= 1;
    for part in parts(shape) {
        if *at == usize::MAX {
            return;
        }
        change(part, at, other);
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_value_of_any_type_is_the_same((shape, node, _) in pairs()) {
        prop_assert_eq!(read(&bytes_of(&node), &shape).unwrap(), node);
    }

    #[test]
    fn what_is_read_as_another_type_is_the_same_or_an_error((_, node, other) in pairs()) {
        if let Ok(read) = read(&bytes_of(&node), &other) {
            prop_assert_eq!(read, node);
        }
    }

    #[test]
    fn a_false_length_anywhere_is_an_error(
        (_, node, _) in pairs(),
        length in 0..3_usize,
        by in prop_oneof![Just(1), Just(2), Just(usize::MAX), any::<usize>()],
    ) {
        let by = if by == 0 { 1 } else { by };
        let liar = Node::Sequence(vec![Node::U8(1); length], Says::Wrong(by));
        for lie in [Node::Tuple(vec![node.clone(), liar.clone()]), Node::Option(Some(Box::new(liar)))] {
            prop_assert!(encode(&lie, &mut Vec::new()).is_err());
        }
        let liar = Node::Map(vec![(node, Node::Unit); length], Says::Wrong(by));
        prop_assert!(encode(&liar, &mut Vec::new()).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_in_bounds(
        (_, node, shape) in pairs(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        noise in proptest::option::of(vec(any::<u8>(), 0..64)),
    ) {
        let mut bytes = noise.unwrap_or_else(|| bytes_of(&node));
        for (at, byte) in changes.iter().filter(|_| !bytes.is_empty()).cloned().collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        READ.set(0);
        HINTED.set(0);
        let _ = read(&bytes, &shape);
        // Each element takes a byte at least, and has at most as many parts as the type that take none.
        let most = (bytes.len() + 1) * size_of_shape(&shape);
        prop_assert!(READ.get() <= most && HINTED.get() <= bytes.len().max(size_of_shape(&shape)), "{} {}", READ.get(), HINTED.get());
    }
}
