//! What is booted: a kernel and a root file system.

use crate::VmError;
use crate::cpio::Writer;
use crate::job::{FILES, INIT, JOB_FILE, Job, PLACE, PROGRAM};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Name and version of the format of [`Manifest`].
pub const FORMAT: &str = "plimsoll-vm-image/1";
/// The kernel in an image's directory.
pub const KERNEL: &str = "vmlinuz";
/// The root file system in an image's directory.
pub const ROOT: &str = "rootfs.cpio";
/// The manifest in an image's directory.
pub const MANIFEST: &str = "image.json";

/// What an image was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// SHA-256 of what was asked for: packages and suites.
    pub request: String,
    /// Version of the kernel, as `uname -r` says it.
    pub kernel: String,
    /// Packages with their versions.
    pub packages: Vec<(String, String)>,
    /// Modules that the guest loads before it runs anything.
    pub modules: Vec<String>,
}

/// A kernel and a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// A bootable kernel.
    pub kernel: PathBuf,
    /// A directory, or a cpio archive in any compression that the kernel unpacks.
    pub root: PathBuf,
    /// Modules to load.
    pub modules: Vec<String>,
}

/// A file of the host for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The file on the host.
    pub source: PathBuf,
    /// Its absolute path in the guest.
    pub target: String,
}

impl Copied {
    /// Reads `SOURCE` or `SOURCE=TARGET`.
    ///
    /// # Errors
    /// When the target is no absolute path, or goes up.
    pub fn parse(text: &str) -> Result<Self, VmError> {
        let name = || Path::new(text).file_name().map(|n| n.to_string_lossy().into_owned());
        let (source, target) = text.split_once('=').map_or_else(
            || (text, format!("{FILES}/{}", name().unwrap_or_default())),
            |(s, t)| (s, t.to_owned()),
        );
        let up = Path::new(&target).components().any(|c| c == std::path::Component::ParentDir);
        if source.is_empty() || !target.starts_with('/') || target.ends_with('/') || up {
            return Err(VmError::Usage(format!("`{text}` is no FILE or FILE=/PATH/IN/THE/GUEST")));
        }
        Ok(Self { source: source.into(), target })
    }
}

impl Image {
    /// Opens a directory that `vm build` made.
    pub fn open(dir: &Path) -> Result<Self, VmError> {
        let manifest = read_manifest(dir)?;
        let image = Self { kernel: dir.join(KERNEL), root: dir.join(ROOT), modules: manifest.modules };
        image.check()?;
        Ok(image)
    }

    /// A kernel and a root file system of the user's own.
    pub fn from_parts(kernel: &Path, root: &Path) -> Result<Self, VmError> {
        let modules = crate::debian::MODULES.map(str::to_owned).to_vec();
        let image = Self { kernel: kernel.to_owned(), root: root.to_owned(), modules };
        image.check()?;
        Ok(image)
    }

    fn check(&self) -> Result<(), VmError> {
        for (path, directory_too) in [(&self.kernel, false), (&self.root, true)] {
            let meta = fs::metadata(path).map_err(VmError::file("read", path))?;
            if !(meta.is_file() || directory_too && meta.is_dir()) {
                return Err(VmError::Usage(format!("{} is no file", path.display())));
            }
        }
        Ok(())
    }

    /// The initramfs of a run: the root file system, then this executable, the job and the copied files. The file has
    /// no name, so nothing of it can stay.
    pub fn initramfs(&self, program: &Path, job: &Job, copies: &[Copied]) -> Result<File, VmError> {
        let file = tempfile::tempfile_in("/var/tmp")
            .or_else(|_| tempfile::tempfile())
            .map_err(VmError::file("make a file in", Path::new("/var/tmp")))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let write = |out: &mut BufWriter<File>| -> io::Result<()> {
            if self.root.is_dir() {
                let mut writer = Writer::new(&mut *out);
                writer.tree(&self.root)?;
                writer.finish()?;
            } else {
                let length = io::copy(&mut File::open(&self.root)?, out)?;
                let over = (length % 4) as usize;
                out.write_all(&[0; 3][..(4 - over) % 4])?;
            }
            own_part(&mut *out, program, job, copies)?;
            out.flush()
        };
        write(&mut out).map_err(VmError::file("put into an initramfs", &self.root))?;
        let mut file = out.into_inner().map_err(|e| VmError::Usage(e.to_string()))?;
        file.seek(SeekFrom::Start(0)).map_err(VmError::file("read", &self.root))?;
        Ok(file)
    }
}

/// What every run adds.
fn own_part(out: impl Write, program: &Path, job: &Job, copies: &[Copied]) -> io::Result<()> {
    let mut writer = Writer::new(out);
    writer.directory(PLACE, 0o755)?;
    writer.copy(&format!("{PLACE}/{PROGRAM}"), 0o755, program)?;
    writer.symlink(&format!("{PLACE}/{INIT}"), PROGRAM.as_bytes())?;
    writer.file(&format!("{PLACE}/{JOB_FILE}"), 0o644, serde_json::to_string(job)?.as_bytes())?;
    let mut made = std::collections::BTreeSet::new();
    for copied in copies {
        let name = copied.target.trim_start_matches('/');
        for (i, _) in name.match_indices('/') {
            // The kernel keeps directories that are there already.
            if name[..i] != *PLACE && made.insert(name[..i].to_owned()) {
                writer.directory(&name[..i], 0o755)?;
            }
        }
        let explain = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", copied.source.display()));
        let mode = fs::metadata(&copied.source).map_err(explain)?.permissions().mode();
        writer.copy(name, mode, &copied.source).map_err(explain)?;
    }
    writer.finish().map(drop)
}

/// Reads the manifest of an image.
pub fn read_manifest(dir: &Path) -> Result<Manifest, VmError> {
    let path = dir.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(VmError::file("read", &path))?;
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|e| VmError::Usage(format!("{} is no manifest of an image: {e}", path.display())))?;
    if manifest.format != FORMAT {
        return Err(VmError::Usage(format!(
            "{} has the format {}, this program reads {FORMAT}",
            path.display(),
            manifest.format
        )));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::Copied;

    #[test]
    fn copies_name_a_place_in_the_guest() {
        assert_eq!(Copied::parse("a/my-runtime").unwrap().target, "/plimsoll/files/my-runtime");
        assert_eq!(Copied::parse("x=/usr/bin/x").unwrap().target, "/usr/bin/x");
        for bad in ["", "x=", "x=y", "=/y", "x=/a/../b", "x=/a/"] {
            assert!(Copied::parse(bad).is_err(), "{bad}");
        }
    }
}
