//! The state of a container: what the caller is shown (runtime.md "State") and what the runtime keeps.
//!
//! Everything lies in one directory per container below `--root`, mode 0700:
//! `state.json` (this record), `config.json` (the configuration as it was at create: "updates to
//! config.json after this step MUST NOT affect the container") and `start.sock` until it is started.
//! `state.json` is written before the first resource is made and replaced whole, so that after a crash at
//! any step `delete --force` knows what may exist.

use crate::bail;
use crate::cgroup::Cgroup;
use crate::config::Spec;
use crate::config::validate::VERSION_MAX;
use crate::error::{Context, Error, Result};
use crate::systemd::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const MAX_ID: usize = 1024;
/// Flag of a task that is on its way out (`linux/sched.h`).
const PF_EXITING: u64 = 4;

/// runtime.md "State": the four base values, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; the program has not run.
    Created,
    /// The program runs.
    Running,
    /// The program ended.
    Stopped,
    /// Frozen, a further value as the specification permits.
    Paused,
}

impl Status {
    /// The name as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}

/// The kept record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Container id.
    pub id: String,
    /// First process in the runtime's PID namespace; 0 while there is none.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: tells it from a later one with its id.
    pub start_time: u64,
    /// Absolute bundle path.
    pub bundle: PathBuf,
    /// Absolute root filesystem.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// User who created it.
    pub owner: u32,
    /// True once `create` was done.
    pub complete: bool,
    /// What [`Cgroup::load`] takes; null without cgroups.
    pub cgroup: serde_json::Value,
    /// The service manager's unit around the cgroup.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Resctrl directory to remove at delete.
    #[serde(default)]
    pub resctrl: Vec<PathBuf>,
}

/// The state as printed and as given to hooks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rootfs: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde wants
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl Record {
    /// The state document of runtime.md, for hooks and listeners. "pid: REQUIRED when status is created or
    /// running", so a stopped container shows none.
    pub fn document(&self, status: Status, pid: i32) -> serde_json::Value {
        let pid = if status == Status::Stopped { 0 } else { pid };
        let shown = Shown {
            oci_version: VERSION_MAX,
            id: &self.id,
            status: status.name(),
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
            rootfs: None,
            created: None,
        };
        serde_json::to_value(shown).unwrap_or_default()
    }

    /// The document that the `state` command prints.
    pub fn printed(&self, status: Status) -> serde_json::Value {
        let mut document = self.document(status, self.pid);
        document["rootfs"] = self.rootfs.to_string_lossy().into();
        document["created"] = self.created.as_str().into();
        document["owner"] = self.owner.to_string().into();
        document
    }
}

/// "id ... MUST be unique across all containers on this host"; as it names directories, only harmless
/// characters are allowed.
pub fn check_id(id: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'.' | b'-');
    if id.is_empty() {
        bail!("container id is empty");
    }
    if id.len() > MAX_ID || !id.bytes().all(plain) || id == "." || id == ".." || id.starts_with('-') {
        bail!(
            "invalid container id {id:?}: it takes 1 to {MAX_ID} of A-Z a-z 0-9 _ + . - and no '-' at the start"
        );
    }
    Ok(())
}

/// The directory of one container.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The place of container `id` below `root`.
    pub fn new(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        Ok(Self { dir: root.join(id) })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the first process waits for `start`.
    pub fn start_socket(&self) -> PathBuf {
        self.dir.join("start.sock")
    }

    /// Claims the id: "if the ID provided is not unique ... the runtime MUST generate an error and a new
    /// container MUST NOT be created".
    pub fn claim(&self) -> Result<()> {
        let builder = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        let made = match builder(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let parent = self.dir.parent().unwrap_or(Path::new("/"));
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(parent)
                    .with_context(|| format!("{}", parent.display()))?;
                builder(&self.dir)
            }
            other => other,
        };
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("container with id exists: {}", self.dir.display())
            }
            other => other.with_context(|| format!("state directory {}", self.dir.display())),
        }
    }

    /// Replaces the record whole.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.stage(record)?.commit()
    }

    /// Prepares the record to be replaced: what is left is one rename.
    pub fn stage(&self, record: &Record) -> Result<Staged> {
        Staged::write(&self.dir.join("state.json"), &serde_json::to_vec(record)?, 0o600)
    }

    /// Keeps the configuration. Nobody looks for it before there is a record, so it needs no second name.
    pub fn keep_config(&self, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join("config.json");
        let write = || {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Reads the record. The error for an unknown id is the one engines look for.
    pub fn load(&self) -> Result<Record> {
        let bytes = match fs::read(self.dir.join("state.json")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENOTDIR) => {
                bail!("container does not exist: {}", self.dir.display())
            }
            other => other.with_context(|| format!("state of {}", self.dir.display()))?,
        };
        serde_json::from_slice(&bytes).with_context(|| format!("state of {}", self.dir.display()))
    }

    /// The configuration as it was at create.
    pub fn config(&self) -> Result<Spec> {
        let bytes = fs::read(self.dir.join("config.json")).context("saved configuration")?;
        Spec::from_copy(&bytes)
    }

    /// True when the directory exists, whatever its content.
    pub fn exists(&self) -> bool {
        fs::symlink_metadata(&self.dir).is_ok()
    }

    /// Removes the directory; the id may be used again afterwards.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("removing {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// The present status, from what is true now rather than from what was written.
    pub fn status(&self, record: &Record) -> Status {
        if !alive(record) {
            return if record.complete || record.pid != 0 { Status::Stopped } else { Status::Creating };
        }
        if !record.complete {
            return Status::Creating;
        }
        if self.waiting() {
            return Status::Created;
        }
        match cgroup(record) {
            Some(cgroup) if cgroup.is_frozen().unwrap_or(false) => Status::Paused,
            _ => Status::Running,
        }
    }

    /// True while the first process waits for `start`. The file of the socket outlives the waiting when a
    /// `start` was killed in between, so the socket itself is asked: nobody listens once the program runs.
    fn waiting(&self) -> bool {
        let path = self.start_socket();
        fs::symlink_metadata(&path).is_ok()
            && crate::socket::connect(&path, rustix::net::SocketType::SEQPACKET).is_ok()
    }
}

/// The cgroup of a container, when it has one.
pub fn cgroup(record: &Record) -> Option<Cgroup> {
    if record.cgroup.is_null() { None } else { Cgroup::load(&record.cgroup).ok() }
}

/// True when the first process exists, is the same as recorded and has not ended.
pub fn alive(record: &Record) -> bool {
    record.pid > 0
        && process_stat(record.pid)
            .is_ok_and(|(state, start)| start == record.start_time && !matches!(state, 'Z' | 'X'))
}

/// State letter and start time of a process (`/proc/<pid>/stat`, fields 3, 9 and 22); an exiting one is `X`.
pub fn process_stat(pid: i32) -> Result<(char, u64)> {
    let text = crate::files::read_kernel(format!("/proc/{pid}/stat"))?;
    let bad = || Error::new("garbled /proc/<pid>/stat");
    let rest = text.rsplit_once(')').ok_or_else(bad)?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next().and_then(|f| f.chars().next()).ok_or_else(bad)?;
    let flags: u64 = fields.nth(5).and_then(|f| f.parse().ok()).ok_or_else(bad)?;
    let start = fields.nth(12).and_then(|f| f.parse().ok()).ok_or_else(bad)?;
    // The first process of a PID namespace is kept until all others of it are reaped, long after it ended.
    Ok((if flags & PF_EXITING == 0 { state } else { 'X' }, start))
}

/// A file that is written whole under a temporary name; dropped, it is gone again.
pub struct Staged {
    temp: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Writes the content beside the place where it will be.
    pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<Self> {
        // Two may be under way at once.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Some(name) = path.file_name() else { bail!("{} names no file", path.display()) };
        let mut temp = std::ffi::OsString::from(".");
        temp.push(name);
        temp.push(format!(".{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let staged = Self { temp: path.with_file_name(temp), path: path.to_owned() };
        let write = || {
            let options = fs::File::options().write(true).create(true).truncate(true).mode(mode).to_owned();
            options.open(&staged.temp)?.write_all(bytes)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(staged)
    }

    /// Brings it to its place, in the place of what is there.
    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.temp, &self.path).with_context(|| format!("writing {}", self.path.display()))?;
        self.temp.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.temp.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Writes a file under a new name and renames it into place.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    Staged::write(path, bytes, mode)?.commit()
}

/// Writes a process id for the caller (`--pid-file`): renamed into place, so that whoever waits for the file finds it
/// whole. What is there and no regular file (a pipe, /dev/null) is written to and stays what it is.
pub fn write_pid(path: &Path, pid: libc::pid_t) -> Result<()> {
    let text = pid.to_string();
    let special = fs::metadata(path).is_ok_and(|there| !there.is_file());
    if special {
        // A pipe that nobody reads is an error, not a wait without end.
        let open = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
        open.and_then(|mut file| file.write_all(text.as_bytes())).context("--pid-file")
    } else {
        write_atomic(path, text.as_bytes(), 0o644).context("--pid-file")
    }
}

/// All containers below `root`, by id; half-made directories are left out.
pub fn all(root: &Path) -> Result<Vec<(Store, Record)>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("{}", root.display()))?,
    };
    let mut list = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(store) = name.to_str().and_then(|id| Store::new(root, id).ok()) else { continue };
        if let Ok(record) = store.load() {
            list.push((store, record));
        }
    }
    list.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    Ok(list)
}

/// Loads record and configuration of a container.
pub fn open(root: &Path, id: &str) -> Result<(Store, Record)> {
    let store = Store::new(root, id)?;
    let record = store.load()?;
    Ok((store, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        for good in ["a", "A_1+.-x", "...", &"x".repeat(1024)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "a\nb", "a\0b", "-a", "é", &"x".repeat(1025)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn own_start_time_is_stable() {
        let pid = std::process::id() as i32;
        assert_eq!(process_stat(pid).unwrap().1, process_stat(pid).unwrap().1);
    }
}
