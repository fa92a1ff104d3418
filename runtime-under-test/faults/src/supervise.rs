//! Running the runtime as a child, when something is to happen after it or to its output.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

use crate::carrier::{self, Override};
use crate::error::Trouble;
use crate::json::edit::NoVars;
use crate::step::{Action, Noise, Step};
use crate::sys::{self, Event, Signals};
use crate::target::{Reinvoke, Target, exit_code};

/// Most output that is held back to be edited.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// A call to supervise.
pub struct Job<'a> {
    /// The runtime.
    pub target: &'a Target,
    /// How to start the carrier.
    pub reinvoke: &'a Reinvoke,
    /// Its arguments.
    pub words: &'a [OsString],
    /// The active steps; those about output matter here.
    pub steps: &'a [&'a Step],
    /// What it reads on stdin instead of ours.
    pub stdin: Option<Vec<u8>>,
}

/// Runs the call with the overrides shown to it alone, and gives its exit status.
pub fn run(job: &Job<'_>, overrides: &[Override]) -> Result<u8, Trouble> {
    let mut command = if overrides.is_empty() {
        job.target.command(job.words)
    } else {
        let mut carried = job.reinvoke.command(&["__carry"]);
        carried.args(carrier::to_words(overrides)).arg("--").arg(&job.target.program);
        carried.args(&job.target.args).args(job.words);
        carried
    };
    let capture = job
        .steps
        .iter()
        .any(|s| matches!(s.action, Action::Output(..) | Action::Print(..) | Action::Cut(..)));
    let sink = if capture { Some(memory_file()?) } else { None };
    if let Some(file) = &sink {
        // A file, not a pipe: nobody has to read while the runtime runs, and a grandchild cannot hold us up.
        command.stdout(duplicate(file)?);
    }
    if job.steps.iter().any(|s| matches!(s.action, Action::Noise(_, Noise::Hush))) {
        command.stderr(Stdio::null());
    }
    if let Some(text) = &job.stdin {
        let mut file = memory_file()?;
        file.write_all(text).and_then(|()| file.rewind()).map_err(|e| Trouble::io("prepare stdin", e))?;
        command.stdin(file);
    }
    let code = watch(job, &mut command)?;
    if let Some(mut file) = sink {
        let mut text = Vec::new();
        file.rewind()
            .and_then(|()| file.take(OUTPUT_LIMIT).read_to_end(&mut text))
            .map_err(|e| Trouble::io("read the runtime's output", e))?;
        write_out(&edit_output(text, job.steps));
    }
    Ok(code)
}

fn memory_file() -> Result<File, Trouble> {
    memfd_create("plimsoll-faults", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|e| Trouble::io("create a memory file", e.into()))
}

fn duplicate(file: &File) -> Result<File, Trouble> {
    file.as_fd().try_clone_to_owned().map(File::from).map_err(|e| Trouble::io("duplicate a file", e))
}

fn watch(job: &Job<'_>, command: &mut Command) -> Result<u8, Trouble> {
    let signals = Signals::block().map_err(|e| Trouble::io("block signals", e))?;
    signals.prepare(command);
    let mut child: Child = command.spawn().map_err(|e| job.target.cannot_start(e))?;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| Trouble::io("wait for the runtime", e))? {
            return Ok(exit_code(status));
        }
        if let Event::Sent(signal) = signals.wait(Duration::from_millis(500)) {
            let _ = sys::send(child.id(), signal);
        }
    }
}

/// The output after the fault's edits; text that is not JSON passes JSON edits unchanged.
pub fn edit_output(text: Vec<u8>, steps: &[&Step]) -> Vec<u8> {
    let mut text = text;
    let edits: Vec<_> = steps
        .iter()
        .filter_map(|s| if let Action::Output(_, e) = &s.action { Some(e) } else { None })
        .collect();
    if !edits.is_empty()
        && let Ok(mut value) = serde_json::from_slice::<Value>(&text)
    {
        let vars = Now;
        for edit in edits {
            edit.apply(&mut value, &vars);
        }
        text = serde_json::to_vec_pretty(&value).unwrap_or(text);
        text.push(b'\n');
    }
    for step in steps {
        match &step.action {
            Action::Print(_, new) => text = format!("{new}\n").into_bytes(),
            Action::Cut(_, n) => text.truncate(*n),
            _ => {}
        }
    }
    text
}

/// The variables that make sense in output.
struct Now;

impl crate::json::edit::Vars for Now {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            "wrapper-pid" => NoVars.get(name).or_else(|| Some(std::process::id().to_string())),
            "random" | "now" => Some(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| d.as_nanos())
                    .to_string(),
            ),
            _ => None,
        }
    }
}

fn write_out(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}
