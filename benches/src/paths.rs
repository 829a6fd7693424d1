//! Fast paths whose instructions are counted. They are compiled here, since the paths of the program that counts share one
//! budget of inlining: one more there moves the counts of the others.

use std::hint::black_box;
use std::time::Duration;

use crate::rwlock::{self, ParkingLot, Std};

/// Fewer reads than are counted before readers of bowline's lock show themselves.
const LOUD: u64 = 250;

/// Reads a lock that is written now and then, which keeps its readers from showing themselves.
pub fn counted_read(times: u64) -> Duration {
    let lock = bowline::RwLock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times / LOUD {
        *lock.write() += 1;
        for _ in 0..LOUD {
            black_box(*lock.read());
        }
    }
    Duration::ZERO
}

/// Looks up an initialised value.
pub fn once_get(times: u64) -> Duration {
    let once = bowline::OnceLock::from(0u64);
    let once = black_box(&once);
    for _ in 0..times {
        black_box(once.get());
    }
    Duration::ZERO
}

/// The same in the standard library's `OnceLock`.
pub fn std_once_get(times: u64) -> Duration {
    let once = std::sync::OnceLock::from(0u64);
    let once = black_box(&once);
    for _ in 0..times {
        black_box(once.get());
    }
    Duration::ZERO
}

/// Notifies a condition that nobody waits for.
pub fn notify_nobody(times: u64) -> Duration {
    let condition = bowline::Condition::new();
    let condition = black_box(&condition);
    for _ in 0..times {
        black_box(condition.notify_one());
    }
    Duration::ZERO
}

/// The same with parking_lot's `Condvar`.
pub fn parking_lot_notify_nobody(times: u64) -> Duration {
    let condition = parking_lot::Condvar::new();
    let condition = black_box(&condition);
    for _ in 0..times {
        black_box(condition.notify_one());
    }
    Duration::ZERO
}

/// Reads parking_lot's `RwLock`.
pub fn parking_lot_read(times: u64) -> Duration {
    rwlock::read::<ParkingLot>(times)
}

/// Writes parking_lot's `RwLock`.
pub fn parking_lot_write(times: u64) -> Duration {
    rwlock::write::<ParkingLot>(times)
}

/// Reads the standard library's `RwLock`.
pub fn std_read(times: u64) -> Duration {
    rwlock::read::<Std>(times)
}

/// Writes the standard library's `RwLock`.
pub fn std_write(times: u64) -> Duration {
    rwlock::write::<Std>(times)
}
