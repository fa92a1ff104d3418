//! The log of one call: `--log`, `--log-format`, `--debug`.
//!
//! Engines read the last line of level `error` of the JSON log, so a line is one write.

use crate::error::{Context, Result};
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Default)]
struct Sink {
    file: Option<File>,
    json: bool,
    debug: bool,
}

thread_local! {
    static SINK: RefCell<Sink> = RefCell::default();
}

/// Sets where lines go; without a path to standard error.
pub fn init(path: Option<&Path>, json: bool, debug: bool) -> Result<()> {
    let file = match path {
        Some(p) => Some(
            File::options()
                .append(true)
                .create(true)
                .open(p)
                .with_context(|| format!("log file {}", p.display()))?,
        ),
        None => None,
    };
    SINK.with(|s| *s.borrow_mut() = Sink { file, json, debug });
    Ok(())
}

/// Lets go of the log file: the container's process must not hold it.
pub fn detach() {
    SINK.with(|s| s.borrow_mut().file = None);
}

/// Logs an error; with a log file it is also shown on standard error.
pub fn error(text: &str) {
    if SINK.with(|s| s.borrow().file.is_some()) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    line("error", text);
}

/// Logs a warning.
pub fn warn(text: &str) {
    line("warning", text);
}

/// Logs a step, with `--debug` only.
pub fn debug(text: impl FnOnce() -> String) {
    if SINK.with(|s| s.borrow().debug) {
        line("debug", &text());
    }
}

fn line(level: &str, text: &str) {
    let time = timestamp(SystemTime::now());
    SINK.with(|s| {
        let mut sink = s.borrow_mut();
        let line = if sink.json {
            format!("{}\n", serde_json::json!({ "level": level, "msg": text, "time": time }))
        } else {
            format!("time=\"{time}\" level={level} msg={text:?}\n")
        };
        let _ = match &mut sink.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    });
}

/// RFC 3339 in UTC with nanoseconds.
pub fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, secs) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:09}Z", since.subsec_nanos())
}

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian calendar).
fn civil(days: u64) -> (u64, u64, u64) {
    // Shifted so that years begin in March and the leap day is the last of a year.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_is_rfc_3339() {
        let at = UNIX_EPOCH + Duration::new(951_782_400, 7);
        assert_eq!(timestamp(at), "2000-02-29T00:00:00.000000007Z");
    }
}
