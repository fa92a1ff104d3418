//! Reading files that the kernel makes up as they are read.
//!
//! Their size is told as zero, so the library would begin with a few bytes and ask again and again; the content of most
//! fits one read of this size, and a second one sees the end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// First piece that is read, bytes.
const PIECE: usize = 4096;
/// Largest content, bytes.
const MOST: u64 = 16 << 20;

/// The whole content of a file below `/proc` or `/sys`.
pub fn read_kernel(path: impl AsRef<Path>) -> io::Result<String> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(PIECE);
    // Unlike the function of the file itself, this one does not ask for the size first.
    Plain(&file).take(MOST).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A file of which only `read` is used.
struct Plain<'a>(&'a File);

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_content_is_whole() {
        for path in ["/proc/self/mountinfo", "/proc/cpuinfo", "/proc/self/uid_map"] {
            let lines = super::read_kernel(path).unwrap().lines().count();
            assert_eq!(lines, std::fs::read_to_string(path).unwrap().lines().count(), "{path}");
        }
        assert!(super::read_kernel("/proc/no-such-file").is_err());
    }
}
