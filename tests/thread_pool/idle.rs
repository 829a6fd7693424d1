//! Workers that are idle: they are found by the next task, they end, and they are started ahead.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bowline::thread_pool::ShutdownOptions;
use bowline::{ReturnWhen, ThreadPoolExecutor, wait};

use crate::support::gate::Busy;
use crate::support::{LIMIT, wait_until, within};

fn short_lived(workers: usize, keep_alive: Duration) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).keep_alive(keep_alive).build()
}

#[test]
fn a_task_that_is_submitted_after_a_result_finds_its_worker_idle() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(8);
        for n in 0..20_000 {
            assert_eq!(pool.submit(move || n).result().unwrap(), n);
            assert_eq!(pool.active_count(), 0);
        }
        for n in 0..2000 {
            let mut future = pool.submit(move || n);
            while future.try_result().is_none() {
                std::hint::spin_loop();
            }
            let future = pool.submit(|| ());
            assert_eq!(wait([&future], ReturnWhen::AllCompleted, None).done.len(), 1);
            pool.scope(|s| drop(s.submit(|| ())));
            pool.join();
        }
        assert!(pool.submit(|| panic!("on purpose")).exception().is_some());
        assert!(pool.submit(|| ()).result().is_ok());
        assert_eq!(pool.worker_count(), 1);
    });
}

#[test]
fn tasks_of_a_batch_find_the_workers_of_the_last_one() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(64);
        for _ in 0..3000 {
            let batch: Vec<_> = (0..4).map(|n| pool.submit(move || n)).collect();
            batch.into_iter().for_each(|future| assert!(future.result().is_ok()));
        }
        // Where several were queued, a worker may count as busy a moment after its result is there: at most one for each of those.
        assert!(pool.worker_count() <= 8, "{} workers", pool.worker_count());
    });
}

#[test]
fn a_worker_whose_callback_runs_is_busy_and_another_one_takes_the_next_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let busy = Busy::keep(&pool, 1);
        let (open, opened) = mpsc::channel::<()>();
        let first = pool.submit(|| 1);
        first.add_done_callback(move |_| opened.recv_timeout(LIMIT).unwrap());
        busy.release();
        // If its worker counted as idle, nobody would run this.
        assert_eq!(pool.submit(|| 2).result().unwrap(), 2);
        assert_eq!(first.result().unwrap(), 1);
        open.send(()).unwrap();
    });
}

/// Says when it is dropped, and waits until it may go on.
struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        self.1.recv_timeout(LIMIT).unwrap();
    }
}

#[test]
fn a_worker_that_drops_a_result_which_nobody_takes_is_busy() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let ((drops, dropped), (go, gone)) = (mpsc::channel(), mpsc::channel());
        drop(pool.submit(move || Slow(drops, gone)));
        dropped.recv_timeout(LIMIT).unwrap();
        assert_eq!(pool.active_count(), 1);
        assert_eq!(pool.submit(|| 2).result().unwrap(), 2);
        go.send(()).unwrap();
    });
}

#[test]
fn idle_workers_end_after_their_time_and_others_come() {
    within(LIMIT, || {
        let pool = short_lived(4, Duration::from_millis(1));
        for _ in 0..20 {
            Busy::keep(&pool, 4).release();
            wait_until(|| pool.worker_count() == 0);
        }
        assert_eq!(pool.completed(), 80);
        let busy = Busy::keep(&pool, 2);
        thread::sleep(Duration::from_millis(10));
        assert_eq!(pool.worker_count(), 2, "a busy worker is not idle");
        busy.release();
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn no_task_is_lost_to_workers_that_end() {
    within(LIMIT, || {
        for keep_alive in [Duration::ZERO, Duration::from_micros(50)] {
            let (pool, ran) = (short_lived(3, keep_alive), Arc::new(AtomicUsize::new(0)));
            thread::scope(|s| {
                for submitter in 0..2 {
                    let (pool, ran) = (&pool, &ran);
                    s.spawn(move || {
                        for n in 0..300 {
                            let ran = Arc::clone(ran);
                            let task = pool.submit(move || ran.fetch_add(1, SeqCst));
                            if n % 3 == submitter {
                                task.result().unwrap();
                            }
                            thread::sleep(Duration::from_micros(n * 7 % 120));
                        }
                    });
                }
            });
            pool.join();
            assert_eq!(ran.load(SeqCst), 600);
            wait_until(|| pool.worker_count() == 0);
        }
    });
}

#[test]
fn a_pool_whose_workers_end_is_shut_down_resized_and_joined_as_others() {
    within(LIMIT, || {
        for round in 0..100 {
            let pool = short_lived(1 + round % 3, Duration::from_micros(20));
            let tasks: Vec<_> = (0..5).map(|n| pool.submit(move || n)).collect();
            pool.set_max_workers(1 + round % 2);
            match round % 3 {
                0 => assert!(pool.shutdown().is_complete()),
                1 => pool.join(),
                _ => drop(pool.shutdown_with(ShutdownOptions::new().wait(false))),
            }
            tasks.into_iter().enumerate().for_each(|(n, task)| assert_eq!(task.result().unwrap(), n));
        }
    });
}

#[test]
fn workers_that_were_started_ahead_take_the_tasks_and_are_no_more_than_there_may_be() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(3);
        assert_eq!((pool.prestart(0), pool.prestart(2), pool.worker_count()), (0, 2, 2));
        Busy::keep(&pool, 2).release();
        assert_eq!(pool.worker_count(), 2);
        assert_eq!((pool.prestart(usize::MAX), pool.prestart(1), pool.worker_count()), (1, 0, 3));
        pool.set_max_workers(1);
        wait_until(|| pool.worker_count() == 1);
        assert_eq!(pool.prestart(1), 0);
        pool.shutdown();
        assert_eq!((pool.prestart(1), pool.worker_count()), (0, 0));
    });
}

#[test]
fn the_first_task_of_a_worker_counts_it_among_the_most_there_were() {
    within(LIMIT, || {
        for _ in 0..50 {
            let pool = ThreadPoolExecutor::new(2);
            let same = pool.clone();
            assert_eq!(pool.submit(move || same.largest_size()).result().unwrap(), 1);
        }
    });
}
