//! The program that is started as a worker: found once, when the pool is made.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem::size_of;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::{env, slice};

use rustix::fs::{Access, access};

use crate::process_pool::error::ProcessPoolError;
use crate::process_pool::wire::object::{self, ProgramHeader};

/// The executable of this process, even if its file was replaced or removed.
pub(super) const OWN: &str = "/proc/self/exe";

/// The executable as the kernel knows it: an emulator, or valgrind, may answer in its place where [`OWN`] is read.
const KERNELS: &str = "/proc/thread-self/exe";

/// Finds what starts this program again: a path, and arguments that come first.
///
/// # Errors
///
/// Nothing that starts it was found.
pub(super) fn own() -> Result<(PathBuf, Vec<OsString>), ProcessPoolError> {
    match is_main_program(KERNELS.as_ref()) {
        Ok(Some(true)) => return Ok((OWN.into(), Vec::new())),
        // The kernel runs the loader, which was told to load this program.
        Ok(Some(false)) => {
            if let Ok(arguments) = loader_arguments() {
                return Ok((OWN.into(), arguments));
            }
        }
        // The kernel runs something that runs this program, or does not tell.
        Ok(None) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // The file may be executed, and not read.
        Err(_) => return Ok((OWN.into(), Vec::new())),
    }
    let told = [env::current_exe().ok(), executed()];
    let own = told.iter().flatten().find(|path| matches!(is_main_program(path), Ok(Some(true))));
    own.map(|path| (path.clone(), Vec::new())).ok_or_else(|| ProcessPoolError::NoOwnProgram {
        found: fs::read_link(KERNELS).ok().or_else(|| told.iter().flatten().next().cloned()),
    })
}

/// Finds the program of this name in the current directory or in `PATH`, and returns its absolute path.
///
/// # Errors
///
/// There is none.
pub(super) fn named(path: PathBuf) -> Result<PathBuf, ProcessPoolError> {
    if path.is_absolute() {
        return Ok(path);
    }
    let found = if path.as_os_str().as_bytes().contains(&b'/') {
        absolute(&path).filter(|path| path.is_file())
    } else {
        // The default is that of the C library.
        let folders = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        let mut candidates = env::split_paths(&folders).filter_map(|folder| absolute(&folder.join(&path)));
        candidates.find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
    };
    found.ok_or(ProcessPoolError::NoWorkerProgram { path })
}

fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

/// Returns whether this file is loaded here as the main program, or as something else (the loader). `None`: it is not
/// loaded.
fn is_main_program(path: &Path) -> io::Result<Option<bool>> {
    let file = File::open(path)?;
    Ok(object::find(|object| has_headers(&file, object.headers).then_some(object.is_main_program)))
}

/// Returns whether these are the program headers in this file.
fn has_headers(file: &File, headers: &[ProgramHeader]) -> bool {
    // An ELF file says where they are, behind four numbers of eight bytes in all, and the entry's address.
    const OFFSET: usize = 24 + size_of::<usize>();
    let mut start = [0; OFFSET + size_of::<usize>()];
    let mut found = vec![0; size_of_val(headers)];
    if file.read_exact_at(&mut start, 0).is_err() || !start.starts_with(b"\x7fELF") {
        return false;
    }
    let offset = start[OFFSET..].iter().rev().fold(0, |offset, &byte| offset << 8 | u64::from(byte));
    // SAFETY:
    // - headers are numbers, without a gap.
    let loaded = unsafe { slice::from_raw_parts(headers.as_ptr().cast::<u8>(), size_of_val(headers)) };
    !loaded.is_empty() && file.read_exact_at(&mut found, offset).is_ok() && found == loaded
}

/// Returns the loader's arguments (`ld.so --library-path folder ./program`), with the absolute path of the program.
fn loader_arguments() -> io::Result<Vec<OsString>> {
    let line = fs::read("/proc/self/cmdline")?;
    let arguments: Vec<_> = line.strip_suffix(b"\0").unwrap_or(&line).split(|&byte| byte == 0).collect();
    // The last arguments are the program's; its name stands for its path.
    let options = arguments.len().saturating_sub(env::args_os().len());
    let mut arguments: Vec<_> =
        arguments[..options].iter().skip(1).map(|&argument| OsStr::from_bytes(argument).to_owned()).collect();
    let program = mapped()?;
    if !matches!(is_main_program(&program), Ok(Some(true))) {
        return Err(ErrorKind::NotFound.into());
    }
    arguments.push(program.into());
    Ok(arguments)
}

/// Returns the file that the main program was mapped from.
fn mapped() -> io::Result<PathBuf> {
    let headers = object::find(|program| Some(program.headers.as_ptr().addr())).unwrap_or_default();
    let maps = fs::read("/proc/self/maps")?;
    // Each line: addresses, permissions, offset, device, inode, path.
    let of_line = |line: &[u8]| {
        let (addresses, rest) = line.split_at(line.iter().position(|&byte| byte == b' ')?);
        let (start, end) = str::from_utf8(addresses).ok()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let path = &rest[rest.iter().position(|&byte| byte == b'/')?..];
        range.contains(&headers).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
    };
    maps.split(|&byte| byte == b'\n').find_map(of_line).ok_or_else(|| ErrorKind::NotFound.into())
}

/// Returns the path by which this program was started, if that can be resolved.
fn executed() -> Option<PathBuf> {
    // SAFETY:
    // - `getauxval` has no preconditions.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
    if path == 0 {
        return None;
    }
    // SAFETY:
    // - the kernel has put a C string there, which stays.
    let path = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(path)) };
    absolute(OsStr::from_bytes(path.to_bytes()).as_ref())
}
