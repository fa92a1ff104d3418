//! The root of a container: an overlay of the image's shared layers under a private writable one.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree,
};

use crate::error::{Context as _, Error, Result};
use crate::images::overlay;
use crate::sys;
use crate::util;

/// Mounts the root at `dir/rootfs`; `userns` is the pod's user namespace and the host id of its root.
pub fn mount(
    dir: &Path,
    writable: &Path,
    lowers: &[PathBuf],
    userns: Option<(&OwnedFd, u32)>,
) -> Result<PathBuf> {
    let target = dir.join("rootfs");
    let (upper, work) = (writable.join("upper"), writable.join("work"));
    for path in [&target, &upper, &work] {
        util::make_dir(path, 0o755)?;
    }
    let empty = writable.join("empty");
    let mut below = lowers.to_vec();
    if below.is_empty() {
        util::make_dir(&empty, 0o755)?;
        below.push(empty);
    }
    let mut mapped = Vec::new();
    if let Some((namespace, root_id)) = userns {
        rustix::fs::chown(
            &upper,
            Some(rustix::fs::Uid::from_raw(root_id)),
            Some(rustix::fs::Gid::from_raw(root_id)),
        )
        .with_path("changing the owner of", &upper)?;
        for (at, lower) in below.iter().enumerate() {
            let point = dir.join(format!("lower{at}"));
            util::make_dir(&point, 0o755)?;
            mapped.push(point.clone());
            idmapped_bind(lower, &point, namespace)?;
        }
    }
    let result =
        overlay::mount(if userns.is_some() { &mapped } else { &below }, Some((&upper, &work)), &target, true);
    // The overlay has its own reference to each layer.
    for point in mapped {
        let _ = rustix::mount::unmount(&point, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&point);
    }
    result?;
    // Nothing that the container mounts may travel to the host through this mount.
    rustix::mount::mount_change(&target, MountPropagationFlags::PRIVATE)
        .with_path("making private", &target)?;
    Ok(target)
}

/// Unmounts the root and all else that was mounted below a container's directory.
pub fn unmount_all(dir: &Path) {
    let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = info
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect();
    points.reverse();
    for point in points {
        let _ = rustix::mount::unmount(&point, UnmountFlags::DETACH);
    }
}

/// Binds `source` at `target` with ids seen through a user namespace.
pub fn idmapped_bind(source: &Path, target: &Path, namespace: &OwnedFd) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags).with_path("cloning the mount of", source)?;
    sys::idmap_mount(&tree, namespace).with_path("mapping ids of", source)?;
    move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_path("mounting at", target)
}

/// Binds an image read-only below `dir`, for an image volume; returns where.
pub fn mount_image(dir: &Path, at: usize, lowers: &[PathBuf], userns: Option<&OwnedFd>) -> Result<PathBuf> {
    let target = dir.join(format!("volume{at}"));
    util::make_dir(&target, 0o755)?;
    let empty = dir.join("nothing");
    util::make_dir(&empty, 0o755)?;
    let mut below = lowers.to_vec();
    below.push(empty);
    let mut mapped = Vec::new();
    if let Some(namespace) = userns {
        for (n, lower) in below.iter().enumerate() {
            let point = dir.join(format!("volume{at}-lower{n}"));
            util::make_dir(&point, 0o755)?;
            mapped.push(point.clone());
            idmapped_bind(lower, &point, namespace)?;
        }
    }
    let result = overlay::mount(if userns.is_some() { &mapped } else { &below }, None, &target, false);
    for point in mapped {
        let _ = rustix::mount::unmount(&point, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&point);
    }
    result?;
    Ok(target)
}

/// A directory or file inside an image volume; neither `..` nor links lead out (`container.image-volume.subpath-escape`).
pub fn sub_path(root: &Path, sub: &str) -> Result<PathBuf> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    if sub.is_empty() {
        return Ok(root.to_owned());
    }
    let bad = |why: &str| {
        Error::new(tonic::Code::Unknown, format!("ImageVolumeMountFailed: image_sub_path {sub:?} {why}"))
    };
    let relative = Path::new(sub);
    if !relative
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir))
    {
        return Err(bad("must be relative and without .."));
    }
    let base = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_path("opening", root)?;
    let fd = openat2(
        &base,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| bad(&format!("is not in the image: {error}")))?;
    std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)))
        .doing("resolving a sub path")
}

/// Opens the user namespace of a process.
pub fn open_userns(pid: i32) -> Result<OwnedFd> {
    Ok(File::open(format!("/proc/{pid}/ns/user")).doing("opening the pod's user namespace")?.into())
}

/// Makes a directory inside the root where it is missing: the working directory (`container.workdir.created`).
pub fn ensure_dir(root: &Path, path: &str, owner: (u32, u32)) -> Result<()> {
    use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchown, mkdirat, openat2};
    let open = |at: &Path| {
        let base = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        openat2(
            &base,
            at,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    };
    let mut so_far = PathBuf::from("/");
    for part in Path::new(path).components() {
        let std::path::Component::Normal(name) = part else { continue };
        let parent = open(&so_far).doing(format_args!("opening {} of the image", so_far.display()))?;
        so_far.push(name);
        match open(&so_far) {
            Ok(_) => {}
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                    .doing(format_args!("making working directory {path}"))?;
                let made = open(&so_far).doing(format_args!("opening working directory {path}"))?;
                fchown(&made, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
                    .doing("changing the owner of the working directory")?;
            }
            Err(error) => return Err(Error::invalid(format!("working directory {path}: {error}"))),
        }
    }
    Ok(())
}

/// Whether id-mapped overlay layers work below `root`.
pub fn supports_idmap(root: &Path) -> bool {
    let probe = root.join("ingest-idmap");
    let point = probe.join("mount");
    let result = util::make_dir(&point, 0o700).and_then(|()| {
        let spec = libc::CLONE_NEWUSER;
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing("making a pipe")?;
        let mut child = idle_child(spec, &read)?;
        let outcome = (|| {
            std::fs::write(format!("/proc/{}/uid_map", child.pid), "0 100000 65536\n")
                .doing("writing a uid mapping")?;
            std::fs::write(format!("/proc/{}/gid_map", child.pid), "0 100000 65536\n")
                .doing("writing a gid mapping")?;
            std::thread::scope(|scope| {
                let job = scope.spawn(|| {
                    overlay::private_mount_namespace()?;
                    let namespace = open_userns(child.pid)?;
                    idmapped_bind(&probe, &point, &namespace)
                });
                job.join().unwrap_or_else(|_| Err(Error::internal("probing failed")))
            })
        })();
        drop(write);
        child.wait();
        outcome
    });
    let _ = util::remove_dir(&probe);
    result.is_ok()
}

struct Idle {
    pid: i32,
}

impl Idle {
    fn wait(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

/// A child in new namespaces that only waits until it is killed. Called before any thread exists.
fn idle_child(flags: i32, until: &OwnedFd) -> Result<Idle> {
    let pid = sys::fork_into(flags).doing("making a user namespace")?;
    if pid == 0 {
        let mut byte = [0_u8];
        let _ = rustix::io::read(until, &mut byte);
        sys::leave(0);
    }
    Ok(Idle { pid })
}
