//! `checkpoint` and `restore`, done by the criu program where it works.

use super::ops::cgroup_of;
use super::run::attend;
use super::teardown::{self, Undo};
use crate::bail;
use crate::cgroup::Cgroup;
use crate::config::{self, Spec};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::state::{self, Record, Status, Store, process_stat, write_pid};
use crate::sys;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// What both commands take.
#[derive(Debug, Default)]
pub struct Request {
    /// The criu program.
    pub criu: PathBuf,
    /// Container id.
    pub id: String,
    /// Directory of the states.
    pub root: PathBuf,
    /// Where the images are.
    pub images: PathBuf,
    /// Where criu logs; the images' directory when absent.
    pub work: Option<PathBuf>,
    /// Switches handed to criu as they are.
    pub switches: Vec<&'static str>,
    /// `soft`, `full`, `strict` or `ignore`.
    pub manage_cgroups: String,
    /// Keep the container running after a checkpoint.
    pub leave_running: bool,
    /// Only memory, ahead of a later checkpoint.
    pub pre_dump: bool,
    /// Images of the pre-dump before.
    pub parent: Option<PathBuf>,
    /// Bundle of a restore.
    pub bundle: PathBuf,
    /// Return once it runs.
    pub detach: bool,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
}

impl Request {
    /// criu with the options of both directions. Fails where criu is missing or this kernel is not to its
    /// liking, before anything is touched.
    fn command(&self, action: &str, spec: &Spec) -> Result<(Command, PathBuf)> {
        let check = Command::new(&self.criu).arg("check").output();
        let check = check.map_err(|e| {
            Error::new(format!("{}: {e} (checkpoint and restore need criu)", self.criu.display()))
        })?;
        if !check.status.success() {
            let said =
                String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
            bail!("criu does not work on this host: {}", last_lines(&said));
        }
        let work = self.work.as_ref().unwrap_or(&self.images);
        for dir in [&self.images, work] {
            std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
        }
        let log = work.join(format!("{action}.log"));
        let mut command = Command::new(&self.criu);
        command.arg(action).arg("--images-dir").arg(&self.images).arg("--work-dir").arg(work);
        command
            .arg("--log-file")
            .arg(&log)
            .arg("-v4")
            .arg(format!("--manage-cgroups={}", self.manage_cgroups))
            .args(&self.switches);
        for mount in &spec.mounts {
            if mount.options.iter().any(|o| o == "bind" || o == "rbind")
                || mount.kind.as_deref() == Some("bind")
            {
                let inside = &mount.destination;
                let outside = match action {
                    "restore" => mount.source.as_deref().unwrap_or_default(),
                    _ => inside,
                };
                command.arg("--external").arg(format!("mnt[{inside}]:{outside}"));
            }
        }
        Ok((command, log))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("Error")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn execute(mut command: Command, log: &Path) -> Result<()> {
    let output = command.output().context("running criu")?;
    if output.status.success() {
        return Ok(());
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    bail!("criu failed ({}): {} (log: {})", output.status, last_lines(&said), log.display())
}

/// `checkpoint`: writes images; without `--leave-running` the container is gone afterwards.
pub fn checkpoint(request: &Request) -> Result<()> {
    let (store, record) = state::open(&request.root, &request.id)?;
    match store.status(&record) {
        Status::Running | Status::Paused => {}
        status => bail!("container not running: {}", status.name()),
    }
    let spec = store.config()?;
    let (mut command, log) = request.command(if request.pre_dump { "pre-dump" } else { "dump" }, &spec)?;
    command.arg("--tree").arg(record.pid.to_string()).arg("--root").arg(&record.rootfs);
    if let Some(parent) = &request.parent {
        command.arg("--prev-images-dir").arg(parent);
    }
    if request.leave_running {
        command.arg("--leave-running");
    }
    if request.pre_dump {
        command.arg("--track-mem");
    }
    execute(command, &log)?;
    if request.leave_running || request.pre_dump { Ok(()) } else { teardown::destroy(&store, &record) }
}

/// `restore`: makes a container from images. The answer is the exit status, 0 when detached.
pub fn restore(request: &Request) -> Result<i32> {
    let store = Store::new(&request.root, &request.id)?;
    let bundle = std::fs::canonicalize(&request.bundle)
        .with_context(|| format!("bundle {}", request.bundle.display()))?;
    let (bytes, spec) = config::load(&bundle)?;
    let root = spec.root.as_ref().map_or("", |r| r.path.as_str());
    let rootfs = std::fs::canonicalize(bundle.join(root)).with_context(|| format!("root.path {root:?}"))?;
    let (mut command, log) = request.command("restore", &spec)?;
    store.claim()?;
    let mut undo = Undo::new(store.clone(), &spec);
    let mut restored = || -> Result<Record> {
        store.keep_config(&bytes)?;
        let mut record = new_record(request, bundle.clone(), rootfs.clone(), &spec);
        let resources = spec.linux.resources.as_ref().cloned().unwrap_or_default();
        let wrap = |e: crate::cgroup::Error| Error::new(e.to_string());
        let path = spec.linux.cgroups_path.as_deref().filter(|p| !p.is_empty());
        let mut cgroup = Cgroup::plan(path, &request.id, &resources).map_err(wrap)?;
        record.cgroup = cgroup.save();
        store.save(&record)?;
        undo.cgroup(record.cgroup.clone());
        cgroup.create().and_then(|()| cgroup.apply(&resources)).map_err(wrap)?;
        // criu wants the root as a mount. In a mount namespace of this process it is gone with it.
        sys::unshare(libc::CLONE_NEWNS).context("private mounts")?;
        let place = store.dir().join("root");
        std::fs::create_dir(&place).context("root of the restore")?;
        let all = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", all).context("private mounts")?;
        rustix::mount::mount_bind_recursive(&rootfs, &place).context("root of the restore")?;
        let pid_file = store.dir().join("criu.pid");
        command.arg("--root").arg(&place).arg("--restore-detached").arg("--pidfile").arg(&pid_file);
        execute(std::mem::replace(&mut command, Command::new("true")), &log)?;
        let text = std::fs::read_to_string(&pid_file).context("pid of the restored process")?;
        record.pid = text.trim().parse().map_err(|_| Error::new("garbled pid of the restored process"))?;
        record.start_time = process_stat(record.pid).context("restored process")?.1;
        record.complete = true;
        store.save(&record)?;
        cgroup_of(&record)?.add_process(record.pid).map_err(wrap)?;
        Ok(record)
    };
    if !request.detach {
        sys::set_subreaper().context("becoming a subreaper")?;
    }
    let record = match restored() {
        Ok(record) => record,
        Err(e) => {
            undo.all();
            return Err(e);
        }
    };
    undo.keep();
    if let Some(path) = &request.pid_file {
        write_pid(path, record.pid)?;
    }
    if request.detach {
        return Ok(0);
    }
    let pid = Pid::from_raw(record.pid).ok_or_else(|| Error::new("garbled pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("restored process")?;
    let signals = sys::signal_fd().context("signals")?;
    let code = attend(record.pid, &pidfd, &signals, None)?;
    teardown::destroy(&store, &record)?;
    Ok(code)
}

fn new_record(request: &Request, bundle: PathBuf, rootfs: PathBuf, spec: &Spec) -> Record {
    Record {
        id: request.id.clone(),
        pid: 0,
        start_time: 0,
        bundle,
        rootfs,
        created: log::timestamp(SystemTime::now()),
        owner: rustix::process::getuid().as_raw(),
        complete: false,
        cgroup: serde_json::Value::Null,
        scope: None,
        annotations: spec.annotations.clone(),
        resctrl: Vec::new(),
    }
}
