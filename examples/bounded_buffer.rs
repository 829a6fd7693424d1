//! Producers and consumers over one buffer with room for a few items: a lock, and a condition for each thing that is waited
//! for. Every item gets through once, the buffer is never overfull, and the end is told by a notification to all.
//!
//! `cargo run --example bounded_buffer`

use std::collections::VecDeque;
use std::thread;

use bowline::{Condition, Lock};

const ROOM: usize = 4;
const PRODUCERS: u64 = 3;
const CONSUMERS: usize = 2;
const ITEMS: u64 = 1_000;

static BUFFER: Lock<Buffer> = Lock::named("buffer", Buffer { items: VecDeque::new(), fullest: 0, is_closed: false });
static NOT_FULL: Condition = Condition::named("not full");
static NOT_EMPTY: Condition = Condition::named("not empty");

struct Buffer {
    items: VecDeque<u64>,
    fullest: usize,
    is_closed: bool,
}

fn put(item: u64) {
    let mut buffer = BUFFER.lock();
    NOT_FULL.wait_while(&mut buffer, |buffer| buffer.items.len() == ROOM);
    buffer.items.push_back(item);
    buffer.fullest = buffer.fullest.max(buffer.items.len());
    drop(buffer);
    // One item is for one consumer.
    NOT_EMPTY.notify_one();
}

/// Takes the next item; `None` once the buffer is closed and empty.
fn take() -> Option<u64> {
    let mut buffer = BUFFER.lock();
    NOT_EMPTY.wait_while(&mut buffer, |buffer| buffer.items.is_empty() && !buffer.is_closed);
    let item = buffer.items.pop_front();
    drop(buffer);
    NOT_FULL.notify_one();
    item
}

fn main() {
    let totals: Vec<(u64, u64)> = thread::scope(|s| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| s.spawn(|| std::iter::from_fn(take).fold((0, 0), |(count, sum), item| (count + 1, sum + item))))
            .collect();
        let producers: Vec<_> =
            (0..PRODUCERS).map(|first| s.spawn(move || (0..ITEMS).for_each(|n| put(first * ITEMS + n)))).collect();
        producers.into_iter().for_each(|producer| producer.join().expect("a producer does not panic"));
        BUFFER.lock().is_closed = true;
        NOT_EMPTY.notify_all();
        consumers.into_iter().map(|consumer| consumer.join().expect("nor does a consumer")).collect()
    });

    for (consumer, (count, _)) in totals.iter().enumerate() {
        println!("consumer {consumer} took {count} items");
    }
    let (count, sum) = totals.iter().fold((0, 0), |(count, sum), of| (count + of.0, sum + of.1));
    let fullest = BUFFER.lock().fullest;
    println!("{count} items, sum {sum}; never more than {fullest} in the buffer, which has room for {ROOM}");
    let all = PRODUCERS * ITEMS;
    assert_eq!((count, sum), (all, all * (all - 1) / 2), "each item gets through, once");
    assert!(fullest <= ROOM);
}
