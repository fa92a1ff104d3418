//! Steps that use memory or CPU time.
use crate::prelude::*;
use crate::sys::memory::Mapping;
use crate::sys::signal::{self, Blocked, bit};
use crate::sys::time::{Deadline, now};

/// Maps and touches memory, then holds it until TERM or the deadline; with `keep` the script goes on holding it.
pub fn hold_memory(cx: &mut Cx, step: &Step) -> Answer {
    let bytes = step.size_or("bytes", 1 << 20, 1 << 40)?;
    let (touch, keep) = (step.flag_or("touch", true)?, step.flag("keep")?);
    let deadline = Deadline::in_ms(step.timeout_ms(600_000)?);
    let mut mapping = Mapping::anonymous(bytes.max(1)).what(format_args!("mmap {bytes} bytes"))?;
    if touch {
        mapping.touch();
    }
    if keep {
        mapping.leak();
        return Ok(json!({ "bytes": bytes, "touched": touch, "kept": true }));
    }
    let term = bit(libc::SIGTERM);
    let _blocked = Blocked::new(term);
    cx.event(json!({ "ready": true, "bytes": bytes, "pid": sys::process::pid() }));
    let arrived = signal::wait(term, deadline).what("rt_sigtimedwait")?;
    Ok(json!({ "bytes": bytes, "touched": touch, "terminated": arrived.is_some() }))
}

/// Keeps one CPU busy for `ms`, or until the path `until` exists (at most `ms`); says how much CPU time it got.
pub fn burn_cpu(_: &mut Cx, step: &Step) -> Answer {
    let ms = step.millis("ms", 1000)?;
    let until = match step.get("until") {
        Some(_) => Some(step.c_string("until")?),
        None => None,
    };
    let (wall, cpu) = (now(libc::CLOCK_MONOTONIC), now(libc::CLOCK_PROCESS_CPUTIME_ID));
    let deadline = Deadline::in_ms(ms);
    let (mut rounds, mut value) = (0_u64, 1_u64);
    while !deadline.passed() {
        if until.as_ref().is_some_and(|path| sc!(SYS_faccessat, libc::AT_FDCWD, path, 0).is_ok()) {
            break;
        }
        for _ in 0..20_000 {
            value = core::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        rounds += 1;
    }
    Ok(json!({
        "wall_ns": now(libc::CLOCK_MONOTONIC) - wall, "cpu_ns": now(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu,
        "rounds": rounds,
    }))
}
