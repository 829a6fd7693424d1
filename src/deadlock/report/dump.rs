//! What a process prints that is asked why it hangs.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::render::{Style, print_page};
use super::snapshot::{WaitForGraph, snapshot};
use crate::deadlock::detector;
use crate::deadlock::graph::Graph;
use crate::deadlock::policy::{self, Policy};

/// Prints a [`snapshot`] to standard error, in one write, below a line with the process, the time, and how many threads wait:
/// of them, how many are part of a deadlock.
///
/// A thread that holds something and waits for nothing of this crate's is shown with what the system says that it does:
/// that it runs, or is blocked outside of this crate, and where (on Linux).
///
/// This function is part of every program that links this crate, whether it is called or not, so that a debugger can call
/// it: see the [module's documentation](crate::deadlock#debuggers).
///
/// # Examples
///
/// ```
/// bowline::deadlock::dump(); // … 0 threads, none waits, no deadlock …
/// ```
pub fn dump() {
    let (graph, deadlocked, style) = (snapshot(), count_deadlocked(), Style::of_stderr());
    let text = fmt::from_fn(|f| graph.render(style, true, f));
    let header = Header { graph: &graph, deadlocked };
    print_page(format_args!("{header}\n\n{text:width$}", width = style.width()));
}

/// Keeps the function in programs that do not call it.
#[used]
static KEPT: fn() = dump;

/// Returns how many waits are part of a deadlock that was reported and left standing.
///
/// Nobody is judged here: a wait is judged on its own thread alone, which knows what it was handed.
fn count_deadlocked() -> usize {
    let is_reported = |graph: &Graph, context| graph.entry(context).is_some_and(|entry| entry.reported.is_ever());
    detector::with(|graph| graph.contexts().filter(|&context| is_reported(graph, context)).count())
}

/// `bowline: process 4711 at 2026-11-30 01:05:24 UTC: 3 threads, 1 waits, no deadlock`
struct Header<'g> {
    graph: &'g WaitForGraph,
    deadlocked: usize,
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.graph.threads().count();
        let suspicions: usize = self.graph.threads().map(|thread| thread.suspicions.len()).sum();
        let waits = self.graph.threads().filter(|thread| thread.waits_for.is_some()).count();
        write!(f, "bowline: process {} at {}: ", std::process::id(), Utc(SystemTime::now()))?;
        match threads {
            1 => f.write_str("1 thread, ")?,
            count => write!(f, "{count} threads, ")?,
        }
        match waits {
            0 => f.write_str("none waits, ")?,
            1 => f.write_str("1 waits, ")?,
            count => write!(f, "{count} wait, ")?,
        }
        match self.deadlocked {
            0 if policy::policy() == Policy::Off => f.write_str("deadlocks are not looked for"),
            0 => match suspicions {
                0 => f.write_str("no deadlock"),
                1 => f.write_str("no deadlock is proved, 1 suspicion"),
                count => write!(f, "no deadlock is proved, {count} suspicions"),
            },
            count => write!(f, "{count} of them in a deadlock that was reported"),
        }
    }
}

/// A time as `2026-11-30 01:05:24 UTC`.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Counted from 1 March of the year 0, so that a leap day ends its year: Howard Hinnant, "chrono-Compatible Low-Level
        // Date Algorithms", civil_from_days.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_line_counts_threads_and_waits() {
        use crate::deadlock::report::render::tests::{A, B, lock, thread};
        let a = lock(1, Some("a"), A);
        let of = |threads: Vec<_>, deadlocked| {
            let header = Header { graph: &WaitForGraph::new(threads), deadlocked }.to_string();
            header.split_once(" UTC: ").unwrap().1.to_owned()
        };
        assert_eq!(of(vec![], 0), "0 threads, none waits, no deadlock");
        assert_eq!(of(vec![thread("x", 1).holding(&a, A)], 0), "1 thread, none waits, no deadlock");
        let both = || vec![thread("x", 1).holding(&a, A), thread("y", 2).waits(&a, B)];
        assert_eq!(of(both(), 0), "2 threads, 1 waits, no deadlock");
        let itself = thread("x", 1).holding(&a, A).waits(&a, A);
        assert_eq!(
            of(vec![itself, thread("y", 2).waits(&a, B)], 1),
            "2 threads, 2 wait, 1 of them in a deadlock that was reported"
        );
    }

    #[test]
    fn times_are_dates_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Utc(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), shown);
        }
    }
}
