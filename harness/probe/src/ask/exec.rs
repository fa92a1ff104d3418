//! Running another program and reporting what it did.
use crate::ask::data;
use crate::bytes::content;
use crate::prelude::*;
use crate::sys::file::{Fd, pipe, poll, read};
use crate::sys::process::{self, Ended};
use crate::sys::time::Deadline;

/// Moves a descriptor out of the way of 0, 1 and 2, which the child's are put on.
fn high(fd: &Fd) -> Result<Fd, i32> {
    let moved = sc!(SYS_fcntl, fd.0, libc::F_DUPFD_CLOEXEC, 10)?;
    Ok(Fd(moved as i32))
}

fn high_pipe() -> Result<(Fd, Fd), i32> {
    let (reader, writer) = pipe()?;
    Ok((high(&reader)?, high(&writer)?))
}

/// Our ends of a running child's streams.
struct Running {
    pid: i32,
    input: Option<Fd>,
    output: [Option<Fd>; 2],
    /// Carries the errno when the program could not be executed.
    failure: Fd,
}

fn start(path: &CStr, argv: &[CString], env: Option<&[CString]>) -> Result<Running, i32> {
    let (stdin, input) = high_pipe()?;
    let (out, stdout) = high_pipe()?;
    let (err, stderr) = high_pipe()?;
    let (failure, report) = high_pipe()?;
    let pid = process::fork()?;
    if pid == 0 {
        for (to, from) in [(0, &stdin), (1, &stdout), (2, &stderr)] {
            if sc!(SYS_dup3, from.0, to, 0).is_err() {
                process::exit(127);
            }
        }
        let errno = process::exec(path, argv, env);
        let _ = sys::file::write_all(report.0, &errno.to_ne_bytes(), Deadline::in_ms(1000));
        process::exit(127)
    }
    for fd in [&input, &out, &err, &failure] {
        let _ = sc!(SYS_fcntl, fd.0, libc::F_SETFL, libc::O_NONBLOCK);
    }
    Ok(Running { pid, input: Some(input), output: [Some(out), Some(err)], failure })
}

/// The errno of a failed exec; `None` once the program runs.
fn exec_errno(running: &Running, deadline: Deadline) -> Option<i32> {
    let (bytes, _) = sys::file::read_fd(running.failure.0, 4, deadline).ok()?;
    (bytes.len() == 4).then(|| Reader(&bytes).i32(0))
}

/// What was read from the child's two streams.
#[derive(Default)]
struct Streams {
    bytes: [Vec<u8>; 2],
    truncated: bool,
}

impl Streams {
    /// Feeds and reads the streams until both outputs are closed, or the deadline.
    fn pump(&mut self, running: &mut Running, mut input: &[u8], max: usize, deadline: Deadline) {
        while !deadline.passed() && running.output.iter().any(Option::is_some) {
            if input.is_empty() {
                running.input = None;
            }
            let fd = |fd: &Option<Fd>| fd.as_ref().map_or(-1, |fd| fd.0);
            let wanted = [
                (fd(&running.output[0]), libc::POLLIN),
                (fd(&running.output[1]), libc::POLLIN),
                (fd(&running.input), libc::POLLOUT),
            ];
            let Ok(events) = poll(&wanted, deadline.left_ms()) else { return };
            for stream in 0..2 {
                if events[stream] != 0 && self.take(stream, wanted[stream].0, max) {
                    running.output[stream] = None;
                }
            }
            if events[2] != 0 {
                let _blocked = sys::signal::Blocked::new(sys::signal::bit(libc::SIGPIPE));
                match sc!(SYS_write, wanted[2].0, input, input.len()) {
                    Ok(n) => input = &input[n as usize..],
                    Err(libc::EAGAIN | libc::EINTR) => {}
                    Err(_) => {
                        sys::signal::drain(sys::signal::bit(libc::SIGPIPE));
                        input = &[];
                    }
                }
            }
        }
    }

    /// One read; true at the end of the stream. What exceeds `max` is read, so that the child goes on, and dropped.
    fn take(&mut self, stream: usize, fd: i32, max: usize) -> bool {
        let mut chunk = [0; 16_384];
        match read(fd, &mut chunk) {
            Ok(0) => true,
            Ok(n) => {
                let room = max.saturating_sub(self.bytes[stream].len());
                self.truncated |= n > room;
                self.bytes[stream].extend_from_slice(&chunk[..n.min(room)]);
                false
            }
            Err(libc::EAGAIN | libc::EINTR) => false,
            Err(_) => true,
        }
    }
}

pub fn exec(_: &mut Cx, step: &Step) -> Answer {
    let (name, path) = (step.str("path")?, step.c_string("path")?);
    let argv = step.c_strings("argv")?.unwrap_or_else(|| vec![path.clone()]);
    let env = step.c_strings("env")?;
    let input = match step.opt_str("stdin")? {
        Some(text) => text.as_bytes().to_vec(),
        None => data(step)?,
    };
    let max = step.size_or("max", 65_536, 4 << 20)?;
    let deadline = Deadline::in_ms(step.timeout_ms(10_000)?);
    let mut running = start(&path, &argv, env.as_deref()).what(format_args!("start {name}"))?;
    let pid = running.pid;
    if let Some(errno) = exec_errno(&running, deadline) {
        let _ = process::wait_for(pid, Deadline::in_ms(1000));
        return Err(Fail::new(errno, format_args!("exec {name}")));
    }
    let mut streams = Streams::default();
    streams.pump(&mut running, &input, max, deadline);
    running.input = None;
    let mut ended = process::wait_for(pid, deadline).what("wait4")?;
    let timed_out = ended.is_none();
    if timed_out {
        let _ = process::kill(pid, libc::SIGKILL);
        streams.pump(&mut running, &[], max, Deadline::in_ms(200));
        ended = process::wait_for(pid, Deadline::in_ms(2000)).what("wait4")?;
    }
    let mut facts = ended.map_or_else(|| json!({ "pid": pid, "code": null, "signal": null }), Ended::to_json);
    facts["stdout"] = content(&streams.bytes[0]).into();
    facts["stderr"] = content(&streams.bytes[1]).into();
    facts["truncated"] = streams.truncated.into();
    facts["timed_out"] = timed_out.into();
    Ok(facts)
}
