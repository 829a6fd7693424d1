//! Waits for several futures leave nothing behind with those that go on.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bowline::ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
use bowline::{ReturnWhen, ThreadPoolExecutor, as_completed, deadlock, promise, wait};

use super::counting::live_bytes;
use crate::support::alone;
use crate::support::deadlocks::Gate;

const EVERY_WAY: [ReturnWhen; 3] = [FirstCompleted, FirstException, AllCompleted];

/// How many bytes more there are after many rounds than after a few. For a process of its own.
fn growth(mut round: impl FnMut()) -> isize {
    // Whatever is made for the first wait that outlasts the grace is made in the first rounds.
    deadlock::set_grace(Duration::ZERO);
    (0..100).for_each(|_| round());
    let before = live_bytes();
    (0..1_000).for_each(|_| round());
    live_bytes() - before
}

#[test]
fn waits_that_are_over_leave_nothing_with_the_futures() {
    alone(|| {
        let (promise, future) = promise::<u8>();
        let timeout = Some(Duration::from_micros(20));
        for return_when in EVERY_WAY {
            let grown = growth(|| assert_eq!(wait([&future], return_when, timeout).not_done.len(), 1));
            assert_eq!(grown, 0, "{return_when:?} with a time-out");
        }
        let grown = growth(|| {
            let (kept, done) = bowline::promise::<u8>();
            kept.set_result(1).unwrap();
            assert_eq!(wait([&future, &done], FirstCompleted, None).done.len(), 1);
        });
        assert_eq!(grown, 0, "ended by the other one");
        let grown = growth(|| drop(as_completed([&future])));
        assert_eq!(grown, 0, "an iterator that is dropped");
        let grown = growth(|| assert!(as_completed([&future]).timeout(Duration::ZERO).next().unwrap().is_err()));
        assert_eq!(grown, 0, "an iterator whose time is over");
        drop(promise);
    });
}

#[test]
fn a_wait_ended_by_another_s_future_leaves_nothing_with_those_that_go_on() {
    alone(|| {
        let (promise, lasting) = promise::<u8>();
        let pool = ThreadPoolExecutor::new(1);
        let (tell, told) = mpsc::channel();
        let grown = growth(|| {
            let gate = Arc::new(Gate::new());
            let theirs = Arc::clone(&gate);
            let quick = pool.submit(move || {
                theirs.pass();
                1
            });
            let tell = tell.clone();
            quick.add_done_callback(move |_| tell.send(()).unwrap());
            gate.open();
            assert_eq!(wait([&lasting, &quick], FirstCompleted, None).done.len(), 1);
            told.recv().unwrap();
            // The worker has let go of the task.
            pool.submit(|| ()).result().unwrap();
        });
        // A worker that falls asleep may allocate for itself. A leak is of 64 bytes and more each round.
        assert!(grown.abs() < 16 << 10, "{grown} bytes");
        drop(promise);
    });
}
