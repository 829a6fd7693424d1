//! Interleaved rounds and what is made of them.
//!
//! A shared machine changes its speed from one second to the next. So the contenders take turns, A B C A B C, each
//! turn a few milliseconds long, and what counts is the median over the rounds of the *ratio within a round*.

use std::fmt::Write;
use std::time::Duration;

use crate::solo::Solo;

/// One of those who are compared, and how to measure it once.
pub struct Contender<'a> {
    /// What the table calls it.
    pub name: &'static str,
    /// Measures once.
    pub measure: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender that is measured by this function.
    pub fn new(name: &'static str, measure: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, measure: Box::new(measure) }
    }

    /// A contender whose turn takes a millisecond or more: nanoseconds an operation.
    pub fn timed(name: &'static str, run: Solo) -> Self {
        let mut times = 1000;
        while run(times) < Duration::from_millis(1) {
            times *= 2;
        }
        Self::new(name, move || run(times).as_nanos() as f64 / times as f64)
    }
}

/// What one contender did, round by round.
pub struct Series {
    /// What the table calls it.
    pub name: &'static str,
    /// One number a round.
    pub rounds: Vec<f64>,
}

impl Series {
    /// The median of the rounds.
    pub fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// The median of the ratio to `base` within each round.
    pub fn ratio_to(&self, base: &Self) -> f64 {
        median(self.rounds.iter().zip(&base.rounds).map(|(mine, theirs)| mine / theirs).collect())
    }
}

/// The median, not a number if there is none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures everybody once to warm up, then once a round; who begins moves on from round to round.
pub fn take_turns(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Series> {
    let mut all: Vec<_> =
        contenders.iter().map(|contender| Series { name: contender.name, rounds: Vec::new() }).collect();
    for contender in &mut contenders {
        (contender.measure)();
    }
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let who = (round + turn) % contenders.len();
            all[who].rounds.push((contenders[who].measure)());
        }
    }
    all
}

/// A Markdown table: a row for each workload, a column for each contender, each a ratio to the first one.
pub struct Table {
    text: String,
    columns: Vec<&'static str>,
    scale: f64,
}

impl Table {
    /// An empty table. The base's own numbers are divided by `scale` to be shown in `unit`.
    pub fn new(workload: &str, base: &str, unit: &str, scale: f64, columns: Vec<&'static str>) -> Self {
        let mut text = String::new();
        write!(text, "| {workload} | {base}, {unit} |").unwrap();
        columns.iter().for_each(|column| write!(text, " {column} |").unwrap());
        write!(text, "\n|---|---|{}", "---|".repeat(columns.len())).unwrap();
        Self { text, columns, scale }
    }

    /// Adds the row of a workload: the first series is the base. A contender that did not take part is a dash.
    pub fn row(&mut self, workload: &str, series: &[Series]) {
        let base = &series[0];
        write!(self.text, "\n| {workload} | {:.2} |", base.median() / self.scale).unwrap();
        self.ratios(base, series);
        eprintln!("  {workload}: done");
    }

    /// Adds the row of a workload: the first series is ours, and the base is the best of the others, which is named.
    ///
    /// # Panics
    ///
    /// If there are no others.
    pub fn row_to_best(&mut self, workload: &str, series: &[Series]) {
        self.row_to_best_of(workload, series, |name| name != series[0].name);
    }

    /// Adds the row of a workload: the base is the best of those whose name says that they are peers, and is named.
    ///
    /// # Panics
    ///
    /// If there are no peers.
    pub fn row_to_best_of(&mut self, workload: &str, series: &[Series], is_peer: impl Fn(&str) -> bool) {
        let peers = series.iter().filter(|series| is_peer(series.name));
        let best = peers.min_by(|a, b| a.median().total_cmp(&b.median())).expect("there are peers");
        write!(self.text, "\n| {workload} | {:.2} ({}) |", best.median() / self.scale, best.name).unwrap();
        self.ratios(best, series);
        eprintln!("  {workload}: done");
    }

    /// Adds a row of words, where ratios would not say it: of each contender, by its name.
    pub fn row_of_words(&mut self, workload: &str, words: &[(&'static str, String)]) {
        write!(self.text, "\n| {workload} | – |").unwrap();
        for column in &self.columns {
            let word = words.iter().find(|(name, _)| name == column).map_or("–", |(_, word)| word);
            write!(self.text, " {word} |").unwrap();
        }
        eprintln!("  {workload}: done");
    }

    fn ratios(&mut self, base: &Series, series: &[Series]) {
        for column in &self.columns {
            match series.iter().find(|series| series.name == *column) {
                Some(series) => write!(self.text, " {:.2} |", series.ratio_to(base)).unwrap(),
                None => self.text.push_str(" – |"),
            }
        }
    }

    /// The table.
    pub fn finish(self) -> String {
        self.text
    }
}
