//! Steps that wait or write raw output. Each has its own deadline.
use crate::prelude::*;
use crate::sys::signal::{Blocked, bit};
use crate::sys::time::{Deadline, sleep_until};
use crate::sys::{file, process, signal};

pub fn sleep(_: &mut Cx, step: &Step) -> Answer {
    let ms = step.millis("ms", 0)?;
    sleep_until(Deadline::in_ms(ms));
    Ok(json!({ "ms": ms }))
}

/// Waits for the first of the signals.
pub fn wait(cx: &mut Cx, step: &Step) -> Answer {
    let mask = step.signals(&["signals", "signal", "catch"])?;
    let ms = step.timeout_ms(10_000)?;
    let _blocked = Blocked::new(mask);
    cx.event(json!({ "ready": true, "pid": process::pid() }));
    match signal::wait(mask, Deadline::in_ms(ms)).what("rt_sigtimedwait")? {
        Some(arrived) => Ok(arrived.to_json()),
        None => Err(Fail::new(libc::ETIMEDOUT, format_args!("no signal within {ms} ms"))),
    }
}

/// Reports every signal of `catch` as an event until `until` of them, or one of the `until` signals, arrived.
pub fn signals(cx: &mut Cx, step: &Step) -> Answer {
    let (count, last) = match step.get("until") {
        Some(Value::Number(_)) => (step.size_or("until", 1, 1_000_000)?, 0),
        Some(_) => (usize::MAX, step.signals(&["until"])?),
        None => (usize::MAX, bit(libc::SIGTERM)),
    };
    let mask = step.signals(&["catch", "signals"])? | last;
    let deadline = Deadline::in_ms(step.timeout_ms(60_000)?);
    let blocked = Blocked::new(mask);
    cx.event(json!({ "ready": true, "pid": process::pid() }));
    let mut seen = Vec::new();
    let mut timed_out = false;
    while seen.len() < count {
        let Some(arrived) = signal::wait(mask, deadline).what("rt_sigtimedwait")? else {
            timed_out = true;
            break;
        };
        cx.event(arrived.to_json());
        seen.push(crate::names::signal(arrived.signal));
        if bit(arrived.signal) & last != 0 {
            break;
        }
    }
    // What came too late must not strike when the mask is lifted.
    signal::drain(mask);
    drop(blocked);
    Ok(json!({ "count": seen.len(), "signals": seen, "timed_out": timed_out }))
}

/// Answers at once, then waits until it is killed; TERM (or what `on` names) ends it with code 0 unless it is in `ignore`.
pub fn pause_forever(cx: &mut Cx, step: &Step) -> Answer {
    let ignore = step.signals(&["ignore"])?;
    let ends = if step.get("on").is_some() { step.signals(&["on"])? } else { bit(libc::SIGTERM) } & !ignore;
    let code = step.int_or("code", 0)?;
    let deadline = Deadline::in_ms(step.timeout_ms(600_000)?);
    let mask = ends | ignore | bit(libc::SIGCHLD);
    let blocked = Blocked::new(mask);
    let ready = json!({ "ready": true, "pid": process::pid() });
    if cx.is_last() {
        cx.last_words(ready);
    } else {
        cx.answer(ready);
    }
    while !deadline.passed() {
        match signal::wait(mask, deadline).what("rt_sigtimedwait")? {
            Some(arrived) if bit(arrived.signal) & ends != 0 => {
                cx.done();
                process::exit(code as i32)
            }
            // As an init it must not leave zombies behind.
            Some(_) => while matches!(process::reap(-1), Ok(Some(_))) {},
            None => break,
        }
    }
    signal::drain(mask);
    drop(blocked);
    Ok(Value::Null)
}

/// Waits until the path exists (or with `"gone": true`, until it does not).
pub fn wait_file(_: &mut Cx, step: &Step) -> Answer {
    let (path, gone) = (step.c_string("path")?, step.flag("gone")?);
    let ms = step.timeout_ms(10_000)?;
    let deadline = Deadline::in_ms(ms);
    loop {
        let there = match sc!(SYS_faccessat, libc::AT_FDCWD, &path, 0) {
            Ok(_) => true,
            Err(libc::ENOENT) => false,
            Err(errno) => return Err(Fail::new(errno, format_args!("look for {}", step.str("path")?))),
        };
        if there != gone {
            return Ok(json!({ "waited_ms": ms - deadline.left_ms() as u64 }));
        }
        if deadline.passed() {
            let state = if gone { "still exists" } else { "did not appear" };
            return Err(Fail::new(
                libc::ETIMEDOUT,
                format_args!("{} {state} within {ms} ms", step.str("path")?),
            ));
        }
        sys::time::sleep_ns(2_000_000);
    }
}

fn write_bounded(fd: i32, bytes: &[u8], deadline: Deadline) -> Result<(), (i32, usize)> {
    let pipe = bit(libc::SIGPIPE);
    let _blocked = Blocked::new(pipe);
    let _alarm = signal::Alarm::new(deadline.left_ms() as u64 + 1);
    let wrote = file::write_all(fd, bytes, deadline);
    if let Err((libc::EPIPE, _)) = wrote {
        signal::drain(pipe);
    }
    wrote
}

/// Raw text, exactly as given, `repeat` times.
pub fn print(_: &mut Cx, step: &Step) -> Answer {
    let fd = step.int_or("fd", 1)? as i32;
    let text = match step.opt_str("text")? {
        Some(text) => text.as_bytes().to_vec(),
        None => crate::ask::data(step)?,
    };
    let repeat = step.size_or("repeat", 1, 1_000_000)?;
    let deadline = Deadline::in_ms(step.timeout_ms(30_000)?);
    for _ in 0..repeat {
        let wrote = write_bounded(fd, &text, deadline).map_err(|(errno, _)| errno);
        wrote.what(format_args!("write to descriptor {fd}"))?;
    }
    Ok(json!({ "bytes": text.len() * repeat }))
}

/// Numbered lines of `line_len` bytes (the newline included) up to `bytes`, so that a lost one shows.
pub fn flood(_: &mut Cx, step: &Step) -> Answer {
    let fd = step.int_or("fd", 1)? as i32;
    let total = step.size_or("bytes", 1 << 20, 1 << 40)?;
    let length = step.size_or("line_len", 100, 1 << 20)?.max(1);
    let deadline = Deadline::in_ms(step.timeout_ms(60_000)?);
    let (mut written, mut lines) = (0, 0);
    let mut block = Vec::with_capacity(65_536 + length);
    while written < total {
        block.clear();
        while block.len() < 65_536 && written + block.len() < total {
            let start = block.len();
            block.extend_from_slice(format!("{lines:012} ").as_bytes());
            block.resize(start + length - 1, b'x');
            block.push(b'\n');
            lines += 1;
        }
        block.truncate(total - written);
        if let Err((errno, part)) = write_bounded(fd, &block, deadline) {
            let what = format_args!("write to descriptor {fd} after {} bytes", written + part).to_string();
            return Err(Fail::new(errno, what));
        }
        written += block.len();
    }
    Ok(json!({ "bytes": written, "lines": lines }))
}
