//! The real runtime, and how this program calls itself again.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::Trouble;

/// Longest time for a call of the runtime that the caller did not ask for.
const AUXILIARY_LIMIT: Duration = Duration::from_secs(30);

/// Most output that is read from such a call.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// The runtime that is wrapped.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its program.
    pub program: PathBuf,
    /// Flags that go before the caller's.
    pub args: Vec<OsString>,
}

/// What an auxiliary call brought.
#[derive(Debug)]
pub struct Output {
    /// Exit status; 128 + signal when it was killed.
    pub code: u8,
    /// Standard output.
    pub stdout: Vec<u8>,
}

impl Target {
    /// A command that calls the runtime with `words`.
    pub fn command(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(words);
        command
    }

    /// Calls the runtime on the side: bounded, with nothing on stdin, its messages discarded.
    pub fn call(&self, words: &[OsString]) -> Result<Output, Trouble> {
        // A file rather than a pipe: a container started by the call may keep the descriptor open.
        let sink = memfd_create("plimsoll-faults-output", MemfdFlags::CLOEXEC)
            .map_err(|e| Trouble::io("create a memory file", e.into()))?;
        let mut sink = File::from(sink);
        let copy = sink.try_clone().map_err(|e| Trouble::io("duplicate a memory file", e))?;
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(copy).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| self.cannot_start(e))?;
        let deadline = Instant::now() + AUXILIARY_LIMIT;
        let status = loop {
            match child.try_wait().map_err(|e| Trouble::io("wait for the runtime", e))? {
                Some(status) => break status,
                None if Instant::now() >= deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Trouble::Auxiliary { limit: AUXILIARY_LIMIT, words: join(words) });
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut stdout = Vec::new();
        sink.rewind()
            .and_then(|()| sink.take(OUTPUT_LIMIT).read_to_end(&mut stdout))
            .map_err(|e| Trouble::io("read the runtime's output", e))?;
        Ok(Output { code: exit_code(status), stdout })
    }

    /// Becomes the runtime. Returns only when that fails.
    pub fn exec(&self, words: &[OsString]) -> Trouble {
        let error = self.command(words).exec();
        self.cannot_start(error)
    }

    /// Explains that the program could not be started.
    pub fn cannot_start(&self, source: std::io::Error) -> Trouble {
        Trouble::Target { program: self.program.clone(), source }
    }
}

/// The exit status as a shell would report it.
pub fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(1)
}

/// Words as one line, for messages.
pub fn join<S: AsRef<OsStr>>(words: &[S]) -> String {
    words.iter().map(|w| w.as_ref().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// How this program is started again as a helper.
#[derive(Clone, Debug)]
pub struct Reinvoke {
    /// Its own file.
    pub program: PathBuf,
    /// Words before the helper's name (a larger executable needs its subcommand).
    pub prefix: Vec<String>,
}

impl Reinvoke {
    /// Finds this program's file.
    pub fn with_prefix(prefix: &[&str]) -> Result<Reinvoke, Trouble> {
        let program = std::fs::read_link(Path::new("/proc/self/exe"))
            .map_err(|e| Trouble::io("read /proc/self/exe", e))?;
        Ok(Reinvoke { program, prefix: prefix.iter().map(|s| (*s).to_owned()).collect() })
    }

    /// A command for a helper.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.prefix).args(words);
        command
    }
}
