//! The help of a report: what the source around two calls says about why a lock was still held.
//!
//! Each test takes a lock twice, in a construct of its own. Where this file's text can't be trusted, no report says so.

#![allow(
    clippy::match_single_binding,
    clippy::needless_ifs,
    clippy::never_loop,
    clippy::redundant_pattern_matching,
    clippy::single_match,
    reason = "the constructs are what is looked at"
)]

use std::cell::OnceCell;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bowline::deadlock::Deadlock;
use bowline::{Lock, RLock};

use crate::support::alone::{is_child, make_child};
use crate::support::programs::copy_program;
use crate::support::{LIMIT, stderr, within};

/// The help without line breaks.
fn help(deadlock: &Deadlock) -> String {
    let text = format!("{deadlock:1000}");
    let (_, help) = text.split_once("\nhelp: ").unwrap_or_else(|| panic!("no help: {text}"));
    help.to_owned()
}

/// A lock that is taken twice, and what the second time is told.
#[derive(Default)]
struct Twice {
    lock: Lock<Vec<u64>>,
    told: OnceCell<Deadlock>,
}

impl Twice {
    /// Asks for the lock again. The line is the caller's.
    #[track_caller]
    fn again(&self) -> usize {
        self.told
            .set(self.lock.acquire().map(drop).expect_err("a deadlock with oneself"))
            .expect("it is asked for once");
        0
    }

    /// The help, which is the same for everybody but for the line of the first call.
    #[track_caller]
    fn help(&self) -> String {
        let deadlock = self.told.get().expect("a second call");
        let site = deadlock.report().threads()[0].holds()[0].site();
        let help = help(deadlock);
        assert!(!help.contains("the guard taken") || help.contains(&format!("taken at {site}")), "{help}");
        help.replace(&format!(" taken at {site}"), " taken there")
    }
}

/// Runs a test of a lock whose values are one number.
fn twice(test: impl FnOnce(&Twice)) -> String {
    within(LIMIT, || {
        let twice = Twice::default();
        twice.lock.lock().push(1);
        test(&twice);
        twice.help()
    })
}

const PLAIN: &str = "drop the guard taken there before locking again, or use an `RLock`";

/// The help for a guard of this construct.
fn lives(construct: &str, instead: &str) -> String {
    format!("the guard taken there lives to the end of its {construct}: {instead}")
}

const BIND: &str = "copy the value out with `let` first";

#[test]
fn a_guard_in_the_head_of_a_match_lives_through_its_arms() {
    let help = twice(|t| match t.lock.lock().first() {
        Some(_) => _ = t.again(),
        None => {}
    });
    assert_eq!(help, lives("`match`", BIND));
    let deref = twice(|t| match &mut **t.lock.lock() {
        [_] => _ = t.again(),
        _ => {}
    });
    assert_eq!(deref, lives("`match`", BIND));
    let of_result = twice(|t| match t.lock.acquire().unwrap().len() {
        _ => _ = t.again(),
    });
    assert_eq!(of_result, lives("`match`", BIND));
}

#[test]
fn a_guard_in_the_head_of_an_if_let_lives_through_its_block_and_perhaps_no_longer() {
    let help = twice(|t| {
        if let Some(_) = t.lock.lock().first() {
            t.again();
        }
    });
    assert_eq!(help, lives("`if let` block", BIND));
    let with_else = twice(|t| {
        if let Some(_) = t.lock.lock().first() {
            t.again();
        } else {
            unreachable!("there is a number");
        }
    });
    assert_eq!(with_else, lives("`if let` block", BIND));
    // What is in an `else` never waits for the guard of the head, in this edition: another guard is held.
    let in_else = twice(|t| {
        if let Some(_) = t.lock.lock().get(1) {
            unreachable!("there is one number");
        } else {
            let _guard = t.lock.lock();
            t.again();
        }
    });
    assert_eq!(in_else, PLAIN);
}

#[test]
fn a_guard_in_the_head_of_a_loop_lives_through_its_body() {
    let while_let = twice(|t| {
        while let Some(_) = t.lock.lock().first() {
            t.again();
            break;
        }
    });
    assert_eq!(while_let, lives("`while let` block", "write a `loop`, and copy the value out with `let` first"));
    let of_iterator = twice(|t| {
        for _ in t.lock.lock().iter() {
            t.again();
        }
    });
    assert_eq!(of_iterator, lives("`for` loop", "collect the values with `let` first"));
}

#[test]
fn a_guard_in_an_expression_lives_to_the_end_of_the_statement() {
    assert_eq!(twice(|t| t.lock.lock().resize(t.again(), 0)), PLAIN, "a closure's value is no statement");
    let in_block = twice(|t| {
        t.lock.lock().resize(t.again(), 0);
    });
    assert_eq!(in_block, lives("statement", BIND));
    let in_let = twice(|t| {
        let _sum = t.lock.lock().len() + t.again();
    });
    assert_eq!(in_let, lives("statement", BIND));
    let in_closure = twice(|t| {
        t.lock.lock().retain(|_| t.again() == 0);
    });
    assert_eq!(in_closure, lives("statement", BIND));
    let in_condition = twice(|t| if t.lock.lock().len() == t.again() {});
    assert_eq!(in_condition, lives("condition", BIND));
    let in_macro = twice(|t| assert_ne!(t.lock.lock().len(), t.again()));
    assert_eq!(in_macro, lives("`assert_ne!`", BIND));
}

#[test]
fn a_guard_that_is_bound_is_not_told_as_a_temporary() {
    let bound = twice(|t| {
        let guard = t.lock.lock();
        match guard.first() {
            _ => _ = t.again(),
        }
    });
    assert_eq!(bound, PLAIN);
    let by_pattern = twice(|t| match t.lock.acquire() {
        Ok(_guard) => _ = t.again(),
        Err(_) => {}
    });
    assert_eq!(by_pattern, PLAIN);
    let behind = twice(|t| {
        match t.lock.lock().first() {
            _ => {}
        }
        let _guard = t.lock.lock();
        t.again();
    });
    assert_eq!(behind, PLAIN);
}

#[test]
fn a_closure_that_is_stored_for_later_is_not_told_as_a_part_of_the_construct() {
    let help = twice(|t| {
        let later = match t.lock.lock().first() {
            _ => || t.again(),
        };
        let _guard = t.lock.lock();
        later();
    });
    assert_eq!(help, PLAIN);
}

/// The help for a lock that is held by one function while another one runs.
fn held(holder: &str, waiter: &str) -> String {
    format!(
        "A is held by {holder} while {waiter} runs, which asks for it again: take what is needed out of the guard, and let \
         the guard go first, or use an `RLock`"
    )
}

/// Tells its observer of each number, with the lock held.
fn publish(t: &Twice, observer: impl Fn(u64)) {
    let guard = t.lock.lock();
    for number in guard.iter() {
        observer(*number);
    }
}

#[test]
fn a_callback_under_the_lock_is_told_by_both_functions() {
    let help = twice(|t| publish(t, |_| _ = t.again()));
    let this = "a_callback_under_the_lock_is_told_by_both_functions";
    assert_eq!(help, held("`publish`", &format!("a closure of `{this}`")));
}

struct Observer<'t>(&'t Twice);

impl Observer<'_> {
    fn notify(&self) {
        self.0.again();
    }
}

#[test]
fn another_function_that_a_construct_calls_is_told_and_the_construct_is_not() {
    let help = twice(|t| match t.lock.lock().first() {
        _ => Observer(t).notify(),
    });
    let this = "another_function_that_a_construct_calls_is_told_and_the_construct_is_not";
    assert_eq!(help, held(&format!("a closure of `{this}`"), "`Observer::notify`"));
}

#[test]
fn a_destructor_under_the_lock_is_told_by_the_type() {
    struct Value<'t>(&'t Twice);
    impl Drop for Value<'_> {
        fn drop(&mut self) {
            self.0.again();
        }
    }
    fn replace<'t>(t: &'t Twice, values: &RLock<std::cell::RefCell<Option<Value<'t>>>>) {
        let _guard = t.lock.lock();
        values.lock().replace(None);
    }
    let help = twice(|t| replace(t, &RLock::new(Some(Value(t)).into())));
    assert_eq!(
        help,
        "A is held by `replace` while the `Drop` of `Value` runs, which asks for it again: take the value out of the \
         guard, and let it drop after the guard, or use an `RLock`"
    );
}

#[test]
fn a_value_that_is_shown_or_iterated_under_the_lock_is_told_by_the_trait() {
    struct Value<'t>(&'t Twice);
    impl Display for Value<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0.again())
        }
    }
    impl Iterator for Value<'_> {
        type Item = u64;
        fn next(&mut self) -> Option<u64> {
            self.0.again();
            None
        }
    }
    fn show(t: &Twice) {
        let guard = t.lock.lock();
        assert_eq!((guard.len(), Value(t).to_string().as_str()), (1, "0"));
    }
    fn extend(t: &Twice) {
        t.lock.lock().extend(Value(t));
    }
    assert_eq!(twice(show), held("`show`", "the `Display` of `Value`"));
    assert_eq!(twice(extend), held("`extend`", "the `Iterator` of `Value`"));
}

#[test]
fn a_function_that_returns_its_guard_is_not_told_as_its_holder() {
    fn guard(t: &Twice) -> bowline::sync::LockGuard<'_, Vec<u64>> {
        t.lock.lock()
    }
    fn bound(t: &Twice) -> Option<bowline::sync::LockGuard<'_, Vec<u64>>> {
        let guard = t.lock.lock();
        Some(guard)
    }
    let returned = twice(|t| {
        let _guard = guard(t);
        t.again();
    });
    assert_eq!(returned, PLAIN);
    let returned = twice(|t| {
        let _guard = bound(t);
        t.again();
    });
    assert_eq!(returned, PLAIN);
}

#[test]
fn a_panic_has_the_help_too() {
    within(LIMIT, || {
        let lock = Lock::new(vec![1]);
        let relock = || match lock.lock().first() {
            _ => drop(lock.lock()),
        };
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(relock)).unwrap_err();
        let text = crate::support::message(&*payload).replace("\n      ", " ");
        assert!(text.contains(" lives to the end of its `match`: copy the value out with `let` first"), "{text}");
    });
}

/// A folder outside of any workspace. It is gone when this drops.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bowline-sources-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes this file's text, or another one of as many lines, to its path below a folder of here.
    fn put_source(&self, folder: &str, is_true: bool) -> PathBuf {
        let path = self.0.join(folder).join(file!());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deadlock/help.rs")).unwrap();
        fs::write(&path, if is_true { text } else { text.replace("match ", "while ").replace("_ => ", "") }).unwrap();
        let built = fs::metadata(std::env::current_exe().unwrap()).unwrap().modified().unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(built - Duration::from_secs(1)).unwrap();
        path
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// In the program: what its report says.
fn says_what_is_told() {
    let told = twice(|t| match t.lock.lock().first() {
        _ => _ = t.again(),
    });
    let _ = std::io::stdout().write_all(format!("\nsaid: {told}\n").as_bytes());
}

#[test]
#[cfg(target_os = "linux")]
fn a_source_is_the_one_that_was_compiled_or_nothing_is_told_of_it() {
    let test = "a_source_is_the_one_that_was_compiled_or_nothing_is_told_of_it";
    if is_child(test) {
        return says_what_is_told();
    }
    within(LIMIT, || {
        let elsewhere = Elsewhere::new();
        let folder = |name: &str| elsewhere.0.join(name);
        let program = folder("built/debug/program");
        for name in ["built/debug", "member", "other"] {
            fs::create_dir_all(folder(name)).unwrap();
        }
        copy_program(std::env::current_exe().unwrap(), &program);
        // What the program tells that is run in a folder, perhaps by cargo, of a package.
        let told = |here: &str, package: Option<&str>| {
            let mut command = Command::new(&program);
            make_child(&mut command, test);
            command.current_dir(folder(here)).env_remove("CARGO_MANIFEST_DIR");
            command.envs(package.map(|package| ("CARGO_MANIFEST_DIR", folder(package))));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().find_map(|line| Some(line.strip_prefix("said: ")?.to_owned())).expect("it is told")
        };
        let found = lives("`match`", BIND);

        assert_eq!(told("", None), PLAIN, "a missing file");
        let source = elsewhere.put_source("", true);
        assert_eq!(told("", None), found, "the program was built below the current directory");
        assert_eq!(told("other", None), PLAIN, "or not");
        let built = fs::metadata(&program).unwrap().modified().unwrap();
        for (modified, told_of_it) in
            [(built, PLAIN), (built + Duration::from_secs(1), PLAIN), (built - Duration::from_secs(1), &*found)]
        {
            File::options().append(true).open(&source).unwrap().set_modified(modified).unwrap();
            assert_eq!(told("", None), told_of_it, "a file of another time");
        }

        // A workspace, and a member of it that has a file of the same path.
        elsewhere.put_source("member", false);
        fs::write(folder("Cargo.lock"), "").unwrap();
        for (here, package) in [("member", Some("member")), ("member", None), ("", Some("member")), ("other", None)] {
            assert_eq!(told(here, package), found, "in {here:?}, of {package:?}");
        }
        // Built elsewhere, and run by cargo.
        fs::rename(folder("Cargo.lock"), folder("member/Cargo.lock")).unwrap();
        elsewhere.put_source("member", true);
        assert_eq!(told("other", Some("member")), found);
        // A program that was installed, in the folder of another one.
        assert_eq!(told("member", None), PLAIN);
    });
}
