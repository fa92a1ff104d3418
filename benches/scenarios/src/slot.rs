//! A slot: the place where one container at a time lives, and how the runtime is called in it.
//!
//! Everything that can be done before or after the clock is: command lines, pipes, checks. Between two
//! stamps there are only a `posix_spawn`, a poll and a wait.

use crate::bundle::{self, Guest};
use crate::cgroup;
use crate::place::{Place, Reading, Residue, Step, best_of_three};
use crate::plan::OciTarget;
use crate::sys::now_ns;
use crate::sys::process::{self, Command, Ended, Reaper, Stdio, Usage};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a lifecycle did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {why}")]
pub struct Failure {
    /// The step that failed: a verb of the runtime, or a check.
    pub step: String,
    /// What was seen.
    pub why: String,
}

impl Failure {
    pub(crate) fn new(step: &str, why: impl Into<String>) -> Self {
        Self { step: step.to_owned(), why: why.into() }
    }

    pub(crate) fn io(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(step, error.to_string())
    }
}

/// The values of one lifecycle, by metric name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    values: Vec<(&'static str, f64)>,
}

impl Sample {
    /// Adds a value.
    pub fn set(&mut self, metric: &'static str, value: f64) {
        self.values.push((metric, value));
    }

    /// All values.
    pub fn values(&self) -> &[(&'static str, f64)] {
        &self.values
    }

    /// The value of a metric.
    pub fn get(&self, metric: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == metric).map(|(_, v)| *v)
    }

    pub(crate) fn usage(&mut self, usage: Usage) {
        self.set("cpu.lifecycle", usage.cpu_ms());
        self.set("faults.minor", usage.minor_faults as f64);
        self.set("faults.major", usage.major_faults as f64);
        self.set("switches.voluntary", usage.voluntary_switches as f64);
        self.set("switches.involuntary", usage.involuntary_switches as f64);
    }
}

/// What a call of the runtime's command line came to.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Just before the request, ns.
    pub asked_ns: u64,
    /// When its end was seen, ns.
    pub ended_ns: u64,
    /// Its resource usage, with what it waited for.
    pub usage: Usage,
}

/// A place in which one container at a time lives: its bundles, its state directory, its cgroup.
pub struct Slot {
    /// The runtime.
    pub target: OciTarget,
    /// Its state directory.
    pub state: PathBuf,
    /// The cgroup path of the slot.
    pub cgroup: String,
    /// Longest time for any one call.
    pub timeout: Duration,
    /// Whether other slots run at the same time, so that orphans must be left alone.
    pub concurrent: bool,
    /// Whether guest stamps are comparable with host stamps; found out in the first lifecycle.
    pub guest_clock: bool,
    /// Collects orphans while calls are awaited.
    pub(crate) reaper: RefCell<Reaper>,
    /// The container of scenarios that keep one; set and used by them.
    pub resident: Option<Resident>,
    /// The root file system of all containers, as the host sees it.
    pub(crate) root: PathBuf,
    stamp_bundle: PathBuf,
    pause_bundle: PathBuf,
    prefix: String,
    counter: u64,
    null: File,
    env: Vec<(String, String)>,
    scratch: PathBuf,
    /// Where all slots of the run are, and the cgroup above this one: for siblings.
    home: (PathBuf, String),
}

/// A container that stays for several measurements.
pub struct Resident {
    /// Its id.
    pub id: String,
    /// The host's id of its first process.
    pub init: i32,
    /// Keeps its output open.
    pub pipes: Pipes,
}

/// The pipes of one lifecycle. They are read only after the end; each holds 64 KiB, and a program that
/// writes more runs into the deadline.
pub struct Pipes {
    output: (OwnedFd, OwnedFd),
    error: (OwnedFd, OwnedFd),
}

impl Pipes {
    pub(crate) fn new() -> io::Result<Self> {
        let pipe = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&read, true)?;
            Ok((read, write))
        };
        Ok(Self { output: pipe()?, error: pipe()? })
    }

    fn take(fd: &OwnedFd) -> String {
        let mut out = Vec::new();
        let mut chunk = [0_u8; 4096];
        while let Ok(n) = rustix::io::read(fd, &mut chunk[..]) {
            if n == 0 || out.len() > 1 << 16 {
                break;
            }
            out.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// What was written to standard output so far.
    pub fn output(&self) -> String {
        Self::take(&self.output.0)
    }

    /// The last line written to standard error so far, shortened.
    pub fn complaint(&self) -> String {
        let text = Self::take(&self.error.0);
        let line = text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("(no message)");
        line.chars().take(300).collect()
    }
}

impl Slot {
    /// Prepares a slot below `dir`; `name` distinguishes it from all other slots of the run.
    pub fn new(
        target: &OciTarget,
        dir: &Path,
        root: &Path,
        cgroup_parent: &str,
        name: &str,
        timeout: Duration,
    ) -> io::Result<Self> {
        let cgroup = format!("{cgroup_parent}/{name}");
        let bundle = |guest, sub: &str| {
            bundle::write(dir.join(name).join(sub), &bundle::config(root, guest, &cgroup, None))
        };
        let scratch = dir.join(name).join("tmp");
        fs::create_dir_all(&scratch)?;
        let state = dir.join(format!("state-{name}"));
        fs::create_dir_all(&state)?;
        let mut env = vec![
            (
                "PATH".to_owned(),
                std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ),
            ("TMPDIR".to_owned(), scratch.display().to_string()),
            ("XDG_RUNTIME_DIR".to_owned(), scratch.display().to_string()),
            ("PLIMSOLL_BENCH_CGROUP".to_owned(), cgroup_parent.to_owned()),
        ];
        env.extend(target.env.iter().cloned());
        Ok(Self {
            target: target.clone(),
            state,
            stamp_bundle: bundle(Guest::Stamp, "stamp")?,
            pause_bundle: bundle(Guest::StampPause, "pause")?,
            root: root.to_owned(),
            cgroup,
            timeout,
            concurrent: false,
            guest_clock: true,
            reaper: RefCell::new(Reaper::new()?),
            resident: None,
            prefix: name.to_owned(),
            counter: 0,
            null: File::options().read(true).write(true).open("/dev/null")?,
            env,
            scratch,
            home: (dir.to_owned(), cgroup_parent.to_owned()),
        })
    }

    /// An id nobody used before in this run.
    pub fn next_id(&mut self) -> String {
        self.counter += 1;
        format!("{}-{}", self.prefix, self.counter)
    }

    /// A directory that the runtime sees as `TMPDIR`.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The bundle for a guest.
    pub fn bundle(&self, guest: Guest) -> &Path {
        match guest {
            Guest::Stamp => &self.stamp_bundle,
            Guest::StampPause => &self.pause_bundle,
        }
    }

    /// A command line of the host.
    pub(crate) fn host_command(&self, argv: &[&str], pipes: &Pipes) -> Result<Command, Failure> {
        let stdio =
            Stdio { input: self.null.as_fd(), output: pipes.output.1.as_fd(), error: pipes.error.1.as_fd() };
        Command::new(argv, &self.env, stdio).map_err(Failure::io("command line"))
    }

    /// A command line of the runtime: global arguments first, the container id last; its output goes to `pipes`.
    pub fn command(&self, args: &[&str], pipes: &Pipes) -> Result<Command, Failure> {
        let program = self.target.program.display().to_string();
        let root = self.state.display().to_string();
        let mut argv: Vec<&str> = vec![&program];
        argv.extend(self.target.args.iter().map(String::as_str));
        argv.extend(["--root", &root]);
        argv.extend(args);
        self.host_command(&argv, pipes)
    }

    /// Calls the runtime and waits for it, with the deadline; success means exit code 0.
    pub fn call(
        &self,
        step: &'static str,
        command: &Command,
        pipes: &Pipes,
        first_output: &mut Option<u64>,
    ) -> Result<Call, Failure> {
        let child = process::spawn(command).map_err(Failure::io(step))?;
        let deadline = child.asked_ns + self.timeout.as_nanos() as u64;
        let handle = process::exit_handle(child.pid).map_err(Failure::io(step))?;
        let watch = Some(pipes.output.0.as_fd());
        let ended = self
            .await_reaping(&handle, child.pid, watch, first_output, deadline)
            .map_err(Failure::io(step))?;
        let Some(ended_ns) = ended else {
            process::kill_group(child.pid);
            let _ = wait_for(child.pid, Duration::from_secs(5));
            return Err(Failure::new(
                step,
                format!("no end within {:?}; killed: {}", self.timeout, command.display()),
            ));
        };
        let (_, end, usage) = process::collect(child.pid)
            .map_err(Failure::io(step))?
            .ok_or_else(|| Failure::new(step, "lost child"))?;
        match end {
            Ended::Code(0) => Ok(Call { asked_ns: child.asked_ns, ended_ns, usage }),
            Ended::Code(code) => Err(Failure::new(step, format!("exit code {code}: {}", pipes.complaint()))),
            Ended::Signal(signal) => Err(Failure::new(step, format!("killed by signal {signal}"))),
        }
    }

    /// Waits for a process and collects orphans meanwhile, unless other threads have children too.
    fn await_reaping(
        &self,
        handle: &OwnedFd,
        own: i32,
        watch: Option<BorrowedFd<'_>>,
        first_output: &mut Option<u64>,
        deadline: u64,
    ) -> io::Result<Option<u64>> {
        let mut reaper = self.reaper.borrow_mut();
        let reaping = (!self.concurrent).then_some((&mut *reaper, own));
        process::await_exit_reaping(handle, watch, first_output, deadline, reaping)
    }

    /// What all orphans of this lifecycle used.
    pub(crate) fn orphan_usage(&self) -> Usage {
        if self.concurrent { Usage::default() } else { self.reaper.borrow_mut().total() }
    }

    /// The end of the container's first process: when it was seen, how it ended (unknown when it is not our
    /// descendant), what it used.
    pub(crate) fn await_init(
        &self,
        pid_file: &Path,
        pipes: &Pipes,
        first: &mut Option<u64>,
    ) -> Result<(u64, Option<Ended>, Usage), Failure> {
        let init = read_pid(pid_file)?;
        if let Some(orphan) = self.reaper.borrow().find(init) {
            return Ok((orphan.at_ns, Some(orphan.ended), Usage::default()));
        }
        let deadline = now_ns() + self.timeout.as_nanos() as u64;
        // No handle means that somebody else has collected it already.
        let Ok(handle) = process::exit_handle(init) else {
            return Ok((now_ns(), None, Usage::default()));
        };
        let watch = Some(pipes.output.0.as_fd());
        let seen = self.await_reaping(&handle, init, watch, first, deadline).map_err(Failure::io("wait"))?;
        let Some(at) = seen else {
            return Err(Failure::new(
                "exit",
                format!("the container still runs {:?} after start", self.timeout),
            ));
        };
        match process::collect(init) {
            Ok(Some((_, end, usage))) => Ok((at, Some(end), usage)),
            _ => Ok((at, None, Usage::default())),
        }
    }

    /// The moment of the first instruction: the guest's own stamp, or the arrival of its first byte where
    /// the guest's clock is another one.
    pub fn entrypoint(&self, output: &str, asked_ns: u64, first: Option<u64>) -> Result<u64, Failure> {
        let stamp = parse_stamp(output).ok_or_else(|| {
            let seen: String = output.chars().take(120).collect();
            Failure::new("output", format!("expected one stamp line, got `{seen}`"))
        })?;
        let arrival = first.unwrap_or_else(now_ns);
        if !self.guest_clock {
            return Ok(arrival);
        }
        if stamp < asked_ns || stamp > now_ns() {
            return Err(Failure::new(
                "output",
                format!("the guest's stamp {stamp} lies outside the lifecycle"),
            ));
        }
        Ok(stamp)
    }

    /// Nothing of the container may be left: neither state nor cgroup.
    pub(crate) fn verify_gone(&self, id: &str) -> Result<(), Failure> {
        if self.state.join(id).exists() {
            return Err(Failure::new("clean-up", "state directory left behind after delete"));
        }
        match cgroup::directories(&self.cgroup).first() {
            Some(left) => Err(Failure::new("clean-up", format!("cgroup left behind: {}", left.display()))),
            None => Ok(()),
        }
    }

    /// After a failure everything of the container is removed by force, so that the next one starts clean.
    pub fn after<T>(&mut self, id: &str, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.is_err() {
            self.scrub(id);
        }
        outcome
    }

    /// Removes a container by all means at hand.
    pub fn scrub(&mut self, id: &str) {
        if let Ok(pipes) = Pipes::new()
            && let Ok(delete) = self.command(&["delete", "--force", id], &pipes)
        {
            let _ = self.call("delete", &delete, &pipes, &mut Some(0));
        }
        for dir in cgroup::directories(&self.cgroup) {
            kill_members(&dir);
            let until = now_ns() + 2_000_000_000;
            while dir.exists() && now_ns() < until {
                cgroup::remove_tree(&dir);
                std::thread::yield_now();
            }
        }
        let _ = fs::remove_dir_all(self.state.join(id));
        if !self.concurrent {
            process::collect_orphans();
        }
    }

    /// Waits until the guest has written its line.
    pub(crate) fn await_output(&self, pipes: &Pipes, first: &mut Option<u64>) -> Result<String, Failure> {
        let deadline = now_ns() + self.timeout.as_nanos() as u64;
        let seen = process::await_exit(&pipes.output.0, None, &mut Some(0), deadline);
        let at = seen.map_err(Failure::io("wait"))?;
        *first = first.or(at);
        if at.is_none() {
            return Err(Failure::new("output", format!("nothing written within {:?}", self.timeout)));
        }
        Ok(pipes.output())
    }

    /// Waits for the end of a process that is perhaps our child; when it was seen.
    pub fn await_pid(&self, pid: i32) -> Result<u64, Failure> {
        let Ok(handle) = process::exit_handle(pid) else { return Ok(now_ns()) };
        let deadline = now_ns() + self.timeout.as_nanos() as u64;
        let seen = process::await_exit(&handle, None, &mut Some(0), deadline).map_err(Failure::io("wait"))?;
        let at = seen.ok_or_else(|| Failure::new("kill", "the container's process does not end"))?;
        let _ = process::collect(pid);
        Ok(at)
    }

    /// New pipes for a call.
    pub fn pipes() -> Result<Pipes, Failure> {
        Pipes::new().map_err(Failure::io("pipes"))
    }
}

impl Place for Slot {
    fn perform(&mut self, step: Step) -> Result<Sample, Failure> {
        match step {
            Step::ColdStart => self.cold_start(),
            Step::ColdCache => self.cold_cache_start(),
            Step::Once | Step::Cycle => self.run_once(),
            Step::Settle => self.settle(),
            Step::Dismiss => self.dismiss().map(|()| Sample::default()),
            Step::Exec => self.exec_once(),
            Step::Stop => self.stop_once(),
            Step::Inside => self.inside_once(),
            Step::ExecStream | Step::Network | Step::Pull | Step::Log => {
                Err(Failure::new("driver", "the command line of an OCI runtime has no such thing"))
            }
        }
    }

    fn set_guest_clock(&mut self, shared: bool) {
        self.guest_clock = shared;
    }

    fn set_concurrent(&mut self) {
        self.concurrent = true;
    }

    fn enter(&mut self) -> io::Result<()> {
        crate::arm::enter_view(self.target.cgroups)
    }

    fn tidy(&mut self) {
        cgroup::tidy_bare(&self.cgroup);
    }

    fn sibling(&self, name: &str) -> io::Result<Box<dyn Place>> {
        let (dir, parent) = &self.home;
        let mut other = Self::new(&self.target, dir, &self.root, parent, name, self.timeout)?;
        other.state.clone_from(&self.state);
        other.guest_clock = self.guest_clock;
        Ok(Box::new(other))
    }

    fn residue(&mut self) -> Vec<Residue> {
        crate::churn::residue(self)
    }

    fn readings(&mut self) -> Vec<Reading> {
        let list = best_of_three(|| {
            let pipes = Self::pipes()?;
            let list = self.command(&["list"], &pipes)?;
            let call = self.call("list", &list, &pipes, &mut Some(0))?;
            Ok((call.ended_ns - call.asked_ns) as f64 / 1e6)
        });
        let overhead = crate::memory::descendants_outside_kib(&self.home.1);
        vec![
            Reading { name: "density.list", y: "list, ms", value: list },
            Reading { name: "density.overhead", y: "PSS outside of the cgroup, KiB", value: overhead },
        ]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.dismiss();
    }
}

fn kill_members(dir: &Path) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 1) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn wait_for(pid: i32, limit: Duration) -> Option<Ended> {
    let handle = process::exit_handle(pid).ok()?;
    let deadline = now_ns() + limit.as_nanos() as u64;
    process::await_exit(&handle, None, &mut Some(0), deadline).ok()??;
    process::collect(pid).ok()?.map(|(_, end, _)| end)
}

pub(crate) fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = fs::read_to_string(path).map_err(Failure::io("pid file"))?;
    text.trim()
        .parse()
        .map_err(|_| Failure::new("pid file", format!("`{}` is not a process id", text.trim())))
}

/// The number in the only line `{"stamp_ns":N}`.
pub fn parse_stamp(output: &str) -> Option<u64> {
    let line = output.strip_suffix('\n').unwrap_or(output);
    line.strip_prefix("{\"stamp_ns\":")?.strip_suffix('}')?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_stamp_line_is_a_stamp() {
        assert_eq!(parse_stamp("{\"stamp_ns\":123}\n"), Some(123));
        for bad in ["", "123", "{\"stamp_ns\":}", "{\"stamp_ns\":1}\n{\"stamp_ns\":2}\n", "{\"stamp_ns\":-1}"]
        {
            assert_eq!(parse_stamp(bad), None, "{bad}");
        }
    }
}
