//! A program that hangs with a lock of each of two copies of the crate, and names no function that tells why.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn main() {
    let ours: &bowline::Lock<u8> = Box::leak(Box::new(bowline::Lock::named("of the one", 1)));
    let theirs: &other_bowline::Lock<u8> = Box::leak(Box::new(other_bowline::Lock::named("of the other", 2)));
    let _guards = (ours.lock(), theirs.lock());
    thread::spawn(|| drop(ours.lock()));
    thread::spawn(|| drop(theirs.lock()));
    thread::sleep(Duration::from_millis(100));
    println!("hangs");
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv();
}
