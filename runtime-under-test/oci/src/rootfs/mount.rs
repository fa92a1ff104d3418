//! `mounts` (config.md "Mounts"): one entry at a time, "mounted in the listed order".

use super::options::{MountOptions, READ_ONLY};
use super::resolve::{self, PROC_SUPER_MAGIC, Target};
use super::{Rootfs, copyup, idmap};
use crate::bail;
use crate::config::{Mount, NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use crate::sys::{self, MountAttr};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const MS_SLAVE: u64 = rustix::mount::MountPropagationFlags::DOWNSTREAM.bits() as u64;

/// A mount entry with what was prepared for it outside the container.
pub struct Prepared {
    options: MountOptions,
    /// Absolute source of a bind mount.
    source: Option<PathBuf>,
    /// A detached copy of the source, taken in the runtime's mount namespace.
    tree: Option<OwnedFd>,
    /// User namespace of an id-mapped mount.
    userns: Option<OwnedFd>,
}

/// Parses the entries and takes what only the runtime can: sources that a user namespace could not reach,
/// and id mappings, which need privilege over the file system. A runtime without privileges leaves the sources
/// to the container's process, which is the same user.
pub fn prepare(spec: &Spec, bundle: &Path) -> Result<Vec<Prepared>> {
    let privileged = rustix::process::geteuid().is_root();
    let userns = spec.has_namespace(NamespaceKind::User) && privileged;
    let mut list = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        let options = MountOptions::parse(mount)?;
        let source = match mount.source.as_ref() {
            Some(source) if options.bind => Some(bundle.join(source)),
            _ => None,
        };
        let mut prepared = Prepared { options, source, tree: None, userns: None };
        let what = || format!("mount {}", mount.destination);
        if prepared.options.idmap.is_some() {
            prepared.userns = idmap::for_mount(spec, mount).with_context(what)?;
        }
        if prepared.options.bind && !prepared.options.remount && (userns || prepared.userns.is_some()) {
            let tree = prepared.clone_source().with_context(what)?;
            if !prepared.options.wants_shared() {
                // Taken in the host's namespace it is a peer of the host's mount, which nothing asked for.
                let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
                sys::mount_setattr(tree.as_fd(), true, &attr).with_context(what)?;
            }
            if let (Some(ns), Some(recursive)) = (&prepared.userns, prepared.options.idmap) {
                idmap::apply(tree.as_fd(), ns.as_fd(), recursive).with_context(what)?;
            }
            prepared.tree = Some(tree);
        }
        list.push(prepared);
    }
    Ok(list)
}

impl Prepared {
    /// Takes the source now, while the mounts still are peers of the host's, when the entry wants to share
    /// events with it.
    pub fn take_shared(&mut self) -> Result<()> {
        if self.tree.is_none() && self.options.bind && self.options.wants_shared() {
            self.tree = Some(self.clone_source()?);
        }
        Ok(())
    }

    fn clone_source(&self) -> Result<OwnedFd> {
        let Some(source) = &self.source else { bail!("a bind mount needs a source") };
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if self.options.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        open_tree(CWD, source, flags).with_context(|| format!("bind source {}", source.display()))
    }
}

/// Attaches a detached mount on what `target` stands for.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", target, "", flags)?)
}

/// Makes the root filesystem a mount of its own in the new mount namespace and returns it.
///
/// Nothing the container mounts may reach the host, so all of its mounts become at most slaves first
/// (`isolate`). `tree` is a copy of the root that the runtime took for a user namespace.
pub fn enter(
    rootfs: &Path,
    tree: Option<OwnedFd>,
    isolate: bool,
    propagation: Option<(u64, bool)>,
) -> Result<OwnedFd> {
    const MS_PRIVATE: u64 = rustix::mount::MountPropagationFlags::PRIVATE.bits() as u64;
    if isolate {
        let all =
            rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", all).context("isolating the mounts")?;
    }
    let what = || format!("root filesystem {}", rootfs.display());
    let place =
        rustix::fs::openat(CWD, rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let place = place.with_context(what)?;
    let tree = match tree {
        Some(tree) => tree,
        None => clone_root(place.as_fd()).with_context(what)?,
    };
    // "slave" and the default keep receiving events of the host; the others begin as private mounts.
    let receives = isolate && propagation.is_none_or(|(kind, _)| kind == MS_SLAVE);
    let attr =
        MountAttr { propagation: if receives { MS_SLAVE } else { MS_PRIVATE }, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), true, &attr).with_context(what)?;
    attach(tree.as_fd(), place.as_fd()).with_context(what)?;
    Ok(tree)
}

/// A detached copy of the root filesystem with all mounts below it.
pub fn clone_root(place: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(place, "", flags)?)
}

impl Rootfs<'_> {
    /// Makes one entry. Returns the mount when it has to become read-only only after the devices are made.
    pub fn mount(&self, mount: &Mount, prepared: &mut Prepared) -> Result<Option<OwnedFd>> {
        self.mount_entry(mount, prepared).with_context(|| format!("mount {}", mount.destination))
    }

    fn mount_entry(&self, mount: &Mount, prepared: &mut Prepared) -> Result<Option<OwnedFd>> {
        let options = prepared.options.clone();
        if options.remount {
            self.remount(mount, &options)?;
            return Ok(None);
        }
        let kind = mount.kind.as_deref().unwrap_or_default();
        if options.bind {
            let tree = match prepared.tree.take() {
                Some(tree) => tree,
                None => prepared.clone_source()?,
            };
            self.bind(mount, &options, &tree)?;
            return Ok(None);
        }
        if kind == "cgroup" {
            self.mount_cgroup(mount, &options)?;
            return Ok(None);
        }
        self.filesystem(mount, kind, &options, prepared.userns.as_ref())
    }

    fn bind(&self, mount: &Mount, options: &MountOptions, tree: &OwnedFd) -> Result<()> {
        let wanted =
            if resolve::kind(tree)? == FileType::Directory { Target::Directory } else { Target::File };
        let (target, _) = resolve::ensure(self.root.as_fd(), &mount.destination, wanted)?;
        Self::check_proc(mount, &target, tree)?;
        set_attrs(tree, options)?;
        attach(tree.as_fd(), target.as_fd())?;
        propagate(tree, options)
    }

    fn filesystem(
        &self,
        mount: &Mount,
        kind: &str,
        options: &MountOptions,
        userns: Option<&OwnedFd>,
    ) -> Result<Option<OwnedFd>> {
        if matches!(kind, "proc" | "sysfs") {
            self.refuse_symlink(mount)?;
        }
        let (target, existed) = resolve::ensure(self.root.as_fd(), &mount.destination, Target::Directory)?;
        let mode = if kind == "tmpfs" && existed {
            Some(rustix::fs::fstat(&target)?.st_mode & 0o7777)
        } else {
            None
        };
        let late = kind == "tmpfs" && options.readonly() && mount.destination.trim_matches('/') == "dev";
        let context = configure(mount, kind, options, mode)?;
        let attrs = (options.attrs.set | options.recursive_attrs.set)
            & !(if late || options.copy_up { READ_ONLY } else { 0 });
        let fd =
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attrs as _))
                .map_err(|e| explain(&context, e))?;
        Self::check_proc(mount, &target, &fd)?;
        if let Some(ns) = userns {
            idmap::apply(fd.as_fd(), ns.as_fd(), false)?;
        }
        if options.copy_up {
            copyup::copy(target.as_fd(), fd.as_fd())?;
            if options.readonly() && !late {
                sys::mount_setattr(fd.as_fd(), false, &MountAttr { set: READ_ONLY, ..MountAttr::default() })?;
            }
        }
        attach(fd.as_fd(), target.as_fd())?;
        propagate(&fd, options)?;
        Ok(late.then_some(fd))
    }

    /// `remount`: changes a mount that an earlier entry (or the root) made.
    fn remount(&self, mount: &Mount, options: &MountOptions) -> Result<()> {
        let Some(target) = resolve::existing(self.root.as_fd(), &mount.destination)? else {
            bail!("nothing is mounted there to remount");
        };
        let superblock = !options.data.is_empty() || !options.super_flags.is_empty();
        if superblock && !options.bind {
            let context = fspick(&target, "", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)?;
            set_options(&context, options)?;
            fsconfig_reconfigure(&context).map_err(|e| explain(&context, e))?;
        }
        set_attrs(&target, options)?;
        propagate(&target, options)
    }

    /// A procfs or sysfs goes on an ordinary directory only: behind a symlink, what is written through it
    /// later could end elsewhere.
    fn refuse_symlink(&self, mount: &Mount) -> Result<()> {
        let path = mount.destination.trim_start_matches('/');
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
        );
        match found {
            Ok(fd) if resolve::kind(&fd)? == FileType::Directory => Ok(()),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            _ => bail!("{} has to be an ordinary directory, not a symbolic link", mount.destination),
        }
    }

    /// Nothing may cover parts of `/proc` except the few files that are known to be safe, and `/proc` itself
    /// only with a procfs.
    fn check_proc(mount: &Mount, target: &OwnedFd, tree: &OwnedFd) -> Result<()> {
        const SAFE: [&str; 11] = [
            "proc/cpuinfo",
            "proc/diskstats",
            "proc/meminfo",
            "proc/stat",
            "proc/swaps",
            "proc/uptime",
            "proc/loadavg",
            "proc/slabinfo",
            "proc/net/dev",
            "proc/sys/kernel/ns_last_pid",
            "proc/sys/crypto/fips_enabled",
        ];
        let clean = clean(&mount.destination);
        let procfs =
            |fd: &OwnedFd| -> Result<bool> { Ok(rustix::fs::fstatfs(fd)?.f_type == PROC_SUPER_MAGIC) };
        if clean == "proc" {
            if !procfs(tree)? {
                bail!("/proc can only be covered by a procfs");
            }
        } else if (clean.starts_with("proc/") || procfs(target)?) && !SAFE.contains(&clean.as_str()) {
            bail!("{} is inside /proc", mount.destination);
        }
        Ok(())
    }

    fn mount_cgroup(&self, mount: &Mount, options: &MountOptions) -> Result<()> {
        use crate::cgroup::MountStep;
        let (base, _) = resolve::ensure(self.root.as_fd(), &mount.destination, Target::Directory)?;
        drop(base);
        let flags = idmap::ms_flags(options);
        let steps =
            crate::cgroup::mount_plan(self.cgroup, flags, self.spec.new_namespace(NamespaceKind::Cgroup))
                .map_err(|e| Error::new(e.to_string()))?;
        let place = |target: &Path| {
            format!("{}/{}", mount.destination.trim_end_matches('/'), target.to_string_lossy())
        };
        for step in steps {
            match step {
                MountStep::Mount { fstype, source, target, flags, data } => {
                    let (target, _) = resolve::ensure(self.root.as_fd(), &place(&target), Target::Directory)?;
                    let entry = Mount { source: crate::config::Opt(Some(source)), ..Mount::default() };
                    let data = data.split(',').filter(|d| !d.is_empty()).map(str::to_owned).collect();
                    let options = MountOptions { data, ..MountOptions::default() };
                    let context = configure(&entry, &fstype, &options, None)?;
                    let attrs = MountAttrFlags::from_bits_retain(attr_bits(flags) as _);
                    let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs)?;
                    attach(fd.as_fd(), target.as_fd())?;
                }
                MountStep::Bind { source, target, flags } => {
                    let (target, _) = resolve::ensure(self.root.as_fd(), &place(&target), Target::Directory)?;
                    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                    let tree =
                        open_tree(CWD, &source, clone).with_context(|| format!("{}", source.display()))?;
                    sys::mount_setattr(
                        tree.as_fd(),
                        false,
                        &MountAttr { set: attr_bits(flags), ..MountAttr::default() },
                    )?;
                    attach(tree.as_fd(), target.as_fd())?;
                }
                MountStep::Mkdir { target } => {
                    resolve::ensure(self.root.as_fd(), &place(&target), Target::Directory)?;
                }
                MountStep::Symlink { to, target } => {
                    let (dir, name) = resolve::parent(self.root.as_fd(), &place(&target))?;
                    rustix::fs::symlinkat(to, &dir, name)?;
                }
                MountStep::Remount { target, flags } => {
                    let Some(target) = resolve::existing(self.root.as_fd(), &place(&target))? else {
                        continue;
                    };
                    sys::mount_setattr(
                        target.as_fd(),
                        false,
                        &MountAttr { set: attr_bits(flags), ..MountAttr::default() },
                    )?;
                }
            }
        }
        if let Some(target) = resolve::existing(self.root.as_fd(), &mount.destination)? {
            propagate(&target, options)?;
        }
        Ok(())
    }
}

/// `MS_*` flags of mount(2) as attributes of `mount_setattr(2)`.
fn attr_bits(ms: u64) -> u64 {
    let pairs = [
        (libc::MS_RDONLY, READ_ONLY),
        (libc::MS_NOSUID, u64::from(MountAttrFlags::MOUNT_ATTR_NOSUID.bits())),
        (libc::MS_NODEV, u64::from(MountAttrFlags::MOUNT_ATTR_NODEV.bits())),
        (libc::MS_NOEXEC, u64::from(MountAttrFlags::MOUNT_ATTR_NOEXEC.bits())),
    ];
    pairs.into_iter().filter(|(ms_bit, _)| ms & ms_bit != 0).fold(0, |bits, (_, attr)| bits | attr)
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// File systems without a device behind them: read-only is a matter of the mount alone.
fn is_pseudo(kind: &str) -> bool {
    matches!(
        kind,
        "proc"
            | "sysfs"
            | "tmpfs"
            | "ramfs"
            | "devpts"
            | "mqueue"
            | "cgroup"
            | "cgroup2"
            | "debugfs"
            | "tracefs"
            | "securityfs"
            | "bpf"
    )
}

/// A configured filesystem context, ready to be mounted.
fn configure(mount: &Mount, kind: &str, options: &MountOptions, mode: Option<u32>) -> Result<OwnedFd> {
    let context =
        fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).with_context(|| format!("filesystem type {kind:?}"))?;
    let source = mount.source.as_ref().filter(|s| !s.is_empty()).map_or(kind, String::as_str);
    fsconfig_set_string(&context, "source", source).map_err(|e| explain(&context, e))?;
    if options.readonly() && !is_pseudo(kind) {
        fsconfig_set_flag(&context, "ro").map_err(|e| explain(&context, e))?;
    }
    // A tmpfs over a directory takes over its mode unless the entry says another.
    if let Some(mode) = mode
        && !options.data.iter().any(|d| d.starts_with("mode="))
    {
        fsconfig_set_string(&context, "mode", format!("{mode:o}")).map_err(|e| explain(&context, e))?;
    }
    set_options(&context, options)?;
    fsconfig_create(&context).map_err(|e| explain(&context, e))?;
    Ok(context)
}

fn set_options(context: &OwnedFd, options: &MountOptions) -> Result<()> {
    for flag in &options.super_flags {
        match fsconfig_set_flag(context, *flag) {
            // Mandatory locks are gone since Linux 5.15: nothing to turn on or off.
            Ok(()) | Err(_) if flag.ends_with("mand") => {}
            other => other.map_err(|e| explain(context, e)).with_context(|| format!("option {flag}"))?,
        }
    }
    for entry in options.data.iter().flat_map(|d| split_data(d)) {
        let set = match entry.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context, key, value.trim_matches('"')),
            None => fsconfig_set_flag(context, entry),
        };
        set.map_err(|e| explain(context, e)).with_context(|| format!("option {entry:?}"))?;
    }
    Ok(())
}

/// Splits one option at commas outside double quotes, as mount(2) data would be.
fn split_data(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let pieces = text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    pieces.filter(|p| !p.is_empty()).collect()
}

/// The error with what the filesystem said about it.
fn explain(context: &OwnedFd, e: rustix::io::Errno) -> Error {
    let mut buffer = [0u8; 512];
    let mut said = Vec::new();
    while let Ok(n) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..n]);
        said.push(line.trim_end().trim_start_matches("e ").to_owned());
        if n == 0 || said.len() > 8 {
            break;
        }
    }
    let error = Error::from(e);
    if said.is_empty() { error } else { Error::new(format!("{error} ({})", said.join("; "))) }
}

/// Sets and clears attributes. What a user namespace has locked cannot be cleared and stays.
fn set_attrs(tree: &OwnedFd, options: &MountOptions) -> Result<()> {
    for (attrs, recursive) in [(options.attrs, false), (options.recursive_attrs, true)] {
        if attrs.is_empty() {
            continue;
        }
        let attr = MountAttr { set: attrs.set, clear: attrs.clear, ..MountAttr::default() };
        match sys::mount_setattr(tree.as_fd(), recursive, &attr) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) && attrs.clear != 0 => {
                let atime = u64::from(MountAttrFlags::MOUNT_ATTR__ATIME.bits());
                let attr = MountAttr { set: attrs.set & !atime, ..MountAttr::default() };
                sys::mount_setattr(tree.as_fd(), recursive, &attr).context("setting mount attributes")?;
            }
            other => other.context("setting mount attributes")?,
        }
    }
    Ok(())
}

fn propagate(tree: &OwnedFd, options: &MountOptions) -> Result<()> {
    for (propagation, recursive) in &options.propagations {
        let attr = MountAttr { propagation: *propagation, ..MountAttr::default() };
        sys::mount_setattr(tree.as_fd(), *recursive, &attr).context("setting propagation")?;
    }
    Ok(())
}
