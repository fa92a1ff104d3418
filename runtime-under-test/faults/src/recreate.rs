//! The fault "config.json is read again at start": the created container is thrown away and made anew
//! from today's configuration, with the standard streams of the first one.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::engine::Call;
use crate::error::Trouble;

/// Longest time for the second create.
const LIMIT: Duration = Duration::from_secs(30);

/// Replaces the container that is about to be started.
pub fn before_start(call: &Call<'_>) -> Result<(), Trouble> {
    let ctx = &call.ctx;
    let created = ctx.state().is_some_and(|s| s.get("status").and_then(|s| s.as_str()) == Some("created"));
    let (Some(bundle), Some(pid), true) = (ctx.bundle(), ctx.pid(), created) else { return Ok(()) };
    let stream = |fd: u32, write: bool| {
        File::options()
            .read(!write)
            .write(write)
            .open(format!("/proc/{pid}/fd/{fd}"))
            .map_or(Stdio::null(), Stdio::from)
    };
    let streams = [stream(0, false), stream(1, true), stream(2, true)];
    let [stdin, stdout, stderr] = streams;
    call.target.call(&ctx.call_words(&["delete", "--force", "{id}"]))?;
    let bundle = bundle.to_string_lossy().into_owned();
    let mut command = call.target.command(&ctx.call_words(&["create", "--bundle", &bundle, "{id}"]));
    let mut child = command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|e| call.target.cannot_start(e))?;
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().map_err(|e| Trouble::io("wait for the runtime", e))?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Trouble::Auxiliary { limit: LIMIT, words: "create".to_owned() });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
