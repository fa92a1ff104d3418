//! Seccomp (runtime-spec `config-linux.md`, "Seccomp"): from the `linux.seccomp` object to a loaded BPF filter.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::Value;

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
/// # Errors
/// [`Error::Invalid`] names the first field that breaks the spec.
pub fn compile(cfg: &Value) -> Result<Program, Error> {
    let _ = cfg;
    Err(Error::Invalid { field: String::new(), why: "not built yet".into() })
}

/// Installs the filter on the calling thread. Allocates nothing. The caller has `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// # Errors
/// The errno of `seccomp(2)`.
pub fn load(program: &Program) -> io::Result<Option<OwnedFd>> {
    let _ = program;
    Err(io::ErrorKind::Unsupported.into())
}

/// Sends a `ContainerProcessState` with the notify descriptor to the agent, then closes the connection.
///
/// # Errors
/// [`Error::Listener`] with the step that failed; bounded by a deadline of ten seconds.
pub fn send_listener(
    path: &Path,
    fd: BorrowedFd<'_>,
    state: &Value,
    pid: libc::pid_t,
    metadata: Option<&str>,
) -> Result<(), Error> {
    let _ = (fd, state, pid, metadata);
    Err(Error::Listener { path: path.into(), what: "connect", source: io::ErrorKind::Unsupported.into() })
}

/// The `linux.seccomp` object of the features document.
pub fn features() -> Value {
    Value::Null
}
