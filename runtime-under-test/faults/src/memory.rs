//! What must be remembered between two calls on one container: marks, as empty files outside of the
//! runtime's root directory (where they would look like containers). `delete` removes them.

use std::fs;
use std::path::{Path, PathBuf};

/// The marks of one container.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
    prefix: String,
}

impl Memory {
    /// Marks for container `id` of the runtime whose state is below `root`.
    pub fn new(root: &Path, id: &str) -> Memory {
        let base = std::env::var_os("PLIMSOLL_FAULT_STATE")
            .map_or_else(|| PathBuf::from("/run/plimsoll-faults"), PathBuf::from);
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let key = format!("{}\0{id}", root.display());
        Memory { dir: base, prefix: format!("{:016x}.", fnv(key.as_bytes())) }
    }

    /// The file of one mark.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}{name}", self.prefix))
    }

    /// Whether the mark is set.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Makes the directory of the marks.
    pub fn prepare(&self) {
        let _ = fs::create_dir_all(&self.dir);
    }

    /// Sets a mark. Failure shows as the fault not taking effect, which a test of the fault notices.
    pub fn set(&self, name: &str) {
        self.prepare();
        let _ = fs::write(self.file(name), "");
    }

    /// Removes a mark.
    pub fn unset(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
    }

    /// Removes all marks of the container, and the directory when it is empty.
    pub fn forget(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The FNV-1a hash, finished so that all bits depend on all bytes.
pub fn fnv(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
