//! Archives that Linux unpacks as its initramfs: cpio in the "new ASCII" format (`Documentation/driver-api/early-
//! userspace/buffer-format.rst` of the kernel). Several may follow each other; later entries replace earlier ones.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const TYPE: u32 = 0o170_000;
/// Sizes are eight hexadecimal digits.
const LARGEST: u64 = u32::MAX as u64;

/// Writes one archive. Every entry belongs to root and bears no time, so that equal trees make equal archives.
pub struct Writer<W> {
    out: W,
    written: u64,
    inode: u32,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0 }
    }

    /// Adds a directory; `name` is relative to the root.
    pub fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.header(name.as_bytes(), DIRECTORY | (mode & 0o7777), 0)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &[u8]) -> io::Result<()> {
        self.entry(name.as_bytes(), SYMLINK | 0o777, target)
    }

    /// Adds a file with this content.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name.as_bytes(), REGULAR | (mode & 0o7777), content)
    }

    /// Adds a copy of a host's file.
    pub fn copy(&mut self, name: &str, mode: u32, path: &Path) -> io::Result<()> {
        self.copy_as(name.as_bytes(), mode, path)
    }

    fn copy_as(&mut self, name: &[u8], mode: u32, path: &Path) -> io::Result<()> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        self.header(name, REGULAR | (mode & 0o7777), size)?;
        let copied = io::copy(&mut file.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::other(format!("{} became shorter while it was read", path.display())));
        }
        self.written += size;
        self.pad()
    }

    /// Adds everything below a directory, in the order of the names. Devices and sockets are left out: the guest's
    /// own `/dev` has them.
    pub fn tree(&mut self, top: &Path) -> io::Result<()> {
        self.below(top, b"")
    }

    fn below(&mut self, dir: &Path, prefix: &[u8]) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let mut name = prefix.to_vec();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(entry.file_name().as_bytes());
            let (path, meta) = (entry.path(), entry.metadata()?);
            match meta.mode() & TYPE {
                DIRECTORY => {
                    self.header(&name, meta.mode(), 0)?;
                    self.below(&path, &name)?;
                }
                REGULAR => self.copy_as(&name, meta.mode(), &path)?,
                SYMLINK => self.entry(&name, meta.mode(), fs::read_link(&path)?.as_os_str().as_bytes())?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the archive, padded so that another one may follow; gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.header(b"TRAILER!!!", 0, 0)?;
        while !self.written.is_multiple_of(512) {
            self.raw(&[0])?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        self.header(name, mode, content.len() as u64)?;
        self.raw(content)?;
        self.pad()
    }

    fn header(&mut self, name: &[u8], mode: u32, size: u64) -> io::Result<()> {
        if size > LARGEST {
            return Err(io::Error::other("a file of 4 GiB or more does not fit into an initramfs"));
        }
        self.inode += 1;
        let links = if mode & TYPE == DIRECTORY { 2 } else { 1 };
        // Magic, inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum.
        let mut head = String::from("070701");
        for field in [self.inode, mode, 0, 0, links, 0, size as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0] {
            let _ = write!(head, "{field:08x}");
        }
        self.raw(head.as_bytes())?;
        self.raw(name)?;
        self.raw(&[0])?;
        self.pad()
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let over = (self.written % 4) as usize;
        self.raw(&[0; 3][..(4 - over) % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::Writer;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    /// Reads an archive back by the field positions of the format: (name, mode, content).
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let total = bytes.len();
        loop {
            let field = |i: usize| {
                let at = 6 + 8 * i;
                u32::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap() as usize
            };
            assert_eq!(&bytes[..6], b"070701");
            let (mode, size, length) = (field(1), field(6), field(11));
            let name = String::from_utf8(bytes[110..110 + length - 1].to_vec()).unwrap();
            assert_eq!(bytes[110 + length - 1], 0);
            let start = (110 + length).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert!(bytes[start..].iter().all(|b| *b == 0));
                assert_eq!(total % 512, 0);
                return entries;
            }
            entries.push((name, mode as u32, bytes[start..start + size].to_vec()));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn a_tree_reads_back_sorted_with_modes_and_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("b")).unwrap();
        std::fs::write(dir.path().join("b/file"), "seven..").unwrap();
        std::fs::set_permissions(dir.path().join("b/file"), PermissionsExt::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("b/file", dir.path().join("a")).unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.tree(dir.path()).unwrap();
        writer.file("c", 0o600, b"").unwrap();
        let entries = read(&writer.finish().unwrap());
        let names: Vec<&str> = entries.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(names, ["a", "b", "b/file", "c"]);
        assert_eq!(entries[0].1, 0o120_777);
        assert_eq!(entries[0].2, b"b/file");
        assert_eq!(entries[2].1, 0o104_755);
        assert_eq!(entries[2].2, b"seven..");
        assert_eq!(entries[3].1, 0o100_600);
    }

    /// A second reader, where one is installed.
    #[test]
    fn busybox_reads_it() {
        let mut writer = Writer::new(Vec::new());
        writer.directory("d", 0o755).unwrap();
        writer.file("d/f", 0o644, b"content").unwrap();
        let bytes = writer.finish().unwrap();
        let Ok(mut child) = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "CI installs busybox");
            return;
        };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "d\nd/f\n");
    }
}
