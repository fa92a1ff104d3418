//! The overhead inside: what a system call, a file, a pipe, the loopback and a fork cost in the container.
//!
//! The same program runs natively and in the container, one right after the other in each block, so that
//! each figure is also known as a multiple of the native one.

use crate::bundle::INSIDE;
use crate::slot::{Failure, Pipes, Sample, Slot};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Metric, its multiple of native, and the field that the guest reports it in (microseconds).
const FIELDS: [(&str, &str, &str); 5] = [
    ("inside.syscall", "inside.syscall.x", "syscall_us"),
    ("inside.file", "inside.file.x", "file_us"),
    ("inside.pipe", "inside.pipe.x", "pipe_us"),
    ("inside.loopback", "inside.loopback.x", "loopback_us"),
    ("inside.fork", "inside.fork.x", "fork_us"),
];

impl Slot {
    /// The work once natively and once in the resident container.
    pub fn inside_once(&mut self) -> Result<Sample, Failure> {
        let resident =
            self.resident.as_ref().ok_or_else(|| Failure::new("exec", "no container to execute in"))?;
        self.reaper.borrow_mut().clear();
        let native_program = self.root.join(INSIDE.trim_start_matches('/')).display().to_string();
        let native_dir = self.root.join("tmp").display().to_string();
        if !Path::new(&native_program).exists() {
            return Err(Failure::new("inside", "the plan names no program for the work inside"));
        }
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let native = self.host_command(&[&native_program, "inside", &native_dir], &pipes)?;
        self.call("native", &native, &pipes, &mut Some(0))?;
        let outside = report(&pipes.output())?;
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let exec = self.command(&["exec", &resident.id, INSIDE, "inside", "/tmp"], &pipes)?;
        self.call("exec", &exec, &pipes, &mut Some(0))?;
        let inside = report(&pipes.output())?;
        self.orphan_usage();
        Ok(sample(&inside, &outside))
    }
}

/// The metrics of a report from inside, with their multiples of the native one.
pub(crate) fn sample(inside: &Value, outside: &Value) -> Sample {
    let mut sample = Sample::default();
    for (metric, multiple, field) in FIELDS {
        // The loopback of a fresh network namespace may be down: then there is nothing to compare.
        if let Some(value) = inside[field].as_f64() {
            sample.set(metric, value);
            if let Some(native) = outside[field].as_f64().filter(|n| *n > 0.0) {
                sample.set(multiple, value / native);
            }
        }
    }
    sample
}

pub(crate) fn report(output: &str) -> Result<Value, Failure> {
    serde_json::from_str(output).map_err(|e| {
        let seen: String = output.chars().take(120).collect();
        Failure::new("inside", format!("its report is not JSON ({e}): `{seen}`"))
    })
}

/// Does the work when the program was called by the name that the scenario gives it.
pub fn main_if_called() -> Option<ExitCode> {
    let mut args = std::env::args();
    let name = args.next()?;
    if name.rsplit('/').next() != Some(INSIDE.trim_start_matches('/')) {
        return None;
    }
    match (args.next()?.as_str(), args.next()) {
        ("inside", Some(dir)) => Some(guest_main(&dir)),
        ("nothing", _) => Some(ExitCode::SUCCESS),
        _ => None,
    }
}

/// The guest's `main` for `inside DIR`: does the work and prints one line of JSON, microseconds per operation.
fn guest_main(dir: &str) -> ExitCode {
    let value = |result: io::Result<f64>| result.ok();
    let line = json!({
        "syscall_us": value(timed(5, 1_000, || {
            let _ = rustix::process::getppid();
            Ok(())
        })),
        "file_us": value(file_work(Path::new(dir))),
        "pipe_us": value(pipe_work()),
        "loopback_us": value(loopback_work()),
        "fork_us": value(timed(3, 3, || {
            let mut child = Command::new("/proc/self/exe");
            let status = child.arg0(INSIDE).arg("nothing").stdin(Stdio::null()).status()?;
            if status.success() { Ok(()) } else { Err(io::Error::other("the child failed")) }
        })),
    });
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Median over `rounds` of the mean of `count` operations, microseconds.
fn timed(rounds: usize, count: u32, mut work: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut means = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let clock = Instant::now();
        for _ in 0..count {
            work()?;
        }
        means.push(clock.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
    plimsoll_bench_stats::median(&means).map_err(io::Error::other)
}

/// Create, write 4 KiB, read back, remove.
fn file_work(dir: &Path) -> io::Result<f64> {
    let path = dir.join(format!("inside-{}", std::process::id()));
    let mut block = vec![7_u8; 4096];
    timed(5, 40, || {
        File::create(&path)?.write_all(&block)?;
        File::open(&path)?.read_exact(&mut block)?;
        fs::remove_file(&path)
    })
}

/// One byte to another thread and back through two pipes.
fn pipe_work() -> io::Result<f64> {
    let (mut there_read, mut there_write) = io::pipe()?;
    let (mut back_read, mut back_write) = io::pipe()?;
    std::thread::scope(|scope| {
        scope.spawn(move || echo(&mut there_read, &mut back_write));
        let mut byte = [0];
        let outcome = timed(5, 100, || {
            there_write.write_all(b"x")?;
            back_read.read_exact(&mut byte)
        });
        // The end of the pipe ends the echo.
        drop(there_write);
        outcome
    })
}

/// The same over TCP on 127.0.0.1.
fn loopback_work() -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect_timeout(&listener.local_addr()?, std::time::Duration::from_secs(2))?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = far.try_clone()?;
            echo(&mut far, &mut writer)
        });
        let mut byte = [0];
        let outcome = timed(5, 100, || {
            near.write_all(b"x")?;
            near.read_exact(&mut byte)
        });
        drop(near);
        outcome
    })
}

fn echo(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut byte = [0];
    while from.read(&mut byte)? == 1 {
        to.write_all(&byte)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(file_work(dir.path()).unwrap() > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(pipe_work().unwrap() > 0.0);
        assert!(timed(3, 10, || Ok(())).unwrap() >= 0.0);
        assert!(file_work(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_report_must_be_json() {
        assert!(report("{\"fork_us\":1.5}").is_ok());
        assert!(report("no").unwrap_err().why.contains("`no`"));
    }
}
