//! Other places for a run than this process's own environment: a throw-away virtual machine, and the node below a
//! container.
//!
//! The host boots qemu with a given kernel and a root file system in the initramfs, together with this same
//! executable. In the guest the executable is process 1: it moves the root file system to a tmpfs, mounts what a
//! system has mounted, runs one command of `plimsoll`, and sends output, result files and exit code to the host over
//! a serial line. Then it powers off. Nothing is written on the host but the results: the initramfs is a file
//! without a name, qemu dies with its parent, and every phase has a deadline.

pub mod cpio;
pub mod debian;
pub mod frame;
pub mod guest;
pub mod image;
pub mod job;
pub mod node;
pub mod qemu;
pub mod receive;
pub mod root;
pub mod run;
pub mod sonobuoy;
mod sys;

pub use image::Image;
pub use job::{CgroupLayout, Job};
pub use run::{Deadlines, Options, Report, run};

use std::path::{Path, PathBuf};

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// Why a virtual machine could not be built, booted, or believed.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A file or directory could not be used.
    #[error("cannot {verb} {}: {error}", path.display())]
    File {
        /// What was tried: `read`, `write`, ...
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The image or the options do not make sense.
    #[error("{0}")]
    Usage(String),
    /// A helper program failed.
    #[error("`{program}` failed: {why}")]
    Program {
        /// Its name.
        program: String,
        /// Exit status and the end of what it said.
        why: String,
    },
    /// The machine did not do what it should in time, or ended early.
    #[error("{what}; the end of its console:\n{console}")]
    Machine {
        /// What went wrong.
        what: String,
        /// The last lines of the console.
        console: String,
    },
    /// What came over the channel is damaged.
    #[error("the channel from the virtual machine is damaged: {0}")]
    Channel(String),
}

impl VmError {
    /// A file error, curried for `map_err`.
    pub fn file(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { verb, path, error }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check the path and its permissions",
            Self::Usage(_) => {
                "`plimsoll vm build DIR` makes an image; `plimsoll vm run --help` lists the options"
            }
            Self::Program { .. } => "install it, or name another one with the matching option",
            Self::Machine { .. } => {
                "give more --memory or --timeout, or read all of the console with --console FILE"
            }
            Self::Channel(_) => "run again; when it happens again, read the console with --console FILE",
        }
    }
}
