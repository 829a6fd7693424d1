//! The descriptors of blobs: what they may be, what becomes of them when tasks, workers and pools end, and what happens where
//! there are no more.
//!
//! Workers that send wrong ones are played by this binary, in the test `rogue` of this file.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use bowline::process_pool::Blob;
use bowline::task::WorkerExit;
use bowline::{Future, ProcessPoolExecutor, TaskError};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use serde_bytes::ByteBuf;

use crate::support::folder::{Folder, begin, note, pass};
use crate::support::processes::{kill, open_descriptors, until_gone};
use crate::support::rogue::{DONE, REGION, Rogue, checksum, header, mark, rogues, sign, worker};
use crate::support::workers::{builder, echo, idle_pool, lost, pid, pool_of, quick_pool};
use crate::support::{LIMIT, alone, in_fresh_process, wait_until, within};

fn blob(byte: u8) -> Blob {
    Blob::from_bytes(&[byte; 5000]).expect("memory")
}

fn first(blob: Blob) -> u8 {
    blob[0]
}

/// A task: the number of descriptors of its worker.
fn count_open() -> usize {
    open_descriptors()
}

// ---- What a worker may send.

const DONE_IN_REGION: u8 = 14;
const REGION_SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;

/// Memory with these bytes and seals.
fn memory(bytes: &[u8], seals: i32) -> OwnedFd {
    // SAFETY:
    // - a name, and flags; the descriptor is new.
    let file = unsafe {
        OwnedFd::from_raw_fd(libc::memfd_create(c"rogue".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING))
    };
    let mut writer = fs::File::from(file.try_clone().expect("a descriptor"));
    std::io::Write::write_all(&mut writer, bytes).expect("memory");
    // SAFETY:
    // - numbers.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file
}

const SEALS: i32 = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// What a worker says whose result is the blob in this place, of so many bytes. So many descriptors are announced.
fn result(id: u64, place: u8, bytes: u8, announced: u8) -> Vec<u8> {
    let mut payload = vec![place, bytes];
    // The sum of what was written: a unit, and a blob.
    let fold = |sum: u64, kind: u64| {
        let product = (sum ^ (1 << 8 | kind)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    };
    payload.extend((fold(fold(0, 18), 27) as u32).to_le_bytes());
    let mut header = header(DONE, id, payload.len() as u32, checksum(&payload));
    header[1] = announced;
    [sign(header), payload].concat()
}

/// Sends bytes, and descriptors with them.
fn send_with(stream: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    let mut sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("a message");
    while sent < bytes.len() {
        sent += rustix::net::send(stream, &bytes[sent..], SendFlags::NOSIGNAL).expect("the rest");
    }
}

/// Passes on all bytes and descriptors, and notes how many bytes there were. Ends with the stream.
fn relay(from: &UnixStream, to: &UnixStream, count: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let Ok(received) = recvmsg(from, parts, &mut control, RecvFlags::CMSG_CLOEXEC) else { break };
        if received.bytes == 0 {
            break;
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        count.fetch_add(received.bytes, SeqCst);
        send_with(to, &buffer[..received.bytes], &descriptors);
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Not a test: what a rogue does, if this process is one.
#[test]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    if step == "counts" {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        let mut child = worker(&mark(), theirs);
        let (count, stream) = (AtomicUsize::new(0), rogue.stream.try_clone().expect("a descriptor"));
        thread::scope(|s| {
            s.spawn(|| relay(&stream, &ours, &count));
            relay(&ours, &stream, &count);
            note(&rogue.folder, "count", &count.load(SeqCst).to_string());
        });
        child.wait().expect("the worker's end");
        rogue.end(0);
    }
    rogue.get_up();
    let id = rogue.begin_task();
    if let Some((length, memory)) = match &*step {
        "no region" => Some((5, None)),
        "a region that is none" => Some((5, Some(memory(b"four", SEALS)))),
        "more than a region" => Some(((32 << 20) + 1, Some(memory(&vec![0; 32 << 20], REGION_SEALS)))),
        _ => None,
    } {
        if let Some(memory) = memory {
            let mut region = header(REGION, 0, 0, 0);
            region[1] = 1;
            send_with(&rogue.stream, &sign(region), &[memory]);
        }
        rogue.say_frame(DONE_IN_REGION, id, &u32::to_le_bytes(length));
        rogue.sleep();
    }
    let (place, bytes, announced, descriptors) = match &*step {
        "no memory" => (0, 0, 1, vec![fs::File::open("/dev/null").expect("a file").into()]),
        "not sealed" => (0, 4, 1, vec![memory(b"four", SEALS & !libc::F_SEAL_WRITE)]),
        "other length" => (0, 5, 1, vec![memory(b"four", SEALS)]),
        "other place" => (1, 4, 1, vec![memory(b"four", SEALS)]),
        "right" => (0, 4, 1, vec![memory(b"four", SEALS)]),
        "none" => (0, 4, 1, vec![]),
        "not announced" => (0, 4, 0, vec![memory(b"four", SEALS)]),
        "too many" => (0, 4, 1, vec![memory(b"four", SEALS), memory(b"four", SEALS)]),
        "too few" => (0, 4, 2, vec![memory(b"four", SEALS)]),
        _ => panic!("unknown: {step}"),
    };
    send_with(&rogue.stream, &result(id, place, bytes, announced), &descriptors);
    let id = rogue.begin_task();
    rogue.answer(id, 7);
    rogue.sleep();
}

/// A task that a rogue answers.
fn make() -> Blob {
    unreachable!("a rogue does not run it")
}

#[test]
fn a_descriptor_that_is_not_sealed_memory_of_the_announced_length_fails_its_task_alone() {
    within(LIMIT, || {
        for (step, says) in [
            ("no memory", "is not sealed memory"),
            ("not sealed", "memory without all its seals"),
            ("other length", "came with 4 bytes, and 5 were announced"),
            ("other place", "did not come with the message"),
            ("right", ""),
        ] {
            let folder = Folder::new();
            let pool = rogues(1, step, &folder).build().unwrap();
            match pool.submit(make, ()).result() {
                Ok(blob) if step == "right" => assert_eq!(blob.len(), 4),
                Err(TaskError::Decode(error)) if step != "right" => {
                    assert!(error.to_string().contains(says), "{step}: {error}");
                }
                other => panic!("{step}: {other:?}"),
            }
            assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 7, "it goes on after {step}");
            drop(pool.kill());
        }
    });
}

#[test]
fn other_descriptors_than_announced_are_the_end_of_the_worker() {
    alone(|| {
        let before = open_descriptors();
        for step in ["none", "not announced", "too many", "too few"] {
            let folder = Folder::new();
            let pool = rogues(1, step, &folder).build().unwrap();
            match lost(pool.submit(make, ()).result()).exit() {
                WorkerExit::Protocol(text) => assert!(text.contains("other descriptors"), "{step}: {text}"),
                other => panic!("{step}: {other:?}"),
            }
            assert_eq!(pool.submit(echo::<u64>, (3,)).result().unwrap(), 3, "by another worker");
        }
        wait_until(|| open_descriptors() == before);
    });
}

#[test]
fn the_bytes_of_a_blob_do_not_go_through_the_stream() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "counts", &folder).build().unwrap();
        let sent = Blob::from_bytes(&vec![3; 64 << 20]).unwrap();
        let back = pool.submit(echo::<Blob>, (sent.clone(),)).result().unwrap();
        assert!(back == sent && back.len() == 64 << 20);
        assert_eq!(pool.submit(echo::<Vec<u8>>, (vec![0; 5000],)).result().unwrap().len(), 5000);
        assert!(pool.shutdown().is_complete());
        folder.until("count");
        wait_until(|| !folder.lines("count").is_empty());
        let count: usize = folder.lines("count")[0].parse().unwrap();
        assert!((10_000..65_536).contains(&count), "{count} bytes in all");
    });
}

#[test]
fn from_the_second_on_long_arguments_and_results_do_not_go_through_the_stream() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "counts", &folder).build().unwrap();
        for _ in 0..5 {
            let bytes = ByteBuf::from(vec![5; 16 << 20]);
            assert_eq!(pool.submit(echo::<ByteBuf>, (bytes,)).result().unwrap().len(), 16 << 20);
        }
        assert!(pool.shutdown().is_complete());
        wait_until(|| !folder.lines("count").is_empty());
        let count: usize = folder.lines("count")[0].parse().unwrap();
        assert!((32 << 20..33 << 20).contains(&count), "{count} bytes in all");
    });
}

#[test]
fn a_result_in_a_region_that_is_none_is_the_end_of_the_worker() {
    within(LIMIT, || {
        for step in ["no region", "a region that is none", "more than a region"] {
            let folder = Folder::new();
            let pool = rogues(1, step, &folder).build().unwrap();
            match lost(pool.submit(make, ()).result()).exit() {
                WorkerExit::Protocol(text) => assert!(text.contains("in no region"), "{step}: {text}"),
                other => panic!("{step}: {other:?}"),
            }
            assert_eq!(pool.submit(echo::<u64>, (3,)).result().unwrap(), 3, "by another worker");
        }
    });
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

// ---- What becomes of descriptors.

#[test]
fn descriptors_of_tasks_that_end_in_any_way_are_closed_in_the_worker() {
    alone(|| {
        let pool = quick_pool(1);
        let folder = Folder::new();
        let before = pool.submit(count_open, ()).result().unwrap();
        for round in 0..20 {
            assert_eq!(pool.submit(first, (blob(1),)).result().unwrap(), 1);
            assert_eq!(pool.submit(echo::<Blob>, (blob(2),)).result().unwrap()[0], 2);
            pool.submit(|_: Blob| -> u8 { panic!("a panic that was asked for") }, (blob(3),)).result().unwrap_err();
            // Sent ahead, and taken back: it is skipped.
            let gate = format!("open {round}");
            let held = pool.submit(pass, (folder.path(), round, gate.clone()));
            let ahead = pool.submit(first, (blob(4),));
            assert!(ahead.cancel());
            drop(pool.submit(first, (blob(5),)));
            folder.put(&gate);
            held.result().unwrap();
        }
        assert_eq!(pool.submit(count_open, ()).result().unwrap(), before);
    });
}

/// How many blobs are mapped in this process.
fn mapped() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    maps.lines().filter(|line| line.contains("bowline-blob")).count()
}

/// A task: many blobs, and the first of the argument.
fn several(argument: Blob) -> Vec<Blob> {
    let mut made: Vec<_> = (0..20).map(blob).collect();
    made.push(argument);
    made
}

#[test]
fn nothing_is_left_of_blobs_that_were_under_way_when_workers_and_pools_ended() {
    alone(|| {
        let before = open_descriptors();
        for round in 0..10 {
            let pool = idle_pool(2);
            let tasks: Vec<_> = (0..40).map(|n| pool.submit(several, (blob(n),))).collect();
            // Wherever the workers are.
            let folder = Folder::new();
            tasks.iter().take(round).for_each(|task| drop(task.exception()));
            pool.worker_pids().into_iter().for_each(kill);
            let ends: Vec<_> = tasks.into_iter().map(Future::result).collect();
            assert!(ends.iter().all(|end| end.is_ok() || matches!(end, Err(TaskError::WorkerLost(_)))));
            // And with results that nobody has looked at.
            let unread: Vec<_> = (0..4).map(|n| pool.submit(several, (blob(n),))).collect();
            wait_until(|| unread.iter().all(Future::done));
            drop(unread);
            let queued = (0..10).map(|n| pool.submit(several, (blob(n),))).collect::<Vec<_>>();
            drop((pool.kill(), queued, folder));
        }
        wait_until(|| open_descriptors() == before);
        assert_eq!(mapped(), 0);
    });
}

fn die_once(folder: String, number: u64, blob: Blob) -> (u8, u32) {
    if !std::path::Path::new(&folder).join("died").exists() {
        note(&folder, "died", "here");
        begin(folder, number);
        std::process::abort();
    }
    (blob[0], pid())
}

#[test]
fn a_task_that_is_tried_again_gets_its_blobs_again() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = builder(1).retries(1).build().unwrap();
        let (byte, worker) = pool.submit(die_once, (folder.path(), 1, blob(9))).result().unwrap();
        assert_eq!(byte, 9);
        assert_ne!(folder.begun_by(1), [worker], "another worker ran it");
    });
}

#[test]
fn a_parent_that_is_killed_with_blobs_under_way_leaves_nothing_behind() {
    let name = "a_parent_that_is_killed_with_blobs_under_way_leaves_nothing_behind";
    let names = || {
        let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains("bowline")).count()
    };
    let body = || {
        let pool = idle_pool(2);
        let tasks: Vec<_> = (0..40).map(|n| pool.submit(several, (blob(n),))).collect();
        pool.worker_pids().iter().for_each(|worker| println!("worker {worker}"));
        drop(tasks[3].exception());
        kill(pid());
    };
    // It comes back when nobody has the output any more.
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let workers: Vec<u32> = text.lines().filter_map(|line| line.split_once("worker ")?.1.parse().ok()).collect();
    assert_eq!(workers.len(), 2, "{text}");
    workers.into_iter().for_each(until_gone);
    assert_eq!(names(), 0);
}

// ---- Where there are no more.

/// From now on this process may open so many more files. Returns what it might before.
fn leave(more: usize) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // Numbers below the limit are given out, whatever their number.
    let free = (0..).filter(|&number| {
        // SAFETY:
        // - a number.
        unsafe { libc::fcntl(number, libc::F_GETFD) < 0 }
    });
    let limit = free.take(more + 1).last().expect("a number") as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: before.maximum }).expect("a limit");
    before
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

/// Gives up all that this thread may do beyond others.
fn drop_capabilities() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).expect("less");
}

/// Descriptors that are on their way to nobody, more than a user may have there.
fn fill_the_way() -> (UnixStream, UnixStream) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum }).expect("a limit");
    let (from, to) = UnixStream::pair().expect("a socket");
    let null = OwnedFd::from(fs::File::open("/dev/null").expect("a file"));
    let all: Vec<_> = (0..60).map(|_| null.try_clone().expect("a descriptor")).collect();
    send_with(&from, &[0], &all);
    send_with(&from, &[0], &all);
    (from, to)
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
