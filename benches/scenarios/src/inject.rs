//! The injecting wrapper: stands in front of a runtime and adds one known defect.
//!
//! It is what the benchmark is tested with: an injection must show in its own metric and in no other. Both
//! arms of a self-test go through the wrapper (the baseline with nothing injected), so its own cost cancels.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Environment variable with the injection; its presence turns the program into the wrapper.
pub const INJECT: &str = "PLIMSOLL_BENCH_INJECT";
/// Environment variable with the real runtime's path.
pub const RUNTIME: &str = "PLIMSOLL_BENCH_RUNTIME";
/// Environment variable with a directory that the injection may use.
pub const SCRATCH: &str = "PLIMSOLL_BENCH_SCRATCH";

/// One defect. Amounts are microseconds, pages or one in so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// Nothing: the baseline.
    None,
    /// Burns CPU in `create` and `run`.
    Cpu(u64),
    /// Sleeps in `create` and `run`.
    Sleep(u64),
    /// Touches fresh pages in `create` and `run`.
    Faults(u64),
    /// Sleeps so long, but only in one of twenty `create`s.
    Tail(u64),
    /// Sleeps in `delete`.
    SlowDelete(u64),
    /// Sleeps in `kill`.
    SlowKill(u64),
    /// Sleeps in `exec`.
    SlowExec(u64),
    /// Holds one lock for all containers while it works: shows only with two workers or more.
    Lock(u64),
    /// Burns CPU in proportion to the containers that exist, in `list`.
    Scan(u64),
    /// Fails one in so many `create`s.
    Fail(u64),
    /// Answers `start` with exit code 1 though it worked, from the fourth time on.
    ExitCode,
    /// Leaves a file behind in each `delete`.
    LeakFile,
    /// Appends 64 KiB to a file in each `delete`.
    LeakBytes,
    /// Leaves a cgroup behind in each `delete`, beside the container's own.
    LeakCgroup,
    /// Leaves a mount behind in each `delete`.
    LeakMount,
    /// Leaves a process behind in each `delete`.
    LeakProcess,
}

/// Makes an injection of an amount.
type Make = fn(u64) -> Injection;

/// Every kind with its name; the amount follows as `name=amount`.
const NAMES: &[(&str, Make)] = &[
    ("none", |_| Injection::None),
    ("cpu", Injection::Cpu),
    ("sleep", Injection::Sleep),
    ("faults", Injection::Faults),
    ("tail", Injection::Tail),
    ("slow-delete", Injection::SlowDelete),
    ("slow-kill", Injection::SlowKill),
    ("slow-exec", Injection::SlowExec),
    ("lock", Injection::Lock),
    ("scan", Injection::Scan),
    ("fail", Injection::Fail),
    ("exit-code", |_| Injection::ExitCode),
    ("leak-file", |_| Injection::LeakFile),
    ("leak-bytes", |_| Injection::LeakBytes),
    ("leak-cgroup", |_| Injection::LeakCgroup),
    ("leak-mount", |_| Injection::LeakMount),
    ("leak-process", |_| Injection::LeakProcess),
];

impl Injection {
    /// Reads `name` or `name=amount`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, amount) = text.split_once('=').unwrap_or((text, "0"));
        let amount = amount.parse().ok()?;
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, make)| make(amount))
    }

    /// The names of all kinds.
    pub fn names() -> Vec<&'static str> {
        NAMES.iter().map(|(name, _)| *name).collect()
    }

    /// The text that [`Self::parse`] reads.
    pub fn text(self) -> String {
        let amount = match self {
            Self::Cpu(n)
            | Self::Sleep(n)
            | Self::Faults(n)
            | Self::Tail(n)
            | Self::SlowDelete(n)
            | Self::SlowKill(n)
            | Self::SlowExec(n)
            | Self::Lock(n)
            | Self::Scan(n)
            | Self::Fail(n) => n,
            _ => 0,
        };
        let name = NAMES.iter().find(|(_, make)| make(amount) == self).map_or("none", |(n, _)| *n);
        if amount == 0 { name.to_owned() } else { format!("{name}={amount}") }
    }
}

/// What a `main` has to call first: it is the wrapper when the environment asks for it, and the program for the
/// work inside when called by that name; otherwise `None`. Does not return where it becomes the runtime.
pub fn wrapper_main() -> Option<ExitCode> {
    if let Some(code) = crate::inside::main_if_called() {
        return Some(code);
    }
    let text = std::env::var(INJECT).ok()?;
    let Some(injection) = Injection::parse(&text) else {
        return Some(broken(&format!("{INJECT}={text} is no injection")));
    };
    let (Ok(runtime), Ok(scratch)) = (std::env::var(RUNTIME), std::env::var(SCRATCH)) else {
        return Some(broken(&format!("{RUNTIME} and {SCRATCH} must be set")));
    };
    let args: Vec<String> = std::env::args().skip(1).collect();
    Some(wrap(injection, &runtime, Path::new(&scratch), &args).unwrap_or_else(|e| broken(&e.to_string())))
}

fn broken(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "injecting wrapper: {why}");
    ExitCode::from(125)
}

fn wrap(injection: Injection, runtime: &str, scratch: &Path, args: &[String]) -> io::Result<ExitCode> {
    let verb = args.iter().map(String::as_str).find(|a| VERBS.contains(a)).unwrap_or("");
    let starts = matches!(verb, "create" | "run");
    match injection {
        Injection::Cpu(us) if starts => burn(us),
        Injection::Sleep(us) if starts => sleep(us),
        Injection::Faults(pages) if starts => touch(pages),
        Injection::Tail(us) if starts && count(scratch)? % 20 == 19 => sleep(us),
        Injection::SlowDelete(us) if verb == "delete" => sleep(us),
        Injection::SlowKill(us) if verb == "kill" => sleep(us),
        Injection::SlowExec(us) if verb == "exec" => sleep(us),
        Injection::Scan(us) if verb == "list" => burn(us * containers(args)),
        Injection::Lock(us) if starts => return locked(us, runtime, scratch, args),
        // The first calls are honest, or the target would be refused before it is measured.
        Injection::Fail(of) if starts && fails(count(scratch)?, of) => return Ok(broken("injected failure")),
        Injection::ExitCode if verb == "start" && count(scratch)? >= 3 => {
            real(runtime).args(args).status()?;
            return Ok(ExitCode::FAILURE);
        }
        _ if verb == "delete" => leak(injection, scratch, args)?,
        _ => {}
    }
    // From here on the process is the runtime itself.
    Err(real(runtime).args(args).exec())
}

/// The real runtime, which may be this very program: without the variable it is no wrapper any more.
fn real(runtime: &str) -> Command {
    let mut command = Command::new(runtime);
    command.env_remove(INJECT);
    command
}

const VERBS: &[&str] = &["create", "start", "state", "kill", "delete", "run", "exec", "list"];

fn burn(us: u64) {
    // By the thread's own CPU clock: on a busy host a burn by wall time would burn less than it says.
    let now = || {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1_000
    };
    let until = now() + us;
    while now() < until {
        std::hint::spin_loop();
    }
}

fn sleep(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}

fn touch(pages: u64) {
    let mut memory = vec![0_u8; pages as usize * 4096];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}

/// The number of earlier calls, kept as the length of a file: appending is atomic.
fn count(scratch: &Path) -> io::Result<u64> {
    let mut file = File::options().create(true).append(true).open(scratch.join("calls"))?;
    file.write_all(b".")?;
    Ok(file.metadata()?.len() - 1)
}

/// Whether the call is one of every `of` that fail.
fn fails(call: u64, of: u64) -> bool {
    call % of.max(1) == of.max(1) - 1
}

/// Containers in the state directory that `--root` names.
fn containers(args: &[String]) -> u64 {
    let root = args.iter().skip_while(|a| *a != "--root").nth(1);
    root.map_or(0, |root| fs::read_dir(root).into_iter().flatten().count() as u64)
}

fn locked(us: u64, runtime: &str, scratch: &Path, args: &[String]) -> io::Result<ExitCode> {
    let lock = File::create(scratch.join("lock"))?;
    lock.lock()?;
    sleep(us);
    // The runtime becomes this process and would drop the lock: it runs while the lock is held.
    let status = real(runtime).args(args).status()?;
    drop(lock);
    Ok(ExitCode::from(status.code().unwrap_or(125) as u8))
}

fn leak(injection: Injection, scratch: &Path, args: &[String]) -> io::Result<()> {
    let serial = format!("{}-{}", std::process::id(), args.last().map_or("x", String::as_str));
    let tmp = std::env::var_os("TMPDIR").map_or_else(|| scratch.to_owned(), PathBuf::from);
    match injection {
        Injection::LeakFile => fs::write(tmp.join(format!("leak-{serial}")), ""),
        Injection::LeakBytes => {
            File::options().create(true).append(true).open(tmp.join("leak"))?.write_all(&vec![0; 64 << 10])
        }
        Injection::LeakCgroup => {
            let parent = std::env::var("PLIMSOLL_BENCH_CGROUP").unwrap_or_default();
            for dir in crate::cgroup::directories(&parent) {
                fs::create_dir(dir.join(format!("leak-{serial}")))?;
            }
            Ok(())
        }
        Injection::LeakMount => {
            let point = tmp.join("mnt");
            fs::create_dir_all(&point)?;
            rustix::mount::mount_bind(&point, &point)?;
            Ok(())
        }
        Injection::LeakProcess => Command::new("/bin/sleep").arg("3600").spawn().map(|_| ()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_injection_is_read_back() {
        for (name, make) in NAMES {
            for amount in [0, 7] {
                let injection = make(amount);
                assert_eq!(Injection::parse(&injection.text()), Some(injection), "{name}");
            }
        }
        assert_eq!(Injection::parse("nonsense=1"), None);
        assert_eq!(Injection::parse("cpu=x"), None);
    }

    #[test]
    fn calls_are_counted_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((count(dir.path()).unwrap(), count(dir.path()).unwrap()), (0, 1));
    }

    #[test]
    fn containers_are_counted_in_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let args = ["--root".to_owned(), dir.path().display().to_string(), "list".to_owned()];
        assert_eq!(containers(&args), 1);
        assert_eq!(containers(&args[2..]), 0);
    }
}
