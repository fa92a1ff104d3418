//! Starting a process at the least cost, and waiting for it with a deadline and its resource usage.

use super::now_ns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A command with everything laid out before the clock starts: strings, their pointers, descriptors.
pub struct Command {
    argv: Strings,
    envp: Strings,
    actions: FileActions,
    attributes: Attributes,
}

/// NUL-terminated strings and the NULL-terminated array of pointers to them.
struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*mut libc::c_char>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        // The bytes of a `CString` are on the heap and stay where they are when the vector moves.
        let pointers = owned.iter().map(|s| s.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
        Self { owned, pointers }
    }
}

impl Command {
    /// `argv[0]` is the program's path; `PATH` is not searched. Fails on a NUL inside an argument.
    pub fn new<A: AsRef<str>>(argv: &[A], env: &[(String, String)], stdio: Stdio<'_>) -> io::Result<Self> {
        let text = |s: &str| CString::new(s).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e));
        if argv.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command"));
        }
        let argv = argv.iter().map(|a| text(a.as_ref())).collect::<io::Result<_>>()?;
        let envp = env.iter().map(|(k, v)| text(&format!("{k}={v}"))).collect::<io::Result<_>>()?;
        Ok(Self {
            argv: Strings::new(argv),
            envp: Strings::new(envp),
            actions: FileActions::new(stdio)?,
            attributes: Attributes::new()?,
        })
    }

    /// The command line for a message.
    pub fn display(&self) -> String {
        self.argv.owned.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// The three standard descriptors of a child.
#[derive(Debug, Clone, Copy)]
pub struct Stdio<'a> {
    /// Standard input.
    pub input: BorrowedFd<'a>,
    /// Standard output.
    pub output: BorrowedFd<'a>,
    /// Standard error.
    pub error: BorrowedFd<'a>,
}

/// Resource usage of a process and of the descendants it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// User CPU time, microseconds.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub system_us: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
    /// Largest resident set of any one process, KiB.
    pub max_rss_kib: u64,
}

impl Usage {
    /// The sum; of the largest resident sets the larger.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            user_us: self.user_us + other.user_us,
            system_us: self.system_us + other.system_us,
            minor_faults: self.minor_faults + other.minor_faults,
            major_faults: self.major_faults + other.major_faults,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
            max_rss_kib: self.max_rss_kib.max(other.max_rss_kib),
        }
    }

    /// User and system time together, milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        (self.user_us + self.system_us) as f64 / 1e3
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A started process: its id and the moment just before it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// Process id.
    pub pid: i32,
    /// `CLOCK_MONOTONIC` just before the system call, nanoseconds.
    pub asked_ns: u64,
}

/// `posix_spawn`: no copy of the address space (it is vfork inside), default signals, own process group.
pub fn spawn(command: &Command) -> io::Result<Child> {
    let (argv, envp) = (&command.argv.pointers, &command.envp.pointers);
    let (actions, attributes) = (&raw const command.actions.0, &raw const command.attributes.0);
    let mut pid = 0;
    let asked_ns = now_ns();
    // SAFETY: argv and envp are NULL-terminated arrays of NUL-terminated strings that `command` owns, its
    // actions and attributes are initialised, and all of them outlive the call.
    let code = unsafe {
        libc::posix_spawn(&raw mut pid, argv[0], actions, attributes, argv.as_ptr(), envp.as_ptr())
    };
    check(code)?;
    Ok(Child { pid, asked_ns })
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new(stdio: Stdio<'_>) -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: `init` writes the whole object when it returns 0, which is checked first.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(raw.as_mut_ptr()))?;
            Self(raw.assume_init())
        };
        let pairs: [(RawFd, RawFd); 3] =
            [(stdio.input.as_raw_fd(), 0), (stdio.output.as_raw_fd(), 1), (stdio.error.as_raw_fd(), 2)];
        for (from, to) in pairs {
            // SAFETY: the object is initialised; the descriptors are only numbers to it.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, from, to) })?;
        }
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: `init` writes the whole object when it returns 0, which is checked first.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(raw.as_mut_ptr()))?;
            Self(raw.assume_init())
        };
        let mut none = MaybeUninit::uninit();
        let mut all = MaybeUninit::uninit();
        // SAFETY: the set functions initialise the sets before they are read; the attribute object is
        // initialised; pgroup 0 asks for a group of the child's own. The Rust runtime ignores SIGPIPE, and a
        // runtime under test must not inherit that, so every signal goes back to its default.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            let flags =
                libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETPGROUP;
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()))?;
            check(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, all.as_ptr()))?;
            check(libc::posix_spawnattr_setpgroup(&raw mut attributes.0, 0))?;
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as libc::c_short))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Collects a child that has ended; `None` while it runs. `pid` -1 means any child.
pub fn collect(pid: i32) -> io::Result<Option<(i32, Ended, Usage)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both out-pointers are valid for writes; an all-zero rusage is a valid value.
    let (got, usage) = unsafe {
        let got = libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (got, usage.assume_init())
    };
    match got {
        0 => Ok(None),
        pid if pid > 0 => {
            let ended = if libc::WIFSIGNALED(status) {
                Ended::Signal(libc::WTERMSIG(status))
            } else {
                Ended::Code(libc::WEXITSTATUS(status))
            };
            Ok(Some((pid, ended, convert(&usage))))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn convert(raw: &libc::rusage) -> Usage {
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    Usage {
        user_us: us(raw.ru_utime),
        system_us: us(raw.ru_stime),
        minor_faults: raw.ru_minflt as u64,
        major_faults: raw.ru_majflt as u64,
        voluntary_switches: raw.ru_nvcsw as u64,
        involuntary_switches: raw.ru_nivcsw as u64,
        max_rss_kib: raw.ru_maxrss as u64,
    }
}

/// Collects every orphan that has ended, and the sum of what they used. Only for a moment when no other
/// thread waits for a child of its own.
pub fn collect_orphans() -> (usize, Usage) {
    let mut total = Usage::default();
    let mut count = 0;
    while let Ok(Some((_, _, usage))) = collect(-1) {
        total = total.plus(usage);
        count += 1;
    }
    (count, total)
}

/// Sends SIGKILL to a process group that [`spawn`] made.
pub fn kill_group(pid: i32) {
    if pid > 1 {
        // SAFETY: a plain system call; a group that is gone is an error without effect.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
}

/// A handle that becomes readable when the process ends; works for any process, child or not.
pub fn exit_handle(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Collects orphans at once while a call of the runtime is awaited.
///
/// Some runtimes wait inside `delete` until the processes of the container are gone; as a subreaper we are
/// their parent, and while we do not collect them they are not gone.
pub struct Reaper {
    signals: OwnedFd,
    ended: Vec<Orphan>,
}

/// An orphan that was collected.
#[derive(Debug, Clone, Copy)]
pub struct Orphan {
    /// Its process id.
    pub pid: i32,
    /// When it was collected, ns.
    pub at_ns: u64,
    /// How it ended.
    pub ended: Ended,
    /// What it used.
    pub usage: Usage,
}

impl Reaper {
    /// Blocks SIGCHLD in the calling thread and in those it starts; every thread of the process has to
    /// have it blocked, or the kernel may drop the signal.
    pub fn block_signal() {
        let set = child_signal();
        // SAFETY: the set is initialised; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    }

    /// A reaper for the calling thread's waits.
    pub fn new() -> io::Result<Self> {
        let set = child_signal();
        // SAFETY: the set is initialised; the new descriptor is owned by nobody else.
        let signals = unsafe {
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { signals, ended: Vec::new() })
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.ended.clear();
    }

    /// The orphan with this id, if it was collected.
    pub fn find(&self, pid: i32) -> Option<Orphan> {
        self.ended.iter().find(|o| o.pid == pid).copied()
    }

    /// Collects what has ended since and sums up the usage of all orphans since [`Self::clear`].
    pub fn total(&mut self) -> Usage {
        self.sweep(0);
        self.ended.iter().fold(Usage::default(), |sum, o| sum.plus(o.usage))
    }

    /// Collects every ended child except `own`, which its caller collects.
    fn sweep(&mut self, own: i32) {
        let mut drained = [0_u8; 128];
        while rustix::io::read(&self.signals, &mut drained[..]).is_ok_and(|n| n > 0) {}
        while let Some(pid) = ended_child().filter(|pid| *pid != own) {
            let Ok(Some((pid, ended, usage))) = collect(pid) else { break };
            self.ended.push(Orphan { pid, at_ns: now_ns(), ended, usage });
        }
    }
}

fn child_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set before anything reads it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        set.assume_init()
    }
}

/// A child that has ended and is not yet collected; it stays so.
fn ended_child() -> Option<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is valid for writes, and all zeroes is a valid value that means "none".
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags) != 0 {
            return None;
        }
        info.assume_init().si_pid()
    };
    (pid > 0).then_some(pid)
}

/// Waits until the handle is readable or the deadline (`CLOCK_MONOTONIC`, ns) has passed; the moment of
/// the exit, or `None` at the deadline. Meanwhile the first readability of `output` is noted in `first_output`.
pub fn await_exit(
    handle: &OwnedFd,
    output: Option<BorrowedFd<'_>>,
    first_output: &mut Option<u64>,
    deadline_ns: u64,
) -> io::Result<Option<u64>> {
    await_exit_reaping(handle, output, first_output, deadline_ns, None)
}

/// As [`await_exit`]; orphans that end meanwhile are collected at once, except the awaited process itself.
pub fn await_exit_reaping(
    handle: &OwnedFd,
    output: Option<BorrowedFd<'_>>,
    first_output: &mut Option<u64>,
    deadline_ns: u64,
    mut reaper: Option<(&mut Reaper, i32)>,
) -> io::Result<Option<u64>> {
    loop {
        let now = now_ns();
        if now >= deadline_ns {
            return Ok(None);
        }
        let left = deadline_ns - now;
        let timeout =
            Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        let watched = output.filter(|_| first_output.is_none());
        let mut fds = vec![PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
        fds.extend(watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let signals = reaper.as_ref().map(|(reaper, _)| reaper.signals.as_fd());
        fds.extend(signals.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let at = now_ns();
        let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        let (ended, wrote) = (ready(0), watched.is_some() && ready(1));
        let signalled = ready(1 + usize::from(watched.is_some()));
        drop(fds);
        if wrote {
            *first_output = Some(at);
        }
        if ended {
            return Ok(Some(at));
        }
        if let Some((reaper, own)) = &mut reaper
            && signalled
        {
            reaper.sweep(*own);
        }
    }
}
