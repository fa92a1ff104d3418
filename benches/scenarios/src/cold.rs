//! Cold cache: evict the runtime's own files from the page cache, and nothing else.
//!
//! `drop_caches` would couple the arms and hurt every neighbour on the host. `POSIX_FADV_DONTNEED` drops
//! the clean pages of one file that nobody has mapped: the program and the libraries only it uses.

use crate::slot::{Failure, Sample, Slot};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

impl Slot {
    /// A cold start right after the eviction.
    pub fn cold_cache_start(&mut self) -> Result<Sample, Failure> {
        for file in files_of(&self.target.program) {
            // A library that is gone or mapped elsewhere is no failure of the runtime.
            if let Ok(file) = File::open(&file) {
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
        self.cold_start()
    }
}

/// The program and its shared libraries, as the dynamic loader lists them; a static program is alone.
fn files_of(program: &Path) -> Vec<PathBuf> {
    let mut files = vec![program.to_owned()];
    if let Some(loader) = interpreter(program)
        && let Ok(output) = Command::new(loader).arg("--list").arg(program).output()
    {
        // Lines read `name => /path (address)`.
        files.extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| {
            let path = line.split_once("=> ")?.1.split_whitespace().next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        }));
    }
    files
}

/// The ELF program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// The dynamic loader that an ELF-64 program names, if it names one.
fn interpreter(program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::FileExt;
    let file = File::open(program).ok()?;
    let mut header = [0_u8; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    if &header[..5] != b"\x7fELF\x02" {
        return None;
    }
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let table = u64::from_le_bytes(std::array::from_fn(|i| header[32 + i]));
    let (size, count) = (word(54), word(56));
    for i in 0..count {
        let mut entry = [0_u8; 56];
        file.read_exact_at(&mut entry, table + u64::from(i) * u64::from(size)).ok()?;
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| entry[at + i]));
        if u32::from_le_bytes(std::array::from_fn(|i| entry[i])) == PT_INTERP {
            let mut name = vec![0; usize::try_from(long(32)).ok().filter(|n| *n < 4096)?];
            file.read_exact_at(&mut name, long(8)).ok()?;
            name.pop();
            return String::from_utf8(name).ok().map(PathBuf::from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_comes_with_its_libraries() {
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let files = files_of(&shell);
        assert_eq!(files[0], shell);
        if interpreter(&shell).is_some() {
            assert!(files.len() > 1, "{files:?}");
        }
    }

    #[test]
    fn what_is_no_program_is_alone() {
        assert_eq!(files_of(Path::new("/proc/version")), [PathBuf::from("/proc/version")]);
        assert_eq!(interpreter(Path::new("/nonexistent")), None);
    }
}
