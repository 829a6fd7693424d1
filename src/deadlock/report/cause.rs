//! Why a lock was still held where its thread waits, as far as the source tells.

use std::collections::{HashMap, HashSet};

use super::author::Author;
use super::source::Sources;
use super::syntax::{Call, Extent, Function, Syntax};
use super::{Held, Kind, Report, StuckThread, Wait};
use crate::deadlock::graph::resource::Site;

/// More pairs of lines are not looked at.
const MAX_PAIRS: usize = 12;

/// A lock that a thread of a deadlock holds for another one of it, or for itself, and the wait in which it holds it.
#[derive(Clone, Copy)]
pub(super) struct HoldAndWait<'r> {
    pub(super) thread: &'r StuckThread,
    pub(super) held: &'r Held,
    pub(super) wait: &'r Wait,
}

/// Why the lock was still held.
pub(super) enum Cause<'t> {
    /// Its guard is a temporary of this construct, in which its thread waits.
    Temporary(Extent<'t>),
    /// Its guard is kept by one function while the other one waits.
    Call { holder: Function<'t>, waiter: Function<'t> },
}

/// What the sources say of a deadlock.
#[derive(Default)]
pub(super) struct Causes<'r, 't> {
    pub(super) temporary: Option<(HoldAndWait<'r>, Extent<'t>)>,
    pub(super) call: Option<(HoldAndWait<'r>, Function<'t>, Function<'t>)>,
}

impl<'r, 't> Causes<'r, 't> {
    /// Returns the first cause of each kind, of these threads of a deadlock, in their order.
    ///
    /// Each file is read and cut into tokens once, which takes 8 ms for a megabyte.
    pub(super) fn of(
        report: &Report,
        threads: impl Iterator<Item = &'r StuckThread>,
        sources: &'t mut Sources,
    ) -> Self {
        let pairs: Vec<_> = holds_and_waits(report, threads).collect();
        let sites = |pair: &HoldAndWait<'_>| [pair.held.site, pair.wait.site];
        pairs.iter().flat_map(sites).for_each(|site| sources.load(site));
        let sources = &*sources;
        let mut files = HashMap::new();
        for site in pairs.iter().flat_map(sites) {
            files.entry(site.file()).or_insert_with(|| Syntax::of(sources.loaded(site)?));
        }
        let mut causes = Self { temporary: None, call: None };
        for pair in pairs {
            match cause(&files, pair) {
                Some(Cause::Temporary(extent)) if causes.temporary.is_none() => causes.temporary = Some((pair, extent)),
                Some(Cause::Call { holder, waiter }) if causes.call.is_none() => {
                    causes.call = Some((pair, holder, waiter))
                }
                _ => {}
            }
        }
        causes
    }
}

/// Returns the locks that threads of a deadlock hold and other threads of it, or they themselves, wait for; with the wait of
/// the holder. Of those at the same two lines, the first one.
fn holds_and_waits<'r>(
    report: &Report,
    threads: impl Iterator<Item = &'r StuckThread>,
) -> impl Iterator<Item = HoldAndWait<'r>> {
    let waits = report.threads.iter().filter_map(StuckThread::waits_for);
    let wanted: HashSet<_> = waits.map(|wait| wait.resource.identity()).collect();
    let is_told = |site: Site, is_for_trait: bool| !is_for_trait && Author::of(site) == Author::Program;
    let is_deadlock_of_locks = matches!(report.kind, Kind::Relock | Kind::Cycle);
    let pairs = threads
        .filter_map(|thread| Some((thread, thread.waits_for.as_ref()?)))
        .flat_map(|(thread, wait)| thread.holds.iter().map(move |held| HoldAndWait { thread, held, wait }));
    let mut seen = HashSet::new();
    pairs
        .filter(move |HoldAndWait { held, wait, .. }| {
            is_deadlock_of_locks
                && held.resource.is_lock()
                && !held.left_behind
                && wanted.contains(&held.resource.identity())
                && is_told(held.site, held.purpose.is_some())
                && is_told(wait.site, wait.purpose.is_some())
                && seen.insert((held.site, wait.site))
        })
        .take(MAX_PAIRS)
}

/// Returns why a lock was still held.
fn cause<'t>(files: &HashMap<&str, Option<Syntax<'t>>>, pair: HoldAndWait<'_>) -> Option<Cause<'t>> {
    let at = |site: Site| {
        let syntax = files.get(site.file())?.as_ref()?;
        let call = Call::at(syntax, site.line(), site.column())?;
        Some((syntax, call, Function::around(syntax, call)))
    };
    let (here, taken, holder) = at(pair.held.site)?;
    let (there, waits, waiter) = at(pair.wait.site)?;
    let [held_in, waits_in] = [holder, waiter].map(|function| function.map(|function| function.position()));
    // A closure may be in no function: in that of a static's value.
    if std::ptr::eq(here, there) && held_in == waits_in {
        return Extent::of(here, taken, waits).map(Cause::Temporary);
    }
    let (holder, waiter) = (holder?, waiter?);
    holder.keeps(here, taken).then_some(Cause::Call { holder, waiter })
}
