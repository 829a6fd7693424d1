//! The user's code, run where nothing may unwind.

use std::any::Any;

use super::catch_unwind;

/// The maximum number of payloads that are dropped: the destructor of a payload may panic with another payload, and so
/// on. The next one is forgotten.
const MAX_PAYLOADS: usize = 16;

/// Runs a piece of the user's code whose value and panic nobody wants: a callback, a hook, a destructor. Returns
/// whether it returned, rather than panicked.
///
/// The panic hook has already reported the panic. The payload is dropped here.
pub(crate) fn contain(run: impl FnOnce()) -> bool {
    catch_unwind(run).map_err(drop_payload).is_ok()
}

/// Drops the payload of a panic, whose destructor may panic.
#[cold]
fn drop_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..MAX_PAYLOADS {
        match catch_unwind(|| drop(payload)) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// A payload whose destructor panics with another one, as often as the number says.
    struct Matryoshka(Arc<AtomicUsize>, usize);

    impl Drop for Matryoshka {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            if self.1 > 0 {
                resume_unwind(Box::new(Self(Arc::clone(&self.0), self.1 - 1)));
            }
        }
    }

    fn dropped(inside: usize) -> usize {
        let dropped = Arc::new(AtomicUsize::new(0));
        let payload = Matryoshka(Arc::clone(&dropped), inside);
        assert!(!contain(move || resume_unwind(Box::new(payload))));
        dropped.load(SeqCst)
    }

    #[test]
    fn the_payload_of_a_contained_panic_is_dropped_and_so_are_those_of_its_destructor() {
        for inside in [0, 1, 5] {
            assert_eq!(dropped(inside), inside + 1);
        }
    }

    #[test]
    fn a_payload_whose_destructors_never_cease_to_panic_is_forgotten_in_the_end() {
        assert_eq!(dropped(usize::MAX), MAX_PAYLOADS);
    }

    #[test]
    fn what_returns_is_told_to_have_returned() {
        assert!(contain(|| {}));
    }
}
