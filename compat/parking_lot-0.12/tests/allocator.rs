//! The program's allocator may lock, as long as no thread has to wait for that.
//!
//! The limit is parking_lot's as well: the parking lot makes room for a thread that waits for the first time, and allocates with its own
//! locks held. And whoever has waited for long frees what a report would have needed, with the lock held. So this program has no
//! test harness, whose threads allocate at the same time.

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

fn main() {
    const HAZARD: &str = "BOWLINE_HAZARD";
    // What a variable asks for is known before the allocator asks.
    if std::env::var_os(HAZARD).is_none() {
        let this = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(this).env(HAZARD, "warn").status().expect("it runs");
        assert!(status.success(), "{HAZARD}=warn: {status}");
    }
    support::within(|| {
        an_allocator_that_locks_works_on_every_thread_from_its_first_allocation_on();
        more_locks_than_are_listed_inline_are_listed_before_they_are_taken();
    });
}

fn an_allocator_that_locks_works_on_every_thread_from_its_first_allocation_on() {
    let before = OPERATIONS.load(Relaxed);
    for round in 0..200 {
        let thread = thread::Builder::new().name(format!("thread {round}"));
        let boxed = thread.spawn(move || Box::new(round)).unwrap().join().unwrap();
        assert_eq!(*boxed, round);
    }
    assert!(OPERATIONS.load(Relaxed) - before > 1000 && *ALLOCATOR.live.lock() > 0);
}

fn more_locks_than_are_listed_inline_are_listed_before_they_are_taken() {
    let locks: Vec<_> = (0..40).map(Mutex::new).collect();
    let mut guards = Vec::with_capacity(40);
    guards.extend(locks.iter().map(Mutex::lock));
    assert_eq!(support::held(), if cfg!(feature = "send_guard") { 0 } else { 40 });
    drop(guards);
    assert_eq!(support::held(), 0);
}
