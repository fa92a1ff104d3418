//! Containers as staged values: built, created, running, stopped.

use crate::bundle::{Bundle, default_config};
use crate::console::{Console, ConsoleSocket};
use crate::cx::Cx;
use crate::exec::{Call, capture};
use crate::hook::{HOOK_LOG, Hook, SHARED_INSIDE};
use crate::host;
use crate::patch;
use crate::probe::{Answers, Script};
use crate::runtime::CallOptions;
use crate::state::State;
use crate::stop::Stop;
use crate::wait::{Poll, wait_until};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

type RootfsChange = Box<dyn FnOnce(&Path) -> io::Result<()>>;

/// A container about to be made. Starts from a bundle that is valid under every version; what the case changes is
/// the **subject**: when the runtime refuses a changed bundle, that is a violation. [`Builder::setup`] says that the
/// changes only prepare; then a refusal is trouble.
pub struct Builder {
    cx: Cx,
    id: String,
    script: Script,
    config: Value,
    subject: bool,
    hooks: Vec<Hook>,
    rootfs: Vec<RootfsChange>,
    flags: Vec<String>,
    fds: Vec<(OwnedFd, RawFd)>,
    raw: Option<Vec<u8>>,
    own_args: bool,
    terminal: bool,
    stdin: Option<Vec<u8>>,
}

impl Builder {
    pub(crate) fn new(cx: Cx, script: Script) -> Self {
        let id = cx.new_id();
        let text = script.text(&nonce_of(&cx, &id), None);
        let args = ["/probe".to_owned(), text];
        let cgroup = format!("{}/{id}", cx.cgroup());
        let config = default_config(&cx.oci_version(), &args, &cgroup);
        Self {
            cx,
            id,
            script,
            config,
            subject: false,
            hooks: Vec::new(),
            rootfs: Vec::new(),
            flags: Vec::new(),
            fds: Vec::new(),
            raw: None,
            own_args: false,
            terminal: false,
            stdin: None,
        }
    }

    /// The id that the container will have.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives it another id.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The configuration as it stands.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Says that the changes only prepare the case: a refusal is trouble, not a violation.
    #[must_use]
    pub fn setup(mut self) -> Self {
        self.subject = false;
        self
    }

    /// Sets a member by RFC 6901 pointer; `-` appends to an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        patch::set(&mut self.config, pointer, value.into());
        self.own_args |= pointer.starts_with("/process/args");
        self.subject = true;
        self
    }

    /// Removes a member by RFC 6901 pointer; the member has to be there.
    #[must_use]
    pub fn remove(mut self, pointer: &str) -> Self {
        let removed = patch::remove(&mut self.config, pointer);
        debug_assert!(removed.is_some(), "nothing stands at {pointer}");
        self.subject = true;
        self
    }

    /// Changes the configuration in any way.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self.subject = true;
        self
    }

    /// Writes this instead of a configuration: for what is not JSON at all.
    #[must_use]
    pub fn raw_config(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw = Some(bytes.into());
        self.subject = true;
        self
    }

    /// Writes another `ociVersion`.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.set("/ociVersion", version)
    }

    /// Appends a mount.
    #[must_use]
    pub fn mount(self, mount: Value) -> Self {
        self.set("/mounts/-", mount)
    }

    /// Appends a namespace, or gives the one of this type a path.
    #[must_use]
    pub fn namespace(mut self, kind: &str, path: Option<&str>) -> Self {
        self = self.without_namespace(kind);
        let mut entry = json!({ "type": kind });
        if let Some(path) = path {
            entry["path"] = json!(path);
        }
        self.set("/linux/namespaces/-", entry)
    }

    /// Takes a namespace out of the list, so that it is inherited.
    #[must_use]
    pub fn without_namespace(self, kind: &str) -> Self {
        self.with(|config| {
            if let Some(list) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
                list.retain(|n| n["type"] != kind);
            }
        })
    }

    /// Sets the bounding, effective and permitted capabilities.
    #[must_use]
    pub fn capabilities(self, names: &[&str]) -> Self {
        let list = json!(names);
        self.set("/process/capabilities", json!({ "bounding": list, "effective": list, "permitted": list }))
    }

    /// Maps container ids 0..65536 to host ids from `host` on, in a new user namespace.
    #[must_use]
    pub fn user_namespace(self, host: u32) -> Self {
        let map = json!([{ "containerID": 0, "hostID": host, "size": 65536 }]);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// Adds a hook; hooks of one kind run in the order in which they were added.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self.subject = true;
        self
    }

    /// Changes the root file system before create.
    #[must_use]
    pub fn rootfs(mut self, change: impl FnOnce(&Path) -> io::Result<()> + 'static) -> Self {
        self.rootfs.push(Box::new(change));
        self
    }

    /// Puts a file into the root file system.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        let (path, content) = (path.trim_start_matches('/').to_owned(), content.to_owned());
        self.rootfs(move |root| {
            let path = root.join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, content)
        })
    }

    /// Puts a directory into the root file system.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        let path = path.trim_start_matches('/').to_owned();
        self.rootfs(move |root| fs::create_dir_all(root.join(path)))
    }

    /// Adds a flag of the create operation, such as `--no-pivot`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Lets the runtime process inherit a descriptor at a number above 2.
    #[must_use]
    pub fn pass_fd(mut self, fd: OwnedFd, number: RawFd) -> Self {
        self.fds.push((fd, number));
        self
    }

    /// Gives the container a terminal and the create call a console socket.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self.set("/process/terminal", true)
    }

    /// Gives the create call, and so the container, this standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Writes the bundle without calling the runtime.
    pub fn written(self) -> Result<Written, Stop> {
        let cx = self.cx;
        let dir = cx.dir().join("b").join(safe_name(&self.id));
        let bundle = Bundle::create(&dir, &cx.probe_path())?;
        for change in self.rootfs {
            change(&bundle.rootfs())?;
        }
        let nonce = nonce_of(&cx, &self.id);
        let mut config = self.config;
        if !self.own_args && !config["process"].is_null() && config.pointer("/process/args/1").is_some() {
            config["process"]["args"][1] = json!(self.script.text(&nonce, None));
        }
        add_hooks(&cx, &self.hooks, &mut config, &nonce);
        match &self.raw {
            Some(bytes) => bundle.write_bytes("config.json", bytes)?,
            None => bundle.write(&config)?,
        }
        *cx.inner.config.borrow_mut() = Some(config.clone());
        let console = if self.terminal {
            Some(ConsoleSocket::listen(&cx.dir().join(format!("{}.sock", safe_name(&self.id))))?)
        } else {
            None
        };
        let pauses = self.script.waits();
        let container = Container {
            shared: Rc::new(Shared {
                cx,
                id: self.id,
                bundle,
                config,
                nonce,
                pauses,
                subject: self.subject,
                pid: Cell::new(None),
                deleted: Cell::new(false),
                attempted: Cell::new(false),
                console: RefCell::new(None),
            }),
        };
        container.shared.cx.inner.containers.borrow_mut().push(container.clone());
        Ok(Written { container, flags: self.flags, fds: self.fds, console, stdin: self.stdin })
    }

    /// Calls create and gives what came of it, judged by nobody.
    pub async fn attempt(self) -> Result<(Call, Container), Stop> {
        self.written()?.create().await
    }

    /// A created container.
    pub async fn created(self) -> Result<Container, Stop> {
        let (call, container) = self.attempt().await?;
        container.accepted(&call, "create")?;
        Ok(container)
    }

    /// A running container. When its script pauses, the probe has said that it is ready.
    pub async fn running(self) -> Result<Container, Stop> {
        let container = self.created().await?;
        let call = container.start().await?;
        container.accepted(&call, "start")?;
        if container.shared.pauses {
            container.wait_for("is ready", Answers::is_ready).await?;
        }
        Ok(container)
    }

    /// A container whose program has ended, and which the runtime calls stopped.
    pub async fn stopped(self) -> Result<Container, Stop> {
        let container = self.created().await?;
        let call = container.start().await?;
        container.accepted(&call, "start")?;
        container.wait_stopped().await?;
        Ok(container)
    }

    /// Runs the script to its end and gives the answers. That the probe came to its end is part of the requirement
    /// when the bundle is the subject.
    pub async fn answers(self) -> Result<Answers, Stop> {
        let container = self.created().await?;
        let call = container.start().await?;
        container.accepted(&call, "start")?;
        container.finished_answers().await
    }

    /// Demands that the runtime refuses the bundle: create fails (or start does, before the program runs), by an
    /// error of its own, and nothing is left behind.
    pub async fn rejected(self) -> Result<Rejection, Stop> {
        let (create, container) = self.attempt().await?;
        if !create.succeeded() {
            create.must_fail()?;
            container.nothing_left().await?;
            return Ok(Rejection { at: "create", call: create });
        }
        // A create that says that it succeeded has made a container, which start may still refuse.
        let known = container.shared.cx.inner.runtime.state_call(container.id()).await?;
        if !known.succeeded() {
            return Err(Stop::violation(
                "the runtime refuses this bundle with an error",
                "create reported success, and there is no container",
            ));
        }
        let start = container.start().await?;
        if start.succeeded() {
            container.shared.cx.inner.runtime.reaper().sweep();
            return Err(Stop::violation(
                "the runtime refuses this bundle with an error",
                "create and start both succeeded",
            ));
        }
        start.must_fail()?;
        let answers = container.answers_so_far()?;
        if !answers.is_empty() {
            return Err(Stop::violation(
                "a refused bundle's program does not run",
                "start failed, yet the program ran",
            ));
        }
        container.delete_force().await?;
        container.nothing_left().await?;
        Ok(Rejection { at: "start", call: start })
    }
}

/// How a bundle was refused.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// `create` or `start`.
    pub at: &'static str,
    /// The call that failed.
    pub call: Call,
}

/// A bundle on disk whose container was not created yet.
#[derive(Debug)]
pub struct Written {
    /// The container to be.
    pub container: Container,
    flags: Vec<String>,
    fds: Vec<(OwnedFd, RawFd)>,
    console: Option<ConsoleSocket>,
    stdin: Option<Vec<u8>>,
}

impl Written {
    /// Calls create.
    pub async fn create(self) -> Result<(Call, Container), Stop> {
        let container = self.container;
        let shared = &container.shared;
        shared.attempted.set(true);
        let pid_file = container.pid_file();
        let mut args =
            vec!["create".to_owned(), "--bundle".into(), shared.bundle.dir().display().to_string()];
        args.extend(["--pid-file".to_owned(), pid_file.display().to_string()]);
        if let Some(console) = &self.console {
            args.extend(["--console-socket".to_owned(), console.path().display().to_string()]);
        }
        args.extend(self.flags);
        args.push(shared.id.clone());
        let options = CallOptions {
            output: Some(container.io_stem()),
            fds: self.fds,
            stdin: self.stdin,
            ..CallOptions::default()
        };
        let call = shared.cx.runtime().call_with(&args, options).await?;
        if call.succeeded() {
            shared.pid.set(fs::read_to_string(&pid_file).ok().and_then(|t| t.trim().parse().ok()));
            if let Some(console) = &self.console {
                *shared.console.borrow_mut() = Some(console.receive(shared.cx.limits().wait()).await?);
            }
        }
        Ok((call, container))
    }
}

fn nonce_of(cx: &Cx, id: &str) -> String {
    format!("{}.{id}", cx.nonce())
}

fn safe_name(id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    id.chars().map(safe).take(48).collect()
}

fn add_hooks(cx: &Cx, hooks: &[Hook], config: &mut Value, nonce: &str) {
    let (probe, shared) = (cx.probe_path().display().to_string(), cx.shared().display().to_string());
    for hook in hooks {
        let entry = hook.entry(nonce, &probe, &shared);
        patch::set(config, &format!("/hooks/{}", hook.kind.key()), {
            let mut list = config["hooks"][hook.kind.key()].as_array().cloned().unwrap_or_default();
            list.push(entry);
            Value::Array(list)
        });
    }
    if hooks.iter().any(|h| h.kind.resolves_in_container()) {
        let mount = json!({ "destination": SHARED_INSIDE, "type": "bind", "source": shared, "options": ["rbind", "rw"] });
        patch::set(config, "/mounts/-", mount);
    }
}

/// A container that create was called for.
#[derive(Debug, Clone)]
pub struct Container {
    shared: Rc<Shared>,
}

struct Shared {
    cx: Cx,
    id: String,
    bundle: Bundle,
    config: Value,
    nonce: String,
    pauses: bool,
    subject: bool,
    pid: Cell<Option<i32>>,
    deleted: Cell<bool>,
    attempted: Cell<bool>,
    console: RefCell<Option<Console>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Container {
    /// The id.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.shared.bundle
    }

    /// The configuration as written.
    pub fn config(&self) -> &Value {
        &self.shared.config
    }

    /// The terminal, when there is one.
    pub fn console(&self) -> Option<Console> {
        self.shared.console.borrow().clone()
    }

    /// The init process's id as the runtime gave it.
    pub fn pid(&self) -> Result<i32, Stop> {
        self.shared.pid.get().ok_or_else(|| Stop::setup("the runtime wrote no pid file at create"))
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.shared.cx.dir().join(format!("{}.pid", safe_name(&self.shared.id)))
    }

    fn io_stem(&self) -> PathBuf {
        self.shared.cx.dir().join(format!("{}-io", safe_name(&self.shared.id)))
    }

    /// A violation when the bundle is the subject, trouble otherwise, unless the call succeeded.
    fn accepted(&self, call: &Call, verb: &str) -> Result<(), Stop> {
        if self.shared.subject {
            if call.succeeded() {
                return Ok(());
            }
            return Err(Stop::violation(format!("{verb} accepts this valid bundle"), call.describe()));
        }
        call.ready(&format!("{verb} of a plain container")).map(|_| ())
    }

    /// Asks for the state; a violation unless the runtime answers it.
    pub async fn state(&self) -> Result<State, Stop> {
        self.shared.cx.runtime().state(&self.shared.id).await
    }

    /// The nonce of the program's answers; a spawned child K answers under `NONCE.K`.
    pub fn nonce(&self) -> &str {
        &self.shared.nonce
    }

    /// Calls create in a form of the case's own: these flags, then the id unless it is empty. The bundle stands in
    /// the flags or in the options' working directory.
    pub async fn create_by(&self, flags: &[&str], id: &str, options: CallOptions) -> Result<Call, Stop> {
        self.made_by("create", flags, id, options).await
    }

    /// Calls run with these flags, the bundle's among them if there is any. In the foreground it returns at the end.
    pub async fn run_by(&self, flags: &[&str], options: CallOptions) -> Result<Call, Stop> {
        self.made_by("run", flags, self.id(), options).await
    }

    async fn made_by(
        &self,
        verb: &str,
        flags: &[&str],
        id: &str,
        mut options: CallOptions,
    ) -> Result<Call, Stop> {
        self.shared.attempted.set(true);
        let pid_file = self.pid_file();
        let _ = fs::remove_file(&pid_file);
        let pid_text = pid_file.display().to_string();
        let mut args = vec![verb, "--pid-file", &pid_text];
        args.extend_from_slice(flags);
        args.extend(Some(id).filter(|id| !id.is_empty()));
        options.output.get_or_insert_with(|| self.io_stem());
        let call = self.shared.cx.runtime().call_with(&args, options).await?;
        if call.succeeded() {
            self.shared.pid.set(fs::read_to_string(&pid_file).ok().and_then(|t| t.trim().parse().ok()));
        }
        Ok(call)
    }

    /// Calls start.
    pub async fn start(&self) -> Result<Call, Stop> {
        self.shared.cx.runtime().start(&self.shared.id).await
    }

    /// Calls kill with a signal by number or name.
    pub async fn kill(&self, signal: &str) -> Result<Call, Stop> {
        self.shared.cx.runtime().kill(&self.shared.id, signal).await
    }

    /// Calls delete.
    pub async fn delete(&self) -> Result<Call, Stop> {
        let call = self.shared.cx.runtime().delete(&self.shared.id).await?;
        self.shared.deleted.set(self.shared.deleted.get() || call.succeeded());
        Ok(call)
    }

    /// Calls delete with force.
    pub async fn delete_force(&self) -> Result<Call, Stop> {
        let call = self.shared.cx.runtime().delete_force(&self.shared.id).await?;
        self.shared.deleted.set(self.shared.deleted.get() || call.succeeded());
        Ok(call)
    }

    /// Calls exec with these flags and this program; flags stand before the id.
    pub async fn exec_args(&self, flags: &[&str], args: &[&str]) -> Result<Call, Stop> {
        let all: Vec<&str> =
            ["exec"].iter().chain(flags).copied().chain([self.id()]).chain(args.iter().copied()).collect();
        self.shared.cx.runtime().call(&all).await
    }

    /// Runs a script in the container through exec, and gives the call and the answers.
    pub async fn exec(&self, flags: &[&str], script: &Script) -> Result<(Call, Answers), Stop> {
        let nonce = format!("{}-exec-{}", self.shared.nonce, self.shared.cx.random());
        let call = self.exec_args(flags, &["/probe", &script.text(&nonce, None)]).await?;
        let answers = Answers::parse(&call.stdout, &nonce);
        Ok((call, answers))
    }

    /// Whether the init process is gone or a zombie, as the host sees it.
    pub fn has_exited(&self) -> bool {
        self.shared.cx.runtime().reaper().sweep();
        let Some(pid) = self.shared.pid.get() else { return false };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with(['Z', 'X'])),
            Err(_) => true,
        }
    }

    /// The init process's exit status (128 + signal number after a signal), once it has been reaped here.
    pub fn exit_status(&self) -> Option<i32> {
        self.shared.pid.get().and_then(|pid| self.shared.cx.runtime().reaper().exit_of(pid))
    }

    /// Waits until the init process has ended, as the host sees it.
    pub async fn wait_exit(&self) -> Result<(), Stop> {
        self.pid()?;
        wait_until("the container's process ends", self.shared.cx.limits().wait(), async || {
            Ok(if self.has_exited() { Poll::Ready(()) } else { Poll::NotYet("it still runs".into()) })
        })
        .await
    }

    /// Waits until the process has ended and the runtime calls the container stopped.
    pub async fn wait_stopped(&self) -> Result<(), Stop> {
        self.wait_exit().await?;
        self.wait_status("stopped").await.map(|_| ())
    }

    /// Waits until the runtime reports this status.
    pub async fn wait_status(&self, status: &str) -> Result<State, Stop> {
        wait_until(&format!("the state says {status}"), self.shared.cx.limits().wait(), async || {
            let state = self.state().await?;
            if state.status() == status {
                return Ok(Poll::Ready(state));
            }
            Ok(Poll::NotYet(state.status().to_owned()))
        })
        .await
    }

    /// All that the container wrote to its terminal or standard output so far.
    pub fn output(&self) -> Result<String, Stop> {
        match &*self.shared.console.borrow() {
            Some(console) => Ok(console.output()),
            None => capture(&self.io_stem().with_extension("out"), 2 << 20),
        }
    }

    /// All that the container (and the create call) wrote to standard error so far.
    pub fn error_output(&self) -> Result<String, Stop> {
        capture(&self.io_stem().with_extension("err"), 2 << 20)
    }

    /// The answers so far.
    pub fn answers_so_far(&self) -> Result<Answers, Stop> {
        Ok(Answers::parse(&self.output()?, &self.shared.nonce))
    }

    /// Waits for the answer to a step, and gives all answers so far.
    pub async fn wait_for_answer(&self, step: &str) -> Result<Answers, Stop> {
        self.wait_for(&format!("answers `{step}`"), |answers| !answers.all(step).is_empty()).await
    }

    /// Waits until the answers so far satisfy `condition`; `what` completes "the program ...".
    pub async fn wait_for(&self, what: &str, condition: impl Fn(&Answers) -> bool) -> Result<Answers, Stop> {
        let limit = self.shared.cx.limits().wait();
        let what = format!("the program {what}");
        let result = wait_until(&what, limit, async || {
            // Asked before the answers are read: what was written before the end is then seen.
            let ended = self.has_exited();
            let answers = self.answers_so_far()?;
            if condition(&answers) {
                return Ok(Poll::Ready(answers));
            }
            if ended {
                let actual = format!("it ended before; it wrote {:?}", self.shorten()?);
                return Err(Stop::violation(what.clone(), actual));
            }
            Ok(Poll::NotYet("no answer".into()))
        });
        self.by_subject(result.await)
    }

    /// Waits for the program's end and gives its answers, which have to be complete.
    pub async fn finished_answers(&self) -> Result<Answers, Stop> {
        self.wait_exit().await?;
        // What a terminal still holds is read by a thread of its own, which may be a moment behind.
        let settle = Duration::from_secs(if self.console().is_some() { 2 } else { 0 });
        let done = wait_until("the answers are complete", settle, async || {
            let answers = self.answers_so_far()?;
            Ok(if answers.is_done() { Poll::Ready(answers) } else { Poll::NotYet(String::new()) })
        });
        if let Ok(answers) = done.await {
            return Ok(answers);
        }
        let end = self.exit_status().map_or("it ended".into(), |s| format!("it ended with status {s}"));
        let actual = format!("{end} before; it wrote {:?}", self.shorten()?);
        self.by_subject(Err(Stop::violation("the program runs to its end", actual)))
    }

    /// A violation in an unchanged bundle's start is trouble of the set-up: it is not what the case is about.
    fn by_subject<T>(&self, result: Result<T, Stop>) -> Result<T, Stop> {
        match result {
            Err(Stop::Violation(v)) if !self.shared.subject => {
                Err(Stop::setup(format!("a plain container: expected {}, got {}", v.expected, v.actual)))
            }
            other => other,
        }
    }

    fn shorten(&self) -> Result<String, Stop> {
        let text = format!("{}{}", self.output()?, self.error_output()?);
        Ok(text.chars().take(400).collect())
    }

    /// The answers of a hook; empty when it did not run.
    pub fn hook_answers(&self, hook: &Hook) -> Result<Answers, Stop> {
        Ok(Answers::parse(&self.hook_log()?, &hook.nonce(&self.shared.nonce)))
    }

    /// Whether a hook ran to its end.
    pub fn hook_ran(&self, hook: &Hook) -> Result<bool, Stop> {
        Ok(self.hook_answers(hook)?.is_done())
    }

    /// The names of the hooks that ran, in the order in which they began.
    pub fn hooks_in_order(&self) -> Result<Vec<String>, Stop> {
        let prefix = format!("{}-hook-", self.shared.nonce);
        let mut names: Vec<String> = Vec::new();
        for line in self.hook_log()?.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            let name = value["nonce"].as_str().and_then(|n| n.strip_prefix(&prefix)).map(str::to_owned);
            names.extend(name.filter(|n| !names.contains(n)));
        }
        Ok(names)
    }

    fn hook_log(&self) -> Result<String, Stop> {
        capture(&self.shared.cx.shared().join(HOOK_LOG), 4 << 20)
    }

    /// A file of the init process below `/proc/PID`.
    pub fn proc_file(&self, name: &str) -> Result<String, Stop> {
        let path = format!("/proc/{}/{name}", self.pid()?);
        fs::read_to_string(&path).map_err(|e| Stop::setup(format!("reading the init process's {name}: {e}")))
    }

    /// The namespace of the init process: the text of `/proc/PID/ns/NAME`.
    pub fn namespace(&self, name: &str) -> Result<String, Stop> {
        let path = format!("/proc/{}/ns/{name}", self.pid()?);
        let link =
            fs::read_link(&path).map_err(|e| Stop::setup(format!("reading the namespace {name}: {e}")))?;
        Ok(link.display().to_string())
    }

    /// The init process's cgroup of a controller (empty name: version 2), as a directory on the host.
    pub fn cgroup(&self, controller: &str) -> Result<PathBuf, Stop> {
        let text = self.proc_file("cgroup")?;
        let all = host::hierarchies();
        let v1 = |c: &str| c.split(',').any(|x| x == controller);
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (parts.next(), parts.next()) else { continue };
            let hierarchy = all.iter().find(|h| {
                if names.is_empty() {
                    h.unified
                } else {
                    h.controllers.iter().any(|c| names.split(',').any(|n| n == c))
                }
            });
            let wanted = if controller.is_empty() { names.is_empty() } else { v1(names) };
            if let (true, Some(h)) = (wanted, hierarchy) {
                return Ok(h.mount.join(path.trim_start_matches('/')));
            }
        }
        // A controller of version 2 has no line of its own.
        if controller.is_empty() {
            return Err(Stop::setup("the init process is in no version 2 cgroup"));
        }
        cgroup_v2_of(&text, &all, controller)
    }

    /// Directories of this container's cgroups path that exist on the host, over all hierarchies.
    pub fn cgroup_directories(&self) -> Vec<PathBuf> {
        let path =
            self.shared.config.pointer("/linux/cgroupsPath").and_then(Value::as_str).unwrap_or_default();
        if path.len() < 2 {
            return Vec::new();
        }
        let path = path.trim_start_matches('/');
        host::hierarchies().into_iter().map(|h| h.mount.join(path)).filter(|d| d.is_dir()).collect()
    }

    /// Demands that nothing of this container is left: no state, no state file, no cgroup, no process.
    pub async fn nothing_left(&self) -> Result<(), Stop> {
        let state = self.shared.cx.runtime().state_call(self.id()).await?;
        if state.succeeded() {
            return Err(Stop::violation("no container is left behind", "the state operation still knows it"));
        }
        wait_until("nothing of the container is left behind", self.shared.cx.limits().wait(), async || {
            let left = self.leftovers();
            Ok(if left.is_empty() { Poll::Ready(()) } else { Poll::NotYet(left.join(", ")) })
        })
        .await?;
        self.shared.deleted.set(true);
        Ok(())
    }

    fn leftovers(&self) -> Vec<String> {
        self.shared.cx.runtime().reaper().sweep();
        let mut left: Vec<String> =
            self.cgroup_directories().iter().map(|d| format!("cgroup {}", d.display())).collect();
        let entries = fs::read_dir(self.shared.cx.runtime().root()).into_iter().flatten().flatten();
        left.extend(
            entries
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .filter(|name| name.contains(self.id()))
                .map(|name| format!("state {name}")),
        );
        if !self.has_exited() && self.shared.pid.get().is_some() {
            left.push("its process".into());
        }
        left
    }

    /// Whether the harness still has to delete it.
    pub fn needs_cleanup(&self) -> bool {
        self.shared.attempted.get() && !self.shared.deleted.get()
    }
}

/// A controller of version 2 has no line of its own in `/proc/PID/cgroup`.
fn cgroup_v2_of(text: &str, all: &[host::Hierarchy], controller: &str) -> Result<PathBuf, Stop> {
    let path = text.lines().find_map(|l| l.strip_prefix("0::"));
    match (path, all.iter().find(|h| h.unified)) {
        (Some(path), Some(h)) => Ok(h.mount.join(path.trim_start_matches('/'))),
        _ => Err(Stop::setup(format!("the init process is in no cgroup of {controller}"))),
    }
}
