//! The guest's root file system: from the initramfs to a tmpfs, because the initramfs cannot be pivoted away; and
//! what a system has mounted.

use crate::job::CgroupLayout;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const NONE: Option<&str> = None;

/// What is kept on a ramfs. A tmpfs gives its files seals, and a runtime that protects its executable takes a file whose
/// seals are not all set for one that it has to copy to memory, although it has just mounted it read-only for itself. An
/// emulator translates such a copy anew at every start; from a disk, or from here, the runtime does not copy.
const PROGRAMS: &str = "usr";

/// Moves everything from the initramfs to a tmpfs, file by file so that it is never in memory twice, and makes that
/// the root of this process.
pub fn move_to_tmpfs() -> io::Result<()> {
    let new = Path::new("/.root");
    fs::create_dir(new)?;
    // Half of the memory is the usual bound of a tmpfs; a root file system may need more.
    mount(Some("rootfs"), new, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=90%"))?;
    let programs = new.join(PROGRAMS);
    fs::create_dir(&programs)?;
    mount(Some("programs"), &programs, Some("ramfs"), MsFlags::empty(), Some("mode=755"))?;
    move_below(Path::new("/"), new, new)?;
    nix::unistd::chdir(new)?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    Ok(())
}

fn move_below(from: &Path, to: &Path, except: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        let kind = meta.file_type();
        if source == except {
            continue;
        }
        if kind.is_dir() {
            match fs::create_dir(&target) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            move_below(&source, &target, except)?;
            fs::set_permissions(&target, PermissionsExt::from_mode(meta.mode() & 0o7777))?;
            continue;
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
        } else if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
            continue;
        }
        fs::remove_file(&source)?;
    }
    Ok(())
}

/// What is mounted where; a file system that the kernel does not have is left out, unless nothing works without it.
const MOUNTS: [(&str, &str, &str, MsFlags, &str, bool); 11] = {
    const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
    const NO_EXEC: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
    const DATA: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
    [
        ("proc", "/proc", "proc", SAFE, "", true),
        ("sysfs", "/sys", "sysfs", SAFE, "", true),
        ("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, "mode=755", true),
        ("devpts", "/dev/pts", "devpts", NO_EXEC, "gid=5,mode=620,ptmxmode=666", true),
        ("tmpfs", "/dev/shm", "tmpfs", DATA, "mode=1777", true),
        ("mqueue", "/dev/mqueue", "mqueue", SAFE, "", false),
        ("hugetlbfs", "/dev/hugepages", "hugetlbfs", MsFlags::MS_NOSUID, "", false),
        ("tmpfs", "/run", "tmpfs", DATA, "mode=755", true),
        ("tmpfs", "/tmp", "tmpfs", DATA, "mode=1777", true),
        ("securityfs", "/sys/kernel/security", "securityfs", SAFE, "", false),
        ("bpf", "/sys/fs/bpf", "bpf", SAFE, "", false),
    ]
};

/// Mounts what a system has mounted, and the cgroups in the wanted layout.
pub fn mount_all(cgroups: CgroupLayout) -> io::Result<()> {
    for (source, target, kind, flags, data, needed) in MOUNTS {
        // Directories in sysfs are there or cannot be made.
        if let Err(e) = fs::create_dir_all(target)
            && needed
        {
            return Err(io::Error::other(format!("{target}: {e}")));
        }
        let result = mount(Some(source), target, Some(kind), flags, Some(data));
        match result {
            Err(e) if needed => {
                return Err(io::Error::other(format!("cannot mount {kind} on {target}: {e}")));
            }
            _ => {}
        }
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let path = Path::new("/dev").join(link);
        if !path.exists() {
            symlink(target, path)?;
        }
    }
    // Shared, as an init system leaves it: mount propagation into containers depends on it.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE)?;
    mount_cgroups(cgroups)
}

fn mount_cgroups(layout: CgroupLayout) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let top = PathBuf::from("/sys/fs/cgroup");
    let fail = |what: &Path, e: nix::Error| io::Error::other(format!("cannot mount {}: {e}", what.display()));
    if layout == CgroupLayout::V2 {
        mount(Some("cgroup2"), &top, Some("cgroup2"), flags, Some("nsdelegate,memory_recursiveprot"))
            .map_err(|e| fail(&top, e))?;
        // As an init system does: what is below the root may use every controller.
        let all = fs::read_to_string(top.join("cgroup.controllers"))?;
        for name in all.split_whitespace() {
            fs::write(top.join("cgroup.subtree_control"), format!("+{name}"))?;
        }
        return Ok(());
    }
    mount(Some("tmpfs"), &top, Some("tmpfs"), flags, Some("mode=755")).map_err(|e| fail(&top, e))?;
    for name in version_one(&fs::read_to_string("/proc/cgroups")?) {
        let dir = top.join(&name);
        fs::create_dir(&dir)?;
        if let Err(e) = mount(Some("cgroup"), &dir, Some("cgroup"), flags, Some(name.as_str())) {
            // Kernels leave some controllers to version 2 although they are listed.
            fs::remove_dir(&dir)?;
            if !matches!(e, nix::Error::EINVAL | nix::Error::EBUSY | nix::Error::ENOENT) {
                return Err(fail(&dir, e));
            }
        }
    }
    if layout == CgroupLayout::Hybrid {
        let dir = top.join("unified");
        fs::create_dir(&dir)?;
        mount(Some("cgroup2"), &dir, Some("cgroup2"), flags, NONE).map_err(|e| fail(&dir, e))?;
    }
    Ok(())
}

/// The controllers that `/proc/cgroups` lists as enabled.
fn version_one(table: &str) -> Vec<String> {
    let rows = table.lines().filter(|l| !l.starts_with('#'));
    rows.filter_map(|row| {
        let mut fields = row.split_whitespace();
        let name = fields.next()?;
        (fields.next_back() == Some("1")).then(|| name.to_owned())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn enabled_controllers_are_found() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\nmemory\t0\t1\t0\n";
        assert_eq!(super::version_one(table), ["cpuset"]);
    }
}
