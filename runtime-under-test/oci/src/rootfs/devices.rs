//! Default devices, configured devices and the links of `/dev` (config-linux.md "Devices", "Default
//! Devices"; runtime-linux.md "Dev symbolic links").

use super::Rootfs;
use super::mount::attach;
use super::resolve::{self, Target};
use crate::bail;
use crate::config::{Device, FileType};
use crate::error::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, Dev, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mknodat, openat, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};

/// "In addition to any devices configured with this setting, the runtime MUST also supply" these.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
];

/// "the runtime MUST create the following symlinks if the source file exists after processing mounts".
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

struct Node<'a> {
    path: &'a str,
    kind: rustix::fs::FileType,
    dev: Dev,
    mode: Mode,
    owner: Option<(u32, u32)>,
}

impl Rootfs<'_> {
    /// Makes all nodes and links, unless `/dev` is a bind mount of the configuration.
    pub(super) fn devices(&self) -> Result<()> {
        let own_dev = self.own_dev();
        let configured = &self.spec.linux.devices;
        if !own_dev {
            let (dev, _) = resolve::ensure(self.root.as_fd(), "dev", Target::Directory)?;
            for (path, major, minor) in
                DEFAULT.iter().filter(|(path, ..)| !configured.iter().any(|d| d.path == *path))
            {
                let node = Node {
                    path,
                    kind: rustix::fs::FileType::CharacterDevice,
                    dev: makedev(*major, *minor),
                    mode: Mode::from(0o666),
                    owner: None,
                };
                self.node(&node).with_context(|| format!("device {path}"))?;
            }
            links(&dev, self.root.as_fd())?;
        }
        for device in configured {
            self.node(&wanted(device)).with_context(|| format!("device {}", device.path))?;
        }
        Ok(())
    }

    fn node(&self, node: &Node<'_>) -> Result<()> {
        let (dir, name) = resolve::parent(self.root.as_fd(), node.path)?;
        match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // "The runtime MUST generate an error if a file already exists at path that does not match the
            // requested device."
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode) != node.kind => {
                bail!("another kind of file is already there");
            }
            Ok(stat) if node.kind != rustix::fs::FileType::Fifo && stat.st_rdev != node.dev => {
                bail!("another device is already there");
            }
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        if self.userns && node.kind != rustix::fs::FileType::Fifo {
            return self.bind_node(node);
        }
        match mknodat(&dir, &name, node.kind, node.mode, node.dev) {
            Err(Errno::PERM) => return self.bind_node(node),
            other => other?,
        }
        // The mode as configured, whatever the caller's umask is.
        chmodat(&dir, &name, node.mode, AtFlags::empty())?;
        if let Some((uid, gid)) = node.owner {
            chownat(
                &dir,
                &name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    /// Where nodes cannot be made: the host's own node of that path, when it is the same device.
    fn bind_node(&self, node: &Node<'_>) -> Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let host = open_tree(CWD, node.path, flags).context("the host's node, as it cannot be made here")?;
        let stat = rustix::fs::fstat(&host)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != node.kind || stat.st_rdev != node.dev {
            bail!("the host's node is another device, and it cannot be made here");
        }
        let (target, _) = resolve::ensure(self.root.as_fd(), node.path, Target::File)?;
        attach(host.as_fd(), target.as_fd())
    }
}

fn wanted(device: &Device) -> Node<'_> {
    let kind = match device.kind {
        FileType::Char => rustix::fs::FileType::CharacterDevice,
        FileType::Block => rustix::fs::FileType::BlockDevice,
        FileType::Fifo => rustix::fs::FileType::Fifo,
    };
    let owner = (device.uid.is_some() || device.gid.is_some())
        .then(|| (device.uid.unwrap_or_default(), device.gid.unwrap_or_default()));
    Node {
        path: &device.path,
        kind,
        dev: makedev(device.major.unwrap_or_default(), device.minor.unwrap_or_default()),
        mode: Mode::from(device.file_mode.unwrap_or(0o666) & 0o7777),
        owner,
    }
}

fn links(dev: &OwnedFd, root: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    if resolve::existing(root, "proc/self/fd")?.is_some() {
        for (name, to) in LINKS {
            link(dev, name, to)?;
        }
    }
    // "/dev/ptmx: a bind-mount or symlink of the container's /dev/pts/ptmx".
    match statat(dev, "ptmx", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory => {
            unlinkat(dev, "ptmx", AtFlags::empty()).context("replacing /dev/ptmx")?;
        }
        _ => {}
    }
    link(dev, "ptmx", "pts/ptmx")
}

fn link(dev: &OwnedFd, name: &str, to: &str) -> Result<()> {
    match symlinkat(to, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("link /dev/{name}")),
    }
}

/// Puts the terminal on `/dev/console` of the container.
pub fn console(root: std::os::fd::BorrowedFd<'_>, slave: &OwnedFd) -> Result<()> {
    let (dir, name) = resolve::parent(root, "dev/console")?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = match openat(&dir, &name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            drop(openat(&dir, &name, flags, Mode::from(0o620)).context("/dev/console")?);
            openat(&dir, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        }
        other => other,
    }
    .context("/dev/console")?;
    let kind = resolve::kind(&target)?;
    if matches!(kind, rustix::fs::FileType::Symlink | rustix::fs::FileType::Directory) {
        bail!("/dev/console of the root is a link or directory");
    }
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(slave, "", clone).context("/dev/console")?;
    attach(tree.as_fd(), target.as_fd()).context("/dev/console")
}
