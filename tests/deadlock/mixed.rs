//! A deadlock through every kind of thing that can be waited for: its report names each step with its line.

use std::sync::Barrier;
use std::thread as std_thread;

use bowline::deadlock::Kind;
use bowline::deadlock::report::Access;
use bowline::{BoundedSemaphore, Lock, OnceLock, RwLock, ThreadPoolExecutor, thread};

use crate::support::deadlocks::{Reports, the_only};
use crate::support::{LIMIT, alone_within};

#[test]
fn a_cycle_through_six_kinds_of_waits_names_each_step_with_its_line() {
    static LEDGER: Lock<()> = Lock::named("mixed ledger", ());
    static PORTS: RwLock<()> = RwLock::named("mixed ports", ());
    static PERMITS: BoundedSemaphore = BoundedSemaphore::named("mixed permits", 1);
    static CONFIG: OnceLock<()> = OnceLock::named("mixed config");
    /// All six hold what they hold.
    static READY: Barrier = Barrier::new(6);

    alone_within(LIMIT, || {
        let reports = Reports::about("");
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let pool = ThreadPoolExecutor::new(1);
        // Each holds what the one before it in this list waits for, and waits for what the next one provides. Whichever
        // closes the circle gets an error, and then all go on.
        let (joiner, joined) = std::sync::mpsc::channel();
        let permit_waiter = named("wants a permit").spawn(|| {
            READY.wait();
            drop(PERMITS.acquire());
        });
        joiner.send(permit_waiter.unwrap()).unwrap();
        let task = pool.submit_named("mixed task", move || {
            let handle = joined.recv().unwrap();
            READY.wait();
            drop(handle.acquire_join());
        });
        let threads = [
            named("wants to write").spawn(|| {
                let _ledger = LEDGER.lock();
                READY.wait();
                drop(PORTS.acquire_write());
            }),
            named("wants a result").spawn(move || {
                let _ports = PORTS.read();
                READY.wait();
                drop(task.result());
            }),
            named("wants a value").spawn(|| {
                let _permit = PERMITS.lock();
                READY.wait();
                drop(CONFIG.acquire_or_init(|| ()).map(drop));
            }),
            named("wants the lock").spawn(|| {
                let initialise = || {
                    READY.wait();
                    drop(LEDGER.acquire());
                };
                drop(CONFIG.acquire_or_init(initialise).map(drop));
            }),
        ];
        threads.into_iter().for_each(|thread| thread.unwrap().join().unwrap());
        drop(pool);

        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle, "{report}");
        let mut waits: Vec<_> = report
            .threads()
            .iter()
            .map(|thread| {
                let wait = thread.waits_for().unwrap();
                assert!(wait.site().file().ends_with("mixed.rs"), "{report}");
                (wait.resource().primitive(), wait.access())
            })
            .collect();
        waits.sort_unstable_by_key(|wait| wait.0);
        let expected =
            ["BoundedSemaphore", "Future", "JoinHandle", "Lock", "OnceLock"].map(|primitive| (primitive, None));
        assert_eq!((&waits[..5], waits[5]), (&expected[..], ("RwLock", Some(Access::Write))), "{report}");
        // However the lines are broken.
        let text = report.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        for step in [
            "waits to write",
            "reads",
            "waits for task",
            "waits for the end of thread 'wants a permit'",
            "holds a permit of",
            "initialises",
            "'mixed ledger'",
            "'mixed ports'",
            "'mixed task'",
            "'mixed permits'",
            "'mixed config'",
        ] {
            assert!(text.contains(step), "{step}: {text}");
        }
        assert_eq!(std_thread::current().id(), thread::current().id(), "one module in place of the other");
    });
}
