//! The names of threads, resources, types and durations in a text.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::time::Duration;

use super::letters::Letters;
use super::page::{GLUE, clip};
use super::style::{NAME, Style};
use crate::deadlock::graph::resource::Site;
use crate::deadlock::report::author::Author;
use crate::deadlock::report::{Held, Identity, Nature, Purpose, Resource, StuckThread, Wait};

/// Longer names of types are cut.
const MAX_TYPE_WIDTH: usize = 80;

/// Names for the threads and resources of one text, such that each means one of them.
pub(in crate::deadlock) struct Names<'r> {
    pub(super) style: Style,
    /// The threads that have a name, each once, by the number that debuggers show.
    namesakes: HashMap<&'r str, Vec<u32>>,
    /// The waiters of each resource.
    waiters: HashMap<Identity, Vec<&'r StuckThread>>,
    letters: Letters<'r>,
    /// Whether every thread is told with the number that debuggers show.
    pub(super) has_os_ids: bool,
    /// How many of those that have a letter look alike.
    alike: HashMap<Look, usize>,
}

/// What tells resources apart on sight.
#[derive(PartialEq, Eq, Hash)]
enum Look {
    Named(&'static str),
    MadeAt(Site),
}

impl Look {
    fn of(resource: &Resource) -> Self {
        resource.name.map_or(Self::MadeAt(resource.made_at), Self::Named)
    }
}

impl<'r> Names<'r> {
    /// Returns names for these threads. What those that are `shown` wait for gets letters.
    pub(in crate::deadlock) fn new(
        threads: impl Iterator<Item = &'r StuckThread> + Clone,
        shown: impl Iterator<Item = &'r StuckThread> + Clone,
        style: Style,
    ) -> Self {
        let mut names = Self {
            style,
            namesakes: HashMap::new(),
            waiters: HashMap::new(),
            alike: HashMap::new(),
            letters: Letters::default(),
            has_os_ids: false,
        };
        for thread in threads {
            if let Some(name) = thread.name() {
                // A task that runs in place is on the same thread as its waiter.
                let namesakes = names.namesakes.entry(name).or_default();
                if thread.os_id == 0 || !namesakes.contains(&thread.os_id) {
                    namesakes.push(thread.os_id);
                }
            }
            if let Some(wait) = &thread.waits_for {
                let waiters = names.waiters.entry(wait.resource.identity()).or_default();
                if waiters.is_empty() {
                    *names.alike.entry(Look::of(&wait.resource)).or_default() += 1;
                }
                waiters.push(thread);
            }
        }
        let waiters = &names.waiters;
        names.letters = Letters::new(shown, |resource| waiters.contains_key(&resource.identity()));
        names
    }

    /// Returns names for one thread. What it waits for and what it holds get letters.
    pub(super) fn of_one(thread: &'r StuckThread, style: Style) -> Self {
        let mut names = Self::new(std::iter::once(thread), std::iter::empty(), style);
        names.letters = Letters::new(std::iter::once(thread), |_| true);
        names
    }

    /// Returns the lines that say what the letters mean.
    pub(super) fn legend(&self) -> Vec<String> {
        self.letters.legend(self)
    }

    /// Returns whether there is a legend.
    pub(super) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Returns whether a resource has a letter.
    pub(super) fn has_letter(&self, resource: &Resource) -> bool {
        self.letters.of(resource).is_some()
    }

    pub(super) fn letter(&self, letter: &str) -> String {
        self.style.paint(NAME, letter)
    }

    /// Returns `thread 'left'`; with the number that debuggers show if there is no name, or if others have the same.
    ///
    /// A thread that runs a task is `task 'sum' on thread 'pool_0'`.
    pub(in crate::deadlock) fn thread(&self, thread: &StuckThread) -> String {
        self.thread_and_task(thread, |task| self.resource(task))
    }

    /// Returns the same without letters, which the first line of a text does not have.
    pub(super) fn thread_in_headline(&self, thread: &StuckThread) -> String {
        self.thread_and_task(thread, |task| match task.name {
            Some(_) => self.kind_and_name(task),
            None => format!("{} {}", self.kind_and_name(task), origin(task)),
        })
    }

    fn thread_and_task(&self, thread: &StuckThread, task_label: impl Fn(&Resource) -> String) -> String {
        let (mut label, os_id) = self.thread_alone(thread.name(), thread.os_id);
        if let Some(os_id) = os_id {
            label += &format!(" ({os_id})");
        }
        let in_place = if thread.is_in_place { " (run inside the wait for it)" } else { "" };
        match &thread.task {
            Some(task) => format!("{}{in_place} on {label}", task_label(&task.resource)),
            None => label + in_place,
        }
    }

    /// Returns `thread 'left'`, whatever the thread runs, and the number that debuggers show if the name does not suffice.
    fn thread_alone(&self, name: Option<&str>, os_id: u32) -> (String, Option<String>) {
        let (label, is_clear) = match name {
            Some(name) => (
                format!("thread{GLUE}{}", quoted(name)),
                self.namesakes.get(name).is_none_or(|namesakes| namesakes.iter().all(|&other| other == os_id)),
            ),
            None => ("unnamed thread".to_owned(), false),
        };
        let label = self.style.paint(NAME, label);
        let is_told = (!is_clear || self.has_os_ids) && os_id != 0;
        (label, is_told.then(|| format!("os id {os_id}")))
    }

    /// Returns `A 'accounts'` or `task A` for what has a letter; otherwise `'accounts'`, `Lock<u64> made at
    /// src/main.rs:10:13`, or `task main::{{closure}}`.
    pub(in crate::deadlock) fn resource(&self, resource: &Resource) -> String {
        let name = resource.name.map(quoted);
        let noun = if resource.is_task() { format!("task{GLUE}") } else { String::new() };
        match (self.letters.of(resource), name) {
            (Some(letter), None) => self.style.paint(NAME, format_args!("{noun}{letter}")),
            (Some(letter), Some(name)) => self.style.paint(NAME, format_args!("{noun}{letter}{GLUE}{name}")),
            (None, Some(name)) => self.style.paint(NAME, format_args!("{noun}{name}")),
            (None, None) if resource.is_task() => self.kind_and_name(resource),
            (None, None) => format!("{} {}", self.kind_and_name(resource), origin(resource)),
        }
    }

    /// Returns `Lock<Vec<u64>> 'accounts'` or `task 'sum' #17`; without a name `Lock<Vec<u64>>` or `task main::{{closure}}`.
    pub(super) fn kind_and_name(&self, resource: &Resource) -> String {
        let kind = match (resource.is_task(), resource.name) {
            (true, Some(_)) => "task".to_owned(),
            (true, None) => format!("task{GLUE}{}", short_type(resource.data_type)),
            (false, _) => full_type(resource),
        };
        let name = resource.name.map_or(String::new(), |name| format!("{GLUE}{}", quoted(name)));
        // An id that the program has asked for may be in its log.
        let told = resource.id.filter(|reported| reported.is_told);
        let id = told.map_or(String::new(), |reported| format!("{GLUE}#{}", reported.id));
        self.style.paint(NAME, format_args!("{}{name}{id}", clip(kind, MAX_TYPE_WIDTH)))
    }

    /// Returns what is waited for, and for what else: `task 'sum' (queued in pool 'io') and 2 others`, or `task 'sum',
    /// which process 4711 runs`.
    pub(in crate::deadlock) fn wait(&self, wait: &Wait, label: impl Fn(&Self, &Resource) -> String) -> String {
        let mut text = match &wait.queued_in {
            Some(pool) if wait.resource.is_task() => {
                format!("{} (queued in {})", label(self, &wait.resource), self.pool(pool))
            }
            _ if wait.resource.is_pool_at_rest() => format!("the tasks of {}", label(self, &wait.resource)),
            Some(pool) => format!("room in the queue of {}", self.pool(pool)),
            None if wait.resource.is_thread() => format!("the end of {}", self.joined(wait)),
            None if wait.resource.is_pool() => format!("the end of {}", label(self, &wait.resource)),
            None => label(self, &wait.resource),
        };
        if let Some(process) = wait.process {
            text += &format!(", which {} runs", self.process(process));
        }
        if wait.others > 0 {
            let comma = if wait.process.is_some() { "," } else { "" };
            text += &format!("{comma} and {} others", wait.others).replace(" 1 others", " 1 other");
        }
        text
    }

    /// Returns `thread 'clerk' (spawned at src/main.rs:10:13)`.
    fn joined(&self, wait: &Wait) -> String {
        let origin = origin(&wait.resource);
        match wait.joined.as_ref().map(|joined| self.thread_alone(joined.name(), joined.os_id)) {
            Some((label, None)) => format!("{label} ({origin})"),
            Some((label, Some(os_id))) => format!("{label} ({os_id}, {origin})"),
            None => format!("a thread that has not begun ({origin})"),
        }
    }

    /// Returns what is waited for, without what is said elsewhere of it: `A 'accounts'`, or `the end of thread 'clerk'`.
    pub(in crate::deadlock) fn wait_briefly(&self, wait: &Wait) -> String {
        match &wait.joined {
            Some(joined) => format!("the end of {}", self.thread_alone(joined.name(), joined.os_id).0),
            None => self.wait(wait, Names::resource),
        }
    }

    /// Returns `pool 'io'`.
    pub(in crate::deadlock) fn pool(&self, name: &str) -> String {
        self.style.paint(NAME, format_args!("pool{GLUE}{}", quoted(name)))
    }

    /// Returns `process 4711`.
    fn process(&self, id: u32) -> String {
        self.style.paint(NAME, format_args!("process{GLUE}{id}"))
    }

    /// Returns `A 'accounts'` for what has a letter; otherwise `Lock<Vec<u64>> 'accounts'`, or `Lock<Vec<u64>> made at
    /// src/main.rs:10:13`.
    pub(in crate::deadlock) fn resource_and_type(&self, resource: &Resource) -> String {
        let is_told = self.has_letter(resource) || resource.name.is_none() || resource.is_task();
        if is_told { self.resource(resource) } else { self.kind_and_name(resource) }
    }

    /// Returns whether a resource is waited for.
    pub(in crate::deadlock) fn is_wanted(&self, resource: &Resource) -> bool {
        self.waiters.contains_key(&resource.identity())
    }

    /// Returns whether others with a letter look the same as a resource.
    pub(in crate::deadlock) fn is_lookalike(&self, resource: &Resource) -> bool {
        !resource.is_foreign() && self.alike.get(&Look::of(resource)).is_some_and(|count| *count > 1)
    }

    /// Returns who waits for the resource that `holder` holds, if somebody else does: `thread 'left' waits for it`.
    pub(in crate::deadlock) fn waiters(&self, holder: &StuckThread, resource: &Resource) -> Option<String> {
        // A reader may wait for itself, and for others.
        let waiters = self.waiters.get(&resource.identity())?.iter().copied();
        let others: Vec<_> = waiters.filter(|&waiter| !std::ptr::eq(waiter, holder)).collect();
        match others.as_slice() {
            [] => None,
            [only] => Some(format!("{} waits for it", self.thread(only))),
            [first, _] => Some(format!("{} and 1 other thread wait for it", self.thread(first))),
            [first, rest @ ..] => Some(format!("{} and {} other threads wait for it", self.thread(first), rest.len())),
        }
    }
}

/// Returns `for A`, or how a read-write lock is wanted: `to read A`.
pub(super) fn aim(wait: &Wait, wanted: &str) -> String {
    wait.access.map_or_else(|| format!("for {wanted}"), |access| format!("to {}", access.phrase(wanted)))
}

/// Returns `made at src/main.rs:10:13`.
pub(super) fn origin(resource: &Resource) -> String {
    match resource {
        Resource { nature: Nature::Task, made_at, .. } => format!("submitted{GLUE}{}", Line(made_at)),
        Resource { nature: Nature::Thread, made_at, .. } => format!("spawned{GLUE}{}", Line(made_at)),
        deserialized if deserialized.is_deserialized() => "made by deserializing".to_owned(),
        // The packages that make such locks take the place of this one.
        foreign if foreign.is_foreign() => format!("made{GLUE}by{GLUE}parking_lot"),
        Resource { made_at, .. } => format!("made{GLUE}{}", Line(made_at)),
    }
}

/// `at src/main.rs:10:13`; or where a line is of no use to the reader, `in std` or `in bowline`.
pub(super) struct Line(pub(super) Site);

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Author::of(self.0) {
            Author::Program => write!(f, "at{GLUE}{}", self.0),
            Author::Std => write!(f, "in{GLUE}std"),
            Author::Ours => write!(f, "in{GLUE}bowline"),
        }
    }
}

/// `at src/main.rs:10:13`; or, where no line of the program is known, the purpose, and where the lock was made.
pub(in crate::deadlock) struct Place<'r> {
    site: Site,
    purpose: Option<Purpose>,
    resource: &'r Resource,
}

impl<'r> Place<'r> {
    pub(in crate::deadlock) fn of_hold(held: &'r Held) -> Self {
        Self { site: held.site, purpose: held.purpose, resource: &held.resource }
    }

    pub(in crate::deadlock) fn of_wait(wait: &'r Wait) -> Self {
        Self { site: wait.site, purpose: wait.purpose, resource: &wait.resource }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            None => return Line(self.site).fmt(f),
            Some(Purpose::Debug) => f.write_str("to format it with `{:?}`")?,
            Some(Purpose::Serialize) => f.write_str("to serialize it")?,
        }
        write!(f, " ({})", origin(self.resource))
    }
}

/// Returns a name in quotes, in which no line is broken.
fn quoted(name: &str) -> String {
    format!("'{}'", printable(name)).replace(' ', &GLUE.to_string())
}

/// Returns a user's text with the characters escaped that control a terminal, break a line or turn its direction.
pub(crate) fn printable(text: &str) -> String {
    let mut clean = String::new();
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// A duration in one unit, rounded down.
pub(crate) struct Humane(pub(crate) Duration);

impl Display for Humane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MICROSECOND: (&str, u128) = ("µs", 1_000);
        const LONGER: [(&str, u128); 4] =
            [("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];
        let nanos = self.0.as_nanos();
        let (unit, length) = LONGER.into_iter().find(|&(_, length)| nanos >= length).unwrap_or(MICROSECOND);
        let tenths = nanos * 10 / length;
        match (tenths / 10, tenths % 10) {
            (whole, tenth) if tenth != 0 && whole < 10 => write!(f, "{whole}.{tenth} {unit}"),
            (whole, _) => write!(f, "{whole} {unit}"),
        }
    }
}

/// Returns the primitive with the short name of its data's type, if it has data: `Lock<Vec<u64>>`.
fn full_type(resource: &Resource) -> String {
    if resource.data_type.is_empty() {
        return resource.primitive.to_owned();
    }
    format!("{}<{}>", resource.primitive, short_type(resource.data_type))
}

/// Returns a type's name without the modules: `alloc::vec::Vec<my::Account>` becomes `Vec<Account>`.
fn short_type(full: &str) -> String {
    let in_path = |c: char| c.is_alphanumeric() || "_:{}#".contains(c);
    let mut short = String::new();
    let mut rest = full;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !in_path(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let (path, tail) = rest.split_at(end);
        short += last_segment(path);
        rest = tail;
    }
    short
}

/// Returns the last name of a path, with the closures in it: `my::main::{{closure}}` becomes `main::{{closure}}`.
fn last_segment(path: &str) -> &str {
    if path.starts_with("::") {
        return path; // goes on after a generic type: `<A as B>::C`
    }
    let starts = path.match_indices("::").map(|(at, colons)| at + colons.len());
    let last = starts.filter(|&at| !path[at..].starts_with('{')).last();
    &path[last.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_shown_without_their_modules() {
        for (full, short) in [
            ("u64", "u64"),
            ("()", "()"),
            ("alloc::vec::Vec<my::mod::T>", "Vec<T>"),
            ("(a::B, &'static mut c::D<e::F>, [g::H; 3])", "(B, &'static mut D<F>, [H; 3])"),
            ("alloc::boxed::Box<dyn a::Tr<Out = b::C> + core::marker::Send>", "Box<dyn Tr<Out = C> + Send>"),
            ("my::main::{{closure}}", "main::{{closure}}"),
            ("my::main::{{closure}}::{{closure}}", "main::{{closure}}::{{closure}}"),
            ("my::run<my::T>::{{closure}}", "run<T>::{{closure}}"),
            ("my::main::{{closure}}::Local", "Local"),
            ("<my::A as my::B>::C", "<A as B>::C"),
            ("fn(a::B) -> *const c::D", "fn(B) -> *const D"),
            ("größe::Maß", "Maß"),
            ("→::a", "→::a"),
        ] {
            assert_eq!(short_type(full), short);
        }
    }

    #[test]
    fn durations_are_rounded_down_to_one_unit() {
        for (nanos, shown) in [
            (0, "0 µs"),
            (950, "0.9 µs"),
            (999_999, "999 µs"),
            (1_000_000, "1 ms"),
            (1_299_999, "1.2 ms"),
            (59_999_999_999, "59 s"),
            (90_000_000_000, "1.5 min"),
            (7_200_000_000_000, "2 h"),
        ] {
            assert_eq!(Humane(Duration::from_nanos(nanos)).to_string(), shown);
        }
        assert_eq!(Humane(Duration::MAX).to_string(), "5124095576030431 h");
    }
}
