//! What a running thread holds is read whole or not at all.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use loom::thread;

use super::explore;
use crate::deadlock::graph::slot::Slot;
use crate::primitive::Word;

/// A word whose fences do nothing: the negative control's.
struct Unfenced(AtomicPtr<()>);

impl Word for Unfenced {
    fn null() -> Self {
        Self(Word::null())
    }
    fn load(&self, order: Ordering) -> *mut () {
        Word::load(&self.0, order)
    }
    fn store(&self, value: *mut (), order: Ordering) {
        Word::store(&self.0, value, order);
    }
    fn fence(_: Ordering) {}
}

/// Takes, gives and takes again, while another thread reads: holds with a name, which have a second word, or without one.
/// Returns whether a read met the second hold, or a change.
fn a_reader_and_a_writer<W: Word + Send + Sync + 'static>([first_named, second_named]: [bool; 2]) -> bool {
    let take = |slot: &Slot<W, 3>, hold: usize, named: bool| {
        let word = std::ptr::without_provenance_mut(hold);
        slot.write(slot.version(), [word], named.then_some([word]), None);
    };
    let slot = Arc::new((Slot::<W, 3>::new(), AtomicBool::new(false)));
    take(&slot.0, 1, first_named);
    slot.1.store(true, Ordering::Release);
    let reader = thread::spawn({
        let slot = Arc::clone(&slot);
        move || slot.0.read(|| slot.1.load(Ordering::Acquire)).map(|words| words.map(|word| word.addr()))
    });
    slot.1.store(false, Ordering::Release);
    take(&slot.0, 2, second_named);
    slot.1.store(true, Ordering::Release);
    match reader.join().unwrap() {
        Some([hold, name, _]) => {
            let named = if hold == 1 { first_named } else { second_named };
            assert!(!named || name == hold, "torn");
            hold == 2
        }
        None => true,
    }
}

#[test]
fn a_read_is_never_torn() {
    for named in [[true, true], [false, true], [true, false]] {
        explore(3, move || a_reader_and_a_writer::<AtomicPtr<()>>(named));
    }
}

#[test]
#[should_panic(expected = "torn")]
fn without_fences_a_read_is_torn() {
    explore(3, || a_reader_and_a_writer::<Unfenced>([true, true]));
}
