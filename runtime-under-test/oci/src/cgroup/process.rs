//! Processes in a container's cgroups: putting them in, finding, freezing and ending them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::layout::write_file;
use super::node::{Node, children};
use super::{Cgroup, Error, sys};

/// Bound on freezing, thawing and killing.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often a process that the kernel is still starting is tried again.
const TRIES: u32 = 5;

fn failed(what: impl Into<String>, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let (what, path) = (what.into(), path.to_owned());
    move |source| Error::Io { what, path, source }
}

impl Cgroup {
    /// Moves a process into every hierarchy's directory.
    ///
    /// # Errors
    /// [`Error::Io`]; a hierarchy that refuses leaves the process in those before it.
    pub fn add_process(&self, pid: libc::pid_t) -> Result<(), Error> {
        self.nodes.iter().try_for_each(|node| join(&node.dir(), pid))
    }

    /// Where a further process of a running container, whose first one is `init`, has to be in the unified hierarchy when
    /// the container's own cgroup takes none: a container that has made cgroups of its own, and given them controllers,
    /// has no processes in its topmost one any more. `None` without that hierarchy.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unsupported`] when it cannot be found out, or is out of sight.
    pub fn unified_beside(&self, init: libc::pid_t) -> Result<Option<PathBuf>, Error> {
        self.unified().map(|node| beside(node, init)).transpose()
    }

    /// Every process in the cgroups and below, in ascending order.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be read. A cgroup that is gone has none.
    pub fn pids(&self) -> Result<Vec<libc::pid_t>, Error> {
        let mut all = Vec::new();
        for dir in self.process_dirs() {
            collect(&dir, &mut all)?;
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// One v1 directory and the unified one: processes may have been moved away in one of them, hardly in both.
    fn process_dirs(&self) -> Vec<PathBuf> {
        let v1 = self.nodes.iter().filter(|n| !n.unified);
        let chosen = v1.clone().find(|n| n.has("devices")).or_else(|| v1.clone().next());
        chosen.into_iter().chain(self.unified()).map(Node::dir).collect()
    }

    /// Sends `signal` to every process in the cgroups and below.
    ///
    /// # Errors
    /// [`Error::Io`]; a process that has gone meanwhile is fine.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        for pid in self.pids()? {
            sys::kill(pid, signal)
                .map_err(failed(format!("send signal {signal} to process {pid} in"), Path::new("")))?;
        }
        Ok(())
    }

    /// Kills every process in the cgroups and below, and waits until none is left, at most ten seconds.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when some are still there at the end, with their numbers.
    pub fn kill_all(&self) -> Result<(), Error> {
        let end = Instant::now() + DEADLINE;
        let mut pause = Duration::from_micros(200);
        let kill_file = self.unified().map(|n| n.dir().join("cgroup.kill"));
        loop {
            // Where it exists one write ends all, however fast they fork.
            if let Some(file) = &kill_file {
                let _ = write_file(file, "1");
            }
            self.signal_all(libc::SIGKILL)?;
            if self
                .freezer_v1()
                .is_some_and(|file| crate::files::read_kernel(file).is_ok_and(|s| s.trim() != "THAWED"))
            {
                self.thaw()?;
            }
            let left = self.pids()?;
            // A zombie stays listed until it is reaped, which is for its parent to do.
            if left.iter().all(|pid| is_dead(*pid)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Unsupported(format!(
                    "processes {left:?} did not end within {DEADLINE:?} of SIGKILL"
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn freezer_v1(&self) -> Option<PathBuf> {
        self.nodes.iter().find(|n| !n.unified && n.has("freezer")).map(|n| n.dir().join("freezer.state"))
    }

    /// Freezes the container and waits until it is frozen, at most ten seconds.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] when there is no freezer or the time is over (it is then thawed again).
    pub fn freeze(&self) -> Result<(), Error> {
        let end = Instant::now() + DEADLINE;
        loop {
            self.set_frozen(true)?;
            for _ in 0..20 {
                if self.is_frozen()? {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if Instant::now() > end {
                self.thaw()?;
                return Err(Error::Unsupported(format!("the container did not freeze within {DEADLINE:?}")));
            }
            // v1's freezer can be stuck on a process that waits for a frozen one: letting go once resolves it.
            if self.freezer_v1().is_some() {
                self.set_frozen(false)?;
            }
        }
    }

    /// Thaws the container.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<(), Error> {
        let end = Instant::now() + DEADLINE;
        self.set_frozen(false)?;
        while self.is_frozen()? {
            if Instant::now() > end {
                return Err(Error::Unsupported(format!("the container did not thaw within {DEADLINE:?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let (file, value) = if let Some(file) = self.freezer_v1() {
            (file, if frozen { "FROZEN" } else { "THAWED" })
        } else if let Some(node) = self.unified() {
            (node.dir().join("cgroup.freeze"), if frozen { "1" } else { "0" })
        } else {
            return Err(Error::Unsupported(
                "this host has no cgroup freezer: pause and resume need one".into(),
            ));
        };
        write_file(&file, value).map_err(failed(format!("write {value:?} to"), &file))
    }

    /// Whether the container is frozen, by itself or by a cgroup above it. Without a freezer it is not.
    ///
    /// # Errors
    /// [`Error::Io`] when its state cannot be read. A cgroup that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let (file, mark) = match (self.freezer_v1(), self.unified()) {
            (Some(file), _) => (file, "FROZEN"),
            (None, Some(node)) => (node.dir().join("cgroup.events"), "frozen 1"),
            (None, None) => return Ok(false),
        };
        match crate::files::read_kernel(&file) {
            Ok(text) => Ok(text.lines().any(|l| l.trim() == mark)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(false),
            Err(e) => Err(failed("read", &file)(e)),
        }
    }
}

impl Node {
    /// Makes the directory and moves a process there. A service manager removes directories of its own that it finds
    /// empty, so it is tried again.
    pub(super) fn create_and_join(&self, pid: libc::pid_t) -> Result<(), Error> {
        let mut tries = 1;
        loop {
            self.create()?;
            match join(&self.dir(), pid) {
                Err(Error::Io { source, .. })
                    if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
                        && tries < TRIES =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }
}

/// Writes a process to a cgroup. One that the kernel is still starting is refused for a moment.
fn join(dir: &Path, pid: libc::pid_t) -> Result<(), Error> {
    let file = dir.join("cgroup.procs");
    let mut tries = 1;
    loop {
        match write_file(&file, &pid.to_string()) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other.map_err(failed(format!("write process {pid} to"), &file)),
        }
    }
}

/// The unified cgroup of a container's first process, which must be below the container's own.
fn beside(node: &Node, init: libc::pid_t) -> Result<PathBuf, Error> {
    let file = PathBuf::from(format!("/proc/{init}/cgroup"));
    let text = crate::files::read_kernel(&file).map_err(failed("read", &file))?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or_default();
    // The path is that of the hierarchy, the node's that below the mount point: what they share is the end.
    let Some((_, below)) = path.split_once(&format!("{}/", node.path)) else {
        let why = format!("the container's first process is in {path:?}, which is not below {:?}", node.path);
        return Err(Error::Unsupported(why));
    };
    if below.split('/').any(|part| part == "..") {
        return Err(Error::Unsupported(format!(
            "the cgroup {path:?} of the container's first process is out of sight"
        )));
    }
    Ok(node.dir().join(below))
}

/// Whether a process is a zombie or gone.
fn is_dead(pid: libc::pid_t) -> bool {
    let Ok(stat) = crate::files::read_kernel(format!("/proc/{pid}/stat")) else { return true };
    // The name is in parentheses and may hold anything; the state follows the last one.
    stat.rsplit_once(')').is_none_or(|(_, rest)| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

fn collect(dir: &Path, all: &mut Vec<libc::pid_t>) -> Result<(), Error> {
    let file = dir.join("cgroup.procs");
    match crate::files::read_kernel(&file) {
        // 0 stands for a process of another pid namespace, which cannot be named from here.
        Ok(text) => {
            all.extend(text.lines().filter_map(|l| l.parse::<libc::pid_t>().ok()).filter(|pid| *pid > 0));
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        // A threaded cgroup does not list processes; its domain above does.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(e) => return Err(failed("read", &file)(e)),
    }
    children(dir).iter().try_for_each(|child| collect(&dir.join(child), all))
}
