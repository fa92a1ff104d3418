//! The OCI driver: one method per operation of the de-facto command line. Flags always stand before the container id,
//! the `--root` is always a private directory, and every call is recorded.

use crate::exec::{Call, Exec, Running};
use crate::job::{Limits, OciTarget};
use crate::reaper::Reaper;
use crate::state::State;
use crate::stop::Stop;
use std::cell::RefCell;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A runtime under test with its private state directory.
#[derive(Debug, Clone)]
pub struct Runtime {
    target: Rc<OciTarget>,
    root: PathBuf,
    calls_dir: PathBuf,
    limits: Limits,
    reaper: Reaper,
    calls: Rc<RefCell<Vec<Call>>>,
    next: Rc<RefCell<u32>>,
}

/// What a call gets beyond its arguments.
#[derive(Debug, Default)]
pub struct CallOptions {
    /// Bytes on standard input.
    pub stdin: Option<Vec<u8>>,
    /// Working directory of the runtime process.
    pub cwd: Option<PathBuf>,
    /// Descriptors that the runtime process inherits, at these numbers.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// More environment for the runtime process.
    pub env: Vec<(String, String)>,
    /// Stem of the output files, when the container's output has a place of its own.
    pub output: Option<PathBuf>,
}

impl Runtime {
    /// A driver whose state and call logs are below `dir`.
    pub fn new(target: OciTarget, dir: &Path, limits: Limits, reaper: Reaper) -> Result<Self, Stop> {
        let (root, calls_dir) = (dir.join("root"), dir.join("calls"));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(&calls_dir)?;
        let (calls, next) = (Rc::default(), Rc::default());
        Ok(Self { target: Rc::new(target), root, calls_dir, limits, reaper, calls, next })
    }

    /// The private state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The runtime's executable.
    pub fn program(&self) -> &Path {
        &self.target.program
    }

    /// The reaper of this worker.
    pub fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// A driver for the same runtime and worker, with another state directory.
    #[must_use]
    pub fn with_root(&self, root: PathBuf) -> Self {
        Self { root, ..self.clone() }
    }

    fn exec(&self, args: &[String], mut options: CallOptions) -> Exec {
        let stem = options.output.take().unwrap_or_else(|| {
            let mut next = self.next.borrow_mut();
            *next += 1;
            self.calls_dir.join(format!("{next:04}"))
        });
        let mut exec = Exec::new(&self.target.program, stem)
            .args(self.target.args.iter().cloned())
            .args(["--root".to_owned(), self.root.display().to_string()])
            .args(args.iter().cloned())
            .env(&self.target.env)
            .env(&options.env)
            .bounds(self.limits.call(), self.limits.capture_bytes);
        if let Some(bytes) = options.stdin {
            exec = exec.stdin(bytes);
        }
        if let Some(cwd) = options.cwd {
            exec = exec.cwd(&cwd);
        }
        for (fd, number) in options.fds {
            exec = exec.fd(fd, number);
        }
        exec
    }

    /// Calls the runtime with these arguments after the global flags.
    pub async fn call<S: AsRef<str>>(&self, args: &[S]) -> Result<Call, Stop> {
        self.call_with(args, CallOptions::default()).await
    }

    /// Calls the runtime with options.
    pub async fn call_with<S: AsRef<str>>(&self, args: &[S], options: CallOptions) -> Result<Call, Stop> {
        let args: Vec<String> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        let call = self.exec(&args, options).run(&self.reaper).await?;
        self.record(call.clone());
        Ok(call)
    }

    /// Starts a call that goes on beside the case; hand the finished call to [`Runtime::record`].
    pub fn spawn<S: AsRef<str>>(&self, args: &[S], options: CallOptions) -> Result<Running, Stop> {
        let args: Vec<String> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        self.exec(&args, options).spawn(&self.reaper)
    }

    /// Keeps a finished call as evidence.
    pub fn record(&self, call: Call) {
        self.reaper.sweep();
        self.calls.borrow_mut().push(call);
    }

    /// `state ID`, unparsed.
    pub async fn state_call(&self, id: &str) -> Result<Call, Stop> {
        self.call(&["state", id]).await
    }

    /// `state ID`, parsed; a violation unless it succeeds and answers a JSON object.
    pub async fn state(&self, id: &str) -> Result<State, Stop> {
        let call = self.state_call(id).await?;
        call.must_succeed()?;
        match serde_json::from_str::<serde_json::Value>(&call.stdout) {
            Ok(raw) if raw.is_object() => Ok(State { raw }),
            Ok(_) => {
                Err(Stop::violation("the state operation answers a JSON object", describe(&call.stdout)))
            }
            Err(e) => Err(Stop::violation(
                "the state operation answers a JSON object",
                format!("{} ({e})", describe(&call.stdout)),
            )),
        }
    }

    /// `start ID`.
    pub async fn start(&self, id: &str) -> Result<Call, Stop> {
        self.call(&["start", id]).await
    }

    /// `kill ID SIGNAL`; the signal is a number or a name.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<Call, Stop> {
        self.call(&["kill", id, signal]).await
    }

    /// `delete ID`.
    pub async fn delete(&self, id: &str) -> Result<Call, Stop> {
        self.call(&["delete", id]).await
    }

    /// `delete --force ID`.
    pub async fn delete_force(&self, id: &str) -> Result<Call, Stop> {
        self.call(&["delete", "--force", id]).await
    }

    /// `VERB ID` for verbs without arguments of their own: `pause`, `resume`, `ps`.
    pub async fn verb(&self, verb: &str, id: &str) -> Result<Call, Stop> {
        self.call(&[verb, id]).await
    }
}

fn describe(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    if short.is_empty() { "nothing on standard output".to_owned() } else { format!("{short:?}") }
}
