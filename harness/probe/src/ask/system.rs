//! What the process was given and what it sees of the system: arguments, environment, host name, processes, clocks.
use crate::bytes::{lines, number};
use crate::prelude::*;
use crate::sys::file::{read_link, slurp};
use crate::sys::time::now;

pub fn env(_: &mut Cx, _: &Step) -> Answer {
    Ok(json!({ "env": sys::environment().into_iter().map(text).collect::<Vec<_>>() }))
}

pub fn argv(_: &mut Cx, _: &Step) -> Answer {
    Ok(json!({ "argv": sys::args().into_iter().map(text).collect::<Vec<_>>() }))
}

pub fn cwd(_: &mut Cx, _: &Step) -> Answer {
    let mut buffer = vec![0; 8192];
    let cwd = match sc!(SYS_getcwd, buffer.as_mut_slice(), 8192) {
        Ok(length) => text(Reader(&buffer).c_str(0, length as usize)),
        Err(errno) => return Err(Fail::new(errno, "getcwd")),
    };
    let link = read_link(c"/proc/self/cwd").map_or(Value::Null, |target| text(&target));
    let here = super::files::statx(libc::AT_FDCWD, c".", 0).what("stat .")?;
    Ok(json!({ "cwd": cwd, "link": link, "dev": here["dev"], "ino": here["ino"] }))
}

/// The fields of utsname, each 65 bytes.
const UTSNAME: [&str; 6] = ["sysname", "nodename", "release", "version", "machine", "domainname"];

pub fn uname(_: &mut Cx, _: &Step) -> Answer {
    let mut buffer = [0; 390];
    sc!(SYS_uname, &mut buffer).what("uname")?;
    let field = |(n, name): (usize, &&str)| ((*name).to_owned(), text(Reader(&buffer).c_str(n * 65, 65)));
    Ok(Value::Object(UTSNAME.iter().enumerate().map(field).collect()))
}

/// Both from uname(2) and from /proc/sys, which need not agree in a broken container.
fn uts_name(name: &str, field: &str, cx: &mut Cx, step: &Step) -> Answer {
    let from_uname = uname(cx, step)?[field].clone();
    let proc = slurp(&format!("/proc/sys/kernel/{name}")).ok().map(|bytes| text(bytes.trim_ascii_end()));
    let mut map = Map::new();
    map.insert(name.to_owned(), from_uname);
    map.insert("proc".to_owned(), proc.into());
    Ok(Value::Object(map))
}

pub fn hostname(cx: &mut Cx, step: &Step) -> Answer {
    uts_name("hostname", "nodename", cx, step)
}

pub fn domainname(cx: &mut Cx, step: &Step) -> Answer {
    uts_name("domainname", "domainname", cx, step)
}

/// `net.ipv4.ip_forward`, or with slashes for names that hold dots (sysctl(8)).
pub fn sysctl(_: &mut Cx, step: &Step) -> Answer {
    let name = step.str("name")?;
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let bytes = slurp(&format!("/proc/sys/{path}"))?;
    Ok(json!({ "name": name, "value": text(bytes.trim_ascii_end()) }))
}

pub fn cgroups(_: &mut Cx, _: &Step) -> Answer {
    let bytes = slurp("/proc/self/cgroup")?;
    Ok(json!({ "lines": lines(&bytes).into_iter().map(text).collect::<Vec<_>>() }))
}

/// The clocks: their ids are those of `clock_gettime(2)`.
pub fn time(_: &mut Cx, _: &Step) -> Answer {
    Ok(json!({
        "realtime_ns": now(libc::CLOCK_REALTIME), "monotonic_ns": now(libc::CLOCK_MONOTONIC),
        "boottime_ns": now(libc::CLOCK_BOOTTIME),
    }))
}

pub fn stamp(_: &mut Cx, _: &Step) -> Answer {
    Ok(json!({ "start_ns": sys::start_ns(), "now_ns": now(libc::CLOCK_MONOTONIC) }))
}

/// The signals that are blocked, ignored and caught, as the runtime left them.
pub fn sigstate(_: &mut Cx, _: &Step) -> Answer {
    let (mut ignored, mut caught) = (0, 0);
    for signal in 1..=64 {
        match sys::signal::disposition(signal) {
            Ok(0) | Err(_) => {}
            Ok(1) => ignored |= sys::signal::bit(signal),
            Ok(_) => caught |= sys::signal::bit(signal),
        }
    }
    let names = sys::signal::names;
    Ok(json!({ "blocked": names(sys::signal::mask()), "ignored": names(ignored), "caught": names(caught) }))
}

/// Command, state and parent of a process, from /proc/PID/stat: the command is in the outermost parentheses.
fn process(pid: i64) -> Option<Value> {
    let stat = slurp(&format!("/proc/{pid}/stat")).ok()?;
    let open = stat.iter().position(|&b| b == b'(')?;
    let close = stat.iter().rposition(|&b| b == b')')?;
    let comm = stat.get(open + 1..close)?;
    let mut rest = stat.get(close + 2..)?.split(|&b| b == b' ');
    let state = text(rest.next()?);
    let mut id = || rest.next().and_then(number::<i64>);
    Some(json!({ "pid": pid, "comm": text(comm), "state": state, "ppid": id(), "pgid": id(), "sid": id() }))
}

pub fn procs(_: &mut Cx, step: &Step) -> Answer {
    let max = step.size_or("max", 1000, 100_000)?;
    // What is no process in /proc is at most a few hundred entries.
    let (entries, more) = sys::file::list(c"/proc", max.saturating_add(1000)).what("list /proc")?;
    let mut pids: Vec<i64> = entries.iter().filter_map(|entry| number(&entry.name)).collect();
    pids.sort_unstable();
    let more = more || pids.len() > max;
    pids.truncate(max);
    Ok(json!({ "procs": pids.into_iter().filter_map(process).collect::<Vec<_>>(), "truncated": more }))
}

pub fn pid1(_: &mut Cx, _: &Step) -> Answer {
    let cmdline = slurp("/proc/1/cmdline")?;
    let words = cmdline.strip_suffix(b"\0").unwrap_or(&cmdline);
    let argv: Vec<_> =
        if words.is_empty() { Vec::new() } else { words.split(|&b| b == 0).map(text).collect() };
    let comm = slurp("/proc/1/comm")?;
    let exe = read_link(c"/proc/1/exe").map_or(Value::Null, |target| text(&target));
    Ok(json!({ "argv": argv, "comm": text(comm.trim_ascii_end()), "exe": exe }))
}

pub fn self_exe(_: &mut Cx, _: &Step) -> Answer {
    let link = read_link(c"/proc/self/exe").map_or(Value::Null, |target| text(&target));
    let mut stat = super::files::statx(libc::AT_FDCWD, c"/proc/self/exe", 0).what("stat /proc/self/exe")?;
    stat["link"] = link;
    Ok(stat)
}

/// The session keyring and what the kernel says of it (keyctl(2)).
pub fn keyring(_: &mut Cx, _: &Step) -> Answer {
    // KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, do not create.
    let id = sc!(SYS_keyctl, 0, -3, 0).what("keyctl KEYCTL_GET_KEYRING_ID")?;
    Ok(json!({ "id": id, "description": describe(id).unwrap_or_else(|fail| fail.message().into()) }))
}

pub fn key(_: &mut Cx, step: &Step) -> Answer {
    let id = step.int("id")?;
    Ok(json!({ "id": id, "description": describe(id)? }))
}

fn describe(id: i64) -> Answer {
    let mut buffer = vec![0; 4096];
    // KEYCTL_DESCRIBE
    let length = sc!(SYS_keyctl, 6, id, buffer.as_mut_slice(), 4096)
        .what(format_args!("keyctl KEYCTL_DESCRIBE {id}"))?;
    Ok(text(Reader(&buffer).c_str(0, length as usize)))
}

/// A System V shared memory segment: shows whether two containers share an IPC namespace.
pub fn ipc_create(_: &mut Cx, step: &Step) -> Answer {
    let (key, size) = (step.int("key")?, step.size_or("size", 4096, 1 << 30)?);
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | step.mode("mode", 0o600)? as i32;
    let id = sc!(SYS_shmget, key, size, flags).what(format_args!("shmget key {key}"))?;
    Ok(json!({ "id": id, "key": key }))
}

fn shm_id(step: &Step) -> Result<i64, Fail> {
    let key = step.int("key")?;
    sc!(SYS_shmget, key, 0, 0).what(format_args!("shmget key {key}"))
}

pub fn ipc_stat(_: &mut Cx, step: &Step) -> Answer {
    let id = shm_id(step)?;
    let mut ds = [0; 256];
    sc!(SYS_shmctl, id, libc::IPC_STAT, &mut ds).what("shmctl IPC_STAT")?;
    let ds = Reader(&ds);
    // struct shmid64_ds of 64-bit kernels: ipc64_perm is 48 bytes, then size, three times, cpid, lpid, nattch.
    Ok(json!({
        "id": id, "uid": ds.u32(4), "gid": ds.u32(8), "mode": ds.u32(20) & 0o777, "size": ds.u64(48),
        "cpid": ds.i32(80), "nattch": ds.u64(88),
    }))
}

pub fn ipc_remove(_: &mut Cx, step: &Step) -> Answer {
    let id = shm_id(step)?;
    sc!(SYS_shmctl, id, libc::IPC_RMID, 0).what("shmctl IPC_RMID")?;
    Ok(json!({ "id": id }))
}
