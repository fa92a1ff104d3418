//! Which namespaces are made, which are joined, and in what order (config-linux.md "Namespaces").

use crate::bail;
use crate::config::{NamespaceKind, Spec, TimeOffset};
use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// The namespaces of one container.
pub struct Plan {
    /// `CLONE_NEW*` of the namespaces to make.
    pub create: i32,
    /// Open files of the namespaces to join.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
}

impl Plan {
    /// Opens the namespaces to join ("the runtime MUST generate an error if path is not associated with a
    /// namespace of type type").
    pub fn new(spec: &Spec) -> Result<Self> {
        let mut plan = Self { create: 0, join: Vec::new() };
        for n in &spec.linux.namespaces {
            let Some(path) = &n.path else {
                plan.create |= n.kind.flag();
                continue;
            };
            let what = || format!("namespace {} of type {}", path, n.kind.file());
            let fd = rustix::fs::openat(
                CWD,
                path,
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
                Mode::empty(),
            )
            .with_context(what)?;
            match sys::namespace_type(fd.as_fd()) {
                Ok(kind) if kind == n.kind.flag() => plan.join.push((n.kind, fd)),
                Ok(_) => bail!("{}: it is of another type", what()),
                Err(_) => bail!("{}: it is no namespace", what()),
            }
        }
        Ok(plan)
    }

    /// True when this type will be new.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.create & kind.flag() != 0
    }

    /// True when this type will be joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|(k, _)| *k == kind)
    }

    /// True when the process has to join before it makes the new ones, so that another one is in between:
    /// new namespaces belong to the user namespace in which they are made, and joining needs privilege in
    /// the one that owns what is joined.
    pub fn needs_stage(&self) -> bool {
        let others = self.join.iter().any(|(k, _)| !matches!(k, NamespaceKind::Pid | NamespaceKind::User));
        let made = self.create & !libc::CLONE_NEWCGROUP;
        (self.joins(NamespaceKind::User) && made != 0) || (self.makes(NamespaceKind::User) && others)
    }

    /// Flags for clone3: the cgroup namespace is made once the process is in its cgroup, the time namespace
    /// by the runtime, which has to write the offsets before anybody is in it.
    pub fn clone_flags(&self) -> u64 {
        (self.create & !(libc::CLONE_NEWCGROUP | libc::CLONE_NEWTIME)) as u64
    }

    /// Joins all but the PID namespace (the runtime did that before the fork). What needs the privilege of
    /// the joined user namespace comes after it.
    pub fn enter(&self) -> Result<()> {
        let join = |(kind, fd): &(NamespaceKind, OwnedFd)| {
            sys::setns(fd.as_fd(), kind.flag())
                .with_context(|| format!("joining the {} namespace", kind.file()))
        };
        let mut others: Vec<&(NamespaceKind, OwnedFd)> = self
            .join
            .iter()
            .filter(|(k, _)| !matches!(k, NamespaceKind::Pid | NamespaceKind::User))
            .collect();
        // The mount namespace last: it changes what paths mean.
        others.sort_by_key(|(k, _)| *k == NamespaceKind::Mount);
        let Some(user) = self.join.iter().find(|(k, _)| *k == NamespaceKind::User) else {
            return others.into_iter().try_for_each(join);
        };
        let later: Vec<_> = others.into_iter().filter(|n| join(n).is_err()).collect();
        join(user)?;
        later.into_iter().try_for_each(join)
    }
}

/// Namespaces that the runtime itself enters for its next child, because only children get them. Dropping
/// it brings the runtime back.
pub struct Lent {
    back: Vec<(NamespaceKind, OwnedFd)>,
}

impl Lent {
    /// Enters the PID namespace to join and makes the time namespace with its offsets.
    pub fn enter(plan: &Plan, offsets: &BTreeMap<String, TimeOffset>) -> Result<Self> {
        let mut lent = Self { back: Vec::new() };
        if let Some((kind, fd)) = plan.join.iter().find(|(k, _)| *k == NamespaceKind::Pid) {
            lent.remember(*kind)?;
            sys::setns(fd.as_fd(), kind.flag()).context("joining the pid namespace")?;
        }
        if plan.makes(NamespaceKind::Time) && !plan.makes(NamespaceKind::User) {
            lent.remember(NamespaceKind::Time)?;
            new_time_namespace(offsets)?;
        }
        Ok(lent)
    }

    fn remember(&mut self, kind: NamespaceKind) -> Result<()> {
        let own = File::open(format!("/proc/self/ns/{}", kind.file())).context("own namespace")?;
        self.back.push((kind, own.into()));
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        for (kind, fd) in &self.back {
            if let Err(e) = sys::setns(fd.as_fd(), kind.flag()) {
                crate::log::warn(&format!("returning to the runtime's own {} namespace: {e}", kind.file()));
            }
        }
    }
}

/// Makes a time namespace for the children (or the next exec) of this process and sets its clocks.
pub fn new_time_namespace(offsets: &BTreeMap<String, TimeOffset>) -> Result<()> {
    sys::unshare(libc::CLONE_NEWTIME).context("making the time namespace")?;
    if offsets.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (clock, offset) in offsets {
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    let mut file = File::options().write(true).open("/proc/self/timens_offsets").context("timens_offsets")?;
    file.write_all(text.as_bytes()).map_err(Error::from).context("setting linux.timeOffsets")
}
