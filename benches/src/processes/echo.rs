//! What no pool can be better than: two processes, one socket, and nothing else.

use std::io::{Read, Write, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, exit};

use super::ProcessBench;

/// The argument that makes an echo of a process.
const ARGUMENT: &str = "--echo";

/// About what a task and its header take.
const MESSAGE: usize = 32;

/// A process that sends back what it gets, by blocking reads and writes. It is only asked for one number at a time.
pub struct Echo {
    socket: UnixStream,
    process: Child,
}

impl ProcessBench for Echo {
    const NAME: &'static str = "bare socketpair";
    type Handle = ();

    /// One process: a second one would have nothing to do.
    fn new() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("the system has sockets left");
        let program = std::env::current_exe().expect("the program is there");
        let mut command = Command::new(program);
        command.arg(ARGUMENT).stdin(OwnedFd::from(theirs));
        Self { socket, process: command.spawn().expect("the system has processes left") }
    }

    fn submit(&self, number: u64) {
        let mut message = [0; MESSAGE];
        message[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        (&self.socket).write_all(&message).expect("the echo runs");
    }

    fn result(&self, (): ()) -> u64 {
        let mut message = [0; MESSAGE];
        (&self.socket).read_exact(&mut message).expect("the echo runs");
        let (number, _) = message.split_first_chunk().expect("a message is longer than a number");
        u64::from_le_bytes(*number)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Both).expect("it was not shut down before");
        self.process.wait().expect("nobody else waits for it");
    }
}

/// Is an echo, until the other side has gone, if this process was started for that.
pub(super) fn serve_if_asked() {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return;
    }
    // Past the buffer of the standard input.
    let mut socket = UnixStream::from(stdin().as_fd().try_clone_to_owned().expect("there is room for a descriptor"));
    let mut message = [0; MESSAGE];
    while socket.read_exact(&mut message).is_ok() && socket.write_all(&message).is_ok() {}
    exit(0);
}
