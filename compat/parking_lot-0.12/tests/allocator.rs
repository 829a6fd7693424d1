//! The program's allocator may lock.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use parking_lot::{Mutex, RwLock};

/// Counts under a lock what it has given out.
struct Locking {
    live: Mutex<isize>,
    limit: RwLock<usize>,
}

static OPERATIONS: AtomicUsize = AtomicUsize::new(0);

impl Locking {
    fn note(&self, change: isize) {
        OPERATIONS.fetch_add(1, Relaxed);
        assert!(change.unsigned_abs() < *self.limit.read());
        *self.live.lock() += change;
    }
}

// SAFETY:
// - everything is left to the system's allocator.
unsafe impl GlobalAlloc for Locking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size().cast_signed());
        // SAFETY:
        // - as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.note(-layout.size().cast_signed());
        // SAFETY:
        // - as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Locking = Locking { live: parking_lot::const_mutex(0), limit: parking_lot::const_rwlock(usize::MAX) };

#[test]
fn an_allocator_that_locks_works_on_every_thread_from_its_first_allocation_on() {
    let before = OPERATIONS.load(Relaxed);
    // More threads than there is room for at the start, each of which locks for the first time when it allocates.
    for round in 0..200 {
        let threads = thread::Builder::new().name(format!("thread {round}"));
        let boxed = threads.spawn(move || Box::new(round)).unwrap().join().unwrap();
        assert_eq!(*boxed, round);
    }
    let all: Vec<_> = (0..100).map(|at| thread::spawn(move || vec![at; 100])).collect();
    let sum: usize = all.into_iter().map(|thread| thread.join().unwrap()[0]).sum();
    assert_eq!(sum, 4950);
    assert!(OPERATIONS.load(Relaxed) - before > 1000 && *ALLOCATOR.live.lock() > 0);
}

/// The limit: a thread that has to wait for a lock inside the allocator allocates for its place in the parking lot, as parking_lot's
/// does. What that asks for is granted as long as the lock is released meanwhile.
#[test]
fn threads_that_contend_inside_the_allocator_go_on() {
    let threads: Vec<_> =
        (0..4).map(|_| thread::spawn(|| (0..20_000).map(|at| vec![at; 3].len()).sum::<usize>())).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 60_000));
}

#[test]
fn seventeen_nested_locks_inside_the_allocator_are_listed_before_they_are_taken() {
    let locks: Vec<_> = (0..40).map(Mutex::new).collect();
    let mut guards = Vec::with_capacity(40);
    guards.extend(locks.iter().map(Mutex::lock));
    assert_eq!(support::held(), 40);
    drop(guards);
    assert_eq!(support::held(), 0);
}
