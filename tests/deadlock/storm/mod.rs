//! Programs that mix whatever can wait, hold, forget and intervene, on threads and in pools that are too small; an oracle
//! replays what they have noted, and says of each report whether it is true, and of each end whether a report is missing.
//!
//! The programs come from seeds. A round's is printed when it fails; `BOWLINE_STORM_SEED` runs its program again and again.
//! `BOWLINE_STORM_SECONDS` is how long the storm lasts, in one process after the other: what threads have left behind that
//! ended with a lock stays in memory. Without it, a fixed number of rounds are run.

#![cfg(target_os = "linux")]

mod guards;
mod locks;
mod log;
mod oracle;
mod replay;
mod residue;
mod round;
mod script;
mod tally;
mod world;

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{LIMIT, in_fresh_process, stderr, within};
use bowline::{Lock, deadlock};

use tally::Tally;

/// Rounds of the ordinary suite.
const ROUNDS: u64 = 250;
/// How long one process of a longer storm lasts.
const SPELL: Duration = Duration::from_secs(20);

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What one process does: `rounds` of them, or as many as fit into its time.
fn storm(first: u64) {
    // Before or after the crate makes a key of its own: its destructors run first, or last.
    if first.is_multiple_of(2) {
        guards::make_key();
    }
    drop(Lock::new(()).lock());
    guards::make_key();
    deadlock::on_deadlock(|report| {
        log::note(log::Event::Reported(report.clone()));
        // Some hooks take their time: the reporter is out of the graph meanwhile.
        if log::note_count().is_multiple_of(4) {
            thread::sleep(Duration::from_micros(300));
        }
    })
    .keep();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A panic of a victim is its report once more.
        if !info.payload_as_str().is_some_and(|message| message.starts_with("deadlock: ")) {
            print(info);
            eprintln!("in the round of BOWLINE_STORM_SEED={}", round::SEED.load(Relaxed));
        }
    }));
    let (start, mut tally) = (Instant::now(), Tally::default());
    let seed = number("BOWLINE_STORM_SEED");
    let is_spell = number("BOWLINE_STORM_SECONDS").is_some();
    let is_enough = |tally: &Tally| {
        if is_spell {
            return start.elapsed() >= SPELL;
        }
        // What is rare may need some more.
        tally.rounds >= ROUNDS && (tally.missing().is_empty() || tally.rounds >= 8 * ROUNDS)
    };
    while !is_enough(&tally) {
        let seed = seed.unwrap_or(first + tally.rounds);
        if let Err(why) = round::run(seed, &mut tally) {
            eprintln!("{why}");
            std::process::exit(1);
        }
    }
    eprintln!("{tally}\n{:?}", start.elapsed());
    let missing = tally.missing();
    // A spell on a busy machine has few rounds.
    assert!(missing.is_empty() || seed.is_some() || tally.rounds < ROUNDS, "never: {missing:?}");
}

#[test]
fn every_report_of_a_storm_is_true_and_none_is_missing() {
    let name = "every_report_of_a_storm_is_true_and_none_is_missing";
    let start = Instant::now();
    let length = number("BOWLINE_STORM_SECONDS").map(Duration::from_secs);
    // In the ordinary suite always the same.
    let mut first = number("BOWLINE_STORM_FIRST").unwrap_or_else(|| match length {
        Some(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs() << 20),
        None => 1,
    });
    loop {
        let body = || within(LIMIT * 9 / 10, || storm(first));
        let Some(output) = in_fresh_process(name, &[("BOWLINE_STORM_FIRST", &first.to_string())], body) else { return };
        assert!(output.status.success(), "{}", stderr(&output));
        if length.is_none_or(|length| start.elapsed() >= length) {
            let text = stderr(&output);
            let from = text.rfind(" rounds, ").map_or(0, |at| text[..at].rfind('\n').map_or(0, |at| at + 1));
            return eprintln!("{}", &text[from..]);
        }
        first += 1 << 16;
    }
}
