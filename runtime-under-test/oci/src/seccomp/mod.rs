//! Seccomp (runtime-spec `config-linux.md`, "Seccomp"): from the `linux.seccomp` object to a loaded BPF filter.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

mod arch;
mod asm;
mod filter;
mod listener;
mod profile;
mod sys;
mod table;
#[cfg(test)]
mod tests;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, which the kernel takes only together with a listener.
const WAIT_KILLABLE_RECV: u64 = 1 << 5;

/// Why a seccomp profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile breaks a rule of the spec; `field` is its place below `linux.seccomp`.
    #[error("linux.seccomp.{field}: {why}")]
    Invalid {
        /// Place in the profile, such as `syscalls[3].args[0].op`.
        field: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The notify descriptor could not be handed to the agent.
    #[error("seccomp listener {path}: {what}: {source}")]
    Listener {
        /// The agent's socket.
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// A compiled profile: everything [`load`] needs, so that nothing is allocated between clone and exec.
#[derive(Debug, Clone)]
pub struct Program {
    /// The BPF instructions, at most 4096.
    pub filter: Vec<libc::sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*` for the system call (without `NEW_LISTENER`, which [`load`] adds).
    pub flags: u64,
    /// Whether a rule answers `SCMP_ACT_NOTIFY`, so that loading gives a listener descriptor.
    pub notify: bool,
    /// The agent's socket; always set when `notify` is.
    pub listener_path: Option<PathBuf>,
    /// Opaque text for the agent.
    pub listener_metadata: Option<String>,
}

/// Compiles the `linux.seccomp` object of a `config.json` for the machine this program was built for.
///
/// Names of calls that no kernel has are left out, as profiles list calls of many kernels. Listed architectures that
/// this machine's kernel cannot be called as are checked and need no instructions. The machine's own architecture
/// always counts as listed. `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` has effect only where a rule notifies an agent.
///
/// # Errors
/// [`Error::Invalid`] names the first field that breaks the spec.
pub fn compile(cfg: &Value) -> Result<Program, Error> {
    let profile = profile::Profile::parse(cfg)?;
    let filter = filter::compile(&profile, arch::native())?;
    let notify = profile.notifies();
    let flags = if notify { profile.flags } else { profile.flags & !WAIT_KILLABLE_RECV };
    let (listener_path, listener_metadata) = (profile.listener_path, profile.listener_metadata);
    Ok(Program { filter, flags, notify, listener_path, listener_metadata })
}

/// Installs the filter on the calling thread. Allocates nothing. The caller has `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// From here on the filter judges the caller too. What the caller still does before exec must be allowed by the
/// profile or be a `write`, which no profile may give to an agent: with a listener, write its number to the parent,
/// which fetches it with `pidfd_getfd(2)`.
///
/// # Errors
/// The errno of `seccomp(2)`.
pub fn load(program: &Program) -> io::Result<Option<OwnedFd>> {
    sys::set_filter(&program.filter, program.flags, program.notify)
}

/// Sends a `ContainerProcessState` with the notify descriptor to the agent, then closes the connection.
///
/// `state` is the container's state as the `state` command prints it; `pid` is the process's as the runtime sees it.
///
/// # Errors
/// [`Error::Listener`] with the step that failed: no such socket, not a stream socket, an agent that closes without
/// reading, or a deadline of ten seconds.
pub fn send_listener(
    path: &Path,
    fd: BorrowedFd<'_>,
    state: &Value,
    pid: libc::pid_t,
    metadata: Option<&str>,
) -> Result<(), Error> {
    listener::send(path, fd, state, pid, metadata)
}

/// The `linux.seccomp` object of the features document (runtime-spec `features-linux.md`). The same on every machine.
pub fn features() -> Value {
    let flags = profile::FLAGS.map(|(name, _)| name);
    json!({
        "enabled": true,
        "actions": profile::ACTIONS.map(|(name, _)| name),
        "operators": profile::OPERATORS.map(|(name, _)| name),
        "archs": arch::NAMES,
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}
