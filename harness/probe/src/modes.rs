//! The ways to call the program: a script, or one of the small fixed modes.
use crate::prelude::*;
use crate::script::Script;
use crate::sys::process;
use crate::sys::time::Deadline;

/// The exit code of a probe that could not even begin: no script, no JSON, no steps.
const BROKEN: i32 = 125;

/// The longest script file that is read.
const MAX_SCRIPT: usize = 16 << 20;

/// Runs what the arguments ask for and gives the exit code.
pub fn run(args: &[&[u8]]) -> i32 {
    let base = args.first().and_then(|path| path.rsplit(|&b| b == b'/').next()).unwrap_or_default();
    match args.get(1).copied() {
        Some(b"stamp") => stamp(args.get(2)),
        Some(b"pause") => pause(),
        Some(b"stamp-pause") => match stamp(args.get(2)) {
            0 => pause(),
            code => code,
        },
        None if base == b"pause" => pause(),
        None => {
            broken("no script: give a JSON object, or @/path of a file that holds one, as first argument")
        }
        Some(argument) => script(argument),
    }
}

fn script(argument: &[u8]) -> i32 {
    let Ok(argument) = core::str::from_utf8(argument) else {
        return broken("the script is not UTF-8");
    };
    let text = match argument.strip_prefix('@') {
        None => argument.as_bytes().to_vec(),
        Some(path) => match sys::file::read_file(path, MAX_SCRIPT) {
            Ok((bytes, false)) => bytes,
            Ok((_, true)) => return broken(format_args!("script {path} is longer than {MAX_SCRIPT} bytes")),
            Err(fail) => return broken(fail.message()),
        },
    };
    let parsed = serde_json::from_slice(&text).map_err(|error| error.to_string());
    match parsed.and_then(|value| Script::new(value, &Value::Null, None)) {
        Ok(mut script) => script.run(),
        Err(error) => broken(format_args!("script: {error}")),
    }
}

/// One line on standard error, and the code for it.
pub fn broken(error: impl core::fmt::Display) -> i32 {
    let mut line = json!({ "error": error.to_string() }).to_string();
    line.push('\n');
    let _ = sys::file::write_all(2, line.as_bytes(), Deadline::in_ms(1000));
    BROKEN
}

/// `{"stamp_ns": CLOCK_MONOTONIC at the start of main}`: no allocation, one write.
fn stamp(fd: Option<&&[u8]>) -> i32 {
    let fd = match fd {
        None => 1,
        Some(text) => match crate::bytes::number(text) {
            Some(fd) => fd,
            None => return broken("stamp: the second argument is no descriptor number"),
        },
    };
    let mut line = [0; 48];
    let mut at = line.len();
    let mut put = |byte: u8| {
        at -= 1;
        line[at] = byte;
    };
    for byte in *b"\n}" {
        put(byte);
    }
    let mut rest = sys::start_ns().unsigned_abs();
    loop {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for byte in b"{\"stamp_ns\":".iter().rev() {
        put(*byte);
    }
    match sys::file::write_all(fd, &line[at..], Deadline::in_ms(1000)) {
        Ok(()) => 0,
        Err((errno, _)) => {
            broken(Fail::new(errno, format_args!("stamp: write to descriptor {fd}")).message())
        }
    }
}

/// What the pause container of a pod sandbox does: reaps orphans, and ends at TERM or INT. The only mode without a
/// bound of its own: its life is the container's.
fn pause() -> i32 {
    let bit = sys::signal::bit;
    let mask = bit(libc::SIGTERM) | bit(libc::SIGINT) | bit(libc::SIGCHLD);
    sys::signal::change_mask(libc::SIG_BLOCK, mask);
    loop {
        while matches!(process::reap(-1), Ok(Some(_))) {}
        match sys::signal::wait(mask, Deadline::in_ms(3_600_000)) {
            Ok(Some(arrived)) if arrived.signal != libc::SIGCHLD => return 0,
            Ok(_) => {}
            Err(errno) => return broken(Fail::new(errno, "pause: rt_sigtimedwait").message()),
        }
    }
}
