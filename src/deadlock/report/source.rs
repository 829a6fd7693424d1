//! The text around a call, where all that can be told of its file says that it is the line that was compiled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io::Read};

use super::excerpt::Excerpt;
use crate::deadlock::graph::resource::Site;

/// Larger files are not read.
const MAX_FILE_SIZE: u64 = 4 << 20;

/// Source files, read when the first of their lines is asked for and kept for the length of one rendering.
pub(in crate::deadlock) struct Sources {
    /// When the program was built: what was modified since may not be what was compiled.
    built: Option<SystemTime>,
    files: HashMap<&'static str, Option<Vec<u8>>>,
}

impl Sources {
    /// Returns the sources of the running executable.
    pub(in crate::deadlock) fn new() -> Self {
        Self { files: HashMap::new(), built: executable_time() }
    }

    /// Returns no sources at all.
    pub(in crate::deadlock) fn none() -> Self {
        Self { files: HashMap::new(), built: None }
    }

    /// Returns the text of a line, trimmed and on one line whatever it contains. Of a line that takes more than `width`
    /// columns, this is the part around the call.
    ///
    /// `None` if its file is not found, is not older than the executable, or can't be the one that was compiled.
    pub(in crate::deadlock) fn excerpt(&mut self, site: Site, width: usize) -> Option<Excerpt> {
        self.load(site);
        Excerpt::of(self.loaded(site)?, (site.line(), site.column()), width)
    }

    /// Reads the file of a line, unless that was done before.
    pub(in crate::deadlock) fn load(&mut self, site: Site) {
        let Some(built) = self.built else { return };
        self.files.entry(site.file()).or_insert_with(|| read(&find(site.file())?, built));
    }

    /// Returns the text of the file of a line, if it was read, under the conditions of [`excerpt`](Self::excerpt).
    pub(in crate::deadlock) fn loaded(&self, site: Site) -> Option<&[u8]> {
        self.files.get(site.file())?.as_deref()
    }
}

fn executable_time() -> Option<SystemTime> {
    // Miri's isolation ends the program at the first look at a file.
    if cfg!(miri) {
        return None;
    }
    fs::metadata(env::current_exe().ok()?).ok()?.modified().ok()
}

/// Returns where the file lies that the compiler was given by this path.
fn find(file: &str) -> Option<PathBuf> {
    let file = Path::new(file);
    let found = |root: PathBuf| Some(root.join(file)).filter(|path| path.is_file());
    if file.is_absolute() { found(PathBuf::new()) } else { roots().find_map(found) }
}

/// Returns the folders that paths may be relative to, the likeliest first. Cargo's are relative to the workspace, where the
/// lock file is, and not to the package nor to the current directory, in which other files may have the same paths.
fn roots() -> impl Iterator<Item = PathBuf> {
    let workspace =
        |around: &Path| around.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).map(PathBuf::from);
    let executable = env::current_exe().ok();
    let built_in = executable.as_deref().and_then(workspace);
    // The folder for what is built may be elsewhere.
    let run_in = env::var_os("CARGO_MANIFEST_DIR").and_then(|package| workspace(Path::new(&package)));
    let here = env::current_dir().ok().filter(|here| {
        // A compiler that was called by hand.
        built_in.is_none() && run_in.is_none() && executable.is_some_and(|executable| executable.starts_with(here))
    });
    built_in.into_iter().chain(run_in).chain(here)
}

fn read(path: &Path, built: SystemTime) -> Option<Vec<u8>> {
    let facts = fs::metadata(path).ok()?;
    if facts.len() > MAX_FILE_SIZE || facts.modified().ok()? >= built {
        return None;
    }
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(MAX_FILE_SIZE).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::time::Duration;

    use super::*;

    /// A file for one test, removed when this drops.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(name: &str, text: &[u8]) -> Self {
            let path = env::temp_dir().join(format!("bowline-source-{}-{name}", std::process::id()));
            fs::write(&path, text).unwrap();
            Self(path)
        }

        fn modified(&self) -> SystemTime {
            fs::metadata(&self.0).unwrap().modified().unwrap()
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn a_line_of_a_file_older_than_the_build_is_shown() {
        let later = SystemTime::now() + Duration::from_secs(1000);
        let mut sources = Sources { built: Some(later), ..Sources::none() };
        let here = Location::caller();
        let excerpt = sources.excerpt(here, 80).unwrap();
        assert_eq!((excerpt.text.as_str(), excerpt.before, excerpt.marked), ("let here = Location::caller();", 11, 8));
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn a_file_that_is_not_older_than_the_build_is_not_read() {
        let file = TestFile::new("age", b"text");
        let second = Duration::from_secs(1);
        assert_eq!(read(&file.0, file.modified() + second).as_deref(), Some(&b"text"[..]));
        assert_eq!(read(&file.0, file.modified()), None);
        assert_eq!(read(&file.0, file.modified() - second), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn a_file_above_the_limit_is_not_read() {
        let limit = usize::try_from(MAX_FILE_SIZE).unwrap();
        for (length, is_read) in [(limit, true), (limit + 1, false)] {
            let file = TestFile::new("size", &vec![b'x'; length]);
            let built = file.modified() + Duration::from_secs(1);
            assert_eq!(read(&file.0, built).map(|text| text.len()), is_read.then_some(length));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads files")]
    fn only_files_are_found() {
        let this = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deadlock/report/source.rs");
        assert_eq!(find("src/deadlock/report/source.rs"), Some(this));
        assert_eq!(find("src/deadlock"), None);
        assert_eq!(find("src/no/such/file.rs"), None);
        let file = TestFile::new("absolute", b"");
        assert_eq!(find(file.0.to_str().unwrap()).as_ref(), Some(&file.0));
    }
}
