//! Unpacking of layers that nobody trusts: every path is resolved inside the root by the kernel
//! (`openat2`), and bytes, entries, depth, ratio and time are bounded.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    self as rfs, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid, XattrFlags,
};
use tar::{Entry, EntryType};
use tonic::Code;

use crate::error::{Context as _, Error, Result};

/// Failures while a layer is unpacked: what it asks for in vain is the image's fault, what the host lacks is not.
pub trait OfLayer<T> {
    /// Says what was being done.
    fn of_layer(self, what: impl std::fmt::Display) -> Result<T>;
    /// Says what was being done, and with which entry.
    fn of_layer_at(self, what: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> OfLayer<T> for std::result::Result<T, E> {
    fn of_layer(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let code = match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
                    Code::ResourceExhausted
                }
                Some(libc::EIO | libc::EROFS | libc::EACCES | libc::EPERM) => Code::Internal,
                _ => Code::InvalidArgument,
            };
            Error::new(code, format!("{what}: {error}"))
        })
    }
    fn of_layer_at(self, what: &str, path: &Path) -> Result<T> {
        self.of_layer(format_args!("{what} {} of the layer", path.display()))
    }
}

/// What a layer may at most be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the uncompressed tar stream.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Uncompressed bytes per compressed byte, once past a free allowance of 64 MiB.
    pub ratio: u64,
    /// Wall time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 30, entries: 1_000_000, ratio: 1000, time: Duration::from_secs(900) }
    }
}

/// What unpacking found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Bytes of regular files.
    pub bytes: u64,
    /// Files, directories and the rest.
    pub inodes: u64,
}

/// A reader that enforces byte and time limits, so that a bomb ends early.
pub struct Bounded<R> {
    inner: R,
    left: u64,
    until: Instant,
}

impl<R> Bounded<R> {
    /// At most `bytes` until `limits.time` from now.
    pub fn new(inner: R, limits: &Limits, compressed: u64) -> Self {
        let by_ratio = (64_u64 << 20).saturating_add(compressed.saturating_mul(limits.ratio));
        Self { inner, left: limits.bytes.min(by_ratio), until: Instant::now() + limits.time }
    }
    /// The reader inside.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.until {
            return Err(io::Error::other("unpacking takes longer than allowed"));
        }
        let got = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(got as u64)
            .ok_or_else(|| io::Error::other("the layer unpacks to more bytes than allowed"))?;
        Ok(got)
    }
}

/// Unpacks a tar stream onto the directory `root`, which shows the layers below through overlayfs.
/// Whiteouts (`.wh.name`, `.wh..wh..opq`) remove what is below (OCI image-spec, layer.md).
pub fn unpack<R: Read>(stream: R, root: &Path, limits: &Limits) -> Result<Totals> {
    let root_fd = rfs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_path("opening", root)?;
    let mut work = Unpacker {
        root: root_fd,
        made: HashSet::new(),
        directory_times: Vec::new(),
        totals: Totals::default(),
    };
    let mut archive = tar::Archive::new(stream);
    archive.set_ignore_zeros(false);
    for entry in archive.entries().of_layer("reading the layer")? {
        let mut entry = entry.of_layer("reading the layer")?;
        if work.totals.inodes >= limits.entries {
            return Err(Error::invalid(format!(
                "the layer has more than {} entries; refused",
                limits.entries
            )));
        }
        work.entry(&mut entry)?;
    }
    work.finish();
    Ok(work.totals)
}

struct Unpacker {
    root: OwnedFd,
    /// Paths that this layer made: an opaque marker must not remove them.
    made: HashSet<PathBuf>,
    directory_times: Vec<(PathBuf, Timestamps)>,
    totals: Totals,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let path = clean(Path::new(OsStr::from_bytes(&entry.path_bytes())))?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        self.totals.inodes += 1;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: only its attributes.
            let fd = self.open_dir(Path::new(""))?;
            return self.attributes(entry, &fd, OsStr::new("."), &path, true);
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return self.whiteout(&parent_path, hidden);
        }
        let parent = self.make_dirs(&parent_path)?;
        self.place(entry, &parent, &name, &path)?;
        if kind != EntryType::Link {
            self.attributes(entry, &parent, &name, &path, kind == EntryType::Directory)?;
        }
        self.made.insert(path);
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<()> {
        let kind = entry.header().entry_type();
        let present = rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let is_dir =
            present.as_ref().is_some_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
        if present.is_some() && !(is_dir && kind == EntryType::Directory) {
            remove_at(parent, name, 0)?;
        }
        let private = Mode::RUSR | Mode::WUSR;
        match kind {
            EntryType::Directory => {
                if !is_dir {
                    rfs::mkdirat(parent, name, Mode::RWXU).of_layer_at("making", path)?;
                }
            }
            EntryType::Symlink => {
                let target =
                    entry.link_name_bytes().ok_or_else(|| Error::invalid("a symlink without target"))?;
                rfs::symlinkat(OsStr::from_bytes(&target), parent, name).of_layer_at("linking", path)?;
            }
            EntryType::Link => {
                let target =
                    entry.link_name_bytes().ok_or_else(|| Error::invalid("a hard link without target"))?;
                let target = clean(Path::new(OsStr::from_bytes(&target)))?;
                let from = self.open_dir(target.parent().unwrap_or(Path::new("")))?;
                let from_name =
                    target.file_name().ok_or_else(|| Error::invalid("a hard link to the root"))?;
                rfs::linkat(&from, from_name, parent, name, AtFlags::empty()).of_layer(format_args!(
                    "hard link {} to {} inside the layer",
                    path.display(),
                    target.display()
                ))?;
            }
            EntryType::Char | EntryType::Block => {
                let header = entry.header();
                let major = header.device_major().ok().flatten().unwrap_or(0);
                let minor = header.device_minor().ok().flatten().unwrap_or(0);
                if kind == EntryType::Char && (major, minor) == (0, 0) {
                    return Err(Error::invalid(format!(
                        "{}: a raw overlay whiteout device; refused",
                        path.display()
                    )));
                }
                let file_type =
                    if kind == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
                rfs::mknodat(parent, name, file_type, private, rfs::makedev(major, minor))
                    .of_layer_at("making device", path)?;
            }
            EntryType::Fifo => {
                rfs::mknodat(parent, name, FileType::Fifo, private, 0).of_layer_at("making fifo", path)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file =
                    File::from(rfs::openat(parent, name, flags, private).of_layer_at("creating", path)?);
                self.totals.bytes += io::copy(entry, &mut file).of_layer_at("writing", path)?;
                file.flush().of_layer_at("writing", path)?;
            }
            other => {
                return Err(Error::invalid(format!(
                    "{}: tar entry type {other:?} is not supported",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn attributes<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        dir: bool,
    ) -> Result<()> {
        let header = entry.header();
        let (uid, gid) =
            (header.uid().of_layer("reading an owner")?, header.gid().of_layer("reading a group")?);
        let mode = header.mode().of_layer("reading a mode")? & 0o7777;
        let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let symlink = header.entry_type() == EntryType::Symlink;
        let small = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let (uid, gid) = small(uid)
            .zip(small(gid))
            .ok_or_else(|| Error::invalid(format!("{}: owner out of range", path.display())))?;
        rfs::chownat(
            parent,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .of_layer_at("changing the owner of", path)?;
        if !symlink {
            self.extended_attributes(entry, parent, name, path)?;
            // After chown, which clears the setuid bits.
            rfs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
                .of_layer_at("changing the mode of", path)?;
        }
        let time = rfs::Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        if dir {
            self.directory_times.push((path.to_owned(), times));
        } else {
            let _ = rfs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        Ok(())
    }

    /// Only `security.capability` and `user.*`: others could steer overlayfs or a security module.
    fn extended_attributes<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<()> {
        let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(()) };
        let mut wanted = Vec::new();
        for extension in extensions.flatten() {
            if let Some(key) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.")
                && (key == b"security.capability" || key.starts_with(b"user."))
                && let Ok(key) = std::str::from_utf8(key)
            {
                wanted.push((key.to_owned(), extension.value_bytes().to_vec()));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rfs::openat(parent, name, flags, Mode::empty()).of_layer_at("opening", path)?;
        for (key, value) in wanted {
            match rfs::fsetxattr(&file, key.as_str(), &value, XattrFlags::empty()) {
                Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) if key.starts_with("user.") => {}
                result => result.of_layer(format_args!("setting {key} of {}", path.display()))?,
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, parent: &Path, hidden: &[u8]) -> Result<()> {
        let Ok(dir) = self.open_dir(parent) else { return Ok(()) };
        if hidden == b".wh..opq" {
            for name in names(&dir)? {
                if !self.made.contains(&parent.join(&name)) {
                    remove_at(&dir, &name, 0)?;
                }
            }
            return Ok(());
        }
        if hidden.starts_with(b".wh.") {
            return Ok(()); // bookkeeping of aufs, nothing for us
        }
        let name = OsStr::from_bytes(hidden);
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(Error::invalid("a whiteout without a name; refused"));
        }
        if self.made.contains(&parent.join(name)) {
            return Ok(());
        }
        match rfs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => remove_at(&dir, name, 0),
            Err(_) => Ok(()),
        }
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        rfs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .of_layer_at("opening directory", path)
    }

    fn make_dirs(&self, path: &Path) -> Result<OwnedFd> {
        if let Ok(fd) = self.open_dir(path) {
            return Ok(fd);
        }
        let mut so_far = PathBuf::new();
        let mut dir = self.open_dir(&so_far)?;
        for part in path.components() {
            so_far.push(part);
            dir = if let Ok(fd) = self.open_dir(&so_far) {
                fd
            } else {
                let name = part.as_os_str();
                if rfs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    remove_at(&dir, name, 0)?;
                }
                rfs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)).of_layer_at("making", &so_far)?;
                self.open_dir(&so_far)?
            };
        }
        Ok(dir)
    }

    fn finish(&mut self) {
        for (path, times) in std::mem::take(&mut self.directory_times).into_iter().rev() {
            if let Ok(dir) = self.open_dir(&path) {
                let _ = rfs::futimens(&dir, &times);
            }
        }
    }
}

/// A relative path without `.`; `..` is refused (it is never needed in a layer).
fn clean(path: &Path) -> Result<PathBuf> {
    let mut out = PathBuf::new();
    if path.as_os_str().len() > 4096 || path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::invalid("a path in the layer is too long or holds NUL; refused"));
    }
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid(format!(
                    "{} leaves the layer through ..; refused",
                    path.display()
                )));
            }
        }
    }
    if out.components().count() > 256 {
        return Err(Error::invalid("a path in the layer has more than 256 parts; refused"));
    }
    Ok(out)
}

fn names(dir: &OwnedFd) -> Result<Vec<OsString>> {
    let mut out = Vec::new();
    for item in rfs::Dir::read_from(dir).of_layer("reading a directory")? {
        let item = item.of_layer("reading a directory")?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(out)
}

/// Removes a file or a whole tree without following links.
fn remove_at(dir: &OwnedFd, name: &OsStr, depth: u32) -> Result<()> {
    if depth > 512 {
        return Err(Error::invalid("a directory tree is too deep to remove"));
    }
    match rfs::unlinkat(dir.as_fd(), name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(error) => {
            return Err(error).of_layer_at("removing", Path::new(name));
        }
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let inner = rfs::openat(dir, name, flags, Mode::empty()).of_layer("opening a directory to remove")?;
    for child in names(&inner)? {
        remove_at(&inner, &child, depth + 1)?;
    }
    rfs::unlinkat(dir, name, AtFlags::REMOVEDIR).of_layer("removing a directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn raw(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: EntryType, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        let meta = std::fs::metadata("/proc/self").unwrap();
        header.set_uid(u64::from(std::os::unix::fs::MetadataExt::uid(&meta)));
        header.set_gid(u64::from(std::os::unix::fs::MetadataExt::gid(&meta)));
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn nothing_leaves_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(dir.path().join("victim"), "safe").unwrap();
        let bytes = layer(|b| {
            raw(b, "out", EntryType::Symlink, "..", b"");
            raw(b, "out/victim", EntryType::Regular, "", b"evil");
            raw(b, "abs", EntryType::Symlink, "/", b"");
            raw(b, "abs/x", EntryType::Regular, "", b"in");
            raw(b, "/etc/y", EntryType::Regular, "", b"in");
        });
        unpack(&bytes[..], &root, &Limits::default()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("victim")).unwrap(), b"safe");
        assert_eq!(std::fs::read(root.join("victim")).unwrap(), b"evil");
        assert!(root.join("x").exists() && root.join("etc/y").exists());
        for (path, kind, link) in [
            ("../a", EntryType::Regular, ""),
            ("h", EntryType::Link, "../victim"),
            ("h", EntryType::Link, "out/../../victim"),
        ] {
            assert!(
                unpack(&layer(|b| raw(b, path, kind, link, b""))[..], &root, &Limits::default()).is_err(),
                "{path}"
            );
        }
    }

    #[test]
    fn whiteouts_and_opaque_directories() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("d/sub")).unwrap();
        for name in ["gone", "d/old", "d/sub/x"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let bytes = layer(|b| {
            raw(b, ".wh.gone", EntryType::Regular, "", b"");
            raw(b, "d/new", EntryType::Regular, "", b"n");
            raw(b, "d/.wh..wh..opq", EntryType::Regular, "", b"");
            raw(b, ".wh.absent", EntryType::Regular, "", b"");
        });
        unpack(&bytes[..], dir.path(), &Limits::default()).unwrap();
        assert!(!dir.path().join("gone").exists());
        assert!(!dir.path().join("d/old").exists() && !dir.path().join("d/sub").exists());
        assert!(dir.path().join("d/new").exists());
    }

    #[test]
    fn bombs_are_stopped() {
        let bytes = layer(|b| raw(b, "z", EntryType::Regular, "", &vec![0; 4 << 20]));
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { bytes: 1 << 20, ..Limits::default() };
        assert!(unpack(Bounded::new(&bytes[..], &limits, 100), dir.path(), &limits).is_err());
        let limits = Limits { entries: 1, ..Limits::default() };
        let many = layer(|b| (0..3).for_each(|i| raw(b, &format!("f{i}"), EntryType::Regular, "", b"")));
        assert!(unpack(&many[..], dir.path(), &limits).is_err());
    }
}
