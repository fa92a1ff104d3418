//! Descriptors and terminals.
use crate::ask::files::{list_fds, open_flags, statx};
use crate::bytes::content;
use crate::names::{self, Flag};
use crate::prelude::*;
use crate::sys::file::{open, poll, read_link};
use crate::sys::time::Deadline;

const STATUS_FLAGS: &[Flag] = &[
    ("append", libc::O_APPEND as u64),
    ("nonblock", libc::O_NONBLOCK as u64),
    ("path", libc::O_PATH as u64),
    ("directory", libc::O_DIRECTORY as u64),
    ("sync", libc::O_SYNC as u64),
    ("direct", libc::O_DIRECT as u64),
];

fn link_of(fd: i32) -> Result<Vec<u8>, i32> {
    let path = crate::step::c_string(&format!("/proc/self/fd/{fd}")).map_err(|fail| fail.errno)?;
    read_link(&path)
}

fn describe(fd: i32) -> Value {
    let flags = open_flags(fd).unwrap_or(0);
    let access = match flags as i32 & libc::O_ACCMODE {
        libc::O_RDONLY => "r",
        libc::O_WRONLY => "w",
        _ => "rw",
    };
    let cloexec = sc!(SYS_fcntl, fd, libc::F_GETFD).is_ok_and(|bits| bits & i64::from(libc::FD_CLOEXEC) != 0);
    let facts = statx(fd, c"", libc::AT_EMPTY_PATH).unwrap_or(Value::Null);
    json!({
        "fd": fd, "link": link_of(fd).map_or(Value::Null, |target| text(&target)), "access": access,
        "flags": names::flag_names(flags as u64, STATUS_FLAGS), "flags_number": flags, "cloexec": cloexec,
        "type": facts["type"], "dev": facts["dev"], "ino": facts["ino"],
        "rdev_major": facts["rdev_major"], "rdev_minor": facts["rdev_minor"],
    })
}

/// All open descriptors; without /proc those up to 1023.
pub fn fds(cx: &mut Cx, _: &Step) -> Answer {
    let all = list_fds().unwrap_or_else(|_| (0..1024).filter(|fd| open_flags(*fd).is_some()).collect());
    let own = cx.out().own_fd();
    let one = |fd: i32| {
        let mut facts = describe(fd);
        facts["probe_out"] = Value::from(own == Some(fd));
        facts
    };
    Ok(json!({ "fds": all.into_iter().map(one).collect::<Vec<_>>() }))
}

fn is_tty(fd: i32) -> bool {
    let mut termios = [0; 64];
    sc!(SYS_ioctl, fd, libc::TCGETS, &mut termios).is_ok()
}

fn ioctl_int(fd: i32, request: u64) -> Option<i32> {
    let mut value = [0; 4];
    sc!(SYS_ioctl, fd, request, &mut value).ok().map(|_| i32::from_ne_bytes(value))
}

/// Standard descriptors as terminals, and the controlling terminal.
pub fn stdio_tty(_: &mut Cx, _: &Step) -> Answer {
    let one = |fd: i32| {
        let tty = is_tty(fd);
        let facts = statx(fd, c"", libc::AT_EMPTY_PATH).unwrap_or(Value::Null);
        json!({
            "fd": fd, "isatty": tty, "name": link_of(fd).map_or(Value::Null, |target| text(&target)),
            "type": facts["type"], "rdev_major": facts["rdev_major"], "rdev_minor": facts["rdev_minor"],
            "foreground_pgid": if tty { ioctl_int(fd, libc::TIOCGPGRP) } else { None },
            "tty_sid": if tty { ioctl_int(fd, libc::TIOCGSID) } else { None },
        })
    };
    let controlling = match open(c"/dev/tty", libc::O_RDWR, 0) {
        Ok(tty) => json!({
            "opened": true, "foreground_pgid": ioctl_int(tty.0, libc::TIOCGPGRP),
            "tty_sid": ioctl_int(tty.0, libc::TIOCGSID),
        }),
        Err(errno) => json!({ "opened": false, "errno": errno, "error": names::errno(errno) }),
    };
    Ok(json!({ "stdio": [one(0), one(1), one(2)], "controlling": controlling }))
}

pub fn winsize(_: &mut Cx, step: &Step) -> Answer {
    let fd = step.int_or("fd", 0)?;
    let mut size = [0; 8];
    sc!(SYS_ioctl, fd, libc::TIOCGWINSZ, &mut size).what(format_args!("TIOCGWINSZ on descriptor {fd}"))?;
    let size = Reader(&size);
    Ok(json!({ "rows": size.u16(0), "cols": size.u16(2), "xpixel": size.u16(4), "ypixel": size.u16(6) }))
}

/// Reads a stream until end of file, `max` bytes or the deadline; says which of them it was.
pub fn read_stream(fd: i32, max: usize, deadline: Deadline) -> Result<Map<String, Value>, i32> {
    let mut out = Vec::new();
    let mut chunk = [0; 16_384];
    let (mut eof, mut late) = (false, false);
    while out.len() < max && !eof && !late {
        let events = poll(&[(fd, libc::POLLIN)], deadline.left_ms())?[0];
        if events == 0 {
            late = deadline.passed();
            continue;
        }
        let want = chunk.len().min(max - out.len());
        match sys::file::read(fd, &mut chunk[..want]) {
            Ok(0) => eof = true,
            Ok(n) => out.extend_from_slice(&chunk[..n]),
            // The other side of a terminal has gone away: its end of file.
            Err(libc::EIO) if is_tty(fd) || events & libc::POLLHUP != 0 => eof = true,
            Err(libc::EINTR | libc::EAGAIN) => late = deadline.passed(),
            Err(errno) => return Err(errno),
        }
    }
    let mut map = content(&out);
    map.insert("eof".to_owned(), eof.into());
    map.insert("timed_out".to_owned(), late.into());
    Ok(map)
}

pub fn stdin(_: &mut Cx, step: &Step) -> Answer {
    let deadline = Deadline::in_ms(step.timeout_ms(5000)?);
    let max = step.size_or("max", 1 << 20, 16 << 20)?;
    Ok(Value::Object(read_stream(0, max, deadline).what("read standard input")?))
}
