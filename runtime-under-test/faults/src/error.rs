//! What can go wrong in the wrapper itself. The exit status is then 125, which no runtime uses.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Exit status for trouble of the wrapper's own.
pub const TROUBLE: u8 = 125;

/// Trouble of the wrapper, as opposed to a failure of the runtime or an injected one.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The command line is wrong.
    #[error(
        "{0}\nusage: plimsoll-faults [--fault ID] [--target PATH] [--target-arg ARG]... [--] RUNTIME-ARGS...\n       plimsoll-faults --list [--json] | --explain ID\n       plimsoll-faults cri-proxy --listen SOCKET --upstream SOCKET [--fault ID]...\n       (or set PLIMSOLL_FAULT and PLIMSOLL_FAULT_TARGET)"
    )]
    Usage(String),
    /// The fault is not known.
    #[error("there is no fault {0:?}; `plimsoll-faults --list` names them all")]
    UnknownFault(String),
    /// The fault cannot be injected by the wrapper.
    #[error("fault {id} cannot be injected by the wrapper: {why}")]
    NotHere {
        /// Its id.
        id: String,
        /// Who can.
        why: String,
    },
    /// The wrapped runtime cannot be started.
    #[error("cannot start the wrapped runtime {program}: {source}; name it by --target or PLIMSOLL_FAULT_TARGET", program = program.display())]
    Target {
        /// Its program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A call on the side did not end.
    #[error("the wrapped runtime did not end `{words}` within {limit:?} and was killed")]
    Auxiliary {
        /// The limit.
        limit: Duration,
        /// The call.
        words: String,
    },
    /// A file could not be replaced for the runtime.
    #[error("cannot show the runtime an edited {path}: {doing}: {source}; this needs root and a private mount namespace", path = path.display())]
    Carrier {
        /// The file.
        path: PathBuf,
        /// The failing step.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// The cause.
        source: io::Error,
    },
}

impl Trouble {
    /// Wraps an I/O error with what was tried.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Trouble {
        Trouble::Io { doing: doing.into(), source }
    }
}
