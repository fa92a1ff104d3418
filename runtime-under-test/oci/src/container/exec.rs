//! `exec`: one more process in a container.
//!
//! Its namespaces are those of the first process, taken in one step through a pidfd. Until it runs the
//! program it cannot be traced or looked into from inside.

use super::Inherited;
use super::create::send_listener;
use super::init::{become_root, filter_with_listener};
use super::join::Entrance;
use super::run::attend;
use crate::bail;
use crate::config::{self, CpuAffinity, Opt, Process, Spec};
use crate::error::{Context, Error, Result};
use crate::process::setup::{Setup, write_labels};
use crate::process::{sched, tty};
use crate::socket::{Channel, Kind};
use crate::state::{self, Record, Status, Store, write_pid};
use crate::sys::{self, CloneArgs, Forked};
use crate::{log, rootfs};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// What the caller asks for.
#[derive(Debug, Default)]
pub struct Request {
    /// Container id.
    pub id: String,
    /// Directory of the states.
    pub root: PathBuf,
    /// The whole process document.
    pub process: Option<PathBuf>,
    /// Command line, without a document.
    pub args: Vec<String>,
    /// Changes of the container's own process.
    pub changes: Changes,
    /// Return once it runs.
    pub detach: bool,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// Where the master of the terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Where a pidfd is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// `[controllers:]path` below the container's cgroup.
    pub cgroup: Vec<String>,
    /// Also in a paused container.
    pub ignore_paused: bool,
    /// Descriptors of the caller.
    pub inherited: Inherited,
}

/// What flags change of `process` in the container's configuration.
#[derive(Debug, Default)]
pub struct Changes {
    /// `uid[:gid]`.
    pub user: Option<String>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Further variables; they win over the configured ones.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Further capabilities.
    pub caps: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// `no_new_privs` on.
    pub no_new_privs: bool,
    /// `AppArmor` profile.
    pub apparmor: Option<String>,
    /// `SELinux` label.
    pub label: Option<String>,
}

/// Runs the process. The answer is its exit status; 0 when detached.
pub fn exec(request: &Request) -> Result<i32> {
    let (store, record) = state::open(&request.root, &request.id)?;
    match store.status(&record) {
        Status::Running | Status::Created => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => bail!("cannot exec in a paused container (use --ignore-paused to override)"),
        Status::Stopped => bail!("cannot exec in a stopped container: container not running"),
        Status::Creating => bail!("cannot exec in a container that is being created"),
    }
    let spec = store.config()?;
    let process = document(request, &spec)?;
    let console = match (&request.console_socket, process.terminal) {
        (Some(path), true) => Some(tty::connect(path)?),
        (None, true) if request.detach => bail!("a detached process with a terminal needs --console-socket"),
        (Some(_), false) => bail!("--console-socket is of no use: the process has no terminal"),
        _ => None,
    };
    let mut setup = Setup::new(&process, &spec.linux, !spec.version_at_least(1, 1))?;
    setup.keep_fds = request.inherited.total;
    if request.inherited.listen > 0 {
        setup.program.set_variable("LISTEN_FDS", &request.inherited.listen.to_string())?;
    }
    let affinity = affinity(&spec, &process)?;
    let join = Join::new(&record, &spec)?;
    setup.setgroups_denied = join.userns
        && std::fs::read(format!("/proc/{}/setgroups", record.pid)).is_ok_and(|t| t.starts_with(b"deny"));
    if !request.detach {
        sys::set_subreaper().context("becoming a subreaper")?;
    }
    let signals = if request.detach { None } else { Some(sys::signal_fd().context("signals")?) };
    if let Some(mask) = &affinity.0 {
        sys::sched_setaffinity(mask).context("process.execCPUAffinity.initial")?;
    }
    let entrance = state::cgroup(&record).map(|c| Entrance::open(&c)).transpose()?.unwrap_or_default();
    let mut task = Task {
        entrance,
        process: &process,
        setup,
        join,
        console,
        last_affinity: affinity.1,
        listen: request.inherited.listen > 0,
    };
    let (pid, pidfd, channel) = fork(&mut task, &record)?;
    let talked = talk(request, &store, &record, &task, (pid, &pidfd), &channel);
    let master = match talked {
        Ok(master) => master,
        Err(e) => {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pid(pid);
            return Err(e);
        }
    };
    drop(task);
    drop(channel);
    match signals {
        Some(signals) => attend(pid, &pidfd, &signals, master.as_ref()),
        None => Ok(0),
    }
}

/// The process: a document of the caller, or the container's own with the changes of the flags.
fn document(request: &Request, spec: &Spec) -> Result<Process> {
    let mut process = match (&request.process, spec.process.as_ref()) {
        (Some(path), _) => {
            let bytes = std::fs::read(path).with_context(|| format!("--process {}", path.display()))?;
            return config::load_process(&bytes);
        }
        (None, Some(process)) => process.clone(),
        (None, None) => bail!("the container has no process to take defaults from; give --process"),
    };
    let changes = &request.changes;
    if request.args.is_empty() {
        bail!("process args cannot be empty");
    }
    process.args = Opt(Some(request.args.clone()));
    process.terminal = changes.tty;
    if let Some(user) = &changes.user {
        let (uid, gid) = parse_user(user)?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&changes.additional_gids);
    process.env.extend(changes.env.iter().cloned());
    if let Some(cwd) = &changes.cwd {
        process.cwd.clone_from(cwd);
    }
    if !changes.caps.is_empty() {
        let mut sets = process.capabilities.0.take().unwrap_or_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(changes.caps.iter().cloned());
        }
        process.capabilities = Opt(Some(sets));
    }
    process.no_new_privileges |= changes.no_new_privs;
    if changes.apparmor.is_some() {
        process.apparmor_profile = Opt(changes.apparmor.clone());
    }
    if changes.label.is_some() {
        process.selinux_label = Opt(changes.label.clone());
    }
    config::validate::process(&process)?;
    Ok(process)
}

/// `uid` or `uid:gid`, plain decimal numbers: anything else is an error rather than a guess.
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|n| plain && *n != u32::MAX)
    };
    let parsed = match text.split_once(':') {
        Some((uid, gid)) => number(uid).zip(number(gid)).map(|(u, g)| (u, Some(g))),
        None => number(text).map(|u| (u, None)),
    };
    parsed.ok_or_else(|| Error::new(format!("--user {text:?} is not UID or UID:GID")))
}

type Mask = Option<Vec<u64>>;

/// config.md "execCPUAffinity": initial and final mask.
fn affinity(spec: &Spec, process: &Process) -> Result<(Mask, Mask)> {
    let own = process.exec_cpu_affinity.as_ref();
    let configured = spec.process.as_ref().and_then(|p| p.exec_cpu_affinity.as_ref());
    let Some(CpuAffinity { initial, last }) = own.or(configured) else { return Ok((None, None)) };
    let mask =
        |list: &Opt<String>| list.as_ref().filter(|l| !l.is_empty()).map(|l| sched::bit_list(l)).transpose();
    Ok((mask(initial)?, mask(last)?))
}

/// The namespaces to join.
struct Join {
    init: OwnedFd,
    kinds: i32,
    userns: bool,
    pid: bool,
}

impl Join {
    /// Those of the configuration that are not the caller's own.
    fn new(record: &Record, spec: &Spec) -> Result<Self> {
        let pid = Pid::from_raw(record.pid).ok_or_else(|| Error::new("container not running"))?;
        let init = pidfd_open(pid, PidfdFlags::empty()).context("opening the container's process")?;
        if !state::alive(record) {
            bail!("cannot exec in a stopped container: container not running");
        }
        let (mut kinds, mut userns, mut own_pid) = (0, false, false);
        for n in &spec.linux.namespaces {
            let inode =
                |who: &str| std::fs::metadata(format!("/proc/{who}/ns/{}", n.kind.file())).map(|m| m.ino());
            if inode("self").context("namespaces")? == inode(&record.pid.to_string()).context("namespaces")? {
                continue;
            }
            match n.kind {
                config::NamespaceKind::Pid => own_pid = true,
                config::NamespaceKind::User => userns = true,
                _ => {}
            }
            if n.kind != config::NamespaceKind::Pid {
                kinds |= n.kind.flag();
            }
        }
        Ok(Self { init, kinds, userns, pid: own_pid })
    }
}

struct Task<'a> {
    entrance: Entrance,
    process: &'a Process,
    setup: Setup,
    join: Join,
    console: Option<OwnedFd>,
    last_affinity: Mask,
    listen: bool,
}

/// Forks into the container's cgroup, or into that of its first process when the container has made cgroups of its own
/// below: then the topmost one takes no processes.
fn clone_beside(task: &mut Task<'_>, record: &Record) -> Result<Forked> {
    match sys::clone3(&CloneArgs { flags: 0, cgroup: task.entrance.born_in() }) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            let cgroup = state::cgroup(record).map(|c| c.unified_beside(record.pid)).transpose();
            if let Some(dir) = cgroup.map_err(|e| Error::new(e.to_string()))?.flatten() {
                task.entrance.move_to(&dir)?;
            }
            sys::clone3(&CloneArgs { flags: 0, cgroup: task.entrance.born_in() }).context("fork")
        }
        other => other.context("fork"),
    }
}

fn fork(task: &mut Task<'_>, record: &Record) -> Result<(i32, OwnedFd, Channel)> {
    let (ours, theirs) = tty::pair()?;
    let channel = Channel(ours);
    let staged = task.join.pid && !lend_pid_namespace(&task.join)?;
    match clone_beside(task, record)? {
        Forked::Child => {
            drop(channel);
            log::detach();
            let channel = Channel(theirs);
            let failed = if staged { stage(task, &channel) } else { live(task, &channel, None) };
            report(failed, &channel)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            if !staged {
                if task.join.pid {
                    let own = File::open("/proc/self/ns/pid").context("own namespace")?;
                    sys::setns(own.as_fd(), libc::CLONE_NEWPID)
                        .context("returning to the own pid namespace")?;
                }
                return Ok((pid, pidfd, channel));
            }
            let heard = channel.hear();
            let _ = sys::wait_pid(pid);
            match heard? {
                Some((Kind::Ready, text, Some(pidfd))) => {
                    let pid = text.parse().map_err(|_| Error::new("garbled process id"))?;
                    Ok((pid, pidfd, channel))
                }
                Some((Kind::Error, text, _)) => Err(Error::new(text)),
                _ => bail!("the process ended before it was ready"),
            }
        }
    }
}

/// Enters the PID namespace for the next child. False when that needs the rights of the container's user
/// namespace.
fn lend_pid_namespace(join: &Join) -> Result<bool> {
    match sys::setns(join.init.as_fd(), libc::CLONE_NEWPID) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && join.userns => Ok(false),
        Err(e) => Err(e).context("joining the pid namespace"),
    }
}

fn report(failed: Result<Error>, channel: &Channel) -> ! {
    let e = match failed {
        Ok(e) | Err(e) => e,
    };
    let _ = channel.tell(Kind::Error, &e.to_string());
    sys::exit_now(255)
}

/// Joins everything at once and forks the process from there, as a child of the runtime.
fn stage(task: &mut Task<'_>, channel: &Channel) -> Result<Error> {
    task.entrance.enter()?;
    let proc = rootfs::verified_proc()?;
    sys::setns(task.join.init.as_fd(), task.join.kinds | libc::CLONE_NEWPID)
        .context("joining the container's namespaces")?;
    let args = CloneArgs { flags: libc::CLONE_PARENT as u64, cgroup: None };
    match sys::clone3(&args).context("fork")? {
        Forked::Child => report(live(task, channel, Some(proc)), channel),
        Forked::Parent { pid, pidfd } => {
            let packet = [&[Kind::Ready.byte()], pid.to_string().as_bytes()].concat();
            tty::send_fds(channel.0.as_fd(), &packet, &[pidfd.as_fd()])?;
            sys::exit_now(0)
        }
    }
}

/// The process itself; `joined` (the host's procfs) says that it is in its namespaces already. Returns only
/// an error.
fn live(task: &mut Task<'_>, channel: &Channel, joined: Option<OwnedFd>) -> Result<Error> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    task.entrance.enter()?;
    channel.expect(Kind::Go)?;
    let proc = if let Some(proc) = joined {
        proc
    } else {
        let proc = rootfs::verified_proc()?;
        sys::setns(task.join.init.as_fd(), task.join.kinds).context("joining the container's namespaces")?;
        proc
    };
    if task.join.userns {
        become_root();
    }
    let _ = rustix::process::setsid();
    if let Some(mask) = &task.last_affinity {
        sys::sched_setaffinity(mask).context("process.execCPUAffinity.final")?;
    }
    if task.process.terminal {
        terminal(task, channel)?;
    }
    write_labels(proc.as_fd(), task.process)?;
    drop(proc);
    let setup = &mut task.setup;
    setup.attributes()?;
    if task.listen {
        let pid = rustix::process::getpid().as_raw_nonzero();
        setup.program.set_variable("LISTEN_PID", &pid.to_string())?;
    }
    setup.take_identity(false)?;
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    let file = setup.find()?;
    sys::prctl(libc::PR_SET_PDEATHSIG, 0)?;
    channel.say(Kind::Ready)?;
    channel.expect(Kind::Go)?;
    setup.seal_descriptors()?;
    if setup.seccomp.as_ref().is_some_and(|p| p.notify) {
        filter_with_listener(setup, channel)?;
    } else {
        drop(setup.load_filter()?);
    }
    sys::reset_signals();
    Ok(setup.program.exec(&file))
}

fn terminal(task: &Task<'_>, channel: &Channel) -> Result<()> {
    let root =
        rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let terminal = tty::open(root.as_fd(), task.process.size())?;
    tty::own(&terminal.slave, task.process.user.uid)?;
    match &task.console {
        Some(socket) => tty::send_fds(socket.as_fd(), b"/dev/ptmx", &[terminal.master.as_fd()])?,
        None => channel.pass(Kind::Console, terminal.master.as_fd())?,
    }
    tty::attach(terminal.slave.as_fd())
}

/// The runtime's side, until the program runs. Returns the terminal of a foreground process.
fn talk(
    request: &Request,
    store: &Store,
    record: &Record,
    task: &Task<'_>,
    (pid, pidfd): (i32, &OwnedFd),
    channel: &Channel,
) -> Result<Option<OwnedFd>> {
    if !request.cgroup.is_empty() {
        join_cgroup(record, pid, &request.cgroup)?;
    }
    if let Some(adj) = *task.process.oom_score_adj {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), adj.to_string())
            .with_context(|| format!("setting process.oomScoreAdj to {adj}"))?;
    }
    channel.say(Kind::Go)?;
    let mut master = None;
    loop {
        match channel.hear()? {
            Some((Kind::Console, _, Some(fd))) => master = Some(fd),
            Some((Kind::Listener, _, Some(fd))) => {
                send_listener(task.setup.seccomp.as_ref(), &fd, record, pid, store.status(record))?;
            }
            Some((Kind::Ready, ..)) => {
                if let Some(path) = &request.pid_file {
                    write_pid(path, pid)?;
                }
                if let Some(path) = &request.pidfd_socket {
                    let socket = tty::connect(path)?;
                    tty::send_fds(socket.as_fd(), b"pidfd", &[pidfd.as_fd()]).context("--pidfd-socket")?;
                }
                channel.say(Kind::Go)?;
            }
            Some((Kind::Error, text, _)) => bail!("{text}"),
            Some((kind, ..)) => bail!("unexpected message {kind:?} of the process"),
            None => return Ok(master),
        }
    }
}

/// Puts the process into named cgroups below the container's. Paths that lead out are refused.
fn join_cgroup(record: &Record, pid: i32, wanted: &[String]) -> Result<()> {
    let Some(cgroup) = state::cgroup(record) else { return Ok(()) };
    let paths = cgroup.paths();
    for entry in wanted {
        let (controllers, below) = entry.rsplit_once(':').unwrap_or(("", entry));
        let inside = Path::new(below)
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir | Component::RootDir));
        if !inside {
            bail!("--cgroup {entry:?} leads out of the container's cgroup");
        }
        let names: Vec<&str> = controllers.split(',').filter(|c| !c.is_empty()).collect();
        if let Some(unknown) = names.iter().find(|n| !paths.contains_key(**n)) {
            bail!("--cgroup {entry:?}: no controller {unknown:?}");
        }
        for (_, dir) in paths.iter().filter(|(name, _)| names.is_empty() || names.contains(&name.as_str())) {
            let procs = dir.join(below.trim_start_matches('/')).join("cgroup.procs");
            if !procs.starts_with(dir) {
                bail!("--cgroup {entry:?} leads out of the container's cgroup");
            }
            std::fs::OpenOptions::new()
                .write(true)
                .open(&procs)
                .and_then(|mut f| std::io::Write::write_all(&mut f, pid.to_string().as_bytes()))
                .with_context(|| format!("--cgroup {}", procs.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_user;

    #[test]
    fn users_are_plain_numbers() {
        assert_eq!(parse_user("1000").unwrap(), (1000, None));
        assert_eq!(parse_user("0:5").unwrap(), (0, Some(5)));
        for bad in [
            "",
            ":",
            "1000:",
            ":1000",
            "+1000",
            "1000abc",
            " 1000",
            "0x3e8",
            "4294967296",
            "4294967295",
            "-1",
            "1:2:3",
        ] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }
}
