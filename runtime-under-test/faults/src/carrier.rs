//! How the runtime gets to see an edited file without the caller's file being touched.
//!
//! The process moves to a private copy of the mount namespace, binds the edited text over the file and
//! becomes the runtime there. The bundle keeps its path, so state, hooks and relative paths need no
//! mending; nothing is left behind, because the bind mount dies with the runtime and the text has no name.
//! The one thing that differs is the runtime's own mount namespace; hooks that compare it are led back
//! (see [`crate::hook`]).

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::error::Trouble;
use crate::sys;

/// An edited file that waits to be shown.
#[derive(Debug)]
pub struct Override {
    /// The file that the runtime will open.
    pub path: PathBuf,
    /// A temporary file with the edited text.
    pub text: PathBuf,
}

/// Writes `bytes` to a temporary file with the permissions of `path`.
pub fn stage(path: &Path, bytes: &[u8]) -> Result<Override, Trouble> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let path = fs::canonicalize(path).map_err(|e| Trouble::io(format!("resolve {}", path.display()), e))?;
    let mode = fs::metadata(&path).map_or(0o600, |m| m.mode() & 0o777);
    let name = format!("plimsoll-faults.{}.{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let text = std::env::temp_dir().join(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&text)
        .and_then(|mut file| file.write_all(bytes));
    match written {
        Ok(()) => Ok(Override { path, text }),
        Err(e) => {
            let _ = fs::remove_file(&text);
            Err(Trouble::io(format!("write {}", text.display()), e))
        }
    }
}

/// Shows all overrides to this process and its future children, and removes their temporary names.
pub fn show(overrides: &[Override]) -> Result<(), Trouble> {
    if overrides.is_empty() {
        return Ok(());
    }
    let result = overrides.iter().enumerate().try_for_each(|(at, o)| {
        let fail = |doing| move |source: io::Error| Trouble::Carrier { path: o.path.clone(), doing, source };
        if at == 0 {
            sys::unshare_mounts().map_err(fail("leave the mount namespace"))?;
        }
        keep_to_ourselves(&o.path).map_err(fail("make its mount private"))?;
        mount_bind(&o.text, &o.path).map_err(io::Error::from).map_err(fail("bind the edited text over it"))
    });
    for o in overrides {
        let _ = fs::remove_file(&o.text);
    }
    result
}

/// The mount that holds `path` must not pass our bind mount on to the caller's namespace; it still
/// receives what happens there.
fn keep_to_ourselves(path: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    if let Some((point, true)) = holding_mount(&table, path) {
        mount_change(&point, MountPropagationFlags::DOWNSTREAM)?;
    }
    Ok(())
}

/// The mount point in `table` (the text of mountinfo) that holds `path`, and whether it is shared.
/// Of mounts on one point the last one counts.
fn holding_mount(table: &str, path: &Path) -> Option<(PathBuf, bool)> {
    let mut best: Option<(PathBuf, bool)> = None;
    for line in table.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4).map(unescape) else { continue };
        let shared = fields.skip(1).take_while(|f| *f != "-").any(|f| f.starts_with("shared:"));
        let longer = best.as_ref().is_none_or(|(b, _)| point.as_os_str().len() >= b.as_os_str().len());
        if path.starts_with(&point) && longer {
            best = Some((point, shared));
        }
    }
    best
}

fn unescape(field: &str) -> PathBuf {
    let text = ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain));
    PathBuf::from(text)
}

/// The words by which a helper is told the overrides (see `__carry` in [`crate::helpers`]).
pub fn to_words(overrides: &[Override]) -> Vec<OsString> {
    overrides
        .iter()
        .flat_map(|o| [o.path.clone().into_os_string(), o.text.clone().into_os_string()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /tmp rw shared:2 master:3 - tmpfs tmpfs rw
23 22 0:6 / /tmp/work\\040dir rw - tmpfs tmpfs rw
";

    #[test]
    fn the_innermost_mount_is_found() {
        for (path, want) in [
            ("/etc/x", ("/", true)),
            ("/tmp/x", ("/tmp", true)),
            ("/tmp/work dir/b/config.json", ("/tmp/work dir", false)),
            ("/tmpfoo", ("/", true)),
        ] {
            assert_eq!(
                holding_mount(TABLE, Path::new(path)),
                Some((PathBuf::from(want.0), want.1)),
                "{path}"
            );
        }
    }

    #[test]
    fn staging_keeps_the_mode_and_fails_for_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, "{}").unwrap();
        let staged = stage(&file, b"[]").unwrap();
        assert_eq!(fs::read(&staged.text).unwrap(), b"[]");
        fs::remove_file(&staged.text).unwrap();
        assert!(stage(&dir.path().join("nothing"), b"").is_err());
    }
}
