//! Flags of create.

use super::support::{extra_fds, need_flag};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs::{self, File};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    bundle_can_be_named_in_three_ways,
    pid_file_holds_the_process_id,
    relative_pid_file_is_below_the_working_directory,
    console_socket_gets_the_terminal,
    terminal_without_console_socket_is_error,
    flag_is_accepted_and_the_container_works,
    preserved_descriptors_arrive,
    listen_fds_are_recorded,
    id_in_use_is_error,
    state_is_one_object,
    flags_behind_the_id_are_recorded,
];

const BUNDLES: &[Variant] =
    &[Variant::new("long", &[]), Variant::new("short", &[]), Variant::new("working-directory", &[])];

/// The bundle is named by a long flag, a short flag or the working directory.
#[case(covers = ["cli.create.bundle"], matrix(form = BUNDLES))]
async fn bundle_can_be_named_in_three_ways(cx: &mut Cx) -> Verdict {
    if cx.param("form") == "short" {
        // Some parsers have long flags only, with any number of dashes.
        need_short(cx).await?;
    }
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let flags: &[&str] = match cx.param("form") {
        "long" => &["--bundle", &bundle],
        "short" => &["-b", &bundle],
        _ => &[],
    };
    let cwd = flags.is_empty().then(|| container.bundle().dir().to_owned());
    let options = CallOptions { cwd, ..CallOptions::default() };
    container.create_by(flags, container.id(), options).await?.must_succeed()?;
    check_eq!(container.state().await?.bundle(), bundle, "the bundle in the state");
    Ok(())
}

async fn need_short(cx: &Cx) -> Result<(), Stop> {
    let help = super::support::need_verb(cx, "create").await?;
    if super::support::names_flag(&help, "b") {
        return Ok(());
    }
    Err(Stop::NotApplicable {
        capability: "short-flags".into(),
        reason: "the help of `create` does not name -b".into(),
    })
}

/// The pid file holds the process id of the state, and nothing else.
#[case(covers = ["cli.create.pid-file"])]
async fn pid_file_holds_the_process_id(cx: &mut Cx) -> Verdict {
    let path = cx.dir().join("own.pid");
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let pid_file = path.display().to_string();
    let flags = ["--bundle", &bundle, "--pid-file", &pid_file];
    container.create_by(&flags, container.id(), CallOptions::default()).await?.must_succeed()?;
    let text = fs::read_to_string(&path).unwrap_or_default();
    let pid = container.state().await?.pid().unwrap_or_default();
    check_eq!(text.trim_end(), pid.to_string(), "the content of the pid file");
    Ok(())
}

/// A relative pid file is made below the caller's working directory.
#[case(covers = ["cli.create.pid-file-relative"])]
async fn relative_pid_file_is_below_the_working_directory(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let options = CallOptions { cwd: Some(cx.shared()), ..CallOptions::default() };
    let flags = ["--bundle", &bundle, "--pid-file", "relative.pid"];
    container.create_by(&flags, container.id(), options).await?.must_succeed()?;
    let text = fs::read_to_string(cx.shared().join("relative.pid")).unwrap_or_default();
    let pid = container.state().await?.pid().unwrap_or_default();
    check_eq!(text.trim_end(), pid.to_string(), "the content of the pid file");
    Ok(())
}

/// The console socket receives one descriptor, and the program's terminal is on its other side.
#[case(covers = ["cli.create.console-socket"])]
async fn console_socket_gets_the_terminal(cx: &mut Cx) -> Verdict {
    let script = probe::ask(["stdio_tty"]).pause();
    let container = cx.container(script).terminal().running().await?;
    let console = container.console().ok_or_else(|| Stop::setup("no terminal was received"))?;
    check_eq!(console.descriptors, 1, "descriptors in the message");
    cx.record("cli.console-socket.payload", if console.payload.is_empty() { "empty" } else { "text" });
    let answers = container.answers_so_far()?;
    check_eq!(answers.facts("stdio_tty")?["stdio"][0]["isatty"], json!(true), "standard input is a terminal");
    Ok(())
}

/// A terminal that nobody can receive is an error of create.
#[case(covers = ["cli.create.console-socket-needed"])]
async fn terminal_without_console_socket_is_error(cx: &mut Cx) -> Verdict {
    let (call, container) = cx.container(probe::pause()).set("/process/terminal", true).attempt().await?;
    call.must_fail()?;
    container.nothing_left().await
}

const ACCEPTED: &[Variant] = &[
    Variant::new("no-pivot", &["cli.create.no-pivot"]),
    Variant::new("no-new-keyring", &["cli.create.no-new-keyring"]),
];

/// A flag that engines pass on is accepted, and the container works.
#[case(covers = [], matrix(flag = ACCEPTED))]
async fn flag_is_accepted_and_the_container_works(cx: &mut Cx) -> Verdict {
    need_flag(cx, "create", cx.param("flag")).await?;
    let flag = format!("--{}", cx.param("flag"));
    let (call, container) = cx.container(probe::ask(["identity"])).flag(&flag).attempt().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    check_eq!(container.finished_answers().await?.facts("identity")?["pid"], json!(1), "the program's pid");
    Ok(())
}

/// Descriptors from 3 on reach the program when they are to be preserved, and no more of them.
#[case(covers = ["cli.create.preserve-fds"])]
async fn preserved_descriptors_arrive(cx: &mut Cx) -> Verdict {
    need_flag(cx, "create", "preserve-fds").await?;
    let path = cx.dir().join("passed");
    fs::write(&path, "passed")?;
    let open = || File::open(&path).map(Into::into);
    let answers = cx
        .container(probe::ask(["fds"]))
        .flag("--preserve-fds=2")
        .pass_fd(open()?, 3)
        .pass_fd(open()?, 4)
        .pass_fd(open()?, 5)
        .answers()
        .await?;
    check_eq!(extra_fds(&answers)?, vec![3, 4], "the program's descriptors above 2");
    Ok(())
}

/// Descriptors of socket activation are recorded.
#[case(covers = ["cli.create.listen-fds"])]
async fn listen_fds_are_recorded(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["fds"])).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let path = cx.dir().join("passed");
    fs::write(&path, "passed")?;
    let options = CallOptions {
        fds: vec![(File::open(&path)?.into(), 3)],
        env: vec![("LISTEN_FDS".into(), "1".into())],
        ..CallOptions::default()
    };
    let call = container.create_by(&["--bundle", &bundle], container.id(), options).await?;
    call.ready("create with LISTEN_FDS")?;
    container.start().await?.ready("start")?;
    cx.record("cli.create.listen-fds", json!(extra_fds(&container.finished_answers().await?)?));
    Ok(())
}

/// An id that is in use is an error, and its container stays as it is.
#[case(covers = ["cli.create.exists"])]
async fn id_in_use_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let bundle = container.bundle().dir().display().to_string();
    cx.runtime().call(&["create", "--bundle", &bundle, container.id()]).await?.must_fail()?;
    check_eq!(container.state().await?.status(), "running", "the status of the first container");
    check!(!container.has_exited(), "its program lives", "it has ended");
    Ok(())
}

/// The state command prints one JSON object with id, status, pid and bundle.
#[case(covers = ["cli.state.json"])]
async fn state_is_one_object(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let call = cx.runtime().state_call(container.id()).await?;
    call.must_succeed()?;
    let state: Value = serde_json::from_str(&call.stdout).unwrap_or_default();
    check!(state.is_object(), "one JSON object", "{}", describe(&call.stdout));
    check_eq!(state["id"], json!(container.id()), "id");
    check_eq!(state["status"], json!("running"), "status");
    check_eq!(state["bundle"], json!(container.bundle().dir().display().to_string()), "bundle");
    check!(state["pid"].as_i64().is_some_and(|p| p > 0), "a pid", "{}", state["pid"]);
    Ok(())
}

/// Whether flags may stand behind the container id is recorded.
#[case(covers = ["cli.flags.after-id"])]
async fn flags_behind_the_id_are_recorded(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let call = cx.runtime().call(&["delete", container.id(), "--force"]).await?;
    cx.record("cli.flags.after-id", call.succeeded());
    Ok(())
}
