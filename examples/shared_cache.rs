//! A cache that many threads read and few write; and the mistake that is made with it most often: reading and writing by
//! one thread, in one `match`.
//!
//! `cargo run --example shared_cache`

use std::collections::HashMap;
use std::thread;

use bowline::RwLock;
use bowline::deadlock::Kind;
use bowline::sync::RwLockUpgradableReadGuard;

/// Squares that are costly to compute.
struct Cache {
    squares: RwLock<HashMap<u64, u64>>,
}

impl Cache {
    /// Returns the square of `n`, which is computed once.
    fn square(&self, n: u64) -> u64 {
        if let Some(&square) = self.squares.read().get(&n) {
            return square;
        }
        // Others may read meanwhile; nobody writes between the second look and the upgrade.
        let squares = self.squares.upgradable_read();
        if let Some(&square) = squares.get(&n) {
            return square;
        }
        let square = n * n;
        RwLockUpgradableReadGuard::upgrade(squares).insert(n, square);
        square
    }
}

fn main() {
    let cache = Cache { squares: RwLock::named("squares", HashMap::new()) };
    let sums: Vec<u64> = thread::scope(|s| {
        let readers: Vec<_> = (0..4).map(|_| s.spawn(|| (1..=100).map(|n| cache.square(n)).sum())).collect();
        readers.into_iter().map(|reader| reader.join().expect("no reader panics")).collect()
    });
    println!("four threads computed {sums:?} with {} squares", cache.squares.read().len());
    assert_eq!((sums.as_slice(), cache.squares.read().len()), ([338_350; 4].as_slice(), 100));

    // The guard that `read` returns is a temporary: it lives to the end of the `match`, and so the thread waits for itself.
    let deadlock = match cache.squares.read().get(&101) {
        Some(_) => None,
        None => cache.squares.acquire_write().map(drop).err(),
    };
    let deadlock = deadlock.expect("the `match` still reads");
    println!("\nthe same in one `match`:\n\n{deadlock}");
    assert_eq!(deadlock.report().kind(), Kind::Relock);
}
