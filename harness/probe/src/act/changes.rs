//! Steps that change the process or what it sees. Whether the kernel allows it is the fact.
use crate::names::{self, Flag};
use crate::prelude::*;

pub fn setuid(_: &mut Cx, step: &Step) -> Answer {
    let uid = step.int("uid")?;
    match (step.opt_int("euid")?, step.opt_int("suid")?) {
        (None, None) => sc!(SYS_setuid, uid).what(format_args!("setuid {uid}"))?,
        (euid, suid) => {
            let (euid, suid) = (euid.unwrap_or(-1), suid.unwrap_or(-1));
            sc!(SYS_setresuid, uid, euid, suid).what(format_args!("setresuid {uid} {euid} {suid}"))?
        }
    };
    Ok(json!({}))
}

pub fn setgid(_: &mut Cx, step: &Step) -> Answer {
    let gid = step.int("gid")?;
    match (step.opt_int("egid")?, step.opt_int("sgid")?) {
        (None, None) => sc!(SYS_setgid, gid).what(format_args!("setgid {gid}"))?,
        (egid, sgid) => {
            let (egid, sgid) = (egid.unwrap_or(-1), sgid.unwrap_or(-1));
            sc!(SYS_setresgid, gid, egid, sgid).what(format_args!("setresgid {gid} {egid} {sgid}"))?
        }
    };
    Ok(json!({}))
}

pub fn setgroups(_: &mut Cx, step: &Step) -> Answer {
    let list = step.list("groups");
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = list.iter().map(|value| id(value)).collect();
    let ids = ids.ok_or_else(|| Fail::script("`groups` must hold group ids"))?;
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
    sc!(SYS_setgroups, ids.len(), bytes.as_slice()).what("setgroups")?;
    Ok(json!({}))
}

pub fn setsid(_: &mut Cx, _: &Step) -> Answer {
    Ok(json!({ "sid": sc!(SYS_setsid).what("setsid")? }))
}

pub fn set_umask(_: &mut Cx, step: &Step) -> Answer {
    let before = sc!(SYS_umask, step.mode("mask", 0o022)?).what("umask")?;
    Ok(json!({ "before": before }))
}

pub fn set_rlimit(_: &mut Cx, step: &Step) -> Answer {
    let name = step.str("resource")?;
    let resource = names::RLIMITS.iter().position(|known| *known == name);
    let resource = resource.ok_or_else(|| Fail::script(format_args!("unknown resource {name}")))?;
    let limit = [step.int("cur")?.to_ne_bytes(), step.int("max")?.to_ne_bytes()].concat();
    sc!(SYS_prlimit64, 0, resource, limit.as_slice(), 0).what(format_args!("prlimit {name}"))?;
    Ok(json!({}))
}

pub fn kill(_: &mut Cx, step: &Step) -> Answer {
    let pid = step.int("pid")?;
    let signal = names::signal_number(step.get("signal").unwrap_or(&Value::from(0)))?;
    sc!(SYS_kill, pid, signal).what(format_args!("kill {pid}"))?;
    Ok(json!({}))
}

pub fn close(_: &mut Cx, step: &Step) -> Answer {
    let fd = step.int("fd")?;
    sc!(SYS_close, fd).what(format_args!("close {fd}"))?;
    Ok(json!({}))
}

pub fn chdir(_: &mut Cx, step: &Step) -> Answer {
    sc!(SYS_chdir, &step.c_string("path")?).what(format_args!("chdir {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn chroot(_: &mut Cx, step: &Step) -> Answer {
    sc!(SYS_chroot, &step.c_string("path")?).what(format_args!("chroot {}", step.str("path")?))?;
    Ok(json!({}))
}

const NAMESPACES: &[Flag] = &[
    ("mount", libc::CLONE_NEWNS as u64),
    ("mnt", libc::CLONE_NEWNS as u64),
    ("uts", libc::CLONE_NEWUTS as u64),
    ("ipc", libc::CLONE_NEWIPC as u64),
    ("user", libc::CLONE_NEWUSER as u64),
    ("pid", libc::CLONE_NEWPID as u64),
    ("net", libc::CLONE_NEWNET as u64),
    ("network", libc::CLONE_NEWNET as u64),
    ("cgroup", libc::CLONE_NEWCGROUP as u64),
    ("time", 0x80),
    ("fs", libc::CLONE_FS as u64),
    ("files", libc::CLONE_FILES as u64),
];

pub fn unshare(_: &mut Cx, step: &Step) -> Answer {
    sc!(SYS_unshare, step.flags("flags", NAMESPACES)?).what("unshare")?;
    Ok(json!({}))
}

pub fn setns(_: &mut Cx, step: &Step) -> Answer {
    let (name, path) = (step.str("path")?, step.c_string("path")?);
    let kind = step.flags("type", NAMESPACES)?;
    let fd = sys::file::open(&path, libc::O_RDONLY, 0).what(format_args!("open {name}"))?;
    sc!(SYS_setns, fd.0, kind).what(format_args!("setns {name}"))?;
    Ok(json!({}))
}

const MOUNT_FLAGS: &[Flag] = &[
    ("ro", libc::MS_RDONLY),
    ("nosuid", libc::MS_NOSUID),
    ("nodev", libc::MS_NODEV),
    ("noexec", libc::MS_NOEXEC),
    ("sync", libc::MS_SYNCHRONOUS),
    ("remount", libc::MS_REMOUNT),
    ("mandlock", libc::MS_MANDLOCK),
    ("dirsync", libc::MS_DIRSYNC),
    ("noatime", libc::MS_NOATIME),
    ("nodiratime", libc::MS_NODIRATIME),
    ("bind", libc::MS_BIND),
    ("rbind", libc::MS_BIND | libc::MS_REC),
    ("move", libc::MS_MOVE),
    ("rec", libc::MS_REC),
    ("silent", libc::MS_SILENT),
    ("unbindable", libc::MS_UNBINDABLE),
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("relatime", libc::MS_RELATIME),
    ("strictatime", libc::MS_STRICTATIME),
];

/// A string, or a null pointer.
fn pointer(text: Option<&CString>) -> Arg<'_> {
    text.map_or(0.into(), Arg::from)
}

pub fn mount(_: &mut Cx, step: &Step) -> Answer {
    let text = |key: &str| -> Result<Option<CString>, Fail> {
        step.opt_str(key)?.map(crate::step::c_string).transpose()
    };
    let (source, fstype, data) = (text("source")?, text("fstype")?, text("data")?);
    let (name, target) = (step.str("target")?, step.c_string("target")?);
    let flags = step.flags("flags", MOUNT_FLAGS)?;
    let args = [
        pointer(source.as_ref()),
        (&target).into(),
        pointer(fstype.as_ref()),
        flags.into(),
        pointer(data.as_ref()),
    ];
    sys::call(libc::SYS_mount, &args).what(format_args!("mount {name}"))?;
    Ok(json!({}))
}

const UMOUNT_FLAGS: &[Flag] = &[
    ("force", libc::MNT_FORCE as u64),
    ("detach", libc::MNT_DETACH as u64),
    ("expire", libc::MNT_EXPIRE as u64),
    ("nofollow", libc::UMOUNT_NOFOLLOW as u64),
];

pub fn umount(_: &mut Cx, step: &Step) -> Answer {
    let flags = step.flags("flags", UMOUNT_FLAGS)?;
    sc!(SYS_umount2, &step.c_string("path")?, flags).what(format_args!("umount {}", step.str("path")?))?;
    Ok(json!({}))
}

pub fn set_hostname(_: &mut Cx, step: &Step) -> Answer {
    let name = step.str("name")?;
    sc!(SYS_sethostname, name.as_bytes(), name.len()).what(format_args!("sethostname {name}"))?;
    Ok(json!({}))
}

pub fn set_domainname(_: &mut Cx, step: &Step) -> Answer {
    let name = step.str("name")?;
    sc!(SYS_setdomainname, name.as_bytes(), name.len()).what(format_args!("setdomainname {name}"))?;
    Ok(json!({}))
}
