//! Files: what is there, and what the kernel lets the process do with it.
use crate::bytes::{content, number, unbase64};
use crate::names::{self, Flag};
use crate::prelude::*;
use crate::sys::file::{Fd, open, read_file, read_link, write_all};
use crate::sys::time::Deadline;

/// The default and the greatest length of file content in an answer.
const READ_DEFAULT: usize = 65_536;
const READ_MAX: usize = 4 << 20;

/// The type word of a mode.
pub fn file_type(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "unknown",
    }
}

/// statx(2) as JSON. `flags`: `AT_SYMLINK_NOFOLLOW`, `AT_EMPTY_PATH`.
pub fn statx(dir: i32, path: &CStr, flags: i32) -> Result<Value, i32> {
    let mut buffer = [0; 256];
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    sc!(SYS_statx, dir, path, flags | libc::AT_NO_AUTOMOUNT, wanted, &mut buffer)?;
    let st = Reader(&buffer);
    let mode = u32::from(st.u16(28));
    let time = |at: usize| st.i64(at).wrapping_mul(1_000_000_000).wrapping_add(i64::from(st.u32(at + 8)));
    let mount_id = (st.u32(0) & libc::STATX_MNT_ID != 0).then(|| st.u64(144));
    Ok(json!({
        "type": file_type(mode), "mode": mode & 0o7777, "octal": format!("{:04o}", mode & 0o7777),
        "uid": st.u32(20), "gid": st.u32(24), "size": st.u64(40), "blocks": st.u64(48), "nlink": st.u32(16),
        "ino": st.u64(32), "dev": format!("{}:{}", st.u32(136), st.u32(140)),
        "rdev_major": st.u32(128), "rdev_minor": st.u32(132),
        "atime_ns": time(64), "ctime_ns": time(96), "mtime_ns": time(112), "mount_id": mount_id,
    }))
}

pub fn stat(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let follow = if step.flag("follow")? { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let mut facts = statx(libc::AT_FDCWD, &path, follow).what(format_args!("stat {}", step.str("path")?))?;
    if facts["type"] == "symlink" {
        facts["target"] = read_link(&path).map_or(Value::Null, |target| text(&target));
    }
    Ok(facts)
}

pub fn mount_id(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let facts = statx(libc::AT_FDCWD, &path, 0).what(format_args!("statx {}", step.str("path")?))?;
    Ok(json!({ "mount_id": facts["mount_id"], "dev": facts["dev"] }))
}

/// `ST_*` of statfs(2).
const ST_FLAGS: &[Flag] = &[
    ("ro", 1),
    ("nosuid", 2),
    ("nodev", 4),
    ("noexec", 8),
    ("sync", 16),
    ("mandlock", 64),
    ("noatime", 1024),
    ("nodiratime", 2048),
    ("relatime", 4096),
    ("nosymfollow", 8192),
];

pub fn statfs(_: &mut Cx, step: &Step) -> Answer {
    let mut buffer = [0; 120];
    sc!(SYS_statfs, &step.c_string("path")?, &mut buffer)
        .what(format_args!("statfs {}", step.str("path")?))?;
    let st = Reader(&buffer);
    let flags = st.u64(80);
    Ok(json!({
        "type": format!("{:#x}", st.u64(0)), "type_number": st.u64(0), "block_size": st.u64(8),
        "blocks": st.u64(16), "blocks_free": st.u64(24), "files": st.u64(40), "files_free": st.u64(48),
        "flags": names::flag_names(flags, ST_FLAGS), "flags_number": flags,
    }))
}

pub fn readlink(_: &mut Cx, step: &Step) -> Answer {
    let target = read_link(&step.c_string("path")?).what(format_args!("readlink {}", step.str("path")?))?;
    Ok(json!({ "target": text(&target) }))
}

pub fn listdir(_: &mut Cx, step: &Step) -> Answer {
    let max = step.size_or("max", 1000, 100_000)?;
    let (entries, more) =
        sys::file::list(&step.c_string("path")?, max).what(format_args!("list {}", step.str("path")?))?;
    // d_type is the file type of a mode, shifted.
    let row = |entry: &sys::file::Entry| json!({ "name": text(&entry.name), "type": file_type(u32::from(entry.kind) << 12), "ino": entry.ino });
    Ok(json!({ "entries": entries.iter().map(row).collect::<Vec<_>>(), "truncated": more }))
}

pub fn read(_: &mut Cx, step: &Step) -> Answer {
    let (bytes, more) = read_file(step.str("path")?, step.size_or("max", READ_DEFAULT, READ_MAX)?)?;
    let mut map = content(&bytes);
    map.insert("truncated".to_owned(), more.into());
    Ok(Value::Object(map))
}

/// `data` as text, or `base64` of it.
pub fn data(step: &Step) -> Result<Vec<u8>, Fail> {
    if let Some(encoded) = step.opt_str("base64")? {
        return unbase64(encoded).ok_or_else(|| Fail::script("`base64` is not base64"));
    }
    Ok(step.opt_str("data")?.unwrap_or_default().as_bytes().to_vec())
}

pub fn write(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let mut flags = libc::O_WRONLY;
    for (key, bit) in [("create", libc::O_CREAT), ("append", libc::O_APPEND), ("truncate", libc::O_TRUNC)] {
        flags |= if step.flag(key)? { bit } else { 0 };
    }
    let data = data(step)?;
    let mode = step.mode("mode", 0o644)?;
    let fd = open(&path, flags, mode).what(format_args!("open {}", step.str("path")?))?;
    let wrote = write_all(fd.0, &data, Deadline::in_ms(5000)).map_err(|(errno, _)| errno);
    wrote.what(format_args!("write {}", step.str("path")?))?;
    Ok(json!({ "bytes": data.len() }))
}

/// A file that tells the host that this point was reached: created or replaced with `data`.
pub fn marker(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let append = if step.flag("append")? { libc::O_APPEND } else { libc::O_TRUNC };
    let flags = libc::O_WRONLY | libc::O_CREAT | append;
    let fd =
        open(&path, flags, step.mode("mode", 0o644)?).what(format_args!("create {}", step.str("path")?))?;
    let data = data(step)?;
    let wrote = write_all(fd.0, &data, Deadline::in_ms(5000)).map_err(|(errno, _)| errno);
    wrote.what(format_args!("write {}", step.str("path")?))?;
    Ok(json!({ "bytes": data.len(), "at_ns": sys::time::now(libc::CLOCK_MONOTONIC) }))
}

pub fn mkdir(_: &mut Cx, step: &Step) -> Answer {
    let mode = step.mode("mode", 0o755)?;
    sc!(SYS_mkdirat, libc::AT_FDCWD, &step.c_string("path")?, mode)
        .what(format_args!("mkdir {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn mknod(_: &mut Cx, step: &Step) -> Answer {
    let kind = match step.str("type")? {
        "char" | "c" | "u" => libc::S_IFCHR,
        "block" | "b" => libc::S_IFBLK,
        "fifo" | "p" => libc::S_IFIFO,
        "socket" | "s" => libc::S_IFSOCK,
        "file" | "f" => libc::S_IFREG,
        other => return Err(Fail::script(format_args!("unknown node type {other}"))),
    };
    let device = libc::makedev(step.int_or("major", 0)? as u32, step.int_or("minor", 0)? as u32);
    let (path, mode) = (step.c_string("path")?, kind | step.mode("mode", 0o600)?);
    sc!(SYS_mknodat, libc::AT_FDCWD, &path, mode, device)
        .what(format_args!("mknod {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn unlink(_: &mut Cx, step: &Step) -> Answer {
    let flags = if step.flag("directory")? { libc::AT_REMOVEDIR } else { 0 };
    let path = step.c_string("path")?;
    sc!(SYS_unlinkat, libc::AT_FDCWD, &path, flags).what(format_args!("unlink {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn symlink(_: &mut Cx, step: &Step) -> Answer {
    let (target, path) = (step.c_string("target")?, step.c_string("path")?);
    sc!(SYS_symlinkat, &target, libc::AT_FDCWD, &path).what(format_args!("symlink {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn chown(_: &mut Cx, step: &Step) -> Answer {
    let flags = if step.flag("follow")? { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let (path, uid, gid) = (step.c_string("path")?, step.int_or("uid", -1)?, step.int_or("gid", -1)?);
    sc!(SYS_fchownat, libc::AT_FDCWD, &path, uid, gid, flags)
        .what(format_args!("chown {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn chmod(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    step.get("mode").ok_or_else(|| Fail::script("`mode` is missing"))?;
    let mode = step.mode("mode", 0)?;
    sc!(SYS_fchmodat, libc::AT_FDCWD, &path, mode).what(format_args!("chmod {}", step.str("path")?))?;
    Ok(json!({}))
}

const OPEN_FLAGS: &[Flag] = &[
    ("r", 0),
    ("w", libc::O_WRONLY as u64),
    ("rw", libc::O_RDWR as u64),
    ("creat", libc::O_CREAT as u64),
    ("excl", libc::O_EXCL as u64),
    ("trunc", libc::O_TRUNC as u64),
    ("append", libc::O_APPEND as u64),
    ("directory", libc::O_DIRECTORY as u64),
    ("path", libc::O_PATH as u64),
    ("nofollow", libc::O_NOFOLLOW as u64),
    ("noatime", libc::O_NOATIME as u64),
    ("tmpfile", libc::O_TMPFILE as u64),
    ("direct", libc::O_DIRECT as u64),
];

pub fn open_step(_: &mut Cx, step: &Step) -> Answer {
    let flags = step.flags("flags", OPEN_FLAGS)? as i32;
    let path = step.c_string("path")?;
    let fd =
        open(&path, flags, step.mode("mode", 0o600)?).what(format_args!("open {}", step.str("path")?))?;
    let facts = statx(fd.0, c"", libc::AT_EMPTY_PATH).unwrap_or(Value::Null);
    Ok(json!({ "opened": true, "type": facts["type"], "dev": facts["dev"], "ino": facts["ino"] }))
}

const ACCESS_MODES: &[Flag] = &[("f", 0), ("r", 4), ("w", 2), ("x", 1)];

/// `modes` with the effective ids, as the kernel checks an open (`AT_EACCESS`).
pub fn access(_: &mut Cx, step: &Step) -> Answer {
    let (path, mode) = (step.c_string("path")?, step.flags("modes", ACCESS_MODES)?);
    let what = format_args!("access {}", step.str("path")?).to_string();
    match sc!(SYS_faccessat2, libc::AT_FDCWD, &path, mode, libc::AT_EACCESS) {
        Err(libc::ENOSYS) => sc!(SYS_faccessat, libc::AT_FDCWD, &path, mode).what(&what)?,
        other => other.what(&what)?,
    };
    Ok(json!({}))
}

/// Reads from the file or directory and reports its access time before and after.
pub fn touch_read(_: &mut Cx, step: &Step) -> Answer {
    let (name, path) = (step.str("path")?, step.c_string("path")?);
    let before = statx(libc::AT_FDCWD, &path, 0).what(format_args!("stat {name}"))?;
    if before["type"] == "directory" {
        sys::file::list(&path, 1).what(format_args!("list {name}"))?;
    } else {
        read_file(name, 1)?;
    }
    let after = statx(libc::AT_FDCWD, &path, 0).what(format_args!("stat {name}"))?;
    Ok(json!({
        "before_ns": before["atime_ns"], "after_ns": after["atime_ns"], "mtime_ns": after["mtime_ns"],
        "changed": before["atime_ns"] != after["atime_ns"],
    }))
}

/// Sets the times of a file; one that is left out stays.
pub fn utimes(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let mut times = Vec::new();
    for key in ["atime_ns", "mtime_ns"] {
        match step.opt_int(key)? {
            Some(ns) => times.extend_from_slice(&sys::time::timespec(ns)),
            None => times.extend_from_slice(&[0_i64.to_ne_bytes(), libc::UTIME_OMIT.to_ne_bytes()].concat()),
        }
    }
    sc!(SYS_utimensat, libc::AT_FDCWD, &path, times.as_slice(), 0)
        .what(format_args!("utimes {}", step.str("path")?))?;
    Ok(json!({}))
}

/// Copies this very program, for tests that execute it elsewhere (noexec, set-user-id, file capabilities).
pub fn copy_self(_: &mut Cx, step: &Step) -> Answer {
    let (name, to, mode) = (step.str("to")?, step.c_string("to")?, step.mode("mode", 0o755)?);
    let from = open(c"/proc/self/exe", libc::O_RDONLY, 0).what("open /proc/self/exe")?;
    let (bytes, _) =
        sys::file::read_fd(from.0, 64 << 20, Deadline::in_ms(5000)).what("read /proc/self/exe")?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
    let fd = open(&to, flags, mode).what(format_args!("create {name}"))?;
    let wrote = write_all(fd.0, &bytes, Deadline::in_ms(5000)).map_err(|(errno, _)| errno);
    wrote.what(format_args!("write {name}"))?;
    // Afterwards and explicitly: the umask, and a write, would take set-id bits away.
    sc!(SYS_fchmod, fd.0, mode).what(format_args!("chmod {name}"))?;
    Ok(json!({ "bytes": bytes.len() }))
}

pub fn mmap_exec(_: &mut Cx, step: &Step) -> Answer {
    let (name, path) = (step.str("path")?, step.c_string("path")?);
    let fd = open(&path, libc::O_RDONLY, 0).what(format_args!("open {name}"))?;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    sys::memory::Mapping::new(4096, protection, fd.0).what(format_args!("mmap {name} PROT_EXEC"))?;
    Ok(json!({}))
}

/// The extended attributes' names, and the value of one if `name` is given.
pub fn xattr(_: &mut Cx, step: &Step) -> Answer {
    let path = step.c_string("path")?;
    let mut buffer = vec![0; 65_536];
    if step.get("name").is_some() {
        let name = step.c_string("name")?;
        let length = sc!(SYS_lgetxattr, &path, &name, buffer.as_mut_slice(), 65_536);
        let length =
            length.what(format_args!("getxattr {} {}", step.str("path")?, step.str("name")?))? as usize;
        return Ok(Value::Object(content(&buffer[..length])));
    }
    let length = sc!(SYS_llistxattr, &path, buffer.as_mut_slice(), 65_536);
    let length = length.what(format_args!("listxattr {}", step.str("path")?))? as usize;
    let names = buffer[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    Ok(json!({ "names": names.map(text).collect::<Vec<_>>() }))
}

/// An open descriptor's flags from /proc/self/fdinfo, as the kernel prints them (octal).
pub fn open_flags(fd: i32) -> Option<i64> {
    sc!(SYS_fcntl, fd, libc::F_GETFL).ok()
}

/// Numbers of directory entries, such as descriptors.
pub fn numbers(entries: &[sys::file::Entry]) -> Vec<i32> {
    entries.iter().filter_map(|entry| number(&entry.name)).collect()
}

/// A directory's descriptor that stays open only as long as it is listed.
pub fn list_fds() -> Result<Vec<i32>, i32> {
    let dir: Fd = open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let (entries, _) = sys::file::entries(dir.0, 100_000)?;
    let mut all = numbers(&entries);
    all.retain(|fd| *fd != dir.0);
    all.sort_unstable();
    Ok(all)
}
