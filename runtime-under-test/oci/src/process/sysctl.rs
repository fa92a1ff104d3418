//! `linux.sysctl`: kernel parameters of the container's own namespaces.

use crate::bail;
use crate::config::{NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io::Write;
use std::os::fd::BorrowedFd;

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The path below `/proc/sys`. As in sysctl(8) the first separator decides: `net.ipv4.conf.eth0/1.x`
/// and `net/ipv4/conf/eth0.1/x` name the same parameter.
fn path(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Refuses parameters that belong to no namespace of the container: writing them would change the host.
pub fn check(spec: &Spec, name: &str, value: &str) -> Result<()> {
    let path = path(name);
    let bad = |c: char| c == '\0' || c == '\n';
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        || name.contains(bad)
        || value.contains(bad)
    {
        bail!("linux.sysctl: {name:?} is not a valid parameter");
    }
    let kind = if path.starts_with("net/") {
        NamespaceKind::Network
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path.as_str()) {
        NamespaceKind::Ipc
    } else if path == "kernel/domainname" || path == "kernel/hostname" {
        NamespaceKind::Uts
    } else {
        bail!("linux.sysctl: {name} is not in a separate kernel namespace");
    };
    if !spec.has_namespace(kind) {
        bail!("linux.sysctl: {name} needs a {} namespace, else it would change the host", kind.file());
    }
    let (own, member) = match path.as_str() {
        "kernel/domainname" => (spec.domainname.as_ref(), "domainname"),
        "kernel/hostname" => (spec.hostname.as_ref(), "hostname"),
        _ => return Ok(()),
    };
    if own.is_some_and(|own| !own.is_empty() && own != value) {
        bail!("linux.sysctl: {name} contradicts {member}");
    }
    Ok(())
}

/// Writes the parameters through the verified procfs root `proc`.
pub fn apply<'a>(proc: BorrowedFd<'_>, list: impl Iterator<Item = (&'a String, &'a String)>) -> Result<()> {
    for (name, value) in list {
        let below = format!("sys/{}", path(name));
        let file = rustix::fs::openat2(
            proc,
            &below,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
        );
        let write = |file| std::fs::File::from(file).write_all(value.as_bytes()).map_err(Error::from);
        file.map_err(Error::from)
            .and_then(write)
            .with_context(|| format!("setting sysctl {name} to {value:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn both_separator_forms_name_one_file() {
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/1.rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
        assert_eq!(path("net/ipv4/conf/eth0.1/rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
    }
}
