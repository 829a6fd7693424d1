//! Reports as text, for a person at 3 a.m.
//!
//! One stable line that says what happened, a paragraph for each thread of the deadlock, a line for each bystander, one
//! line of help. No text ends with a line break: each piece brings the one before it.

mod help;
mod names;
mod style;

use std::fmt;

use help::help;
pub(super) use names::{Humane, Names};
pub(super) use style::Style;
use style::{HEADLINE, HELP, SOURCE};

use super::report::{Held, Kind, LongWait, Report, Resource, StuckThread};
use super::resource::Site;
use super::source::Sources;

/// Deadlocks of more threads are shown in few lines each, without source text.
const MOST_PARAGRAPHS: usize = 16;
/// More bystanders are counted, not shown.
const MOST_BYSTANDERS: usize = 10;

/// Prints a report to standard error.
pub(super) fn print(report: &Report) {
    super::print_line(format_args!("{}", fmt::from_fn(|f| self::report(report, Style::of_stderr(), f))));
}

/// Renders a report.
pub(super) fn report(report: &Report, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::new(everybody(report), style, Sources::new(), f).report(report)
}

/// Renders a long wait.
pub(super) fn long_wait(wait: &LongWait, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::new(std::iter::once(&wait.waiter).chain(&wait.owner), style, Sources::new(), f).long_wait(wait)
}

/// Renders what each of some threads waits for and holds, in a line each.
pub(super) fn threads<'r>(
    threads: impl Iterator<Item = &'r StuckThread> + Clone,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut renderer = Renderer::new(threads.clone(), Style::plain(), Sources::none(), f);
    for (at, thread) in threads.enumerate() {
        renderer.out.write_str(if at == 0 { "" } else { "\n" })?;
        renderer.thread(thread, Layout::Lines)?;
    }
    Ok(())
}

fn everybody(report: &Report) -> impl Iterator<Item = &StuckThread> + Clone {
    report.threads.iter().chain(&report.bystanders)
}

/// How much is shown of a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Each line of the program below what it does, with its text.
    Paragraph,
    /// A line for the wait and for each hold.
    Lines,
    /// The same, without the holds that nobody waits for.
    Terse,
}

struct Renderer<'r, 'f, 'b> {
    names: Names<'r>,
    sources: Sources,
    out: &'f mut fmt::Formatter<'b>,
}

impl<'r, 'f, 'b> Renderer<'r, 'f, 'b> {
    fn new(
        threads: impl Iterator<Item = &'r StuckThread> + Clone,
        style: Style,
        sources: Sources,
        out: &'f mut fmt::Formatter<'b>,
    ) -> Self {
        Self { names: Names::new(threads, style), sources, out }
    }

    fn report(mut self, report: &Report) -> fmt::Result {
        let style = std::mem::replace(&mut self.names.style, Style::plain());
        let headline = self.headline(report);
        self.names.style = style;
        self.out.write_str(&style.paint(HEADLINE, headline))?;
        self.core(&report.threads)?;
        self.bystanders(&report.bystanders)?;
        write!(self.out, "\n\n{} {}", style.paint(HELP, "help:"), help(report, &self.names))
    }

    fn core(&mut self, threads: &[StuckThread]) -> fmt::Result {
        if threads.len() <= MOST_PARAGRAPHS {
            return threads.iter().try_for_each(|thread| {
                self.out.write_str("\n\n")?;
                self.thread(thread, Layout::Paragraph)
            });
        }
        self.out.write_str("\n")?;
        threads.iter().try_for_each(|thread| {
            self.out.write_str("\n")?;
            self.thread(thread, Layout::Terse)
        })
    }

    fn bystanders(&mut self, threads: &[StuckThread]) -> fmt::Result {
        self.out.write_str(if threads.is_empty() { "" } else { "\n" })?;
        for thread in threads.iter().take(MOST_BYSTANDERS) {
            write!(self.out, "\nalso stuck behind it: {}", self.names.thread(thread))?;
            if let Some(wait) = &thread.waits_for {
                let comma = if wait.resource.name.is_some() { "" } else { "," };
                write!(self.out, " waits for {}{comma} at {}", self.names.resource(&wait.resource), wait.site)?;
            }
        }
        match threads.len().saturating_sub(MOST_BYSTANDERS) {
            0 => Ok(()),
            rest => write!(self.out, "\n… and {rest} more"),
        }
    }

    fn long_wait(mut self, long: &LongWait) -> fmt::Result {
        let Some(wait) = &long.waiter.waits_for else {
            return write!(self.out, "long wait: {} waits no longer", self.names.thread(&long.waiter));
        };
        let waiter = self.names.thread(&long.waiter);
        let resource = self.names.resource(&wait.resource);
        write!(self.out, "long wait: {waiter} has waited {} for {resource}", Humane(wait.waited))?;
        self.site(Layout::Paragraph, "at", wait.site)?;
        self.text(Layout::Paragraph, wait.site)?;
        let Some(owner) = &long.owner else {
            return self.out.write_str("\nwho holds it is not known");
        };
        write!(self.out, "\n{} holds it", self.names.thread(owner))?;
        if let Some(held) = find_hold(owner, &wait.resource) {
            self.site(Layout::Paragraph, "taken at", held.site)?;
            self.text(Layout::Paragraph, held.site)?;
        }
        if owner.waits_for.is_some() {
            self.out.write_str("\n  and")?;
        }
        self.state(owner, Layout::Paragraph)
    }

    /// What a thread does and what it holds.
    fn thread(&mut self, thread: &StuckThread, layout: Layout) -> fmt::Result {
        self.out.write_str(&self.names.thread(thread))?;
        self.state(thread, layout)?;
        let mut left_out = 0;
        for held in &thread.holds {
            if layout == Layout::Terse && !self.names.is_wanted(&held.resource) {
                left_out += 1;
            } else {
                self.hold(thread, held, layout)?;
            }
        }
        if left_out == 0 { Ok(()) } else { write!(self.out, " (and holds {left_out} more)") }
    }

    fn state(&mut self, thread: &StuckThread, layout: Layout) -> fmt::Result {
        let Some(wait) = &thread.waits_for else {
            return self.out.write_str(if thread.is_gone { " has ended" } else { "" });
        };
        write!(self.out, " waits for {}", self.names.resource_and_type(&wait.resource))?;
        self.site(layout, "at", wait.site)?;
        write!(self.out, ", for at least {}", Humane(wait.waited))?;
        self.out.write_str(if wait.timed { ", with a time-out" } else { "" })?;
        self.text(layout, wait.site)
    }

    fn hold(&mut self, thread: &StuckThread, held: &Held, layout: Layout) -> fmt::Result {
        let verb = match (&thread.waits_for, thread.is_gone) {
            (_, true) => "still holds",
            (Some(_), false) => "and holds",
            (None, false) => "holds",
        };
        write!(self.out, "\n  {verb} {}", self.names.resource_and_type(&held.resource))?;
        if let Some(waiters) = self.names.waiters(thread, &held.resource) {
            write!(self.out, ", which {waiters}")?;
        }
        self.site(layout, "taken at", held.site)?;
        self.text(layout, held.site)
    }

    fn site(&mut self, layout: Layout, word: &str, site: Site) -> fmt::Result {
        let joint = if layout == Layout::Paragraph { "\n    " } else { ", " };
        write!(self.out, "{joint}{word} {site}")
    }

    /// The source text of a line.
    fn text(&mut self, layout: Layout, site: Site) -> fmt::Result {
        if layout == Layout::Paragraph
            && let Some(text) = self.sources.line(site)
        {
            write!(self.out, "\n     {}", self.names.style.paint(SOURCE, format_args!("| {text}")))?;
        }
        Ok(())
    }

    fn headline(&self, report: &Report) -> String {
        let count = report.threads.len();
        let thread =
            |at: usize| report.threads.get(at).map_or("a thread".to_owned(), |thread| self.names.thread(thread));
        match report.kind {
            Kind::Relock => format!("deadlock: {} waits for a lock it holds itself", thread(0)),
            Kind::Cycle => format!("deadlock: {count} threads wait for each other"),
            Kind::Starvation => format!("deadlock: {count} tasks wait for workers that all wait"),
            Kind::Abandoned => {
                format!("deadlock: {} waits for a lock held by {}, which has ended", thread(0), thread(1))
            }
        }
    }
}

fn find_hold<'t>(thread: &'t StuckThread, resource: &Resource) -> Option<&'t Held> {
    thread.holds.iter().find(|held| held.resource.is_same(resource))
}

#[cfg(test)]
pub(super) mod tests {
    use std::panic::Location;
    use std::time::Duration;

    use super::*;
    use crate::deadlock::report::Wait;

    pub(in crate::deadlock) const A: Site = Location::caller();
    pub(in crate::deadlock) const B: Site = Location::caller();
    pub(in crate::deadlock) const C: Site = Location::caller();
    const D: Site = Location::caller();
    const MADE: Site = Location::caller();
    const MADE_TOO: Site = Location::caller();

    pub(in crate::deadlock) fn lock(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
        Resource { key, name, primitive: "Lock", data_type: "alloc::vec::Vec<u64>", made_at }
    }

    pub(in crate::deadlock) fn thread(name: &str, os_id: u32) -> StuckThread {
        let name = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        StuckThread { name, os_id, is_gone: false, waits_for: None, holds: Vec::new() }
    }

    impl StuckThread {
        pub(in crate::deadlock) fn waits(mut self, resource: &Resource, site: Site) -> Self {
            let waited = Duration::from_micros(1250);
            self.waits_for = Some(Wait { resource: resource.clone(), site, waited, timed: false });
            self
        }

        pub(in crate::deadlock) fn holding(mut self, resource: &Resource, site: Site) -> Self {
            self.holds.push(Held { resource: resource.clone(), site });
            self
        }

        fn gone(self) -> Self {
            Self { is_gone: true, ..self }
        }
    }

    fn made(kind: Kind, threads: impl Into<Vec<StuckThread>>, bystanders: Vec<StuckThread>) -> Report {
        Report { kind, threads: threads.into(), bystanders }
    }

    fn named() -> [Resource; 3] {
        [lock(1, Some("a"), MADE), lock(2, Some("b"), MADE), lock(3, Some("c"), MADE)]
    }

    /// A ring of `size` threads and locks, named by `name`.
    pub(super) fn ring(size: usize, name: Option<&'static str>) -> Report {
        let locks: Vec<_> = (0..size).map(|key| lock(key, name, MADE)).collect();
        let member =
            |at: usize| thread(&format!("t{at}"), 0).waits(&locks[at], A).holding(&locks[(at + size - 1) % size], B);
        made(Kind::Cycle, (0..size).map(member).collect::<Vec<_>>(), Vec::new())
    }

    fn rendered(report: &Report, style: Style, sources: fn() -> Sources) -> String {
        let text = fmt::from_fn(|f| Renderer::new(everybody(report), style, sources(), f).report(report));
        text.to_string()
    }

    /// A report without source text, which the tests have to themselves.
    fn text(report: &Report) -> String {
        rendered(report, Style::plain(), Sources::none)
    }

    fn text_of_wait(wait: &LongWait) -> String {
        let threads = || std::iter::once(&wait.waiter).chain(&wait.owner);
        fmt::from_fn(|f| Renderer::new(threads(), Style::plain(), Sources::none(), f).long_wait(wait)).to_string()
    }

    #[test]
    fn two_named_locks_taken_in_opposite_orders() {
        let [a, b, _] = named();
        let right = thread("right", 2).waits(&a, B).holding(&b, A);
        let left = thread("left", 1).waits(&b, D).holding(&a, C);
        let expected = format!(
            "deadlock: 2 threads wait for each other

thread 'right' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms
  and holds 'b' (Lock<Vec<u64>>), which thread 'left' waits for
    taken at {A}

thread 'left' waits for 'b' (Lock<Vec<u64>>)
    at {D}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which thread 'right' waits for
    taken at {C}

help: take these locks in one order everywhere: thread 'left' takes 'a' before 'b', at {C}; \
thread 'right' takes 'b' before 'a', at {A}; \
or use `acquire` and back off when it returns `Deadlock`"
        );
        assert_eq!(text(&made(Kind::Cycle, [right, left], Vec::new())), expected);
    }

    #[test]
    fn unnamed_threads_and_locks_are_told_by_type_and_line() {
        let (a, b) = (lock(1, None, MADE), lock(2, None, MADE_TOO));
        let right = thread("", 4711).waits(&a, B).holding(&b, A);
        let left = thread("", 0).waits(&b, D).holding(&a, C);
        let expected = format!(
            "deadlock: 2 threads wait for each other

unnamed thread (os id 4711) waits for Lock<Vec<u64>> made at {MADE}
    at {B}, for at least 1.2 ms
  and holds Lock<Vec<u64>> made at {MADE_TOO}, which unnamed thread waits for
    taken at {A}

unnamed thread waits for Lock<Vec<u64>> made at {MADE_TOO}
    at {D}, for at least 1.2 ms
  and holds Lock<Vec<u64>> made at {MADE}, which unnamed thread (os id 4711) waits for
    taken at {C}

help: take these locks in one order everywhere: \
unnamed thread takes Lock<Vec<u64>> made at {MADE} before Lock<Vec<u64>> made at {MADE_TOO}, at {C}; \
unnamed thread (os id 4711) takes Lock<Vec<u64>> made at {MADE_TOO} before Lock<Vec<u64>> made at {MADE}, at {A}; \
or use `acquire` and back off when it returns `Deadlock`"
        );
        assert_eq!(text(&made(Kind::Cycle, [right, left], Vec::new())), expected);
    }

    #[test]
    fn three_threads_with_bystanders() {
        let [a, b, c] = named();
        let unnamed = lock(4, None, MADE);
        let core = [
            thread("x", 1).waits(&a, A).holding(&c, B),
            thread("y", 2).waits(&b, A).holding(&a, B).holding(&unnamed, D),
            thread("z", 3).waits(&c, A).holding(&b, B),
        ];
        let bystanders = vec![thread("w1", 4).waits(&b, C), thread("w2", 5).waits(&unnamed, C)];
        let expected = format!(
            "deadlock: 3 threads wait for each other

thread 'x' waits for 'a' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'c' (Lock<Vec<u64>>), which thread 'z' waits for
    taken at {B}

thread 'y' waits for 'b' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which thread 'x' waits for
    taken at {B}
  and holds Lock<Vec<u64>> made at {MADE}, which thread 'w2' waits for
    taken at {D}

thread 'z' waits for 'c' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'b' (Lock<Vec<u64>>), which thread 'y' and 1 more wait for
    taken at {B}

also stuck behind it: thread 'w1' waits for 'b' at {C}
also stuck behind it: thread 'w2' waits for Lock<Vec<u64>> made at {MADE}, at {C}

help: take these locks in one order everywhere: thread 'y' takes 'a' before 'b', at {B}; \
thread 'z' takes 'b' before 'c', at {B}; thread 'x' takes 'c' before 'a', at {B}; \
or use `acquire` and back off when it returns `Deadlock`"
        );
        assert_eq!(text(&made(Kind::Cycle, core, bystanders)), expected);
    }

    #[test]
    fn a_lock_taken_twice_by_one_thread() {
        let [a, ..] = named();
        let expected = format!(
            "deadlock: thread 'main' waits for a lock it holds itself

thread 'main' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which it waits for itself
    taken at {A}

help: release the guard taken at {A} before locking again, or use an `RLock`"
        );
        let main = thread("main", 1).waits(&a, B).holding(&a, A);
        assert_eq!(text(&made(Kind::Relock, [main], Vec::new())), expected);
    }

    #[test]
    fn a_lock_of_a_thread_that_has_ended() {
        let [a, ..] = named();
        let expected = format!(
            "deadlock: thread 'x' waits for a lock held by thread 'y', which has ended

thread 'x' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms

thread 'y' has ended
  still holds 'a' (Lock<Vec<u64>>), which thread 'x' waits for
    taken at {A}

help: a guard was leaked (`mem::forget`, `leak`) by thread 'y' at {A}: let it drop before the thread ends"
        );
        let threads = [thread("x", 1).waits(&a, B), thread("y", 2).holding(&a, A).gone()];
        assert_eq!(text(&made(Kind::Abandoned, threads, Vec::new())), expected);
    }

    #[test]
    fn locks_and_threads_that_look_alike_are_numbered() {
        for (name, label) in [(Some("fork"), "'fork' #"), (None, "Lock<Vec<u64>> #")] {
            let mut report = ring(3, name);
            for (at, thread) in report.threads.iter_mut().enumerate() {
                (thread.name, thread.os_id) = (Some("worker".into()), 70 + at as u32);
            }
            let text = text(&report);
            assert!(text.contains(&format!("\nthread 'worker' (os id 71) waits for {label}2")), "{text}");
            assert!(text.contains(&format!("  and holds {label}1")), "{text}");
            assert!(text.contains("help: take these locks in one order everywhere, for example by index: "), "{text}");
        }
    }

    #[test]
    fn every_member_of_a_long_ring_is_named_in_two_lines() {
        let mut report = ring(MOST_PARAGRAPHS + 1, Some("fork"));
        let unwanted = lock(1000, None, MADE_TOO);
        report.threads[16].holds.extend([(); 2].map(|()| Held { resource: unwanted.clone(), site: C }));
        let text = text(&report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 2 * 17 + 2, "{text}");
        let alike = "(Lock<Vec<u64>>), which thread 't15' waits for, taken at";
        assert_eq!(
            lines[34],
            format!("thread 't16' waits for 'fork' #17 (Lock<Vec<u64>>), at {A}, for at least 1.2 ms")
        );
        assert_eq!(lines[35], format!("  and holds 'fork' #16 {alike} {B} (and holds 2 more)"));
    }

    #[test]
    fn many_bystanders_are_counted() {
        let [a, ..] = named();
        let bystanders = |count: usize| (0..count).map(|at| thread(&format!("w{at}"), 0).waits(&a, A)).collect();
        let report = |count| text(&made(Kind::Cycle, ring(2, None).threads, bystanders(count)));
        assert_eq!(report(10).matches("also stuck behind it: ").count(), 10);
        assert!(!report(10).contains('…'));
        assert_eq!(report(33).matches("also stuck behind it: ").count(), 10);
        assert!(report(33).contains(&format!("thread 'w9' waits for 'a' at {A}\n… and 23 more\n\nhelp: ")));
    }

    #[test]
    fn a_long_wait_tells_the_owner_and_its_line() {
        let [a, b, c] = named();
        let waiter = thread("x", 1).waits(&a, B);
        let owner = thread("y", 2).waits(&b, C).holding(&c, D).holding(&a, A);
        let first = format!("long wait: thread 'x' has waited 1.2 ms for 'a'\n    at {B}\n");
        let long = LongWait { waiter: waiter.clone(), owner: Some(owner) };
        let holds = format!("thread 'y' holds it\n    taken at {A}\n");
        let waits = format!("  and waits for 'b' (Lock<Vec<u64>>)\n    at {C}, for at least 1.2 ms");
        assert_eq!(text_of_wait(&long), format!("{first}{holds}{waits}"));
        let long = LongWait { waiter: waiter.clone(), owner: Some(thread("y", 2).holding(&a, A)) };
        assert_eq!(text_of_wait(&long), format!("{first}{}", holds.trim_end()));
        let long = LongWait { waiter, owner: None };
        assert_eq!(text_of_wait(&long), format!("{first}who holds it is not known"));
    }

    /// All kinds, with names that try to break out of their line.
    fn assorted() -> Vec<Report> {
        let hostile = lock(9, Some("a\x1b[0m\r\nb"), MADE);
        let threads = || vec![thread("x\n\x1b[31my", 3).waits(&hostile, A).holding(&hostile, B), thread("", 7).gone()];
        let kinds = [Kind::Relock, Kind::Cycle, Kind::Starvation, Kind::Abandoned];
        let mut reports = kinds.map(|kind| made(kind, threads(), threads())).to_vec();
        reports.extend(kinds.map(|kind| made(kind, [], Vec::new())));
        reports.extend([ring(2, None), ring(20, Some("fork"))]);
        reports
    }

    #[test]
    fn colours_add_nothing_but_escapes() {
        for report in assorted() {
            let coloured = rendered(&report, Style::coloured(), Sources::new);
            let mut parts = coloured.split('\x1b');
            let mut stripped = parts.next().unwrap().to_owned();
            parts.for_each(|part| stripped += part.split_once('m').unwrap().1);
            assert_eq!(stripped, rendered(&report, Style::plain(), Sources::new));
            assert!(coloured.starts_with("\x1b[1;31mdeadlock: "), "{coloured}");
        }
    }

    #[test]
    fn lines_never_end_in_blanks_and_there_is_one_line_of_help() {
        for report in assorted() {
            let text = rendered(&report, Style::plain(), Sources::new);
            assert!(text.split('\n').all(|line| line == line.trim_end()), "{text:?}");
            assert!(text.lines().last().unwrap().starts_with("help: "), "{text}");
            assert_eq!(text.matches("help: ").count(), 1, "{text}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn source_text_is_shown_where_it_is_known() {
        let [a, ..] = named();
        let report = made(Kind::Relock, [thread("main", 1).waits(&a, B).holding(&a, A)], Vec::new());
        let text = rendered(&report, Style::plain(), Sources::new);
        assert!(
            text.contains("1.2 ms\n     | pub(in crate::deadlock) const B: Site = Location::caller();\n  and"),
            "{text}"
        );
        assert!(text.contains(" const A: Site = Location::caller();\n\nhelp: "), "{text}");
    }
}
