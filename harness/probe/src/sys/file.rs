//! Descriptors: open, read, write, wait for readiness. All bounded by their callers.
use crate::prelude::*;
use crate::sys::time::Deadline;

/// A descriptor that closes itself.
#[derive(Debug)]
pub struct Fd(pub i32);

impl Drop for Fd {
    fn drop(&mut self) {
        let _ = sc!(SYS_close, self.0);
    }
}

/// Opens without blocking (a FIFO or a dead network file system must not hang the probe) and without inheriting.
pub fn open(path: &CStr, flags: i32, mode: u32) -> Result<Fd, i32> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    sc!(SYS_openat, libc::AT_FDCWD, path, flags, mode).map(|fd| Fd(fd as i32))
}

pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize, i32> {
    let length = buffer.len();
    sc!(SYS_read, fd, buffer, length).map(|n| n as usize)
}

/// At most `max` bytes, up to end of file. The flag says whether there was more.
pub fn read_fd(fd: i32, max: usize, deadline: Deadline) -> Result<(Vec<u8>, bool), i32> {
    let mut out = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        match read(fd, &mut chunk) {
            Ok(0) => return Ok((out, false)),
            Ok(n) if out.len() + n > max => {
                out.extend_from_slice(&chunk[..max - out.len()]);
                return Ok((out, true));
            }
            Ok(n) => out.extend_from_slice(&chunk[..n]),
            Err(libc::EINTR) if !deadline.passed() => {}
            Err(libc::EAGAIN) if !deadline.passed() => {
                ready(fd, libc::POLLIN, deadline.left_ms())?;
            }
            Err(libc::EINTR | libc::EAGAIN) => return Err(libc::ETIMEDOUT),
            Err(errno) => return Err(errno),
        }
    }
}

/// The content of a file, at most `max` bytes and within 5 seconds.
pub fn read_file(path: &str, max: usize) -> Result<(Vec<u8>, bool), Fail> {
    let name = crate::step::c_string(path)?;
    let fd = open(&name, libc::O_RDONLY, 0).what(format_args!("open {path}"))?;
    read_fd(fd.0, max, Deadline::in_ms(5000)).what(format_args!("read {path}"))
}

/// A file of /proc or /sys as bytes, at most 4 MiB.
pub fn slurp(path: &str) -> Result<Vec<u8>, Fail> {
    read_file(path, 4 << 20).map(|(bytes, _)| bytes)
}

/// Writes everything, waiting for a slow reader until the deadline. On failure also says how much was written.
pub fn write_all(fd: i32, bytes: &[u8], deadline: Deadline) -> Result<(), (i32, usize)> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        match sc!(SYS_write, fd, rest, rest.len()) {
            Ok(n) => done += n as usize,
            Err(libc::EINTR) if !deadline.passed() => {}
            Err(libc::EAGAIN) if !deadline.passed() => {
                ready(fd, libc::POLLOUT, deadline.left_ms()).map_err(|errno| (errno, done))?;
            }
            Err(libc::EINTR | libc::EAGAIN) => return Err((libc::ETIMEDOUT, done)),
            Err(errno) => return Err((errno, done)),
        }
    }
    Ok(())
}

/// Waits until one of the descriptors is ready; gives their events (0: not ready). Negative descriptors are left out.
pub fn poll(wanted: &[(i32, i16)], timeout_ms: i32) -> Result<Vec<i16>, i32> {
    let mut buffer = Vec::with_capacity(wanted.len() * 8);
    for (fd, events) in wanted {
        buffer.extend_from_slice(&fd.to_ne_bytes());
        buffer.extend_from_slice(&events.to_ne_bytes());
        buffer.extend_from_slice(&[0, 0]);
    }
    let timeout = sys::time::timespec(i64::from(timeout_ms) * 1_000_000);
    match sc!(SYS_ppoll, buffer.as_mut_slice(), wanted.len(), &timeout, 0, 8) {
        Ok(_) => Ok((0..wanted.len()).map(|n| Reader(&buffer).i16(n * 8 + 6)).collect()),
        Err(libc::EINTR) => Ok(vec![0; wanted.len()]),
        Err(errno) => Err(errno),
    }
}

/// Whether the descriptor became ready within the time.
pub fn ready(fd: i32, events: i16, timeout_ms: i32) -> Result<bool, i32> {
    Ok(poll(&[(fd, events)], timeout_ms)?[0] != 0)
}

/// Where a symbolic link points.
pub fn read_link(path: &CStr) -> Result<Vec<u8>, i32> {
    let mut buffer = vec![0; 4096];
    let length = sc!(SYS_readlinkat, libc::AT_FDCWD, path, buffer.as_mut_slice(), 4096)?;
    buffer.truncate(length as usize);
    Ok(buffer)
}

/// One entry of a directory.
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub ino: u64,
}

/// The entries of an open directory but `.` and `..`, at most `max`, sorted by name. The flag says whether there were more.
pub fn entries(fd: i32, max: usize) -> Result<(Vec<Entry>, bool), i32> {
    let mut out = Vec::new();
    let mut buffer = vec![0; 32_768];
    let mut more = false;
    'all: loop {
        let length = sc!(SYS_getdents64, fd, buffer.as_mut_slice(), 32_768)? as usize;
        if length == 0 {
            break;
        }
        let mut at = 0;
        while at + 19 < length {
            let record = Reader(&buffer[at..length]);
            let (ino, size) = (record.u64(0), usize::from(record.u16(16)));
            let name = record.c_str(19, size.saturating_sub(19)).to_vec();
            let kind = buffer[at + 18];
            at += size.max(19);
            if name == b"." || name == b".." {
                continue;
            }
            if out.len() == max {
                more = true;
                break 'all;
            }
            out.push(Entry { name, kind, ino });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((out, more))
}

/// The directory's entries by path.
pub fn list(path: &CStr, max: usize) -> Result<(Vec<Entry>, bool), i32> {
    let fd = open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    entries(fd.0, max)
}

/// A pipe: the reading and the writing end, closed on exec.
pub fn pipe() -> Result<(Fd, Fd), i32> {
    let mut pair = [0; 8];
    sc!(SYS_pipe2, &mut pair, libc::O_CLOEXEC)?;
    Ok((Fd(Reader(&pair).i32(0)), Fd(Reader(&pair).i32(4))))
}
