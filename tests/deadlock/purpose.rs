//! Locks that are taken, or made, by an implementation of a trait that knows no line of the program: reports say what for, and
//! name no line of this crate.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;

use bowline::deadlock::report::{Held, Purpose};
use bowline::deadlock::{Deadlock, Kind};
use bowline::{Lock, RLock};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::{LIMIT, spawn_named, until_waiting, within};

/// A value that takes another lock when it is shown or serialized, after a word to the test.
struct Inner {
    lock: Arc<Lock<()>>,
    begun: Option<mpsc::Sender<()>>,
    deadlock: Lock<Option<Deadlock>>,
}

impl Inner {
    fn of(lock: &Arc<Lock<()>>, begun: Option<mpsc::Sender<()>>) -> Self {
        Self { lock: Arc::clone(lock), begun, deadlock: Lock::new(None) }
    }

    fn take_the_lock(&self) {
        if let Some(begun) = &self.begun {
            begun.send(()).unwrap();
            until_waiting("other");
        }
        let deadlock = self.lock.acquire().map(drop).unwrap_err();
        *self.deadlock.lock() = Some(deadlock);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.take_the_lock();
        f.write_str("inner")
    }
}

impl Serialize for Inner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.take_the_lock();
        serializer.serialize_unit()
    }
}

/// Names no source of this crate, in data or text.
fn is_of_the_program(deadlock: &Deadlock) {
    for thread in deadlock.report().threads() {
        let holds = thread.holds().iter().flat_map(|held| [held.site(), held.resource().made_at()]);
        let waits = thread.waits_for().into_iter().flat_map(|wait| [wait.site(), wait.resource().made_at()]);
        for site in holds.chain(waits) {
            assert_eq!(site.file(), file!(), "{deadlock}");
        }
    }
    let json = serde_json::to_string(deadlock.report()).unwrap();
    for text in [deadlock.to_string(), deadlock.report().graph().to_dot(), json] {
        assert!(!text.contains("src/"), "{text}");
    }
}

/// The deadlock of two threads of which one holds an outer lock for what `show` does, and the line that made that one.
fn crossed(primitive: &str, name: Option<&'static str>, show: Way) -> (Deadlock, u32) {
    let inner = Arc::new(Lock::named("inner", ()));
    let (begun, has_begun) = mpsc::channel();
    let value = Inner::of(&inner, Some(begun));
    let made: u32;
    let outer: Box<dyn Shown> = match (primitive, name) {
        ("Lock", None) => {
            made = line!() + 1;
            Box::new(Lock::new(value))
        }
        ("Lock", Some(name)) => {
            made = line!() + 1;
            Box::new(Lock::named(name, value))
        }
        (_, None) => {
            made = line!() + 1;
            Box::new(RLock::new(value))
        }
        (_, Some(name)) => {
            made = line!() + 1;
            Box::new(RLock::named(name, value))
        }
    };
    let (inner, outer) = (&*inner, &*outer);
    thread::scope(|s| {
        spawn_named(s, "other", move || {
            let _inner = inner.lock();
            has_begun.recv().unwrap();
            outer.take();
        });
        show(outer);
    });
    (outer.deadlock().expect("one that was met while it was shown"), made)
}

/// What is done to a lock that its value is shown by.
type Way = fn(&dyn Shown) -> String;

/// A lock, whichever.
trait Shown: Send + Sync {
    fn debug(&self) -> String;
    fn json(&self) -> String;
    fn take(&self);
    fn deadlock(&self) -> Option<Deadlock>;
}

macro_rules! shown {
    ($lock:ident) => {
        impl Shown for $lock<Inner> {
            fn debug(&self) -> String {
                format!("{self:?}")
            }
            fn json(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
            fn take(&self) {
                drop(self.lock());
            }
            fn deadlock(&self) -> Option<Deadlock> {
                self.lock().deadlock.lock().take()
            }
        }
    };
}
shown!(Lock);
shown!(RLock);

fn held_by_reporter(deadlock: &Deadlock) -> &Held {
    let [held] = deadlock.report().threads()[0].holds() else { panic!("{deadlock}") };
    held
}

#[test]
fn a_lock_that_is_held_while_it_is_formatted_or_serialized_says_so_in_place_of_a_line() {
    let ways: [(Way, _, _); 2] = [
        (|lock| lock.debug(), Purpose::Debug, "to format it with `{:?}`"),
        (|lock| lock.json(), Purpose::Serialize, "to serialize it"),
    ];
    within(LIMIT, || {
        for primitive in ["Lock", "RLock"] {
            for (show, purpose, words) in ways {
                for name in [None, Some("outer")] {
                    let (deadlock, made) = crossed(primitive, name, show);
                    assert_eq!(deadlock.report().kind(), Kind::Cycle);
                    let held = held_by_reporter(&deadlock);
                    assert_eq!((held.purpose(), held.site().line()), (Some(purpose), made), "{deadlock}");
                    assert_eq!(held.site(), held.resource().made_at());
                    is_of_the_program(&deadlock);
                    let origin = format!(" (made at {})", held.site());
                    let place = format!("), taken {words}{origin}\n");
                    let text = format!("{deadlock:400}");
                    assert!(text.contains(&place), "{place}: {text}");
                    let json = serde_json::to_value(deadlock.report()).unwrap();
                    let expected = if purpose == Purpose::Debug { "debug" } else { "serialize" };
                    assert_eq!(json["threads"][0]["holds"][0]["purpose"], expected);
                    assert!(json["threads"][0]["waits_for"]["purpose"].is_null());
                }
            }
        }
    });
}

#[test]
fn a_lock_that_is_waited_for_to_serialize_it_says_so_in_place_of_a_line() {
    within(LIMIT, || {
        let lock = Lock::named("in use", 1);
        let made = line!() - 1;
        let guard = lock.lock();
        let error = serde_json::to_string(&lock).unwrap_err().to_string();
        assert!(error.starts_with("deadlock: "), "{error}");
        assert!(error.contains(&format!("(made at {}:{made}:", file!())), "{error}");
        assert!(error.contains(" to serialize it"), "{error}");
        assert!(!error.contains("src/"), "{error}");
        drop(guard);
    });
}

#[test]
fn a_lock_that_its_own_value_asks_for_again_is_told_from_one_that_is_locked_twice() {
    struct Itself(Arc<std::sync::OnceLock<Arc<Lock<Self>>>>);
    impl fmt::Debug for Itself {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let deadlock = self.0.get().unwrap().acquire().map(drop).unwrap_err();
            write!(f, "{deadlock}")
        }
    }
    within(LIMIT, || {
        let cell = Arc::new(std::sync::OnceLock::new());
        let lock = cell.get_or_init(|| Arc::new(Lock::named("itself", Itself(Arc::clone(&cell)))));
        let text = format!("{lock:?}");
        assert!(text.contains("taken to format it with `{:?}`"), "{text}");
        assert!(text.contains("help: a lock is held while its value is formatted or serialized"), "{text}");
        assert!(!text.contains("src/"), "{text}");
    });
}

#[test]
fn a_lock_that_was_deserialized_is_told_as_that_and_not_by_a_line() {
    #[derive(Deserialize)]
    struct Read {
        lock: Lock<u8>,
        again: RLock<u16>,
    }
    within(LIMIT, || {
        let read: Read = serde_json::from_str(r#"{"lock": 1, "again": 2}"#).unwrap();
        let (_outer, _guard) = (read.again.lock(), read.lock.lock());
        let deadlock = read.lock.acquire().map(drop).unwrap_err();
        let told = deadlock.report().threads()[0].holds();
        assert!(told.iter().all(|held| held.resource().is_deserialized()), "{deadlock}");
        let text = deadlock.to_string();
        assert!(text.contains("  A = Lock<u8>, made by deserializing\n"), "{text}");
        assert!(text.contains("and holds RLock<u16> made by deserializing, taken at "), "{text}");
        assert!(!text.contains("src/") && !text.contains("library/"), "{text}");
        let json = serde_json::to_value(deadlock.report()).unwrap();
        assert!(json["threads"][0]["holds"][0]["resource"]["made_at"].is_null(), "{json}");

        let text = serde_json::to_string(&read.lock).unwrap_err().to_string();
        assert!(
            text.replace("\n    ", " ").contains(" waits for A to serialize it (made by deserializing), for at least"),
            "{text}"
        );
    });
}

#[test]
fn no_line_of_std_or_of_this_crate_is_shown_where_they_call_for_the_program() {
    #[derive(Default)]
    struct Shared {
        lock: Arc<Lock<u8>>,
    }
    within(LIMIT, || {
        let shared = Shared::default();
        let [_guard] = [&*shared.lock].map(Lock::lock);
        let by_pointer: fn(&Lock<u8>) -> Result<bowline::sync::LockGuard<'_, u8>, Deadlock> = Lock::acquire;
        let deadlock = by_pointer(&shared.lock).map(drop).unwrap_err();
        let text = deadlock.to_string();
        for part in [
            "A = Lock<u8>, made in std\n",
            "waits for A in bowline, ",
            "already holds A, taken in std\n",
            "taken in std before",
        ] {
            assert!(text.replace("\n    ", " ").contains(part), "{part}: {text}");
        }
        assert!(!text.contains("src/") && !text.contains("library/"), "{text}");
    });
}
