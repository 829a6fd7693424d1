//! Reports as text, for a person at 3 a.m.
//!
//! One stable line that says what happened, a paragraph for each thread of the deadlock, a line for each bystander, one
//! line of help. No text ends with a line break: each piece brings the one before it.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal};
use std::time::Duration;
use std::{env, ffi::OsString};

use super::report::{Held, Kind, LongWait, Report, Resource, StuckThread};
use super::resource::Site;
use super::source::{Sources, clip};

/// Deadlocks of more threads are shown in few lines each, without source text.
const MOST_PARAGRAPHS: usize = 16;
/// More bystanders are counted, not shown.
const MOST_BYSTANDERS: usize = 10;
/// A longer order of locks is shown by its ends.
const LONGEST_ORDER: usize = 4;
/// Longer names of types are cut.
const WIDEST_TYPE: usize = 80;

/// Colours or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colour: bool,
}

/// What the colours are for, as the parameters of their escape sequences.
const HEADLINE: &str = "1;31";
const NAME: &str = "1";
const SOURCE: &str = "2";
const HELP: &str = "36";

impl Style {
    /// Text without colours.
    pub(super) fn plain() -> Self {
        Self { colour: false }
    }

    /// Colours if standard error is a terminal where they are wanted.
    fn of_stderr() -> Self {
        Self { colour: io::stderr().is_terminal() && wants_colour(env::var_os("NO_COLOR"), env::var_os("TERM")) }
    }

    fn paint(self, colour: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn wants_colour(no_color: Option<OsString>, terminal: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty()) && terminal.is_none_or(|name| name != "dumb")
}

/// Prints a report to standard error.
pub(super) fn print(report: &Report) {
    struct Styled<'r>(&'r Report);
    impl Display for Styled<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self::report(self.0, Style::of_stderr(), f)
        }
    }
    super::print_line(format_args!("{}", Styled(report)));
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
        threads: impl Iterator<Item = &'r StuckThread>,
        style: Style,
        sources: Sources,
        out: &'f mut fmt::Formatter<'b>,
    ) -> Self {
        Self { names: Names::new(threads, style), sources, out }
    }

    fn report(mut self, report: &Report) -> fmt::Result {
        let style = std::mem::replace(&mut self.names.style, Style::plain());
        let headline = self.names.headline(report);
        self.names.style = style;
        self.out.write_str(&style.paint(HEADLINE, headline))?;
        self.core(&report.threads)?;
        self.bystanders(&report.bystanders)?;
        write!(self.out, "\n\n{} {}", style.paint(HELP, "help:"), self.names.help(report))
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
            if layout == Layout::Terse && !self.names.waiters.contains_key(&held.resource.key) {
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
}

fn find_hold<'t>(thread: &'t StuckThread, resource: &Resource) -> Option<&'t Held> {
    thread.holds.iter().find(|held| held.resource.is_same(resource))
}

/// Names for the threads and resources of one text, such that each means one of them.
pub(super) struct Names<'r> {
    style: Style,
    /// How many threads have a name.
    namesakes: HashMap<&'r str, usize>,
    /// Who waits for a resource, by its key.
    waiters: HashMap<usize, Vec<&'r StuckThread>>,
    /// The keys of the resources that look alike.
    lookalikes: HashMap<Look, Vec<usize>>,
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
    pub(super) fn new(threads: impl Iterator<Item = &'r StuckThread>, style: Style) -> Self {
        let mut names =
            Self { style, namesakes: HashMap::new(), waiters: HashMap::new(), lookalikes: HashMap::new() };
        for thread in threads {
            if let Some(name) = thread.name() {
                *names.namesakes.entry(name).or_default() += 1;
            }
            if let Some(wait) = &thread.waits_for {
                names.waiters.entry(wait.resource.key).or_default().push(thread);
            }
            let waited_for = thread.waits_for.iter().map(|wait| &wait.resource);
            for resource in waited_for.chain(thread.holds.iter().map(|held| &held.resource)) {
                let alike = names.lookalikes.entry(Look::of(resource)).or_default();
                if !alike.contains(&resource.key) {
                    alike.push(resource.key);
                }
            }
        }
        names
    }

    /// `thread 'left'`; with the number that debuggers show if there is no name, or if others have the same.
    pub(super) fn thread(&self, thread: &StuckThread) -> String {
        let (label, is_clear) = match thread.name() {
            Some(name) => (format!("thread '{}'", Printable(name)), self.namesakes.get(name) == Some(&1)),
            None => ("unnamed thread".to_owned(), false),
        };
        let label = self.style.paint(NAME, label);
        if is_clear || thread.os_id == 0 { label } else { format!("{label} (os id {})", thread.os_id) }
    }

    /// `'accounts'`, or `Lock<Vec<u64>> made at src/main.rs:10:13`; with a number if others look the same.
    pub(super) fn resource(&self, resource: &Resource) -> String {
        let mut label = match resource.name {
            Some(name) => format!("'{}'", Printable(name)),
            None => full_type(resource),
        };
        if let Some(number) = self.number(resource) {
            label += &format!(" #{number}");
        }
        let label = self.style.paint(NAME, label);
        if resource.name.is_some() { label } else { format!("{label} made at {}", resource.made_at) }
    }

    /// `'accounts' (Lock<Vec<u64>>)`, or `Lock<Vec<u64>> made at src/main.rs:10:13`.
    pub(super) fn resource_and_type(&self, resource: &Resource) -> String {
        let label = self.resource(resource);
        if resource.name.is_some() { format!("{label} ({})", full_type(resource)) } else { label }
    }

    /// The number of a resource among those that look the same, `None` if it is the only one.
    fn number(&self, resource: &Resource) -> Option<usize> {
        let alike = self.lookalikes.get(&Look::of(resource)).filter(|alike| alike.len() > 1)?;
        alike.iter().position(|&key| key == resource.key).map(|at| at + 1)
    }

    /// `thread 'left' waits for`, of the resource that `holder` holds.
    fn waiters(&self, holder: &StuckThread, resource: &Resource) -> Option<String> {
        match self.waiters.get(&resource.key)?.as_slice() {
            [] => None,
            [only] if std::ptr::eq(*only, holder) => Some("it waits for itself".to_owned()),
            [only] => Some(format!("{} waits for", self.thread(only))),
            [first, rest @ ..] => Some(format!("{} and {} more wait for", self.thread(first), rest.len())),
        }
    }

    fn headline(&self, report: &Report) -> String {
        let count = report.threads.len();
        let thread = |at: usize| report.threads.get(at).map_or("a thread".to_owned(), |thread| self.thread(thread));
        match report.kind {
            Kind::Relock => format!("deadlock: {} waits for a lock it holds itself", thread(0)),
            Kind::Cycle => format!("deadlock: {count} threads wait for each other"),
            Kind::Starvation => format!("deadlock: {count} tasks wait for workers that all wait"),
            Kind::Abandoned => {
                format!("deadlock: {} waits for a lock held by {}, which has ended", thread(0), thread(1))
            }
        }
    }

    /// What would have avoided the deadlock.
    fn help(&self, report: &Report) -> String {
        let first = report.threads.first();
        let resource = first.and_then(|thread| Some(&thread.waits_for.as_ref()?.resource));
        let taken = |thread: Option<&StuckThread>| {
            let held = thread.zip(resource).and_then(|(thread, resource)| find_hold(thread, resource));
            held.map_or(String::new(), |held| format!(" at {}", held.site))
        };
        match report.kind {
            Kind::Relock => {
                format!("release the guard taken{} before locking again, or use an `RLock`", taken(first))
            }
            Kind::Cycle => self.order(&report.threads),
            Kind::Starvation => "let the pool have more workers, or let no task wait for others in its pool".to_owned(),
            Kind::Abandoned => {
                let gone = report.threads.get(1);
                let name = gone.map_or("a thread".to_owned(), |gone| self.thread(gone));
                let leaked = "a guard was leaked (`mem::forget`, `leak`) by";
                format!("{leaked} {name}{}: let it drop before the thread ends", taken(gone))
            }
        }
    }

    /// An order of the locks of a cycle with which one thread alone does not comply.
    ///
    /// Each thread holds what the one before it waits for. So all but the first take the locks in the order in which
    /// the threads wait for them.
    fn order(&self, threads: &[StuckThread]) -> String {
        let locks: Vec<_> = threads.iter().filter_map(|thread| Some(&thread.waits_for.as_ref()?.resource)).collect();
        let (Some(thread), Some(last)) = (threads.first(), locks.last()) else { return String::new() };
        let order = if locks.iter().any(|lock| self.number(lock).is_some()) {
            "take these locks in one order everywhere, for example by index".to_owned()
        } else {
            let mut shown: Vec<_> = locks.iter().map(|lock| self.resource(lock)).collect();
            if shown.len() > LONGEST_ORDER {
                shown.splice(LONGEST_ORDER - 1..locks.len() - 1, ["…".to_owned()]);
            }
            format!("take {} everywhere", shown.join(" before "))
        };
        let at = find_hold(thread, last).map_or(String::new(), |held| format!(", at {}", held.site));
        format!(
            "{order}: {} takes {} first{at}; or use `acquire` and back off when it returns `Deadlock`",
            self.thread(thread),
            self.resource(last),
        )
    }
}

/// A user's text, its control characters escaped.
struct Printable<'t>(&'t str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

/// A duration in one unit, rounded down.
pub(super) struct Humane(pub(super) Duration);

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

/// The primitive with the short name of its data's type: `Lock<Vec<u64>>`.
fn full_type(resource: &Resource) -> String {
    clip(format!("{}<{}>", resource.primitive, short_type(resource.data_type)), WIDEST_TYPE)
}

/// A type's name without the modules: `alloc::vec::Vec<my::Account>` becomes `Vec<Account>`.
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

/// The last name of a path, with the closures in it: `my::main::{{closure}}` becomes `main::{{closure}}`.
fn last_segment(path: &str) -> &str {
    if path.starts_with("::") {
        return path; // goes on after a generic type: `<A as B>::C`
    }
    let starts = path.match_indices("::").map(|(at, colons)| at + colons.len());
    let last = starts.filter(|&at| !path[at..].starts_with('{')).last();
    &path[last.unwrap_or(0)..]
}
