//! Blobs: bytes that go to a worker and back as a descriptor of sealed memory.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bowline::process_pool::{Blob, BlobMut, SharedVec, SharedVecMut};
use bowline::{Json, TaskError};
use serde::{Deserialize, Serialize};

use crate::support::processes::kill;
use crate::support::workers::{builder, echo, lost_by, panic_of, pid, pool_of};
use crate::support::{LIMIT, alone, wait_until, within};

const MIB: usize = 1 << 20;

/// Bytes of which none is like its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn blob(len: usize) -> Blob {
    Blob::from_bytes(&pattern(len)).expect("memory")
}

/// A task: whether these are the bytes, and how many there are.
fn check(blob: Blob) -> usize {
    assert!(*blob == *pattern(blob.len()), "the bytes are others");
    blob.len()
}

fn inverted(blob: Blob) -> Blob {
    let mut made = BlobMut::new(blob.len()).expect("memory");
    made.iter_mut().zip(&*blob).for_each(|(to, from)| *to = !from);
    made.seal().expect("sealed memory")
}

#[test]
fn blobs_arrive_as_they_were_whatever_their_length() {
    within(LIMIT, || {
        let pool = pool_of(1);
        for len in [0, 1, 4095, 4096, 4097, MIB + 1, 64 * MIB] {
            let blob = blob(len);
            assert_eq!(pool.submit(check, (blob.clone(),)).result().unwrap(), len);
            let result = pool.submit(inverted, (blob.clone(),)).result().unwrap();
            assert!(result.len() == len && result.iter().zip(&*blob).all(|(made, from)| *made == !from));
            assert_eq!(pool.submit(echo::<Blob>, (blob.clone(),)).result().unwrap(), blob);
        }
    });
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
struct Layers {
    name: String,
    layers: Vec<Option<Blob>>,
    by_name: HashMap<String, (u8, Blob)>,
    weights: Option<SharedVec<f32>>,
}

#[test]
fn memory_that_nobody_has_written_to_arrives_as_zeros() {
    within(LIMIT, || {
        let pool = pool_of(1);
        // More than is requested from the system at once.
        let zeros = BlobMut::new((9 << 20) + 1).unwrap().seal().unwrap();
        let is_zero = |blob: Blob| blob.iter().all(|&byte| byte == 0);
        assert!(pool.submit(is_zero, (zeros,)).result().unwrap());
    });
}

#[test]
fn several_blobs_in_one_value_arrive_each_in_its_place() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let weights = SharedVec::from_slice(&[1.5, -2.25]).unwrap();
        let by_name = [("a", 10), ("b", 20)].map(|(name, len)| (name.to_owned(), (len as u8, blob(len))));
        let layers = vec![Some(blob(3)), None, Some(blob(0)), Some(blob(5000))];
        let all = Layers { name: "n".to_owned(), layers, by_name: by_name.into(), weights: Some(weights) };
        let sent = Layers {
            name: all.name.clone(),
            layers: all.layers.clone(),
            by_name: all.by_name.clone(),
            weights: all.weights.clone(),
        };
        assert_eq!(pool.submit(echo::<Layers>, (sent,)).result().unwrap(), all);
    });
}

/// A task: the addresses of both.
fn addresses(one: Blob, other: Blob) -> (usize, usize, Blob) {
    (one.as_ptr().addr(), other.as_ptr().addr(), one)
}

#[test]
fn the_same_blob_twice_is_one_blob_in_the_worker() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let same = blob(10);
        let (one, other, same) = pool.submit(addresses, (same.clone(), same)).result().unwrap();
        assert_eq!(one, other);
        let (one, other, _) = pool.submit(addresses, (same, blob(10))).result().unwrap();
        assert_ne!(one, other);
    });
}

#[test]
fn blobs_go_with_the_chunks_of_a_map_and_come_back() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let map = pool.map(inverted, (0..100).map(blob)).chunk_size(7);
        let results: Vec<Blob> = map.collect::<Result<_, _>>().unwrap();
        assert_eq!(results.len(), 100);
        for (len, result) in results.iter().enumerate() {
            assert!(**result == *pattern(len).iter().map(|byte| !byte).collect::<Vec<_>>(), "{len}");
        }
    });
}

thread_local! {
    static TABLE: std::cell::RefCell<Option<Blob>> = const { std::cell::RefCell::new(None) };
}

fn keep(table: Blob) {
    TABLE.set(Some(table));
}

fn look_up(at: usize) -> (u8, u32) {
    TABLE.with_borrow(|table| (table.as_ref().expect("a table")[at], pid()))
}

#[test]
fn an_initializer_gets_a_blob_in_every_worker() {
    within(LIMIT, || {
        let table = blob(3 * MIB);
        let pool = builder(2).initializer(keep, (table.clone(),)).build().unwrap();
        for at in [0, 17, 2 * MIB, 3 * MIB - 1] {
            let (byte, worker) = pool.submit(look_up, (at,)).result().unwrap();
            assert_eq!(byte, table[at]);
            // The next one is another worker, which gets the same blob.
            // SAFETY:
            // - numbers.
            unsafe { libc::kill(worker as i32, libc::SIGKILL) };
            crate::support::processes::until_gone(worker);
        }
    });
}

#[test]
fn a_result_of_one_worker_goes_on_to_another_as_the_same_memory() {
    within(LIMIT, || {
        let pools = [pool_of(1), pool_of(1)];
        let inode = |blob: Blob| -> (u64, Blob) { (inode_of(&blob), blob) };
        let (first, made) = pools[0].submit(inode, (inverted(blob(MIB)),)).result().unwrap();
        let (second, made) = pools[1].submit(inode, (made,)).result().unwrap();
        assert_eq!((first, second), (inode_of(&made), inode_of(&made)), "all processes map the same file");
        assert!(made.iter().zip(pattern(MIB)).all(|(made, from)| *made == !from));
    });
}

/// The line of `/proc/self/maps` that says what the blob's memory is.
fn mapping_of(blob: &Blob) -> Vec<String> {
    let start = format!("{:x}-", blob.as_ptr().addr());
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let line = maps.lines().find(|line| line.starts_with(&start)).expect("a mapping of its own");
    line.split_whitespace().map(str::to_owned).collect()
}

fn inode_of(blob: &Blob) -> u64 {
    mapping_of(blob)[4].parse().expect("a number")
}

/// A task: tries to make a blob's memory writable, and returns what the kernel says.
fn tamper(blob: Blob) -> (String, Vec<Result<(), i32>>, Blob) {
    let permissions = mapping_of(&blob)[1].clone();
    let said = |result: i32| if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(()) };
    let start = blob.as_ptr().cast_mut().cast();
    let mut tries = Vec::new();
    // SAFETY:
    // - it is the start of a mapping. Were it made writable, nothing would be written.
    tries.push(said(unsafe { libc::mprotect(start, blob.len(), libc::PROT_READ | libc::PROT_WRITE) }));
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        if !fs::read_link(&path).is_ok_and(|link| link.to_str().is_some_and(|link| link.contains("bowline-blob"))) {
            continue;
        }
        // By a descriptor of its own, which may be written to as far as its mode says.
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY:
        // - a new mapping, which is refused, and numbers.
        unsafe {
            let flags = libc::PROT_READ | libc::PROT_WRITE;
            let mapped = libc::mmap(std::ptr::null_mut(), blob.len(), flags, libc::MAP_SHARED, descriptor, 0);
            tries.push(said(if mapped == libc::MAP_FAILED { -1 } else { 0 }));
            tries.push(said(libc::ftruncate(descriptor, 1)));
            tries.push(said(libc::ftruncate(descriptor, 1 << 20)));
        }
        tries.push(io::Write::write(&mut &file, b"other").map(drop).map_err(|error| error.raw_os_error().unwrap()));
    }
    (permissions, tries, blob)
}

#[test]
fn a_blob_that_was_received_can_not_be_written_to() {
    alone(|| {
        let pool = pool_of(1);
        let sent = blob(5000);
        let (permissions, tries, back) = pool.submit(tamper, (sent.clone(),)).result().unwrap();
        assert_eq!(permissions, "r--s");
        assert_eq!(tries, [Err(libc::EACCES), Err(libc::EPERM), Err(libc::EPERM), Err(libc::EPERM), Err(libc::EPERM)]);
        assert_eq!(mapping_of(&back)[1], "r--s");
        assert_eq!(*back, *pattern(5000));
        check(sent);
    });
}

fn scaled(by: f64, from: SharedVec<f64>) -> SharedVec<f64> {
    let mut to = SharedVecMut::new(from.len()).expect("memory");
    to.iter_mut().zip(&*from).for_each(|(to, from)| *to = by * from);
    to.seal().expect("sealed memory")
}

#[test]
fn shared_vectors_arrive_with_their_elements_and_results_are_made_in_place() {
    within(LIMIT, || {
        let pool = pool_of(1);
        for len in [0, 1, 1000, 1_000_000] {
            let numbers: Vec<f64> = (0..len).map(f64::from).collect();
            let sent = SharedVec::from_slice(&numbers).unwrap();
            let back = pool.submit(scaled, (-0.5, sent)).result().unwrap();
            assert!(back.iter().zip(&numbers).all(|(back, number)| *back == -0.5 * number));
            assert_eq!(back.len(), numbers.len());
        }
        // Any plain data, at the alignment that it needs.
        let wide = SharedVec::from_slice(&[u128::MAX, 7]).unwrap();
        assert_eq!(*pool.submit(echo::<SharedVec<u128>>, (wide,)).result().unwrap(), [u128::MAX, 7]);
        let pixels = SharedVec::from_slice(&[[1_u8, 2, 3], [4, 5, 6]]).unwrap();
        assert_eq!(*pool.submit(echo::<SharedVec<[u8; 3]>>, (pixels,)).result().unwrap(), [[1, 2, 3], [4, 5, 6]]);
    });
}

/// A mapping by which this process can write to the one unsealed memory that it has, beside that of its owner.
fn map_once_more() -> MappedFile {
    let fds = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| fs::read_link(path).is_ok_and(|link| link.to_string_lossy().contains("bowline-blob"));
    let file = fs::File::options().read(true).write(true).open(fds.into_iter().find(is_it).unwrap()).unwrap();
    let len = file.metadata().unwrap().len() as usize;
    let (access, descriptor) = (libc::PROT_READ | libc::PROT_WRITE, std::os::fd::AsRawFd::as_raw_fd(&file));
    // SAFETY:
    // - a new mapping, by which nothing is read or written.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, descriptor, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    MappedFile { start, len }
}

struct MappedFile {
    start: *mut libc::c_void,
    len: usize,
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY:
        // - it was mapped there, and nobody has a reference into it.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

#[test]
fn what_can_not_be_sealed_yet_comes_back_as_it_was() {
    alone(|| {
        let mut bytes = BlobMut::new(10_000).unwrap();
        bytes.copy_from_slice(&pattern(10_000));
        let other = map_once_more();
        let error = bytes.seal().unwrap_err();
        assert_eq!(error.error().kind(), io::ErrorKind::ResourceBusy);
        let bytes = error.into_inner().unwrap();
        assert!(*bytes == *pattern(10_000));
        drop(other);
        check(bytes.seal().unwrap());

        // Where nobody wants it, it is an error of the system like others.
        let refused: io::Error = {
            let bytes = BlobMut::new(1).unwrap();
            let _other = map_once_more();
            bytes.seal().unwrap_err().into()
        };
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);

        let mut numbers = SharedVecMut::<f64>::new(3).unwrap();
        numbers[1] = 2.5;
        let other = map_once_more();
        let mut numbers = numbers.seal().unwrap_err().into_inner().unwrap();
        drop(other);
        numbers[2] = -1.0;
        let numbers = numbers.seal().unwrap();
        assert_eq!(*numbers, [0.0, 2.5, -1.0]);
        let pool = pool_of(1);
        assert_eq!(*pool.submit(scaled, (2.0, numbers)).result().unwrap(), [0.0, 5.0, -2.0]);
    });
}

#[test]
fn a_blob_is_a_shared_vector_of_whole_elements_only() {
    let odd = Blob::from_bytes(&[1, 2, 3]).unwrap();
    let odd = SharedVec::<u16>::from_blob(odd).unwrap_err();
    let bytes = SharedVec::<u8>::from_blob(odd).unwrap();
    assert_eq!((&*bytes, &*bytes.clone().into_blob()), (&[1, 2, 3][..], &[1, 2, 3][..]));
    assert!(SharedVecMut::<u64>::new(usize::MAX / 4).is_err());
}

#[test]
fn a_blob_on_any_other_way_is_an_error_that_says_so() {
    within(LIMIT, || {
        let says = |error: String| assert!(error.contains("can be sent to or from a worker only"), "{error}");
        let vector = SharedVec::from_slice(&[1_u16]).unwrap();
        says(serde_json::to_string(&blob(3)).unwrap_err().to_string());
        says(serde_json::to_string(&vec![vector]).unwrap_err().to_string());
        for text in ["null", "0", "[0, 3]"] {
            says(serde_json::from_str::<Blob>(text).unwrap_err().to_string());
        }
        let pool = pool_of(1);
        let in_json = pool.submit(echo::<Json<Blob>>, (Json(blob(3)),)).result();
        assert!(matches!(&in_json, Err(TaskError::Encode(_))), "{in_json:?}");
        says(in_json.unwrap_err().to_string());
        // And it leaves nothing behind: the next one is sent.
        assert_eq!(pool.submit(check, (blob(3),)).result().unwrap(), 3);
        says(serde_json::to_string(&blob(3)).unwrap_err().to_string());
    });
}

fn make_many(n: usize) -> Vec<Blob> {
    (0..n).map(|n| Blob::from_bytes(&[n as u8]).expect("memory")).collect()
}

#[test]
fn a_message_with_as_many_blobs_as_there_may_be_arrives_and_one_more_is_an_error() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let most = pool.submit(echo::<Vec<Blob>>, (make_many(253),)).result().unwrap();
        assert!(most.len() == 253 && most.iter().enumerate().all(|(n, blob)| **blob == [n as u8]));
        // The same ones once more, in any number.
        let twice = [&most[..], &most[..]].concat();
        assert_eq!(pool.submit(echo::<Vec<Blob>>, (twice,)).result().unwrap().len(), 506);
        let says = |result: Result<Vec<Blob>, TaskError>| match result {
            Err(TaskError::Encode(error)) => assert!(error.to_string().contains("more than 253 blobs"), "{error}"),
            other => panic!("{other:?}"),
        };
        says(pool.submit(echo::<Vec<Blob>>, (make_many(254),)).result());
        says(pool.submit(make_many, (254,)).result());
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn long_values_beside_blobs_arrive_with_them() {
    within(LIMIT, || {
        let pool = pool_of(2);
        // Whatever is sent at once: short frames with blobs and without, and long ones.
        let lengths = [0, 100, 20_000, 300_000];
        let pair = |text: String, blob: Option<Blob>| (blob.clone().map(check), text, blob);
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let (long, len) = (lengths[n % 4], n * 7);
                (long, len, pool.submit(pair, ("x".repeat(long), n.is_multiple_of(3).then(|| blob(len)))))
            })
            .collect();
        for (n, (long, len, task)) in tasks.into_iter().enumerate() {
            let (checked, text, blob) = task.result().unwrap();
            assert_eq!((checked, text.len()), (n.is_multiple_of(3).then_some(len), long));
            assert_eq!(blob.map(check), checked);
        }
    });
}

/// How much shared memory this process has in use, in bytes.
fn shared_memory(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).expect("Linux 4.5");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}

/// A task: looks at each page of a blob, and ends in this way. Returns how much shared memory the worker has.
fn look_at_all(blob: Blob, end: String) -> usize {
    assert_eq!(blob.iter().step_by(4096).map(|&byte| usize::from(byte)).sum::<usize>(), blob.len() / 4096);
    match &*end {
        "panics" => panic!("a panic that was asked for"),
        "is killed" => kill(pid()),
        _ => {}
    }
    shared_memory(pid())
}

#[test]
fn the_memory_of_a_large_blob_is_given_back_however_its_task_ends() {
    alone(|| {
        const LARGE: usize = 64 * MIB;
        let pool = pool_of(1);
        for end in ["returns", "panics", "is killed", "returns"] {
            let large = Blob::from_bytes(&vec![1; LARGE]).unwrap();
            assert!(large.iter().step_by(4096).all(|&byte| byte == 1) && shared_memory(pid()) >= LARGE);
            let result = pool.submit(look_at_all, (large.clone(), end.to_owned())).result();
            match end {
                "returns" => assert!(result.unwrap() >= LARGE),
                "panics" => assert_eq!(panic_of(result).message(), "a panic that was asked for"),
                _ => assert_eq!(lost_by(result), libc::SIGKILL),
            }
            let worker = pool.submit(pid, ()).result().unwrap();
            // The program still has it.
            wait_until(|| shared_memory(worker) < LARGE / 4);
            assert!(shared_memory(pid()) >= LARGE);
            drop(large);
            wait_until(|| shared_memory(pid()) < LARGE / 4);
        }
    });
}

/// A task: reads a byte of each page. Returns how many faults that took, and the sum.
fn look(blob: Blob) -> (i64, usize) {
    let faults = || {
        // SAFETY:
        // - numbers, all of which may be zero.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY:
        // - `usage` is a place to write to.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
        usage.ru_minflt
    };
    let before = faults();
    let sum = blob.iter().step_by(4096).map(|&byte| usize::from(byte)).sum();
    (faults() - before, sum)
}

/// How many mappings of blobs a worker has.
fn mapped(worker: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{worker}/maps")).expect("a worker");
    maps.lines().filter(|line| line.contains("bowline-blob")).count()
}

#[test]
fn a_blob_that_comes_again_is_still_mapped() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let blob = blob(16 * MIB);
        let (first, sum) = pool.submit(look, (blob.clone(),)).result().unwrap();
        assert!(first > 100, "{first} faults");
        for _ in 0..3 {
            // A worker that had nothing to do for a second has unmapped it.
            let (again, same) = pool.submit(look, (blob.clone(),)).result().unwrap();
            if again < first / 4 {
                assert_eq!(same, sum);
                return;
            }
        }
        panic!("each look has its faults");
    });
}

#[test]
fn blobs_of_one_length_are_not_taken_for_each_other_and_a_worker_keeps_few_of_them_for_a_second() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        // Each is gone when the next is made.
        for round in 0..60_u8 {
            let blob = Blob::from_bytes(&vec![round; MIB]).expect("memory");
            for _ in 0..2 {
                let sum = pool.submit(look, (blob.clone(),)).result().unwrap().1;
                assert_eq!(sum, usize::from(round) * MIB / 4096);
            }
            assert!(mapped(worker) <= 33);
        }
        let several: Vec<_> = (0..5).map(|seed| Blob::from_bytes(&vec![seed; 8 * MIB]).expect("memory")).collect();
        for _ in 0..3 {
            for (seed, blob) in several.iter().enumerate() {
                assert_eq!(pool.submit(look, (blob.clone(),)).result().unwrap().1, seed * 8 * MIB / 4096);
            }
        }
        wait_until(|| mapped(worker) == 0);
        assert_eq!(pool.submit(check, (blob(MIB),)).result().unwrap(), MIB);
    });
}

/// A task: another thread drops the blob when the worker has looked for the last time at what it keeps.
fn drop_late(blob: Blob) -> u32 {
    let drop_it = move || {
        thread::sleep(Duration::from_millis(2500));
        drop(blob);
    };
    thread::spawn(drop_it);
    pid()
}

#[test]
fn a_blob_that_a_thread_of_an_idle_worker_drops_is_unmapped() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(drop_late, (blob(8 * MIB),)).result().unwrap();
        assert_eq!(mapped(worker), 1);
        wait_until(|| mapped(worker) == 0);
    });
}

/// How many bytes of memory the unsealed blob of a process takes, if it has one.
fn taken(process: u32) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("a process").flatten();
    let is_blob = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("bowline-blob"));
    let blobs = descriptors.map(|entry| entry.path()).filter(is_blob);
    blobs.filter_map(|path| fs::metadata(path).ok()).map(|file| 512 * file.blocks()).sum()
}

#[test]
fn a_blob_for_which_a_worker_has_no_addresses_takes_no_memory() {
    within(LIMIT, || {
        let pool = builder(1).worker_address_space(400 << 20).build().unwrap();
        let make = |len: usize| BlobMut::new(len).map(|blob| blob.len()).map_err(|error| error.to_string());
        assert_eq!(pool.submit(make, (MIB,)).result().unwrap(), Ok(MIB));
        let worker = pool.submit(pid, ()).result().unwrap();
        let future = pool.submit(make, (2048 * MIB,));
        let mut most = 0;
        while !future.done() {
            most = most.max(taken(worker));
        }
        assert!(future.result().unwrap().is_err());
        assert_eq!(most, 0, "bytes were taken");
    });
}

#[test]
fn a_blob_that_is_not_sealed_yet_can_not_be_shortened() {
    alone(|| {
        let mut unsealed = BlobMut::new(3 * MIB).unwrap();
        unsealed.fill(7);
        let mut found = 0;
        for entry in fs::read_dir("/proc/self/fd").expect("Linux").flatten() {
            if fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("bowline-blob")) {
                let file = fs::OpenOptions::new().write(true).open(entry.path()).expect("its memory");
                assert!(file.set_len(0).is_err() && file.set_len(4 << 20).is_err());
                found += 1;
            }
        }
        assert_eq!(found, 1);
        let sealed = unsealed.seal().unwrap();
        assert!(sealed.len() == 3 * MIB && sealed.iter().all(|&byte| byte == 7));
    });
}

/// A task: whether one of the standard streams is the memory of a blob, while it has one that came and one that it makes.
fn has_blob_for_stream(came: Blob) -> (bool, Blob) {
    let mut made = BlobMut::new(came.len()).expect("memory");
    made.copy_from_slice(&came);
    println!("a line that is not for a blob");
    let is_blob = |number: i32| {
        fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|to| to.to_string_lossy().contains("bowline-blob"))
    };
    ((0..3).any(is_blob), made.seal().expect("sealed memory"))
}

/// A task: closes the standard streams of its worker.
fn close_standard_streams() {
    for number in 0..3 {
        // SAFETY:
        // - nothing of this process reads from it or counts on writing to it.
        unsafe { libc::close(number) };
    }
}

#[test]
fn no_blob_takes_the_place_of_a_standard_stream() {
    within(LIMIT, || {
        let pool = pool_of(1);
        pool.submit(close_standard_streams, ()).result().unwrap();
        for len in [8, 5000] {
            let (has_one, same) = pool.submit(has_blob_for_stream, (blob(len),)).result().unwrap();
            assert!(!has_one);
            assert_eq!(check(same), len);
        }
    });
}

#[test]
fn a_worker_unmaps_what_it_keeps_whatever_it_has_done_last() {
    within(LIMIT, || {
        let pool = pool_of(1);
        assert_eq!(pool.submit(check, (blob(8 * MIB),)).result().unwrap(), 8 * MIB);
        let worker = pool.submit(pid, ()).result().unwrap();
        wait_until(|| mapped(worker) == 0);
    });
}
