//! `plimsoll testbed`: a private CRI server of another product around a command, cleared away afterwards.

use crate::args::{ContainerdArgs, Global, TestbedVerb};
use crate::output;
use crate::run::{bundled, fit_host, fresh_seed};
use crate::usage::{self, Failure};
use plimsoll_engine::journal::{Made, RunDir};
use plimsoll_engine::{gc, sandbox};
use plimsoll_kit::job::Limits;
use plimsoll_model::ExitCode;
use plimsoll_testbed::{Handler, Options, Testbed};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells the command which endpoint `@testbed` is.
pub const VARIABLE: &str = "PLIMSOLL_TESTBED";
/// The handler of the bundled OCI runtime.
const REFERENCE: &str = "plimsoll-oci";
/// Time that the command gets to end after a signal was passed on to it.
const GRACE: Duration = Duration::from_secs(60);

/// `plimsoll testbed`; gives the exit code of the command.
pub fn verb(global: &Global, verb: TestbedVerb) -> Result<u8, Failure> {
    let TestbedVerb::Containerd(args) = verb;
    fit_host(global)?;
    let handlers = handlers(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::trouble(format!("the event loop cannot be made: {e}")))?;
    runtime.block_on(around(global, &args, handlers))
}

/// The handlers that are asked for, in that order; without any, the bundled runtime behind those that are installed.
fn handlers(args: &ContainerdArgs) -> Result<Vec<Handler>, Failure> {
    let mut known = Handler::installed();
    let own = Handler::new(REFERENCE, bundled()?.program).with_flags(&["oci"]);
    known.push(own);
    if args.handler.is_empty() {
        return Ok(known);
    }
    let find = |name: &String| {
        known.iter().find(|h| h.name == *name).cloned().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|h| h.name.as_str()).collect();
            Failure::usage(format!("no runtime for a handler `{name}` is installed"))
                .hint(format!("installed: {}", names.join(", ")))
        })
    };
    args.handler.iter().map(find).collect()
}

async fn around(global: &Global, args: &ContainerdArgs, handlers: Vec<Handler>) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let id = format!("{:08x}", fresh_seed() as u32);
    let work =
        |e: std::io::Error| usage::file("make", &global.work_dir, &e).hint("choose another --work-dir");
    let mut run = RunDir::create(&global.work_dir, &id).map_err(work)?;
    let result = inside(&mut run, args, handlers, &mut signals).await;
    let program = bundled()?.program;
    match gc::remove(run.path(), &run.intent, &run.made, &program, Limits::default()).await {
        gc::Found::Stuck(_, what) => {
            output::note(&format!("could not be removed: {}; try `plimsoll gc`", what.join(", ")));
            result.map(|code| if code == 0 { ExitCode::Trouble.code() } else { code })
        }
        _ => result,
    }
}

async fn inside(
    run: &mut RunDir,
    args: &ContainerdArgs,
    handlers: Vec<Handler>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let trouble = |e: &dyn std::fmt::Display| Failure::trouble(format!("the testbed: {e}"));
    let mut options = Options::new(plimsoll_kit::probe::PROBE.to_vec());
    options.handlers = handlers;
    options.base = run.path().to_owned();
    options.containerd.clone_from(&args.containerd);
    options.cni_bin.clone_from(&args.cni_bin);
    // containerd puts pods that name no cgroup parent below its namespace's name; their ids stand in its log.
    let made = Made::CgroupsInLogs { parent: "k8s.io".into() };
    run.record(&made).map_err(|e| trouble(&e))?;
    let started = {
        // What is started here is found by its cgroup, even after this process was killed.
        let _inside = sandbox::Inside::enter(&run.intent.cgroup, "testbed").map_err(|e| trouble(&e))?;
        tokio::select! {
            started = Testbed::start(options) => Some(started),
            _ = signals.next() => None,
        }
    };
    let Some(started) = started else { return Ok(ExitCode::Interrupted.code()) };
    let bed = started.map_err(|e| {
        trouble(&e).hint("it needs containerd, the CNI plugins and an OCI runtime; see `plimsoll doctor`")
    })?;
    let target = format!("cri:unix://{}", bed.socket().display());
    let code = if args.command.is_empty() {
        show(&bed, &target);
        signals.next().await;
        Ok(ExitCode::Success.code())
    } else {
        command(args, &target, signals).await
    };
    bed.stop().await.map_err(|e| trouble(&e).hint("`plimsoll gc` removes what is left"))?;
    code
}

fn show(bed: &Testbed, target: &str) {
    for (n, name) in bed.handlers().enumerate() {
        let parameter = if n == 0 { String::new() } else { format!("?handler={name}") };
        output::line(&format!("{target}{parameter}"));
    }
    output::note(&format!("log: {}", bed.log().display()));
    output::note("up until Ctrl-C; each line above is a target for `plimsoll run -t`");
}

async fn command(args: &ContainerdArgs, target: &str, signals: &mut Signals) -> Result<u8, Failure> {
    let program = Path::new(&args.command[0]);
    let mut child = Command::new(program)
        .args(&args.command[1..])
        .env(VARIABLE, target)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::usage(format!("cannot run {}: {e}", program.display())))?;
    let status = tokio::select! {
        status = child.wait() => status,
        signal = signals.next() => interrupted(&mut child, signal, signals).await,
    };
    let status = status.map_err(|e| Failure::trouble(format!("waiting for {}: {e}", program.display())))?;
    let by_signal = || 128 + status.signal().unwrap_or_default();
    Ok(u8::try_from(status.code().unwrap_or_else(by_signal)).unwrap_or(ExitCode::Trouble.code()))
}

/// Lets the command end by itself; a second signal, or a minute, ends it.
async fn interrupted(
    child: &mut Child,
    kind: SignalKind,
    signals: &mut Signals,
) -> std::io::Result<std::process::ExitStatus> {
    // A terminal has sent an interrupt to the command already; a second one would cut its clean-up short.
    if kind == SignalKind::terminate()
        && let Some(pid) = child.id()
    {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
    tokio::select! {
        status = child.wait() => return status,
        _ = signals.next() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    child.kill().await?;
    child.wait().await
}

struct Signals {
    int: Signal,
    term: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let watch =
            |kind| signal(kind).map_err(|e| Failure::trouble(format!("signals cannot be watched: {e}")));
        Ok(Self { int: watch(SignalKind::interrupt())?, term: watch(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.int.recv() => SignalKind::interrupt(),
            _ = self.term.recv() => SignalKind::terminate(),
        }
    }
}

/// Puts the endpoint of the testbed that runs this command in the place of `@testbed`.
pub fn expand(text: &str) -> Result<String, Failure> {
    let Some(rest) = text.strip_prefix("@testbed") else { return Ok(text.to_owned()) };
    let rest = match rest {
        "" => "",
        _ => rest.strip_prefix('?').ok_or_else(|| {
            Failure::usage(format!("`{text}` is not a target"))
                .hint("write @testbed or @testbed?handler=NAME")
        })?,
    };
    let target = std::env::var(VARIABLE).map_err(|_| {
        Failure::usage("`@testbed` is known only inside a testbed")
            .hint("plimsoll testbed containerd -- plimsoll run -t @testbed")
    })?;
    let mut parameters: Vec<String> =
        rest.split('&').filter(|p| !p.is_empty()).map(ToOwned::to_owned).collect();
    if !parameters.iter().any(|p| p.starts_with("name=")) {
        let handler = parameters.iter().rev().find_map(|p| p.strip_prefix("handler="));
        parameters.push(handler.map_or("name=containerd".to_owned(), |h| format!("name=containerd-{h}")));
    }
    Ok(format!("{target}?{}", parameters.join("&")))
}
