//! An image from Debian packages, with the host's own apt: the closure of a few packages against an empty state of
//! dpkg, unpacked into the merged `/usr` layout, and a kernel package. No chroot, no debootstrap, no root needed.

use crate::VmError;
use crate::cpio::Writer;
use crate::image::{FORMAT, KERNEL, MANIFEST, Manifest, ROOT, read_manifest};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the guest holds when nothing else is said.
pub const PACKAGES: [&str; 7] =
    ["base-files", "busybox-static", "kmod", "runc", "crun", "containerd", "containernetworking-plugins"];
/// The kernel when nothing else is said: made for virtual machines, and every controller is in it.
pub const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
/// Modules that nothing loads by itself but cases and runtimes expect.
pub const MODULES: [&str; 8] =
    ["overlay", "loop", "tun", "veth", "bridge", "dummy", "nf_tables", "br_netfilter"];
/// Directories that a guest does not need.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug"];
/// Each call of a program may last so long; downloads are the longest.
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);

/// What to build.
#[derive(Debug, Clone)]
pub struct Request {
    /// Packages, each `NAME`, `NAME=VERSION` or `NAME/SUITE`.
    pub packages: Vec<String>,
    /// Suite that packages are taken from; the host's usual choice when absent.
    pub suite: Option<String>,
    /// The kernel's package.
    pub kernel: String,
    /// Suite of the kernel; the host's usual choice when absent.
    pub kernel_suite: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            packages: PACKAGES.map(str::to_owned).to_vec(),
            suite: None,
            kernel: KERNEL_PACKAGE.to_owned(),
            kernel_suite: None,
        }
    }
}

impl Request {
    fn digest(&self) -> String {
        let text = format!("{FORMAT} {self:?} {MODULES:?}");
        crate::hex(&Sha256::digest(text.as_bytes()))
    }
}

/// Builds the image in `dir`, unless it is there already for the same request; whether it was built. The directory
/// appears whole or not at all.
pub fn build(
    request: &Request,
    dir: &Path,
    fresh: bool,
    note: &mut dyn FnMut(&str),
) -> Result<bool, VmError> {
    let digest = request.digest();
    if dir.exists() {
        let manifest = read_manifest(dir).map_err(|e| {
            VmError::Usage(format!("{} is there and is no image, so it is left alone: {e}", dir.display()))
        })?;
        if manifest.request == digest && !fresh {
            return Ok(false);
        }
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(VmError::file("make", parent))?;
    let work = tempfile::Builder::new()
        .prefix(".plimsoll-vm-")
        .tempdir_in(parent)
        .map_err(VmError::file("make a directory in", parent))?;
    let manifest = Build { request, work: work.path() }.all(digest, note)?;
    let new = work.path().join("image");
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| VmError::Usage(e.to_string()))?;
    fs::write(new.join(MANIFEST), text).map_err(VmError::file("write", &new))?;
    if dir.exists() {
        fs::rename(dir, work.path().join("old")).map_err(VmError::file("replace", dir))?;
    }
    fs::rename(&new, dir).map_err(VmError::file("write", dir))?;
    Ok(true)
}

struct Build<'a> {
    request: &'a Request,
    work: &'a Path,
}

impl Build<'_> {
    fn all(&self, digest: String, note: &mut dyn FnMut(&str)) -> Result<Manifest, VmError> {
        let (root, image) = (self.work.join("root"), self.work.join("image"));
        for dir in [&root, &image, &self.work.join("packages/partial"), &self.work.join("kernel")] {
            fs::create_dir_all(dir).map_err(VmError::file("make", dir))?;
        }
        note("downloading packages");
        let mut debs = self.download()?;
        debs.push(self.download_kernel()?);
        note("unpacking");
        skeleton(&root).map_err(VmError::file("make", &root))?;
        let mut packages = Vec::new();
        for deb in &debs {
            packages.push(identify(deb)?);
            unpack(deb, &root)?;
        }
        let kernel = self.take_kernel(&root, &image)?;
        depmod(&root, &kernel)?;
        applets(&root)?;
        note("packing");
        let path = image.join(ROOT);
        let pack = || -> io::Result<()> {
            let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, File::create(&path)?));
            writer.tree(&root)?;
            writer.finish().map(drop)
        };
        pack().map_err(VmError::file("write", &path))?;
        let modules = MODULES.map(str::to_owned).to_vec();
        Ok(Manifest { format: FORMAT.to_owned(), request: digest, kernel, packages, modules })
    }

    /// The packages and all that they depend on, as apt would install them on an empty system.
    fn download(&self) -> Result<Vec<PathBuf>, VmError> {
        let dir = self.work.join("packages");
        let status = self.work.join("status");
        fs::write(&status, "").map_err(VmError::file("write", &status))?;
        let mut command = apt(&dir);
        command.arg("-o").arg(format!("Dir::State::status={}", status.display()));
        command.args(["install", "--download-only", "--no-install-recommends", "-y"]);
        suite(&mut command, self.request.suite.as_deref());
        execute(command.args(&self.request.packages))?;
        debs_in(&dir)
    }

    /// The kernel without the tools that its package wants for an installed system. A package without a kernel of its
    /// own names the one that has it.
    fn download_kernel(&self) -> Result<PathBuf, VmError> {
        let dir = self.work.join("kernel");
        let mut name = self.request.kernel.clone();
        let suite_name = self.request.kernel_suite.as_deref().or_else(|| newest_kernel_suite(&name));
        for _ in 0..3 {
            let mut command = apt(&dir);
            suite(&mut command, suite_name);
            execute(command.arg("download").arg(&name).current_dir(&dir))?;
            let plain = name.split(['=', '/']).next().unwrap_or_default().to_owned();
            let deb = debs_in(&dir)?
                .into_iter()
                .find(|p| {
                    p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{plain}_")))
                })
                .ok_or_else(|| VmError::Usage(format!("apt did not download {plain}")))?;
            let depends = execute(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Depends"))?;
            let next = depends.split(',').map(str::trim).find(|d| d.starts_with("linux-image-"));
            match next {
                Some(next) => next.split(' ').next().unwrap_or_default().clone_into(&mut name),
                None => return Ok(deb),
            }
        }
        Err(VmError::Usage(format!("{} leads to no kernel", self.request.kernel)))
    }

    /// Moves the kernel out of the root file system; its version.
    fn take_kernel(&self, root: &Path, image: &Path) -> Result<String, VmError> {
        let boot = root.join("boot");
        let entries = fs::read_dir(&boot).map_err(VmError::file("read", &boot))?;
        let version = entries
            .flatten()
            .find_map(|e| e.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
            .ok_or_else(|| VmError::Usage(format!("{} holds no kernel", self.request.kernel)))?;
        let from = boot.join(format!("vmlinuz-{version}"));
        fs::rename(&from, image.join(KERNEL)).map_err(VmError::file("move", &from))?;
        fs::remove_dir_all(&boot).map_err(VmError::file("remove", &boot))?;
        Ok(version)
    }
}

/// The index of the modules, by the guest's own kmod, run with the guest's own libraries.
fn depmod(root: &Path, version: &str) -> Result<(), VmError> {
    let kmod = root.join("usr/bin/kmod");
    if !kmod.exists() {
        return Ok(());
    }
    let lib = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(lib).args(["--argv0", "depmod"]).arg(kmod);
    execute(command.arg("-b").arg(root).arg(version)).map(drop)
}

fn apt(archives: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o"]);
    command.arg(format!("Dir::Cache::archives={}", archives.display()));
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn suite(command: &mut Command, name: Option<&str>) {
    if let Some(name) = name {
        command.args(["-t", name]);
    }
}

/// The backports of the host's release, when apt knows them and they have the kernel: newer kernels show more.
fn newest_kernel_suite(package: &str) -> Option<&'static str> {
    let policy = execute(Command::new("apt-cache").args(["policy", package])).ok()?;
    ["bookworm-backports", "trixie-backports"].into_iter().find(|s| policy.contains(s))
}

/// Runs a program with a deadline; its standard output.
fn execute(command: &mut Command) -> Result<String, VmError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |why: String| VmError::Program { program: program.clone(), why };
    let mut output = tempfile::tempfile().map_err(|e| fail(e.to_string()))?;
    let mut errors = tempfile::tempfile().map_err(|e| fail(e.to_string()))?;
    let clone = |file: &File| file.try_clone().map_err(|e| fail(e.to_string()));
    // Files, not pipes: a helper that keeps a stream open cannot make us wait.
    command.stdin(Stdio::null()).stdout(clone(&output)?).stderr(clone(&errors)?);
    let mut child = command.spawn().map_err(|e| fail(format!("it does not start: {e}")))?;
    let end = Instant::now() + PROGRAM_LIMIT;
    let status = loop {
        match child.try_wait().map_err(|e| fail(e.to_string()))? {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fail(format!("it did not end within {} s", PROGRAM_LIMIT.as_secs())));
            }
        }
    };
    if !status.success() {
        let text = read_back(&mut errors).map_err(|e| fail(e.to_string()))?;
        let lines: Vec<&str> = text.lines().collect();
        return Err(fail(format!("{status}: {}", lines[lines.len().saturating_sub(5)..].join("; "))));
    }
    read_back(&mut output).map_err(|e| fail(e.to_string()))
}

fn read_back(file: &mut File) -> io::Result<String> {
    use io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn debs_in(dir: &Path) -> Result<Vec<PathBuf>, VmError> {
    let entries = fs::read_dir(dir).map_err(VmError::file("read", dir))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "deb")).collect();
    found.sort();
    if found.is_empty() {
        return Err(VmError::Usage("apt downloaded nothing".into()));
    }
    Ok(found)
}

/// Name and version.
fn identify(deb: &Path) -> Result<(String, String), VmError> {
    let text = execute(Command::new("dpkg-deb").args(["-W", "--showformat=${Package} ${Version}"]).arg(deb))?;
    let (name, version) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    Ok((name.to_owned(), version.to_owned()))
}

/// Directories of a merged `/usr`, and accounts.
fn skeleton(root: &Path) -> io::Result<()> {
    for dir in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(dir))?;
        symlink(format!("usr/{dir}"), root.join(dir))?;
    }
    for dir in
        ["etc", "proc", "sys", "dev", "run", "tmp", "root", "var/tmp", "var/lib", "var/log", "mnt", "opt"]
    {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(dir), PermissionsExt::from_mode(0o1777))?;
    }
    let nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    fs::write(root.join("etc/passwd"), format!("root:x:0:0:root:/root:/bin/sh\n{nobody}"))?;
    fs::write(root.join("etc/group"), "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")
}

/// Unpacks a package. Its `/bin`, `/sbin` and `/lib*` go below `/usr`, whichever layout it was made for.
fn unpack(deb: &Path, root: &Path) -> Result<(), VmError> {
    let fail = |e: io::Error| VmError::File { verb: "unpack", path: deb.to_owned(), error: e };
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let mut result = Ok(());
    if let Some(stream) = child.stdout.take() {
        result = extract(stream, root);
    }
    let status = child.wait().map_err(fail)?;
    result.map_err(fail)?;
    if status.success() { Ok(()) } else { Err(fail(io::Error::other(format!("dpkg-deb: {status}")))) }
}

fn extract(stream: impl Read, root: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = merged(&entry.path()?);
        if name.as_os_str().is_empty() || LEFT_OUT.iter().any(|l| name.starts_with(l)) {
            continue;
        }
        let target = root.join(&name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        match entry.header().entry_type() {
            // A link of the merged layout stays a link.
            tar::EntryType::Directory if target.exists() => {}
            tar::EntryType::Directory => fs::create_dir(&target)?,
            tar::EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                let _ = fs::remove_file(&target);
                symlink(to, &target)?;
            }
            tar::EntryType::Link => {
                let to = root.join(merged(&entry.link_name()?.unwrap_or_default()));
                let _ = fs::remove_file(&target);
                fs::hard_link(to, &target)?;
            }
            tar::EntryType::Regular => {
                let _ = fs::remove_file(&target);
                let size = entry.size();
                let mut file = File::create(&target)?;
                if io::copy(&mut entry, &mut file)? != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.set_permissions(PermissionsExt::from_mode(entry.header().mode()? & 0o7777))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A package's path in the merged layout; nothing outside of the root.
fn merged(path: &Path) -> PathBuf {
    let mut parts: Vec<_> = path
        .components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_owned()),
            _ => None,
        })
        .collect();
    let first = parts.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    if matches!(first.as_str(), "bin" | "sbin" | "lib" | "lib64") {
        parts.insert(0, "usr".into());
    }
    parts.into_iter().collect()
}

/// Links for the programs in busybox that no package brings.
fn applets(root: &Path) -> Result<(), VmError> {
    let busybox = root.join("usr/bin/busybox");
    if !busybox.exists() {
        return Ok(());
    }
    let list = execute(Command::new(&busybox).arg("--list-full"))?;
    for name in list.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let target = root.join(merged(Path::new(name)));
        if target.symlink_metadata().is_err()
            && let Some(parent) = target.parent()
        {
            fs::create_dir_all(parent).map_err(VmError::file("make", parent))?;
            symlink("/bin/busybox", &target).map_err(VmError::file("make", &target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Request, build, extract, merged};
    use std::path::Path;

    #[test]
    fn paths_are_merged_and_never_leave_the_root() {
        for (from, to) in
            [("./bin/sh", "usr/bin/sh"), ("./usr/bin/x", "usr/bin/x"), ("/../etc", "etc"), ("./", "")]
        {
            assert_eq!(merged(Path::new(from)), Path::new(to));
        }
    }

    #[test]
    fn an_unfinished_package_is_an_error() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o755);
        tar.append_data(&mut header, "bin/x", &b"body"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        extract(&bytes[..], dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("usr/bin/x")).unwrap(), b"body");
        assert!(extract(&bytes[..514], dir.path()).is_err());
    }

    #[test]
    fn a_directory_that_is_no_image_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "x").unwrap();
        assert!(build(&Request::default(), dir.path(), true, &mut |_| {}).is_err());
        assert!(dir.path().join("mine").exists());
    }
}
