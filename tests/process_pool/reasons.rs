//! Why a worker was lost, where its exit does not tell: limits that were hit, and memory that ran out.

#![cfg(target_os = "linux")]

use std::env::current_exe;
use std::fs::{self, read_to_string};
use std::hint::{black_box, spin_loop};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use bowline::process_pool::ProcessPoolBuilder;
use bowline::task::{LossReason, Rejected, WorkerExit, WorkerLost};
use bowline::{ProcessPoolExecutor, TaskError};

use crate::support::processes::kill;
use crate::support::workers::{Held, builder, lost, only_worker};
use crate::support::{LIMIT, alone, skipped, within};

const GIB: usize = 1 << 30;

fn signal(number: i32) -> WorkerExit {
    WorkerExit::Signal { number, core_dumped: false }
}

/// A task: runs until something ends it.
fn spin() {
    loop {
        spin_loop();
    }
}

/// A task: the same, and the signal at the limit does not end it.
fn spin_on() {
    // SAFETY:
    // - a signal that can be ignored.
    unsafe { libc::signal(libc::SIGXCPU, libc::SIG_IGN) };
    spin();
}

#[test]
fn a_cpu_time_limit_that_was_hit_is_named() {
    within(LIMIT, || {
        let limit = Duration::from_secs(1);
        let pool = builder(2).worker_cpu_time(Duration::from_millis(300)).build().unwrap();
        for (task, number) in [(pool.submit(spin, ()), libc::SIGXCPU), (pool.submit(spin_on, ()), libc::SIGKILL)] {
            let lost = lost(task.result());
            assert_eq!((lost.exit(), lost.reason()), (&signal(number), Some(LossReason::CpuTime(limit))), "{lost}");
            assert!(lost.to_string().ends_with(": its CPU time limit of 1 s"), "{lost}");
        }
    });
}

/// A task: has another worker spin, which may not run for longer than its limit, and returns how that one was lost.
fn spin_in_a_pool(limit: Duration) -> String {
    let pool = builder(1).worker_cpu_time(limit).build().expect("a pool");
    lost(pool.submit(spin, ()).result()).to_string()
}

#[test]
fn a_cpu_time_limit_that_gives_no_warning_is_named() {
    within(LIMIT, || {
        let pool = builder(1).worker_cpu_time(Duration::from_secs(1)).build().unwrap();
        // The worker may raise its own limit to two seconds, at which the system kills.
        let lost = pool.submit(spin_in_a_pool, (Duration::from_secs(2),)).result().unwrap();
        assert!(lost.contains("(SIGKILL)") && lost.ends_with(": its CPU time limit of 2 s"), "{lost}");
    });
}

/// A task: uses so many bytes of the stack.
fn dive(bytes: usize) -> usize {
    #[inline(never)]
    fn down_to(end: usize) -> usize {
        let frame = black_box([1_u8; 512]);
        let deeper = if frame.as_ptr().addr() > end { down_to(end) } else { 0 };
        deeper + usize::from(black_box(frame)[7])
    }
    let here = black_box(0_u8);
    down_to((&raw const here).addr().saturating_sub(bytes))
}

/// A task: the same, where the worker may take less than that beside what it has.
fn dive_without_memory(bytes: usize) -> usize {
    let pages: u64 = read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    let limit = Some(pages * rustix::param::page_size() as u64 + bytes as u64 / 2);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    dive(bytes)
}

#[test]
fn a_limit_that_refuses_a_stack_its_growth_is_named() {
    let deep = 6 << 20;
    if !getrlimit(Resource::Stack).current.is_some_and(|limit| (8 << 20..1 << 30).contains(&limit)) {
        return skipped("the stack may be too small for this, or take all memory");
    }
    alone(|| {
        let unlimited = builder(1).build().unwrap();
        assert!(unlimited.submit(dive, (deep,)).result().unwrap() > 0);
        // The task has less left than this, whatever the C library has reserved by then.
        let limit = 8 << 30;
        let pool = builder(1).worker_address_space(limit).build().unwrap();
        let lost = lost(pool.submit(dive_without_memory, (deep,)).result());
        assert_eq!((lost.exit(), lost.reason()), (&WorkerExit::StackOverflow, Some(LossReason::AddressSpace(limit))));
        let lost = self::lost(unlimited.submit(dive, (1 << 40,)).result());
        assert_eq!((lost.exit(), lost.reason()), (&WorkerExit::StackOverflow, None), "its own end");
    });
}

/// A task: this signal ends its worker.
fn raise(number: i32) {
    // SAFETY:
    // - `raise` has no preconditions.
    unsafe { libc::raise(number) };
}

#[test]
fn the_end_by_a_signal_that_no_limit_has_sent_has_no_reason() {
    within(LIMIT, || {
        let limited = builder(1).worker_cpu_time(Duration::from_secs(100)).worker_address_space(4 << 30);
        let limited = limited.build().unwrap();
        for number in [libc::SIGKILL, libc::SIGABRT, libc::SIGSEGV, libc::SIGTERM, libc::SIGXCPU] {
            let lost = lost(limited.submit(raise, (number,)).result());
            assert_eq!((lost.exit(), lost.reason()), (&signal(number), None), "{lost}");
        }
        let unlimited = builder(1).build().unwrap();
        let lost = lost(unlimited.submit(raise, (libc::SIGXCPU,)).result());
        assert_eq!((lost.exit(), lost.reason()), (&signal(libc::SIGXCPU), None), "{lost}");
    });
}

/// A task: a vector of so many bytes.
fn fill(bytes: usize) -> usize {
    black_box(vec![1_u8; bytes]).len()
}

/// A task: aborts as C does, which has checked a pointer.
fn fill_in_c(bytes: usize) {
    // SAFETY:
    // - `malloc` has no preconditions.
    if black_box(unsafe { libc::malloc(black_box(bytes)) }).is_null() {
        eprintln!("there is no memory");
        process::abort();
    }
}

fn limited() -> ProcessPoolBuilder {
    builder(1).worker_address_space(2 << 30)
}

#[track_caller]
fn assert_address_space(lost: &WorkerLost) {
    assert_eq!(
        (lost.exit(), lost.reason()),
        (&signal(libc::SIGABRT), Some(LossReason::AddressSpace(2 << 30))),
        "{lost}"
    );
    assert!(lost.to_string().ends_with(": likely its address space limit of 2 GiB"), "{lost}");
}

#[test]
fn an_allocation_that_fails_under_a_limit_names_it_as_the_likely_reason() {
    within(LIMIT, || {
        let pool = limited().build().unwrap();
        assert_eq!(pool.submit(fill, (GIB / 2,)).result().unwrap(), GIB / 2);
        assert_address_space(&lost(pool.submit(fill, (3 * GIB,)).result()));
        assert_address_space(&lost(pool.submit(fill_in_c, (3 * GIB,)).result()));
        // Std prints where it was.
        let with_backtraces = limited().worker_env("RUST_BACKTRACE", "1").build().unwrap();
        assert_address_space(&lost(with_backtraces.submit(fill, (3 * GIB,)).result()));
        // Of another thread.
        let on_a_thread = |bytes: usize| std::thread::spawn(move || fill(bytes)).join().is_ok();
        let without = limited().worker_env_remove("RUST_BACKTRACE").build().unwrap();
        assert_address_space(&lost(without.submit(on_a_thread, (3 * GIB,)).result()));
    });
}

/// A task: handles a failed allocation.
fn try_to_fill(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

#[test]
fn an_abort_that_has_nothing_to_do_with_the_limit_does_not_name_it() {
    within(LIMIT, || {
        let pool = limited().build().unwrap();
        assert!(!pool.submit(try_to_fill, (3 * GIB,)).result().unwrap());
        let lost = lost(pool.submit(|| -> u8 { process::abort() }, ()).result());
        assert_eq!((lost.exit(), lost.reason()), (&signal(libc::SIGABRT), None), "{lost}");
    });
}

#[test]
fn a_program_that_handles_aborts_is_asked_as_before() {
    within(LIMIT, || {
        extern "C" fn leave(_: libc::c_int) {
            // SAFETY:
            // - `_exit` may be called anywhere.
            unsafe { libc::_exit(33) };
        }
        let handles_aborts = || {
            // SAFETY:
            // - a handler that calls only what a handler may.
            unsafe { libc::signal(libc::SIGABRT, leave as *const () as libc::sighandler_t) };
        };
        let pool = limited().initializer(handles_aborts, ()).build().unwrap();
        assert_eq!(lost(pool.submit(fill, (3 * GIB,)).result()).exit(), &WorkerExit::Code(33));
    });
}

#[test]
fn an_initializer_that_hits_a_limit_breaks_the_pool_and_the_limit_is_named() {
    within(LIMIT, || {
        let pool =
            limited().initializer(|bytes: usize| drop(black_box(vec![1_u8; bytes])), (3 * GIB,)).build().unwrap();
        let error = pool.submit(fill, (1,)).result().unwrap_err();
        let TaskError::Rejected(Rejected::Broken(reason)) = error else { panic!("{error}") };
        assert!(reason.ends_with(" in the initializer: likely its address space limit of 2 GiB"), "{reason}");
    });
}

/// A cgroup whose processes have this much memory. Removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` if there can't be one: why.
    fn new(name: &str, bytes: u64) -> Result<Self, String> {
        let cgroups = read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut tried = String::new();
        for line in cgroups.lines() {
            let fields: Vec<_> = line.splitn(3, ':').collect();
            let (root, limits): (_, &[(&str, u64)]) = match fields[1] {
                "" => ("/sys/fs/cgroup", &[("memory.max", bytes), ("memory.swap.max", 0)]),
                "memory" => ("/sys/fs/cgroup/memory", &[("memory.limit_in_bytes", bytes), ("memory.swappiness", 0)]),
                _ => continue,
            };
            let parent = Path::new(root).join(fields[2].trim_start_matches('/'));
            let group = Self(parent.join(format!("bowline-test-{}-{name}", process::id())));
            let made = fs::create_dir(&group.0).and_then(|()| {
                limits.iter().try_for_each(|(file, value)| fs::write(group.0.join(file), value.to_string()))
            });
            match made {
                Ok(()) => return Ok(group),
                Err(error) => tried = format!("{tried} {}: {error}.", group.0.display()),
            }
        }
        Err(tried)
    }

    /// A pool of one worker, which is in this group.
    fn pool(&self) -> ProcessPoolExecutor {
        let procs = self.0.join("cgroup.procs");
        let script = "echo $$ >\"$0\" && exec \"$1\"".into();
        let args = ["-c".into(), script, procs.into_os_string(), current_exe().unwrap().into_os_string()];
        builder(1).worker_exe("/bin/sh").worker_args(args).build().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Kills the worker of the pool, which is told without a reason.
#[track_caller]
fn kill_by_hand(pool: &ProcessPoolExecutor) {
    let held = Held::keep(pool, 1);
    kill(only_worker(pool));
    let lost = held.results().into_iter().map(lost).next().unwrap();
    assert_eq!((lost.exit(), lost.reason()), (&signal(libc::SIGKILL), None), "{lost}");
}

#[test]
fn a_worker_that_the_system_kills_for_want_of_memory_is_told_from_one_that_somebody_kills() {
    within(LIMIT, || {
        let groups = ["one", "other"].map(|name| Cgroup::new(name, 128 << 20));
        let [group, other] = match groups {
            [Ok(group), Ok(other)] => [group, other],
            [Err(reason), _] | [_, Err(reason)] => {
                return skipped(format!("no cgroup with a limit of memory:{reason}"));
            }
        };
        let [pool, elsewhere] = [&group, &other].map(Cgroup::pool);
        // The worker is there when the system kills another group's.
        assert_eq!(elsewhere.submit(fill, (1,)).result().unwrap(), 1);
        kill_by_hand(&pool);
        let lost = lost(pool.submit(fill, (512 << 20,)).result());
        assert_eq!((lost.exit(), lost.reason()), (&signal(libc::SIGKILL), Some(LossReason::OutOfMemory)), "{lost}");
        assert!(lost.to_string().ends_with(": likely by the system, because memory ran out"), "{lost}");
        kill_by_hand(&pool);
        kill_by_hand(&elsewhere);
        assert!(pool.shutdown().is_complete() && elsewhere.shutdown().is_complete());
    });
}
