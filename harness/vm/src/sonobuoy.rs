//! A plugin's side of Sonobuoy's contract: results lie in the results directory as one file, here a gzipped tar, and
//! the file `done` there holds its path. The aggregator waits for `done`: it is written whatever happened.

use crate::VmError;
use flate2::{Compression, write::GzEncoder};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The archive in the results directory.
pub const ARCHIVE: &str = "plimsoll.tar.gz";
/// The file that says that the results are complete.
pub const DONE: &str = "done";

/// Whether the results are there already: a container that was started again has nothing to do.
pub fn is_done(results: &Path) -> bool {
    results.join(DONE).exists()
}

/// Packs what is in `from`, adds `note` as `plimsoll.txt`, and says that it is done. Nothing appears under its name
/// before it is complete.
pub fn deliver(from: Option<&Path>, note: &str, results: &Path) -> Result<PathBuf, VmError> {
    fs::create_dir_all(results).map_err(VmError::file("make", results))?;
    let archive = results.join(ARCHIVE);
    whole(results, &archive, |file| pack(from, note, file)).map_err(VmError::file("write", &archive))?;
    let done = results.join(DONE);
    let text = archive.display().to_string();
    whole(results, &done, |file| file.write_all(text.as_bytes())).map_err(VmError::file("write", &done))?;
    Ok(archive)
}

fn pack(from: Option<&Path>, note: &str, file: &mut File) -> io::Result<()> {
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    tar.follow_symlinks(false);
    if let Some(from) = from {
        tar.append_dir_all("", from)?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(note.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "plimsoll.txt", note.as_bytes())?;
    tar.into_inner()?.finish()?.flush()
}

fn whole(dir: &Path, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    write(temporary.as_file_mut())?;
    // The aggregator's helper is another user's process in the same pod.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(mode)?;
    temporary.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{deliver, is_done};
    use std::io::Read;

    #[test]
    fn done_names_an_archive_that_holds_everything() {
        let (results, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(out.path().join("junit_a.xml"), "<testsuites/>").unwrap();
        assert!(!is_done(results.path()));
        deliver(Some(out.path()), "exit code 0", results.path()).unwrap();
        assert!(is_done(results.path()));
        let named = std::fs::read_to_string(results.path().join("done")).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(named).unwrap()));
        let mut names = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            entry.read_to_end(&mut Vec::new()).unwrap();
            names.push(entry.path().unwrap().display().to_string());
        }
        assert!(names.iter().any(|n| n == "junit_a.xml") && names.iter().any(|n| n == "plimsoll.txt"));
        assert_eq!(std::fs::read_dir(results.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_run_without_results_is_done_too() {
        let results = tempfile::tempdir().unwrap();
        deliver(None, "it did not start", results.path()).unwrap();
        assert!(is_done(results.path()));
    }
}
