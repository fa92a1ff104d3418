//! Signals, without handlers wherever possible: block, then wait for them.
use crate::prelude::*;
use crate::sys::time::{Deadline, timespec};
use core::sync::atomic::{AtomicBool, Ordering};

/// Set by the handler of [`Alarm`].
static EXPIRED: AtomicBool = AtomicBool::new(false);

/// The bit of a signal in a mask; none for 0 and for numbers that are no signal.
pub fn bit(signal: i32) -> u64 {
    if (1..=64).contains(&signal) { 1 << (signal - 1) } else { 0 }
}

/// The names of the signals in a mask.
pub fn names(mask: u64) -> Vec<String> {
    (1..=64).filter(|signal| mask & bit(*signal) != 0).map(crate::names::signal).collect()
}

/// Signals that are blocked as long as this lives; the mask of before comes back with its end.
pub struct Blocked(u64);

impl Blocked {
    pub fn new(mask: u64) -> Self {
        Self(change_mask(libc::SIG_BLOCK, mask))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        change_mask(libc::SIG_SETMASK, self.0);
    }
}

/// The mask as it was before.
pub fn change_mask(how: i32, mask: u64) -> u64 {
    let mut before = [0; 8];
    let _ = sc!(SYS_rt_sigprocmask, how, &mask.to_ne_bytes(), &mut before, 8);
    u64::from_ne_bytes(before)
}

/// The mask of the blocked signals.
pub fn mask() -> u64 {
    let mut now = [0; 8];
    let _ = sc!(SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &mut now, 8);
    u64::from_ne_bytes(now)
}

/// A signal that arrived, and who sent it.
pub struct Arrived {
    pub signal: i32,
    pub code: i32,
    pub pid: i32,
    pub uid: u32,
}

impl Arrived {
    pub fn to_json(&self) -> Value {
        json!({
            "signal": crate::names::signal(self.signal), "number": self.signal, "code": self.code,
            "pid": self.pid, "uid": self.uid,
        })
    }
}

/// Waits for one of the signals, which must be blocked; `None` when the deadline came first.
pub fn wait(mask: u64, deadline: Deadline) -> Result<Option<Arrived>, i32> {
    loop {
        let mut info = [0; 128];
        let left = timespec(deadline.left_ns());
        match sc!(SYS_rt_sigtimedwait, &mask.to_ne_bytes(), &mut info, &left, 8) {
            Ok(signal) => {
                let info = Reader(&info);
                let (code, pid, uid) = (info.i32(8), info.i32(16), info.u32(20));
                return Ok(Some(Arrived { signal: signal as i32, code, pid, uid }));
            }
            Err(libc::EAGAIN) => return Ok(None),
            Err(libc::EINTR) if deadline.passed() => return Ok(None),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Throws away what of these (blocked) signals is pending.
pub fn drain(mask: u64) {
    while let Ok(Some(_)) = wait(mask, Deadline::in_ms(0)) {}
}

/// `SIG_DFL` or `SIG_IGN`.
pub fn set_disposition(signal: i32, handler: libc::sighandler_t) -> Result<(), i32> {
    let mut action = [0; 32];
    action[..8].copy_from_slice(&handler.to_ne_bytes());
    sc!(SYS_rt_sigaction, signal, &action, 0, 8).map(|_| ())
}

/// The handler word of a signal: 0 default, 1 ignored, else caught.
pub fn disposition(signal: i32) -> Result<u64, i32> {
    let mut action = [0; 32];
    sc!(SYS_rt_sigaction, signal, 0, &mut action, 8)?;
    Ok(Reader(&action).u64(0))
}

/// The signal of [`Alarm`]: a real-time one that no test is likely to send.
const ALARM_SIGNAL: i32 = 62;

extern "C" fn on_alarm(_signal: i32) {
    EXPIRED.store(true, Ordering::Relaxed);
}

/// A bound on what blocks: from its deadline on, every system call that blocks is interrupted, again and again.
/// All traces (handler, timer, mask) go with its end. Not to be nested.
pub struct Alarm {
    before: [u8; 32],
    mask: u64,
    timer: Option<i32>,
}

/// The kernel wants to be told how a handler returns (`SA_RESTORER`).
const SA_RESTORER: u64 = 0x0400_0000;

// Where a handler returns to: rt_sigreturn(2), which is number 15.
core::arch::global_asm!(
    ".globl probe_sigreturn",
    "probe_sigreturn:",
    "mov $15, %eax",
    "syscall",
    options(att_syntax)
);

unsafe extern "C" {
    fn probe_sigreturn();
}

impl Alarm {
    pub fn new(ms: u64) -> Self {
        EXPIRED.store(false, Ordering::Relaxed);
        // struct kernel_sigaction: handler, flags, restorer, mask. Without SA_RESTART on purpose. The handler only
        // sets an atomic flag.
        let fields = [on_alarm as *const () as u64, SA_RESTORER, probe_sigreturn as *const () as u64, 0];
        let action = fields.map(u64::to_ne_bytes).concat();
        let mut before = [0; 32];
        let _ = sc!(SYS_rt_sigaction, ALARM_SIGNAL, action.as_slice(), &mut before, 8);
        let mask = change_mask(libc::SIG_UNBLOCK, bit(ALARM_SIGNAL));
        Self { before, mask, timer: start_timer(ms).ok() }
    }

    /// Whether the bound was reached.
    pub fn expired() -> bool {
        EXPIRED.load(Ordering::Relaxed)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            let _ = sc!(SYS_timer_delete, id);
        }
        let _ = sc!(SYS_rt_sigaction, ALARM_SIGNAL, &self.before, 0, 8);
        change_mask(libc::SIG_SETMASK, self.mask);
    }
}

/// After `ms`, and from then on every 50 ms, the alarm's signal. A POSIX timer: fork and exec leave it behind.
fn start_timer(ms: u64) -> Result<i32, i32> {
    // struct sigevent: value, signal, SIGEV_SIGNAL (0).
    let mut event = [0; 64];
    event[8..12].copy_from_slice(&ALARM_SIGNAL.to_ne_bytes());
    let mut id = [0; 4];
    sc!(SYS_timer_create, libc::CLOCK_MONOTONIC, &event, &mut id)?;
    let id = i32::from_ne_bytes(id);
    // Zero would mean never.
    let every_and_first = [timespec(50_000_000), timespec(ms.max(1) as i64 * 1_000_000)].concat();
    sc!(SYS_timer_settime, id, 0, every_and_first.as_slice(), 0)?;
    Ok(id)
}
