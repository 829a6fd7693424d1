//! What the environment asks for: hazards, dumps on signals, and warnings of long waits.

use std::ffi::OsString;
use std::time::Duration;

use super::hazard;
use super::long_wait::warn_after;
use super::print_line;
use super::report::{render, stack};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;

const DUMP: &str = "BOWLINE_DUMP";
const WARN_AFTER: &str = "BOWLINE_WARN_AFTER";

/// Does what a value asks for, or says why not.
type Obey = fn(&str) -> Result<(), String>;

/// Reads the environment, once in the life of the process. Called where the first context is made. What is wrong with a
/// variable is said on standard error.
#[cold]
pub(super) fn obey() {
    static IS_READ: AtomicBool = AtomicBool::new(false);
    if IS_READ.swap(true, Relaxed) {
        return;
    }
    // It reads its variable by itself, and nobody has to look for hazards before that.
    let _ = hazard::hazard_policy();
    let variables = [(DUMP, dump_on as Obey), (WARN_AFTER, warn), (stack::VARIABLE, trace)];
    for (variable, obey) in variables {
        let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { continue };
        if let Err(why) = text(&value).and_then(obey) {
            print_line(format_args!("bowline: {variable}={}: {why}", value.display()));
        }
    }
}

fn text(value: &OsString) -> Result<&str, String> {
    value.to_str().map(str::trim).ok_or_else(|| "it is not UTF-8".to_owned())
}

#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
fn dump_on(signals: &str) -> Result<(), String> {
    super::signal::dump_on(signals)
}

#[cfg(not(all(unix, not(bowline_portable), feature = "signal")))]
fn dump_on(_: &str) -> Result<(), String> {
    Err("this program was built without bowline's feature `signal`, or for a system without signals".to_owned())
}

/// Checks that stacks can be traced: dumps and reports read the variable themselves.
fn trace(_: &str) -> Result<(), String> {
    if stack::is_asked_for() && !stack::IS_KNOWN {
        return Err("this program was built without bowline's feature `backtrace`, or not for Linux".to_owned());
    }
    Ok(())
}

/// Prints every wait that is longer than this.
fn warn(limit: &str) -> Result<(), String> {
    let limit = duration(limit).ok_or("it is no duration, such as 2s, 500ms or 1min")?;
    warn_after(limit, render::print_long_wait).keep();
    Ok(())
}

/// Reads a duration: a number and a unit, without which it is seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..digits].parse::<f64>().ok()?, text[digits..].trim());
    let seconds = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, millis) in [
            ("2s", 2000),
            ("500ms", 500),
            ("0.5 s", 500),
            ("3", 3000),
            ("1min", 60_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "2 days", "1e9", ".", "1.2.3s", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
