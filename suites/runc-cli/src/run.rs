//! run: create and start in one call, in the foreground or detached.

use super::support::{NO_PROGRAM, must_say, need_flag, need_verb};
use plimsoll_kit::console::ConsoleSocket;
use plimsoll_kit::exec::CallStatus;
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    program_status_is_passed_on,
    container_is_deleted_at_the_end,
    keep_leaves_the_stopped_container,
    detached_returns_while_the_program_runs,
    pid_file_holds_the_process_id,
    streams_are_passed_through,
    missing_program_is_told,
    terminal_goes_over_the_console_socket,
    failed_run_leaves_nothing,
];

const CODES: &[Variant] = &[
    Variant::new("0", &[]),
    Variant::new("1", &[]),
    Variant::new("42", &[]),
    Variant::new("127", &[]),
    Variant::new("255", &[]),
];

/// Writes the bundle and gives the flags that name it.
fn written(builder: Builder) -> Result<(Container, String), Stop> {
    let container = builder.written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    Ok((container, bundle))
}

/// A foreground run exits with the program's status.
#[case(covers = ["cli.run.exit-status"], matrix(code = CODES))]
async fn program_status_is_passed_on(cx: &mut Cx) -> Verdict {
    let code: u8 = cx.param("code").parse().unwrap_or_default();
    let (container, bundle) = written(cx.container(probe::exit(code)))?;
    let call = container.run_by(&["--bundle", &bundle], CallOptions::default()).await?;
    check!(container.answers_so_far()?.is_done(), "the program runs to its end", "{}", call.describe());
    check_eq!(call.status, CallStatus::Exited(i32::from(code)), "the status of run");
    Ok(())
}

/// At the end of a foreground run the container is gone.
#[case(covers = ["cli.run.deletes"])]
async fn container_is_deleted_at_the_end(cx: &mut Cx) -> Verdict {
    let (container, bundle) = written(cx.container(probe::exit(0)))?;
    container.run_by(&["--bundle", &bundle], CallOptions::default()).await?.must_succeed()?;
    container.nothing_left().await
}

/// With the keep flag the stopped container stays and can be deleted.
#[case(covers = ["cli.run.keep"])]
async fn keep_leaves_the_stopped_container(cx: &mut Cx) -> Verdict {
    need_flag(cx, "run", "keep").await?;
    let (container, bundle) = written(cx.container(probe::exit(0)))?;
    container.run_by(&["--keep", "--bundle", &bundle], CallOptions::default()).await?.must_succeed()?;
    check_eq!(container.state().await?.status(), "stopped", "the status after the run");
    container.delete().await?.must_succeed()?;
    container.nothing_left().await
}

/// A detached run returns while the program runs.
#[case(covers = ["cli.run.detach"])]
async fn detached_returns_while_the_program_runs(cx: &mut Cx) -> Verdict {
    need_flag(cx, "run", "detach").await?;
    let (container, bundle) = written(cx.container(probe::pause()))?;
    container.run_by(&["--detach", "--bundle", &bundle], CallOptions::default()).await?.must_succeed()?;
    container.wait_for("is ready", Answers::is_ready).await?;
    check_eq!(container.state().await?.status(), "running", "the status after the detached run");
    Ok(())
}

/// The pid file of a run holds the process id of the state.
#[case(covers = ["cli.run.pid-file"])]
async fn pid_file_holds_the_process_id(cx: &mut Cx) -> Verdict {
    let (container, bundle) = written(cx.container(probe::pause()))?;
    container.run_by(&["--detach", "--bundle", &bundle], CallOptions::default()).await?.must_succeed()?;
    check_eq!(container.state().await?.pid(), container.pid().ok(), "the pid file's number, by the state");
    Ok(())
}

/// Standard input, output and error of a foreground run are the program's.
#[case(covers = ["cli.run.stdio"])]
async fn streams_are_passed_through(cx: &mut Cx) -> Verdict {
    let script = probe::ask(["stdin"]).act("print", json!({ "fd": 2, "text": "to standard error\n" }));
    let (container, bundle) = written(cx.container(script))?;
    let options = CallOptions { stdin: Some(b"from the caller".to_vec()), ..CallOptions::default() };
    let call = container.run_by(&["--bundle", &bundle], options).await?;
    call.must_succeed()?;
    let answers = container.answers_so_far()?;
    check!(answers.is_done(), "the program's output on standard output", "{}", describe(&call.stdout));
    check_eq!(answers.facts("stdin")?["data"], json!("from the caller"), "what the program read");
    check!(
        call.stderr.contains("to standard error"),
        "the program's text on standard error",
        "{}",
        describe(&call.stderr)
    );
    Ok(())
}

/// A run of a missing program fails and says so in words that callers look for.
#[case(covers = ["cli.run.missing-program"])]
async fn missing_program_is_told(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::pause()).set("/process/args", json!(["/no/such/program"]));
    let (container, bundle) = written(builder)?;
    let call = container.run_by(&["--bundle", &bundle], CallOptions::default()).await?;
    must_say(&call, NO_PROGRAM)
}

/// A failed run leaves no container behind.
#[case(covers = ["cli.run.start-failure-cleans"])]
async fn failed_run_leaves_nothing(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::pause()).set("/process/args", json!(["/no/such/program"]));
    let (container, bundle) = written(builder)?;
    container.run_by(&["--bundle", &bundle], CallOptions::default()).await?.must_fail()?;
    container.nothing_left().await
}

/// A detached run with a terminal sends it over the console socket.
#[case(covers = ["cli.run.console-socket"])]
async fn terminal_goes_over_the_console_socket(cx: &mut Cx) -> Verdict {
    need_verb(cx, "run").await?;
    let socket = ConsoleSocket::listen(&cx.dir().join("run.sock"))?;
    let path = socket.path().display().to_string();
    let (container, bundle) = written(cx.container(probe::pause()).set("/process/terminal", true))?;
    let flags = ["--detach", "--console-socket", &path, "--bundle", &bundle];
    container.run_by(&flags, CallOptions::default()).await?.must_succeed()?;
    let console = socket.receive(cx.limits().wait()).await?;
    check_eq!(console.descriptors, 1, "descriptors in the message");
    Ok(())
}
