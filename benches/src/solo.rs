//! What one thread alone pays.

use std::array;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::lock::{BenchLock, Reentrant};

/// Does a workload a number of times, and returns how long that took.
pub type Solo = fn(u64) -> Duration;

/// A workload of one thread over free locks, which lie side by side where there are several.
///
/// With [`Apart`](crate::lock::Apart) around the locks, each has two cache lines of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Locks a lock, counts, unlocks.
    One,
    /// Locks two locks, one inside the other, counts, and unlocks them the other way round.
    Nested2,
    /// The same with four.
    Nested4,
    /// Locks the locks of a row one after the other, each before the one before it is unlocked. Counted for each lock.
    HandOverHand,
    /// Locks one of a `Vec` of a thousand, a random one each time.
    OneOfThousand,
    /// Makes a lock on the stack, locks and unlocks it once, and drops it.
    NewOnStack,
    /// The same in a `Box`.
    NewInBox,
    /// Makes a lock and drops it.
    New,
}

/// How many locks [`Workload::HandOverHand`] has.
const ROW: u64 = 8;
/// How many locks [`Workload::OneOfThousand`] has: about.
const MANY: usize = 1024;

impl Workload {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::One,
        Self::Nested2,
        Self::Nested4,
        Self::HandOverHand,
        Self::OneOfThousand,
        Self::NewOnStack,
        Self::NewInBox,
        Self::New,
    ];

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "lock + unlock",
            Self::Nested2 => "2 nested",
            Self::Nested4 => "4 nested",
            Self::HandOverHand => "hand over hand, each",
            Self::OneOfThousand => "a random one of 1024",
            Self::NewOnStack => "new + lock + drop, on the stack",
            Self::NewInBox => "new + lock + drop, in a box",
            Self::New => "new + drop",
        }
    }

    /// Whether it has several locks: whether it matters where they lie.
    pub const fn has_several(self) -> bool {
        matches!(self, Self::Nested2 | Self::Nested4 | Self::HandOverHand | Self::OneOfThousand)
    }

    /// The workload over one kind of lock.
    pub const fn over<L: BenchLock>(self) -> Solo {
        match self {
            Self::One => one::<L>,
            Self::Nested2 => nested_2::<L>,
            Self::Nested4 => nested_4::<L>,
            Self::HandOverHand => hand_over_hand::<L>,
            Self::OneOfThousand => one_of_thousand::<L>,
            Self::NewOnStack => new_on_stack::<L>,
            Self::NewInBox => new_in_box::<L>,
            Self::New => new::<L>,
        }
    }
}

/// A workload of one thread over a lock that its owner may take again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReentrantWorkload {
    /// Locks a free lock, counts, unlocks.
    Outer,
    /// Locks a free lock and the same lock again, counts, and unlocks both.
    OuterAndInner,
    /// Locks a lock that this thread holds once more, counts, and unlocks it once.
    Inner,
}

impl ReentrantWorkload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outer, Self::OuterAndInner, Self::Inner];

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outer => "re-entrant: lock + unlock",
            Self::OuterAndInner => "re-entrant: outer + inner",
            Self::Inner => "re-entrant: inner",
        }
    }

    /// The workload over one kind of lock.
    pub const fn over<L: Reentrant>(self) -> Solo {
        match self {
            Self::Outer => one::<L>,
            Self::OuterAndInner => outer_and_inner::<L>,
            Self::Inner => inner::<L>,
        }
    }
}

#[inline(never)]
fn one<L: BenchLock>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let started = Instant::now();
    for _ in 0..times {
        L::add(&mut lock.lock());
    }
    started.elapsed()
}

#[inline(never)]
fn nested_2<L: BenchLock>(times: u64) -> Duration {
    let locks: [L; 2] = array::from_fn(|_| L::new());
    let [first, second] = black_box(&locks);
    let started = Instant::now();
    for _ in 0..times {
        let _first = first.lock();
        L::add(&mut second.lock());
    }
    started.elapsed()
}

#[inline(never)]
fn nested_4<L: BenchLock>(times: u64) -> Duration {
    let locks: [L; 4] = array::from_fn(|_| L::new());
    let [first, second, third, fourth] = black_box(&locks);
    let started = Instant::now();
    for _ in 0..times {
        let _first = first.lock();
        let _second = second.lock();
        let _third = third.lock();
        L::add(&mut fourth.lock());
    }
    started.elapsed()
}

#[inline(never)]
fn hand_over_hand<L: BenchLock>(times: u64) -> Duration {
    let locks: [L; ROW as usize] = array::from_fn(|_| L::new());
    let [first, others @ ..] = black_box(&locks);
    let started = Instant::now();
    for _ in 0..times.div_ceil(ROW) {
        let mut held = first.lock();
        for lock in others {
            let mut next = lock.lock();
            L::add(&mut next);
            held = next;
        }
        drop(held);
    }
    started.elapsed()
}

#[inline(never)]
fn one_of_thousand<L: BenchLock>(times: u64) -> Duration {
    let locks: Vec<L> = (0..MANY).map(|_| L::new()).collect();
    let locks = black_box(&locks[..]);
    let mut random = 1_u64;
    let started = Instant::now();
    for _ in 0..times {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        L::add(&mut locks[random as usize % MANY].lock());
    }
    started.elapsed()
}

#[inline(never)]
fn new_on_stack<L: BenchLock>(times: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        let lock = L::new();
        L::add(&mut black_box(&lock).lock());
    }
    started.elapsed()
}

#[inline(never)]
fn new_in_box<L: BenchLock>(times: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        let lock = Box::new(L::new());
        L::add(&mut black_box(&lock).lock());
    }
    started.elapsed()
}

#[inline(never)]
fn new<L: BenchLock>(times: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        drop(black_box(L::new()));
    }
    started.elapsed()
}

#[inline(never)]
fn outer_and_inner<L: Reentrant>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let started = Instant::now();
    for _ in 0..times {
        let _outer = lock.lock();
        L::add(&mut lock.lock());
    }
    started.elapsed()
}

#[inline(never)]
fn inner<L: Reentrant>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let outer = lock.lock();
    let started = Instant::now();
    for _ in 0..times {
        L::add(&mut lock.lock());
    }
    let elapsed = started.elapsed();
    drop(outer);
    elapsed
}
