//! The identity of a process: whether another process runs the same code as this one, and where a function is in both.
//!
//! A function's address differs from process to process: objects (the executable, each shared library) are loaded at
//! any free place. Within one object the distances stay. So a function travels as its distance from [`ANCHOR`], which
//! means the same in every process in which the anchor's object has the same content: the linker's build id says so.

use std::fmt::{self, Display, Formatter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::object;
use crate::primitive::quiet::AtomicU32;

/// The place from which distances are measured: in the object that this copy of the crate was linked into. Each copy
/// has its own, which no linker folds into another: it could be written to.
#[used]
pub(in crate::process_pool) static ANCHOR: AtomicU32 = AtomicU32::new(0);

/// Returns the anchor's address, which tells the copies of the crate in a program apart.
pub(in crate::process_pool) fn anchor() -> usize {
    (&raw const ANCHOR).addr()
}

/// The property that tells one build of an object from another.
#[derive(PartialEq, Eq, Debug)]
enum Build {
    /// The linker's build id.
    Id(Vec<u8>),
    /// Without one: a checksum over the code.
    Checksum(Vec<u8>),
}

/// A loaded object: the executable or a library.
#[derive(Debug)]
struct Object {
    name: PathBuf,
    is_main_program: bool,
    /// The difference between its addresses in memory and in its file.
    base: usize,
    build: Build,
    /// The places of its code.
    code: Vec<Range<usize>>,
}

/// The object that contains the pool's own code, and the anchor in it.
#[derive(Debug)]
pub(in crate::process_pool) struct Identity {
    object: Object,
    anchor: usize,
}

/// A function that no other process would find: it is not in the object that contains the pool's own code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::process_pool) struct NotHere {
    /// The library that it is in; empty if it is in none.
    pub(in crate::process_pool) library: PathBuf,
}

impl Display for NotHere {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.library.as_os_str().is_empty() {
            true => f.write_str("the function's code was made at run time")?,
            false => write!(f, "the function's code is in {}", self.library.display())?,
        }
        let ours = &Identity::of_this().object;
        write!(f, ", where a worker process can't look it up: only functions in the {ours} can be sent")
    }
}

impl std::error::Error for NotHere {}

impl Identity {
    /// Returns the identity of this process. The first call costs about a microsecond for each library that is loaded,
    /// and a pass over all the code if the object has no build id.
    pub(in crate::process_pool) fn of_this() -> &'static Self {
        static THIS: OnceLock<Identity> = OnceLock::new();
        THIS.get_or_init(|| {
            let anchor = anchor();
            // An object that can't be found has no code that could be sent: each call is an error then.
            let object = object_around(anchor).unwrap_or_else(|| Object {
                name: executable(),
                is_main_program: true,
                base: anchor,
                build: Build::Checksum(Vec::new()),
                code: Vec::new(),
            });
            Self { object, anchor }
        })
    }

    /// Returns the object's file.
    pub(in crate::process_pool) fn name(&self) -> &Path {
        &self.object.name
    }

    /// Returns whether the object is the executable, and not a library.
    pub(in crate::process_pool) fn is_main_program(&self) -> bool {
        self.object.is_main_program
    }

    /// Returns the distance of a function from the anchor. [`address_of`](Self::address_of) returns its address in any
    /// process with the same identity.
    ///
    /// # Errors
    ///
    /// The function is not in this object.
    pub(in crate::process_pool) fn offset_of(&self, thunk: usize) -> Result<u64, NotHere> {
        match self.contains(thunk) {
            true => Ok(thunk.wrapping_sub(self.anchor) as u64),
            false => Err(NotHere { library: object_around(thunk).map(|object| object.name).unwrap_or_default() }),
        }
    }

    /// Returns the address at this distance from the anchor, if there is code of this object. It need not be the start
    /// of a function.
    pub(in crate::process_pool) fn address_of(&self, offset: u64) -> Option<usize> {
        // A distance backwards has wrapped, at the width of a pointer.
        let address = self.anchor.wrapping_add(usize::try_from(offset).ok()?);
        self.contains(address).then_some(address)
    }

    /// Returns the place of the anchor in its object. Another copy of this crate has another place.
    fn place(&self) -> u64 {
        self.anchor.wrapping_sub(self.object.base) as u64
    }

    fn contains(&self, address: usize) -> bool {
        self.object.code.iter().any(|segment| segment.contains(&address))
    }

    /// Returns the bytes that another process compares with its own identity, by [`matches`](Self::matches).
    pub(in crate::process_pool) fn to_bytes(&self) -> Vec<u8> {
        let (tag, build) = match &self.object.build {
            Build::Id(id) => (1, id),
            Build::Checksum(checksum) => (2, checksum),
        };
        let version = env!("CARGO_PKG_VERSION");
        // The crate's own version, which is short.
        let mut bytes = vec![size_of::<usize>() as u8, version.len() as u8];
        bytes.extend_from_slice(version.as_bytes());
        bytes.extend_from_slice(&self.place().to_le_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(build);
        bytes
    }

    /// Returns whether these bytes are those of a process that runs the same code.
    pub(in crate::process_pool) fn matches(&self, theirs: &[u8]) -> bool {
        self.to_bytes() == theirs
    }

    /// Returns what is different in a worker with this identity, as a sentence. `None` if it [matches](Self::matches).
    pub(in crate::process_pool) fn difference(&self, theirs: &[u8]) -> Option<String> {
        if self.matches(theirs) {
            return None;
        }
        let Some(Parsed { width, version, build }) = parse(theirs) else {
            return Some("the worker says who it is in a way that this process doesn't understand".to_owned());
        };
        let (our_bits, our_version) = (usize::BITS, env!("CARGO_PKG_VERSION"));
        Some(if version != our_version {
            let version = version.escape_debug();
            format!("this process was built with version {our_version} of bowline, the worker with {version}")
        } else if u32::from(width) * 8 != our_bits {
            let bits = u32::from(width) * 8;
            format!("this process has addresses of {our_bits} bits, the worker of {bits}")
        } else if build == self.object.build {
            format!("the {} has several copies of bowline, and the worker is another one's", self.object)
        } else {
            let (object, ours) = (&self.object, &self.object.build);
            format!("the {object} was replaced, or is another one: this process runs {ours}, the worker {build}")
        })
    }
}

/// Build, version of the crate, and the anchor's place: words without a space.
impl Display for Identity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Build::Id(build) | Build::Checksum(build)) = &self.object.build;
        build.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " {} {:x}", env!("CARGO_PKG_VERSION"), self.place())
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.is_main_program { "executable" } else { "library" }, self.name.display())
    }
}

impl Display for Build {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Id(id) => ("build", id),
            Self::Checksum(checksum) => ("a build with checksum", checksum),
        };
        write!(f, "{kind} ")?;
        // The other process may have sent any bytes; ids have 8, 16 or 20.
        bytes.iter().take(32).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if bytes.len() > 32 { f.write_char('…') } else { Ok(()) }
    }
}

/// The identity that another process sent.
struct Parsed<'b> {
    /// The width of a pointer, in bytes.
    width: u8,
    version: &'b str,
    build: Build,
}

fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (&[width, version], rest) = bytes.split_first_chunk()?;
    let (version, rest) = rest.split_at_checked(version.into())?;
    let (_place, rest) = rest.split_first_chunk::<{ size_of::<u64>() }>()?;
    let (&tag, build) = rest.split_first()?;
    let build = match tag {
        1 => Build::Id(build.to_vec()),
        2 => Build::Checksum(build.to_vec()),
        _ => return None,
    };
    Some(Parsed { width, version: str::from_utf8(version).ok()?, build })
}

/// Returns a checksum of twenty bytes: the length, and a checksum of each quarter. (Checksums of the same bytes from
/// other starts would not differ where the first does not.)
fn checksum(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut sum = (length as u32).to_le_bytes().to_vec();
    let mut quarters: [_; 4] = std::array::from_fn(|_| crc32fast::Hasher::new());
    for part in parts {
        for (quarter, piece) in quarters.iter_mut().zip(part.chunks(part.len().div_ceil(4).max(1))) {
            quarter.update(piece);
        }
    }
    quarters.into_iter().for_each(|quarter| sum.extend(quarter.finalize().to_le_bytes()));
    sum
}

/// Returns the file that this process executes.
fn executable() -> PathBuf {
    // Empty where /proc is not mounted.
    std::env::current_exe().unwrap_or_default()
}

/// Returns the loaded object that contains this address.
fn object_around(address: usize) -> Option<Object> {
    object::find(|loaded| {
        let is_around = loaded.segments(libc::PT_LOAD, 0).any(|(segment, _)| segment.contains(&address));
        is_around.then(|| object(loaded))
    })
}

fn object(loaded: &object::Object<'_>) -> Object {
    let bytes = |segment: Range<usize>| -> &[u8] {
        // SAFETY:
        // - the caller passes only what the object has loaded as readable, and nothing writes to: notes and code.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(segment.start), segment.len()) }
    };
    let mut notes = loaded.segments(libc::PT_NOTE, libc::PF_R).filter(|(note, _)| loaded.has_loaded(note, libc::PF_R));
    let id = notes.find_map(|(note, align)| build_id(bytes(note), align).map(<[u8]>::to_vec));
    let build = id.map(Build::Id).unwrap_or_else(|| {
        let code: Vec<_> =
            loaded.segments(libc::PT_LOAD, libc::PF_R | libc::PF_X).map(|(code, _)| bytes(code)).collect();
        Build::Checksum(checksum(&code))
    });
    let is_main_program = loaded.is_main_program;
    let name = if is_main_program { executable() } else { loaded.name.into() };
    let code = loaded.segments(libc::PT_LOAD, libc::PF_X).map(|(segment, _)| segment).collect();
    Object { name, is_main_program, base: loaded.base, build, code }
}

/// Returns the linker's build id, if it is among these notes.
fn build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    // Notes are aligned to 4 bytes, or to 8 where their header says so.
    let align = if align == 8 { 8 } else { 4 };
    loop {
        let (header, rest) = notes.split_first_chunk::<12>()?;
        let [name_length, length, kind] =
            [0, 4, 8].map(|at| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        // The name begins after 12 bytes, so that its padding is not a multiple of 8 itself.
        let name_end = (12 + name_length as usize).next_multiple_of(align) - 12;
        let name = rest.get(..name_length as usize)?;
        let content = rest.get(name_end..)?.get(..length as usize)?;
        if kind == BUILD_ID && name == b"GNU\0" && !content.is_empty() {
            return Some(content);
        }
        notes = rest.get(name_end + (length as usize).next_multiple_of(align)..)?;
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::process::Command;

    use super::*;

    #[inline(never)]
    fn thunk<T: Display>(value: &T) -> String {
        value.to_string()
    }

    fn address<T: Display>() -> usize {
        let thunk: fn(&T) -> String = thunk::<T>;
        thunk as usize
    }

    #[test]
    fn a_function_is_found_by_its_offset_from_the_anchor() {
        let this = Identity::of_this();
        for address in [address::<u8>(), address::<String>()] {
            let offset = this.offset_of(address).expect("a function of this executable");
            assert_eq!(this.address_of(offset), Some(address));
        }
        assert!(this.is_main_program());
        assert_eq!(Some(this.name()), std::env::current_exe().ok().as_deref());
    }

    #[test]
    fn what_is_no_code_of_this_object_has_no_address() {
        static DATA: u64 = 1;
        let this = Identity::of_this();
        let distance = |address: usize| address.wrapping_sub(this.anchor) as u64;
        assert_eq!(this.address_of(distance(&raw const DATA as usize)), None, "data");
        assert_eq!(this.address_of(distance(0)), None);
        let end = this.object.code.iter().map(|segment| segment.end).max().expect("code");
        assert_eq!(this.address_of(distance(end)), None, "the byte after the last");
        assert!(this.address_of(distance(end - 1)).is_some());
    }

    #[cfg(not(target_feature = "crt-static"))]
    #[test]
    fn a_function_of_a_library_is_not_here() {
        // SAFETY:
        // - a name that ends with a zero.
        let getpid = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getpid".as_ptr()) } as usize;
        let error = Identity::of_this().offset_of(getpid).expect_err("this function is the C library's");
        assert!(error.library.to_string_lossy().contains("libc"), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&*error.library.to_string_lossy()) && text.contains("the executable /"), "{text}");

        let library = object_around(getpid).expect("the C library");
        assert!(!library.is_main_program);
        assert!(matches!(&library.build, Build::Id(id) if !id.is_empty()), "{library:?}");

        let nowhere = Identity::of_this().offset_of(8).expect_err("there is nothing");
        assert_eq!(nowhere.library, PathBuf::new());
        assert!(nowhere.to_string().contains("made at run time"), "{nowhere}");
    }

    #[test]
    fn the_build_id_is_the_one_in_the_file() {
        let this = Identity::of_this();
        let Ok(read) = Command::new("readelf").arg("-n").arg(this.name()).output() else {
            return; // There is no `readelf`.
        };
        let text = String::from_utf8_lossy(&read.stdout);
        match (text.split("Build ID: ").nth(1), &this.object.build) {
            (Some(id), build @ Build::Id(_)) => {
                assert_eq!(build.to_string(), format!("build {}", id.lines().next().expect("a line")));
            }
            (None, Build::Checksum(checksum)) => assert_eq!(checksum.len(), 20),
            (id, build) => panic!("{build}, and in the file {id:?}"),
        }
    }

    #[test]
    fn another_process_with_this_executable_matches_and_has_the_same_offsets() {
        const TEST: &str =
            concat!(module_path!(), "::another_process_with_this_executable_matches_and_has_the_same_offsets");
        let (_, test) = TEST.split_once("::").expect("the crate comes first");
        let this = Identity::of_this();
        let said = format!("{:?} {:?}", this.to_bytes(), this.offset_of(address::<i128>()));
        if std::env::var_os("BOWLINE_TEST_CHILD").is_some() {
            println!("identity: {said}");
            return;
        }
        // Several, as they are loaded to random places.
        for _ in 0..4 {
            let mut again = Command::new(std::env::current_exe().expect("this binary"));
            again.args(["--exact", test, "--nocapture"]).env("BOWLINE_TEST_CHILD", test);
            let output = again.output().expect("a process");
            let output = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                output.split("identity: ").nth(1).and_then(|rest| rest.lines().next()),
                Some(&*said),
                "{output}"
            );
        }
    }

    #[test]
    fn a_difference_is_told_in_a_sentence() {
        let this = Identity::of_this();
        let ours = this.to_bytes();
        assert!(this.matches(&ours));
        assert_eq!(this.difference(&ours), None);

        let mut build = ours.clone();
        *build.last_mut().expect("a build") ^= 0xff;
        assert!(!this.matches(&build));
        let text = this.difference(&build).expect("another build");
        let theirs = parse(&build).expect("well-formed").build.to_string();
        assert!(text.contains(&this.object.build.to_string()) && text.contains(&theirs), "{text}");
        assert!(text.starts_with("the executable /") && text.contains("was replaced"), "{text}");

        let mut version = ours.clone();
        version[2] = b'9';
        let text = this.difference(&version).expect("another version");
        assert!(text.contains(concat!("version ", env!("CARGO_PKG_VERSION"))) && text.contains("with 9"), "{text}");

        let mut width = ours.clone();
        width[0] = 16;
        let text = this.difference(&width).expect("another width");
        assert!(text.contains("of 128"), "{text}");

        // As of a copy of the crate that lies elsewhere in the same object.
        let mut place = ours.clone();
        place[2 + usize::from(ours[1])] ^= 0x10;
        let text = this.difference(&place).expect("another copy");
        assert!(text.starts_with("the executable /") && text.contains("several copies of bowline"), "{text}");

        for end in 0..2 + usize::from(ours[1]) + 8 {
            let text = this.difference(&ours[..end]).expect("a part is not the whole");
            assert!(text.contains("doesn't understand"), "{text}");
        }
    }

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        fn note(kind: u32, name: &[u8], content: &[u8], align: usize) -> Vec<u8> {
            let mut note = Vec::new();
            for word in [name.len() as u32, content.len() as u32, kind] {
                note.extend(word.to_ne_bytes());
            }
            for part in [name, content] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(align), 0);
            }
            note
        }
        for align in [4, 8] {
            let mut notes = note(1, b"GNU\0", b"abi version", align);
            notes.extend(note(3, b"stapsdt\0", b"of another kind", align));
            notes.extend(note(3, b"GNU\0", b"", align));
            assert_eq!(build_id(&notes, align), None);
            notes.extend(note(3, b"GNU\0", b"an id", align));
            assert_eq!(build_id(&notes, align), Some(&b"an id"[..]));
            for end in 0..notes.len() - 8 {
                assert_eq!(build_id(&notes[..end], align), None, "cut off at {end}");
            }
        }
        assert_eq!(build_id(&[0xff; 64], 4), None, "lengths that are nonsense");
    }

    #[test]
    fn a_checksum_tells_every_quarter_and_the_length() {
        let code: Vec<u8> = (0..1000_u32).map(|n| (n * n) as u8).collect();
        let whole = checksum(&[&code]);
        assert_eq!(whole.len(), 20);
        for at in [0, 249, 250, 500, 750, 999] {
            let mut other = code.clone();
            other[at] ^= 1;
            assert_ne!(checksum(&[&other]), whole, "the byte at {at}");
        }
        assert_ne!(checksum(&[&[0; 4]]), checksum(&[&[0; 8]]));
        assert_eq!(checksum(&[]).len(), 20);
    }
}
