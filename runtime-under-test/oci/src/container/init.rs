//! The first process of a container: a copy of the runtime that turns itself into the program.
//!
//! It has everything in memory already; it reads no configuration and leaves only by `exec` or `_exit`.

use super::join::Entrance;
use crate::bail;
use crate::cgroup::Cgroup;
use crate::config::{NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use crate::namespaces::{self, Plan};
use crate::netdev::{self, Captured};
use crate::process::setup::{Setup, write_labels};
use crate::process::{sysctl, tty};
use crate::rootfs::{self, Change, Prepared, Rootfs};
use crate::socket::{Channel, Kind};
use crate::state::{Record, Status};
use crate::sys::{self, CloneArgs, Forked};
use crate::{hooks, log};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::SocketFlags;
use rustix::process::{Gid, Uid};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Everything the first process needs.
pub struct Init<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// Absolute root filesystem on the host.
    pub rootfs: PathBuf,
    /// The process; absent when the configuration has none.
    pub setup: Option<Setup>,
    /// Namespaces to make and join.
    pub namespaces: Plan,
    /// The mounts, parsed.
    pub mounts: Vec<Prepared>,
    /// A copy of the root mount, for a user namespace.
    pub root_tree: Option<OwnedFd>,
    /// Network devices to receive.
    pub net_devices: Vec<Captured>,
    /// The record, for hooks.
    pub record: Option<Record>,
    /// The cgroup.
    pub cgroup: Option<Cgroup>,
    /// The way into the cgroup.
    pub entrance: Entrance,
    /// The console socket.
    pub console: Option<OwnedFd>,
    /// Where `start` knocks; absent for `run`.
    pub listener: Option<OwnedFd>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// The cgroup is made by a service manager, around this process.
    pub managed: bool,
    /// Name of the new session keyring.
    pub keyring: Option<String>,
    /// Whether `LISTEN_PID` has to be set.
    pub listen_pid: bool,
}

impl Init<'_> {
    /// True when the runtime has to do something from outside before this process can go on: write the id
    /// mappings, move network devices, have a service manager make the cgroup.
    pub fn needs_help(&self) -> bool {
        self.namespaces.makes(NamespaceKind::User) || !self.net_devices.is_empty() || self.managed
    }
}

/// Entry after the fork. Never returns.
pub fn main(init: &mut Init<'_>, channel: &Channel, stage: bool) -> ! {
    log::detach();
    let failed = if stage { self::stage(init, channel) } else { live(init, channel) };
    if let Err(e) = failed {
        let _ = channel.tell(Kind::Error, &e.to_string());
    }
    sys::exit_now(1)
}

/// Joins namespaces first and forks the first process from there, as a child of the runtime.
fn stage(init: &mut Init<'_>, channel: &Channel) -> Result<()> {
    init.entrance.enter()?;
    init.namespaces.enter()?;
    if init.namespaces.joins(NamespaceKind::User) {
        become_root();
    }
    let flags = init.namespaces.clone_flags() | libc::CLONE_PARENT as u64;
    init.namespaces.join.clear();
    match sys::clone3(&CloneArgs { flags, cgroup: None }).context("making the container's namespaces")? {
        Forked::Child => {
            if let Err(e) = live(init, channel) {
                let _ = channel.tell(Kind::Error, &e.to_string());
            }
            sys::exit_now(1)
        }
        Forked::Parent { pid, pidfd } => {
            let packet = [&[Kind::Ready.byte()], pid.to_string().as_bytes()].concat();
            tty::send_fds(channel.0.as_fd(), &packet, &[pidfd.as_fd()])?;
            sys::exit_now(0)
        }
    }
}

/// In a new user namespace the process is nobody until it becomes the root that is mapped.
pub fn become_root() {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    // Without an id 0 in the mapping this fails and is not needed: the capabilities are there anyway.
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
}

fn live(init: &mut Init<'_>, channel: &Channel) -> Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    // Processes of a PID namespace that is joined must not look into this one. In a new user namespace it needs its
    // own files in procfs for a moment, see below.
    if !init.namespaces.makes(NamespaceKind::User) {
        let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    }
    init.entrance.enter()?;
    if init.needs_help() {
        channel.expect(Kind::Go)?;
    }
    let spec = init.spec;
    let userns = spec.has_namespace(NamespaceKind::User);
    if init.namespaces.makes(NamespaceKind::User) {
        become_root();
        // The change of user made the own files in procfs those of the host's root. Nobody else is in these
        // new namespaces yet who could look in.
        sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    }
    init.namespaces.enter()?;
    if init.namespaces.joins(NamespaceKind::User) {
        become_root();
    }
    late_namespaces(init)?;
    let _ = rustix::process::setsid();
    if let Some(name) = &init.keyring {
        keyring(name)?;
    }
    host_names(spec)?;
    if init.namespaces.makes(NamespaceKind::Network) {
        netdev::loopback_up().context("bringing up the loopback device")?;
    }
    netdev::settle(&init.net_devices)?;

    let (mut mounts, tree) = (std::mem::take(&mut init.mounts), init.root_tree.take());
    let rootfs = mount_all(init, &mut mounts, tree, userns)?;
    let terminal = open_terminal(init, &rootfs, channel)?;
    hooks_before_pivot(init, channel)?;
    sysctl::apply(rootfs.proc.as_fd(), spec.linux.sysctl.iter())?;
    rootfs::hide(&rootfs)?;
    rootfs::change_root(&rootfs, change(init))?;
    final_propagation(spec)?;
    if let Some(process) = spec.process.as_ref() {
        write_labels(rootfs.proc.as_fd(), process)?;
    }
    drop(rootfs);
    drop(mounts);
    if let Some(slave) = terminal {
        tty::attach(slave.as_fd())?;
    }
    wait_and_run(init, channel)
}

/// The namespaces that clone3 could not make.
fn late_namespaces(init: &Init<'_>) -> Result<()> {
    if init.namespaces.makes(NamespaceKind::Cgroup) {
        sys::unshare(libc::CLONE_NEWCGROUP).context("making the cgroup namespace")?;
    }
    if init.namespaces.makes(NamespaceKind::Time) && init.namespaces.makes(NamespaceKind::User) {
        namespaces::new_time_namespace(&init.spec.linux.time_offsets)?;
    }
    Ok(())
}

fn keyring(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::new("keyring name"))?;
    match sys::join_session_keyring(&name) {
        // Kernels without keys, and quotas of an unprivileged user: nothing of the caller can leak then.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EDQUOT | libc::EPERM)) => Ok(()),
        other => other.map(|_| ()).context("joining a new session keyring"),
    }
}

fn host_names(spec: &Spec) -> Result<()> {
    if let Some(name) = spec.hostname.as_ref().filter(|n| !n.is_empty()) {
        rustix::system::sethostname(name.as_bytes()).context("setting hostname")?;
    }
    if let Some(name) = spec.domainname.as_ref().filter(|n| !n.is_empty()) {
        rustix::system::setdomainname(name.as_bytes()).context("setting domainname")?;
    }
    Ok(())
}

fn mount_all<'a>(
    init: &'a Init<'_>,
    mounts: &mut [Prepared],
    tree: Option<OwnedFd>,
    userns: bool,
) -> Result<Rootfs<'a>> {
    let own = init.namespaces.makes(NamespaceKind::Mount);
    if own {
        for mount in &mut *mounts {
            mount.take_shared()?;
        }
    }
    let proc = rootfs::verified_proc()?;
    let propagation =
        init.spec.linux.rootfs_propagation.as_ref().and_then(|p| rootfs::options::propagation(p));
    let root = rootfs::enter(&init.rootfs, tree, own, propagation)?;
    let rootfs = Rootfs { spec: init.spec, root, proc, userns, cgroup: init.cgroup.as_ref() };
    // Modes of nodes and directories are as configured, not as the caller's umask would have them.
    let mask = rustix::process::umask(Mode::empty());
    let done = rootfs.populate(mounts);
    rustix::process::umask(mask);
    done.map(|()| rootfs)
}

fn open_terminal(init: &Init<'_>, rootfs: &Rootfs<'_>, channel: &Channel) -> Result<Option<OwnedFd>> {
    let Some(process) = init.spec.process.as_ref().filter(|p| p.terminal) else { return Ok(None) };
    let terminal = tty::open(rootfs.root.as_fd(), process.size())?;
    tty::own(&terminal.slave, process.user.uid)?;
    rootfs::console(rootfs.root.as_fd(), &terminal.slave)?;
    match &init.console {
        Some(socket) => tty::send_fds(socket.as_fd(), b"/dev/ptmx", &[terminal.master.as_fd()])?,
        None => channel.pass(Kind::Console, terminal.master.as_fd())?,
    }
    Ok(Some(terminal.slave))
}

/// runtime.md lifecycle steps 3 to 5: the runtime's hooks, then `createContainer` here, where the host's
/// paths still resolve.
fn hooks_before_pivot(init: &Init<'_>, channel: &Channel) -> Result<()> {
    let (Some(list), Some(record)) = (init.spec.hooks.as_ref(), init.record.as_ref()) else { return Ok(()) };
    if !list.prestart.is_empty() || !list.create_runtime.is_empty() {
        channel.say(Kind::Mounted)?;
        channel.expect(Kind::Go)?;
    }
    if list.create_container.is_empty() {
        return Ok(());
    }
    let state = record.document(Status::Creating, own_pid()).to_string();
    hooks::run("createContainer", &list.create_container, &state, &[])
}

/// "pid ... for hooks executed in the container namespace, it is the pid as seen by the container".
fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn change(init: &Init<'_>) -> Change {
    match (init.namespaces.makes(NamespaceKind::Mount), init.no_pivot) {
        (false, _) => Change::Chroot,
        (true, true) => Change::Move,
        (true, false) => Change::Pivot,
    }
}

fn final_propagation(spec: &Spec) -> Result<()> {
    let Some(name) = spec.linux.rootfs_propagation.as_ref().filter(|p| !p.is_empty()) else { return Ok(()) };
    let Some((kind, recursive)) = rootfs::options::propagation(name) else { return Ok(()) };
    let slash = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let attr = sys::MountAttr { propagation: kind, ..sys::MountAttr::default() };
    sys::mount_setattr(slash.as_fd(), recursive, &attr).context("linux.rootfsPropagation")
}

fn wait_and_run(init: &mut Init<'_>, channel: &Channel) -> Result<()> {
    let mount_namespace = init.namespaces.makes(NamespaceKind::Mount);
    let mut file = None;
    if let Some(setup) = &mut init.setup {
        setup.attributes()?;
        if init.listen_pid {
            setup.program.set_variable("LISTEN_PID", &own_pid().to_string())?;
        }
        setup.take_identity(mount_namespace)?;
        file = Some(setup.find()?);
    }
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
    init.net_devices.clear();
    init.console = None;
    // An agent is told during create, as the state it is shown then says "creating".
    let notify = init.setup.as_ref().is_some_and(|s| s.seccomp.as_ref().is_some_and(|p| p.notify));
    if notify && let Some(setup) = &init.setup {
        filter_with_listener(setup, channel)?;
    }
    // From here on the end of the runtime shows as the end of the talk, until it says go.
    sys::prctl(libc::PR_SET_PDEATHSIG, 0)?;
    sys::reset_signals();
    if init.listener.is_some() {
        sys::end_on_signals();
    }
    channel.say(Kind::Ready)?;
    channel.expect(Kind::Go)?;
    let door = match init.listener.take() {
        Some(listener) => wait_for_start(&listener)?,
        None => Channel(channel.0.try_clone()?),
    };
    let (Some(setup), Some(file)) = (&init.setup, file) else {
        // Only `start` of a configuration without a process gets here, and it refuses before knocking.
        bail!("the configuration has no process");
    };
    let e = match run(init, setup, &file, &door, !notify) {
        Ok(never) => never,
        Err(e) => e,
    };
    let _ = door.tell(Kind::Error, &e.to_string());
    sys::exit_now(1)
}

/// Loads a filter with a listener. The descriptor is sent by a helper that shares the descriptors but not
/// the filter: the filter may hold up every call needed to send it.
pub fn filter_with_listener(setup: &Setup, channel: &Channel) -> Result<()> {
    // The listener will get the lowest free number, which this shows.
    let probe = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&probe);
    let stat = rustix::fs::fstat(&probe)?;
    let known = (stat.st_dev, stat.st_ino);
    match sys::clone3(&CloneArgs { flags: libc::CLONE_FILES as u64, cgroup: None })? {
        Forked::Child => {
            sys::exit_now(i32::from(sys::forward_fd(number, known, channel).is_err()));
        }
        Forked::Parent { pid, pidfd } => {
            // Shared with the helper: closing it there and here is the same close.
            std::mem::forget(pidfd);
            std::mem::forget(probe);
            sys::close_raw(number);
            let loaded = setup.load_filter();
            if loaded.is_err() {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            let listener = loaded?;
            let code = sys::wait_pid(pid)?;
            drop(listener);
            if code != 0 {
                bail!("the seccomp listener could not be handed over");
            }
            Ok(())
        }
    }
}

/// Waits at the socket until somebody says go. Connections without a word are only looks whether this
/// process still waits.
fn wait_for_start(listener: &OwnedFd) -> Result<Channel> {
    loop {
        let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            other => other.context("waiting for start")?,
        };
        let channel = Channel(socket);
        if let Ok(Some((Kind::Go, ..))) = channel.hear() {
            channel.say(Kind::Starting)?;
            return Ok(channel);
        }
    }
}

/// runtime.md lifecycle steps 7 and 8. Returns only an error.
fn run(init: &Init<'_>, setup: &Setup, file: &CString, door: &Channel, filter: bool) -> Result<Error> {
    setup.seal_descriptors()?;
    if filter {
        drop(setup.load_filter()?);
    }
    if let (Some(list), Some(record)) = (init.spec.hooks.as_ref(), init.record.as_ref())
        && !list.start_container.is_empty()
    {
        let state = record.document(Status::Created, own_pid()).to_string();
        hooks::run("startContainer", &list.start_container, &state, setup.program.env())?;
    }
    // Signals were reset before; the handlers that were set since go with exec.
    let _ = door;
    Ok(setup.program.exec(file))
}
