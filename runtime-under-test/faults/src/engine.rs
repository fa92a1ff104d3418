//! One call under one fault: before, edited arguments and files, the runtime itself, after.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench;
use crate::carrier::{self, Override};
use crate::carrier_home::Home;
use crate::catalogue::Fault;
use crate::context::{Context, id_is_valid};
use crate::effects;
use crate::error::Trouble;
use crate::hook;
use crate::invocation::Invocation;
use crate::json::strict;
use crate::memory::fnv;
use crate::notify;
use crate::outside;
use crate::recreate;
use crate::step::{Action, ArgEdit, Ending, Noise, Step};
use crate::supervise::{self, Job};
use crate::sys;
use crate::target::{Reinvoke, Target};

/// Longest that a hanging call hangs.
const HANG_LIMIT: Duration = Duration::from_secs(600);

/// Everything that a call needs.
pub struct Call<'a> {
    /// The facts.
    pub ctx: Context<'a>,
    /// The real runtime.
    pub target: &'a Target,
    /// How this program starts helpers.
    pub reinvoke: &'a Reinvoke,
    /// The steps whose verb and conditions match.
    pub steps: Vec<&'a Step>,
}

/// Performs a call under a fault and gives the exit status, unless this process became the runtime.
pub fn perform(
    fault: &Fault,
    target: &Target,
    reinvoke: &Reinvoke,
    words: Vec<OsString>,
) -> Result<u8, Trouble> {
    let inv = Invocation::parse(words);
    let ctx = Context::new(&inv, target);
    let verb = inv.verb();
    let steps = active(fault, verb, &ctx);
    if steps.is_empty() {
        return Err(target.exec(&inv.words));
    }
    let call = Call { ctx, target, reinvoke, steps };
    if let Some(code) = call.before(verb) {
        return Ok(code);
    }
    call.delegate(verb)
}

/// The steps of `fault` that concern this call.
pub fn active<'a>(fault: &'a Fault, verb: &str, ctx: &Context<'_>) -> Vec<&'a Step> {
    fault.steps.iter().filter(|s| concerns(&s.action, verb) && s.when.iter().all(|c| ctx.holds(c))).collect()
}

/// Whether an action has something to do for `verb`.
pub fn concerns(action: &Action, verb: &str) -> bool {
    let makes = verb == "create" || verb == "run";
    match action {
        Action::Config(_) | Action::CleanConfig | Action::Retry(_) => makes,
        // Delete forgets the marks of hooks and relays.
        Action::Hook(..) | Action::Notify(_) => makes || verb == "delete",
        Action::Process(_) => verb == "exec",
        Action::Resources(_) => verb == "update",
        Action::Recreate => verb == "start",
        Action::Mark(verbs, _) | Action::Unmark(verbs, _) => verbs.has(verb) || verb == "delete",
        Action::Bench(_) => bench::concerns(verb),
        Action::Inside(_) | Action::Proxy(_) => false,
        Action::Output(verbs, _)
        | Action::Print(verbs, _)
        | Action::Cut(verbs, _)
        | Action::Argv(verbs, _)
        | Action::Skip(verbs)
        | Action::Fail(verbs, ..)
        | Action::Exit(verbs, ..)
        | Action::Before(verbs, _)
        | Action::After(verbs, ..)
        | Action::Sleep(verbs, _)
        | Action::Linger(verbs, _)
        | Action::Hang(verbs)
        | Action::Leak(verbs, ..)
        | Action::Guest(verbs, _)
        | Action::Host(verbs, ..)
        | Action::Cgroup(verbs, ..)
        | Action::Escape(verbs)
        | Action::Proc(verbs, ..)
        | Action::Noise(verbs, _)
        | Action::Deaf(verbs)
        | Action::Reap(verbs, _)
        | Action::Outside(verbs)
        | Action::FollowLinks(verbs)
        | Action::Fds(verbs, ..) => verbs.has(verb),
    }
}

impl Call<'_> {
    fn before(&self, verb: &str) -> Option<u8> {
        for step in &self.steps {
            match &step.action {
                Action::Sleep(_, ms) => std::thread::sleep(Duration::from_millis(*ms)),
                Action::Noise(_, noise) => effects::make_noise(noise),
                Action::FollowLinks(_) => outside::make_mount_points(&self.ctx),
                Action::Outside(_) => {
                    if let Some(code) = outside::exec(&self.ctx) {
                        return Some(code);
                    }
                }
                Action::Before(_, words) => self.side_call(words),
                Action::Bench(injection) => {
                    if let Some(code) = bench::before(injection, &self.ctx) {
                        return Some(code);
                    }
                }
                Action::Hang(_) => {
                    sys::ignore_termination();
                    std::thread::sleep(HANG_LIMIT);
                    return Some(124);
                }
                Action::Fail(_, code, message) => {
                    self.tell(message);
                    return Some(*code);
                }
                _ => {}
            }
        }
        if self.steps.iter().any(|s| matches!(s.action, Action::Skip(_))) {
            return Some(self.after(verb, 0, false, Duration::ZERO));
        }
        None
    }

    /// Says why a call fails, where a caller looks: stderr, and the runtime's log.
    fn tell(&self, message: &str) {
        let message = crate::json::edit::expand(message, &self.ctx);
        eprintln!("plimsoll-faults: {message}");
        if let Some(log) = self.ctx.inv.value(&["log", "l"]) {
            let line = serde_json::json!({"level": "error", "msg": message}).to_string() + "\n";
            let file = fs::OpenOptions::new().append(true).create(true).open(log);
            let _ = file.and_then(|mut f| std::io::Write::write_all(&mut f, line.as_bytes()));
        }
    }

    fn side_call(&self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(e) = self.target.call(&self.ctx.call_words(&words)) {
            eprintln!("plimsoll-faults: {e}");
        }
    }

    fn delegate(&self, verb: &str) -> Result<u8, Trouble> {
        let inv = self.edited_arguments();
        let mut overrides = Vec::new();
        let mut stdin = None;
        self.edited_config(verb, &mut overrides, false)?;
        self.edited_process(&inv, &mut overrides)?;
        self.edited_resources(&inv, &mut overrides, &mut stdin)?;
        if self.steps.iter().any(|s| matches!(s.action, Action::Deaf(_))) {
            stdin = Some(Vec::new());
        }
        let fds = self.open_extra_fds();
        if self.steps.iter().any(|s| matches!(s.action, Action::Recreate)) {
            recreate::before_start(self)?;
        }
        if !self.must_watch(verb) && stdin.is_none() {
            carrier::show(&overrides)?;
            let trouble = self.target.exec(&inv.words);
            drop(fds);
            return Err(trouble);
        }
        // What delete destroys must be known before.
        let _ = (self.ctx.bundle(), self.ctx.state(), self.ctx.config());
        let started = Instant::now();
        if self.steps.iter().any(|s| matches!(s.action, Action::Reap(..))) {
            let own = rustix::process::getpid();
            rustix::process::set_child_subreaper(Some(own))
                .map_err(|e| Trouble::io("become a subreaper", e.into()))?;
        }
        let job = Job {
            target: self.target,
            reinvoke: self.reinvoke,
            words: &inv.words,
            steps: &self.steps,
            stdin,
        };
        let mut code = supervise::run(&job, &overrides)?;
        let retried = code != 0 && self.steps.iter().any(|s| matches!(s.action, Action::Retry(_)));
        if retried {
            code = self.retry(&inv, verb, code)?;
        }
        drop(fds);
        Ok(self.after(verb, code, retried, started.elapsed()))
    }

    /// Another attempt, with the configuration edited until the runtime takes it.
    fn retry(&self, inv: &Invocation, verb: &str, code: u8) -> Result<u8, Trouble> {
        let mut overrides = Vec::new();
        self.edited_config(verb, &mut overrides, true)?;
        if overrides.is_empty() {
            return Ok(code);
        }
        self.side_call(&["delete".to_owned(), "--force".to_owned(), "{id}".to_owned()]);
        let job = Job {
            target: self.target,
            reinvoke: self.reinvoke,
            words: &inv.words,
            steps: &self.steps,
            stdin: None,
        };
        supervise::run(&job, &overrides)
    }

    fn edited_arguments(&self) -> Invocation {
        let mut inv = self.ctx.inv.clone();
        for step in &self.steps {
            match &step.action {
                Action::Argv(_, edit) => edit_arguments(edit, &mut inv, &self.ctx),
                Action::Noise(_, Noise::Hush) => {
                    inv.set_value("log", "/dev/null");
                }
                _ => {}
            }
        }
        inv
    }

    fn edited_config(&self, verb: &str, overrides: &mut Vec<Override>, again: bool) -> Result<(), Trouble> {
        if verb != "create" && verb != "run" {
            return Ok(());
        }
        let (Some(path), Some(text)) = (self.ctx.config_path(), self.ctx.config_text()) else {
            return Ok(());
        };
        let Some(original) = self.ctx.config().cloned().or_else(|| self.cleaned(text)) else { return Ok(()) };
        let mut config = original.clone();
        for step in &self.steps {
            match &step.action {
                Action::Config(edit) => edit.apply(&mut config, &self.ctx),
                Action::Retry(edit) if again => edit.apply(&mut config, &self.ctx),
                Action::Notify(op) => notify::interpose(&mut config, op, self.reinvoke, &self.ctx.memory())?,
                _ => {}
            }
        }
        let cleaned = self.ctx.config().is_none();
        let hooked = self.steps.iter().any(|s| matches!(s.action, Action::Hook(..)));
        if config == original && !cleaned && !hooked {
            return Ok(());
        }
        let marks = self.ctx.memory().file("hook-failed");
        hook::interpose(&mut config, &self.steps, Home::parent().as_ref(), self.reinvoke, &marks);
        overrides.push(carrier::stage(&path, config.to_string().as_bytes())?);
        Ok(())
    }

    fn cleaned(&self, text: &[u8]) -> Option<Value> {
        let wanted = self.steps.iter().any(|s| matches!(s.action, Action::CleanConfig));
        wanted.then(|| strict::parse_leniently(text)).flatten()
    }

    fn edited_process(&self, inv: &Invocation, overrides: &mut Vec<Override>) -> Result<(), Trouble> {
        let edits: Vec<_> = self
            .steps
            .iter()
            .filter_map(|s| if let Action::Process(edit) = &s.action { Some(edit) } else { None })
            .collect();
        let Some(path) = inv.value(&["process", "p"]).filter(|_| !edits.is_empty()) else { return Ok(()) };
        let Some(original) = fs::read(path).ok().and_then(|text| strict::parse(&text)) else { return Ok(()) };
        let mut process = original.clone();
        for edit in edits {
            edit.apply(&mut process, &self.ctx);
        }
        if process != original {
            overrides.push(carrier::stage(Path::new(path), process.to_string().as_bytes())?);
        }
        Ok(())
    }

    fn edited_resources(
        &self,
        inv: &Invocation,
        overrides: &mut Vec<Override>,
        stdin: &mut Option<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let edits: Vec<_> = self
            .steps
            .iter()
            .filter_map(|s| if let Action::Resources(edit) = &s.action { Some(edit) } else { None })
            .collect();
        let Some(path) = inv.value(&["resources", "r"]).filter(|_| !edits.is_empty()) else { return Ok(()) };
        let mut text = Vec::new();
        if path == "-" {
            let read = std::io::stdin().take(1 << 20).read_to_end(&mut text);
            read.map_err(|e| Trouble::io("read resources from stdin", e))?;
        } else if let Ok(file) = fs::read(path) {
            text = file;
        }
        if let Some(mut resources) = strict::parse(&text) {
            for edit in edits {
                edit.apply(&mut resources, &self.ctx);
            }
            text = resources.to_string().into_bytes();
        }
        if path == "-" {
            *stdin = Some(text);
        } else if Path::new(path).is_file() {
            overrides.push(carrier::stage(Path::new(path), &text)?);
        }
        Ok(())
    }

    /// Open directories that a runtime may pass on by mistake.
    fn open_extra_fds(&self) -> Vec<fs::File> {
        let open = |path: &str| {
            let file = fs::File::open(crate::json::edit::expand(path, &self.ctx)).ok()?;
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).ok()?;
            Some(file)
        };
        let wanted = self.steps.iter().filter_map(|s| match &s.action {
            Action::Fds(_, count, path) => Some((*count, path)),
            _ => None,
        });
        wanted.flat_map(|(count, path)| (0..count).filter_map(move |_| open(path))).collect()
    }

    fn must_watch(&self, verb: &str) -> bool {
        self.steps.iter().any(|s| match &s.action {
            Action::Output(..)
            | Action::Print(..)
            | Action::Cut(..)
            | Action::Exit(..)
            | Action::After(..)
            | Action::Retry(_)
            | Action::Linger(..)
            | Action::Leak(..)
            | Action::Guest(..)
            | Action::Host(..)
            | Action::Cgroup(..)
            | Action::Escape(..)
            | Action::Reap(..)
            | Action::Proc(..)
            | Action::Mark(..)
            | Action::Unmark(..)
            | Action::Notify(_)
            | Action::Noise(_, Noise::Hush) => true,
            Action::Hook(..) => verb == "delete",
            Action::Bench(injection) => bench::watches(injection),
            _ => false,
        })
    }

    /// Everything that follows the runtime's end; gives the exit status to report.
    fn after(&self, verb: &str, code: u8, retried: bool, took: Duration) -> u8 {
        let mut reported = code;
        let ending = Ending { code, retried, hook_failed: self.ctx.memory().has("hook-failed") };
        for step in &self.steps {
            match &step.action {
                Action::After(_, words, on) if on.applies(ending) => self.side_call(words),
                Action::Linger(_, ms) => std::thread::sleep(Duration::from_millis(*ms)),
                Action::Leak(_, kind, on) if on.applies(ending) => {
                    effects::leak(*kind, &self.ctx, self.reinvoke);
                }
                Action::Host(_, op, on) if on.applies(ending) => effects::file_op(op, "", &self.ctx),
                Action::Exit(_, new, on) if on.applies(ending) => reported = *new,
                Action::Bench(injection) => bench::after(injection, took),
                Action::Reap(_, ms) => outside::reap(Duration::from_millis(*ms)),
                Action::Mark(verbs, name) if verbs.has(verb) && code == 0 => self.ctx.memory().set(name),
                Action::Unmark(verbs, name) if verbs.has(verb) && code == 0 => self.ctx.memory().unset(name),
                Action::Escape(_) if code == 0 => {
                    if let Some(pid) = self.exec_pid() {
                        effects::escape_cgroups(pid);
                    }
                }
                Action::Guest(..) | Action::Cgroup(..) | Action::Proc(..) if code == 0 => {
                    self.in_container(step);
                }
                _ => {}
            }
        }
        let relay_idle = code != 0 && self.steps.iter().any(|s| matches!(s.action, Action::Notify(_)));
        if (verb == "delete" && code == 0) || (verb != "delete" && relay_idle) {
            self.ctx.memory().forget();
        }
        reported
    }

    fn exec_pid(&self) -> Option<u32> {
        let file = self.ctx.inv.value(&["pid-file"])?;
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    fn in_container(&self, step: &Step) {
        let Some(pid) = self.ctx.pid() else { return };
        match &step.action {
            Action::Guest(_, op) if effects::has_own_root(pid) => {
                effects::file_op(op, &format!("/proc/{pid}/root"), &self.ctx);
            }
            Action::Cgroup(_, file, value) => effects::cgroup_write(pid, file, value),
            Action::Proc(_, file, value) => effects::proc_write(pid, file, value),
            _ => {}
        }
    }
}

/// Applies one edit of the arguments.
pub fn edit_arguments(edit: &ArgEdit, inv: &mut Invocation, ctx: &Context<'_>) {
    match edit {
        ArgEdit::Add(words) => inv.insert(words),
        ArgEdit::Drop(flag) => inv.remove(flag),
        ArgEdit::Value(flag, value) => inv.set_value(flag, &crate::json::edit::expand(value, ctx)),
        ArgEdit::Signal(signal) => inv.set_argument(1, signal),
        ArgEdit::CallerEnv => {
            let words: Vec<String> =
                std::env::vars().flat_map(|(k, v)| ["--env".to_owned(), format!("{k}={v}")]).collect();
            inv.insert(&words);
        }
        ArgEdit::Id(id) => inv.set_argument(0, &crate::json::edit::expand(id, ctx)),
        ArgEdit::SanitizeId => {
            if let Some(id) = inv.id().filter(|id| !id_is_valid(id)) {
                inv.set_argument(0, &format!("id-{:016x}", fnv(id.as_bytes())));
            }
        }
        ArgEdit::FindBundle => {
            if let Some(dir) =
                ctx.bundle().filter(|b| !b.join("config.json").exists()).and_then(nearby_bundle)
            {
                inv.remove("b");
                inv.remove("bundle");
                inv.insert(&["--bundle".to_owned(), dir.to_string_lossy().into_owned()]);
            }
        }
    }
}

/// A directory with a config.json where no runtime should look: the working directory, or one level down.
fn nearby_bundle(bundle: &Path) -> Option<PathBuf> {
    let below = fs::read_dir(bundle).ok().into_iter().flatten().flatten().map(|e| e.path());
    std::env::current_dir().into_iter().chain(below).find(|dir| dir.join("config.json").is_file())
}
