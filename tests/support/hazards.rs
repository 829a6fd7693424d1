//! What the tests of hazards share: the hazards that were told, and all ways to acquire a lock.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::RwLock;
use bowline::deadlock::{self, Hazard, HazardPolicy, Hook};
use bowline::sync::{RwLockUpgradableReadGuard, RwLockWriteGuard};

use super::message;

/// Collects the hazards that are told.
pub(crate) struct Hazards {
    list: Arc<Mutex<Vec<Hazard>>>,
    _hook: Hook,
}

impl Hazards {
    /// Collects from now on, under this policy.
    pub(crate) fn under(policy: HazardPolicy) -> Self {
        deadlock::set_hazard_policy(policy);
        let list = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&list);
        Self { list, _hook: deadlock::on_hazard(move |hazard| theirs.lock().unwrap().push(hazard.clone())) }
    }

    /// Takes those that there are.
    pub(crate) fn take(&self) -> Vec<Hazard> {
        std::mem::take(&mut self.list.lock().unwrap())
    }

    /// How many were told since the last look.
    pub(crate) fn count(&self) -> usize {
        self.take().len()
    }
}

/// The message of the panic that `body` ends by, if it does.
pub(crate) fn panic_of<R>(body: impl FnOnce() -> R) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| drop(body()))).err().map(|payload| message(&*payload).to_owned())
}

/// A guard of any kind, or none.
pub(crate) type Held = Box<dyn Any>;

/// A way to acquire, by a guard that keeps the lock alive or was leaked to live for ever.
pub(crate) type Way<L> = (&'static str, fn(&'static Arc<L>) -> Held);

/// Names ways to acquire a lock of one type, by its methods.
macro_rules! ways {
    ($type:ty: $($way:ident $(($($argument:expr),*))?),+ $(,)?) => {
        [$((
            stringify!($way),
            (|lock| Box::new(<$type>::$way(lock $($(, $argument)*)?)) as $crate::support::hazards::Held) as fn(&'static Arc<$type>) -> _,
        )),+]
    };
}
pub(crate) use ways;

pub(crate) const NONE_YET: Duration = Duration::from_millis(1);

pub(crate) fn soon() -> Instant {
    Instant::now() + NONE_YET
}

pub(crate) fn kept<L>(lock: L) -> &'static Arc<L> {
    Box::leak(Box::new(Arc::new(lock)))
}

pub(crate) type Rw = RwLock<u32>;

pub(crate) fn untimed_reads() -> Vec<Way<Rw>> {
    let reads = ways![Rw: read, acquire_read, read_arc, acquire_read_arc];
    let upgradable =
        ways![Rw: upgradable_read, acquire_upgradable_read, upgradable_read_arc, acquire_upgradable_read_arc];
    reads.into_iter().chain(upgradable).collect()
}

pub(crate) fn recursive_reads() -> [Way<Rw>; 4] {
    ways![Rw: read_recursive, acquire_read_recursive, read_recursive_arc, acquire_read_recursive_arc]
}

pub(crate) fn limited_reads() -> Vec<Way<Rw>> {
    let tried = ways![Rw: try_read, try_read_arc, try_read_recursive, try_read_recursive_arc];
    let timed = ways![Rw:
        try_read_for(NONE_YET), try_read_until(soon()), try_read_arc_for(NONE_YET), try_read_arc_until(soon()),
        try_read_for(Duration::MAX), try_read_recursive_for(NONE_YET), try_read_recursive_until(soon()),
        try_read_recursive_arc_for(NONE_YET), try_read_recursive_arc_until(soon()),
    ];
    let upgradable = ways![Rw: try_upgradable_read, try_upgradable_read_arc, try_upgradable_read_for(NONE_YET)];
    tried.into_iter().chain(timed).chain(upgradable).collect()
}

pub(crate) fn downgraded() -> [Way<Rw>; 2] {
    [
        ("downgrade", |lock| Box::new(RwLockWriteGuard::downgrade(lock.write()))),
        ("downgrade upgradable", |lock| Box::new(RwLockUpgradableReadGuard::downgrade(lock.upgradable_read()))),
    ]
}
