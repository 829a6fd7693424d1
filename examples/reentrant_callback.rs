//! A registry calls its listeners with its lock held, and a listener calls back into the registry: a deadlock with a
//! plain lock, fine with a re-entrant one.
//!
//! `cargo run --example reentrant_callback`

use std::cell::RefCell;
use std::rc::Rc;

use bowline::{Lock, RLock};

type Listener = Rc<dyn Fn(&Registry)>;

/// Listeners that are called back while the registry is locked, so that nobody unsubscribes meanwhile.
struct Registry {
    state: RLock<RefCell<State>>,
}

#[derive(Default)]
struct State {
    listeners: Vec<Listener>,
    log: Vec<String>,
}

impl Registry {
    fn new() -> Self {
        Self { state: RLock::named("registry", RefCell::new(State::default())) }
    }

    fn subscribe(&self, listener: impl Fn(&Registry) + 'static) {
        self.state.lock().borrow_mut().listeners.push(Rc::new(listener));
    }

    fn log(&self, line: &str) {
        let state = self.state.lock(); // the second time, when a listener calls this
        let depth = self.state.depth();
        state.borrow_mut().log.push(format!("{line} (lock held {depth} times)"));
    }

    fn publish(&self) {
        let state = self.state.lock();
        let listeners = state.borrow().listeners.clone();
        for listener in listeners {
            listener(self);
        }
    }
}

fn main() {
    let registry = Registry::new();
    registry.subscribe(|registry| registry.log("first listener was here"));
    registry.subscribe(|registry| registry.log("second listener was here"));
    registry.publish();
    registry.log("done");
    let lines = std::mem::take(&mut registry.state.lock().borrow_mut().log);
    lines.iter().for_each(|line| println!("{line}"));
    assert_eq!(lines.len(), 3);
    assert!(!registry.state.is_locked());

    // The same call chain over a plain lock is a deadlock of one thread, and says so.
    let plain = Lock::named("plain registry", Vec::<String>::new());
    let publishing = plain.lock();
    let report = plain.acquire().expect_err("this very thread holds it");
    println!("\nwith a plain lock instead:\n\n{report}");
    drop(publishing);
}
