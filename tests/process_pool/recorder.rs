//! A `tracing` subscriber that notes what it hears, for tests.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::support::fields::Text;

#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Vec<String>,
    /// The places of these in the program.
    pub(super) places: Vec<String>,
    /// By number: the text, the parent, and how many handles there are.
    pub(super) spans: HashMap<u64, (String, Option<u64>, u32)>,
    /// What is known of these, by number.
    metadata: HashMap<u64, &'static Metadata<'static>>,
    /// Which follows from which, by name.
    pub(super) follows: Vec<String>,
    opened: u64,
}

/// Notes the events, with the spans around them.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) heard: Arc<Mutex<Heard>>,
    level: LevelFilter,
}

thread_local! {
    static INSIDE: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Recorder {
    pub(super) fn up_to(level: LevelFilter) -> Self {
        Self { heard: Arc::default(), level }
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.heard.lock().unwrap().events.clone()
    }

    /// The spans, with all that was recorded.
    pub(super) fn spans(&self) -> Vec<String> {
        let mut spans: Vec<_> = self.heard.lock().unwrap().spans.values().map(|span| span.0.clone()).collect();
        spans.sort();
        spans
    }

    fn parent(&self, given: Option<&Id>, is_contextual: bool) -> Option<u64> {
        let inside = || INSIDE.with_borrow(|inside| inside.last().copied());
        given.map(Id::into_u64).or_else(|| if is_contextual { inside() } else { None })
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && !metadata.target().starts_with("unwanted")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let parent = self.parent(span.parent(), span.is_contextual());
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        let mut heard = self.heard.lock().unwrap();
        heard.opened += 1;
        let id = heard.opened;
        heard.spans.insert(id, (text.0, parent, 1));
        heard.metadata.insert(id, span.metadata());
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut text = Text(String::new());
        record.record(&mut text);
        self.heard.lock().unwrap().spans.get_mut(&span.into_u64()).expect("it is open").0 += &text.0;
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let mut heard = self.heard.lock().unwrap();
        let [span, from] = [span, follows].map(|id| heard.spans[&id.into_u64()].0.clone());
        heard.follows.push(format!("{span} from {from}"));
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut around = String::new();
        let mut heard = self.heard.lock().unwrap();
        let mut next = self.parent(event.parent(), event.is_contextual());
        while let Some(id) = next {
            let (name, parent, _) = &heard.spans[&id];
            around = format!("{name} > {around}");
            next = *parent;
        }
        heard.events.push(format!("{around}{}{}", metadata.level(), text.0));
        let (target, file, module) = (metadata.target(), metadata.file(), metadata.module_path());
        heard.places.push(format!("{target} {file:?} {module:?}"));
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| assert_eq!(inside.pop(), Some(span.into_u64())));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.heard.lock().unwrap().spans.get_mut(&span.into_u64()).expect("it is open").2 += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut heard = self.heard.lock().unwrap();
        let handles = &mut heard.spans.get_mut(&span.into_u64()).expect("it is open").2;
        *handles -= 1;
        *handles == 0
    }

    fn current_span(&self) -> tracing_core::span::Current {
        let Some(id) = INSIDE.with_borrow(|inside| inside.last().copied()) else { return Current::none() };
        Current::new(Id::from_u64(id), self.heard.lock().unwrap().metadata[&id])
    }
}
