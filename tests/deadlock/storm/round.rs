//! One round: its threads run free, and one looks on, helps whoever waits for somebody outside, and sees to the end.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{self, Policy};

use super::log::{Event, LOG, What, note, note_count};
use super::oracle::Oracle;
use super::replay::{Frame, Phase};
use super::script;
use super::tally::Tally;
use super::world::{FAULTS, World, set_grace, set_policy};
use crate::support::{Dice, find_thread_where};

/// For how long nothing may happen where something has to. It only decides how soon a miss fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many of the last events are printed with a failure.
const PRINTED: usize = 400;

/// The seed of the round that runs.
pub(crate) static SEED: AtomicU64 = AtomicU64::new(0);

/// Runs the program of a seed once. An error is what went wrong, with the log.
pub(crate) fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    SEED.store(seed, Relaxed);
    let program = script::program(seed);
    LOG.begin();
    LOG.enter("looks on", None);
    deadlock::set_policy(program.policy);
    deadlock::set_grace(program.grace);
    let _warns = program.warns.map(|after| deadlock::warn_after(after, |wait| drop(wait.to_string())));
    let world = World::new(program.clone());
    let mut round =
        Round { oracle: Oracle::new(&program), threads: start(&world), world, dice: Dice::new(seed), tally };
    let ended = round.look_on().and_then(|()| round.end());
    round.tally.rounds += 1;
    ended.map_err(|why| {
        let mut text = format!("BOWLINE_STORM_SEED={seed}: {why}\n{program:#?}\n");
        let entries = &round.oracle.entries;
        for entry in entries.iter().skip(entries.len().saturating_sub(PRINTED)) {
            let _ = writeln!(text, "{entry}");
        }
        let _ = write!(text, "\n{:#?}\n{}\n{why}", round.oracle.state, deadlock::snapshot());
        text
    })
}

fn start(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let threads = world.program.threads.len();
    let start = Arc::new(Barrier::new(threads));
    let spawn = |at: usize| {
        let (world, start) = (Arc::clone(world), Arc::clone(&start));
        let name = format!("storm {at}");
        let body = move || {
            LOG.enter(thread::current().name().unwrap_or_default(), None);
            start.wait();
            world.run_thread(at);
        };
        thread::Builder::new().name(name).spawn(body).expect("a thread")
    };
    (0..threads).map(spawn).collect()
}

/// What somebody outside can do.
#[derive(Clone, Copy)]
enum Help {
    Policy,
    Grace,
    Promise(usize),
    Token(usize),
    Pool(usize),
}

struct Round<'p, 't> {
    oracle: Oracle<'p>,
    threads: Vec<JoinHandle<()>>,
    world: Arc<World>,
    dice: Dice,
    tally: &'t mut Tally,
}

impl Round<'_, '_> {
    /// Takes note of what has happened. Whether anything has.
    fn catch_up(&mut self) -> Result<bool, String> {
        let entries = LOG.take();
        let has_moved = !entries.is_empty();
        self.oracle.absorb(entries, self.tally)?;
        let faults = std::mem::take(&mut *FAULTS.lock().unwrap_or_else(PoisonError::into_inner));
        if faults.is_empty() { Ok(has_moved) } else { Err(faults.join("\n")) }
    }

    /// Notes whose thread has ended.
    fn note_gone(&self) -> bool {
        let mut any = false;
        let threads = &self.oracle.state.threads;
        for (at, thread) in threads.iter().enumerate().skip(1) {
            let may_end = thread.has_left || thread.is_idle();
            // The system may have given its number to a later thread by now.
            let is_there = || Path::new(&format!("/proc/self/task/{}", thread.os_id)).exists();
            let is_reused = threads[at + 1..].iter().any(|later| later.os_id == thread.os_id);
            if may_end && !thread.is_gone && (is_reused || !is_there()) {
                note(Event::Gone(at));
                any = true;
            }
        }
        any
    }

    /// Whether no thread of the program is left, and no task has anything to do.
    fn is_over(&self) -> bool {
        let state = &self.oracle.state;
        let is_over = |task: usize| matches!(state.tasks[task].phase, Phase::New) || state.may_be_done(task);
        state.threads.iter().filter(|thread| thread.pool.is_none()).count() == self.threads.len() + 1
            && self.oracle.busy().next().is_none()
            && (0..state.tasks.len()).all(is_over)
    }

    fn look_on(&mut self) -> Result<(), String> {
        let mut moved = Instant::now();
        loop {
            // First who has ended: what it did before that is in the log by then.
            if self.note_gone() | self.catch_up()? {
                moved = Instant::now();
                continue;
            }
            let mut unknown = self.oracle.state.unknown().peekable();
            // Of a task that may have been cancelled, or may be about to begin, nobody knows whether it needs help.
            if unknown.peek().is_none() && self.is_over() {
                return Ok(());
            }
            unknown.for_each(|task| self.world.look_at(task));
            if self.oracle.is_settled() {
                match self.oracle.owed() {
                    Some(owed) if moved.elapsed() > PATIENCE => return Err(format!("a miss: {owed}")),
                    Some(_) => {}
                    None => {
                        if self.dice.below(4) == 0 {
                            thread::sleep(Duration::from_micros(self.dice.below(3_000) as u64));
                            if self.catch_up()? {
                                continue;
                            }
                        }
                        self.help()?;
                        moved = Instant::now();
                    }
                }
            } else if moved.elapsed() > PATIENCE {
                return Err("a hang: somebody could go on, and does not".to_owned());
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Everybody waits for somebody outside, or for a deadlock that was left standing.
    fn help(&mut self) -> Result<(), String> {
        let state = &self.oracle.state;
        let mut can = Vec::new();
        if state.policy != Policy::Panic {
            can.push(Help::Policy);
        }
        if state.has_endless_grace() {
            can.push(Help::Grace);
        }
        can.extend((0..state.fulfilled.len()).filter(|&number| !state.fulfilled[number]).map(Help::Promise));
        let waits_for_token = |task: usize| {
            let waits = |frame: &Frame| frame.wait.as_ref().is_some_and(|wait| wait.what == What::Token(task));
            !state.may_be_asked(task) && state.threads.iter().any(|thread| thread.frames.iter().any(waits))
        };
        can.extend((0..state.tasks.len()).filter(|&task| waits_for_token(task)).map(Help::Token));
        can.extend((0..state.pools.len()).filter(|&pool| !state.pools[pool].is_closing).map(Help::Pool));
        if can.is_empty() {
            return Err("a hang: everybody waits, and nobody outside can help".to_owned());
        }
        let help = can[self.dice.below(can.len())];
        if matches!(help, Help::Policy) && !state.has_endless_grace() && !self.until_registered()? {
            return Ok(());
        }
        match help {
            // By way of another, perhaps.
            Help::Policy if self.dice.below(3) == 0 => {
                let policies = [Policy::Report, Policy::Off];
                set_policy(policies[usize::from(self.oracle.state.policy == Policy::Report)]);
            }
            Help::Policy => set_policy(Policy::Panic),
            Help::Grace => set_grace(Duration::from_micros(self.dice.below(600) as u64)),
            Help::Promise(number) => self.world.fulfil(number, true),
            Help::Token(task) => self.world.ask_to_stop(task),
            Help::Pool(pool) => drop(self.world.shut_down(pool, false, false)),
        }
        Ok(())
    }

    /// Waits until whoever waits is in the wait-for graph: a hook that still runs keeps its thread out of it. `false`: something
    /// has happened meanwhile.
    fn until_registered(&self) -> Result<bool, String> {
        let end = Instant::now() + PATIENCE;
        for thread in self.oracle.busy() {
            let os_id = self.oracle.state.threads[thread].os_id;
            let waits = |told: &StuckThread| told.os_id() == os_id && told.waits_for().is_some();
            while find_thread_where(waits).is_none() {
                if note_count() != self.oracle.entries.len() as u64 {
                    return Ok(false);
                }
                if Instant::now() > end {
                    return Err(format!("[{thread}] waits, and is not in the graph"));
                }
                thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(pool) = self.world.end_pools(PATIENCE) {
            return Err(format!("pool {pool} has nothing to do, and does not end"));
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that panics notes it");
        }
        self.catch_up()?;
        self.world.check_end(&self.oracle.state)
    }
}
