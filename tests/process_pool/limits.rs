//! Limits of workers: set in each worker before its initializer, and nowhere else.

#![cfg(target_os = "linux")]

use std::fs::{File, read_to_string};
use std::panic::catch_unwind;
use std::sync::OnceLock;
use std::time::Duration;

use bowline::process_pool::ProcessPoolBuilder;
use bowline::task::{Rejected, StartFailure};
use bowline::{ProcessPoolExecutor, TaskError};

use crate::support::workers::{builder, echo, exit, lost, pid};
use crate::support::{LIMIT, alone, within};

const MIB: u64 = 1 << 20;

/// The soft and the hard limit of this process for a resource, as the system shows it.
fn limit(name: String) -> [String; 2] {
    let limits = read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix(&*name)).expect("a limit");
    let mut values = line.split_whitespace().map(String::from);
    std::array::from_fn(|_| values.next().expect("a value"))
}

/// The nice value of the main thread.
fn nice() -> i32 {
    let stat = read_to_string("/proc/self/stat").expect("Linux");
    stat.rsplit(')').next().unwrap().split(' ').nth(17).unwrap().parse().expect("a number")
}

/// The processors of the main thread.
fn processors() -> String {
    let status = read_to_string("/proc/self/status").expect("Linux");
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list").trim().to_owned()
}

/// The first processor that this process may run on.
fn first_processor() -> usize {
    processors().split(['-', ',']).next().unwrap().parse().expect("a number")
}

type Limits = (Vec<[String; 2]>, i32, String);

/// All limits of this process.
fn limits() -> Limits {
    let names = ["Max address space", "Max cpu time", "Max open files"];
    (names.map(|name| limit(name.to_owned())).to_vec(), nice(), processors())
}

/// What the initializer found, in a worker.
static AT_FIRST: OnceLock<Limits> = OnceLock::new();

/// A task: what the initializer found, and what there is now.
fn limits_at_first_and_now() -> [Limits; 2] {
    [AT_FIRST.get().expect("the initializer").clone(), limits()]
}

#[test]
fn limits_are_there_before_the_initializer_and_in_every_worker_and_not_in_the_parent() {
    within(LIMIT, || {
        let before = limits();
        let processor = first_processor();
        let builder = builder(1)
            .worker_address_space(4096 * MIB)
            .worker_cpu_time(Duration::from_millis(100_500))
            .worker_open_files(77)
            .worker_nice(before.1 + 1)
            .worker_affinity([processor, processor])
            .initializer(|| AT_FIRST.set(limits()).expect("once"), ());
        let pool = builder.build().unwrap();
        let bytes = (4096 * MIB).to_string();
        let expected = [[&*bytes, &*bytes], ["101", "102"], ["77", "77"]].map(|pair| pair.map(String::from));
        for _ in 0..2 {
            let limits = pool.submit(limits_at_first_and_now, ()).result().unwrap();
            for (values, nice, processors) in limits {
                assert_eq!(values, expected);
                assert_eq!((nice, processors), (before.1 + 1, processor.to_string()));
            }
            // The next worker has them, too.
            lost(pool.submit(exit, (1,)).result());
        }
        assert_eq!(limits(), before);
    });
}

#[test]
fn a_limit_of_cpu_time_is_not_above_the_most_that_the_parent_may_have() {
    alone(|| {
        let own = libc::rlimit { rlim_cur: 1000, rlim_max: 1000 };
        // SAFETY:
        // - it reads the limit, which is there.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const own) }, 0);
        for (seconds, expected) in [(1000, ["1000", "1000"]), (500, ["500", "501"])] {
            let pool = builder(1).worker_cpu_time(Duration::from_secs(seconds)).build().unwrap();
            assert_eq!(pool.submit(limit, ("Max cpu time".to_owned(),)).result().unwrap(), expected);
        }
    });
}

#[test]
fn a_limit_beyond_what_a_process_can_have_is_none() {
    within(LIMIT, || {
        // The second one is a third of a second, to a kernel that counts nanoseconds in 64 bits.
        let cpu_times = [Duration::MAX, Duration::from_secs(18_446_744_074)];
        for cpu_time in cpu_times {
            let pool = builder(1).worker_cpu_time(cpu_time).worker_address_space(u64::MAX).build().unwrap();
            let name = "Max cpu time".to_owned();
            assert_eq!(pool.submit(limit, (name.clone(),)).result().unwrap(), limit(name));
        }
    });
}

/// Why no worker of this pool starts.
#[track_caller]
fn refusal(builder: ProcessPoolBuilder) -> String {
    let pool = builder.build().expect("a pool");
    let error = pool.submit(pid, ()).result().unwrap_err();
    let TaskError::Rejected(Rejected::NoWorker(start)) = &error else { panic!("{error}") };
    let StartFailure::Refused(reason) = start.failure() else { panic!("{error}") };
    assert!(error.to_string().contains(&**reason), "{error}");
    reason.to_string()
}

#[test]
fn a_limit_that_the_system_refuses_is_the_reason_for_which_no_worker_starts() {
    within(LIMIT, || {
        let pool = || builder(1);
        let reason = refusal(pool().worker_open_files(u64::MAX / 2));
        assert!(reason.starts_with("its limit of open files can't be 9223372036854775807"), "{reason}");
        assert!(reason.contains("not permitted"), "{reason}");
        let reason = refusal(pool().worker_affinity([first_processor(), 1023]));
        assert_eq!(reason, "it can't run on processor 1023, which is not there or not for this process");
        let reason = refusal(pool().worker_affinity([1022, 1023]));
        assert!(reason.starts_with("its processors can't be [1022, 1023]: "), "{reason}");
    });
}

#[test]
fn an_address_space_in_which_no_worker_gets_up_is_the_reason_for_which_none_starts() {
    within(LIMIT, || {
        let reason = refusal(builder(1).worker_address_space(MIB));
        let text = reason.strip_prefix("its limit of address space can't be 1048576 bytes: it takes ").expect(&reason);
        let taken = text.strip_suffix(" bytes before its first task").expect(&reason);
        // With what the program takes there is a worker; the allocator may reserve 64 MiB for each thread, or may not.
        let enough = taken.parse::<u64>().expect("a number") + 512 * MIB;
        let pool = builder(1).worker_address_space(enough).build().unwrap();
        assert_eq!(pool.submit(echo::<u8>, (7,)).result().unwrap(), 7);
    });
}

/// A task: opens files until that fails. Returns how many were opened, and the error.
fn open_all() -> (usize, String) {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => return (files.len(), error.to_string()),
        }
    }
}

#[test]
fn a_task_that_opens_too_many_files_gets_an_error_and_its_worker_goes_on() {
    within(LIMIT, || {
        for (files, most) in [(3, 0), (20, 17)] {
            let pool = builder(1).worker_open_files(files).build().unwrap();
            let worker = pool.submit(pid, ()).result().unwrap();
            let (opened, error) = pool.submit(open_all, ()).result().unwrap();
            assert!(opened <= most, "{opened} of {files}");
            assert!(error.contains("open files"), "{error}");
            // Long messages need no descriptor.
            let text = "x".repeat(4 << 20);
            assert_eq!(pool.submit(echo::<String>, (text.clone(),)).result().unwrap(), text);
            assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
            assert!(pool.shutdown().is_complete());
        }
    });
}

#[test]
fn arguments_that_do_not_fit_into_the_address_space_are_an_error_and_the_worker_goes_on() {
    within(LIMIT, || {
        let pool = builder(1).worker_address_space(640 * MIB).build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        match pool.submit(|text: String| text.len(), ("x".repeat(240 << 20),)).result() {
            Err(TaskError::Decode(error)) => assert!(error.to_string().contains("there is no memory for "), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn limits_that_make_no_sense_are_refused_where_they_are_written() {
    type Set = fn(ProcessPoolBuilder) -> ProcessPoolBuilder;
    let sets: [(Set, &str); 8] = [
        (|builder| builder.worker_address_space(0), "worker_address_space must be greater than 0 bytes"),
        (|builder| builder.worker_cpu_time(Duration::ZERO), "worker_cpu_time must be greater than 0"),
        (|builder| builder.worker_open_files(2), "worker_open_files must be at least 3, and is 2"),
        (|builder| builder.worker_nice(20), "worker_nice must be from -20 to 19, and is 20"),
        (|builder| builder.worker_nice(-21), "worker_nice must be from -20 to 19, and is -21"),
        (|builder| builder.worker_affinity([]), "worker_affinity must have a processor"),
        (|builder| builder.worker_affinity([0, 1024]), "worker_affinity takes numbers below 1024, and has 1024"),
        (|builder| builder.worker_affinity([usize::MAX]), "worker_affinity takes numbers below 1024"),
    ];
    for (set, text) in sets {
        let panic = catch_unwind(|| drop(set(ProcessPoolExecutor::builder()))).expect_err(text);
        let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        assert!(message.is_some_and(|message| message.starts_with(text)), "{message:?}: {text}");
    }
}
