//! The `tracing` subscriber of a worker: hands on to the parent what the task's spans and events are.
//!
//! Without the feature all of this is empty.

#[cfg(feature = "tracing")]
mod on {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::fmt;

    use tracing::field::{Field, Visit};
    use tracing::level_filters::LevelFilter;
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::Interest;
    use tracing::{Event, Metadata, Subscriber};
    use tracing_core::span::Current;

    use crate::primitive::Ordering::Relaxed;
    use crate::primitive::quiet::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, PoisonError};
    use crate::process_pool::wire::fork::Generation;
    use crate::process_pool::wire::frame::Kind;
    use crate::process_pool::wire::trace::{self, Heard, Source, Value, Values};
    use crate::process_pool::worker::running::{Running, running};
    use crate::task::panic;

    /// The number of the most verbose level that the parent wants to hear of.
    static LEVEL: AtomicU32 = AtomicU32::new(0);

    /// The subscriber here is set for the whole process.
    static IS_SET: AtomicBool = AtomicBool::new(false);
    /// The program has set one of its own.
    static HAS_ANOTHER: AtomicBool = AtomicBool::new(false);

    /// Forwards the spans and events of tasks from now on, up to the level with this number, unless the program has a subscriber of
    /// its own in this process.
    pub(in crate::process_pool::worker) fn up_to(level: u32) {
        let before = LEVEL.load(Relaxed);
        if before == level || HAS_ANOTHER.load(Relaxed) {
            return;
        }
        LEVEL.store(level, Relaxed);
        // Subscribers that the program has for single threads are asked, too.
        panic::contain(|| change(before == 0));
    }

    fn change(is_first: bool) {
        if is_first {
            let set = tracing::subscriber::set_global_default(Forward {
                made_in: Generation::now(),
                spans: Mutex::default(),
                opened: AtomicU64::new(0),
            });
            if set.is_err() && !IS_SET.load(Relaxed) {
                return HAS_ANOTHER.store(true, Relaxed);
            }
            IS_SET.store(true, Relaxed);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    /// A span that is open.
    struct Open {
        metadata: &'static Metadata<'static>,
        handles: u64,
        /// In which it was opened. The parent process knows no others.
        task: Option<Running>,
    }

    struct Forward {
        made_in: Generation,
        spans: Mutex<HashMap<u64, Open>>,
        opened: AtomicU64,
    }

    thread_local! {
        /// The spans that this thread has entered.
        static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// The span that this thread has entered last.
    fn entered() -> Option<u64> {
        ENTERED.try_with(|entered| entered.borrow().last().copied()).ok().flatten()
    }

    impl Forward {
        /// The spans; none in a fork of the worker, where nobody lets go of what another thread had locked.
        fn spans(&self) -> Option<MutexGuard<'_, HashMap<u64, Open>>> {
            (!self.made_in.is_past()).then(|| self.spans.lock().unwrap_or_else(PoisonError::into_inner))
        }

        /// Returns the parent of a span or an event, if this task has opened it.
        fn parent(&self, given: Option<&Id>, is_contextual: bool, task: &Running) -> Option<u64> {
            let id = given.map(Id::into_u64).or_else(|| if is_contextual { entered() } else { None })?;
            self.is_of(id, task).then_some(id)
        }

        fn is_of(&self, span: u64, task: &Running) -> bool {
            self.spans().and_then(|spans| spans.get(&span)?.task).is_some_and(|of| of.is(task))
        }
    }

    /// The task that this process runs, if it is the worker itself.
    fn here() -> Option<Running> {
        running().filter(|task| !task.is_forked())
    }

    fn tell(task: &Running, heard: &Heard) {
        // What is too long is told nobody.
        let _ = task.say(Kind::Trace, heard);
    }

    impl Subscriber for Forward {
        fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
            if self.enabled(metadata) { Interest::always() } else { Interest::never() }
        }

        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= trace::up_to(LEVEL.load(Relaxed))
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(trace::up_to(LEVEL.load(Relaxed)))
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let id = self.opened.fetch_add(1, Relaxed) + 1;
            let (metadata, task) = (span.metadata(), here());
            let heard = task.as_ref().map(|task| {
                let parent = self.parent(span.parent(), span.is_contextual(), task);
                let mut values = Seen::default();
                span.record(&mut values);
                Heard::Span { id, parent, source: Source::of(metadata), values: values.0 }
            });
            if let Some(mut spans) = self.spans() {
                spans.insert(id, Open { metadata, handles: 1, task });
            }
            if let (Some(task), Some(heard)) = (task, heard) {
                tell(&task, &heard);
            }
            Id::from_u64(id)
        }

        fn record(&self, span: &Id, record: &Record<'_>) {
            let Some(task) = here().filter(|task| self.is_of(span.into_u64(), task)) else { return };
            let mut values = Seen::default();
            record.record(&mut values);
            tell(&task, &Heard::Values { id: span.into_u64(), values: values.0 });
        }

        fn record_follows_from(&self, span: &Id, follows: &Id) {
            let [id, from] = [span, follows].map(Id::into_u64);
            let Some(task) = here().filter(|task| self.is_of(id, task) && self.is_of(from, task)) else { return };
            tell(&task, &Heard::Follows { id, from });
        }

        fn event(&self, event: &Event<'_>) {
            let Some(task) = here() else { return };
            let parent = self.parent(event.parent(), event.is_contextual(), &task);
            let mut values = Seen::default();
            event.record(&mut values);
            tell(&task, &Heard::Event { parent, source: Source::of(event.metadata()), values: values.0 });
        }

        fn enter(&self, span: &Id) {
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span.into_u64()));
        }

        fn exit(&self, span: &Id) {
            let _ = ENTERED.try_with(|entered| {
                let mut entered = entered.borrow_mut();
                if let Some(place) = entered.iter().rposition(|other| *other == span.into_u64()) {
                    entered.remove(place);
                }
            });
        }

        fn clone_span(&self, span: &Id) -> Id {
            if let Some(mut spans) = self.spans()
                && let Some(open) = spans.get_mut(&span.into_u64())
            {
                open.handles += 1;
            }
            span.clone()
        }

        fn try_close(&self, span: Id) -> bool {
            let id = span.into_u64();
            let Some(mut spans) = self.spans() else { return false };
            let Some(open) = spans.get_mut(&id) else { return false };
            open.handles -= 1;
            if open.handles > 0 {
                return false;
            }
            let open = spans.remove(&id).expect("it is there");
            drop(spans);
            if let Some(task) = here().filter(|task| open.task.is_some_and(|of| of.is(task))) {
                tell(&task, &Heard::Closed { id });
            }
            true
        }

        fn current_span(&self) -> Current {
            let Some(id) = entered() else { return Current::none() };
            let metadata = self.spans().and_then(|spans| Some(spans.get(&id)?.metadata));
            metadata.map_or_else(Current::none, |metadata| Current::new(Id::from_u64(id), metadata))
        }
    }

    /// The values that were seen.
    #[derive(Default)]
    struct Seen(Values);

    impl Seen {
        fn add(&mut self, field: &Field, value: Value) {
            // A place with more of them is too long for the parent.
            if let Ok(place) = field.index().try_into() {
                self.0.push((place, value));
            }
        }
    }

    impl Visit for Seen {
        fn record_f64(&mut self, field: &Field, value: f64) {
            self.add(field, Value::Float(value));
        }

        fn record_i64(&mut self, field: &Field, value: i64) {
            self.add(field, Value::Signed(value));
        }

        fn record_u64(&mut self, field: &Field, value: u64) {
            self.add(field, Value::Unsigned(value));
        }

        fn record_i128(&mut self, field: &Field, value: i128) {
            self.add(field, Value::LongSigned(value));
        }

        fn record_u128(&mut self, field: &Field, value: u128) {
            self.add(field, Value::LongUnsigned(value));
        }

        fn record_bool(&mut self, field: &Field, value: bool) {
            self.add(field, Value::Bool(value));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.add(field, Value::Text(value.to_owned()));
        }

        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.add(field, Value::Written(format!("{value:?}")));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    pub(in crate::process_pool::worker) fn up_to(_: u32) {}
}

#[cfg(not(feature = "tracing"))]
pub(super) use off::up_to;
#[cfg(feature = "tracing")]
pub(super) use on::up_to;
