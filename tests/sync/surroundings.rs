//! Where a lock is used: in destructors of thread-locals, initialisers of statics, before and after `main`, on threads
//! without a name and on threads that Rust did not start.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;

use bowline::deadlock::Kind;
use bowline::sync::LockGuard;
use bowline::{Lock, RLock};

use crate::support::{
    LIMIT, find_thread, in_fresh_process, spawn_named, stderr, until_thread_where, until_waiting, wait_until, within,
};

/// What is left to do when a thread-local is destroyed.
struct Last(Option<Box<dyn FnOnce()>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

thread_local! {
    static EARLY: RefCell<Last> = const { RefCell::new(Last(None)) };
    static LATE: RefCell<Last> = const { RefCell::new(Last(None)) };
}

fn at_thread_end(local: &'static thread::LocalKey<RefCell<Last>>, run: impl FnOnce() + 'static) {
    local.with_borrow_mut(|last| last.0 = Some(Box::new(run)));
}

/// A lock that lives as long as the process, for destructors that outlive a test's scope.
fn eternal<T>(lock: Lock<T>) -> &'static Lock<T> {
    Box::leak(Box::new(lock))
}

#[test]
fn a_lock_works_in_the_destructor_of_a_thread_local() {
    within(LIMIT, || {
        let count = eternal(Lock::new(0));
        // Registered before the thread's first lock, and after it: destroyed on both sides of whatever a first lock
        // leaves behind.
        let body = move || {
            at_thread_end(&EARLY, move || *count.lock() += 1);
            *count.lock() += 10;
            at_thread_end(&LATE, move || *count.acquire().unwrap() += 100);
        };
        thread::spawn(body).join().unwrap();
        assert_eq!(*count.try_lock().unwrap(), 111);
    });
}

#[test]
fn a_threads_only_lock_may_be_in_the_destructor_of_a_thread_local() {
    within(LIMIT, || {
        let count = eternal(Lock::new(0));
        thread::spawn(move || at_thread_end(&LATE, move || *count.lock() += 1)).join().unwrap();
        assert_eq!(*count.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_destructor_of_a_thread_local_waits_for_its_lock() {
    within(LIMIT, || {
        let count = eternal(Lock::named("wanted at the end", 0));
        let guard = count.lock();
        let body = move || {
            at_thread_end(&EARLY, move || *count.lock() += 1);
            drop(Lock::new(()).lock());
        };
        let ending = thread::Builder::new().name("ending".to_owned()).spawn(body).unwrap();
        until_waiting("ending");
        drop(guard);
        ending.join().unwrap();
        assert_eq!(*count.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_relock_in_the_destructor_of_a_thread_local_is_reported() {
    within(LIMIT, || {
        let (lock, kind) = (eternal(Lock::new(())), eternal(Lock::new(None)));
        let body = move || {
            at_thread_end(&LATE, move || {
                let _guard = lock.lock();
                *kind.lock() = Some(lock.acquire().map(drop).unwrap_err().report().kind());
            });
        };
        thread::spawn(body).join().unwrap();
        assert_eq!(*kind.lock(), Some(Kind::Relock));
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn a_guard_kept_in_a_thread_local_holds_until_its_destructor() {
    within(LIMIT, || {
        let lock = eternal(Lock::new(0));
        let (kept, is_kept) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        thread::scope(|s| {
            let keeper = s.spawn(move || {
                let guard: LockGuard<'static, i32> = lock.lock();
                at_thread_end(&EARLY, move || drop(guard));
                kept.send(()).unwrap();
                may_end.recv().unwrap();
            });
            is_kept.recv().unwrap();
            let waiter = spawn_named(s, "waits for a thread-local", || lock.acquire().map(|mut guard| *guard += 1));
            until_waiting("waits for a thread-local");
            end.send(()).unwrap();
            waiter.join().unwrap().expect("released, not abandoned");
            keeper.join().unwrap();
        });
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn a_lock_works_in_the_initialiser_of_a_static() {
    static STEPS: Lock<u32> = Lock::named("steps", 0);
    static LAZY: LazyLock<Lock<u32>> = LazyLock::new(|| {
        let lock = Lock::new(*STEPS.lock());
        *STEPS.lock() += 1;
        *lock.lock() += 40;
        lock
    });

    within(LIMIT, || {
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| *LAZY.lock() += 1);
            }
        });
        assert_eq!((*LAZY.lock(), *STEPS.lock()), (44, 1));
    });
}

#[test]
fn a_thread_without_a_name_locks_waits_and_is_reported() {
    within(LIMIT, || {
        let lock = Lock::named("nameless waits", 0);
        let guard = lock.lock();
        thread::scope(|s| {
            let nameless = s.spawn(|| {
                assert_eq!(thread::current().name(), None);
                let mut guard = lock.lock();
                *guard += 1;
                lock.acquire().map(drop).unwrap_err()
            });
            until_thread_where(|thread| {
                let wait = thread.waits_for().map(|wait| wait.resource().name());
                thread.name().is_none() && wait == Some(Some("nameless waits"))
            });
            drop(guard);
            let deadlock = nameless.join().unwrap();
            assert_eq!(deadlock.report().threads()[0].name(), None);
            assert!(!deadlock.to_string().is_empty());
        });
        assert_eq!(lock.into_inner(), 1);
    });
}

#[test]
#[cfg(unix)]
fn a_thread_that_rust_did_not_start_locks_waits_and_leaves_nothing() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(Vec::new()));
        let again = Arc::new(RLock::new(()));
        for _ in 0..20 {
            let (theirs, twice) = (Arc::clone(&lock), Arc::clone(&again));
            crate::support::foreign::run(move || {
                let _twice = (twice.lock(), twice.lock());
                let mut guard = theirs.lock();
                guard.push(theirs.acquire().map(drop).unwrap_err().report().kind());
            });
            // Its guards are gone, and so is it.
            assert!(lock.try_lock().is_some() && again.try_lock().is_some());
        }
        assert_eq!(*lock.lock(), [Kind::Relock; 20]);
    });
}

#[test]
fn a_thread_that_ended_without_holds_is_in_no_picture() {
    within(LIMIT, || {
        let lock = Lock::new(());
        thread::scope(|s| {
            let body = || {
                let _guard = lock.lock();
                assert_eq!(find_thread("comes and goes").unwrap().holds().len(), 1);
            };
            spawn_named(s, "comes and goes", body).join().unwrap();
        });
        assert!(find_thread("comes and goes").is_none());
    });
}

#[test]
#[cfg(unix)]
fn a_lock_works_after_main_has_returned() {
    unsafe extern "C" {
        fn atexit(run: extern "C" fn()) -> std::ffi::c_int;
    }

    static LOCK: Lock<u32> = Lock::named("the last one", 0);
    static BUSY: Lock<u32> = Lock::new(0);
    static STEP: AtomicU32 = AtomicU32::new(0);

    extern "C" fn after_main() {
        let mut guard = LOCK.lock();
        *guard += 1;
        let report = LOCK.acquire().map(drop).unwrap_err().to_string();
        // A wait that another thread ends.
        STEP.store(1, SeqCst);
        wait_until(|| STEP.load(SeqCst) == 2);
        *BUSY.lock() += 1;
        eprintln!("after main: {} {} {report}", *guard, *BUSY.lock());
    }

    let body = || {
        drop(LOCK.lock());
        // SAFETY:
        // - the function may be called at any time, and does not unwind unless the test fails.
        assert_eq!(unsafe { atexit(after_main) }, 0);
        thread::spawn(|| {
            wait_until(|| STEP.load(SeqCst) == 1);
            let mut guard = BUSY.lock();
            STEP.store(2, SeqCst);
            until_thread_where(|thread| thread.waits_for().is_some());
            *guard += 1;
        });
    };
    let Some(output) = in_fresh_process("a_lock_works_after_main_has_returned", &[], body) else { return };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("after main: 1 2 deadlock: "), "{stderr}");
    assert!(stderr.contains("'the last one'"), "{stderr}");
}

/// What a lock did before `main`: counted, and reported a relock.
/// Set for the process in which a lock is used before `main`.
const LOCKS_BEFORE_MAIN: &str = "BOWLINE_TEST_LOCKS_BEFORE_MAIN";

static BEFORE_MAIN: Mutex<Option<(u32, Kind)>> = Mutex::new(None);

#[cfg(target_os = "linux")]
#[used]
// SAFETY:
// - the loader calls the functions whose addresses are in this section, once, before `main`; this one takes none of
//   their arguments, which the C calling convention allows.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn before_main() {
        if std::env::var_os(LOCKS_BEFORE_MAIN).is_none() {
            return;
        }
        static LOCK: Lock<u32> = Lock::named("the first one", 0);
        let mut guard = LOCK.lock();
        *guard += 1;
        if let Err(deadlock) = LOCK.acquire() {
            *BEFORE_MAIN.lock().unwrap() = Some((*guard, deadlock.report().kind()));
        }
    }
    before_main
};

#[test]
#[cfg(target_os = "linux")]
fn a_lock_works_before_main() {
    let body = || assert_eq!(*BEFORE_MAIN.lock().unwrap(), Some((1, Kind::Relock)));
    let Some(output) = in_fresh_process("a_lock_works_before_main", &[(LOCKS_BEFORE_MAIN, "1")], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}
