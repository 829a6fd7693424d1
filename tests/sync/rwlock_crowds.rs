//! Many readers: none of them sees half of a write, a writer gets in between them, and short-lived ones cost no memory.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bowline::RwLock;
use bowline::deadlock;
use bowline::sync::{RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};

use crate::support::readers::let_readers_show_themselves;
use crate::support::{Dice, LIMIT, alone, find_thread, spawn_named, until_waiting, within};

/// What is protected: under the lock both are the same.
#[derive(Default)]
struct Pair(AtomicU64, AtomicU64);

impl Pair {
    fn look(&self) -> u64 {
        let first = self.0.load(SeqCst);
        std::hint::spin_loop();
        assert_eq!(self.1.load(SeqCst), first, "a writer is in");
        first
    }

    fn add_one(&mut self) {
        let was = self.look();
        self.0.store(was + 1, SeqCst);
        std::hint::spin_loop();
        assert_eq!(self.1.load(SeqCst), was, "two writers are in");
        self.1.store(was + 1, SeqCst);
    }
}

/// Reads in one of many ways.
fn read(lock: &Arc<RwLock<Pair>>, dice: &mut Dice) -> u64 {
    match dice.below(7) {
        0 => lock.acquire_read().unwrap().look(),
        1 => lock.read_arc().look(),
        2 => lock.read_recursive().look(),
        3 => {
            let patience = Duration::from_micros(dice.below(800) as u64);
            lock.try_read().or_else(|| lock.try_read_for(patience)).map_or(0, |guard| guard.look())
        }
        4 => RwLockReadGuard::map(lock.read(), |pair| pair).look(),
        5 => {
            // Twice, the second time past any writer.
            let (outer, inner) = (lock.read(), lock.read_recursive());
            let seen = outer.look();
            drop(outer);
            assert_eq!(inner.look(), seen);
            seen
        }
        _ => lock.read().look(),
    }
}

/// Writes in one of many ways. Returns whether it did.
fn write(lock: &Arc<RwLock<Pair>>, dice: &mut Dice) -> bool {
    match dice.below(7) {
        0 => lock.acquire_write().unwrap().add_one(),
        1 => {
            let mut guard = lock.write_arc();
            guard.add_one();
            let seen = guard.look();
            let guard = bowline::sync::ArcRwLockWriteGuard::downgrade(guard);
            assert_eq!(guard.look(), seen, "nobody writes between a write and its downgrade");
        }
        2 => {
            let guard = lock.upgradable_read();
            let seen = guard.look();
            let mut guard = RwLockUpgradableReadGuard::upgrade(guard);
            assert_eq!(guard.look(), seen, "nobody writes between a look and its upgrade");
            guard.add_one();
        }
        3 => {
            let patience = Duration::from_micros(dice.below(800) as u64);
            match lock.try_write().or_else(|| lock.try_write_for(patience)) {
                Some(mut guard) => guard.add_one(),
                None => return false,
            }
        }
        4 => {
            let guard = lock.upgradable_read();
            let seen = guard.look();
            match RwLockUpgradableReadGuard::try_upgrade_for(guard, Duration::from_micros(dice.below(300) as u64)) {
                Ok(mut guard) => {
                    assert_eq!(guard.look(), seen);
                    guard.add_one();
                    let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                    assert_eq!(guard.look(), seen + 1);
                }
                Err(guard) => {
                    assert_eq!(RwLockUpgradableReadGuard::downgrade(guard).look(), seen);
                    return false;
                }
            }
        }
        _ => lock.write().add_one(),
    }
    true
}

/// Eight threads, of which each writes once in so many rounds.
fn readers_and_writers_exclude_each_other(rounds: usize, writes_once_in: usize) {
    within(LIMIT, || {
        const THREADS: usize = 8;
        let lock = Arc::new(RwLock::new(Pair::default()));
        let (start, written) = (Barrier::new(THREADS), AtomicU64::new(0));
        thread::scope(|s| {
            for thread in 0..THREADS {
                let (lock, start, written) = (&lock, &start, &written);
                s.spawn(move || {
                    let mut dice = Dice::new(thread as u64 + 1);
                    let mut last = 0;
                    start.wait();
                    for _ in 0..rounds {
                        if dice.below(writes_once_in) == 0 {
                            written.fetch_add(u64::from(write(lock, &mut dice)), SeqCst);
                        } else {
                            let seen = read(lock, &mut dice);
                            assert!(seen == 0 || seen >= last, "what was written is seen from then on");
                            last = last.max(seen);
                        }
                    }
                });
            }
        });
        assert!(!lock.is_locked());
        assert_eq!(lock.read().look(), written.into_inner());
    });
}

#[test]
fn readers_and_writers_that_are_as_many_exclude_each_other() {
    readers_and_writers_exclude_each_other(if cfg!(miri) { 20 } else { 6_000 }, 2);
}

#[test]
fn many_readers_that_show_themselves_and_a_few_writers_exclude_each_other() {
    // Readers show themselves after some hundred reads without a write, in a process with a few threads.
    alone(|| readers_and_writers_exclude_each_other(if cfg!(miri) { 20 } else { 60_000 }, 2_000));
}

#[test]
fn readers_and_writers_exclude_each_other_when_every_wait_enters_the_graph() {
    alone(|| {
        deadlock::set_grace(Duration::ZERO);
        readers_and_writers_exclude_each_other(2_000, 5);
        readers_and_writers_exclude_each_other(20_000, 1_000);
    });
}

/// Ends the loops of others, also if its own thread panics.
struct IsOver<'a>(&'a AtomicBool);

impl Drop for IsOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Readers in a loop, and a writer now and then: how many reads began after the writer had asked, and before it got in.
fn overtaken(lock: &RwLock<u64>, readers: usize, writes: usize) -> Vec<usize> {
    let (is_over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = Barrier::new(readers + 1);
    thread::scope(|s| {
        for _ in 0..readers {
            s.spawn(|| {
                start.wait();
                while !is_over.load(SeqCst) {
                    let guard = lock.read();
                    reads.fetch_add(1, SeqCst);
                    // There is always somebody who reads.
                    thread::yield_now();
                    drop(guard);
                }
            });
        }
        let writer = spawn_named(s, "one among readers", || {
            let _over = IsOver(&is_over);
            start.wait();
            let write = |_| {
                let before = reads.load(SeqCst);
                // They read again.
                while reads.load(SeqCst) < before + readers {
                    thread::sleep(Duration::from_millis(1));
                }
                let asked = std::cell::Cell::new(0);
                let mut guard = {
                    asked.set(reads.load(SeqCst));
                    lock.write()
                };
                let overtaken = reads.load(SeqCst) - asked.get();
                *guard += 1;
                overtaken
            };
            (0..writes).map(write).collect()
        });
        writer.join().unwrap()
    })
}

#[test]
fn a_writer_gets_in_among_64_readers_that_read_all_the_time() {
    within(LIMIT, || {
        const READERS: usize = 64;
        let lock = RwLock::new(0);
        for shown in [false, true] {
            if shown {
                let_readers_show_themselves(&lock);
            }
            let overtaken = overtaken(&lock, READERS, 20);
            // Whoever had begun to ask when the writer did, and those who came while the writer was not running: until it is
            // next, as many as there are time slices. One whom readers starve does not get in at all.
            let few = overtaken.iter().filter(|&&reads| reads <= 4 * READERS).count();
            assert!(few >= overtaken.len() / 2, "{overtaken:?}");
        }
        assert_eq!(*lock.read(), 40);
    });
}

#[test]
fn no_reader_overtakes_a_writer_that_is_next() {
    within(LIMIT, || {
        const READERS: usize = 64;
        for shown in [false, true] {
            let lock = RwLock::new(());
            if shown {
                let_readers_show_themselves(&lock);
            }
            let (has_written, overtakes) = (AtomicBool::new(false), AtomicUsize::new(0));
            thread::scope(|s| {
                let guard = lock.read();
                spawn_named(s, "next in line", || {
                    let _guard = lock.write();
                    has_written.store(true, SeqCst);
                });
                until_waiting("next in line");
                for reader in 0..READERS {
                    let (lock, has_written, overtakes) = (&lock, &has_written, &overtakes);
                    spawn_named(s, &format!("behind the next {reader}"), move || {
                        let _guard = lock.read();
                        overtakes.fetch_add(usize::from(!has_written.load(SeqCst)), SeqCst);
                    });
                }
                (0..READERS).for_each(|reader| drop(until_waiting(&format!("behind the next {reader}"))));
                drop(guard);
            });
            assert_eq!(overtakes.into_inner(), 0);
        }
    });
}

#[test]
fn whoever_tries_to_write_and_gives_up_keeps_no_reader_out() {
    within(LIMIT, || {
        for shown in [false, true] {
            let lock = RwLock::new(());
            if shown {
                let_readers_show_themselves(&lock);
            }
            let _stays = lock.read();
            for try_and_give_up in [(|lock| assert!(lock.try_write().is_none())) as fn(&RwLock<()>), |lock| {
                assert!(RwLockUpgradableReadGuard::try_upgrade(lock.upgradable_read()).is_err())
            }] {
                let (tried, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
                let refused = thread::scope(|s| {
                    s.spawn(|| {
                        while !is_over.load(SeqCst) {
                            try_and_give_up(&lock);
                            tried.fetch_add(1, SeqCst);
                        }
                    });
                    let mut refused = 0;
                    while tried.load(SeqCst) < if cfg!(miri) { 10 } else { 400_000 } {
                        refused += usize::from(lock.try_read().is_none());
                    }
                    is_over.store(true, SeqCst);
                    refused
                });
                assert_eq!(refused, 0, "shown: {shown}");
            }
        }
    });
}

/// The memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the memory of this process");
    statm.split(' ').nth(1).expect("a second number").parse::<usize>().expect("pages") << 12
}

#[test]
#[cfg(target_os = "linux")]
fn thousands_of_short_lived_readers_leave_nothing_behind() {
    alone(|| {
        const AT_ONCE: usize = 8;
        let lock = RwLock::new(0_u64);
        let_readers_show_themselves(&lock);
        let generation = |lock: &RwLock<u64>| {
            thread::scope(|s| {
                for _ in 0..AT_ONCE {
                    s.spawn(|| drop((lock.read(), lock.read())));
                }
            });
        };
        (0..100).for_each(|_| generation(&lock));
        let before = resident();
        for round in 0..500 {
            generation(&lock);
            if round % 100 == 0 {
                // Looks at all who may read.
                *lock.write() += 1;
                let_readers_show_themselves(&lock);
            }
        }
        let grown = resident().saturating_sub(before);
        // A context is some 2 KiB: 4000 new ones would be 8 MiB.
        assert!(grown < 4 << 20, "{grown} bytes more");
        assert_eq!(lock.into_inner(), 5);
    });
}

#[test]
fn what_a_thread_reads_is_listed_whatever_it_took_and_released_before() {
    const LOCKS: usize = 40;

    fn sorted(mut names: Vec<&'static str>) -> Vec<&'static str> {
        names.sort_unstable();
        names
    }

    within(LIMIT, || {
        let names: Vec<&'static str> =
            (0..LOCKS).map(|i| &*Box::leak(format!("read {i:02}").into_boxed_str())).collect();
        let locks: Vec<_> = names.iter().map(|&name| RwLock::named(name, name)).collect();
        locks.iter().step_by(2).for_each(let_readers_show_themselves);
        thread::scope(|s| {
            let shopper = spawn_named(s, "reads and releases", || {
                let mut dice = Dice::new(1);
                let mut guards: Vec<Option<RwLockReadGuard<'_, &'static str>>> = locks.iter().map(|_| None).collect();
                // Mostly taking at first, mostly releasing later.
                for step in 0..1_000 {
                    let at = dice.below(LOCKS);
                    let takes = dice.below(1_000) >= step;
                    if takes && guards[at].is_none() {
                        guards[at] = Some(locks[at].read());
                    } else if !takes {
                        guards[at] = None;
                    }
                    if step % 50 == 0 {
                        let held = sorted(guards.iter().flatten().map(|guard| **guard).collect());
                        let listed = find_thread("reads and releases");
                        let listed = listed.iter().flat_map(|thread| thread.holds());
                        assert_eq!(sorted(listed.map(|held| held.resource().name().unwrap()).collect()), held);
                    }
                }
            });
            shopper.join().unwrap();
        });
    });
}
