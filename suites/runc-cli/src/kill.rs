//! kill, and what errors about containers that are not there or have ended say.

use super::support::{NOT_RUNNING, NOT_THERE, answers_at, must_say, need_flag, output_at, running};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    term_is_the_default,
    signal_is_taken_in_every_form,
    all_is_accepted,
    without_the_flag_only_the_program_is_signalled,
    stopped_container_is_told,
    unknown_container_is_told,
    start_of_an_unknown_id_is_error,
];

/// A script that waits for these signals and then ends.
fn waiting() -> Script {
    probe::script().act(
        "wait",
        json!({ "signals": ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2"], "timeout_ms": 20_000 }),
    )
}

/// Without a signal SIGTERM is sent.
#[case(covers = ["cli.kill.default-term"])]
async fn term_is_the_default(cx: &mut Cx) -> Verdict {
    let container = cx.container(waiting()).running().await?;
    cx.runtime().verb("kill", container.id()).await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    check_eq!(answers.facts("wait")?["signal"], json!("SIGTERM"), "the signal that arrived");
    Ok(())
}

const FORMS: &[Variant] = &[
    Variant::new("HUP", &[]),
    Variant::new("SIGHUP", &[]),
    Variant::new("1", &[]),
    Variant::new("USR1", &[]),
    Variant::new("SIGUSR1", &[]),
    Variant::new("10", &[]),
];

/// A signal is taken by its name, its full name and its number.
#[case(covers = ["cli.kill.forms"], matrix(signal = FORMS))]
async fn signal_is_taken_in_every_form(cx: &mut Cx) -> Verdict {
    let container = cx.container(waiting()).running().await?;
    container.kill(cx.param("signal")).await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    let expected =
        if cx.param("signal").ends_with("USR1") || cx.param("signal") == "10" { "SIGUSR1" } else { "SIGHUP" };
    check_eq!(answers.facts("wait")?["signal"], json!(expected), "the signal that arrived");
    Ok(())
}

/// The flag that asks for all processes is accepted, and the container ends.
#[case(covers = ["cli.kill.all"])]
async fn all_is_accepted(cx: &mut Cx) -> Verdict {
    need_flag(cx, "kill", "all").await?;
    let container = running(cx).await?;
    cx.runtime().call(&["kill", "--all", container.id(), "KILL"]).await?.must_succeed()?;
    container.wait_stopped().await
}

/// Without the flag only the container's program gets the signal, with it a process of exec does as well.
#[case(covers = ["cli.kill.all"])]
async fn without_the_flag_only_the_program_is_signalled(cx: &mut Cx) -> Verdict {
    need_flag(cx, "kill", "all").await?;
    // It waits once more: a program that the second signal ended would take the other process with it.
    let again = json!({ "signals": ["USR2"], "timeout_ms": 20_000 });
    let container = cx.container(waiting().act("wait", again).pause()).running().await?;
    let nonce = format!("{}-other", container.nonce());
    let stem = cx.dir().join("other");
    let text = waiting().text(&nonce, None);
    // With a pid file, as callers do: what an exec without one does is another case's question.
    let pid_file = cx.dir().join("other.pid").display().to_string();
    let args = ["exec", "--detach", "--pid-file", &pid_file, container.id(), "/probe", &text];
    cx.runtime().call_with(&args, output_at(&stem)).await?.ready("a detached exec")?;
    answers_at(cx, &stem, &nonce, Answers::is_ready).await?;
    container.kill("USR1").await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    check_eq!(answers.facts("wait")?["signal"], json!("SIGUSR1"), "the signal that the program got");
    cx.runtime().call(&["kill", "--all", container.id(), "USR2"]).await?.must_succeed()?;
    let other = answers_at(cx, &stem, &nonce, |a| !a.all("wait").is_empty()).await?;
    check_eq!(
        other.facts("wait")?["signal"],
        json!("SIGUSR2"),
        "the first signal that the other process got"
    );
    Ok(())
}

/// A kill of a stopped container fails in words that callers look for.
#[case(covers = ["cli.kill.stopped-text"])]
async fn stopped_container_is_told(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?;
    must_say(&container.kill("TERM").await?, NOT_RUNNING)
}

const VERBS: &[Variant] = &[
    Variant::new("state", &["cli.state.unknown"]),
    Variant::new("kill", &["cli.kill.unknown-text"]),
    Variant::new("delete", &["cli.delete.unknown"]),
];

/// An operation on a container that is not there says so in words that callers look for.
#[case(covers = [], matrix(verb = VERBS))]
async fn unknown_container_is_told(cx: &mut Cx) -> Verdict {
    let id = cx.new_id();
    let args: &[&str] =
        if cx.param("verb") == "kill" { &["kill", &id, "9"] } else { &[cx.param("verb"), &id] };
    must_say(&cx.runtime().call(args).await?, NOT_THERE)
}

/// The start of a container that is not there is an error.
#[case(covers = ["cli.start.unknown"])]
async fn start_of_an_unknown_id_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().start(&cx.new_id()).await?.must_fail()?;
    Ok(())
}
