//! The spans and events of a task in a worker, as the `tracing` subscriber of its submitter hears them: inside of the span that was
//! current at the submission.
//!
//! Without the feature all of this is empty.

#[cfg(feature = "tracing")]
mod on {
    use std::collections::HashMap;

    use tracing::dispatcher::{self, Dispatch};
    use tracing::field::{Field, ValueSet, display};
    use tracing::{Event, Metadata, Span};
    use tracing_core::subscriber::NoSubscriber;

    use crate::process_pool::parent::sources::{MAX_FIELDS, known};
    use crate::process_pool::wire::codec;
    use crate::process_pool::wire::trace::{self, Heard, Source, Value, Values};
    use crate::task::error::CodecError;

    /// As many fields as most spans and events have at most.
    const FEW_FIELDS: usize = 32;

    /// A span of the worker.
    struct Opened {
        /// Its own one here, or, if the subscriber does not want it, the one around it.
        span: Span,
        is_own: bool,
    }

    /// The way to the subscriber of a task's submitter.
    pub(in crate::process_pool::parent) struct Relay {
        subscriber: Dispatch,
        /// Which was current at the submission.
        around: Span,
        /// By their numbers in the worker.
        spans: HashMap<u64, Opened>,
        /// The worker that opened them, by its serial number.
        worker: u64,
    }

    impl Relay {
        /// Returns the way to the subscriber of this thread, if there may be one.
        pub(in crate::process_pool::parent) fn here() -> Option<Self> {
            if wanted() == 0 {
                return None;
            }
            let subscriber = dispatcher::get_default(Clone::clone);
            // Another thread has one of its own.
            let is_there = !subscriber.is::<NoSubscriber>();
            is_there.then(|| Self { subscriber, around: Span::current(), spans: HashMap::new(), worker: 0 })
        }

        /// Tells the subscriber what these bytes of a worker are. Runs its code.
        ///
        /// # Errors
        ///
        /// They are nothing of the kind.
        pub(in crate::process_pool::parent) fn hear(&mut self, worker: u64, bytes: &[u8]) -> Result<(), CodecError> {
            if std::mem::replace(&mut self.worker, worker) != worker {
                // Those of another one, which is gone.
                self.spans.clear();
            }
            let heard = codec::decode::<Heard>(bytes)?;
            let subscriber = self.subscriber.clone();
            dispatcher::with_default(&subscriber, || self.tell(heard));
            Ok(())
        }

        fn tell(&mut self, heard: Heard) {
            match heard {
                Heard::Span { id, parent, source, values } => {
                    let around = self.span(parent);
                    let metadata = self.wanted(source);
                    let open = |metadata: &'static Metadata<'static>| {
                        with_values(metadata, values, |values| Span::child_of(around.id(), metadata, values))
                    };
                    let is_own = metadata.is_some();
                    let span = metadata.map_or_else(|| around.clone(), open);
                    self.spans.insert(id, Opened { span, is_own });
                }
                Heard::Values { id, values } => {
                    if let Some(span) = self.own(id)
                        && let Some(metadata) = span.metadata()
                    {
                        with_values(metadata, values, |values| _ = span.record_all(values));
                    }
                }
                Heard::Follows { id, from } => {
                    if let (Some(span), Some(from)) = (self.own(id), self.own(from)) {
                        span.follows_from(from.id());
                    }
                }
                Heard::Closed { id } => drop(self.spans.remove(&id)),
                Heard::Event { parent, source, values } => {
                    let around = self.span(parent);
                    if let Some(metadata) = self.wanted(source) {
                        with_values(metadata, values, |values| Event::child_of(around.id(), metadata, values));
                    }
                }
            }
        }

        /// Returns the span with this number in the worker, or else the one around the task.
        fn span(&self, number: Option<u64>) -> &Span {
            number.and_then(|number| self.spans.get(&number)).map_or(&self.around, |opened| &opened.span)
        }

        /// Returns the span with this number in the worker, if the subscriber wants it: what is said of it is meant for no other.
        fn own(&self, number: u64) -> Option<&Span> {
            self.spans.get(&number).filter(|opened| opened.is_own).map(|opened| &opened.span)
        }

        /// Returns the place in the program, if the subscriber wants to hear of it.
        fn wanted(&self, source: Source) -> Option<&'static Metadata<'static>> {
            known(source).filter(|metadata| self.subscriber.enabled(metadata))
        }
    }

    /// Returns the number of the most verbose level that a subscriber may want to hear of.
    pub(in crate::process_pool::parent) fn wanted() -> u32 {
        trace::wanted()
    }

    /// Calls `use_them` with values for the fields of this place.
    fn with_values<R>(
        metadata: &'static Metadata<'static>,
        values: Values,
        use_them: impl FnOnce(&ValueSet<'_>) -> R,
    ) -> R {
        let all: Vec<Field> = metadata.fields().iter().collect();
        let held = values.into_iter().filter_map(|(place, value)| {
            let value: Box<dyn tracing::Value> = match value {
                Value::Float(value) => Box::new(value),
                Value::Signed(value) => Box::new(value),
                Value::Unsigned(value) => Box::new(value),
                Value::LongSigned(value) => Box::new(value),
                Value::LongUnsigned(value) => Box::new(value),
                Value::Bool(value) => Box::new(value),
                Value::Text(value) => Box::new(value),
                Value::Written(value) => Box::new(display(value)),
            };
            Some((all.get(usize::from(place))?, value))
        });
        let held: Vec<_> = held.take(MAX_FIELDS).collect();
        let pairs: Vec<Pair<'_>> = held.iter().map(|(field, value)| (*field, Some(&**value))).collect();
        let Some(any) = all.first() else {
            let none: [Pair<'_>; 0] = [];
            return use_them(&metadata.fields().value_set(&none));
        };
        if pairs.len() <= FEW_FIELDS {
            use_them(&metadata.fields().value_set(&*array::<FEW_FIELDS>(pairs, any)))
        } else {
            use_them(&metadata.fields().value_set(&*array::<MAX_FIELDS>(pairs, any)))
        }
    }

    /// A field, and its value.
    type Pair<'v> = (&'v Field, Option<&'v dyn tracing::Value>);

    /// Makes an array of these, which the interface takes: `any` stands, without a value, in the places that are left over.
    fn array<'v, const N: usize>(mut pairs: Vec<Pair<'v>>, any: &'v Field) -> Box<[Pair<'v>; N]> {
        pairs.resize(N, (any, None));
        pairs.try_into().unwrap_or_else(|_| unreachable!("it has this length"))
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::task::error::CodecError;

    pub(in crate::process_pool::parent) enum Relay {}

    impl Relay {
        pub(in crate::process_pool::parent) fn here() -> Option<Self> {
            None
        }

        pub(in crate::process_pool::parent) fn hear(&mut self, _: u64, _: &[u8]) -> Result<(), CodecError> {
            match *self {}
        }
    }

    pub(in crate::process_pool::parent) fn wanted() -> u32 {
        0
    }
}

#[cfg(not(feature = "tracing"))]
pub(super) use off::{Relay, wanted};
#[cfg(feature = "tracing")]
pub(super) use on::{Relay, wanted};
