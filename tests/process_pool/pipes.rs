//! Messages that are longer than a socket, both ways at once: nobody waits for who waits for him, and nothing that was said
//! is lost.

#![cfg(target_os = "linux")]

use std::io::Read;
use std::thread;

use bowline::task::WorkerExit;
use bowline::{Future, ProcessPoolExecutor};

use crate::support::folder::{Folder, begin, pass};
use crate::support::processes::{is_stopped, kill, resume, stop, thread_of, until_gone};
use crate::support::rogue::{DONE, MORE, Rogue, frame, rogues, starts};
use crate::support::workers::{assert_killed, idle_pool, lost, only_worker};
use crate::support::{Dice, LIMIT, until_asleep, wait_until, within};

/// Longer than what a socket takes.
const LARGE: usize = 4 << 20;

/// A text of so many bytes, which depends on the number. (Texts travel faster than bytes that are looked at one by one.)
fn text(number: u64, length: usize) -> String {
    let line = format!("{number}, {}, and the same again\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut text = line.repeat(length / line.len() + 1);
    text.truncate(length);
    text
}

/// The second half first.
fn turn(text: String) -> String {
    let (first, second) = text.split_at(text.len() / 2);
    [second, first].concat()
}

/// A task with long arguments.
fn measure(text: String) -> u64 {
    text.len() as u64
}

/// A task with long arguments that notes that it has begun.
fn begin_with(folder: String, number: u64, text: String) -> u64 {
    begin(folder, number);
    text.len() as u64
}

/// Not a test: what a rogue does, if this process is one.
#[test]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    rogue.get_up();
    match &*step {
        "reads when it is told to" => {
            rogue.ignore_region();
            for round in 0.. {
                // As a worker does: the first part of the arguments, and a word that there is more.
                let mut first = vec![0; 64 << 10];
                if rogue.stream.read_exact(&mut first).is_err() {
                    rogue.end(0);
                }
                let length = u32::from_le_bytes(first[4..8].try_into().unwrap()) as usize;
                let id = u64::from_le_bytes(first[8..16].try_into().unwrap());
                rogue.begin(id);
                rogue.say_frame(MORE, 0, &[]);
                rogue.note(&format!("asked {round}"));
                rogue.wait_for(&format!("read {round}"));
                rogue.stream.read_exact(&mut vec![0; 24 + length - first.len()]).unwrap();
                rogue.answer(id, 1);
                let next = rogue.begin_task();
                rogue.answer(next, 2);
            }
        }
        "answers, and ends in the middle of the next" => {
            rogue.run_first();
            let id = rogue.begin_task();
            rogue.ignore_region();
            rogue.stream.read_exact(&mut [0; 100]).unwrap();
            rogue.say_frame(MORE, 0, &[]);
            rogue.answer(id, 5);
            rogue.end(7);
        }
        "sends half a result" => {
            let id = rogue.begin_task();
            let whole = frame(DONE, id, &vec![0; LARGE]);
            rogue.say(&whole[..whole.len() / 2]);
            rogue.note("half is sent");
            rogue.sleep();
        }
        "asks for more, and ends" => {
            rogue.ignore_region();
            rogue.stream.read_exact(&mut [0; 24]).unwrap();
            rogue.begin(1);
            rogue.say_frame(MORE, 0, &[]);
            rogue.end(7);
        }
        step => panic!("nobody knows the step {step:?}"),
    }
}

#[test]
fn a_task_that_found_the_socket_full_is_sent_when_the_one_before_it_is_answered() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "reads when it is told to", &folder).name("full").build().unwrap();
        // For some of these lengths the first task, as it was sent, fills the socket to the brim.
        for (round, length) in (128..420).step_by(6).enumerate() {
            let first = pool.submit(measure, (text(1, length << 10),));
            folder.until(&format!("asked {round}"));
            // Whoever sends the rest of the first task is through with it, or waits for room.
            until_asleep(thread_of("full_0"));
            let second = pool.submit(measure, (String::new(),));
            folder.put(&format!("read {round}"));
            assert_eq!((first.result().unwrap(), second.result().unwrap()), (1, 2), "{length} KiB");
        }
        assert_eq!(starts(&folder), 1);
        kill(only_worker(&pool));
    });
}

#[test]
fn an_answer_counts_though_its_worker_ends_while_the_next_task_is_sent_to_it() {
    within(LIMIT, || {
        for _ in 0..20 {
            let folder = Folder::new();
            let builder = rogues(1, "answers, and ends in the middle of the next", &folder);
            let pool = builder.build().unwrap();
            let [quick, first] = [(); 2].map(|()| pool.submit(measure, (String::new(),)));
            let second = pool.submit(begin_with, (folder.path(), 2, text(1, LARGE)));
            folder.put("all are submitted");
            assert!(quick.result().is_ok());
            assert_eq!(first.result().unwrap(), 5);
            assert_eq!(second.result().unwrap(), LARGE as u64);
            assert_eq!((folder.begun_by(2).len(), starts(&folder)), (1, 2));
        }
    });
}

#[test]
fn a_worker_that_ends_while_a_task_is_sent_to_it_is_told_as_it_ended() {
    within(LIMIT, || {
        for _ in 0..40 {
            let folder = Folder::new();
            let pool = rogues(1, "asks for more, and ends", &folder).build().unwrap();
            let lost = lost(pool.submit(measure, (text(1, LARGE),)).result());
            assert_eq!(lost.exit(), &WorkerExit::Code(7), "{lost}");
        }
    });
}

#[test]
fn a_worker_that_is_killed_with_half_a_task_has_not_begun_it() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(1), Folder::new());
        let worker = only_worker(&pool);
        stop(worker);
        // Sent as far as the socket takes it.
        let task = pool.submit(begin_with, (folder.path(), 1, text(1, LARGE)));
        let behind = pool.submit(begin, (folder.path(), 2));
        kill(worker);
        assert_eq!((task.result().unwrap(), behind.result().unwrap()), (LARGE as u64, 2));
        for number in [1, 2] {
            let begun = folder.begun_by(number);
            assert!(begun.len() == 1 && begun[0] != worker, "once, and elsewhere: {begun:?}");
        }
    });
}

#[test]
fn a_worker_that_is_killed_while_the_rest_of_a_task_is_sent_to_it_costs_the_task_before_only() {
    within(LIMIT, || {
        for _ in 0..10 {
            let (pool, folder) = (idle_pool(1), Folder::new());
            let worker = only_worker(&pool);
            let first = pool.submit(pass, (folder.path(), 1, "never".to_owned()));
            folder.until_begun(1);
            let second = pool.submit(begin_with, (folder.path(), 2, text(1, LARGE)));
            kill(worker);
            assert_killed(first.result(), worker);
            assert_eq!((second.result().unwrap(), folder.begun_by(2).len()), (LARGE as u64, 1));
        }
    });
}

#[test]
fn a_worker_that_is_killed_with_half_its_result_sent_costs_that_task_only() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "sends half a result", &folder).build().unwrap();
        let first = pool.submit(measure, (String::new(),));
        folder.until("half is sent");
        let worker = only_worker(&pool);
        let second = pool.submit(begin, (folder.path(), 2));
        kill(worker);
        assert_killed(first.result(), worker);
        assert_eq!(second.result().unwrap(), 2);
        assert_eq!((folder.begun_by(2).len(), starts(&folder)), (1, 2));
    });
}

#[test]
fn full_pipes_both_ways_wait_for_nobody() {
    within(LIMIT, || {
        for workers in [1, 2] {
            let pool = ProcessPoolExecutor::new(workers).unwrap();
            let tasks: Vec<Future<String>> = (0..24).map(|n| pool.submit(turn, (text(n, LARGE / 2),))).collect();
            for (task, n) in tasks.into_iter().zip(0..) {
                assert!(task.result().unwrap() == turn(text(n, LARGE / 2)), "the result of {n}");
            }
            assert!(pool.shutdown().is_complete());
        }
    });
}

#[test]
fn several_threads_send_long_arguments_to_workers_with_long_results() {
    within(LIMIT, || {
        for workers in [1, 2] {
            let pool = ProcessPoolExecutor::new(workers).unwrap();
            thread::scope(|s| {
                for seed in 0..3 {
                    let pool = &pool;
                    s.spawn(move || {
                        let mut dice = Dice::new(seed);
                        for n in 0..60 {
                            // Of all lengths, those of one read and of one socket among them.
                            let long = text(n, dice.below(700_000));
                            let expected = turn(long.clone());
                            let [long, short] = [long, "ab".to_owned()].map(|text| pool.submit(turn, (text,)));
                            assert_eq!(short.result().unwrap(), "ba");
                            assert!(long.result().unwrap() == expected, "the result of {n} after {seed}");
                        }
                    });
                }
            });
            assert!(pool.shutdown().is_complete());
        }
    });
}

#[test]
fn a_submit_waits_for_no_worker_however_much_it_sends() {
    within(LIMIT, || {
        let pool = idle_pool(1);
        let worker = only_worker(&pool);
        stop(worker);
        let tasks: Vec<_> = (0..40).map(|n| pool.submit(measure, (text(n, 1 << 20),))).collect();
        assert!(is_stopped(worker), "nobody has read anything");
        assert_eq!(pool.queued(), 39, "one is with the worker");
        resume(worker);
        tasks.into_iter().for_each(|task| assert_eq!(task.result().unwrap(), 1 << 20));
        assert_eq!(only_worker(&pool), worker);
    });
}

#[test]
fn a_kill_ends_a_worker_in_the_middle_of_long_messages() {
    within(LIMIT, || {
        for stopped in [true, false] {
            let pool = idle_pool(1);
            let worker = only_worker(&pool);
            if stopped {
                stop(worker);
            }
            let tasks: Vec<_> = (0..8).map(|n| pool.submit(turn, (text(n, LARGE),))).collect();
            assert!(pool.kill().is_complete());
            assert!(tasks.iter().all(Future::done));
            until_gone(worker);
        }
    });
}

#[test]
fn a_stopped_worker_that_goes_on_loses_nothing() {
    within(LIMIT, || {
        let pool = idle_pool(1);
        let worker = only_worker(&pool);
        let tasks: Vec<_> = (0..20).map(|n| pool.submit(turn, (text(n, 400_000),))).collect();
        wait_until(|| {
            stop(worker);
            resume(worker);
            tasks.iter().all(Future::done)
        });
        for (task, n) in tasks.into_iter().zip(0..) {
            assert!(task.result().unwrap() == turn(text(n, 400_000)), "the result of {n}");
        }
        assert_eq!(only_worker(&pool), worker);
    });
}
