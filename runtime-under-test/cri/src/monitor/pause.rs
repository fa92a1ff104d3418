//! The sandbox process: holds the pod's namespaces, is pid 1 of a shared pid namespace and reaps its orphans.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::proto::PodSpec;
use crate::error::{Context as _, Error, Result};
use crate::sys;

const SIGNALS: [i32; 3] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT];

/// Starts the sandbox process; returns its pid once its namespaces are ready.
pub fn start(spec: &PodSpec) -> Result<i32> {
    let mut flags = libc::CLONE_NEWNS;
    let userns = !spec.uid_map.is_empty();
    for (wanted, flag) in [
        (spec.network, libc::CLONE_NEWNET),
        (spec.ipc, libc::CLONE_NEWIPC),
        (spec.hostname.is_some(), libc::CLONE_NEWUTS),
        (spec.pid, libc::CLONE_NEWPID),
        (userns, libc::CLONE_NEWUSER),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    let (go_read, go_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing("making a pipe")?;
    let (done_read, done_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing("making a pipe")?;
    let pid = sys::fork_into(flags).doing("making the pod's namespaces")?;
    if pid == 0 {
        drop((go_write, done_read));
        child(spec, go_read, done_write);
    }
    drop((go_read, done_write));
    let result = prepare(spec, pid).and_then(|()| {
        File::from(go_write).write_all(b"g").doing("starting the sandbox process")?;
        let mut answer = String::new();
        File::from(done_read).read_to_string(&mut answer).doing("waiting for the sandbox process")?;
        match answer.as_str() {
            "ok" => Ok(pid),
            "" => Err(Error::internal("the sandbox process ended at once")),
            why => Err(Error::internal(why)),
        }
    });
    if result.is_err()
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    result
}

/// What only the parent may do: id mappings and cgroups.
fn prepare(spec: &PodSpec, pid: i32) -> Result<()> {
    if !spec.uid_map.is_empty() {
        std::fs::write(format!("/proc/{pid}/uid_map"), &spec.uid_map).doing("writing the uid mapping")?;
        std::fs::write(format!("/proc/{pid}/gid_map"), &spec.gid_map).doing("writing the gid mapping")?;
    }
    for file in &spec.cgroups {
        std::fs::write(file, pid.to_string()).with_path("joining cgroup", file)?;
    }
    Ok(())
}

fn child(spec: &PodSpec, go: OwnedFd, done: OwnedFd) -> ! {
    let mut answer = File::from(done);
    let mut byte = [0_u8];
    let result = match File::from(go).read_exact(&mut byte) {
        Ok(()) => become_sandbox(spec),
        Err(_) => Err(Error::internal("the monitor went away")),
    };
    let code = match result {
        Ok(()) => {
            let _ = answer.write_all(b"ok");
            drop(answer);
            // The monitor's descriptors are close-on-exec, but nothing is executed here: close them by hand.
            sys::close_from(0);
            let confined = !spec.seccomp || sys::confine_pause().is_ok();
            if confined { wait_for_the_end() } else { 1 }
        }
        Err(error) => {
            let _ = answer.write_all(error.message.as_bytes());
            1
        }
    };
    sys::leave(code)
}

fn become_sandbox(spec: &PodSpec) -> Result<()> {
    if !spec.uid_map.is_empty() {
        let root = rustix::thread::Uid::ROOT;
        rustix::thread::set_thread_res_gid(
            rustix::thread::Gid::ROOT,
            rustix::thread::Gid::ROOT,
            rustix::thread::Gid::ROOT,
        )
        .doing("becoming root of the user namespace")?;
        rustix::thread::set_thread_res_uid(root, root, root).doing("becoming root of the user namespace")?;
    }
    if let Some(name) = &spec.hostname {
        rustix::system::sethostname(name.as_bytes()).doing("setting the host name")?;
    }
    if spec.network {
        sys::interface_up("lo").doing("bringing the loopback interface up")?;
    }
    for (key, value) in &spec.sysctls {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        std::fs::write(&path, value).doing(format_args!("setting sysctl {key} to {value:?}"))?;
    }
    // While /proc can still be seen.
    sys::set_title("pause");
    let _ = rustix::thread::set_name(c"pause");
    empty_root(&spec.dir).doing("making the sandbox's root")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    drop_privileges(spec).doing("dropping privileges of the sandbox process")?;
    // After the change of user, which clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("tying the sandbox process to its monitor")?;
    sys::signal_fd(&SIGNALS).doing("blocking signals")?;
    Ok(())
}

/// An empty read-only root: the sandbox process needs no file.
fn empty_root(dir: &Path) -> rustix::io::Result<()> {
    use rustix::mount::{mount, mount_change, mount_remount, unmount};
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount(
        "tmpfs",
        dir,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        Some(c"size=4k,mode=555"),
    )?;
    rustix::process::chdir(dir)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    mount_remount(
        "/",
        MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        c"",
    )?;
    rustix::process::chdir("/")
}

fn drop_privileges(spec: &PodSpec) -> rustix::io::Result<()> {
    use rustix::thread::{
        Gid, Uid, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    };
    set_no_new_privs(true)?;
    for capability in CapabilitySet::all().iter() {
        // Capabilities that this kernel does not know are not there to be dropped.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let groups: Vec<Gid> = spec.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Reaps orphans until told to end.
fn wait_for_the_end() -> i32 {
    loop {
        match sys::wait_signal(&SIGNALS) {
            libc::SIGTERM | libc::SIGINT => return 0,
            _ => while sys::reap().is_some() {},
        }
    }
}
