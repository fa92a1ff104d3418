//! Global flags, and mistakes on the command line.

use super::support::NO_VERB;
use plimsoll_kit::prelude::*;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    version_names_the_specification,
    roots_are_separate,
    failed_call_is_in_the_log,
    failed_call_is_an_error_in_the_json_log,
    unknown_log_format_is_error,
    debug_changes_no_result,
    unknown_command_is_error,
    unknown_flag_is_error,
    missing_id_is_error,
];

/// The version output has a line with name and version, and one with the specification's version.
#[case(covers = ["cli.global.version"])]
async fn version_names_the_specification(cx: &mut Cx) -> Verdict {
    let call = cx.runtime().call(&["--version"]).await?;
    call.must_succeed()?;
    let first = call.stdout.lines().next().unwrap_or_default();
    check!(first.contains(" version "), "a first line NAME version X", "{first:?}");
    let spec = call.stdout.lines().find_map(|l| l.trim().strip_prefix("spec:")).unwrap_or_default().trim();
    check!(spec.starts_with(|c: char| c.is_ascii_digit()), "a line `spec: VERSION`", "{:?}", call.stdout);
    Ok(())
}

/// A container is known below its own root only.
#[case(covers = ["cli.global.root"])]
async fn roots_are_separate(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let other = cx.dir().join("other-root");
    fs::create_dir_all(&other)?;
    cx.runtime().with_root(other).state_call(container.id()).await?.must_fail()?;
    let entries = fs::read_dir(cx.runtime().root())?.count();
    check!(entries > 0, "the state below the root", "an empty directory");
    check_eq!(container.state().await?.status(), "created", "the status under its own root");
    Ok(())
}

/// The message of a failed call is in the log file.
#[case(covers = ["cli.global.log"])]
async fn failed_call_is_in_the_log(cx: &mut Cx) -> Verdict {
    let log = cx.dir().join("call.log");
    let path = log.display().to_string();
    cx.runtime().call(&["--log", &path, "start", &cx.new_id()]).await?.must_fail()?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    check!(!text.trim().is_empty(), "a message in the log file", "an empty or missing file");
    Ok(())
}

/// The last error of a JSON log is an object with the level error and a message.
#[case(covers = ["cli.global.log-format-json"])]
async fn failed_call_is_an_error_in_the_json_log(cx: &mut Cx) -> Verdict {
    let log = cx.dir().join("log.json");
    let path = log.display().to_string();
    let args = ["--log", &path, "--log-format", "json", "start", &cx.new_id()];
    cx.runtime().call(&args).await?.must_fail()?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    check_eq!(lines.len(), text.lines().count(), "lines of the log that are JSON");
    let errors = lines.iter().filter(|l| l["level"] == "error");
    let message = errors.filter_map(|l| l["msg"].as_str()).next_back().unwrap_or_default();
    check!(!message.is_empty(), "a line with level error and a msg", "{}", describe(&text));
    Ok(())
}

/// A log format that does not exist is an error.
#[case(covers = ["cli.global.log-format-unknown"])]
async fn unknown_log_format_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let log = cx.dir().join("x.log").display().to_string();
    let args = ["--log", &log, "--log-format", "plimsoll", "state", container.id()];
    cx.runtime().call(&args).await?.must_fail()?;
    Ok(())
}

/// The debug flag changes nothing on standard output.
#[case(covers = ["cli.global.debug"])]
async fn debug_changes_no_result(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let log = cx.dir().join("debug.log").display().to_string();
    let call = cx.runtime().call(&["--log", &log, "--debug", "state", container.id()]).await?;
    call.must_succeed()?;
    let seen: Value = serde_json::from_str(&call.stdout).unwrap_or_default();
    check_eq!(seen, container.state().await?.raw, "the state with --debug");
    Ok(())
}

/// A command that does not exist is an error.
#[case(covers = ["cli.global.unknown-command"])]
async fn unknown_command_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().call(&[NO_VERB, "some-id"]).await?.must_fail()?;
    Ok(())
}

const VERBS: &[Variant] = &[
    Variant::new("create", &[]),
    Variant::new("start", &[]),
    Variant::new("state", &[]),
    Variant::new("kill", &[]),
    Variant::new("delete", &[]),
];

/// A flag that does not exist is an error of every command.
#[case(covers = ["cli.global.unknown-flag"], matrix(verb = VERBS))]
async fn unknown_flag_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let args = [cx.param("verb"), "--plimsoll-no-such-flag", container.id()];
    cx.runtime().call(&args).await?.must_fail()?;
    check_eq!(container.state().await?.status(), "created", "the status afterwards");
    Ok(())
}

/// A command that needs a container id fails without one.
#[case(covers = ["cli.global.no-command-id"], matrix(verb = VERBS))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().call(&[cx.param("verb")]).await?.must_fail()?;
    Ok(())
}
