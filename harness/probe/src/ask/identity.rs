//! Who the process is: ids, capabilities, privileges, labels.
use crate::bytes::{lines, number};
use crate::names;
use crate::prelude::*;
use crate::sys::file::{read_link, slurp};

/// Three ids as the kernel writes them.
fn three(
    call: impl FnOnce(&mut [u8; 4], &mut [u8; 4], &mut [u8; 4]) -> Result<i64, i32>,
) -> Result<[u32; 3], i32> {
    let (mut a, mut b, mut c) = ([0; 4], [0; 4], [0; 4]);
    call(&mut a, &mut b, &mut c)?;
    Ok([a, b, c].map(u32::from_ne_bytes))
}

fn groups() -> Result<Vec<u32>, i32> {
    let mut buffer = vec![0; 65_536 * 4];
    let count = sc!(SYS_getgroups, 65_536, buffer.as_mut_slice())? as usize;
    Ok((0..count).map(|n| Reader(&buffer).u32(n * 4)).collect())
}

pub fn identity(_: &mut Cx, _: &Step) -> Answer {
    let uid = three(|a, b, c| sc!(SYS_getresuid, a, b, c)).what("getresuid")?;
    let gid = three(|a, b, c| sc!(SYS_getresgid, a, b, c)).what("getresgid")?;
    // Both calls give the present id and change nothing for an id that is none. Not every kernel has them.
    let fsuid = sc!(SYS_setfsuid, -1).ok().or_else(|| status_id("Uid"));
    let fsgid = sc!(SYS_setfsgid, -1).ok().or_else(|| status_id("Gid"));
    Ok(json!({
        "pid": sys::process::pid(), "ppid": sc!(SYS_getppid).what("getppid")?,
        "uid": uid[0], "euid": uid[1], "suid": uid[2], "fsuid": fsuid,
        "gid": gid[0], "egid": gid[1], "sgid": gid[2], "fsgid": fsgid,
        "groups": groups().what("getgroups")?,
        "sid": sc!(SYS_getsid, 0).what("getsid")?, "pgid": sc!(SYS_getpgid, 0).what("getpgid")?,
        "tty_nr": stat_field(7),
    }))
}

/// The file-system id in a line of /proc/self/status: the last of its four.
fn status_id(key: &str) -> Option<i64> {
    number(status_line(&slurp("/proc/self/status").ok()?, key)?.split(|&b| b == b'\t').next_back()?)
}

/// A number of /proc/self/stat by its number in proc(5); null where /proc is not mounted.
fn stat_field(field: usize) -> Option<i64> {
    let stat = slurp("/proc/self/stat").ok()?;
    let after_comm = stat.rsplit(|&b| b == b')').next()?;
    // What follows the command begins with a blank and field 3.
    number(after_comm.split(|&b| b == b' ').nth(field - 2)?)
}

fn cap_set(mask: u64) -> Value {
    let names: Vec<_> = (0..64).filter(|n| mask >> n & 1 == 1).map(names::capability).collect();
    json!({ "names": names, "hex": format!("{mask:016x}") })
}

/// The bits for which prctl(option, capability) says 1; the first unknown capability ends the search.
fn prctl_set(option: i32, first: i32) -> u64 {
    let mut mask = 0;
    for cap in 0..64 {
        let answer =
            if first < 0 { sc!(SYS_prctl, option, cap) } else { sc!(SYS_prctl, option, first, cap, 0, 0) };
        match answer {
            Ok(1) => mask |= 1 << cap,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    mask
}

pub fn caps(_: &mut Cx, _: &Step) -> Answer {
    // _LINUX_CAPABILITY_VERSION_3, this process.
    let mut header = [0; 8];
    header[..4].copy_from_slice(&0x2008_0522_u32.to_ne_bytes());
    let mut data = [0; 24];
    sc!(SYS_capget, &mut header, &mut data).what("capget")?;
    let data = Reader(&data);
    let mask = |field: usize| u64::from(data.u32(field * 4)) | u64::from(data.u32(12 + field * 4)) << 32;
    let securebits = sc!(SYS_prctl, libc::PR_GET_SECUREBITS).ok();
    Ok(json!({
        "effective": cap_set(mask(0)), "permitted": cap_set(mask(1)), "inheritable": cap_set(mask(2)),
        "bounding": cap_set(prctl_set(libc::PR_CAPBSET_READ, -1)),
        "ambient": cap_set(prctl_set(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET)),
        "securebits": securebits,
    }))
}

pub fn no_new_privs(_: &mut Cx, _: &Step) -> Answer {
    let value = sc!(SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).what("prctl PR_GET_NO_NEW_PRIVS")?;
    Ok(json!({ "no_new_privs": value == 1 }))
}

/// What follows `KEY:` in the text of /proc/self/status.
fn status_line<'a>(status: &'a [u8], key: &str) -> Option<&'a [u8]> {
    lines(status).into_iter().find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
}

/// A number in /proc/self/status.
fn status(key: &str) -> Option<u64> {
    number(status_line(&slurp("/proc/self/status").ok()?, key)?)
}

pub fn seccomp(_: &mut Cx, _: &Step) -> Answer {
    // /proc first: a filter may refuse the prctl itself.
    let mode = match status("Seccomp") {
        Some(mode) => mode as i64,
        None => sc!(SYS_prctl, libc::PR_GET_SECCOMP).what("prctl PR_GET_SECCOMP")?,
    };
    Ok(json!({ "mode": mode, "filters": status("Seccomp_filters") }))
}

fn id_map(path: &str) -> Answer {
    let bytes = slurp(path)?;
    let row = |line: &[u8]| -> Vec<u64> {
        line.split(|&b| b == b' ').filter(|word| !word.is_empty()).filter_map(number).collect()
    };
    Ok(lines(&bytes).into_iter().map(row).collect())
}

pub fn id_maps(_: &mut Cx, _: &Step) -> Answer {
    let groups = slurp("/proc/self/setgroups").ok().map(|bytes| text(bytes.trim_ascii()));
    Ok(json!({
        "uid_map": id_map("/proc/self/uid_map")?, "gid_map": id_map("/proc/self/gid_map")?, "setgroups": groups,
    }))
}

pub fn label(_: &mut Cx, _: &Step) -> Answer {
    let read = |name: &str| match slurp(&format!("/proc/self/attr/{name}")) {
        Ok(bytes) => {
            json!({ "label": text(bytes.trim_ascii_end().strip_suffix(b"\0").unwrap_or(bytes.trim_ascii_end())) })
        }
        Err(fail) => json!({ "errno": fail.errno, "error": fail.message() }),
    };
    Ok(json!({ "current": read("current"), "exec": read("exec"), "apparmor": read("apparmor/current") }))
}

pub fn namespaces(_: &mut Cx, _: &Step) -> Answer {
    let (entries, _) = sys::file::list(c"/proc/self/ns", 64).what("list /proc/self/ns")?;
    let mut ns = Map::new();
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let path = crate::step::c_string(&format!("/proc/self/ns/{name}"))?;
        ns.insert(name, read_link(&path).map_or(Value::Null, |target| text(&target)));
    }
    let offsets = slurp("/proc/self/timens_offsets").ok().map(|bytes| {
        let mut map = Map::new();
        for line in lines(&bytes) {
            let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
            let clock =
                words.next().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
            map.insert(clock, words.filter_map(number::<i64>).collect());
        }
        map
    });
    Ok(json!({ "ns": ns, "timens_offsets": offsets }))
}

/// The prctl(2) settings that are read without an argument: name, option.
const PRCTL_GET: &[(&str, i32)] = &[
    ("dumpable", libc::PR_GET_DUMPABLE),
    ("keepcaps", libc::PR_GET_KEEPCAPS),
    ("no_new_privs", libc::PR_GET_NO_NEW_PRIVS),
    ("timerslack_ns", libc::PR_GET_TIMERSLACK),
    ("thp_disable", libc::PR_GET_THP_DISABLE),
    ("mdwe", libc::PR_GET_MDWE),
    ("io_flusher", 58),
    ("speculation_store_bypass", libc::PR_GET_SPECULATION_CTRL),
];

/// Those that are written through a pointer.
const PRCTL_GET_INT: &[(&str, i32)] =
    &[("pdeathsig", libc::PR_GET_PDEATHSIG), ("child_subreaper", libc::PR_GET_CHILD_SUBREAPER)];

pub fn prctl(_: &mut Cx, step: &Step) -> Answer {
    if let Some(option) = step.opt_int("option")? {
        let arg = |key| step.int_or(key, 0);
        let ret = sc!(SYS_prctl, option, arg("arg2")?, arg("arg3")?, arg("arg4")?, arg("arg5")?);
        return ret.map(|ret| json!({ "ret": ret })).what(format_args!("prctl {option}"));
    }
    let mut map = Map::new();
    for (name, option) in PRCTL_GET {
        map.insert((*name).to_owned(), sc!(SYS_prctl, *option, 0, 0, 0, 0).ok().into());
    }
    for (name, option) in PRCTL_GET_INT {
        let mut value = [0; 4];
        let got = sc!(SYS_prctl, *option, &mut value, 0, 0, 0).ok().map(|_| i32::from_ne_bytes(value));
        map.insert((*name).to_owned(), got.into());
    }
    let mut name = [0; 16];
    let got = sc!(SYS_prctl, libc::PR_GET_NAME, &mut name, 0, 0, 0);
    map.insert("name".to_owned(), got.map_or(Value::Null, |_| text(Reader(&name).c_str(0, 16))));
    Ok(Value::Object(map))
}
