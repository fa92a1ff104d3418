//! The CRI log format: `timestamp stream tag content\n`, tag `F` for a whole line and `P` for a part
//! of one longer than 16 KiB (requirements `log.format.*`).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, Mode, OFlags, ResolveFlags};

use crate::error::{Context as _, Result};
use crate::util::{now_ns, rfc3339_nano};

/// Content bytes per line of the log at most.
const LINE_LIMIT: usize = 16 << 10;

/// Which stream a piece of output came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Out,
    /// Standard error.
    Err,
}

/// The log of one container. Without a path output is drained and dropped.
pub struct Log {
    place: Option<(PathBuf, PathBuf)>,
    file: Option<File>,
    /// Bytes of an unfinished line, per stream.
    pending: [Vec<u8>; 2],
    last: i64,
}

impl Log {
    /// Opens the log for appending; the path stays below its directory.
    pub fn open(place: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        let file = place.as_ref().map(|(dir, path)| open_below(dir, path)).transpose()?;
        Ok(Self { place, file, pending: [Vec::new(), Vec::new()], last: 0 })
    }

    /// Opens the file anew after a rotation; on failure the old one stays in use.
    pub fn reopen(&mut self) -> Result<()> {
        if let Some((dir, path)) = &self.place {
            self.file = Some(open_below(dir, path)?);
        }
        Ok(())
    }

    /// Takes output of one stream and writes what makes whole lines.
    pub fn feed(&mut self, stream: Stream, mut data: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let head = self.head(stream);
        let mut out = Vec::new();
        let pending = &mut self.pending[stream as usize];
        while !data.is_empty() {
            let room = LINE_LIMIT - pending.len();
            let window = &data[..data.len().min(room + 1)];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                line(&mut out, &head, b'F', pending, &data[..end]);
                pending.clear();
                data = &data[end + 1..];
            } else if data.len() > room {
                line(&mut out, &head, b'P', pending, &data[..room]);
                pending.clear();
                data = &data[room..];
            } else {
                pending.extend_from_slice(data);
                data = &[];
            }
        }
        self.write(&out);
    }

    /// Writes what has no final newline; called when the stream or the container ends.
    pub fn flush(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let pending = std::mem::take(&mut self.pending[stream as usize]);
            if !pending.is_empty() {
                let mut out = Vec::new();
                line(&mut out, &self.head(stream), b'F', &pending, b"");
                self.write(&out);
            }
        }
    }

    fn head(&mut self, stream: Stream) -> String {
        self.last = self.last.max(now_ns());
        let name = if stream == Stream::Out { "stdout" } else { "stderr" };
        format!("{} {name} ", rfc3339_nano(self.last))
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            // A full disk loses log lines; it must not stop the container.
            let _ = file.write_all(bytes);
        }
    }
}

fn line(out: &mut Vec<u8>, head: &str, tag: u8, first: &[u8], second: &[u8]) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&[tag, b' ']);
    out.extend_from_slice(first);
    out.extend_from_slice(second);
    out.push(b'\n');
}

/// Opens `path` below `dir` for appending and makes it if needed; neither `..` nor links lead out.
fn open_below(dir: &Path, path: &Path) -> Result<File> {
    let base = rfs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_path("opening log directory", dir)?;
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let fd = rfs::openat2(
        &base,
        path,
        flags,
        Mode::from_raw_mode(0o640),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .with_path("opening log", path)?;
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(pieces: &[&[u8]]) -> Vec<(char, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(Some((dir.path().into(), "x.log".into()))).unwrap();
        for piece in pieces {
            log.feed(Stream::Out, piece);
        }
        log.flush();
        let bytes = std::fs::read(dir.path().join("x.log")).unwrap();
        let mut lines: Vec<_> = bytes.split(|b| *b == b'\n').collect();
        assert_eq!(lines.pop(), Some(&b""[..]));
        let parts = lines.into_iter().map(|line| {
            let mut fields = line.splitn(4, |b| *b == b' ');
            assert_eq!(fields.next().unwrap().len(), 30);
            assert_eq!(fields.next().unwrap(), b"stdout");
            (char::from(fields.next().unwrap()[0]), fields.next().unwrap().to_vec())
        });
        parts.collect()
    }

    #[test]
    fn lines_parts_and_rests() {
        assert_eq!(
            logged(&[b"a\n\nb", b"c\nrest"]),
            vec![('F', b"a".to_vec()), ('F', vec![]), ('F', b"bc".to_vec()), ('F', b"rest".to_vec())]
        );
        let long = vec![b'x'; LINE_LIMIT * 2 + 5];
        let got = logged(&[&long, b"\n"]);
        assert_eq!(
            got.iter().map(|(tag, part)| (*tag, part.len())).collect::<Vec<_>>(),
            vec![('P', LINE_LIMIT), ('P', LINE_LIMIT), ('F', 5)]
        );
        let exact = vec![b'x'; LINE_LIMIT];
        assert_eq!(logged(&[&exact, b"\n"]).len(), 1);
    }

    #[test]
    fn logs_stay_in_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Log::open(Some((dir.path().into(), "../out.log".into()))).is_err());
        std::os::unix::fs::symlink("/tmp/plimsoll-no-such", dir.path().join("l")).unwrap();
        assert!(Log::open(Some((dir.path().into(), "l".into()))).is_err());
    }
}
