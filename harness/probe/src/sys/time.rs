//! Clocks, sleeping, deadlines.
use crate::prelude::*;

/// A clock in nanoseconds.
pub fn now(clock: libc::clockid_t) -> i64 {
    let mut spec = [0; 16];
    // It fails only for an unknown clock, and leaves zeros then.
    let _ = sc!(SYS_clock_gettime, clock, &mut spec);
    Reader(&spec).i64(0) * 1_000_000_000 + Reader(&spec).i64(8)
}

/// A timespec of the kernel.
pub fn timespec(ns: i64) -> [u8; 16] {
    let ns = ns.max(0);
    let mut out = [0; 16];
    out[..8].copy_from_slice(&(ns / 1_000_000_000).to_ne_bytes());
    out[8..].copy_from_slice(&(ns % 1_000_000_000).to_ne_bytes());
    out
}

/// The end of a bounded wait.
#[derive(Clone, Copy)]
pub struct Deadline(i64);

impl Deadline {
    pub fn in_ms(ms: u64) -> Self {
        Self(now(libc::CLOCK_MONOTONIC) + ms as i64 * 1_000_000)
    }
    /// What is left, in nanoseconds; 0 when it has passed.
    pub fn left_ns(self) -> i64 {
        (self.0 - now(libc::CLOCK_MONOTONIC)).max(0)
    }
    /// What is left in milliseconds, rounded up so that a wait of it is not a busy loop.
    pub fn left_ms(self) -> i32 {
        i32::try_from((self.left_ns() + 999_999) / 1_000_000).unwrap_or(i32::MAX)
    }
    pub fn passed(self) -> bool {
        self.left_ns() == 0
    }
}

/// Sleeps until the deadline, whatever signals arrive in between.
pub fn sleep_until(deadline: Deadline) {
    while !deadline.passed() {
        sleep_ns(deadline.left_ns());
    }
}

/// Sleeps at most this long; a signal may end it early.
pub fn sleep_ns(ns: i64) {
    let spec = timespec(ns);
    let _ = sc!(SYS_nanosleep, &spec, 0);
}
