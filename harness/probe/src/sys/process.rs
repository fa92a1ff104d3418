//! Processes: fork, exec, exit, wait.
use crate::prelude::*;
use crate::sys::time::Deadline;
use core::sync::atomic::Ordering;

/// Ends the process at once.
pub fn exit(code: i32) -> ! {
    loop {
        let _ = sc!(SYS_exit_group, code);
    }
}

/// `0` in the child.
pub fn fork() -> Result<i32, i32> {
    // The probe has one thread, so the child may do all that the parent may.
    sc!(SYS_fork).map(|pid| pid as i32)
}

/// Replaces the program; gives the errno if it could not. `env`: `None` keeps the environment.
pub fn exec(path: &CStr, argv: &[CString], env: Option<&[CString]>) -> i32 {
    let pointers = |list: &[CString]| -> Vec<usize> {
        list.iter().map(|text| text.as_ptr() as usize).chain([0]).collect()
    };
    let args = pointers(argv);
    let own = env.map(pointers);
    let inherited = sys::start::ENVP.load(Ordering::Relaxed) as usize;
    let env = own.as_ref().map_or(inherited, |list| list.as_ptr() as usize);
    // Both lists end with a null pointer and outlive the call, as their strings do.
    sc!(SYS_execve, path, args.as_ptr() as usize, env).err().unwrap_or(0)
}

/// How a process ended.
#[derive(Clone, Copy)]
pub struct Ended {
    pub pid: i32,
    status: i32,
}

impl Ended {
    pub fn code(self) -> Option<i32> {
        libc::WIFEXITED(self.status).then(|| libc::WEXITSTATUS(self.status))
    }
    pub fn signal(self) -> Option<i32> {
        libc::WIFSIGNALED(self.status).then(|| libc::WTERMSIG(self.status))
    }
    /// As a shell reports it: the code, or 128 + the signal.
    pub fn shell_code(self) -> i32 {
        self.code().or_else(|| self.signal().map(|signal| 128 + signal)).unwrap_or(255)
    }
    pub fn to_json(self) -> Value {
        let signal = self.signal().map(crate::names::signal);
        json!({ "pid": self.pid, "code": self.code(), "signal": signal })
    }
}

/// A child that has ended, if there is one by now. `pid` -1: any.
pub fn reap(pid: i32) -> Result<Option<Ended>, i32> {
    loop {
        let mut status = [0; 4];
        match sc!(SYS_wait4, pid, &mut status, libc::WNOHANG, 0) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some(Ended { pid: pid as i32, status: i32::from_ne_bytes(status) })),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether the child has ended; it is not reaped.
pub fn is_zombie(pid: i32) -> Result<bool, i32> {
    let mut info = [0; 128];
    sc!(SYS_waitid, libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT, 0)?;
    // si_pid stays 0 when there is nothing to report.
    Ok(Reader(&info).i32(16) == pid)
}

/// Waits for the child until the deadline.
pub fn wait_for(pid: i32, deadline: Deadline) -> Result<Option<Ended>, i32> {
    let mut pause = 200_000;
    loop {
        if let Some(ended) = reap(pid)? {
            return Ok(Some(ended));
        }
        if deadline.passed() {
            return Ok(None);
        }
        // Short first (most children end at once), never longer than 5 ms.
        sys::time::sleep_ns(deadline.left_ns().min(pause));
        pause = (pause * 2).min(5_000_000);
    }
}

pub fn kill(pid: i32, signal: i32) -> Result<(), i32> {
    sc!(SYS_kill, pid, signal).map(|_| ())
}

pub fn pid() -> i32 {
    sc!(SYS_getpid).unwrap_or(0) as i32
}

/// Dies by the signal, as nearly as this process can: default action, unblocked, no core file. Returns when the
/// signal does not end it (ignored by default, or the probe is PID 1 of its namespace).
pub fn die_by(signal: i32) {
    let _ = sc!(SYS_prlimit64, 0, libc::RLIMIT_CORE, &[0_u8; 16], 0);
    let _ = sys::signal::set_disposition(signal, libc::SIG_DFL);
    sys::signal::change_mask(libc::SIG_UNBLOCK, sys::signal::bit(signal));
    let _ = kill(pid(), signal);
}
