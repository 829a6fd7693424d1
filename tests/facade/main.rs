//! `bowline::facade`: locks of other libraries' interfaces, released without a guard, in code that knows of no deadlocks.

#[path = "../support/mod.rs"]
mod support;

mod condvar;
mod mutex;
mod once;
mod policy;
mod rwlock;

use bowline::deadlock;
use bowline::deadlock::report::StuckThread;
use bowline::facade::{Anonymous, RawMutex, RawRwLock, Unowned};

use support::find_thread_where;

type Mutex = RawMutex<Anonymous>;
type RwLock = RawRwLock<Anonymous>;

/// What the calling thread holds, as the wait-for graph has it: the primitives, and the lines.
fn held() -> Vec<(&'static str, u32)> {
    let lock = bowline::Lock::new(());
    let _guard = lock.lock();
    let deadlock = lock.acquire().expect_err("it is held");
    let threads = deadlock.report().threads();
    let held = threads[0].holds().iter().filter(|held| held.resource().is_foreign());
    held.map(|held| (held.resource().primitive(), held.site().line())).collect()
}

/// From now on the process ends when a wait for one of these locks is told of as part of a deadlock.
fn abort_if_one_is_accused() {
    let is_foreign = |thread: &StuckThread| thread.waits_for().is_some_and(|wait| wait.resource().is_foreign());
    deadlock::on_deadlock(move |report| {
        if report.threads().iter().any(is_foreign) {
            eprintln!("{report}");
            std::process::abort();
        }
    })
    .keep();
}

/// Whether a thread with this name waits and is in no deadlock, as far as anybody has told.
fn waits(name: &str) -> bool {
    find_thread_where(|thread| thread.name() == Some(name) && thread.waits_for().is_some()).is_some()
}

#[test]
fn a_lock_has_the_size_of_its_words() {
    assert_eq!([size_of::<Mutex>(), size_of::<RawMutex<Unowned>>()], [8, 8]);
    assert_eq!([size_of::<RwLock>(), size_of::<RawRwLock<Unowned>>()], [24, 24]);
    assert_eq!(size_of::<bowline::facade::RawCondvar>(), 8);
    assert_eq!(size_of::<bowline::facade::RawOnce>(), 8);
}

#[test]
fn a_report_tells_a_foreign_lock_by_letter_primitive_and_lines() {
    support::alone(|| {
        deadlock::set_policy(deadlock::Policy::Panic);
        let (mutex, line) = (Mutex::INIT, line!() + 1);
        mutex.lock();
        let panic = std::panic::catch_unwind(|| mutex.lock()).unwrap_err();
        let text = support::message(&*panic).split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "A = Mutex, made by parking_lot thread".to_owned(),
            format!("waits for A at {}:{}", file!(), line + 1),
            format!("taken at {}:{line}", file!()),
            "or use a `ReentrantMutex`".to_owned(),
        ] {
            assert!(text.contains(&part), "no {part:?} in {text}");
        }
        // SAFETY:
        // - it is locked.
        unsafe { mutex.unlock() };
        assert!(!mutex.is_locked() && held().is_empty());
    });
}
