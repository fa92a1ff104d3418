//! Running a script: one line per step, then `done`.
use crate::prelude::*;
use crate::steps::{self, Bound};
use crate::sys::file::Fd;
use crate::sys::process;
use crate::sys::time::Deadline;
use alloc::rc::Rc;

/// How long a line may wait for a slow reader.
const WRITE_MS: u64 = 10_000;

/// How long a step without a bound of its own may take.
const STEP_MS: u64 = 10_000;

/// The output file is kept at a high number, out of the way of the descriptors that a test looks at.
const OUT_FD_MIN: i32 = 900;

/// Where the lines go.
#[derive(Clone)]
pub struct Out(Option<Rc<Fd>>);

impl Out {
    fn open(path: &str) -> Result<Self, Fail> {
        let name = crate::step::c_string(path)?;
        let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT;
        let low = sys::file::open(&name, flags, 0o644).what(format_args!("open out {path}"))?;
        let high = sc!(SYS_fcntl, low.0, libc::F_DUPFD_CLOEXEC, OUT_FD_MIN);
        let fd = high.map_or(low, |fd| Fd(fd as i32));
        Ok(Self(Some(Rc::new(fd))))
    }

    /// The descriptor of the output file, if it is not standard output.
    pub fn own_fd(&self) -> Option<i32> {
        self.0.as_ref().map(|fd| fd.0)
    }

    /// One write per line. A reader that has gone away is nobody's loss and must not kill the probe.
    fn line(&self, value: &Value) {
        let mut line = value.to_string();
        line.push('\n');
        let pipe = sys::signal::bit(libc::SIGPIPE);
        let _blocked = sys::signal::Blocked::new(pipe);
        let _alarm = sys::signal::Alarm::new(WRITE_MS);
        let fd = self.own_fd().unwrap_or(1);
        if let Err((libc::EPIPE, _)) = sys::file::write_all(fd, line.as_bytes(), Deadline::in_ms(WRITE_MS)) {
            sys::signal::drain(pipe);
        }
    }
}

/// A parsed script.
pub struct Script {
    nonce: Value,
    out: Out,
    steps: Vec<Value>,
}

impl Script {
    /// `nonce` is the one to use when the script names none, `out` likewise (`None`: standard output).
    pub fn new(value: Value, nonce: &Value, out: Option<&Out>) -> Result<Self, String> {
        let Value::Object(mut map) = value else {
            return Err("not an object".to_owned());
        };
        let steps = match map.remove("steps") {
            Some(Value::Array(steps)) => steps,
            Some(_) => return Err("`steps` is not a list".to_owned()),
            None => return Err("`steps` is missing".to_owned()),
        };
        let out = match map.get("out") {
            None | Some(Value::Null) => out.cloned().unwrap_or(Out(None)),
            Some(Value::String(path)) => Out::open(path).map_err(|fail| fail.message())?,
            Some(_) => return Err("`out` is not a string".to_owned()),
        };
        let nonce = map.remove("nonce").unwrap_or_else(|| nonce.clone());
        Ok(Self { nonce, out, steps })
    }

    /// Answers all steps; 0 is the exit code of a script that came to its end.
    pub fn run(&mut self) -> i32 {
        let steps = core::mem::take(&mut self.steps);
        let mut cx = Cx {
            script: self,
            index: 0,
            name: String::new(),
            count: steps.len(),
            answered: false,
            done: false,
        };
        for (index, value) in steps.iter().enumerate() {
            cx.index = index;
            cx.one(value);
        }
        cx.done();
        0
    }

    /// In a forked child: answers all steps and ends the process.
    pub fn become_child(mut self) -> ! {
        process::exit(self.run())
    }
}

/// What a running step may do besides giving its answer.
pub struct Cx<'a> {
    script: &'a Script,
    index: usize,
    name: String,
    count: usize,
    answered: bool,
    done: bool,
}

impl Cx<'_> {
    fn one(&mut self, value: &Value) {
        self.answered = false;
        let empty = Map::new();
        let step = Step(value.as_object().unwrap_or(&empty));
        step.name().unwrap_or_default().clone_into(&mut self.name);
        let answer = match steps::find(&self.name) {
            None if self.name.is_empty() => Err(Fail::script("a step is {\"ask\": NAME} or {\"do\": NAME}")),
            None => Err(Fail::script(format_args!("unknown step {}", self.name))),
            Some((Bound::Own, run)) => run(self, &step),
            Some((Bound::Alarm, run)) => match step.timeout_ms(STEP_MS) {
                Ok(ms) => bounded(ms, || run(self, &step)),
                Err(fail) => Err(fail),
            },
        };
        match answer {
            Ok(ok) if !self.answered => self.answer(ok),
            Ok(_) => {}
            // It has answered already, and one answer is all it has.
            Err(fail) if self.answered => {
                self.event(json!({ "errno": fail.errno, "error": fail.message() }));
            }
            Err(fail) => {
                let message = fail.message();
                self.line("i", &[("errno", fail.errno.into()), ("error", message.into())]);
            }
        }
    }

    /// A line about this step: an answer carries its number as `i`, so that `i` never stands in anything else.
    fn line(&self, index: &str, fields: &[(&str, Value)]) {
        let mut map = Map::new();
        map.insert("nonce".to_owned(), self.script.nonce.clone());
        map.insert(index.to_owned(), self.index.into());
        map.insert("step".to_owned(), self.name.as_str().into());
        for (key, value) in fields {
            map.insert((*key).to_owned(), value.clone());
        }
        self.script.out.line(&Value::Object(map));
    }

    /// The step's answer, ahead of its end: for steps that wait or never come back.
    pub fn answer(&mut self, ok: Value) {
        self.answered = true;
        self.line("i", &[("ok", ok)]);
    }

    /// Something that happened while the step runs; its answer is still to come.
    pub fn event(&self, event: Value) {
        self.line("of", &[("event", event)]);
    }

    /// The last line of the script. Written once.
    pub fn done(&mut self) {
        if !self.done {
            self.done = true;
            self.script.out.line(&json!({ "nonce": self.script.nonce, "done": self.count }));
        }
    }

    /// The answer and the end of the script: for a step after which nothing of it remains.
    pub fn last_words(&mut self, ok: Value) {
        self.answer(ok);
        self.done();
    }

    /// Whether no step follows this one.
    pub fn is_last(&self) -> bool {
        self.index + 1 == self.count
    }

    pub fn out(&self) -> &Out {
        &self.script.out
    }

    /// The nested script under `key`, for the child number `child`: without a nonce of its own it answers under
    /// `NONCE.CHILD`, without an `out` it writes where this one writes.
    pub fn nested(&self, step: &Step, key: &str, child: usize) -> Result<Script, Fail> {
        let value =
            step.get(key).ok_or_else(|| Fail::script(format_args!("`{key}` (a script) is missing")))?;
        let own = self.script.nonce.as_str().map_or_else(|| self.script.nonce.to_string(), ToOwned::to_owned);
        let nonce = Value::from(format!("{own}.{child}"));
        Script::new(value.clone(), &nonce, Some(&self.script.out))
            .map_err(|e| Fail::script(format_args!("`{key}`: {e}")))
    }
}

/// Runs a step that knows no deadline of its own under the alarm, and names the cause when it was that.
fn bounded(ms: u64, run: impl FnOnce() -> Answer) -> Answer {
    let alarm = sys::signal::Alarm::new(ms);
    let answer = run();
    drop(alarm);
    answer.map_err(|fail| {
        if fail.errno == libc::EINTR && sys::signal::Alarm::expired() {
            return Fail::new(libc::ETIMEDOUT, format_args!("{} (took longer than {ms} ms)", fail.what));
        }
        fail
    })
}
