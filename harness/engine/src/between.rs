//! A program that stands between the cases and a CRI endpoint for as long as a run lasts, such as a proxy.

use crate::journal::RunDir;
use crate::reference::{Start, spawn};
use crate::sandbox;
use crate::target::Bundled;
use plimsoll_kit::job::{CgroupLayout, CriTarget};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// Longest time until it must have made its socket, before scaling.
const READY: Duration = Duration::from_secs(10);
/// Time that it gets to end by itself.
const STOP: Duration = Duration::from_secs(2);

/// The program and its first arguments; `--listen unix:///PATH --upstream unix:///PATH` come behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    /// An executable.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// The running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Standing {
    child: Child,
    cgroup: String,
}

impl Standing {
    /// Starts it in front of target number `n` of a run, and leads the target to it.
    pub(crate) async fn start(
        between: &Between,
        bundled: &Bundled,
        run: &RunDir,
        n: usize,
        target: &mut CriTarget,
        scale: f64,
    ) -> io::Result<Self> {
        let socket = run.path().join(format!("between{n}.sock"));
        let cgroup = format!("{}/b{n}", run.intent.cgroup);
        let log = File::create(run.path().join(format!("between{n}.log")))?;
        let listen = format!("unix://{}", socket.display());
        let sockets =
            ["--listen".to_owned(), listen.clone(), "--upstream".to_owned(), target.endpoint.clone()];
        let start = Start {
            cgroup: cgroup.clone(),
            cgroups: CgroupLayout::Host,
            program: between.program.clone(),
            args: between.args.iter().cloned().chain(sockets).collect(),
            hold: run.path().join(format!("between{n}.hold")),
        };
        let mut standing = Self { child: spawn(&bundled.program, &start, log)?, cgroup };
        let end = Instant::now() + READY.mul_f64(scale.max(1.0));
        while !socket.exists() {
            if let Some(status) = standing.child.try_wait()? {
                return Err(io::Error::other(format!("{} ended with {status}", between.program.display())));
            }
            if Instant::now() > end {
                return Err(io::Error::other(format!("{} has made no socket", between.program.display())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if target.image_endpoint == target.endpoint {
            target.image_endpoint.clone_from(&listen);
        }
        target.endpoint = listen;
        Ok(standing)
    }

    /// Asks it to end, and ends what stays of it.
    pub(crate) fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let end = Instant::now() + STOP;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        sandbox::clear_cgroups(&self.cgroup);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}
