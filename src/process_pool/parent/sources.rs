//! The places of workers' spans and events in the program, as `tracing` knows places.
//!
//! A place of this process is static, and so is what a subscriber is told. Those of a worker are made here, once each, and stay: a
//! program has so many of them, and not more.

use std::collections::HashMap;
use std::sync::OnceLock;

use tracing::Metadata;
use tracing::callsite::{Callsite, Identifier, register};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, Mutex, PoisonError};
use crate::process_pool::wire::trace::Source;

/// The maximum number of places. A program with more than that has none beyond them: they would stay in memory.
const MAX: usize = 1 << 16;

/// A place.
struct Place {
    metadata: OnceLock<Metadata<'static>>,
    /// No subscriber wants to hear of it.
    is_unwanted: AtomicBool,
}

impl Callsite for Place {
    fn set_interest(&self, interest: Interest) {
        self.is_unwanted.store(interest.is_never(), Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("it has some before anybody knows it")
    }
}

static KNOWN: Mutex<Option<HashMap<Source, &'static Place>>> = Mutex::new(None);

/// Returns the place, if a subscriber may want to hear of it. Runs the code of subscribers if it is new.
pub(super) fn known(source: Source) -> Option<&'static Metadata<'static>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = known.get_or_insert_default();
    let place = match all.get(&source) {
        Some(place) => place,
        None if all.len() == MAX => return None,
        None => {
            let place = new(&source);
            all.insert(source, place);
            drop(known);
            // With no lock held: subscribers are asked. Another thread that finds the place meanwhile takes it to be wanted.
            register(place);
            place
        }
    };
    if place.is_unwanted.load(Relaxed) { None } else { place.metadata.get() }
}

fn new(source: &Source) -> &'static Place {
    let kept = |text: &str| -> &'static str { Box::leak(Box::from(text)) };
    let place: &'static Place =
        Box::leak(Box::new(Place { metadata: OnceLock::new(), is_unwanted: AtomicBool::new(false) }));
    let names: Vec<&'static str> = source.fields.iter().map(|name| kept(name)).collect();
    let fields = FieldSet::new(Vec::leak(names), Identifier(place));
    let kind = if source.is_span { Kind::SPAN } else { Kind::EVENT };
    let [file, module] = [&source.file, &source.module].map(|text| text.as_deref().map(kept));
    let (name, target) = (kept(&source.name), kept(&source.target));
    place.metadata.get_or_init(|| Metadata::new(name, target, source.level(), file, source.line, module, fields, kind));
    place
}
