//! Reports as text, for a person at 3 a.m.
//!
//! One stable line that says what happened, a legend of what is waited for, a paragraph for each thread of the deadlock, a
//! line for each bystander, and help. A ring of threads that all do the same is one paragraph. No text ends with a line
//! break.

mod hazard;
mod headline;
mod help;
mod letters;
mod list;
mod names;
mod page;
mod ring;
mod style;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

pub(crate) use headline::ReportIn;
use help::help;
use list::list;
pub(in crate::deadlock) use names::Names;
pub(crate) use names::{Humane, printable};
use names::{Line, Place};
pub(in crate::deadlock) use page::GLUE;
use page::Page;
use ring::Ring;
pub(in crate::deadlock) use style::Style;
use style::{CARET, HEADLINE, HELP, SOURCE};

use super::author::Author;
use super::signature::Signature;
use super::source::Sources;
use super::{Held, LongWait, Report, Resource, StuckThread, Suspicion, Wait};
use crate::deadlock::graph::resource::{DESERIALIZED, Site};

/// More threads of a deadlock are named, not shown.
const MAX_THREADS: usize = 12;
/// More bystanders are named, not shown.
const MAX_BYSTANDERS: usize = 10;
/// More of what a thread holds is counted, not shown.
const MAX_HOLDS: usize = 16;

/// A width at which no line is broken. (A width that is formatted is at most 65,535.)
const ONE_LINE: usize = 60_000;

/// The indent of what belongs to a thread.
const INDENT: usize = 2;

/// Prints a report to standard error: one line if its lines were printed before.
pub(in crate::deadlock) fn print(report: &Report) {
    let style = Style::of_stderr();
    if let count @ 2.. = Signature::of_report(report).count() {
        let threads: Vec<_> = report.threads.iter().collect();
        let separator = if ring::is_chain(report) { " → " } else { ", " };
        // One thread is named by the headline.
        let names = if threads.len() > 1 { format!(": {}", list(&threads, separator)) } else { String::new() };
        return again(style, &(headline(report) + &names), count);
    }
    print_whole(report);
}

/// Prints the whole report to standard error.
pub(in crate::deadlock) fn print_whole(report: &Report) {
    let style = Style::of_stderr();
    let text = fmt::from_fn(|f| crate::deadlock::report::render::report(report, style, f));
    print_page(format_args!("{text:width$}", width = style.width()));
}

/// Prints a long wait to standard error: one line if its lines were printed before.
pub(in crate::deadlock) fn print_long_wait(wait: &LongWait) {
    let style = Style::of_stderr();
    if let count @ 2.. = Signature::of_long_wait(wait).count() {
        return again(style, &headline_of_long_wait(wait), count);
    }
    let text = fmt::from_fn(|f| long_wait(wait, style, f));
    print_page(format_args!("{text:width$}", width = style.width()));
}

/// Returns the first line of a long wait.
pub(in crate::deadlock) fn headline_of_long_wait(wait: &LongWait) -> String {
    let text = fmt::from_fn(|f| Renderer::of_long_wait(wait, Style::plain(), Sources::none(), f).long_wait(wait));
    let text = format!("{text:ONE_LINE$}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Returns a line, as a text shows it.
#[cfg(feature = "tracing")]
pub(in crate::deadlock) fn line(site: Site) -> String {
    let line = Line(site).to_string().replace(GLUE, " ");
    line.strip_prefix("at ").map_or(line.clone(), str::to_owned)
}

/// Returns a resource's name, or its type and the line that made it.
#[cfg(feature = "tracing")]
pub(in crate::deadlock) fn label(resource: &Resource) -> String {
    let names = Names::new(std::iter::empty(), std::iter::empty(), Style::plain());
    resource.name.map_or_else(|| names.resource(resource).replace(GLUE, " "), printable)
}

/// Prints a page, and an empty line behind it.
pub(super) fn print_page(text: fmt::Arguments<'_>) {
    crate::deadlock::print_line(format_args!("{text}\n"));
}

/// Prints that something happened again.
fn again(style: Style, headline: &str, count: u64) {
    let again = format!("(seen {count} times at these lines)");
    crate::deadlock::print_line(format_args!("{} {again}", style.paint(HEADLINE, headline)));
}

/// Returns the first line of a report.
pub(in crate::deadlock) fn headline(report: &Report) -> String {
    let names = Names::new(everybody(report), std::iter::empty(), Style::plain());
    names.headline(report).replace(GLUE, " ")
}

/// Renders a report.
pub(in crate::deadlock) fn report(report: &Report, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::of_report(report, style, Sources::new(), f).report(report)
}

/// Renders a long wait.
pub(in crate::deadlock) fn long_wait(wait: &LongWait, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::of_long_wait(wait, style, Sources::new(), f).long_wait(wait)
}

/// Renders what each of some threads waits for and holds, for a `debugger` with the numbers of the threads.
pub(in crate::deadlock) fn threads<'r>(
    threads: impl Iterator<Item = &'r StuckThread> + Clone,
    style: Style,
    debugger: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut names = Names::new(threads.clone(), threads.clone(), style);
    names.has_os_ids = debugger;
    Renderer { names, sources: Sources::new(), page: Page::new(f, style) }.threads(threads)
}

fn everybody(report: &Report) -> impl Iterator<Item = &StuckThread> + Clone {
    report.threads.iter().chain(&report.bystanders)
}

struct Renderer<'r, 'f, 'b> {
    names: Names<'r>,
    sources: Sources,
    page: Page<'f, 'b>,
}

impl<'r, 'f, 'b> Renderer<'r, 'f, 'b> {
    fn of_report(report: &'r Report, style: Style, sources: Sources, f: &'f mut fmt::Formatter<'b>) -> Self {
        let members = if Ring::of(report).is_some() { 0 } else { MAX_THREADS };
        let shown = report.threads.iter().take(members).chain(report.bystanders.iter().take(MAX_BYSTANDERS));
        Self { names: Names::new(everybody(report), shown, style), sources, page: Page::new(f, style) }
    }

    fn of_long_wait(wait: &'r LongWait, style: Style, sources: Sources, f: &'f mut fmt::Formatter<'b>) -> Self {
        let suspects = wait.waiter.suspicions.iter().map(|suspicion| &suspicion.waiter);
        let threads = std::iter::once(&wait.waiter).chain(&wait.owner).chain(suspects);
        Self { names: Names::new(threads, std::iter::empty(), style), sources, page: Page::new(f, style) }
    }

    fn threads<'t>(mut self, threads: impl Iterator<Item = &'t StuckThread>) -> fmt::Result {
        self.legend()?;
        for thread in threads {
            self.page.gap()?;
            self.thread(thread)?;
        }
        Ok(())
    }

    fn report(mut self, report: &Report) -> fmt::Result {
        let style = self.page.style;
        self.page.verbatim(0, &style.paint(HEADLINE, headline(report)))?;
        let ring = Ring::of(report);
        if self.names.has_letters() || ring.is_some() {
            self.page.gap()?;
        }
        self.legend()?;
        match &ring {
            Some(ring) => self.ring(ring)?,
            None => self.members(report)?,
        }
        self.bystanders(&report.bystanders, &report.threads)?;
        self.page.gap()?;
        let advice = help(report, &self.names, &mut self.sources);
        self.help(advice)
    }

    /// Renders advice, in lines.
    fn help(&mut self, advice: Vec<String>) -> fmt::Result {
        let style = self.page.style;
        let mark = "help: ";
        for (at, advice) in advice.into_iter().enumerate() {
            // Lines of a list have an indent of their own.
            let text = advice.trim_start();
            let hang = mark.len() + advice.len() - text.len();
            match at {
                0 => self.page.hanging(0, hang, &format!("{} {text}", style.paint(HELP, mark.trim_end())))?,
                _ => self.page.hanging(hang, hang + 2, text)?,
            }
        }
        Ok(())
    }

    fn legend(&mut self) -> fmt::Result {
        self.names.legend().iter().try_for_each(|line| self.page.line(INDENT, line))
    }

    fn members(&mut self, report: &Report) -> fmt::Result {
        for thread in report.threads.iter().take(MAX_THREADS) {
            self.page.gap()?;
            self.thread(thread)?;
        }
        let rest: Vec<_> = report.threads.iter().skip(MAX_THREADS).collect();
        if rest.is_empty() {
            return Ok(());
        }
        self.page.gap()?;
        let (separator, closing) =
            if ring::is_chain(report) { (" → ", report.threads.first()) } else { (", ", None) };
        let listed: Vec<_> = rest.iter().copied().chain(closing).collect();
        self.page.line(0, &format!("… and {}: {}", more(rest.len(), "thread"), list(&listed, separator)))
    }

    /// Renders those that are blocked by the deadlock, in a line for all that wait for one thing on one line.
    fn bystanders(&mut self, threads: &[StuckThread], members: &[StuckThread]) -> fmt::Result {
        if threads.is_empty() {
            return Ok(());
        }
        self.page.gap()?;
        self.page.line(0, "also blocked by this deadlock:")?;
        let mut holders = HashMap::new();
        for holder in members.iter().chain(threads) {
            holder.holds.iter().for_each(|held| _ = holders.entry(held.resource.identity()).or_insert(holder));
        }
        let what = |thread: &StuckThread| {
            let wait = thread.waits_for.as_ref()?;
            let wanted = self.names.wait(wait, Names::resource_and_type);
            let comma = if wait.process.is_some() { "," } else { "" };
            let holder = holders.get(&wait.resource.identity());
            let holder = holder.map_or(String::new(), |holder| {
                let held = find_hold(holder, &wait.resource).map_or("holds".to_owned(), |held| holds(held, ""));
                format!(", which {} {}", self.names.thread(holder), held.replace("  ", " ").trim_end())
            });
            Some(format!("{}{comma} {}{holder}", names::aim(wait, &wanted), Place::of_wait(wait)))
        };
        let mut groups: Vec<(Option<String>, Vec<&StuckThread>)> = Vec::new();
        let mut places = HashMap::new();
        for thread in threads {
            let wait = what(thread);
            let at = *places.entry(wait.clone()).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, group)) => group.push(thread),
                None => groups.push((wait, vec![thread])),
            }
        }
        let (shown, rest) = groups.split_at(groups.len().min(MAX_BYSTANDERS));
        for (wait, group) in shown {
            let text = match (group.as_slice(), wait) {
                ([only], None) => self.names.thread(only),
                ([only], Some(wait)) => format!("{} waits {wait}", self.names.thread(only)),
                (_, None) => list(group, ", "),
                (_, Some(wait)) => format!("{} threads wait {wait}: {}", group.len(), list(group, ", ")),
            };
            self.page.line(INDENT, &text)?;
        }
        let rest: Vec<_> = rest.iter().flat_map(|(_, group)| group).copied().collect();
        match rest.len() {
            0 => Ok(()),
            count => self.page.line(INDENT, &format!("… and {}: {}", more(count, "thread"), list(&rest, ", "))),
        }
    }

    /// Renders a ring of threads that all do the same.
    fn ring(&mut self, ring: &Ring<'_>) -> fmt::Result {
        let Ring { threads, wait, hold, task } = ring;
        self.page.gap_before(self.names.has_letters())?;
        let members: Vec<_> = threads.iter().chain(threads.first()).collect();
        self.page.line(0, "each thread waits for a lock that the next one holds:")?;
        self.page.line(INDENT, &list(&members, " → "))?;
        if let Some(task) = task {
            let kind = self.names.kind_and_name(&task.resource);
            self.page.line(INDENT, &format!("each runs {kind}, submitted{GLUE}{}", Line(task.submitted_at())))?;
        }
        let waited = threads.iter().filter_map(|thread| Some(thread.waits_for.as_ref()?.waited)).min();
        let kind = self.names.kind_and_name(&wait.resource);
        let waits = format!("each waits for a {kind} {}", Place::of_wait(wait));
        self.page.line(INDENT, &format!("{waits}, {}", at_least(waited.unwrap_or_default())))?;
        self.excerpt(INDENT, wait.site)?;
        self.page.line(INDENT, &format!("each took its own {}", Place::of_hold(hold)))?;
        self.excerpt(INDENT, hold.site)?;
        let made = names::origin(&wait.resource);
        self.page.line(INDENT, &format!("the {} locks were {made}", threads.len()))
    }

    fn long_wait(mut self, long: &LongWait) -> fmt::Result {
        let waiter = self.names.thread(&long.waiter);
        let Some(wait) = &long.waiter.waits_for else {
            return self.page.line(0, &format!("long wait: {waiter} waits no longer"));
        };
        let resource = self.names.wait(wait, Names::resource_and_type);
        let comma = if wait.process.is_some() { "," } else { "" };
        let aim = names::aim(wait, &resource);
        let headline = format!("long wait: {waiter} has waited {} {aim}{comma}", Humane(wait.waited));
        self.page.line(0, &format!("{headline} {}", Place::of_wait(wait)))?;
        self.excerpt(0, wait.site)?;
        let Some(owner) = &long.owner else {
            let suspicions = &long.waiter.suspicions;
            return match wait.signal {
                _ if wait.process.is_some() || wait.resource.is_thread() => Ok(()),
                None if wait.resource.is_once() => self.page.line(0, "nobody initialises it"),
                None => self.page.line(0, "the holder is not known"),
                Some(signal) if suspicions.is_empty() => {
                    self.page.line(0, &format!("{signal} may come from any thread"))
                }
                Some(signal) => suspicions.iter().try_for_each(|suspicion| self.suspicion(suspicion, signal, true)),
            };
        };
        let held = find_hold(owner, &wait.resource);
        let does = match held {
            _ if wait.resource.is_task() => "runs it".to_owned(),
            _ if wait.resource.is_thread() => "has not ended".to_owned(),
            Some(held) => holds(held, "it"),
            // A writer that waits for readers to leave keeps new ones out.
            None if owner.waits_for.as_ref().is_some_and(|wait| wait.is_next) => "is next".to_owned(),
            None if wait.resource.is_once() => "initialises it".to_owned(),
            None => "holds it".to_owned(),
        };
        let mut text = format!("{} {does}", self.names.thread(owner));
        if let Some(held) = held {
            text += &format!(", {}{GLUE}{}", taken(held), Place::of_hold(held));
        }
        self.page.line(0, &text)?;
        if let Some(held) = held {
            self.excerpt(0, held.site)?;
        }
        if let Some(wait) = &owner.waits_for {
            self.page.line(INDENT, &format!("and {}", self.waits(wait)))?;
            self.excerpt(INDENT, wait.site)?;
        }
        if let Some(activity) = owner.activity {
            self.page.line(INDENT, &format!("and {activity}"))?;
        }
        self.stack(owner)
    }

    /// Renders what a thread does and what it holds.
    fn thread(&mut self, thread: &StuckThread) -> fmt::Result {
        let mut text = self.names.thread(thread);
        match &thread.waits_for {
            Some(wait) => text += &format!(" {}", self.waits(wait)),
            None if thread.is_gone => text += " has ended",
            None => text += &thread.activity.map_or(String::new(), |activity| format!(" {activity}")),
        }
        self.page.line(0, &text)?;
        if let Some(wait) = &thread.waits_for {
            self.excerpt(0, wait.site)?;
        }
        if let Some(task) = thread.task.as_ref().filter(|task| !self.names.has_letter(&task.resource)) {
            self.page.line(INDENT, &format!("submitted{GLUE}{}", Line(task.submitted_at())))?;
            self.excerpt(INDENT, task.submitted_at())?;
        }
        let shown = self.shown_holds(thread);
        for (held, count) in self.alike(&shown) {
            self.hold(thread, held, count)?;
        }
        match thread.holds.len() + thread.omitted_holds - shown.len() {
            0 => {}
            rest => self.page.line(INDENT, &format!("… and {}", more(rest, "lock")))?,
        }
        let signal = thread.waits_for.as_ref().and_then(|wait| wait.signal).unwrap_or_default();
        for suspicion in &thread.suspicions {
            self.suspicion(suspicion, signal, false)?;
        }
        self.stack(thread)
    }

    /// Renders that a `signal` may have to come from a thread that waits for what its waiter holds, with the text of the
    /// lines if nothing else shows them.
    fn suspicion(&mut self, suspicion: &Suspicion, signal: &str, has_excerpts: bool) -> fmt::Result {
        let Suspicion { held, waiter, others } = suspicion;
        let resource = self.names.resource_and_type(&held.resource);
        let text = if held.resource.is_task() {
            format!("suspicion: it runs {resource} (submitted{GLUE}{})", Line(held.site))
        } else {
            format!("suspicion: it holds {resource} ({}{GLUE}{})", taken(held), Place::of_hold(held))
        };
        // Each line of the source behind the words that it belongs to.
        let mut text = if has_excerpts {
            self.page.line(INDENT, &format!("{text},"))?;
            self.excerpt(INDENT, held.site)?;
            "which".to_owned()
        } else {
            format!("{text}, which")
        };
        text += &format!(" {}", self.names.thread(waiter));
        text += &match others {
            0 => " waits for".to_owned(),
            1 => " and 1 other thread wait for".to_owned(),
            others => format!(" and {others} other threads wait for"),
        };
        if let Some(wait) = &waiter.waits_for {
            text += &format!(" {}", Place::of_wait(wait));
        }
        let indent = if has_excerpts { INDENT + 2 } else { INDENT };
        self.page.line(indent, &format!("{text}: {signal} may have to come from there"))?;
        if has_excerpts {
            waiter.waits_for.iter().try_for_each(|wait| self.excerpt(INDENT, wait.site))?;
        }
        Ok(())
    }

    /// Renders the calls that a thread is in, if they are known.
    fn stack(&mut self, thread: &StuckThread) -> fmt::Result {
        if thread.stack.is_empty() {
            return Ok(());
        }
        self.page.line(INDENT, "in these calls, the innermost first:")?;
        thread.backtrace().iter().try_for_each(|call| self.page.line(INDENT + 2, &printable(call)))
    }

    /// Returns the holds of a thread that are shown: in its order, or, if they are too many, those first that are
    /// waited for.
    fn shown_holds<'t>(&self, thread: &'t StuckThread) -> Vec<&'t Held> {
        if thread.holds.len() <= MAX_HOLDS {
            return thread.holds.iter().collect();
        }
        let (wanted, others): (Vec<_>, Vec<_>) =
            thread.holds.iter().partition(|held| self.names.is_wanted(&held.resource));
        wanted.into_iter().chain(others).take(MAX_HOLDS).collect()
    }

    /// Returns `waits for A 'ledger' at src/main.rs:10:13, for at least 2 ms`.
    fn waits(&self, wait: &Wait) -> String {
        let wanted = self.names.wait(wait, Names::resource_and_type);
        let wanted = names::aim(wait, &wanted);
        let comma = if wait.process.is_some() { "," } else { "" };
        let limit = if wait.timed { ", with a time-out" } else { "" };
        let next = if wait.is_next { "; new readers wait behind it" } else { "" };
        format!("waits {wanted}{comma} {}, {}{limit}{next}", Place::of_wait(wait), at_least(wait.waited))
    }

    /// Returns the holds, each with how many in a row there are of which nothing else could be said.
    fn alike<'t>(&self, shown: &[&'t Held]) -> Vec<(&'t Held, usize)> {
        let is_alike = |one: &&Held, other: &&Held| {
            let look = |held: &Held| {
                let resource = self.names.resource_and_type(&held.resource);
                (held.site, held.purpose, held.left_behind, held.permits, resource)
            };
            !self.names.is_wanted(&one.resource) && !self.names.is_wanted(&other.resource) && look(one) == look(other)
        };
        shown.chunk_by(is_alike).map(|alike| (alike[0], alike.len())).collect()
    }

    fn hold(&mut self, thread: &StuckThread, held: &Held, count: usize) -> fmt::Result {
        let is_wanted_here = |wait: &Wait| wait.resource.is_same(&held.resource);
        let before = match (&thread.waits_for, thread.is_gone) {
            (_, true) if held.is_initialisation() => "was initialising ",
            (_, true) => "still ",
            (Some(wait), false) if is_wanted_here(wait) => "and already ",
            (Some(_), false) => "and ",
            (None, false) => "",
        };
        let what = self.names.resource_and_type(&held.resource);
        let permits = match held.permits {
            _ if !held.resource.has_permits() => String::new(),
            1 => "a permit of ".to_owned(),
            permits => format!("{permits} permits of "),
        };
        let does = if thread.is_gone && held.is_initialisation() { what } else { holds(held, &(permits + &what)) };
        let mut text = before.to_owned() + &does;
        if let Some(waiters) = self.names.waiters(thread, &held.resource) {
            text += &format!(" ({waiters})");
        }
        text += &format!(", {}{GLUE}{}", taken(held), Place::of_hold(held));
        if count > 1 {
            text += &format!(", and {} more from the same line", count - 1);
        }
        self.page.line(INDENT, &text)?;
        self.excerpt(INDENT, held.site)
    }

    /// Renders the text of a line, where it is known, with a mark under the call.
    fn excerpt(&mut self, indent: usize, site: Site) -> fmt::Result {
        const MARGIN: &str = "| ";
        let indent = indent + 3;
        if site == DESERIALIZED || Author::of(site) != Author::Program {
            return Ok(());
        }
        let Some(excerpt) = self.sources.excerpt(site, self.page.room(indent + MARGIN.len())) else { return Ok(()) };
        let style = self.page.style;
        self.page.verbatim(indent, &style.paint(SOURCE, format_args!("{MARGIN}{}", excerpt.text)))?;
        let (before, marks) = (" ".repeat(excerpt.before), "^".repeat(excerpt.marked));
        let marks = style.paint(CARET, marks);
        self.page.verbatim(indent, &format!("{}{marks}", style.paint(SOURCE, format_args!("{MARGIN}{before}"))))
    }
}

/// Returns `1 more thread`, `2 more threads`.
fn more(count: usize, what: &str) -> String {
    format!("{count} more {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns `for at least 2 ms`, which is not broken.
fn at_least(waited: Duration) -> String {
    format!("for at least {}", Humane(waited)).replace(' ', &GLUE.to_string())
}

/// Returns the word before the line of a hold.
fn taken(held: &Held) -> &'static str {
    match held {
        Held { left_behind: true, .. } => "left behind by a task that took it",
        _ if held.is_initialisation() => "begun",
        _ => "taken",
    }
}

/// Returns `holds A`, or how it is held: `reads A`, `initialises A`.
fn holds(held: &Held, what: &str) -> String {
    match held.access {
        Some(access) => access.phrase_of_one(what),
        None if held.is_initialisation() => format!("initialises {what}"),
        None => format!("holds {what}"),
    }
}

fn find_hold<'t>(thread: &'t StuckThread, resource: &Resource) -> Option<&'t Held> {
    thread.holds.iter().find(|held| held.resource.is_same(resource))
}

#[cfg(test)]
pub(in crate::deadlock) mod tests;
