//! From a privileged process inside the container to the configured one: shared by the container's first
//! process and by `exec`.

use super::caps::CapSets;
use super::identity;
use super::program::Program;
use super::{rlimit, sched};
use crate::bail;
use crate::config::{Linux, Process, Rlimit, User};
use crate::error::{Context, Error, Result};
use crate::seccomp;
use crate::sys::{self, SchedAttr};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Everything about the process, resolved before the first fork so that a mistake costs nothing.
pub struct Setup {
    /// What to execute.
    pub program: Program,
    /// Ids and groups.
    pub user: User,
    /// Capability sets.
    pub caps: CapSets,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Option<seccomp::Program>,
    /// Working directory.
    pub cwd: String,
    /// Number of descriptors from 3 on that stay open.
    pub keep_fds: u32,
    /// True where `setgroups(2)` is forbidden.
    pub setgroups_denied: bool,
    rlimits: Vec<Rlimit>,
    scheduler: Option<SchedAttr>,
    io_priority: Option<u32>,
    memory_policy: Option<(u32, Vec<u64>)>,
    persona: Option<u64>,
}

impl Setup {
    /// Resolves names and compiles the filter. `strict_caps`: see [`CapSets::resolve`].
    pub fn new(process: &Process, linux: &Linux, strict_caps: bool) -> Result<Self> {
        labels(process)?;
        let seccomp = match linux.seccomp.as_ref() {
            Some(profile) => Some(seccomp::compile(profile).map_err(|e| Error::new(e.to_string()))?),
            None => None,
        };
        let args = process.args.as_ref().map_or(&[][..], Vec::as_slice);
        Ok(Self {
            program: Program::new(args, &process.env)?,
            user: process.user.clone(),
            caps: CapSets::resolve(process.capabilities.as_ref(), strict_caps)?,
            no_new_privileges: process.no_new_privileges,
            seccomp,
            cwd: process.cwd.clone(),
            keep_fds: 0,
            setgroups_denied: false,
            rlimits: process.rlimits.clone(),
            scheduler: process.scheduler.as_ref().map(sched::scheduler).transpose()?,
            io_priority: process.io_priority.as_ref().map(sched::io_priority).transpose()?,
            memory_policy: linux.memory_policy.as_ref().map(sched::memory_policy).transpose()?,
            persona: linux.personality.as_ref().map(sched::persona).transpose()?,
        })
    }

    /// Scheduling, limits and the other attributes that do not depend on the user.
    pub fn attributes(&self) -> Result<()> {
        if let Some(attr) = &self.scheduler {
            sys::sched_setattr(attr).context("process.scheduler")?;
        }
        if let Some(value) = self.io_priority {
            sys::ioprio_set_group(value).context("process.ioPriority")?;
        }
        if let Some((mode, nodes)) = &self.memory_policy {
            sys::set_mempolicy(*mode, nodes).context("linux.memoryPolicy")?;
        }
        // Before the filter: it may forbid personality(2).
        if let Some(persona) = self.persona {
            sys::personality(persona).context("linux.personality")?;
        }
        rlimit::apply(&self.rlimits)
    }

    /// Enters the working directory (made when it is missing), takes on the user and gives up privileges.
    /// Afterwards only the filter is left to load, and the capabilities too when it needs them.
    pub fn take_identity(&mut self, make_cwd: bool) -> Result<()> {
        let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if self.program.variable("HOME").is_none_or(<[u8]>::is_empty) {
            self.program.set_variable("HOME", &identity::home(root.as_fd(), self.user.uid))?;
        }
        drop(root);
        let entered = self.enter_cwd(make_cwd);
        let permitted = sys::permitted_capabilities().context("reading own capabilities")?;
        self.caps = self.caps.grantable(permitted);
        self.caps.apply_bounding()?;
        sys::prctl(libc::PR_SET_KEEPCAPS, 1).context("keeping capabilities over the change of user")?;
        identity::apply(&self.user, self.setgroups_denied)?;
        sys::prctl(libc::PR_SET_KEEPCAPS, 0)?;
        // The user may enter directories that root of a user namespace or a network file system may not.
        if entered.is_err() {
            self.enter_cwd(false)?;
        }
        if let Some(umask) = *self.user.umask {
            rustix::process::umask(Mode::from(umask));
        }
        if self.no_new_privileges {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).context("process.noNewPrivileges")?;
        }
        if self.seccomp.is_none() || self.no_new_privileges {
            return self.caps.apply();
        }
        // The change of user cleared the effective set; loading a filter needs it back for a moment.
        sys::capset(permitted, permitted, self.caps.inheritable).context("keeping privileges for the filter")
    }

    fn enter_cwd(&self, make: bool) -> Result<()> {
        let what = || format!("process.cwd {}", self.cwd);
        match rustix::process::chdir(self.cwd.as_str()) {
            Err(rustix::io::Errno::NOENT) if make => {
                std::fs::create_dir_all(&self.cwd).with_context(what)?;
                rustix::process::chdir(self.cwd.as_str()).with_context(what)?;
            }
            other => other.with_context(what)?,
        }
        // A directory outside the root (through a leaked descriptor) has no path inside it.
        match rustix::process::getcwd(Vec::new()) {
            Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
            _ => bail!("process.cwd {} is not inside the container's root", self.cwd),
        }
    }

    /// Loads the filter and gives up what only the loading needed. The descriptor is the listener's.
    pub fn load_filter(&self) -> Result<Option<OwnedFd>> {
        let Some(program) = &self.seccomp else { return Ok(None) };
        let listener = seccomp::load(program).context("loading the seccomp filter")?;
        if !self.no_new_privileges {
            self.caps.apply()?;
        }
        Ok(listener)
    }

    /// Closes everything but the standard streams and the descriptors to keep, at the moment of exec.
    pub fn seal_descriptors(&self) -> Result<()> {
        sys::cloexec_from(3).context("closing descriptors")?;
        for fd in 3..3 + self.keep_fds {
            sys::set_cloexec(fd as i32, false).with_context(|| format!("keeping descriptor {fd}"))?;
        }
        Ok(())
    }

    /// Finds the program as the user it runs as.
    pub fn find(&self) -> Result<CString> {
        self.program.find()
    }
}

/// Labels of security modules: they are applied where the module runs and are an error where it does not.
fn labels(process: &Process) -> Result<()> {
    if process.apparmor_profile.as_ref().is_some_and(|p| !p.is_empty()) && !apparmor_enabled() {
        bail!("process.apparmorProfile is set, but AppArmor is not enabled on this host");
    }
    if process.selinux_label.as_ref().is_some_and(|l| !l.is_empty()) && !selinux_enabled() {
        bail!("process.selinuxLabel is set, but SELinux is not enabled on this host");
    }
    Ok(())
}

/// True when `AppArmor` runs here.
pub fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|b| b.starts_with(b"Y"))
}

/// True when `SELinux` runs here.
pub fn selinux_enabled() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// Writes the labels that take effect at the next exec, through the verified procfs.
pub fn write_labels(proc: std::os::fd::BorrowedFd<'_>, process: &Process) -> Result<()> {
    use std::io::Write;
    let write = |path: &str, value: String| -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_XDEV;
        let file = rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve)?;
        Ok(std::fs::File::from(file).write_all(value.as_bytes())?)
    };
    if let Some(profile) = process.apparmor_profile.as_ref().filter(|p| !p.is_empty()) {
        write("self/attr/apparmor/exec", format!("exec {profile}"))
            .or_else(|_| write("self/attr/exec", format!("exec {profile}")))
            .with_context(|| format!("AppArmor profile {profile:?}"))?;
    }
    if let Some(label) = process.selinux_label.as_ref().filter(|l| !l.is_empty()) {
        write("self/attr/exec", label.clone()).with_context(|| format!("SELinux label {label:?}"))?;
    }
    Ok(())
}
