//! Steps that make processes.
use crate::prelude::*;
use crate::script::Script;
use crate::sys::signal::{self, Blocked, bit};
use crate::sys::time::{Deadline, sleep_until};
use crate::sys::{file, process};

/// The most children of one step.
const MAX_CHILDREN: usize = 4096;

/// Runs `body` in a grandchild whose parent is gone at once; gives its process id. It never returns there.
fn orphan(setsid: bool, body: impl FnOnce()) -> Result<i32, Fail> {
    let (reader, writer) = file::pipe().what("pipe")?;
    let child = process::fork().what("fork")?;
    if child == 0 {
        if setsid {
            let _ = sc!(SYS_setsid);
        }
        let grandchild = process::fork();
        if grandchild == Ok(0) {
            drop((reader, writer));
            body();
            process::exit(0);
        }
        let answer = grandchild.unwrap_or_else(|errno| -errno);
        let _ = file::write_all(writer.0, &answer.to_ne_bytes(), Deadline::in_ms(1000));
        process::exit(0);
    }
    drop(writer);
    let deadline = Deadline::in_ms(5000);
    let read = file::read_fd(reader.0, 4, deadline).what("read the orphan's id")?;
    let _ = process::wait_for(child, deadline);
    match Reader(&read.0).i32(0) {
        pid if pid > 0 => Ok(pid),
        errno => Err(Fail::new(-errno, "fork")),
    }
}

/// Children that run a nested script each, in parallel.
pub fn spawn(cx: &mut Cx, step: &Step) -> Answer {
    let count = step.size_or("count", 1, MAX_CHILDREN)?;
    let (setsid, detach, wait) = (step.flag("setsid")?, step.flag("detach")?, step.flag("wait")?);
    let deadline = Deadline::in_ms(step.timeout_ms(10_000)?);
    let scripts: Vec<Script> = (0..count).map(|n| cx.nested(step, "script", n)).collect::<Result<_, _>>()?;
    let mut pids = Vec::with_capacity(count);
    for script in scripts {
        if detach {
            pids.push(orphan(setsid, || Script::become_child(script))?);
            continue;
        }
        let pid = process::fork().what("fork")?;
        if pid == 0 {
            if setsid {
                let _ = sc!(SYS_setsid);
            }
            Script::become_child(script);
        }
        pids.push(pid);
    }
    if !wait || detach {
        return Ok(json!({ "pids": pids }));
    }
    let mut children = Vec::with_capacity(count);
    for pid in &pids {
        let ended = process::wait_for(*pid, deadline).what(format_args!("wait for child {pid}"))?;
        children
            .push(ended.map_or_else(|| json!({ "pid": pid, "timed_out": true }), process::Ended::to_json));
    }
    Ok(json!({ "pids": pids, "children": children }))
}

/// Processes without a parent: whoever reaps here (PID 1, a subreaper) has to reap them.
pub fn fork_orphans(_: &mut Cx, step: &Step) -> Answer {
    let count = step.size_or("count", 1, MAX_CHILDREN)?;
    let (ms, code) = (step.millis("ms", 0)?, step.int_or("code", 0)? as i32);
    let mut pids = Vec::with_capacity(count);
    for _ in 0..count {
        pids.push(orphan(false, || {
            sleep_until(Deadline::in_ms(ms));
            process::exit(code)
        })?);
    }
    Ok(json!({ "pids": pids }))
}

/// Dead children that nobody waits for, until this process ends.
pub fn zombies(_: &mut Cx, step: &Step) -> Answer {
    let count = step.size_or("count", 1, MAX_CHILDREN)?;
    let deadline = Deadline::in_ms(step.timeout_ms(5000)?);
    let mut pids = Vec::with_capacity(count);
    for _ in 0..count {
        let pid = process::fork().what("fork")?;
        if pid == 0 {
            process::exit(0);
        }
        pids.push(pid);
    }
    for pid in &pids {
        while !process::is_zombie(*pid).what(format_args!("waitid {pid}"))? {
            if deadline.passed() {
                return Err(Fail::new(libc::ETIMEDOUT, format_args!("child {pid} did not end")));
            }
            sys::time::sleep_ns(500_000);
        }
    }
    Ok(json!({ "pids": pids }))
}

/// What [`init`] saw.
#[derive(Default)]
struct Seen {
    reaped: usize,
    forwarded: Vec<String>,
}

/// Acts as an init: runs `script` in a child, reaps whatever ends, forwards signals to the child, and ends with its status.
pub fn init(cx: &mut Cx, step: &Step) -> Answer {
    let usual = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
    let forward = match step.get("forward") {
        Some(_) => step.signals(&["forward"])?,
        None => usual.into_iter().fold(0, |mask, signal| mask | bit(signal)),
    };
    let deadline = Deadline::in_ms(step.timeout_ms(60_000)?);
    let script = cx.nested(step, "script", 0)?;
    let mask = forward | bit(libc::SIGCHLD);
    let blocked = Blocked::new(mask);
    let child = process::fork().what("fork")?;
    if child == 0 {
        drop(blocked);
        Script::become_child(script);
    }
    drop(script);
    cx.event(json!({ "ready": true, "pid": process::pid(), "child": child }));
    let mut seen = Seen::default();
    let ended = tend(child, forward, mask, deadline, &mut seen)?;
    if ended.is_none() {
        let _ = process::kill(child, libc::SIGKILL);
        let _ = process::wait_for(child, Deadline::in_ms(2000));
    }
    signal::drain(mask);
    drop(blocked);
    let code = ended.map_or(124, process::Ended::shell_code);
    let facts = json!({
        "child": ended.map(process::Ended::to_json), "reaped": seen.reaped, "forwarded": seen.forwarded,
        "timed_out": ended.is_none(),
    });
    if step.flag_or("exit", true)? {
        cx.last_words(facts);
        process::exit(code)
    }
    Ok(facts)
}

/// Reaps and forwards until the child has ended; `None` when the deadline came first.
fn tend(
    child: i32,
    forward: u64,
    mask: u64,
    until: Deadline,
    seen: &mut Seen,
) -> Result<Option<process::Ended>, Fail> {
    let mut found = None;
    loop {
        while let Ok(Some(ended)) = process::reap(-1) {
            seen.reaped += 1;
            found = if ended.pid == child { Some(ended) } else { found };
        }
        if found.is_some() || until.passed() {
            return Ok(found);
        }
        if let Some(arrived) = signal::wait(mask, until).what("rt_sigtimedwait")?
            && bit(arrived.signal) & forward != 0
        {
            let _ = process::kill(child, arrived.signal);
            seen.forwarded.push(crate::names::signal(arrived.signal));
        }
    }
}
