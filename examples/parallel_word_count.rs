//! Counts the words of text files on all processors: the files and folders that are given, or this repository.
//!
//! ```sh
//! cargo run --release --example parallel_word_count -- ~/notes README.md
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use bowline::{Future, ThreadPoolExecutor, as_completed};
use indicatif::{ProgressBar, ProgressStyle};

/// So many words are shown.
const SHOWN: usize = 12;

/// What is in one file, or in all.
#[derive(Default)]
struct Count {
    files: usize,
    lines: usize,
    bytes: usize,
    words: HashMap<String, usize>,
}

impl Count {
    fn of(text: &str) -> Self {
        let mut words = HashMap::new();
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
        Self { files: 1, lines: text.lines().count(), bytes: text.len(), words }
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.lines += other.lines;
        self.bytes += other.bytes;
        for (word, count) in other.words {
            *self.words.entry(word).or_default() += count;
        }
    }

    fn print(&self) {
        let mut words: Vec<_> = self.words.iter().map(|(word, &count)| (count, word.as_str())).collect();
        words.sort_by_key(|&(count, word)| (std::cmp::Reverse(count), word));
        let all: usize = self.words.values().sum();
        println!("{} files, {} lines, {} bytes, {all} words", self.files, self.lines, self.bytes);
        println!("\n{:<20} {:>8} {:>7}", "word", "count", "share");
        for (count, word) in words.into_iter().take(SHOWN) {
            println!("{word:<20} {count:>8} {:>6.2}%", 100.0 * count as f64 / all as f64);
        }
    }
}

/// The text of a file, `None` if it is something else.
fn read(path: &Path) -> io::Result<Option<String>> {
    Ok(String::from_utf8(fs::read(path)?).ok().filter(|text| !text.contains('\0')))
}

/// The files in a folder and below, without what is hidden or built; or the one file.
fn files(path: PathBuf, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        found.push(path);
        return Ok(());
    }
    for entry in fs::read_dir(&path)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_skipped = name.to_string_lossy().starts_with('.') || name == "target";
        if !is_skipped && !entry.file_type()?.is_symlink() {
            files(entry.path(), found)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = Vec::new();
    let mut given: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if given.is_empty() {
        given.push(env!("CARGO_MANIFEST_DIR").into());
    }
    for path in given {
        files(path.clone(), &mut paths).map_err(|error| format!("{}: {error}", path.display()))?;
    }

    let pool = ThreadPoolExecutor::default();
    let counts: Vec<Future<Result<Option<Count>, String>>> = paths
        .into_iter()
        .map(|path| {
            pool.submit(move || match read(&path) {
                Ok(text) => Ok(text.map(|text| Count::of(&text))),
                Err(error) => Err(format!("{}: {error}", path.display())),
            })
        })
        .collect();

    let bar = ProgressBar::new(counts.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} files, {elapsed}")?);
    let (mut total, mut unread, mut other) = (Count::default(), Vec::new(), 0);
    for count in as_completed(counts) {
        match count?.result()? {
            Ok(Some(count)) => total.add(count),
            Ok(None) => other += 1,
            Err(error) => unread.push(error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    total.print();
    if other > 0 {
        println!("\n{other} files are no text");
    }
    if !unread.is_empty() {
        return Err(format!("{} files could not be read:\n{}", unread.len(), unread.join("\n")).into());
    }
    Ok(())
}
