//! The places of workers' spans and events in the program, as `tracing` knows places.
//!
//! A place of this process is static, and so is what a subscriber is told. Those of a worker are made here, once each, and stay: a
//! program has so many of them, and not more.

use std::collections::HashMap;

use tracing::Metadata;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing_core::callsite::DefaultCallsite;

use crate::primitive::quiet::{Mutex, PoisonError};
use crate::process_pool::wire::trace::{Source, Text};

/// The maximum length of the texts of a place, and of those of all places together, in bytes. There is none beyond that: they stay in
/// memory, and a worker that is damaged may say anything.
const MAX_LENGTH: usize = 16 << 10;
const MAX_LENGTHS: usize = 16 << 20;
/// As many fields as a place has at most: each has a name.
pub(super) const MAX_FIELDS: usize = MAX_LENGTH / size_of::<Text>();

/// What a place is known by: its address, so it has a size.
struct Place {
    _size: u8,
}

impl Callsite for Place {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        unreachable!("it is registered as a `DefaultCallsite`, which has them")
    }
}

#[derive(Default)]
struct Known {
    places: HashMap<Source, &'static DefaultCallsite>,
    lengths: usize,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Returns the place, if a subscriber may want to hear of it. Runs the code of subscribers if it is new.
pub(super) fn known(source: Source) -> Option<&'static Metadata<'static>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known_now = known.get_or_insert_default();
    let place = match known_now.places.get(&source) {
        Some(&place) => place,
        None => {
            let length = source.length();
            if length > MAX_LENGTH || known_now.lengths + length > MAX_LENGTHS {
                return None;
            }
            known_now.lengths += length;
            let place = new(&source);
            known_now.places.insert(source, place);
            place
        }
    };
    drop(known);
    // With no lock held: the first time subscribers are asked.
    if place.interest().is_never() { None } else { Some(place.metadata()) }
}

fn new(source: &Source) -> &'static DefaultCallsite {
    let kept = |text: &str| -> &'static str { Box::leak(Box::from(text)) };
    let place: &'static Place = Box::leak(Box::new(Place { _size: 0 }));
    let names: Vec<&'static str> = source.fields.iter().map(|name| kept(name)).collect();
    let fields = FieldSet::new(Vec::leak(names), Identifier(place));
    let kind = if source.is_span { Kind::SPAN } else { Kind::EVENT };
    let [file, module] = [&source.file, &source.module].map(|text| text.as_deref().map(kept));
    let (name, target) = (kept(&source.name), kept(&source.target));
    let metadata = Metadata::new(name, target, source.level(), file, source.line, module, fields, kind);
    Box::leak(Box::new(DefaultCallsite::new(Box::leak(Box::new(metadata)))))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process_pool::wire::trace::Source;

    #[test]
    fn a_place_is_made_once_and_no_text_is_too_long() {
        let source = |name: String| {
            let (target, module, file) = ("bowline".into(), None, None);
            let fields = vec!["message".into()];
            Source { is_span: false, name: name.into(), target, level: 3, module, file, line: Some(3), fields }
        };
        let [one, again, other] = ["one", "one", "other"].map(|name| known(source(name.to_owned())));
        if let (Some(one), Some(again), Some(other)) = (one, again, other) {
            assert!(std::ptr::eq(one, again) && one.callsite() == again.callsite());
            assert!(one.callsite() != other.callsite() && one.name() == "one" && other.name() == "other");
        }
        assert!(known(source("x".repeat(MAX_LENGTH))).is_none());
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(known.as_ref().map(|known| known.places.len()), Some(2), "the long one is not kept");
    }
}
