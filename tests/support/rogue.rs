//! Workers that are none: processes that say to a pool whatever a test has them say.
//!
//! The pool starts a shell, which becomes a rogue (this test binary, in the test `rogue` of the module) or a worker like any other. What a
//! message looks like is written here once more, from its description alone.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};

use bowline::ProcessPoolExecutor;
use bowline::process_pool::ProcessPoolBuilder;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Signal;

use super::alone::with_module;
use super::folder::{Folder, note, wait_for};

pub(crate) const HELLO: u8 = 1;
pub(crate) const SETUP: u8 = 2;
pub(crate) const READY: u8 = 4;
pub(crate) const TASK: u8 = 5;
pub(crate) const DONE: u8 = 6;
pub(crate) const REGION: u8 = 12;
pub(crate) const FAILED: u8 = 7;
pub(crate) const SKIPPED: u8 = 8;
pub(crate) const MORE: u8 = 9;
pub(crate) const STOP: u8 = 10;
pub(crate) const REFUSED: u8 = 11;

/// What makes a process a worker.
pub(crate) const MARK: &str = "BOWLINE_WORKER_FOR";
/// A mark to which the program answers whoever it is for: a copy of the crate that says who it is.
pub(crate) const ANY_COPY: &str = "2 program 00 0.0.0 0";

const HEADER: usize = 24;

/// Notes each start, and becomes a rogue the first so many times. (`$0` is this binary, `$4` its test.)
const SCRIPT: &str = r#"
    echo $$ >>"$2/starts"
    if [ "$(wc -l <"$2/starts")" -gt "$3" ]; then exec "$0"; fi
    exec env -u BOWLINE_WORKER_FOR ROGUE="$1" ROGUE_FOLDER="$2" "$0" --exact "$4" --nocapture >/dev/null
"#;

/// A shell that runs this in place of a worker. `$0` is this binary, `$2` the folder.
pub(crate) fn shell(script: &str, folder: &Folder) -> ProcessPoolBuilder {
    script_with(script, "", folder, 0)
}

/// A pool's builder the first `rogues` workers of which are rogues, and do this.
pub(crate) fn rogues(rogues: usize, step: &str, folder: &Folder) -> ProcessPoolBuilder {
    script_with(SCRIPT, step, folder, rogues)
}

fn script_with(script: &str, step: &str, folder: &Folder, rogues: usize) -> ProcessPoolBuilder {
    let this = std::env::current_exe().expect("this binary").to_str().expect("a path that is text").to_owned();
    let args = [
        "-c".to_owned(),
        script.to_owned(),
        this,
        step.to_owned(),
        folder.path(),
        rogues.to_string(),
        with_module("rogue"),
    ];
    ProcessPoolExecutor::builder().max_workers(1).worker_exe("/bin/sh").worker_args(args)
}

/// How often a worker was started, rogue or not.
pub(crate) fn starts(folder: &Folder) -> usize {
    folder.lines("starts").len()
}

/// CRC-32, bit by bit.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), bit))
}

/// A header with this length and checksum of a payload, whatever they are.
pub(crate) fn header(kind: u8, id: u64, length: u32, payload_checksum: u32) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(length.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend(payload_checksum.to_le_bytes());
    sign(bytes)
}

/// Puts the header's checksum behind it.
pub(crate) fn sign(mut header: Vec<u8>) -> Vec<u8> {
    header.truncate(HEADER - 4);
    header.extend(checksum(&header).to_le_bytes());
    header
}

/// A whole message.
pub(crate) fn frame(kind: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, id, payload.len() as u32, checksum(payload));
    bytes.extend(payload);
    bytes
}

/// A `u64` as it travels.
pub(crate) fn number(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    // Behind it, the sum of what was written: one call, which is of the tenth kind.
    let product = 0x010a_u64.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes.extend(((product ^ product >> 32) as u32).to_le_bytes());
    bytes
}

/// What a worker of this binary says of itself: asks one.
pub(crate) fn identity() -> Vec<u8> {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut child = worker(ANY_COPY, theirs);
    let (kind, _, hello) = read_frame(&mut ours);
    assert_eq!(kind, HELLO);
    drop(ours);
    child.wait().expect("the worker's end");
    hello
}

/// The mark of a worker of this binary, from what it says of itself.
pub(crate) fn mark() -> String {
    let identity = identity();
    let (version, rest) = identity[2..].split_at(identity[1].into());
    let (place, build) = rest.split_at(8);
    let build: String = build[1..].iter().map(|byte| format!("{byte:02x}")).collect();
    let (version, place) = (String::from_utf8_lossy(version), u64::from_le_bytes(place.try_into().expect("eight")));
    format!("2 program {build} {version} {place:x}")
}

/// Starts a worker of this binary, with the calling process as its parent.
pub(crate) fn worker(mark: &str, stream: UnixStream) -> Child {
    let mut worker = Command::new(std::env::current_exe().expect("this binary"));
    worker.env(MARK, mark).env_remove("ROGUE").process_group(0);
    worker.stdin(OwnedFd::from(stream)).stderr(Stdio::null());
    worker.spawn().expect("a worker")
}

pub(crate) fn read_frame(stream: &mut UnixStream) -> (u8, u64, Vec<u8>) {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).expect("a header");
    read_payload(stream, header)
}

fn read_payload(stream: &mut UnixStream, header: [u8; HEADER]) -> (u8, u64, Vec<u8>) {
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(20), checksum(&header[..20]), "the pool's own header");
    let mut payload = vec![0; word(4) as usize];
    stream.read_exact(&mut payload).expect("a payload");
    assert_eq!(word(16), checksum(&payload), "the pool's own payload");
    (header[0], u64::from(word(8)) | u64::from(word(12)) << 32, payload)
}

/// A process that a pool takes for a worker.
pub(crate) struct Rogue {
    pub(crate) stream: UnixStream,
    pub(crate) folder: String,
    page: Option<File>,
}

impl Rogue {
    /// This process, if it was started as one, and what it is to do.
    pub(crate) fn this() -> Option<(String, Self)> {
        let step = std::env::var("ROGUE").ok()?;
        let stream = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).expect("one"));
        // The only one that is open: its end is this process's end.
        let nothing = File::open("/dev/null").expect("/dev/null");
        rustix::stdio::dup2_stdin(&nothing).expect("a descriptor");
        // Whatever becomes of the test.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
        Some((step, Self { stream, folder: std::env::var("ROGUE_FOLDER").expect("a folder"), page: None }))
    }

    /// No process at all, but somebody who has this for a page.
    pub(crate) fn with_page(page: File) -> Self {
        let (stream, _) = UnixStream::pair().expect("a socket");
        Self { stream, folder: String::new(), page: Some(page) }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // Who is killed for the first half need not get rid of the second.
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn say_frame(&mut self, kind: u8, id: u64, payload: &[u8]) {
        self.say(&frame(kind, id, payload));
    }

    /// All that a worker says and hears before its first task.
    pub(crate) fn get_up(&mut self) {
        self.say_frame(HELLO, 0, &identity());
        self.hear_setup();
        self.say_frame(READY, 0, &[]);
    }

    /// Takes the set-up, and with it the page of memory. Returns the set-up.
    pub(crate) fn hear_setup(&mut self) -> Vec<u8> {
        let mut header = [0; HEADER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut header)];
        let got = recvmsg(&self.stream, parts, &mut control, RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC)
            .expect("a message");
        assert_eq!(got.bytes, HEADER);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.page = descriptors.last().map(File::from);
            }
        }
        assert!(self.page.is_some(), "a page comes with the set-up");
        let (kind, _, setup) = read_payload(&mut self.stream, header);
        assert_eq!(kind, SETUP);
        setup
    }

    /// Says this set-up to a worker, with the page.
    pub(crate) fn pass_setup_on(&self, worker: &UnixStream, setup: &[u8]) {
        let descriptors = [self.page.as_ref().expect("a page").as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let message = frame(SETUP, 0, setup);
        let sent = sendmsg(worker, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent.expect("a message"), message.len());
    }

    /// The next task, which it has not begun.
    pub(crate) fn hear_task(&mut self) -> u64 {
        let (kind, id, _) = read_frame(&mut self.stream);
        assert_eq!(kind, TASK);
        id
    }

    /// Marks the task as begun in the page: there is a word for it, somewhere, that says that it was sent.
    pub(crate) fn begin(&self, id: u64) {
        let page = self.page.as_ref().expect("a page");
        let mut words = vec![0; page.metadata().expect("its size").len() as usize];
        page.read_exact_at(&mut words, 0).expect("the page");
        let (sent, begun) = ((id << 2 | 1).to_le_bytes(), (id << 2 | 2).to_le_bytes());
        let at = words.chunks_exact(8).position(|word| word == sent).expect("a task that was sent");
        page.write_all_at(&begun, at as u64 * 8).expect("the page");
    }

    /// Hears of the region for long calls, and does not answer: they go on coming through the stream.
    pub(crate) fn ignore_region(&mut self) {
        let mut header = [0; 24];
        self.stream.read_exact(&mut header).expect("a header");
        assert_eq!(header[0], REGION);
    }

    /// The next task, begun.
    pub(crate) fn begin_task(&mut self) -> u64 {
        let id = self.hear_task();
        self.begin(id);
        id
    }

    /// Runs a first task, so that tasks are known to be quick, when all are there of which one is then sent ahead.
    pub(crate) fn run_first(&mut self) {
        let id = self.begin_task();
        self.wait_for("all are submitted");
        self.answer(id, 0);
    }

    /// Says the result of a task.
    pub(crate) fn answer(&mut self, id: u64, result: u64) {
        self.say_frame(DONE, id, &number(result));
    }

    /// Tells the test how far it is.
    pub(crate) fn note(&self, file: &str) {
        note(&self.folder, file, "here");
    }

    /// Whether the test has said so.
    pub(crate) fn has(&self, gate: &str) -> bool {
        Path::new(&self.folder).join(gate).exists()
    }

    /// Waits for the test.
    pub(crate) fn wait_for(&self, gate: &str) {
        wait_for(&self.folder, gate);
    }

    /// Says nothing more, and goes on living.
    pub(crate) fn sleep(&self) -> ! {
        assert!(Path::new(&self.folder).exists());
        loop {
            std::thread::park();
        }
    }

    /// What a worker says that has nothing to say.
    pub(crate) fn end(self, code: i32) -> ! {
        exit(code)
    }
}
