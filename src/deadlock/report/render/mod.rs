//! Reports as text, for a person at 3 a.m.
//!
//! One stable line that says what happened, a paragraph for each thread of the deadlock, a line for each bystander, one
//! line of help. No text ends with a line break: each piece begins with the break that ends the one before it.

mod help;
mod names;
mod style;

use std::fmt;

use help::help;
pub(crate) use names::{Humane, printable};
pub(super) use names::{Names, Place};
pub(super) use style::Style;
use style::{HEADLINE, HELP, SOURCE};

use super::source::Sources;
use super::{Held, Kind, LongWait, Report, Resource, StuckThread};
use crate::deadlock::graph::resource::{DESERIALIZED, Site};

/// A deadlock of more threads shows each of them in a few lines, without source text.
const MAX_PARAGRAPHS: usize = 16;
/// More threads of a deadlock are counted, not shown.
const MAX_THREADS: usize = 64;
/// More bystanders are counted, not shown.
const MAX_BYSTANDERS: usize = 10;
/// More of what a thread holds is counted, not shown.
const MAX_HOLDS: usize = 16;

/// Prints a report to standard error.
pub(in crate::deadlock) fn print(report: &Report) {
    crate::deadlock::print_line(format_args!(
        "{}",
        fmt::from_fn(|f| crate::deadlock::report::render::report(report, Style::of_stderr(), f))
    ));
}

/// Renders a report.
pub(in crate::deadlock) fn report(report: &Report, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::new(everybody(report), style, Sources::new(), f).report(report)
}

/// Renders a long wait.
pub(in crate::deadlock) fn long_wait(wait: &LongWait, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    Renderer::new(std::iter::once(&wait.waiter).chain(&wait.owner), style, Sources::new(), f).long_wait(wait)
}

/// Renders what each of some threads waits for and holds, in a line each.
pub(in crate::deadlock) fn threads<'r>(
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
        if threads.len() <= MAX_PARAGRAPHS {
            return threads.iter().try_for_each(|thread| {
                self.out.write_str("\n\n")?;
                self.thread(thread, Layout::Paragraph)
            });
        }
        self.out.write_str("\n")?;
        for thread in threads.iter().take(MAX_THREADS) {
            self.out.write_str("\n")?;
            self.thread(thread, Layout::Terse)?;
        }
        match threads.len().saturating_sub(MAX_THREADS) {
            0 => Ok(()),
            rest => write!(self.out, "\n… and {rest} more"),
        }
    }

    fn bystanders(&mut self, threads: &[StuckThread]) -> fmt::Result {
        self.out.write_str(if threads.is_empty() { "" } else { "\n" })?;
        for thread in threads.iter().take(MAX_BYSTANDERS) {
            write!(self.out, "\nalso stuck behind it: {}", self.names.thread(thread))?;
            if let Some(wait) = &thread.waits_for {
                let comma = if wait.resource.name.is_some() && wait.process.is_none() { "" } else { "," };
                let place = Place::of_wait(wait);
                write!(self.out, " waits for {}{comma} {place}", self.names.wait(wait, Names::resource))?;
            }
        }
        match threads.len().saturating_sub(MAX_BYSTANDERS) {
            0 => Ok(()),
            rest => write!(self.out, "\n… and {rest} more"),
        }
    }

    fn long_wait(mut self, long: &LongWait) -> fmt::Result {
        let Some(wait) = &long.waiter.waits_for else {
            return write!(self.out, "long wait: {} waits no longer", self.names.thread(&long.waiter));
        };
        let waiter = self.names.thread(&long.waiter);
        let resource = self.names.wait(wait, Names::resource);
        write!(self.out, "long wait: {waiter} has waited {} for {resource}", Humane(wait.waited))?;
        self.place(Layout::Paragraph, "", &Place::of_wait(wait))?;
        self.text(Layout::Paragraph, wait.site)?;
        let Some(owner) = &long.owner else {
            let is_told = wait.process.is_some();
            return self.out.write_str(if is_told { "" } else { "\nwho holds it is not known" });
        };
        let does = if wait.resource.is_task { "runs" } else { "holds" };
        write!(self.out, "\n{} {does} it", self.names.thread(owner))?;
        if let Some(held) = find_hold(owner, &wait.resource) {
            self.place(Layout::Paragraph, taken(held), &Place::of_hold(held))?;
            self.text(Layout::Paragraph, held.site)?;
        }
        if owner.waits_for.is_some() {
            self.out.write_str("\n  and")?;
        }
        self.state(owner, Layout::Paragraph)
    }

    /// Renders what a thread does and what it holds.
    fn thread(&mut self, thread: &StuckThread, layout: Layout) -> fmt::Result {
        self.out.write_str(&self.names.thread(thread))?;
        self.state(thread, layout)?;
        if let Some(task) = thread.task.as_ref().filter(|task| task.resource.name.is_some())
            && layout == Layout::Paragraph
        {
            // A task without a name is named by this line.
            write!(self.out, "\n  submitted at {}", task.resource.made_at)?;
            self.text(layout, task.resource.made_at)?;
        }
        let shown = self.shown_holds(thread, layout);
        shown.iter().try_for_each(|held| self.hold(thread, held, layout))?;
        match (thread.holds.len() + thread.omitted_holds - shown.len(), layout) {
            (0, _) => Ok(()),
            (rest, Layout::Terse) => write!(self.out, " (and holds {rest} more)"),
            (rest, _) => write!(self.out, "\n  … and {rest} more"),
        }
    }

    /// Returns the holds of a thread that are shown: in its order, or, if they are too many, those first that are
    /// waited for.
    fn shown_holds<'t>(&self, thread: &'t StuckThread, layout: Layout) -> Vec<&'t Held> {
        if layout != Layout::Terse && thread.holds.len() <= MAX_HOLDS {
            return thread.holds.iter().collect();
        }
        let (wanted, others): (Vec<_>, Vec<_>) =
            thread.holds.iter().partition(|held| self.names.is_wanted(&held.resource));
        let others = others.into_iter().filter(|_| layout != Layout::Terse);
        wanted.into_iter().chain(others).take(MAX_HOLDS).collect()
    }

    fn state(&mut self, thread: &StuckThread, layout: Layout) -> fmt::Result {
        let Some(wait) = &thread.waits_for else {
            return self.out.write_str(if thread.is_gone { " has ended" } else { "" });
        };
        write!(self.out, " waits for {}", self.names.wait(wait, Names::resource_and_type))?;
        self.place(layout, "", &Place::of_wait(wait))?;
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
        self.place(layout, taken(held), &Place::of_hold(held))?;
        self.text(layout, held.site)
    }

    fn place(&mut self, layout: Layout, word: &str, place: &Place<'_>) -> fmt::Result {
        let joint = if layout == Layout::Paragraph { "\n    " } else { ", " };
        write!(self.out, "{joint}{word}{place}")
    }

    /// Renders the source text of a line.
    fn text(&mut self, layout: Layout, site: Site) -> fmt::Result {
        if layout == Layout::Paragraph
            && site != DESERIALIZED
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
        let for_task =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_task);
        let for_pool =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_pool());
        let tasks = if !report.threads.is_empty() && report.threads.iter().all(|thread| thread.task.is_some()) {
            "task"
        } else {
            "thread"
        };
        let tasks = if count == 1 { format!("1 {tasks} waits") } else { format!("{count} {tasks}s wait") };
        match report.kind {
            Kind::Relock if for_task => format!("deadlock: {} waits for itself", thread(0)),
            Kind::Relock if for_pool => {
                format!("deadlock: {} waits for the end of a pool that it works for", thread(0))
            }
            Kind::Relock => format!("deadlock: {} waits for a lock it holds itself", thread(0)),
            Kind::Cycle => format!("deadlock: {tasks} for each other"),
            Kind::Starvation => format!("deadlock: {tasks} for workers that all wait"),
            Kind::Abandoned => {
                let what = if for_task { "task run" } else { "lock held" };
                format!("deadlock: {} waits for a {what} by {}, which has ended", thread(0), thread(1))
            }
        }
    }
}

fn taken(held: &Held) -> &'static str {
    if held.left_behind { "left behind by a task that took it " } else { "taken " }
}

fn find_hold<'t>(thread: &'t StuckThread, resource: &Resource) -> Option<&'t Held> {
    thread.holds.iter().find(|held| held.resource.is_same(resource))
}

#[cfg(test)]
pub(in crate::deadlock) mod tests;
