//! The read-write lock: exclusion, publication, no lost wake-up, readers that show themselves.
//!
//! Two threads suffice for exclusion: each rule is about one reader and one writer, or two writers, and a further reader
//! changes a number that the word counts, or an entry of its own. A third thread is there where one wakes another.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::RwLock;
use crate::primitive::{Ingredient, events, let_pauses_end, let_time_pass, remove, soon};
use crate::sync::{RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};

/// A value that loom watches: a read and a write at the same time, or unordered, fail the model.
pub(super) struct Value(loom::cell::UnsafeCell<u32>);

// SAFETY:
// - loom checks the accesses.
unsafe impl Sync for Value {}
// SAFETY:
// - as above.
unsafe impl Send for Value {}

impl Value {
    pub(super) fn get(&self) -> u32 {
        // SAFETY:
        // - the lock is held for reading; loom checks that.
        self.0.with(|value| unsafe { *value })
    }

    pub(super) fn add_one(&mut self) {
        // SAFETY:
        // - the lock is held for writing; loom checks that.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

/// A guard that a failing model does not drop.
pub(super) struct Kept<G>(ManuallyDrop<G>);

pub(super) fn kept<G>(guard: G) -> Kept<G> {
    Kept(ManuallyDrop::new(guard))
}

impl<G> Kept<G> {
    fn into_inner(mut self) -> G {
        // SAFETY:
        // - it is taken once: this is not dropped.
        let guard = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        guard
    }
}

impl<G> Drop for Kept<G> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY:
            // - this is its end.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl<G: Deref<Target = Value>> Deref for Kept<G> {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.0
    }
}

impl<G: DerefMut<Target = Value>> DerefMut for Kept<G> {
    fn deref_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

pub(super) type Shelf = Arc<RwLock<Value>>;

/// Returns a lock whose readers are counted; after the next but one they would show themselves.
pub(super) fn counted() -> Shelf {
    counted_in(RwLock::new(Value(loom::cell::UnsafeCell::new(0))))
}

/// Returns the same with a rank: all goes by the cold paths.
fn counted_with_rank() -> Shelf {
    counted_in(RwLock::ranked("ranked", 1, Value(loom::cell::UnsafeCell::new(0))))
}

fn counted_in(lock: RwLock<Value>) -> Shelf {
    // loom's atomics are made on first use: here, before the lock is shared.
    drop(lock.write());
    Arc::new(lock)
}

/// Returns a lock whose readers show themselves.
pub(super) fn biased() -> Shelf {
    biased_of(counted())
}

fn biased_of(lock: Shelf) -> Shelf {
    drop(lock.read());
    drop(lock.read());
    lock
}

pub(super) fn read(lock: &Shelf) -> Kept<RwLockReadGuard<'_, Value>> {
    kept(lock.read())
}

pub(super) fn write(lock: &Shelf) -> Kept<RwLockWriteGuard<'_, Value>> {
    kept(lock.write())
}

/// Writes in one thread and reads in another. Returns whether one of them had to wait and was woken.
fn a_reader_and_a_writer(lock: Shelf, removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let reader = thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            let seen = read(&lock).get();
            // A writer that was overlooked looks again.
            let_pauses_end();
            seen
        }
    });
    write(&lock).add_one();
    let seen = reader.join().unwrap();
    assert!(seen <= 1);
    assert_eq!(read(&lock).get(), 1);
    events().unparks > 0
}

#[test]
fn a_counted_reader_and_a_writer_exclude_each_other() {
    explore(3, || a_reader_and_a_writer(counted(), None));
}

#[test]
fn a_reader_that_shows_itself_and_a_writer_exclude_each_other() {
    explore(3, || a_reader_and_a_writer(biased(), None));
}

#[test]
fn a_reader_and_a_writer_of_a_lock_with_a_rank_exclude_each_other() {
    explore(3, || a_reader_and_a_writer(counted_with_rank(), None));
    explore(3, || a_reader_and_a_writer(biased_of(counted_with_rank()), None));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_shown_reader_of_a_lock_with_a_rank_that_does_not_look_again_meets_a_writer() {
    explore(3, || a_reader_and_a_writer(biased_of(counted_with_rank()), Some(Ingredient::LookAfterShowing)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_a_writer_sees_too_little_of_a_counted_reader() {
    explore(3, || a_reader_and_a_writer(counted(), Some(Ingredient::ReleaseOnUnlock)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_a_writer_sees_too_little_of_a_reader_that_shows_itself() {
    explore(3, || a_reader_and_a_writer(biased(), Some(Ingredient::ReleaseOnUnlock)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_a_look_after_showing_a_reader_meets_a_writer() {
    explore(3, || a_reader_and_a_writer(biased(), Some(Ingredient::LookAfterShowing)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_a_look_for_shown_readers_a_writer_meets_one() {
    explore(3, || a_reader_and_a_writer(biased(), Some(Ingredient::LookForShown)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_order_of_looks_a_reader_and_a_writer_miss_each_other() {
    explore(3, || a_reader_and_a_writer(biased(), Some(Ingredient::OrderOfLooks)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_second_look_a_writer_misses_the_end_of_a_shown_read() {
    explore(3, || a_reader_and_a_writer(biased(), Some(Ingredient::LookAgain)));
}

#[test]
fn a_reader_that_begins_to_show_itself_and_a_writer_exclude_each_other() {
    explore(3, || {
        let lock = counted();
        drop(lock.read());
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                // The first of the two sets the bias, unless the writer came before.
                let seen = [0, 1].map(|_| read(&lock).get());
                let_pauses_end();
                seen
            }
        });
        write(&lock).add_one();
        let seen = reader.join().unwrap();
        assert!(seen[0] <= seen[1]);
        seen == [0, 0] || events().unparks > 0
    });
}

#[test]
fn full_a_writer_waits_for_shown_and_counted_readers_alike() {
    explore(2, || {
        let lock = biased();
        let readers = [false, true].map(|counted| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                let guard = if counted { kept(lock.read_recursive()) } else { read(&lock) };
                let seen = guard.get();
                drop(guard);
                let_pauses_end();
                seen
            })
        });
        write(&lock).add_one();
        readers.into_iter().for_each(|reader| assert!(reader.join().unwrap() <= 1));
        events().unparks > 0
    });
}

#[test]
fn two_writers_both_get_their_turn() {
    explore(3, || {
        let lock = counted();
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || write(&lock).add_one()
        });
        write(&lock).add_one();
        writer.join().unwrap();
        assert_eq!(read(&lock).get(), 2);
        events().unparks > 0
    });
}

#[test]
fn full_writers_and_a_reader_all_get_their_turn() {
    explore(2, || {
        let lock = counted();
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || write(&lock).add_one()
        });
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || assert!(read(&lock).get() <= 2)
        });
        write(&lock).add_one();
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(read(&lock).get(), 2);
        events().unparks > 1
    });
}

/// A writer gives up while a reader reads, and another waits behind the writer. Returns whether it did, and that other was
/// woken.
fn a_writer_gives_up(lock: &Shelf) -> bool {
    let first = read(lock);
    let writer = thread::spawn({
        let lock = Arc::clone(lock);
        move || match lock.try_write_until(soon()) {
            Some(guard) => {
                kept(guard).add_one();
                false
            }
            None => true,
        }
    });
    let second = thread::spawn({
        let lock = Arc::clone(lock);
        move || assert!(read(&lock).get() <= 1)
    });
    let_time_pass();
    let seen = first.get();
    assert_eq!(seen, 0);
    drop(first);
    let gave_up = writer.join().unwrap();
    second.join().unwrap();
    write(lock).add_one();
    gave_up && events().unparks > 0
}

#[test]
fn readers_go_on_when_the_writer_before_them_gives_up() {
    explore(2, || a_writer_gives_up(&counted()));
}

#[test]
fn a_writer_that_gives_up_leaves_shown_readers_to_the_next() {
    explore(2, || a_writer_gives_up(&biased()));
}

/// Upgrades while another thread does `other`. Returns whether somebody was woken.
fn upgrade_beside(lock: Shelf, other: fn(&Shelf)) -> bool {
    let thread = thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            other(&lock);
            let_pauses_end();
        }
    });
    let upgradable = kept(lock.upgradable_read());
    let seen = upgradable.get();
    let mut guard = kept(RwLockUpgradableReadGuard::upgrade(upgradable.into_inner()));
    assert_eq!(guard.get(), seen, "nobody writes in between");
    guard.add_one();
    drop(guard);
    thread.join().unwrap();
    events().unparks > 0
}

#[test]
fn an_upgrade_waits_for_readers() {
    explore(3, || upgrade_beside(counted(), |lock| assert!(read(lock).get() <= 1)));
}

#[test]
fn an_upgrade_waits_for_readers_that_show_themselves() {
    explore(2, || upgrade_beside(biased(), |lock| assert!(read(lock).get() <= 1)));
}

#[test]
fn nobody_writes_between_an_upgradable_read_and_its_upgrade() {
    explore(3, || upgrade_beside(counted(), |lock| write(lock).add_one()));
}

/// Downgrades while another thread does `other`. Returns whether that thread was woken.
fn downgrade_beside(other: fn(&Shelf)) -> bool {
    let lock = counted();
    let mut guard = write(&lock);
    let thread = thread::spawn({
        let lock = Arc::clone(&lock);
        move || other(&lock)
    });
    guard.add_one();
    let guard = kept(RwLockWriteGuard::downgrade(guard.into_inner()));
    assert_eq!(guard.get(), 1);
    drop(guard);
    thread.join().unwrap();
    events().unparks > 0
}

#[test]
fn a_downgrade_lets_a_reader_in() {
    explore(3, || downgrade_beside(|lock| assert_eq!(read(lock).get(), 1)));
}

#[test]
fn a_downgrade_keeps_a_writer_out() {
    explore(3, || downgrade_beside(|lock| write(lock).add_one()));
}

#[test]
fn full_a_downgrade_lets_readers_in_and_keeps_writers_out() {
    explore(2, || {
        let lock = counted();
        let mut guard = write(&lock);
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || assert!((1..=2).contains(&read(&lock).get()))
        });
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || write(&lock).add_one()
        });
        guard.add_one();
        let guard = kept(RwLockWriteGuard::downgrade(guard.into_inner()));
        assert_eq!(guard.get(), 1);
        drop(guard);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(read(&lock).get(), 2);
        events().unparks > 1
    });
}

#[test]
fn a_recursive_reader_gets_in_before_a_writer_that_waits() {
    explore(3, || {
        let lock = counted();
        let first = read(&lock);
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || write(&lock).add_one()
        });
        let overtakes = lock.try_read().is_none();
        let again = kept(lock.read_recursive());
        assert_eq!((first.get(), again.get()), (0, 0));
        drop(first);
        drop(again);
        writer.join().unwrap();
        overtakes
    });
}
