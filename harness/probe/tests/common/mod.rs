//! Runs the built probe and takes its answers apart. Every run has a deadline, after which it is killed.
#![allow(dead_code)] // each test program uses its part

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The program under test: built as it is shipped, or what `PLIMSOLL_PROBE` names.
///
/// Not the one that cargo builds beside the tests: in a build of the whole workspace that one gets the features that
/// other packages ask of shared dependencies, `std` among them, which has no place in a program with its own entry.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM
        .get_or_init(|| std::env::var("PLIMSOLL_PROBE").unwrap_or_else(|_| shipped().display().to_string()))
}

/// Builds the probe by itself, with the profile of the shipped one.
pub fn shipped() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--profile", "probe", "-p", "plimsoll-probe", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("x86_64-unknown-linux-gnu/probe/plimsoll-probe")
}

/// No run of a test takes longer; generous, for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a run of the probe left behind.
#[derive(Debug)]
pub struct Answers {
    pub lines: Vec<Value>,
    pub raw: String,
    pub stderr: String,
    pub status: ExitStatus,
}

impl Answers {
    /// The one answer of step `i`.
    pub fn line(&self, i: usize) -> &Value {
        let is_answer = |line: &&Value| line["i"] == i;
        let found: Vec<_> = self.lines.iter().filter(is_answer).collect();
        assert_eq!(found.len(), 1, "step {i} has one answer: {self:#?}");
        found[0]
    }
    pub fn ok(&self, i: usize) -> &Value {
        let line = self.line(i);
        line.get("ok").unwrap_or_else(|| panic!("step {i} failed: {line}"))
    }
    pub fn errno(&self, i: usize) -> i64 {
        let line = self.line(i);
        line["errno"].as_i64().unwrap_or_else(|| panic!("step {i} did not fail: {line}"))
    }
    pub fn events(&self, i: usize) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["of"] == i).filter_map(|line| line.get("event")).collect()
    }
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
    /// Every step answered once, all under the nonce, `done` once and last.
    pub fn complete(self, steps: usize) -> Self {
        let (last, before) = self.lines.split_last().expect("at least the done line");
        assert_eq!(last["done"], steps, "the last line is done: {self:#?}");
        assert!(before.iter().all(|line| line.get("done").is_none()), "one done line: {self:#?}");
        assert!(self.lines.iter().all(|line| line["nonce"] == "n"), "the nonce everywhere: {self:#?}");
        for i in 0..steps {
            self.line(i);
        }
        self
    }
}

/// A script under the nonce `n`.
pub fn script(steps: &Value) -> String {
    json!({ "nonce": "n", "steps": steps }).to_string()
}

/// Runs the steps and expects all of them answered.
pub fn probe(steps: &Value) -> Answers {
    let count = steps.as_array().map_or(0, Vec::len);
    run(&mut command(&[], script(steps))).complete(count)
}

/// The same below another program, such as `["unshare", "--uts"]`.
pub fn under(wrapper: &[&str], steps: &Value) -> Answers {
    let count = steps.as_array().map_or(0, Vec::len);
    run(&mut command(wrapper, script(steps))).complete(count)
}

/// One question.
pub fn ask(name: &str) -> Value {
    probe(&json!([{ "ask": name }])).ok(0).clone()
}

/// The probe below `wrapper` with `argument`.
pub fn command(wrapper: &[&str], argument: impl AsRef<OsStr>) -> Command {
    let mut words = wrapper.iter().copied().chain([program()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg(argument).stdin(Stdio::null());
    command
}

/// Runs it to its end, or kills it at the deadline.
pub fn run(command: &mut Command) -> Answers {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start"))
}

/// Waits for a started probe and reads what is left of its output.
pub fn finish(mut child: Child) -> Answers {
    let drain = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).expect("read");
            }
            bytes
        })
    };
    let stdout = drain(child.stdout.take().map(|s| Box::new(s) as _));
    let stderr = drain(child.stderr.take().map(|s| Box::new(s) as _));
    let status = wait(&mut child);
    let raw = stdout.join().expect("join");
    let stderr = String::from_utf8_lossy(&stderr.join().expect("join")).into_owned();
    Answers { lines: parse(&raw), raw: String::from_utf8_lossy(&raw).into_owned(), stderr, status }
}

/// The lines that are the probe's; raw output of `print` steps is left out.
pub fn parse(raw: &[u8]) -> Vec<Value> {
    let lines = raw.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    lines.filter(|value| value.get("nonce").is_some()).collect()
}

pub fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("the probe hung");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A probe that is still running, spoken to line by line. Killed when dropped.
pub struct Live {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Live {
    pub fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.expect("start");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { stdin: child.stdin.take(), child, lines }
    }

    pub fn steps(steps: &Value) -> Self {
        Self::start(&mut command(&[], script(steps)))
    }

    /// The next line; an error value at the end of the output.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("read");
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by another probe.
    pub fn signal(&self, signal: &str) {
        let answers = probe(&json!([{ "do": "kill", "pid": self.pid(), "signal": signal }]));
        answers.ok(0);
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("open").write_all(bytes).expect("write");
    }

    pub fn end(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that this machine cannot show something. Where everything must be shown, that is a failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("PLIMSOLL_CI").is_none_or(|v| v != "1"), "cannot be shown here: {reason}");
    eprintln!("SKIP: {reason}");
}

/// Whether `wrapper` works here: it is tried on `true`.
pub fn works(wrapper: &[&str]) -> bool {
    let status = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let works = status.is_ok_and(|status| status.success());
    if !works {
        skip(&format!("{} does not work on this machine", wrapper.join(" ")));
    }
    works
}

/// Root of the initial user namespace may do what most of these tests need.
pub fn is_root() -> bool {
    let root = ask("identity")["euid"] == 0;
    if !root {
        skip("needs root");
    }
    root
}
