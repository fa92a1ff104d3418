//! What the server and a pod's monitor say to each other: one JSON line per message; descriptors
//! travel beside the line. After `Attach` the connection carries frames instead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the monitor is told at its start, as one JSON document on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct PodSpec {
    /// Where the monitor listens.
    pub socket: PathBuf,
    /// The pod's state directory; the sandbox process gets its empty root there.
    pub dir: PathBuf,
    /// Host name for a new UTS namespace; `None` stays with the host's.
    pub hostname: Option<String>,
    /// Own network namespace.
    pub network: bool,
    /// Own IPC namespace.
    pub ipc: bool,
    /// Own pid namespace, for containers to share.
    pub pid: bool,
    /// Lines of `uid_map`; empty for no user namespace.
    pub uid_map: String,
    /// Lines of `gid_map`.
    pub gid_map: String,
    /// Written inside the new namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// User of the sandbox process.
    pub uid: u32,
    /// Group of the sandbox process.
    pub gid: u32,
    /// Further groups of the sandbox process.
    pub groups: Vec<u32>,
    /// Filter the sandbox process's system calls.
    pub seccomp: bool,
    /// `cgroup.procs` files that the sandbox process is put in.
    pub cgroups: Vec<PathBuf>,
}

/// A request line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Run `runtime create`; the monitor makes the standard streams.
    Create(CreateRequest),
    /// Run `runtime exec --detach`; three descriptors come along.
    Exec {
        /// Whole command line of the runtime.
        argv: Vec<String>,
        /// Where the runtime writes the pid.
        pid_file: PathBuf,
    },
    /// Connect to a container's streams.
    Attach {
        /// Container.
        id: String,
        /// Send its output.
        stdout: bool,
        /// Send its error output.
        stderr: bool,
        /// Accept input.
        stdin: bool,
    },
    /// Open the log file anew.
    Reopen {
        /// Container.
        id: String,
    },
    /// Send every exit from now on.
    Watch,
    /// A container was removed: close all that belongs to it.
    Forget {
        /// Container.
        id: String,
    },
    /// End the sandbox process.
    StopPause,
    /// End the monitor.
    Quit,
}

/// What is needed to create a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    /// Container.
    pub id: String,
    /// Whole command line of the runtime.
    pub argv: Vec<String>,
    /// Directory of the container: `init.pid`, `exit.json`.
    pub dir: PathBuf,
    /// Where the runtime hands over the terminal.
    pub console: Option<PathBuf>,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close it after the first client went away.
    pub stdin_once: bool,
    /// Directory and relative path of the log.
    pub log: Option<(PathBuf, PathBuf)>,
    /// Directory of the container's cgroup that counts processes.
    pub cgroup: Option<PathBuf>,
    /// File in which the kernel counts OOM kills.
    pub oom_file: Option<PathBuf>,
}

/// An answer or event line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// A container (events) or an exec'd process (no id) ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Which container an event is about; empty for the sandbox process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// How a process ended; `exit.json` in the container's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0..=255, or 128 + signal.
    pub code: i32,
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The kernel killed something in its cgroup for lack of memory.
    #[serde(default)]
    pub oom: bool,
}

/// Frame kinds of an attached connection; each frame is kind, length (u32, big endian), bytes.
pub mod frame {
    /// To the container.
    pub const STDIN: u8 = 0;
    /// From the container.
    pub const STDOUT: u8 = 1;
    /// From the container.
    pub const STDERR: u8 = 2;
    /// The container ended; empty.
    pub const END: u8 = 3;
    /// Two u16, big endian: columns, rows.
    pub const RESIZE: u8 = 4;
    /// No more input; empty.
    pub const STDIN_EOF: u8 = 5;
    /// Largest payload.
    pub const MAX: usize = 64 << 10;
}

/// One frame.
pub fn encode_frame(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 5);
    out.push(kind);
    out.extend((data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// Takes the first whole frame off a buffer; an overlong one is an error.
pub fn decode_frame(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, ()> {
    let Some(head) = buffer.first_chunk::<5>() else { return Ok(None) };
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > frame::MAX {
        return Err(());
    }
    if buffer.len() < len + 5 {
        return Ok(None);
    }
    let kind = head[0];
    let data = buffer[5..len + 5].to_vec();
    buffer.drain(..len + 5);
    Ok(Some((kind, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let mut wire = encode_frame(frame::STDOUT, b"abc");
        wire.extend(encode_frame(frame::STDIN_EOF, b""));
        let mut buffer = Vec::new();
        let mut got = Vec::new();
        for byte in wire {
            buffer.push(byte);
            while let Some(one) = decode_frame(&mut buffer).unwrap() {
                got.push(one);
            }
        }
        assert_eq!(got, vec![(1, b"abc".to_vec()), (5, Vec::new())]);
        assert!(decode_frame(&mut vec![0, 255, 0, 0, 0]).is_err());
    }
}
