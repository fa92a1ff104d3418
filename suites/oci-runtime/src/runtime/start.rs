//! runtime.md, start: the program runs as configured, once, and only from the state created.

use super::support::{Snapshot, pause, unchanged};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    runs_the_program,
    program_gets_its_arguments,
    program_gets_its_environment,
    missing_id_is_error,
    other_states_are_errors,
    refused_start_has_no_effect,
    refused_start_runs_no_hook_again,
    container_without_process_is_error,
];

/// Start runs the program of the configuration.
#[case(covers = ["start.runs-program"])]
async fn runs_the_program(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["cwd"]).exit(0)).created().await?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    check_eq!(answers.facts("cwd")?["cwd"], json!("/"), "the program's working directory");
    Ok(())
}

const ARGUMENTS: &[Variant] = &[
    Variant::new("none", &[]),
    Variant::new("empty", &[]),
    Variant::new("blanks-and-quotes", &[]),
    Variant::new("newline", &[]),
    Variant::new("shell-characters", &[]),
    Variant::new("non-ascii", &[]),
    Variant::new("many", &[]),
    Variant::new("long", &[]),
];

/// The program gets the arguments of the configuration, each exactly as it stands.
#[case(covers = ["start.runs-program"], matrix(arguments = ARGUMENTS))]
async fn program_gets_its_arguments(cx: &mut Cx) -> Verdict {
    let more: Vec<String> = match cx.param("arguments") {
        "none" => Vec::new(),
        "empty" => vec![String::new(), "x".into(), String::new()],
        "blanks-and-quotes" => vec![" a  b ".into(), "\"'\\".into()],
        "newline" => vec!["a\nb\t".into()],
        "shell-characters" => vec!["$HOME `id` $(id) ; * ~ %s".into()],
        "non-ascii" => vec!["grüße ☂ 🦀".into()],
        "many" => (0..1000).map(|i| i.to_string()).collect(),
        _ => vec!["x".repeat(100_000)],
    };
    let container = cx.container(probe::ask(["argv"])).written()?.container;
    // The script's own text is what stands in the written configuration.
    let script = container.config()["process"]["args"][1].clone();
    let mut config = container.config().clone();
    let args = config["process"]["args"].as_array_mut().ok_or_else(|| Stop::setup("no args"))?;
    args.extend(more.iter().map(|a| json!(a)));
    container.bundle().write(&config)?;
    let bundle = container.bundle().dir().display().to_string();
    container
        .create_by(&["--bundle", &bundle], container.id(), CallOptions::default())
        .await?
        .must_succeed()?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    let seen = answers.facts("argv")?["argv"].as_array().cloned().unwrap_or_default();
    let mut expected = vec![json!("/probe"), script];
    expected.extend(more.iter().map(|a| json!(a)));
    check_eq!(seen.len(), expected.len(), "the number of arguments");
    check_eq!(seen, expected, "the arguments");
    Ok(())
}

/// The program gets the environment of the configuration.
#[case(covers = ["start.runs-program"])]
async fn program_gets_its_environment(cx: &mut Cx) -> Verdict {
    let given = ["PATH=/bin", "EMPTY=", "BLANK= a b ", "EQUALS=a=b", "ÜMLAUT=☂"];
    let answers = cx.container(probe::ask(["env"])).set("/process/env", json!(given)).answers().await?;
    let seen = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    for entry in given {
        check!(seen.contains(&json!(entry)), format!("{entry:?} in the environment"), "{seen:?}");
    }
    Ok(())
}

const NO_ID: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// Start without a container id is an error.
#[case(covers = ["start.no-id.errors"], matrix(id = NO_ID))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    let args: &[&str] = if cx.param("id") == "absent" { &["start"] } else { &["start", ""] };
    cx.runtime().call(args).await?.must_fail()?;
    Ok(())
}

const NOT_CREATED: &[Variant] = &[
    Variant::new("unknown", &[]),
    Variant::new("deleted", &[]),
    Variant::new("running", &[]),
    Variant::new("paused", &[]),
    Variant::new("stopped", &[]),
    Variant::new("killed-before-start", &["start.not-created.errors", "kill.sends-signal"]),
];

/// Start of a container that is not in the state created is an error.
#[case(covers = ["start.not-created.errors"], matrix(stage = NOT_CREATED))]
async fn other_states_are_errors(cx: &mut Cx) -> Verdict {
    let id = match cx.param("stage") {
        "unknown" => cx.new_id(),
        "deleted" => {
            let container = cx.container(probe::exit(0)).stopped().await?;
            container.delete().await?.ready("delete")?;
            container.id().to_owned()
        }
        "running" => cx.container(probe::pause()).running().await?.id().to_owned(),
        "paused" => {
            let container = cx.container(probe::pause()).running().await?;
            pause(cx, &container).await?;
            container.id().to_owned()
        }
        "stopped" => cx.container(probe::exit(0)).stopped().await?.id().to_owned(),
        _ => {
            let container = cx.container(probe::pause()).created().await?;
            container.kill("KILL").await?.must_succeed().map_err(|stop| stop.of("kill.sends-signal"))?;
            container.wait_stopped().await?;
            container.id().to_owned()
        }
    };
    cx.runtime().start(&id).await?.must_fail()?;
    Ok(())
}

const STARTED: &[Variant] = &[Variant::new("running", &[]), Variant::new("stopped", &[])];

/// A refused start does not run the program again and changes nothing.
#[case(covers = ["start.not-created.no-effect", "errors.leave-state-unchanged"], matrix(stage = STARTED))]
async fn refused_start_has_no_effect(cx: &mut Cx) -> Verdict {
    let marker = cx.shared().join("runs");
    let mark = probe::script().act(
        "write",
        json!({ "path": "/mnt/runs", "data": "x", "create": true, "append": true, "mode": "0666" }),
    );
    let script = if cx.param("stage") == "running" { mark.pause() } else { mark };
    let shared = cx.shared().display().to_string();
    let builder = cx
        .container(script)
        .mount(json!({ "destination": "/mnt", "type": "bind", "source": shared, "options": ["bind"] }))
        .setup();
    let container =
        if cx.param("stage") == "running" { builder.running().await? } else { builder.stopped().await? };
    let state = container.state().await?;
    let before = Snapshot::take(cx, &[container.bundle().dir()]);
    container.start().await?.must_fail()?;
    check_eq!(container.state().await?, state, "the state after the refused start");
    unchanged(cx, &before, &[container.bundle().dir()]).await?;
    check_eq!(fs::read_to_string(&marker)?, "x", "one mark for each run of the program");
    Ok(())
}

const START_HOOKS: &[Variant] = &[
    Variant::new("startContainer", &["start.not-created.no-effect", "hooks.start-container.invoked"]),
    Variant::new("poststart", &["start.not-created.no-effect"]),
];

/// A refused start runs no hook a second time.
#[case(covers = [], matrix(kind = START_HOOKS))]
async fn refused_start_runs_no_hook_again(cx: &mut Cx) -> Verdict {
    let hook = super::state_hooks::hook_of(cx)?.asks(["stamp"]);
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    let first = container.hook_answers(&hook)?;
    check!(first.is_done(), "the hook runs at the first start", "it did not");
    container.start().await?.must_fail()?;
    check_eq!(container.hook_answers(&hook)?.all("stamp"), first.all("stamp"), "the hook's runs");
    Ok(())
}

/// Start of a container without a process in its configuration is an error.
#[case(covers = ["start.no-process.errors"])]
async fn container_without_process_is_error(cx: &mut Cx) -> Verdict {
    let (create, container) = cx.container(probe::exit(0)).remove("/process").attempt().await?;
    cx.record("create.without-process", if create.succeeded() { "accepted" } else { "refused" });
    if !create.succeeded() {
        create.must_fail()?;
        return container.nothing_left().await;
    }
    container.start().await?.must_fail()?;
    check!(container.answers_so_far()?.is_empty(), "no program runs", "the program has answered");
    Ok(())
}
