//! One thread, and locks that nobody else wants.

use std::hint::black_box;

use parking_lot::{Mutex, Once, ReentrantMutex, RwLock};

use crate::{Workload, time_alone};

pub(crate) const ALL: &[Workload] = &[
    ("alone: lock", lock),
    ("alone: try_lock", try_lock),
    ("alone: four nested locks", nested),
    ("alone: new, lock, drop", new),
    ("alone: re-entrant lock, twice", reentrant),
    ("alone: read", read),
    ("alone: two nested reads", nested_reads),
    ("alone: write", write),
    ("alone: upgradable read", upgradable),
    ("alone: once, done", once),
];

fn lock() -> f64 {
    let mutex = black_box(Mutex::new(0_u64));
    time_alone(|| *mutex.lock() += 1)
}

fn try_lock() -> f64 {
    let mutex = black_box(Mutex::new(0_u64));
    time_alone(|| *mutex.try_lock().expect("it is free") += 1)
}

fn nested() -> f64 {
    let mutexes = black_box([const { Mutex::new(0_u64) }; 4]);
    time_alone(|| {
        let guards = mutexes.each_ref().map(Mutex::lock);
        black_box(&guards);
    })
}

fn new() -> f64 {
    time_alone(|| {
        let mutex = Mutex::new(black_box(0_u64));
        *mutex.lock() += 1;
        black_box(mutex);
    })
}

fn reentrant() -> f64 {
    let mutex = black_box(ReentrantMutex::new(0_u64));
    time_alone(|| {
        let outer = mutex.lock();
        black_box(*mutex.lock());
        black_box(*outer);
    })
}

fn read() -> f64 {
    let lock = black_box(RwLock::new(0_u64));
    time_alone(|| _ = black_box(*lock.read()))
}

fn nested_reads() -> f64 {
    let locks = black_box([const { RwLock::new(0_u64) }; 2]);
    time_alone(|| {
        let guards = locks.each_ref().map(RwLock::read);
        black_box(&guards);
    })
}

fn write() -> f64 {
    let lock = black_box(RwLock::new(0_u64));
    time_alone(|| *lock.write() += 1)
}

fn upgradable() -> f64 {
    let lock = black_box(RwLock::new(0_u64));
    time_alone(|| _ = black_box(*lock.upgradable_read()))
}

fn once() -> f64 {
    let once = black_box(Once::new());
    once.call_once(|| {});
    time_alone(|| once.call_once(|| unreachable!()))
}
