//! Replies, which come to who waits for them whatever else goes over the same stream, and tasks, which come to their worker
//! whoever sends what at the same moment.

#![cfg(target_os = "linux")]

use std::io::Read;
use std::time::{Duration, Instant};

use bowline::TaskError;
use bowline::task::WorkerExit;
use bowline::thread_pool::ShutdownOptions;
use serde::{Deserialize, Serialize};

use crate::support::folder::Folder;
use crate::support::processes::thread_of;
use crate::support::rogue::{MORE, Rogue, SKIPPED, STOP, rogues, starts};
use crate::support::workers::idle_pool;
use crate::support::{LIMIT, alone, until_asleep, wait_until, within};

/// Longer than what a socket takes.
const LARGE: usize = 4 << 20;

/// A task with long arguments.
fn measure(text: String) -> u64 {
    text.len() as u64
}

/// Not a test: what a rogue does, if this process is one.
#[test]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    rogue.get_up();
    match &*step {
        "answers before it reads on" => {
            rogue.run_first();
            let first = rogue.begin_task();
            // The header of a long one.
            rogue.ignore_region();
            let mut header = [0; 24];
            rogue.stream.read_exact(&mut header).unwrap();
            let length = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
            assert!(length > LARGE);
            rogue.say_frame(MORE, 0, &[]);
            rogue.wait_for("asked");
            rogue.answer(first, 5);
            rogue.wait_for("read");
            rogue.stream.read_exact(&mut vec![0; length]).unwrap();
            rogue.answer(u64::from_le_bytes(header[8..16].try_into().unwrap()), 6);
        }
        "skips what was taken back" => {
            rogue.run_first();
            let first = rogue.begin_task();
            rogue.wait_for("ask");
            rogue.ignore_region();
            let mut part = vec![0; 64 << 10];
            rogue.stream.read_exact(&mut part).unwrap();
            rogue.say_frame(MORE, 0, &[]);
            rogue.note("asked");
            rogue.wait_for("answer");
            rogue.answer(first, 5);
            rogue.note("answered");
            rogue.wait_for("read");
            let length = u32::from_le_bytes(part[4..8].try_into().unwrap()) as usize;
            rogue.stream.read_exact(&mut vec![0; 24 + length - part.len()]).unwrap();
            rogue.say_frame(SKIPPED, u64::from_le_bytes(part[8..16].try_into().unwrap()), &[]);
            rogue.stream.read_exact(&mut part[..24]).unwrap();
            assert_eq!(part[0], STOP);
            rogue.end(0);
        }
        "begins the next one before it answers" => {
            rogue.run_first();
            let both = [(); 2].map(|()| rogue.begin_task());
            rogue.note("has begun both");
            rogue.wait_for("go on");
            for (id, result) in both.into_iter().zip(5..) {
                rogue.answer(id, result);
            }
            // The third was sent ahead, too.
            let third = rogue.hear_task();
            if rogue.has("cancelled") {
                rogue.say_frame(SKIPPED, third, &[]);
            } else {
                rogue.begin(third);
                rogue.answer(third, 7);
            }
        }
        step => panic!("nobody knows the step {step:?}"),
    }
    rogue.sleep();
}

#[test]
fn a_reply_does_not_wait_until_a_long_message_to_its_worker_is_sent() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "answers before it reads on", &folder).build().unwrap();
        let [quick, first] = [(); 2].map(|()| pool.submit(measure, (String::new(),)));
        let mut second = pool.submit(measure, ("x".repeat(LARGE),));
        folder.put("all are submitted");
        assert!(quick.result().is_ok());
        folder.put("asked");
        // The worker reads no byte of the second one meanwhile.
        assert_eq!(first.result().unwrap(), 5);
        assert!(second.result_timeout(Duration::ZERO).is_err());
        folder.put("read");
        assert_eq!((second.result().unwrap(), starts(&folder)), (6, 1));
        let _ = pool.kill();
    });
}

#[test]
fn a_task_that_a_worker_has_begun_is_not_cancelled_though_no_reply_has_told_so() {
    within(LIMIT, || {
        for cancels_all in [false, true] {
            let folder = Folder::new();
            let pool = rogues(1, "begins the next one before it answers", &folder).build().unwrap();
            let [quick, first, second, third] = [(); 4].map(|()| pool.submit(measure, (String::new(),)));
            folder.put("all are submitted");
            assert!(quick.result().is_ok());
            folder.until("has begun both");
            if cancels_all {
                let report = pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
                assert_eq!((report.cancelled, third.cancelled()), (1, true));
                folder.put("cancelled");
            }
            assert!(!second.cancel() && !first.cancel());
            assert!(!second.done());
            folder.put("go on");
            assert_eq!((first.result().unwrap(), second.result().unwrap()), (5, 6));
            assert_eq!(third.result().ok(), (!cancels_all).then_some(7));
            let _ = pool.kill();
        }
    });
}

/// Runs rounds, as long as that is short.
fn rounds() -> impl Iterator<Item = u64> {
    let end = Instant::now() + Duration::from_millis(1500);
    (0..).take_while(move |_| Instant::now() < end)
}

/// Does nothing for so long, and is not late by a sleep.
fn spin(delay: Duration) {
    let end = Instant::now() + delay;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_task_that_is_submitted_while_a_long_one_is_sent_runs_without_another_to_push_it() {
    within(LIMIT, || {
        let pool = idle_pool(1);
        for round in rounds() {
            let text = "x".repeat(230_000 + round as usize % 40 * 20_000);
            let long = pool.submit(measure, (text,));
            spin(Duration::from_nanos(round * 7919 % 400_000));
            let short = pool.submit(u64::pow, (2, 3));
            assert!(long.result().unwrap() > 0);
            assert_eq!(short.result().unwrap(), 8);
        }
    });
}

#[test]
fn a_worker_hears_that_it_is_to_stop_though_the_socket_was_full_of_a_task_that_was_taken_back() {
    within(LIMIT, || {
        // For some of these lengths the task fills the socket to the brim.
        for length in (128..420).step_by(6) {
            let folder = Folder::new();
            let pool = rogues(1, "skips what was taken back", &folder).name("stop").build().unwrap();
            let [quick, first] = [(); 2].map(|()| pool.submit(measure, (String::new(),)));
            let second = pool.submit(measure, ("x".repeat(length << 10),));
            folder.put("all are submitted");
            assert!(quick.result().is_ok());
            wait_until(|| first.running());
            // Sent ahead by the thread that has read the first reply.
            until_asleep(thread_of("stop_0"));
            assert!(second.cancel());
            assert!(!pool.shutdown_with(ShutdownOptions::new().timeout(Duration::ZERO)).is_complete());
            for (told, noted) in [("ask", "asked"), ("answer", "answered")] {
                folder.put(told);
                folder.until(noted);
                until_asleep(thread_of("stop_0"));
            }
            folder.put("read");
            assert!(pool.shutdown().is_complete(), "{length} KiB");
            assert_eq!((first.result().unwrap(), starts(&folder)), (5, 1));
        }
    });
}

/// As deep as it is long.
#[derive(Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

impl Chain {
    fn new(length: usize) -> Self {
        (0..length).fold(Self(None), |chain, _| Self(Some(Box::new(chain))))
    }

    fn length(&self) -> usize {
        std::iter::successors(self.0.as_ref(), |chain| chain.0.as_ref()).count()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut chain) = next {
            next = chain.0.take();
        }
    }
}

#[test]
fn a_result_that_is_nested_however_deep_comes_back_or_is_an_error_of_its_task() {
    // Where it is too deep for whom depends on the optimizer. An overflow here would be the end of the process.
    alone(|| {
        let pool = idle_pool(1);
        for length in [1000, 10_000, 20_000, 24_000, 30_000, 60_000, 180_000, 1_000_000] {
            match pool.submit(Chain::new, (length,)).result() {
                Ok(chain) => assert_eq!(chain.length(), length),
                Err(TaskError::Encode(error) | TaskError::Decode(error)) => {
                    assert!(length > 1000 && error.to_string().contains("too deep for the stack"), "{error}");
                }
                Err(TaskError::WorkerLost(lost)) => {
                    assert!(length > 1000 && *lost.exit() == WorkerExit::StackOverflow, "{lost}");
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(pool.submit(u64::pow, (2, 3)).result().unwrap(), 8);
    });
}
