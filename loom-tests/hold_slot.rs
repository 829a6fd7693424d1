//! What a running thread holds is read whole or not at all.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use loom::thread;

use super::explore;
use crate::deadlock::holds::Slot;
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

/// Takes, gives and takes again, while another thread reads. Returns whether a read met the second hold, or a change.
fn a_reader_and_a_writer<W: Word + Send + Sync + 'static>() -> bool {
    let number = |n: usize| [std::ptr::without_provenance_mut(n); 2];
    let slot = Arc::new((Slot::<W, 2>::new(), AtomicBool::new(true)));
    slot.0.write(slot.0.version(), number(1));
    let reader = thread::spawn({
        let slot = Arc::clone(&slot);
        move || slot.0.read(|| slot.1.load(Ordering::Acquire)).map(|words| words.map(|word| word.addr()))
    });
    slot.1.store(false, Ordering::Release);
    slot.0.write(slot.0.version(), number(2));
    slot.1.store(true, Ordering::Release);
    match reader.join().unwrap() {
        Some([a, b]) => {
            assert_eq!(a, b, "torn");
            a == 2
        }
        None => true,
    }
}

#[test]
fn a_read_is_never_torn() {
    explore(3, a_reader_and_a_writer::<AtomicPtr<()>>);
}

#[test]
#[should_panic(expected = "torn")]
fn without_fences_a_read_is_torn() {
    explore(3, a_reader_and_a_writer::<Unfenced>);
}
