//! The surroundings of one attempt: a mount namespace with a tmpfs of its own, the wanted cgroup layout, a cgroup
//! that holds everything that the attempt starts, and the subreaper flag.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use plimsoll_kit::host::{self, Hierarchy};
use plimsoll_kit::job::{CgroupLayout, Job, Target};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Enters the surroundings. Must be called before any thread is started: mount namespaces are per thread.
pub fn enter(job: &Job) -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    make_parents(&job.cgroup);
    join_cgroup(&job.cgroup, "worker")?;
    if let Target::Oci(target) = &job.target {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Slave: what the host mounts arrives here, what happens here stays here.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
        show_cgroups(target.cgroups)?;
        let options = format!("size={},mode=0755", job.limits.work_bytes);
        mount(Some("plimsoll"), &job.dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        cover_null(&job.dir);
    }
    Ok(())
}

/// Puts a null device of the attempt's own over the host's. Runtimes bind it into containers whose user namespace forbids
/// new nodes, and hand it on as a standard stream: what is done to its owner and mode there must not reach the host.
/// Where nodes cannot be made the host's stays in use.
fn cover_null(dir: &Path) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let own = dir.join(".null");
    let mode = Mode::from_bits_truncate(0o666);
    if mknod(&own, SFlag::S_IFCHR, mode, makedev(1, 3)).is_ok()
        // Whatever the umask is.
        && fs::set_permissions(&own, fs::Permissions::from_mode(mode.bits())).is_ok()
    {
        let none = None::<&str>;
        let _ = mount(Some(&own), "/dev/null", none, MsFlags::MS_BIND, none);
    }
}

/// Enters the surroundings of a server that a run starts: its cgroup, and a mount namespace where mounts of the host
/// arrive, and from which none go out, so that all its mounts end with its last process. Must be called before any
/// thread is started.
pub fn enter_server(cgroup: &str, cgroups: CgroupLayout) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    make_parents(cgroup);
    join_cgroup(cgroup, "server")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
    // Shared among what the server starts, so that mounts can propagate between containers.
    mount(none, "/", none, MsFlags::MS_SHARED | MsFlags::MS_REC, none)?;
    show_cgroups(cgroups)
}

/// The hierarchy in which attempts are tracked: version 2 where it is mounted, else the first of version 1.
pub fn tracking_hierarchy() -> Option<Hierarchy> {
    let all = host::hierarchies();
    let v2 = all.iter().find(|h| h.unified).cloned();
    v2.or_else(|| all.into_iter().find(|h| h.controllers.iter().any(|c| c == "freezer" || c == "pids")))
}

/// Makes the attempt's cgroup in every version 1 hierarchy, so that a runtime creates the container's own cgroup and no
/// parent: what it leaves can then be told from what is the harness's. A new cpuset is useless until it has processors
/// and memory nodes. What fails here shows in the cases that need it.
fn make_parents(cgroup: &str) {
    for h in host::hierarchies().iter().filter(|h| !h.unified) {
        let mut dir = h.mount.clone();
        for part in cgroup.split('/').filter(|p| !p.is_empty()) {
            let parent = dir.clone();
            dir.push(part);
            let _ = fs::create_dir(&dir);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if fs::read_to_string(dir.join(file)).is_ok_and(|t| t.trim().is_empty()) {
                    let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
                    let _ = fs::write(dir.join(file), inherited.trim());
                }
            }
        }
    }
}

/// Moves this process into a leaf of a cgroup, so that whatever it starts can be found again.
fn join_cgroup(cgroup: &str, leaf: &str) -> io::Result<()> {
    let Some(hierarchy) = tracking_hierarchy() else { return Ok(()) };
    let leaf = hierarchy.mount.join(cgroup.trim_start_matches('/')).join(leaf);
    fs::create_dir_all(&leaf)?;
    fs::write(leaf.join("cgroup.procs"), "0")
}

/// This process inside a cgroup for a while: what it starts meanwhile stays there. Dropping it brings this process
/// back to where it was.
#[derive(Debug)]
pub struct Inside {
    back: Option<PathBuf>,
}

impl Inside {
    /// Moves this process into `leaf` below `cgroup` in the tracking hierarchy.
    pub fn enter(cgroup: &str, leaf: &str) -> io::Result<Self> {
        let back = tracking_hierarchy().and_then(|h| {
            let text = fs::read_to_string("/proc/self/cgroup").ok()?;
            let own = text.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                let here = if h.unified {
                    controllers.is_empty()
                } else {
                    controllers.split(',').any(|c| h.controllers.iter().any(|o| o == c))
                };
                here.then(|| path.to_owned())
            })?;
            Some(h.mount.join(own.trim_start_matches('/')).join("cgroup.procs"))
        });
        join_cgroup(cgroup, leaf)?;
        Ok(Self { back })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            let _ = fs::write(back, "0");
        }
    }
}

fn show_cgroups(layout: CgroupLayout) -> io::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    match layout {
        CgroupLayout::Host => {}
        CgroupLayout::Legacy => {
            for h in host::hierarchies().iter().filter(|h| h.unified) {
                umount2(&h.mount, MntFlags::MNT_DETACH)?;
            }
        }
        CgroupLayout::V2 => {
            if host::hierarchies().iter().any(|h| h.unified && h.mount == root) {
                return Ok(());
            }
            while umount2(root, MntFlags::MNT_DETACH).is_ok() {}
            mount(Some("cgroup2"), root, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
        }
    }
    Ok(())
}

/// Ends every process in the cgroups below `cgroup` over all hierarchies, and removes those cgroups.
/// Returns what could not be removed.
pub fn clear_cgroups(cgroup: &str) -> Vec<PathBuf> {
    let dirs: Vec<PathBuf> =
        host::hierarchies().iter().map(|h| h.mount.join(cgroup.trim_start_matches('/'))).collect();
    let own = std::process::id() as i32;
    for round in 0..40 {
        let mut busy = false;
        for dir in dirs.iter().filter(|d| d.is_dir()) {
            thaw(dir);
            for pid in host::processes_below(dir).into_iter().filter(|p| *p != own) {
                busy = true;
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            host::remove_cgroup(dir);
        }
        if !busy && dirs.iter().all(|d| !d.is_dir()) {
            return Vec::new();
        }
        // Killed processes leave their cgroup asynchronously.
        std::thread::sleep(std::time::Duration::from_millis(5 + round));
    }
    dirs.into_iter().filter(|d| d.is_dir()).collect()
}

/// A frozen process obeys no signal: thaws a cgroup and all below it.
fn thaw(dir: &Path) {
    let _ = fs::write(dir.join("freezer.state"), "THAWED");
    let _ = fs::write(dir.join("cgroup.freeze"), "0");
    for child in host::sub_directories(dir) {
        thaw(&child);
    }
}
