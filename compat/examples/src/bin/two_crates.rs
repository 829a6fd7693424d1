//! Two crates that know nothing of each other, and a deadlock made of both their locks: a metric that reads a cache while
//! prometheus gathers, and a loader of that cache that registers a metric while moka waits for its value.

use std::sync::{Barrier, LazyLock};
use std::thread;

use moka::sync::Cache;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
static CACHE: LazyLock<Cache<u32, u64>> = LazyLock::new(|| Cache::new(100));
static BOTH_INSIDE: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

/// Loads a value, and counts it.
fn load() -> u64 {
    BOTH_INSIDE.wait();
    let loads = Counter::new("loads", "values loaded").unwrap();
    REGISTRY.register(Box::new(loads.clone())).unwrap(); // waits for the registry, and the cache's readers wait for this
    loads.inc();
    7
}

/// A metric whose value is in the cache.
struct Cached(Gauge);

impl Collector for Cached {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        BOTH_INSIDE.wait();
        self.0.set(CACHE.get_with(1, || 0) as f64); // waits for the loader; the registry is locked
        self.0.collect()
    }
}

fn main() {
    let gauge = Gauge::new("cached", "a value of the cache").unwrap();
    REGISTRY.register(Box::new(Cached(gauge))).unwrap();
    let loader = thread::Builder::new().name("loader".into()).spawn(|| CACHE.get_with(1, load)).unwrap();
    let scrape = thread::Builder::new().name("scrape".into()).spawn(|| REGISTRY.gather()).unwrap();
    println!("scraped {:?}", scrape.join().map(|families| families.len()));
    println!("loaded {:?}", loader.join().is_ok());
}
