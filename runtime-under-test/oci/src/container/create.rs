//! `create` (runtime.md "Create"), the runtime's side.
//!
//! All that can be checked is checked before the first resource is made. The state is on disk before
//! the first cgroup is, so that a crash anywhere leaves something `delete --force` can clean. Until the
//! last message the first process ends by itself when the runtime does.

use super::Inherited;
use super::init::{self, Init};
use super::join::Entrance;
use super::ownership;
use super::teardown::Undo;
use crate::bail;
use crate::cgroup::Cgroup;
use crate::config::{self, NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use crate::namespaces::{Lent, Plan};
use crate::process::setup::Setup;
use crate::process::tty;
use crate::rootfs;
use crate::socket::{Channel, Kind, listen};
use crate::state::{Record, Status, Store, process_stat, write_pid};
use crate::sys::{self, CloneArgs, Forked};
use crate::systemd::Scope;
use crate::{hooks, log, netdev, rdt, seccomp};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the caller asks for.
#[derive(Debug, Default)]
pub struct Request {
    /// Container id.
    pub id: String,
    /// Directory of the states.
    pub root: PathBuf,
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Where the master of the terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// Where a pidfd is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Move the root instead of pivoting.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors of the caller.
    pub inherited: Inherited,
    /// The cgroup is a scope of systemd.
    pub systemd: bool,
    /// True for `run`: the caller of this function starts the program itself.
    pub run: bool,
    /// True for `run` in the foreground: it may keep the terminal.
    pub foreground: bool,
}

/// A created container.
pub struct Made {
    /// Its directory.
    pub store: Store,
    /// Its record.
    pub record: Record,
    /// Its configuration.
    pub spec: Spec,
    /// Its first process.
    pub pidfd: OwnedFd,
    /// The talk with it; `run` starts it over this.
    pub channel: Channel,
    /// The terminal of a foreground `run`.
    pub console: Option<OwnedFd>,
}

/// Makes a container.
pub fn create(request: &Request) -> Result<Made> {
    let store = Store::new(&request.root, &request.id)?;
    let bundle = std::fs::canonicalize(&request.bundle)
        .with_context(|| format!("bundle {}", request.bundle.display()))?;
    let (bytes, spec) = config::load(&bundle)?;
    let console = console(request, &spec)?;
    let mut init = prepare(request, &spec, &bundle)?;
    init.console = console;

    store.claim()?;
    let mut undo = Undo::new(store.clone(), &spec);
    let made = build(request, &store, &bytes, &bundle, &mut init, &mut undo);
    match made {
        Ok((record, pidfd, channel, console)) => {
            undo.keep();
            drop(init);
            drop(undo);
            Ok(Made { store, record, spec, pidfd, channel, console })
        }
        Err(e) => {
            drop(init);
            undo.all();
            Err(e)
        }
    }
}

/// "terminal ... if true": detached it needs a socket to send the master to, in the foreground it need not.
fn console(request: &Request, spec: &Spec) -> Result<Option<OwnedFd>> {
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    match (&request.console_socket, terminal) {
        (Some(path), true) => tty::connect(path).map(Some),
        (None, true) if !request.foreground => {
            bail!(
                "cannot allocate tty if runc will detach without setting console socket: process.terminal needs --console-socket"
            )
        }
        (Some(_), false) => bail!("--console-socket is of no use: process.terminal is not set"),
        _ => Ok(None),
    }
}

fn prepare<'a>(request: &Request, spec: &'a Spec, bundle: &Path) -> Result<Init<'a>> {
    let root = spec.root.as_ref().map_or("", |r| r.path.as_str());
    let rootfs = std::fs::canonicalize(bundle.join(root)).with_context(|| format!("root.path {root:?}"))?;
    if !rootfs.is_dir() {
        bail!("root.path {root:?} is not a directory");
    }
    let setup = match spec.process.as_ref() {
        Some(process) => {
            let mut setup = Setup::new(process, &spec.linux, !spec.version_at_least(1, 1))?;
            setup.keep_fds = request.inherited.total;
            setup.setgroups_denied =
                spec.new_namespace(NamespaceKind::User) && !rustix::process::geteuid().is_root();
            if request.inherited.listen > 0 {
                setup.program.set_variable("LISTEN_FDS", &request.inherited.listen.to_string())?;
            }
            Some(setup)
        }
        None => None,
    };
    if spec.linux.mount_label.as_ref().is_some_and(|l| !l.is_empty())
        && !crate::process::setup::selinux_enabled()
    {
        bail!("linux.mountLabel is set, but SELinux is not enabled on this host");
    }
    rdt::check_host(spec.linux.intel_rdt.as_ref())?;
    let namespaces = Plan::new(spec)?;
    let mounts = rootfs::prepare(spec, bundle)?;
    let root_tree = if spec.has_namespace(NamespaceKind::User) && rustix::process::geteuid().is_root() {
        let place = std::fs::File::open(&rootfs).with_context(|| format!("root.path {root:?}"))?;
        Some(rootfs::clone_root(place.as_fd()).context("copying the root mount")?)
    } else {
        None
    };
    let devices = netdev::capture(&spec.linux.net_devices)?;
    Ok(Init {
        spec,
        rootfs,
        setup,
        namespaces,
        mounts,
        root_tree,
        net_devices: devices,
        record: None,
        cgroup: None,
        entrance: Entrance::default(),
        console: None,
        listener: None,
        no_pivot: request.no_pivot,
        managed: request.systemd,
        keyring: (!request.no_new_keyring).then(|| format!("_ses.{}", request.id)),
        listen_pid: request.inherited.listen > 0,
    })
}

type Built = (Record, OwnedFd, Channel, Option<OwnedFd>);

fn build(
    request: &Request,
    store: &Store,
    bytes: &[u8],
    bundle: &Path,
    init: &mut Init<'_>,
    undo: &mut Undo,
) -> Result<Built> {
    let spec = init.spec;
    store.keep_config(bytes)?;
    let mut record = Record {
        id: request.id.clone(),
        pid: 0,
        start_time: 0,
        bundle: bundle.to_path_buf(),
        rootfs: init.rootfs.clone(),
        created: log::timestamp(SystemTime::now()),
        owner: rustix::process::getuid().as_raw(),
        complete: false,
        cgroup: serde_json::Value::Null,
        scope: scope(request, spec)?,
        annotations: spec.annotations.clone(),
        resctrl: Vec::new(),
    };
    let resources = spec.linux.resources.as_ref().cloned().unwrap_or_default();
    let mut cgroup = plan_cgroup(spec, &record, &resources)?;
    if let Some(cgroup) = &cgroup {
        record.cgroup = cgroup.save();
    }
    store.save(&record)?;
    if let Some(cgroup) = cgroup.as_mut().filter(|_| record.scope.is_none()) {
        let made = cgroup.create();
        record.cgroup = cgroup.save();
        undo.cgroup(cgroup.save());
        made.map_err(|e| Error::new(e.to_string()))?;
    }
    if let Some(cgroup) = cgroup.as_ref().filter(|_| record.scope.is_none()) {
        init.entrance = Entrance::open(cgroup)?;
    }
    init.cgroup = cgroup;
    if !request.run {
        init.listener = Some(listen(&store.start_socket())?);
    }
    init.record = Some(record.clone());

    let (pid, pidfd, channel) = fork(init)?;
    undo.process(pid, pidfd.try_clone()?);
    record.pid = pid;
    record.start_time = process_stat(pid).context("first process")?.1;
    connect_process(init, &mut record, undo)?;
    if init.needs_help() {
        channel.say(Kind::Go)?;
    }
    // From here on the first process is at work, and what follows is done beside it.
    if let Some(cgroup) = init.cgroup.as_ref().filter(|_| record.scope.is_none()) {
        cgroup.apply(&resources).map_err(|e| Error::new(e.to_string()))?;
    }
    let staged = store.stage(&Record { complete: true, ..record.clone() })?;
    let console = converse(&channel, store, &mut record, spec, init, undo)?;

    record.complete = true;
    staged.commit()?;
    log::debug(|| format!("container {} is made, its first process is {pid}", record.id));
    hand_over(request, pid, &pidfd)?;
    if !request.run {
        channel.say(Kind::Go)?;
    }
    Ok((record, pidfd, channel, console))
}

/// The scope of `--systemd-cgroup`.
fn scope(request: &Request, spec: &Spec) -> Result<Option<Scope>> {
    if !request.systemd {
        return Ok(None);
    }
    let user = !rustix::process::geteuid().is_root();
    let scope = Scope::parse(spec.linux.cgroups_path.as_deref(), &request.id, user);
    scope.map(Some).context("--systemd-cgroup")
}

fn plan_cgroup(spec: &Spec, record: &Record, resources: &serde_json::Value) -> Result<Option<Cgroup>> {
    let managed = record.scope.as_ref().map(Scope::path).transpose().context("--systemd-cgroup")?;
    let path = managed.as_deref().or(spec.linux.cgroups_path.as_deref()).filter(|p| !p.is_empty());
    Cgroup::plan(path, &record.id, resources).map(Some).map_err(|e| Error::new(e.to_string()))
}

/// Has systemd make the scope around the first process, and does the rest of its cgroup.
fn enter_scope(scope: &Scope, init: &Init<'_>, record: &mut Record, undo: &mut Undo) -> Result<()> {
    let resources = init.spec.linux.resources.as_ref().cloned().unwrap_or_default();
    undo.scope(scope.clone());
    scope.start(&record.id, record.pid, &resources).context("--systemd-cgroup")?;
    let Some(mut cgroup) = init.cgroup.clone() else { return Ok(()) };
    let made = cgroup.create_around(record.pid).and_then(|()| cgroup.apply(&resources));
    record.cgroup = cgroup.save();
    undo.cgroup(cgroup.save());
    made.map_err(|e| Error::new(e.to_string()))
}

/// Forks the first process into its namespaces.
fn fork(init: &mut Init<'_>) -> Result<(i32, OwnedFd, Channel)> {
    let (ours, theirs) = tty::pair()?;
    let channel = Channel(ours);
    let lent = Lent::enter(&init.namespaces, &init.spec.linux.time_offsets)?;
    let stage = init.namespaces.needs_stage();
    let flags = if stage { 0 } else { init.namespaces.clone_flags() };
    let args = CloneArgs { flags, cgroup: init.entrance.born_in() };
    let forked = sys::clone3(&args).context("making the container's namespaces")?;
    match forked {
        Forked::Child => {
            drop(channel);
            init::main(init, &Channel(theirs), stage)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            drop(lent);
            if !stage {
                return Ok((pid, pidfd, channel));
            }
            // The stage joined what was to be joined, made the first process as our child, and ends.
            let heard = channel.hear();
            let _ = sys::wait_pid(pid);
            match heard? {
                Some((Kind::Ready, _, Some(pidfd))) => Ok((pid_of(&pidfd)?, pidfd, channel)),
                Some((Kind::Error, text, _)) => Err(Error::new(text)),
                _ => bail!("the first process ended before it was ready"),
            }
        }
    }
}

/// The process behind a descriptor, counted in this process's namespace: the stage may be in a joined one, where
/// the same process has another number.
fn pid_of(pidfd: &OwnedFd) -> Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .context("finding the first process")?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0)
        .ok_or_else(|| Error::new("the first process is not in sight, or ended before it was ready"))
}

/// What the runtime does to the process from outside: id mappings, cgroup, network devices, OOM score.
fn connect_process(init: &Init<'_>, record: &mut Record, undo: &mut Undo) -> Result<()> {
    let (pid, spec) = (record.pid, init.spec);
    if init.namespaces.makes(NamespaceKind::User) {
        write_mappings(spec, pid)?;
    }
    if let Some(scope) = record.scope.clone() {
        enter_scope(&scope, init, record, undo)?;
    }
    if let (Some(cgroup), Some(uid)) = (&init.cgroup, ownership::host_uid(spec)) {
        cgroup.chown(uid).map_err(|e| Error::new(e.to_string()))?;
    }
    if let Some(adj) = spec.process.as_ref().and_then(|p| *p.oom_score_adj) {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), adj.to_string())
            .with_context(|| format!("setting process.oomScoreAdj to {adj}"))?;
    }
    if let Some(rdt) = spec.linux.intel_rdt.as_ref() {
        record.resctrl = rdt::apply(rdt, &record.id, pid)?;
        undo.resctrl(record.resctrl.clone());
    }
    if !init.net_devices.is_empty() {
        let joined =
            init.namespaces.join.iter().find(|(k, _)| *k == NamespaceKind::Network).map(|(_, fd)| fd.as_fd());
        let own = std::fs::File::open(format!("/proc/{pid}/ns/net")).context("network namespace")?;
        let target = joined.unwrap_or(own.as_fd());
        undo.net_devices(netdev::hand_in(&init.net_devices, target)?);
    }
    Ok(())
}

/// config-linux.md "User namespace mappings": written by the runtime, which has the privilege to.
fn write_mappings(spec: &Spec, pid: i32) -> Result<()> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        // One write: the kernel takes a map whole or not at all.
        let mut file = std::fs::File::options().write(true).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok::<(), Error>(())
    };
    let rootless = !rustix::process::geteuid().is_root();
    if rootless {
        write("setgroups", "deny").context("setgroups of the user namespace")?;
    }
    write("uid_map", &rootfs::map_lines(&spec.linux.uid_mappings)).context("linux.uidMappings")?;
    write("gid_map", &rootfs::map_lines(&spec.linux.gid_mappings)).context("linux.gidMappings")
}

/// Talks with the first process until it waits for `start`. Returns the terminal of a foreground run.
fn converse(
    channel: &Channel,
    store: &Store,
    record: &mut Record,
    spec: &Spec,
    init: &Init<'_>,
    undo: &mut Undo,
) -> Result<Option<OwnedFd>> {
    let mut console = None;
    loop {
        match channel.hear()? {
            Some((Kind::Mounted, ..)) => {
                store.save(record)?;
                runtime_hooks(spec, record, undo)?;
                channel.say(Kind::Go)?;
            }
            Some((Kind::Console, _, Some(fd))) => console = Some(fd),
            Some((Kind::Listener, _, Some(fd))) => {
                let program = init.setup.as_ref().and_then(|s| s.seccomp.as_ref());
                send_listener(program, &fd, record, record.pid, Status::Creating)?;
            }
            Some((Kind::Warning, text, _)) => log::warn(&text),
            Some((Kind::Ready, ..)) => return Ok(console),
            Some((Kind::Error, text, _)) => {
                undo.hooks_failed(text.starts_with("createContainer hook"));
                bail!("{text}")
            }
            Some((kind, ..)) => bail!("unexpected message {kind:?} of the first process"),
            None => bail!("the first process ended before it was ready"),
        }
    }
}

/// runtime.md lifecycle steps 3 and 4: `prestart`, then `createRuntime`, in the runtime's namespaces.
fn runtime_hooks(spec: &Spec, record: &Record, undo: &mut Undo) -> Result<()> {
    let Some(list) = spec.hooks.as_ref() else { return Ok(()) };
    let state = record.document(Status::Creating, record.pid).to_string();
    let run = || {
        hooks::run("prestart", &list.prestart, &state, &[])?;
        hooks::run("createRuntime", &list.create_runtime, &state, &[])
    };
    run().inspect_err(|_| undo.hooks_failed(true))
}

/// Hands the listener of a filter with `SCMP_ACT_NOTIFY` to its agent.
pub fn send_listener(
    program: Option<&seccomp::Program>,
    fd: &OwnedFd,
    record: &Record,
    pid: i32,
    status: Status,
) -> Result<()> {
    let Some(program) = program else { return Ok(()) };
    let Some(path) = &program.listener_path else { return Ok(()) };
    let state = record.document(status, record.pid);
    seccomp::send_listener(path, fd.as_fd(), &state, pid, program.listener_metadata.as_deref())
        .map_err(|e| Error::new(e.to_string()))
}

/// Tells the caller the process: `--pid-file` and `--pidfd-socket`.
fn hand_over(request: &Request, pid: i32, pidfd: &OwnedFd) -> Result<()> {
    if let Some(path) = &request.pid_file {
        write_pid(path, pid)?;
    }
    if let Some(path) = &request.pidfd_socket {
        let socket = tty::connect(path)?;
        tty::send_fds(socket.as_fd(), b"pidfd", &[pidfd.as_fd()]).context("--pidfd-socket")?;
    }
    Ok(())
}
