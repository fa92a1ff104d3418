//! A runtime killed at any step: `delete --force` cleans what it left, and the id is free again.
//!
//! A step is a system call: the runtime runs under ptrace and is killed when it enters its n-th one, so that the same
//! steps are hit on a fast and on a slow machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod common;
use common::{Bench, bench};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whose steps are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The runtime that was called.
    Runtime,
    /// The first child that it makes: the container's first process.
    Child,
}

/// Runs a call of the runtime and kills `who` when it enters its system call number `at`. Without `at` nobody is
/// killed. The answer is how many steps there were, and whether the call succeeded.
fn traced(b: &Bench, args: &[&str], who: Who, at: Option<usize>) -> (usize, bool) {
    // It stops itself before it becomes the runtime: nothing is missed.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\"", common::RUNTIME, "--root"]);
    command.arg(b.states()).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let mut options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    if who == Who::Child {
        options |= Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    }
    ptrace::seize(pid, options).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let (steps, code) = follow(pid, who, at);
    // Reaped already: this only ends the bookkeeping.
    let _ = child.try_wait();
    (steps, code == Some(0))
}

/// Lets the traced processes run until the runtime has ended.
fn follow(runtime: Pid, who: Who, at: Option<usize>) -> (usize, Option<i32>) {
    let (mut steps, mut entering, mut started) = (0, true, false);
    let mut victim = (who == Who::Runtime).then_some(runtime);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let target = if who == Who::Child { None } else { Some(runtime) };
        // Only what this thread traces: other tests have children too.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let status = waitpid(target, Some(flags)).unwrap();
        assert!(Instant::now() < end, "the runtime hangs after {steps} steps");
        let pid = match status {
            WaitStatus::StillAlive => {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            WaitStatus::Exited(pid, code) if pid == runtime => return (steps, Some(code)),
            WaitStatus::Signaled(pid, ..) if pid == runtime => return (steps, None),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => continue,
            WaitStatus::PtraceSyscall(pid) => {
                if Some(pid) == victim {
                    if entering {
                        steps += 1;
                        if Some(steps) == at && (started || who == Who::Child) {
                            kill(pid, Signal::SIGKILL).unwrap();
                        }
                    }
                    entering = !entering;
                }
                pid
            }
            // A new child, which is traced from its first moment.
            WaitStatus::PtraceEvent(pid, _, event) if event == libc::PTRACE_EVENT_STOP => {
                if who == Who::Child && pid != runtime && victim.is_none() {
                    victim = Some(pid);
                }
                pid
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                // What the shell did before it became the runtime does not count.
                if event == libc::PTRACE_EVENT_EXEC && who == Who::Runtime && !started {
                    (started, steps) = (true, 0);
                }
                pid
            }
            WaitStatus::Stopped(pid, signal) => {
                let _ = ptrace::syscall(pid, Some(signal));
                continue;
            }
            WaitStatus::Continued(pid) => pid,
        };
        // It may have been killed meanwhile.
        let _ = ptrace::syscall(pid, None);
    }
}

/// A process whose mount table shows the root filesystem of the bundle.
fn inside(rootfs: &std::path::Path) -> Option<String> {
    let wanted = rootfs.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_str().unwrap().to_owned();
        if name.bytes().all(|b| b.is_ascii_digit())
            && std::fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|t| t.contains(wanted))
        {
            return Some(name);
        }
    }
    None
}

/// After `delete --force` nothing of the container is there.
fn gone(b: &Bench, what: &str) {
    b.ok(&["delete", "--force", &b.id]);
    nothing_left(b, what);
}

fn nothing_left(b: &Bench, what: &str) {
    assert_eq!(b.leftovers(), Vec::<String>::new(), "{what}");
    let rootfs = b.bundle().join("rootfs");
    let end = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = inside(&rootfs) {
        assert!(Instant::now() < end, "process {pid} is left: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `points` steps of a call that has `all`, the first and the last among them.
fn spread(all: usize, points: usize) -> Vec<usize> {
    assert!(all > points, "only {all} steps");
    (0..points).map(|i| 1 + i * (all - 1) / (points - 1)).collect()
}

/// Kills a call at so many steps; `before` brings the container to where the call makes sense.
fn at_steps(b: &Bench, args: &[&str], who: Who, points: usize, before: impl Fn()) {
    before();
    let (all, fine) = traced(b, args, who, None);
    assert!(fine, "{args:?} without a kill");
    gone(b, "nobody was killed");
    for at in spread(all, points) {
        before();
        traced(b, args, who, Some(at));
        gone(b, &format!("{args:?} killed at step {at} of {all}"));
    }
    // The id is free again.
    assert!(b.create().status.success());
    gone(b, "the last one");
}

#[test]
fn create_killed_at_24_steps() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    at_steps(&b, &["create", "--bundle", &b.bundle_arg(), &b.id], Who::Runtime, 24, || ());
}

#[test]
fn run_killed_at_16_steps() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    at_steps(&b, &["run", "--detach", "--bundle", &b.bundle_arg(), &b.id], Who::Runtime, 16, || ());
}

#[test]
fn start_exec_and_delete_killed_at_12_steps_each() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    let create = || assert!(b.create().status.success());
    at_steps(&b, &["start", &b.id], Who::Runtime, 12, create);
    let run = || drop(b.ok(&["run", "--detach", "--bundle", &b.bundle_arg(), &b.id]));
    at_steps(&b, &["exec", "--detach", &b.id, "sleep", "100"], Who::Runtime, 12, run);
    at_steps(&b, &["delete", "--force", &b.id], Who::Runtime, 12, run);
}

#[test]
fn a_first_process_that_dies_fails_create_and_leaves_nothing() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    let bundle = b.bundle_arg();
    let args = ["create", "--bundle", &bundle, &b.id];
    let (all, fine) = traced(&b, &args, Who::Child, None);
    assert!(fine);
    gone(&b, "nobody was killed");
    // Its last steps are the waiting for `start`, when create has succeeded already.
    for at in spread(all - 2, 20) {
        let (_, fine) = traced(&b, &args, Who::Child, Some(at));
        if fine {
            gone(&b, &format!("killed at step {at} of {all}, created"));
        } else {
            nothing_left(&b, &format!("killed at step {at} of {all}"));
        }
    }
}

#[test]
fn create_killed_by_the_clock() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    for step in 0..12 {
        let args = ["create", "--bundle", &b.bundle_arg(), &b.id];
        let mut child = b.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(step * 500));
        let _ = child.kill();
        child.wait().unwrap();
        gone(&b, &format!("killed after {} us", step * 500));
    }
}
