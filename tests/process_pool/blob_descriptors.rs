//! The descriptors of blobs: what they may be, and what becomes of them when tasks, workers and pools end.
//!
//! Workers that send wrong ones are played by this binary, in the test `rogue` of this file.

#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bowline::process_pool::Blob;
use bowline::task::WorkerExit;
use bowline::{Future, TaskError};
use rustix::net::sockopt::set_socket_linger;
use serde_bytes::ByteBuf;

use crate::support::descriptors::{relay, send_with};
use crate::support::folder::{Folder, begin, note, pass};
use crate::support::processes::{kill, open_descriptors, state, until_gone};
use crate::support::rogue::{DONE, REGION, Rogue, checksum, header, mark, rogues, sign, worker};
use crate::support::workers::{builder, echo, idle_pool, lost, pid, quick_pool};
use crate::support::{LIMIT, alone, in_fresh_process, this_os_id, wait_until, within};

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
        let place = [0, length, 0].map(u32::to_le_bytes);
        rogue.say_frame(DONE_IN_REGION, id, place.as_flattened());
        rogue.sleep();
    }
    if step == "a socket that lingers" {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut socket = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let _nobody_reads = listener.accept().expect("the other end");
        set_socket_linger(&socket, Some(Duration::from_secs(3600))).expect("an option");
        socket.set_nonblocking(true).expect("an option");
        while io::Write::write(&mut socket, &[0; 1 << 16]).is_ok() {}
        let (socket, result) = ([OwnedFd::from(socket)], result(id, 0, 4, 1));
        send_with(&rogue.stream, &result[..1], &socket);
        // The last one to close it waits: not this process, unless the pool has closed it already.
        let (sender, receiver) = mpsc::channel();
        let closes = thread::spawn(move || {
            sender.send(this_os_id()).expect("a listener");
            drop(socket);
        });
        let closer = receiver.recv().expect("a number");
        wait_until(|| closes.is_finished() || state(closer) == Some('S'));
        rogue.say(&result[1..]);
        let id = rogue.begin_task();
        rogue.answer(id, 7);
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
fn a_descriptor_whose_close_waits_keeps_no_other_task_from_its_result() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "a socket that lingers", &folder).build().unwrap();
        // What nobody asks for is dropped by the pool.
        drop(pool.submit(make, ()));
        assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 7);
        drop(pool.kill());
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

#[test]
fn a_result_has_its_descriptors_from_its_arrival_until_it_is_dropped() {
    alone(|| {
        let pool = idle_pool(2);
        let before = open_descriptors();
        let mut tasks: Vec<_> = (0..10).map(|_| pool.submit(|| [blob(1), blob(2)], ())).collect();
        wait_until(|| tasks.iter().all(Future::done));
        assert_eq!((open_descriptors(), mapped()), (before + 20, 0));
        let taken = tasks.pop().unwrap().result().unwrap();
        assert_eq!((open_descriptors(), mapped()), (before + 20, 2));
        let other = taken.clone();
        drop((tasks, taken));
        assert_eq!((open_descriptors(), mapped()), (before + 2, 2));
        drop(other);
        assert_eq!((open_descriptors(), mapped()), (before, 0));
    });
}

#[test]
fn the_blobs_of_a_task_that_is_cancelled_in_the_queue_are_freed_at_once() {
    alone(|| {
        let (pool, folder) = (idle_pool(1), Folder::new());
        let held = pool.submit(pass, (folder.path(), 1, "open".to_owned()));
        folder.until_begun(1);
        let before = (mapped(), open_descriptors());
        let submit = || (0..10).map(|n| pool.submit(first, (blob(n),))).collect::<Vec<_>>();
        for is_reversed in [false, true] {
            let mut tasks = submit();
            if is_reversed {
                tasks.reverse();
            }
            for (left, task) in (0..10).rev().zip(&tasks) {
                assert!(task.cancel());
                assert_eq!((mapped(), open_descriptors()), (before.0 + left, before.1 + left));
            }
        }
        // And in any order, when none is left before them.
        let tasks = submit();
        [5, 3, 8, 0, 9, 1, 2, 7, 4, 6].into_iter().for_each(|at: usize| assert!(tasks[at].cancel()));
        assert_eq!((mapped(), open_descriptors()), before);
        folder.put("open");
        held.result().unwrap();
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
