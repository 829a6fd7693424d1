//! Handles: results, panics, names, time limits, and what is dropped where.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bowline::thread;

use crate::support::gate::Gate;
use crate::support::{LIMIT, message, stderr, until_waiting, wait_until, within};

/// Tells when and where it is dropped.
struct Tell(mpsc::Sender<Option<String>>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(str::to_owned));
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

#[test]
fn a_join_returns_the_value_or_the_payload_of_the_panic() {
    within(LIMIT, || {
        assert_eq!(thread::spawn(|| vec![1, 2]).join().unwrap(), [1, 2]);
        let payload = thread::spawn(|| -> u8 { std::panic::panic_any(404) }).join().unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&404));
        let payload = thread::spawn(|| -> u8 { panic!("out of {}", "rope") }).acquire_join().unwrap().unwrap_err();
        assert_eq!(message(&*payload), "out of rope");
        let sum = thread::spawn(|| thread::spawn(|| 40).join().unwrap() + 2).join();
        assert_eq!(sum.unwrap(), 42);
    });
}

#[test]
fn a_thread_has_the_name_and_the_stack_that_it_was_given() {
    within(LIMIT, || {
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(named("given").spawn(name).unwrap().join().unwrap().as_deref(), Some("given"));
        assert_eq!(thread::spawn(name).join().unwrap(), None);
        let handle = named("asked").spawn(|| {}).unwrap();
        assert_eq!(handle.thread().name(), Some("asked"));
        handle.join().unwrap();
        // Four megabytes would not fit into the stack that is usual.
        let deep = thread::Builder::new().stack_size(16 << 20).spawn(|| std::hint::black_box([1_u8; 4 << 20])[7]);
        assert_eq!(deep.unwrap().join().unwrap(), 1);
        assert!(std::panic::catch_unwind(|| named("a\0b").spawn(|| {})).is_err());
        let refused = thread::Builder::new().stack_size(usize::MAX >> 1).spawn(|| {});
        assert!(refused.is_err());
    });
}

#[test]
fn a_closure_that_no_thread_runs_is_dropped_by_its_spawner() {
    let (tell, told) = mpsc::channel();
    let tell = Tell(tell);
    let refused = thread::Builder::new().stack_size(usize::MAX >> 1).spawn(move || drop(tell));
    assert!(refused.is_err());
    assert_eq!(told.try_recv(), Ok(thread::current().name().map(str::to_owned)));
}

#[test]
fn a_join_with_a_limit_keeps_the_handle() {
    within(LIMIT, || {
        let gate = Gate::default();
        let theirs = gate.clone();
        let handle = thread::spawn(move || theirs.pass());
        let start = Instant::now();
        let handle = handle.join_timeout(Duration::from_millis(30)).unwrap_err();
        assert!(start.elapsed() >= Duration::from_millis(30));
        let handle = handle.join_timeout(Duration::ZERO).unwrap_err();
        let handle = handle.join_until(Instant::now()).unwrap_err();
        assert!(!handle.is_finished());
        gate.open();
        handle.join_timeout(Duration::MAX).unwrap().unwrap();
        // A limit that is over does not matter to a thread that has ended.
        let handle = thread::spawn(|| 7);
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(())).join().unwrap().unwrap();
        told.recv().unwrap();
        let mut handle = Err(handle);
        wait_until(|| {
            handle = match std::mem::replace(&mut handle, Ok(Ok(0))) {
                Err(handle) => handle.join_until(Instant::now()),
                joined => joined,
            };
            handle.is_ok()
        });
        assert_eq!(handle.unwrap().unwrap(), 7);
    });
}

#[test]
fn a_join_ends_after_the_destructors_of_thread_locals() {
    struct Late(Gate, Arc<AtomicBool>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.pass();
            self.1.store(true, SeqCst);
        }
    }
    thread_local! { static LAST: RefCell<Option<Late>> = const { RefCell::new(None) } }
    within(LIMIT, || {
        let (gate, dropped) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let late = Late(gate.clone(), Arc::clone(&dropped));
        let handle = thread::spawn(move || LAST.set(Some(late)));
        wait_until(|| handle.is_finished());
        let handle = handle.join_timeout(Duration::from_millis(20)).unwrap_err();
        assert!(!dropped.load(SeqCst));
        thread::scope(|s| {
            let joiner = named("joins a thread that is nearly over").spawn_scoped(s, || handle.join().unwrap());
            until_waiting("joins a thread that is nearly over");
            gate.open();
            joiner.unwrap().join().unwrap();
            assert!(dropped.load(SeqCst));
        });
    });
}

#[test]
fn whoever_lets_go_of_a_result_last_drops_it() {
    within(LIMIT, || {
        let spawn = |gate: &Gate| {
            let (tell, told) = mpsc::channel();
            let (gate, tell) = (gate.clone(), Tell(tell));
            let run = move || {
                gate.pass();
                tell
            };
            (named("makes a result").spawn(run).unwrap(), told)
        };
        let gate = Gate::default();
        let (detached, told) = spawn(&gate);
        drop(detached);
        gate.open();
        assert_eq!(told.recv().unwrap().as_deref(), Some("makes a result"));

        let (kept, told) = spawn(&gate);
        wait_until(|| kept.is_finished());
        assert!(told.try_recv().is_err());
        drop(kept);
        assert_eq!(told.recv().unwrap().as_deref(), thread::current().name());

        let (joined, told) = spawn(&gate);
        drop(joined.join());
        assert_eq!(told.recv().unwrap().as_deref(), thread::current().name());
    });
}

#[test]
fn debug_shows_a_handle_without_waiting() {
    within(LIMIT, || {
        let gate = Gate::default();
        let theirs = gate.clone();
        let handle = named("shown").spawn(move || theirs.pass()).unwrap();
        assert_eq!(format!("{handle:?}"), "JoinHandle { thread: Some(\"shown\"), is_finished: false, .. }");
        gate.open();
        handle.join().unwrap();
    });
}

#[test]
fn a_result_whose_destructor_panics_on_its_thread_ends_the_process() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("meant to");
        }
    }
    let Some(output) = crate::support::in_fresh_process(
        "a_result_whose_destructor_panics_on_its_thread_ends_the_process",
        &[],
        || {
            let gate = Gate::default();
            let theirs = gate.clone();
            let handle = thread::spawn(move || {
                theirs.pass();
                Bomb
            });
            drop(handle);
            gate.open();
            thread::sleep(LIMIT);
        },
    ) else {
        return;
    };
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("bowline: panic in the destructor of a thread's result, aborting"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_handle_has_the_systems_thread() {
    use std::os::unix::thread::JoinHandleExt;
    within(LIMIT, || {
        // SAFETY:
        // - no preconditions.
        let handle = thread::spawn(|| unsafe { libc::pthread_self() });
        let id = handle.as_pthread_t();
        assert_eq!(handle.join().unwrap() as u64, id as u64);
        let handle = thread::spawn(|| {});
        let id = handle.into_pthread_t();
        // SAFETY:
        // - nobody else joins or detaches this thread.
        assert_eq!(unsafe { libc::pthread_join(id as libc::pthread_t, std::ptr::null_mut()) }, 0);
    });
}
