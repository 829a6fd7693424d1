//! Hazards as text: what the thread asks for, what it holds, and what to do instead.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "tracing")]
use super::ONE_LINE;
use super::names::{Names, Place};
use super::page::{GLUE, Page};
use super::style::HEADLINE;
use super::{Renderer, Sources, Style, print_page};
use crate::deadlock::graph::resource::HoldMode;
use crate::deadlock::report::{Hazard, HazardKind, StuckThread, Wait};

/// Prints a hazard to standard error.
fn print_hazard(hazard: &Hazard) {
    let style = Style::of_stderr();
    let text = fmt::from_fn(|f| self::hazard(hazard, style, f));
    print_page(format_args!("{text:width$}", width = style.width()));
}

/// Returns the first line of a hazard.
#[cfg(feature = "tracing")]
fn headline_of_hazard(hazard: &Hazard) -> String {
    let text = fmt::from_fn(|f| render(hazard, Style::plain(), Sources::none(), f));
    let text = format!("{text:ONE_LINE$}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Renders a hazard.
fn hazard(hazard: &Hazard, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    render(hazard, style, Sources::new(), f)
}

/// Renders a hazard with the lines of these sources.
pub(super) fn render(hazard: &Hazard, style: Style, sources: Sources, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let thread = as_waiter(hazard);
    let names = Names::of_one(&thread, style);
    Renderer { names, sources, page: Page::new(f, style) }.hazard(hazard, &thread)
}

/// Returns the thread as one that waits for what it asks for.
fn as_waiter(hazard: &Hazard) -> StuckThread {
    let wait = Wait {
        resource: hazard.wanted.clone(),
        site: hazard.site,
        access: None,
        is_next: false,
        signal: None,
        joined: None,
        purpose: hazard.purpose,
        waited: Duration::ZERO,
        timed: false,
        queued_in: None,
        process: None,
        others: 0,
        thread_id: None,
        span: None,
    };
    StuckThread {
        context: 0,
        suspicions: Vec::new(),
        name: hazard.thread_name.clone(),
        os_id: hazard.os_id,
        is_gone: false,
        is_in_place: hazard.is_in_place,
        task: hazard.task.clone(),
        pool: None,
        waits_for: Some(wait),
        holds: vec![hazard.held.clone()],
        omitted_holds: 0,
        activity: None,
        stack: Default::default(),
    }
}

/// Returns the rank of a lock that has one.
fn rank(of: Option<u16>) -> u16 {
    of.unwrap_or_default()
}

impl Renderer<'_, '_, '_> {
    fn hazard(mut self, hazard: &Hazard, thread: &StuckThread) -> fmt::Result {
        let style = self.page.style;
        let name = self.names.thread_in_headline(thread);
        let (wanted, held) = (rank(hazard.wanted.rank), rank(hazard.held.resource.rank));
        let headline = match hazard.kind {
            HazardKind::RepeatedRead => format!("hazard: {name} reads a lock that it reads already"),
            HazardKind::Rank => {
                format!("hazard: {name} takes a lock of rank {wanted} while it holds one of rank {held}")
            }
        };
        self.page.verbatim(0, &style.paint(HEADLINE, headline.replace(GLUE, " ")))?;
        self.page.gap()?;
        self.legend()?;
        self.page.gap()?;
        let lock = self.names.resource_and_type(&hazard.wanted);
        let asks = match hazard.mode {
            HoldMode::Read => format!("to read {lock}"),
            HoldMode::UpgradableRead => format!("to read {lock} upgradably"),
            HoldMode::Write => format!("to write {lock}"),
            _ if hazard.is_again => format!("for {lock} again, after a wait that releases it,"),
            _ => format!("for {lock}"),
        };
        let place = thread.waits_for.as_ref().map_or(String::new(), |wait| Place::of_wait(wait).to_string());
        self.page.line(0, &format!("{} asks {asks} {place}", self.names.thread(thread)))?;
        self.excerpt(0, hazard.site)?;
        self.hold(thread, &hazard.held, 1)?;
        self.page.gap()?;
        let advice = self.advice(hazard);
        self.help(advice)
    }

    /// Returns what to do instead, in lines.
    fn advice(&self, hazard: &Hazard) -> Vec<String> {
        let [wanted, held] = [&hazard.wanted, &hazard.held.resource].map(|lock| self.names.resource(lock));
        match hazard.kind {
            HazardKind::RepeatedRead => vec![
                match hazard.mode {
                    HoldMode::UpgradableRead => "let the first guard go before this read, or begin with `upgradable_read`",
                    _ => "call `read_recursive` here, or let the first guard go before this read",
                }
                .to_owned(),
                "otherwise a writer that comes between the two reads waits for the first, and the second for that writer"
                    .to_owned(),
            ],
            HazardKind::Rank if hazard.is_again && hazard.mode == HoldMode::Write => {
                vec![format!("let {held} go before {wanted} is upgraded, or begin with `write`")]
            }
            HazardKind::Rank if hazard.is_again => vec![format!("let {held} go before this wait")],
            HazardKind::Rank if hazard.wanted.rank == hazard.held.resource.rank => vec![format!(
                "locks of one rank are never held together: give {wanted} or {held} another rank, and take the lower one first"
            )],
            HazardKind::Rank => {
                vec![format!("take locks in the order of their ranks, the lowest first: {wanted} before {held}")]
            }
        }
    }
}

impl Hazard {
    /// Returns the first line of the text.
    #[cfg(feature = "tracing")]
    pub(in crate::deadlock) fn headline(&self) -> String {
        headline_of_hazard(self)
    }

    /// Prints the hazard to standard error.
    pub(in crate::deadlock) fn print(&self) {
        print_hazard(self);
    }

    /// Panics with the hazard as the message.
    #[cold]
    #[track_caller]
    pub(in crate::deadlock) fn raise(&self) -> ! {
        panic!("{self}")
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hazard(self, Style::plain(), f)
    }
}
