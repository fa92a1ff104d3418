//! The archive of results on the host: collected without a name, checked, unpacked beside its place, renamed into it.

use crate::VmError;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};

/// Collects an archive.
pub struct Archive {
    file: File,
    digest: Sha256,
    length: u64,
    largest: u64,
    complete: bool,
}

impl Archive {
    /// An empty one that may become `largest` bytes long, compressed, and ten times that when unpacked.
    pub fn new(largest: u64) -> Result<Self, VmError> {
        let file = tempfile::tempfile().map_err(VmError::file("make a file in", &std::env::temp_dir()))?;
        Ok(Self { file, digest: Sha256::new(), length: 0, largest, complete: false })
    }

    /// Takes in the next part.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), VmError> {
        self.length += bytes.len() as u64;
        if self.length > self.largest || self.complete {
            return Err(VmError::Channel(format!("more than {} bytes of results", self.largest)));
        }
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(VmError::file("write", &std::env::temp_dir()))
    }

    /// Checks that all of it came.
    pub fn complete(&mut self, length: u64, digest: &str) -> Result<(), VmError> {
        let own = crate::hex(&self.digest.clone().finalize());
        if length != self.length || digest != own {
            return Err(VmError::Channel(format!(
                "{} of {length} bytes of results came, or others than were sent",
                self.length
            )));
        }
        self.complete = true;
        Ok(())
    }

    /// Unpacks a complete archive into `out`: what is there under the same name is replaced, the rest stays.
    pub fn unpack(mut self, out: &Path) -> Result<(), VmError> {
        if !self.complete {
            return Err(VmError::Channel("the results are not complete".into()));
        }
        fs::create_dir_all(out).map_err(VmError::file("make", out))?;
        let new = tempfile::Builder::new()
            .prefix(".plimsoll-vm-")
            .tempdir_in(out)
            .map_err(VmError::file("make a directory in", out))?;
        self.file.seek(SeekFrom::Start(0)).map_err(VmError::file("read", out))?;
        extract(&self.file, new.path(), self.largest.saturating_mul(10))
            .and_then(|()| place(new.path(), out))
            .map_err(VmError::file("unpack the results into", out))
    }
}

/// Files and directories only, none outside of `to`, no more than `largest` bytes.
fn extract(file: &File, to: &Path, largest: u64) -> io::Result<()> {
    let mut left = largest;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if name.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(io::Error::other(format!("an entry is named {}", name.display())));
        }
        let path = to.join(name);
        match entry.header().entry_type() {
            tar::EntryType::Directory => fs::create_dir_all(&path)?,
            tar::EntryType::Regular => {
                left = left
                    .checked_sub(entry.size())
                    .ok_or_else(|| io::Error::other("the results are too large"))?;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                let size = entry.size();
                let copied = io::copy(&mut entry.by_ref().take(size), &mut File::create(&path)?)?;
                if copied != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // Links and devices are no results.
            _ => {}
        }
    }
    Ok(())
}

fn place(from: &Path, out: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = out.join(entry.file_name());
        if target.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(entry.path(), &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use flate2::{Compression, write::GzEncoder};
    use sha2::{Digest, Sha256};

    fn packed(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // `append_data` refuses names that go up; the bytes do not.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn receive(bytes: &[u8], out: &std::path::Path) -> Result<(), crate::VmError> {
        let mut archive = Archive::new(1000)?;
        archive.push(bytes)?;
        let digest = crate::hex(&Sha256::digest(bytes));
        archive.complete(bytes.len() as u64, &digest)?;
        archive.unpack(out)
    }

    #[test]
    fn results_replace_and_leave_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kept"), "k").unwrap();
        std::fs::write(dir.path().join("run.jsonl"), "old").unwrap();
        receive(&packed(&[("run.jsonl", b"new"), ("deep/er", b"x")]), dir.path()).unwrap();
        let read = |n: &str| std::fs::read_to_string(dir.path().join(n)).unwrap();
        assert_eq!(
            (read("kept"), read("run.jsonl"), read("deep/er")),
            ("k".into(), "new".into(), "x".into())
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn hostile_archives_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for bytes in [
            packed(&[("../evil", b"x")]),
            packed(&[("/evil", b"x")]),
            packed(&[("big", &vec![0; 20_000])]),
            b"junk".to_vec(),
        ] {
            assert!(receive(&bytes, &out).is_err());
            assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_complete_is_not_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::new(10).unwrap();
        archive.push(b"abc").unwrap();
        assert!(archive.complete(4, "x").is_err());
        assert!(archive.push(&[0; 8]).is_err());
        assert!(archive.unpack(dir.path()).is_err());
    }
}
