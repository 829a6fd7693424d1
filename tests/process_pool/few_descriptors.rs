//! Where there are no more descriptors, or too many on their way: what that costs.
//!
//! The worker that fills the way is played by this binary, in the test `rogue` of this file.

#![cfg(target_os = "linux")]

use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier, OnceLock, mpsc};
use std::thread;

use bowline::process_pool::{Blob, ProcessPoolBuilder, current_task};
use bowline::task::Rejected;
use bowline::{ProcessPoolExecutor, TaskError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_bytes::ByteBuf;

use crate::support::descriptors::{alone_on_the_way, drop_capabilities, fill_the_way, leave, relay};
use crate::support::folder::Folder;
use crate::support::rogue::{HELLO, READY, Rogue, frame, mark, read_frame, rogues, shell, starts, worker};
use crate::support::workers::{echo, idle_pool, pid, pool_of};
use crate::support::{LIMIT, alone, this_os_id, until_asleep, within};

fn blob(byte: u8) -> Blob {
    Blob::from_bytes(&[byte; 5000]).expect("memory")
}

fn first(blob: Blob) -> u8 {
    blob[0]
}

/// A task: many blobs, and the first of the argument.
fn several(argument: Blob) -> Vec<Blob> {
    let mut made: Vec<_> = (0..20).map(blob).collect();
    made.push(argument);
    made
}

/// The next frame, which is of this kind.
fn frame_of(stream: &mut UnixStream, expected: u8) -> Vec<u8> {
    let (kind, id, payload) = read_frame(stream);
    assert_eq!(kind, expected);
    frame(kind, id, &payload)
}

/// Not a test: what a rogue does, if this process is one.
#[test]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    assert_eq!(step, "the way is full");
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut worker = worker(&mark(), theirs);
    rogue.say(&frame_of(&mut ours, HELLO));
    let setup = rogue.hear_setup();
    rogue.pass_setup_on(&ours, &setup);
    let ready = frame_of(&mut ours, READY);
    // What the pool sends next is the initializer's call.
    let _filled = fill_the_way();
    rogue.say(&ready);
    thread::scope(|s| {
        s.spawn(|| relay(&rogue.stream, &ours, &AtomicUsize::new(0)));
        relay(&ours, &rogue.stream, &AtomicUsize::new(0));
    });
    worker.wait().expect("the worker's end");
    rogue.end(0);
}

/// A task: its argument, in a worker that may open no more files.
fn with_no_more(bytes: ByteBuf) -> (ByteBuf, u32) {
    leave(0);
    (bytes, pid())
}

#[test]
fn a_worker_that_can_have_no_more_descriptors_uses_the_stream_for_long_values() {
    alone(|| {
        let pool = pool_of(1);
        let short = ByteBuf::from(vec![5; 10]);
        let (_, worker) = pool.submit(with_no_more, (short,)).result().unwrap();
        for _ in 0..3 {
            let long = ByteBuf::from(vec![5; 5 << 20]);
            assert!(pool.submit(with_no_more, (long.clone(),)).result().unwrap() == (long, worker));
        }
    });
}

fn leave_in_worker(more: usize) -> u32 {
    leave(more);
    pid()
}

#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T, TaskError>, says: &str) {
    match result {
        Err(TaskError::Decode(error) | TaskError::Encode(error)) if error.to_string().contains(says) => {}
        other => panic!("{other:?}"),
    }
}

/// What an error says where a process has too many open files.
const TOO_MANY: &str = "could not take its blobs: it has too many open files";

#[test]
fn blobs_that_a_worker_has_no_descriptors_for_fail_their_task_alone() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(leave_in_worker, (3,)).result().unwrap();
        for _ in 0..3 {
            assert_says(pool.submit(echo::<Vec<Blob>>, (vec![blob(1), blob(2), blob(3), blob(4)],)).result(), TOO_MANY);
            assert_eq!(pool.submit(first, (blob(8),)).result().unwrap(), 8);
            // None at all: the system says so in another way.
            assert_eq!(pool.submit(leave_in_worker, (0,)).result().unwrap(), worker);
            assert_says(pool.submit(first, (blob(8),)).result(), TOO_MANY);
            assert_eq!(pool.submit(leave_in_worker, (3,)).result().unwrap(), worker);
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn blobs_that_the_parent_has_no_descriptors_for_fail_their_task_alone() {
    alone(|| {
        let pool = idle_pool(1);
        let workers = pool.worker_pids();
        let argument = blob(1);
        let before = leave(3);
        for _ in 0..3 {
            assert_says(pool.submit(several, (argument.clone(),)).result(), TOO_MANY);
            assert_eq!(pool.submit(echo::<Blob>, (argument.clone(),)).result().unwrap(), argument);
            let none = leave(0);
            assert_says(pool.submit(echo::<Blob>, (argument.clone(),)).result(), TOO_MANY);
            assert!(Blob::from_bytes(b"one").is_err());
            setrlimit(Resource::Nofile, none).expect("the limit before");
        }
        setrlimit(Resource::Nofile, before).expect("the limit before");
        assert_eq!(pool.submit(several, (argument,)).result().unwrap().len(), 21);
        assert_eq!(pool.worker_pids(), workers, "none was lost");
    });
}

thread_local! {
    static FILLED: std::cell::Cell<Option<(UnixStream, UnixStream)>> = const { std::cell::Cell::new(None) };
}

fn fill_in_worker(fills: bool) {
    drop_capabilities();
    FILLED.set(fills.then(fill_the_way));
}

#[test]
fn blobs_that_the_system_refuses_to_send_fail_their_task_alone() {
    const REFUSED: &str = "the system refused to send its blobs";
    alone(|| {
        let _way = alone_on_the_way();
        let pool: ProcessPoolExecutor = idle_pool(1);
        let workers = pool.worker_pids();
        drop_capabilities();
        let filled = fill_the_way();
        for _ in 0..3 {
            assert_says(pool.submit(first, (blob(1),)).result(), REFUSED);
            assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
        }
        drop(filled);
        assert_eq!(pool.submit(first, (blob(2),)).result().unwrap(), 2);
        // And the other way.
        pool.submit(fill_in_worker, (true,)).result().unwrap();
        for _ in 0..3 {
            assert_says(pool.submit(|byte: u8| blob(byte), (1,)).result(), REFUSED);
            assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
        }
        pool.submit(fill_in_worker, (false,)).result().unwrap();
        assert_eq!(pool.submit(|byte: u8| blob(byte), (3,)).result().unwrap()[0], 3);
        assert_eq!(pool.worker_pids(), workers, "none was lost");
    });
}

/// A task: a blob, which the way is too full for until the worker's main thread sleeps.
fn make_before_there_is_room() -> Blob {
    drop_capabilities();
    let main = this_os_id();
    let (gate, filled) = (Arc::new(Barrier::new(2)), fill_the_way());
    let waits = Arc::clone(&gate);
    thread::spawn(move || {
        waits.wait();
        until_asleep(main);
        drop(filled);
    });
    let made = blob(6);
    gate.wait();
    made
}

#[test]
fn a_result_whose_blobs_find_too_many_on_their_way_is_sent_when_there_are_fewer() {
    alone(|| {
        let _way = alone_on_the_way();
        let pool = pool_of(1);
        assert_eq!(pool.submit(make_before_there_is_room, ()).result().unwrap()[0], 6);
    });
}

fn say_before_there_is_room() {
    let made = make_before_there_is_room();
    current_task().expect("a task").progress(made).expect("it is sent");
}

#[test]
fn progress_whose_blobs_find_too_many_on_their_way_is_heard_when_there_are_fewer() {
    alone(|| {
        let _way = alone_on_the_way();
        let (says, hears) = mpsc::channel();
        let pool = pool_of(1);
        let task =
            pool.task(say_before_there_is_room, ()).on_progress(move |made: Blob| says.send(made[0]).expect("a test"));
        task.submit().result().unwrap();
        assert_eq!(hears.try_recv(), Ok(6));
    });
}

/// What the initializer got, in a worker.
static TABLE: OnceLock<Vec<Blob>> = OnceLock::new();

fn keep(table: Vec<Blob>) {
    TABLE.set(table).expect("once");
}

fn kept() -> usize {
    TABLE.get().map_or(0, Vec::len)
}

/// A pool whose initializer gets so many blobs can't start a worker for this reason, until it can.
#[track_caller]
fn assert_starts_again(builder: ProcessPoolBuilder, folder: &Folder, blobs: usize, says: &str) {
    let table: Vec<_> = (0..blobs).map(|_| blob(1)).collect();
    let pool = builder.initializer(keep, (table,)).build().unwrap();
    match pool.submit(kept, ()).result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => {
            assert_eq!((error.attempts(), starts(folder)), (3, 3));
            assert!(error.to_string().contains(says), "{error}");
        }
        other => panic!("{other:?}"),
    }
    folder.put("enough");
    assert_eq!(pool.submit(kept, ()).result().unwrap(), blobs);
}

#[test]
fn a_worker_that_has_no_descriptors_for_its_initializers_blobs_is_a_start_that_failed() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = r#"echo $$ >>"$2/starts"; [ -e "$2/enough" ] || ulimit -S -n 20; exec "$0""#;
        assert_starts_again(shell(script, &folder), &folder, 30, TOO_MANY);
    });
}

#[test]
fn an_initializers_blobs_that_the_system_refuses_to_send_are_a_start_that_failed() {
    alone(|| {
        let _way = alone_on_the_way();
        let folder = Folder::new();
        drop_capabilities();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum }).expect("a limit");
        assert_starts_again(rogues(3, "the way is full", &folder), &folder, 1, "the system refused to send its blobs");
    });
}
