//! What a fault leaves behind or spoils around the runtime's call.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FileType, Mode, mknodat};

use crate::context::Context;
use crate::json::edit::{VARIABLES, Vars, expand};
use crate::step::{FileOp, LeakKind, Noise};
use crate::target::Reinvoke;

/// How long a leaked process stays; bounded, so that a forgotten one goes away by itself.
const LEAK_SECONDS: u32 = 120;

/// Descriptors that a leaked process holds.
const LEAKED_FDS: u32 = 64;

/// Leaves something behind. Failures are told on stderr, because a leak that is none would look survived.
pub fn leak(kind: LeakKind, ctx: &Context<'_>, reinvoke: &Reinvoke) {
    let result = match kind {
        LeakKind::Process => helper(reinvoke, &["__sleep", &LEAK_SECONDS.to_string()], Stdio::null()),
        LeakKind::Pipe => helper(reinvoke, &["__sleep", &LEAK_SECONDS.to_string()], Stdio::inherit()),
        LeakKind::Fd => {
            helper(reinvoke, &["__fds", &LEAKED_FDS.to_string(), &LEAK_SECONDS.to_string()], Stdio::null())
        }
        LeakKind::File => fs::write(ctx.root().join(unique(ctx, "leak")), "left behind\n"),
        LeakKind::Mount => leak_mount(&beside_root(ctx, "mount")),
        LeakKind::Netns => leak_netns(&beside_root(ctx, "netns"), reinvoke),
        LeakKind::Cgroup => leak_cgroup(ctx),
    };
    if let Err(e) = result {
        complain(&format!("leak {kind:?}"), &e);
    }
}

fn complain(what: &str, error: &io::Error) {
    let _ = writeln!(io::stderr(), "plimsoll-faults: cannot inject {what}: {error}");
}

fn helper(reinvoke: &Reinvoke, words: &[&str], stdout: Stdio) -> io::Result<()> {
    reinvoke.command(words).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn().map(|_| ())
}

fn unique(ctx: &Context<'_>, what: &str) -> String {
    let random = ctx.get("random").unwrap_or_default();
    format!("plimsoll-faults-{what}-{}-{random}", ctx.id().unwrap_or_default().replace('/', "_"))
}

fn beside_root(ctx: &Context<'_>, what: &str) -> PathBuf {
    let root = ctx.root();
    root.parent().map_or_else(|| PathBuf::from("/run"), Path::to_owned).join(unique(ctx, what))
}

fn leak_mount(point: &Path) -> io::Result<()> {
    fs::create_dir(point)?;
    rustix::mount::mount("plimsoll-faults", point, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    Ok(())
}

fn leak_netns(pin: &Path, reinvoke: &Reinvoke) -> io::Result<()> {
    File::create_new(pin)?;
    let pin = pin.to_string_lossy();
    let status = reinvoke.command(&["__netns", &pin]).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the helper failed")) }
}

/// The container's cgroup, or one of its name, in hierarchies that every layout has.
fn leak_cgroup(ctx: &Context<'_>) -> io::Result<()> {
    let path = ctx.config().and_then(|c| c.get("linux")?.get("cgroupsPath")?.as_str().map(str::to_owned));
    let path = path.filter(|p| !p.is_empty() && !p.contains("..") && !p.contains(':'));
    let base = Path::new("/sys/fs/cgroup");
    let unified = base.join("cgroup.procs").exists();
    let hierarchies: &[&str] = if unified { &[""] } else { &["pids", "memory"] };
    // Without a configured path runtimes put the container below the caller's cgroup, named by its id.
    let own = fs::read_to_string("/proc/self/cgroup")?;
    hierarchies.iter().try_for_each(|hierarchy| {
        let dir = match &path {
            Some(path) => Some(base.join(hierarchy).join(path.trim_start_matches('/'))),
            None => cgroup_dirs(&own, hierarchy)
                .into_iter()
                .find(|d| d.is_dir())
                .map(|d| d.join(ctx.id().unwrap_or_default().replace('/', "_"))),
        };
        dir.map_or(Ok(()), fs::create_dir_all)
    })
}

/// Whether a process has another root directory than this one. A runtime whose process enters its root only at start
/// would have the host's files altered instead of the container's.
pub fn has_own_root(pid: u32) -> bool {
    let place = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let theirs = place(&format!("/proc/{pid}/root/"));
    theirs.is_some() && theirs != place("/")
}

/// Whether a path leads to the host's own /dev: bound into the container, or a node of it where a user namespace forbids
/// new ones. To spoil that would break the host and every container after this one.
fn is_in_the_hosts_dev(path: &Path) -> bool {
    let of = |path: &Path| fs::symlink_metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let Some((host, _)) = of(Path::new("/dev")) else { return false };
    if of(Path::new("/")).is_some_and(|(root, _)| root == host) {
        // No file system of its own: only the nodes themselves can be told.
        let name = path.file_name().unwrap_or_default();
        return of(path).is_some_and(|own| Some(own) == of(&Path::new("/dev").join(name)));
    }
    path.ancestors().find_map(of).is_some_and(|(device, _)| device == host)
}

/// Applies a file operation; `base` goes before every path (the container's root seen from the host).
pub fn file_op(op: &FileOp, base: &str, vars: &dyn Vars) {
    // A path with a variable that this call has no value for names nothing.
    let open = |text: &str| VARIABLES.iter().any(|name| expand(text, vars).contains(&format!("{{{name}}}")));
    if op.paths().into_iter().any(open) {
        return;
    }
    let at = |path: &str| PathBuf::from(format!("{base}{}", expand(path, vars)));
    // The last one is what is changed.
    if op.paths().last().is_some_and(|path| is_in_the_hosts_dev(&at(path))) {
        return;
    }
    let result = match op {
        FileOp::Unlink(path) => fs::remove_file(at(path)),
        FileOp::Rmdir(path) => fs::remove_dir(at(path)),
        FileOp::Mkdir(path) => fs::create_dir_all(at(path)),
        FileOp::Symlink(target, path) => {
            let _ = fs::remove_file(at(path));
            symlink(expand(target, vars), at(path))
        }
        FileOp::Write(path, text) => fs::write(at(path), expand(text, vars)),
        FileOp::Chmod(mode, path) => fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)),
        FileOp::Chown(uid, gid, path) => std::os::unix::fs::lchown(at(path), Some(*uid), Some(*gid)),
        FileOp::Null(path) => {
            let _ = fs::remove_file(at(path));
            let device = rustix::fs::makedev(1, 3);
            mknodat(rustix::fs::CWD, at(path), FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
                .map_err(Into::into)
        }
    };
    if let Err(e) = result {
        complain(&format!("{op:?} in {base:?}"), &e);
    }
}

/// Writes below /proc/PID.
pub fn proc_write(pid: u32, file: &str, value: &str) {
    if let Err(e) = fs::write(format!("/proc/{pid}/{file}"), value) {
        complain(&format!("a write to /proc/{pid}/{file}"), &e);
    }
}

/// Writes to a file of the container's cgroup, in the hierarchy that has its controller.
pub fn cgroup_write(pid: u32, file: &str, value: &str) {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let candidates = cgroup_dirs(&table, file.split('.').next().unwrap_or_default());
    let result = match candidates.iter().map(|d| d.join(file)).find(|f| f.exists()) {
        Some(path) => fs::write(path, value),
        None => Err(io::Error::other(format!("none of {candidates:?} has it"))),
    };
    if let Err(e) = result {
        complain(&format!("a write to cgroup file {file}"), &e);
    }
}

/// Where a process is, by the text of its cgroup file, in hierarchies that could hold `controller`.
fn cgroup_dirs(table: &str, controller: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut dirs = Vec::new();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            dirs.extend([base.join(path), base.join("unified").join(path)]);
        } else if controllers.split(',').any(|c| c == controller) {
            dirs.extend([base.join(controllers).join(path), base.join(controller).join(path)]);
        }
    }
    dirs
}

/// Moves a process to the root cgroup of every hierarchy.
pub fn escape_cgroups(pid: u32) {
    let base = Path::new("/sys/fs/cgroup");
    let inner = fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path());
    for dir in inner.chain([base.to_owned()]) {
        let procs = dir.join("cgroup.procs");
        if procs.is_file() {
            let _ = fs::write(procs, pid.to_string());
        }
    }
}

/// Text that must not reach a report unescaped.
const HOSTILE: &[u8] =
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \0 \xff\xfe\xc3\x28 ]]> <script>alert(1)</script> \
&amp; \"quote' \r\n\x08\x7f\xe2\x80\xae reversed =1+1 @SUM(A1) `id` $(id) %n%s\n";

/// Spoils stderr before the call. `Hush` is the supervisor's business.
pub fn make_noise(noise: &Noise) {
    let mut err = io::stderr().lock();
    match noise {
        Noise::Hostile => {
            let _ = err.write_all(HOSTILE);
        }
        Noise::Flood(bytes) => {
            let line = [b'y'; 4096];
            let mut left = *bytes;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(line.len()).min(line.len());
                if err.write_all(&line[..part]).is_err() {
                    return;
                }
                left -= part as u64;
            }
        }
        Noise::Hush => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::edit::NoVars;

    #[test]
    fn cgroup_paths_follow_the_layout() {
        let v1 = cgroup_dirs("5:pids:/a/b\n3:cpu,cpuacct:/c\n0::/u\n", "cpu");
        assert!(v1.contains(&PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/c")));
        assert!(v1.contains(&PathBuf::from("/sys/fs/cgroup/cpu/c")));
        assert!(v1.contains(&PathBuf::from("/sys/fs/cgroup/unified/u")));
        assert!(!v1.iter().any(|p| p.ends_with("a/b")));
    }

    #[test]
    fn the_hosts_devices_stay_as_they_are() {
        assert!(is_in_the_hosts_dev(Path::new("/dev/null")));
        let before = fs::metadata("/dev/zero").unwrap().permissions().mode();
        file_op(&FileOp::Chmod(0o777, "/zero".into()), "/dev", &NoVars);
        assert_eq!(fs::metadata("/dev/zero").unwrap().permissions().mode(), before);
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_the_hosts_dev(dir.path()) && !is_in_the_hosts_dev(&dir.path().join("dev/null")));
    }

    #[test]
    fn a_process_in_our_own_root_is_no_guest() {
        assert!(!has_own_root(std::process::id()), "this process has our root");
        assert!(!has_own_root(u32::MAX), "there is no such process");
    }

    #[test]
    fn file_operations_do_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_str().unwrap();
        file_op(&FileOp::Write("/f".into(), "x".into()), base, &NoVars);
        file_op(&FileOp::Chmod(0o600, "/f".into()), base, &NoVars);
        assert_eq!(fs::metadata(dir.path().join("f")).unwrap().permissions().mode() & 0o777, 0o600);
        file_op(&FileOp::Symlink("t".into(), "/f".into()), base, &NoVars);
        assert_eq!(fs::read_link(dir.path().join("f")).unwrap(), PathBuf::from("t"));
        file_op(&FileOp::Unlink("/f".into()), base, &NoVars);
        file_op(&FileOp::Mkdir("/d/e".into()), base, &NoVars);
        file_op(&FileOp::Rmdir("/d/e".into()), base, &NoVars);
        assert!(dir.path().join("d").is_dir() && !dir.path().join("d/e").exists());
    }
}
