//! Hazards: what one thread does that breaks the contract of a lock is told at its first execution, by itself; and what
//! breaks none is not.
//!
//! Every test has a process of its own: policy, hooks and what was told before are process-wide.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::report::Purpose;
use bowline::deadlock::{self, Hazard, HazardKind, HazardPolicy, Hook, Kind};
use bowline::sync::{ArcRwLockUpgradableReadGuard, LockGuard, RLockGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use bowline::{Lock, RLock, RwLock, ThreadPoolExecutor};

use crate::support::{
    LIMIT, alone, in_fresh_process, message, on_another_thread, spawn_named, stderr, until_waiting, within,
};

/// Collects the hazards that are told.
struct Hazards {
    list: Arc<Mutex<Vec<Hazard>>>,
    _hook: Hook,
}

impl Hazards {
    /// Collects from now on, under this policy.
    fn under(policy: HazardPolicy) -> Self {
        deadlock::set_hazard_policy(policy);
        let list = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&list);
        Self { list, _hook: deadlock::on_hazard(move |hazard| theirs.lock().unwrap().push(hazard.clone())) }
    }

    /// Takes those that there are.
    fn take(&self) -> Vec<Hazard> {
        std::mem::take(&mut self.list.lock().unwrap())
    }

    /// How many were told since the last look.
    fn count(&self) -> usize {
        self.take().len()
    }
}

/// The message of the panic that `body` ends by, if it does.
fn panic_of<R>(body: impl FnOnce() -> R) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| drop(body()))).err().map(|payload| message(&*payload).to_owned())
}

/// A guard of any kind, or none.
type Held = Box<dyn Any>;

/// A way to acquire, by a guard that keeps the lock alive or was leaked to live for ever.
type Way<L> = (&'static str, fn(&'static Arc<L>) -> Held);

macro_rules! ways {
    ($type:ty: $($way:ident $(($($argument:expr),*))?),+ $(,)?) => {
        [$((
            stringify!($way),
            (|lock| Box::new(<$type>::$way(lock $($(, $argument)*)?)) as Held) as fn(&'static Arc<$type>) -> _,
        )),+]
    };
}

const NONE_YET: Duration = Duration::from_millis(1);

fn soon() -> Instant {
    Instant::now() + NONE_YET
}

fn kept<L>(lock: L) -> &'static Arc<L> {
    Box::leak(Box::new(Arc::new(lock)))
}

type Rw = RwLock<u32>;

fn untimed_reads() -> Vec<Way<Rw>> {
    let reads = ways![Rw: read, acquire_read, read_arc, acquire_read_arc];
    let upgradable =
        ways![Rw: upgradable_read, acquire_upgradable_read, upgradable_read_arc, acquire_upgradable_read_arc];
    reads.into_iter().chain(upgradable).collect()
}

fn recursive_reads() -> [Way<Rw>; 4] {
    ways![Rw: read_recursive, acquire_read_recursive, read_recursive_arc, acquire_read_recursive_arc]
}

fn limited_reads() -> Vec<Way<Rw>> {
    let tried = ways![Rw: try_read, try_read_arc, try_read_recursive, try_read_recursive_arc];
    let timed = ways![Rw:
        try_read_for(NONE_YET), try_read_until(soon()), try_read_arc_for(NONE_YET), try_read_arc_until(soon()),
        try_read_for(Duration::MAX), try_read_recursive_for(NONE_YET), try_read_recursive_until(soon()),
        try_read_recursive_arc_for(NONE_YET), try_read_recursive_arc_until(soon()),
    ];
    let upgradable = ways![Rw: try_upgradable_read, try_upgradable_read_arc, try_upgradable_read_for(NONE_YET)];
    tried.into_iter().chain(timed).chain(upgradable).collect()
}

fn downgraded() -> [Way<Rw>; 2] {
    [
        ("downgrade", |lock| Box::new(RwLockWriteGuard::downgrade(lock.write()))),
        ("downgrade upgradable", |lock| Box::new(RwLockUpgradableReadGuard::downgrade(lock.upgradable_read()))),
    ]
}

#[test]
fn reading_again_is_told_whatever_the_first_read_was() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let plain = ways![Rw: read, acquire_read, read_arc, acquire_read_arc];
        let tried = ways![Rw: try_read, try_read_for(NONE_YET), try_read_recursive];
        for (first_name, first) in plain.into_iter().chain(tried).chain(recursive_reads()).chain(downgraded()) {
            let lock = kept(RwLock::new(0));
            let _held = first(lock);
            for (name, second) in untimed_reads() {
                let told = panic_of(|| second(lock));
                assert!(told.is_some_and(|text| text.starts_with("hazard: ")), "{name} after {first_name}");
                let [hazard] = &hazards.take()[..] else { panic!("{name} after {first_name}") };
                assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
                assert_eq!(hazard.wanted().primitive(), "RwLock");
                assert!(hazard.wanted().is_same(hazard.held().resource()));
            }
        }
    });
}

#[test]
fn whoever_asks_without_waiting_or_for_a_recursive_read_is_told_nothing() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let lock = kept(RwLock::new(0));
        let first = lock.read();
        for (_, second) in limited_reads().into_iter().chain(recursive_reads()) {
            drop(second(lock));
        }
        assert!(format!("{lock:?}").contains("data: 0"));
        assert_eq!(serde_json::to_string(&**lock).unwrap(), "0");
        drop(lock.try_write());
        assert_eq!(lock.acquire_write().unwrap_err().report().kind(), Kind::Relock);
        drop(first);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn whoever_does_not_read_already_is_told_nothing() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (lock, other) = (kept(RwLock::new(0)), kept(RwLock::new(0)));
        for (_, way) in untimed_reads() {
            drop(way(lock));
            let _other = other.try_read();
            drop(way(lock));
            let _free = lock.try_write().unwrap();
        }
        let reading = lock.read();
        on_another_thread(|| drop(lock.read()));
        drop(reading);
        // Nobody can be next while this thread has the turn.
        let upgradable = lock.upgradable_read();
        drop((lock.read(), lock.read_arc()));
        drop((upgradable, lock.write()));
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn a_read_within_the_debug_of_a_read_is_told_with_its_purpose() {
    alone(|| {
        struct Reads(&'static Mutex<Option<&'static RwLock<Reads>>>);
        impl std::fmt::Debug for Reads {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let lock = self.0.lock().unwrap().unwrap();
                drop(lock.read());
                f.write_str("read")
            }
        }
        static LOCK: Mutex<Option<&'static RwLock<Reads>>> = Mutex::new(None);
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock: &RwLock<Reads> = Box::leak(Box::new(RwLock::new(Reads(&LOCK))));
        *LOCK.lock().unwrap() = Some(lock);
        assert!(format!("{lock:?}").contains("read"));
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.held().purpose(), hazard.purpose()), (Some(Purpose::Debug), None));
        assert!(hazard.to_string().contains("to format it with `{:?}`"), "{hazard}");
    });
}

#[test]
fn a_hazard_says_who_what_and_where() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let (first, second, os_id) = thread::scope(|s| {
            let body = || {
                let lock = RwLock::named("routes", 0);
                let (first, _guard) = (line!(), lock.read());
                let (second, _again) = (line!(), lock.read());
                (first, second, crate::support::this_os_id())
            };
            spawn_named(s, "reads twice", body).join().unwrap()
        });
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.thread_name(), hazard.os_id()), (Some("reads twice"), os_id));
        assert_eq!((hazard.held().site().line(), hazard.site().line()), (first, second));
        assert_eq!((hazard.wanted().name(), hazard.wanted().rank()), (Some("routes"), None));
        assert!(hazard.task().is_none() && hazard.purpose().is_none());
        let text = hazard.to_string();
        assert_eq!(text.lines().next(), Some("hazard: thread 'reads twice' reads a lock that it reads already"));
        for part in ["A = RwLock<i32> 'routes', made at ", "asks to read A 'routes'", "already holds A 'routes'"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("help: call `read_recursive` here, or let the first guard go before"), "{text}");
        let json = serde_json::to_value(hazard).unwrap();
        assert_eq!((&json["kind"], &json["wanted"]["name"]), (&"RepeatedRead".into(), &"routes".into()));
        assert_eq!(json["held"]["site"]["line"], first);
    });
}

#[test]
fn a_task_is_told_by_its_name() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let pool = ThreadPoolExecutor::new(1);
        let lock = Arc::new(RwLock::new(0));
        pool.submit_named("audit", move || drop((lock.read(), lock.read()))).result().unwrap();
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.task().unwrap().name(), Some("audit"));
        assert!(hazard.to_string().starts_with("hazard: task 'audit' on thread '"), "{hazard}");
    });
}

#[test]
fn a_pair_of_lines_is_told_once_and_another_pair_anew() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let read = |lock: &RwLock<u32>| drop(lock.read());
        let all_at_once = Barrier::new(4);
        let (one, other) = (RwLock::new(0), RwLock::new(0));
        thread::scope(|s| {
            for lock in [&one, &other, &one, &other] {
                s.spawn(|| {
                    let _guard = lock.read();
                    all_at_once.wait();
                    (0..100).for_each(|_| read(lock));
                });
            }
        });
        assert_eq!(hazards.count(), 1);
        let _guard = one.read();
        (0..3).for_each(|_| read(&one));
        assert_eq!(hazards.count(), 1, "taken at another line");
        (0..3).for_each(|_| drop(one.read()));
        assert_eq!(hazards.count(), 1, "asked for at another line");
        // Nor is it told anew when the policy comes back.
        deadlock::set_hazard_policy(HazardPolicy::Off);
        read(&one);
        drop(one.read());
        deadlock::set_hazard_policy(HazardPolicy::Warn);
        read(&one);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn under_panic_it_is_told_each_time_and_nothing_is_taken() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (low, high) = (RwLock::ranked("low", 1, 0), Lock::ranked("high", 2, 0));
        for _ in 0..3 {
            let reading = low.read();
            assert!(panic_of(|| low.read()).unwrap().starts_with("hazard: "));
            drop(reading);
            assert!(low.try_write().is_some(), "read by nobody");
            let guard = high.lock();
            for panic in [panic_of(|| low.read()), panic_of(|| low.write()), panic_of(|| low.acquire_read_recursive())]
            {
                assert!(panic.unwrap().contains("takes a lock of rank 1 while it holds one of rank 2"));
            }
            drop(guard);
            assert!(low.try_write().is_some(), "read by nobody");
            assert_eq!(hazards.count(), 4);
        }
        assert_eq!(deadlock::snapshot().threads().count(), 0, "nothing is held");
    });
}

#[test]
fn a_thread_that_unwinds_is_told_and_goes_on() {
    struct Reads<'a>(&'a RwLock<u32>);
    impl Drop for Reads<'_> {
        fn drop(&mut self) {
            drop((self.0.read(), self.0.read()));
        }
    }
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let lock = RwLock::new(0);
        let panic = panic_of(|| {
            let _reads = Reads(&lock);
            panic!("the first");
        });
        assert_eq!((panic.as_deref(), hazards.count()), (Some("the first"), 1));
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn hooks_run_in_order_may_lock_and_panic_and_leave_with_their_handles() {
    alone(|| {
        static LOG: Lock<Vec<u32>> = Lock::named("log", Vec::new());
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        let first = deadlock::on_hazard(|_| {
            LOG.lock().push(1);
            panic!("contained");
        });
        let second = deadlock::on_hazard(|_| {
            // A hazard of its own.
            let own = RwLock::new(0);
            let _reads = own.read();
            assert!(panic_of(|| own.read()).unwrap().starts_with("hazard: "));
            LOG.lock().push(2);
        });
        let lock = RwLock::new(0);
        let _guard = lock.read();
        let told = || {
            assert!(panic_of(|| lock.read()).unwrap().starts_with("hazard: "));
            std::mem::take(&mut *LOG.lock())
        };
        assert_eq!(told(), [1, 2]);
        drop(first);
        assert_eq!(told(), [2]);
        second.keep();
        assert_eq!(told(), [2]);
    });
}

#[test]
fn a_hook_may_wait_for_others_and_take_the_lock_that_is_asked_for() {
    alone(|| {
        static HIGH: Lock<()> = Lock::ranked("high", 2, ());
        static LOW: RLock<()> = RLock::ranked("low", 1, ());
        within(LIMIT / 2, || {
            deadlock::set_hazard_policy(HazardPolicy::Warn);
            let gate = Arc::new(Lock::new(()));
            let theirs = Arc::clone(&gate);
            let hook = deadlock::on_hazard(move |_| {
                drop(theirs.lock());
                std::mem::forget(LOW.lock());
            });
            let shut = gate.lock();
            thread::scope(|s| {
                let asks = spawn_named(s, "asks", || {
                    let _high = HIGH.lock();
                    let _low = LOW.lock();
                    LOW.depth()
                });
                until_waiting("asks");
                drop(shut);
                assert_eq!(asks.join().unwrap(), 2, "that of the hook, and its own");
            });
            drop(hook);
        });
    });
}

/// Runs `body` in a process with these variables, which is to succeed. `None` in that process.
#[track_caller]
fn in_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    let output = in_fresh_process(test, variables, || within(LIMIT / 2, body))?;
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

#[test]
fn the_environment_names_the_first_policy() {
    let default = if cfg!(debug_assertions) { HazardPolicy::Warn } else { HazardPolicy::Off };
    for (value, policy) in [
        (None, default),
        (Some("off"), HazardPolicy::Off),
        (Some(" Warn "), HazardPolicy::Warn),
        (Some("PANIC"), HazardPolicy::Panic),
    ] {
        let body = || {
            eprintln!("policy: {:?}", deadlock::hazard_policy());
            let lock = RwLock::new(0);
            let _guard = lock.read();
            eprintln!("panics: {}", panic_of(|| lock.read()).is_some());
        };
        let variables: Vec<_> = value.map(|value| ("BOWLINE_HAZARD", value)).into_iter().collect();
        let name = "the_environment_names_the_first_policy";
        let Some(output) = in_process(name, &variables, body) else { return };
        let text = stderr(&output);
        assert!(text.contains(&format!("policy: {policy:?}\n")), "{value:?}: {text}");
        assert!(text.contains(&format!("panics: {}\n", policy == HazardPolicy::Panic)), "{value:?}: {text}");
        let told = text.lines().filter(|line| line.starts_with("hazard: ")).count();
        assert_eq!(told, usize::from(policy != HazardPolicy::Off), "{value:?}: {text}");
        assert!(!text.contains("bowline:"), "no warning of {value:?}: {text}");
    }
}

#[test]
fn a_policy_that_does_not_exist_is_warned_of_once() {
    let name = "a_policy_that_does_not_exist_is_warned_of_once";
    let body = || {
        thread::scope(|s| (0..2).for_each(|_| drop(s.spawn(|| drop(Lock::new(()).lock())))));
        assert_eq!(deadlock::hazard_policy(), HazardPolicy::default());
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "maybe")], body) else { return };
    let text = stderr(&output);
    assert_eq!(
        text.matches("BOWLINE_HAZARD=\"maybe\" is none of off, warn, panic; going on with ").count(),
        1,
        "{text}"
    );
}

#[test]
fn a_policy_that_is_set_before_the_first_lock_stays() {
    let name = "a_policy_that_is_set_before_the_first_lock_stays";
    let body = || {
        deadlock::set_hazard_policy(HazardPolicy::Off);
        let lock = RwLock::new(0);
        drop((lock.read(), lock.read()));
        assert_eq!(deadlock::hazard_policy(), HazardPolicy::Off);
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "panic")], body) else { return };
    assert!(!stderr(&output).contains("hazard:"), "{}", stderr(&output));
}

#[test]
fn a_hazard_is_printed_once_with_both_lines() {
    let name = "a_hazard_is_printed_once_with_both_lines";
    let body = || {
        let hook = deadlock::on_hazard(|_| {
            // Printed all the same.
            let own = RwLock::named("of the hook", 0);
            drop((own.read(), own.read()));
        });
        let lock = RwLock::named("routes", 0);
        for _ in 0..3 {
            let _guard = lock.read();
            drop(lock.acquire_read());
        }
        drop(hook);
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "warn")], body) else { return };
    let text = stderr(&output);
    assert_eq!(text.lines().filter(|line| line.starts_with("hazard: thread '")).count(), 2, "{text}");
    for part in ["= RwLock<i32> 'routes', made at ", "= RwLock<i32> 'of the hook', made at "] {
        assert_eq!(text.matches(part).count(), 1, "{text}");
    }
}

#[test]
fn a_task_in_place_does_not_read_what_its_waiter_reads() {
    alone(|| {
        within(LIMIT / 2, || {
            let hazards = Hazards::under(HazardPolicy::Warn);
            let pool = ThreadPoolExecutor::new(1);
            let lock = Arc::new(RwLock::named("shared", 0));
            let (own, theirs) = (pool.clone(), Arc::clone(&lock));
            let outer = pool.submit(move || {
                let _guard = theirs.read();
                let inner = Arc::clone(&theirs);
                let here = thread::current().id();
                own.submit(move || (drop(inner.read()), thread::current().id() == here)).result().unwrap().1
            });
            assert!(outer.result().unwrap(), "it ran in place");
            assert_eq!(hazards.count(), 0);
            // With a writer in between it waits, for its waiter in the end.
            let (own, theirs) = (pool.clone(), Arc::clone(&lock));
            thread::scope(|s| {
                let outer = pool.submit(move || {
                    let _guard = theirs.read();
                    until_waiting("writes");
                    let inner = Arc::clone(&theirs);
                    own.submit(move || inner.acquire_read().map(drop).map_err(|deadlock| deadlock.report().kind()))
                        .result()
                        .unwrap()
                });
                let reads = || lock.try_write().is_none();
                crate::support::wait_until(reads);
                let writer = spawn_named(s, "writes", || drop(lock.write()));
                assert_eq!(outer.result().unwrap(), Err(Kind::Cycle));
                writer.join().unwrap();
            });
            assert_eq!(hazards.count(), 0);
        });
    });
}

#[test]
fn a_guard_that_was_forgotten_still_reads() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock = kept(RwLock::new(0));
        std::mem::forget(lock.read());
        drop(lock.read());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
        // Another lock at the same place is another lock.
        let mut place = Box::new(RwLock::new(0));
        std::mem::forget(place.read());
        *place = RwLock::new(0);
        drop(place.read());
        assert_eq!(hazards.count(), 0);
        // So does one of a lock with a rank count.
        let high = kept(Lock::ranked("high", 2, ()));
        std::mem::forget(high.lock());
        drop(Lock::ranked("low", 1, ()).lock());
        assert_eq!(hazards.take()[0].held().resource().name(), Some("high"));
    });
}

// ------------------------------------------------------------------------------------------------ ranks

/// A lock of whatever type, with all ways to acquire it.
struct Any3 {
    primitive: &'static str,
    made: fn(&'static str, u16) -> &'static dyn Ranked,
}

trait Ranked: Sync {
    /// Acquires by each way that waits without a limit.
    fn untimed(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)>;
    /// Acquires by each way that does not wait, or not for ever.
    fn limited(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)>;
}

fn bound<L: Sync + Send>(
    lock: &'static Arc<L>,
    ways: impl IntoIterator<Item = Way<L>>,
) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
    ways.into_iter().map(|(name, way)| (name, Box::new(move || way(lock)) as Box<dyn FnOnce() -> Held>)).collect()
}

impl Ranked for Arc<Lock<u32>> {
    fn untimed(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let mut ways = bound(self, ways![Lock<u32>: lock, acquire, lock_arc, acquire_arc]);
        let serialize = || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let mut ways = bound(
            self,
            ways![Lock<u32>:
                try_lock, try_lock_arc, try_lock_for(NONE_YET), try_lock_until(soon()), try_lock_for(Duration::MAX),
                try_lock_arc_for(NONE_YET),
            ],
        );
        ways.push(("debug", Box::new(|| Box::new(format!("{self:?}")))));
        ways
    }
}

impl Ranked for Arc<RLock<u32>> {
    fn untimed(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let mut ways = bound(self, ways![RLock<u32>: lock, acquire]);
        let serialize = || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let timed = ways![RLock<u32>: try_lock_for(NONE_YET), try_lock_until(soon()), try_lock_for(Duration::MAX)];
        let mut ways = bound(self, ways![RLock<u32>: try_lock].into_iter().chain(timed));
        ways.push(("debug", Box::new(|| Box::new(format!("{self:?}")))));
        ways
    }
}

impl Ranked for Arc<Rw> {
    fn untimed(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let writes = ways![Rw: write, acquire_write, write_arc, acquire_write_arc];
        let mut ways = bound(self, untimed_reads().into_iter().chain(recursive_reads()).chain(writes));
        let serialize = || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Vec<(&'static str, Box<dyn FnOnce() -> Held>)> {
        let writes = ways![Rw: try_write, try_write_arc, try_write_for(NONE_YET), try_write_until(soon())];
        let mut ways = bound(self, limited_reads().into_iter().chain(writes));
        ways.push(("debug", Box::new(|| Box::new(format!("{self:?}")))));
        ways
    }
}

const PRIMITIVES: [Any3; 3] = [
    Any3 { primitive: "Lock", made: |name, rank| kept(Lock::ranked(name, rank, 0)) },
    Any3 { primitive: "RLock", made: |name, rank| kept(RLock::ranked(name, rank, 0)) },
    Any3 { primitive: "RwLock", made: |name, rank| kept(RwLock::ranked(name, rank, 0)) },
];

#[test]
fn a_lock_of_the_same_or_a_lower_rank_is_told_and_one_of_a_higher_rank_is_not() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        for held in PRIMITIVES {
            for wanted in PRIMITIVES {
                let high = (held.made)("high", 20);
                for (taken, take) in high.untimed().into_iter().chain(high.limited()) {
                    // It lets go of the lock before it returns.
                    if ["serialize", "debug"].contains(&taken) {
                        continue;
                    }
                    let _held = take();
                    for rank in [0, 19, 20, 21, u16::MAX] {
                        let low = (wanted.made)("low", rank);
                        let what = format!("{} {rank} after {} by {taken}", wanted.primitive, held.primitive);
                        for (name, ask) in low.untimed() {
                            let told = panic_of(ask);
                            assert_eq!(told.is_some(), rank <= 20, "{name}: {what}: {told:?}");
                            let Some(told) = told else { continue };
                            let headline = format!("takes a lock of rank {rank} while it holds one of rank 20");
                            assert!(told.lines().next().unwrap().ends_with(&headline), "{told}");
                            let [hazard] = &hazards.take()[..] else { panic!("{what}") };
                            assert_eq!(hazard.kind(), HazardKind::Rank);
                            assert_eq!(
                                (hazard.wanted().rank(), hazard.held().resource().rank()),
                                (Some(rank), Some(20))
                            );
                            assert_eq!(hazard.wanted().primitive(), wanted.primitive);
                            assert_eq!(hazard.held().resource().primitive(), held.primitive);
                        }
                        for (name, ask) in low.limited() {
                            assert_eq!(panic_of(ask), None, "{name}: {what}");
                        }
                    }
                }
            }
        }
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn a_lock_without_a_rank_has_no_part_in_the_order() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (plain, named) = (Lock::new(0), RwLock::named("named", 0));
        let (low, high) = (Lock::ranked("low", 1, 0), RLock::ranked("high", 2, 0));
        {
            let _held = (high.lock(), plain.lock());
            drop(named.write());
        }
        {
            let _held = (plain.lock(), named.read());
            drop((low.lock(), high.lock()));
        }
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn the_highest_of_the_locks_that_are_held_is_told() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let locks: Vec<_> = (0..40).map(|rank| Lock::ranked("one of many", rank, ())).collect();
        // More than a context holds inline, in whatever order.
        let held: Vec<_> = locks.iter().skip(1).map(|lock| lock.try_lock().unwrap()).collect();
        drop(locks[0].lock());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.held().resource().rank(), Some(39));
        drop(held);
        drop(locks[0].lock());
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn the_owner_takes_an_rlock_again_whatever_it_holds() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (low, high) = (RLock::ranked("low", 1, 0), Lock::ranked("high", 2, 0));
        let first = low.lock();
        let _high = high.lock();
        let again = (low.lock(), low.acquire().unwrap(), low.try_lock().unwrap());
        let timed = (low.try_lock_for(NONE_YET).unwrap(), low.try_lock_until(soon()).unwrap());
        assert_eq!((low.depth(), low.is_owned(), low.is_locked()), (6, true, true));
        assert_eq!(on_another_thread(|| (low.depth(), low.is_owned(), low.try_lock().is_some())), (0, false, false));
        drop((first, timed));
        assert_eq!(low.depth(), 3);
        drop(again);
        assert_eq!((low.depth(), low.is_locked()), (0, false));
        assert_eq!(hazards.count(), 0);
        assert!(panic_of(|| low.lock()).is_some(), "it is free again, and so has to come first");
    });
}

#[test]
fn reading_a_lock_with_a_rank_twice_is_a_repeated_read_and_a_relock_is_a_deadlock() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock = RwLock::ranked("ranked", 1, 0);
        let reading = lock.read();
        drop(lock.read());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
        drop(lock.read_recursive());
        let relock = lock.acquire_write().unwrap_err();
        assert_eq!(relock.report().kind(), Kind::Relock);
        assert!(relock.to_string().contains("A = RwLock<i32> 'ranked', rank 1, made at "), "{relock}");
        drop(reading);
        let lock = Lock::ranked("own", 1, 0);
        let _guard = lock.lock();
        assert_eq!(lock.acquire().unwrap_err().report().kind(), Kind::Relock);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn an_upgrade_is_in_the_order_and_gives_nothing_up_but_by_a_panic() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let (low, high): (&'static Arc<Rw>, _) = (kept(RwLock::ranked("low", 1, 0)), Lock::ranked("high", 2, 0));
        drop(RwLockUpgradableReadGuard::upgrade(low.upgradable_read()));
        assert_eq!(hazards.count(), 0, "it holds nothing else");
        let upgradable = low.upgradable_read();
        let high_guard = high.lock();
        static OTHERS_READ: AtomicBool = AtomicBool::new(false);
        let others = deadlock::on_hazard(move |_| {
            OTHERS_READ.store(on_another_thread(|| low.try_read().is_some()), SeqCst);
        });
        let mut written = RwLockUpgradableReadGuard::upgrade(upgradable);
        *written += 1;
        drop((written, others));
        assert!(OTHERS_READ.load(SeqCst), "it is no writer yet");
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.kind(), hazard.wanted().name()), (HazardKind::Rank, Some("low")));
        let upgradable = low.upgradable_read_arc();
        drop((high_guard, hazards.take()));
        let high_guard = high.lock();
        let upgraded = ArcRwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap();
        drop(upgraded);
        assert_eq!(hazards.count(), 1);
        drop(high_guard);
        let upgradable = low.upgradable_read();
        let high_guard = high.lock();
        let written = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, NONE_YET).ok().unwrap();
        drop((written, high_guard));
        assert_eq!(hazards.count(), 0, "with a limit");
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        let upgradable = low.upgradable_read();
        let _high = high.lock();
        assert!(panic_of(|| RwLockUpgradableReadGuard::upgrade(upgradable)).is_some());
        assert!(low.try_write().is_some(), "the guard is gone with the panic, as after a deadlock");
    });
}

#[test]
fn locks_with_ranks_exclude_hand_over_and_wake_as_others_do() {
    alone(|| {
        within(LIMIT / 2, || {
            const ROUNDS: usize = 2_000;
            static INSIDE: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
            let (lock, again, shared) =
                (Lock::ranked("lock", 1, 0), RLock::ranked("again", 2, ()), RwLock::ranked("shared", 3, 0));
            let alone = |at: usize, body: &mut dyn FnMut()| {
                assert_eq!(INSIDE[at].fetch_add(1, SeqCst), 0, "two at once");
                body();
                INSIDE[at].fetch_sub(1, SeqCst);
            };
            thread::scope(|s| {
                for thread in 0..4 {
                    let (lock, again, shared) = (&lock, &again, &shared);
                    s.spawn(move || {
                        for round in 0..ROUNDS {
                            let mut first = lock.lock();
                            alone(0, &mut || *first += 1);
                            let second = (again.lock(), again.lock());
                            alone(1, &mut || assert_eq!(again.depth(), 2));
                            match (round + thread) % 3 {
                                0 => drop(first),
                                1 => LockGuard::unlock_fair(first),
                                _ => drop(LockGuard::unlocked(first, thread::yield_now)),
                            }
                            drop(second.1);
                            if round % 2 == 0 {
                                drop(second.0)
                            } else {
                                RLockGuard::unlock_fair(second.0)
                            }
                            if round % 64 == thread {
                                let mut written = shared.write();
                                alone(2, &mut || *written += 1);
                            }
                            let _reading = shared.read();
                            assert_eq!(INSIDE[2].load(SeqCst), 0);
                        }
                    });
                }
            });
            assert_eq!(lock.into_inner(), 4 * ROUNDS);
            assert!(!again.is_locked() && !shared.is_locked());
            assert_eq!(shared.into_inner(), (0..4).map(|thread| (ROUNDS - thread).div_ceil(64)).sum::<usize>());
            assert_eq!(deadlock::snapshot().threads().count(), 0);
        });
    });
}

#[test]
fn a_deadlock_of_locks_with_ranks_is_found_and_shows_them() {
    alone(|| {
        within(LIMIT / 2, || {
            deadlock::set_hazard_policy(HazardPolicy::Off);
            let (low, high) = (Lock::ranked("low", 7, ()), RwLock::ranked("high", 9, ()));
            let each_has_one = Barrier::new(2);
            let closed = AtomicBool::new(false);
            thread::scope(|s| {
                let first = s.spawn(|| {
                    let _low = low.lock();
                    each_has_one.wait();
                    high.acquire_read().map(drop).err()
                });
                let second = s.spawn(|| {
                    let _high = high.write();
                    each_has_one.wait();
                    low.acquire().map(drop).err()
                });
                let errors: Vec<_> = [first, second].into_iter().filter_map(|it| it.join().unwrap()).collect();
                let [deadlock] = &errors[..] else { panic!("{errors:?}") };
                assert_eq!(deadlock.report().kind(), Kind::Cycle);
                for part in ["Lock<()> 'low', rank 7, made at", "RwLock<()> 'high', rank 9, made at"] {
                    assert!(deadlock.to_string().replace("\n     ", "").contains(part), "{deadlock}");
                }
                closed.store(true, SeqCst);
            });
            assert!(closed.load(SeqCst));
            // The owner of a lock with a rank is known when it is gone, too.
            if cfg!(target_os = "linux") {
                on_another_thread(|| std::mem::forget(low.lock()));
                assert_eq!(low.acquire().unwrap_err().report().kind(), Kind::Abandoned);
            }
        });
    });
}
