//! runtime.md, kill: a signal reaches the container's process, or the operation is an error without effect.

use super::support::{STAGES, Snapshot, unchanged};
use plimsoll_kit::prelude::*;
use plimsoll_kit::wait::Poll;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    signal_reaches_the_process,
    signal_by_its_number,
    signal_by_another_form_of_its_name,
    kill_signal_ends_the_process,
    stop_signal_stops_the_process,
    created_container_can_be_killed,
    only_the_first_process_is_signalled,
    unknown_signal_is_error,
    stopped_is_error,
    stopped_is_error_for_every_form,
    unknown_id_is_error,
    missing_id_is_error,
    refused_kill_changes_nothing,
];

/// A program that waits for any of these signals, and then pauses.
fn waiting(signals: &Value) -> Script {
    probe::script().act("wait", json!({ "signals": signals, "timeout_ms": 10_000 })).pause()
}

/// Waits until the program has said that it waits for signals.
async fn ready(cx: &Cx, container: &Container) -> Result<(), Stop> {
    wait_until("the program waits for its signals", cx.limits().wait(), async || {
        let output = container.output()?;
        Ok(if output.contains("\"ready\":true") { Poll::Ready(()) } else { Poll::NotYet(output) })
    })
    .await
}

/// A started container whose program waits for these signals.
async fn waiting_container(cx: &Cx, signals: &Value) -> Result<Container, Stop> {
    let container = cx.container(waiting(signals)).created().await?;
    container.start().await?.ready("start")?;
    ready(cx, &container).await?;
    Ok(container)
}

/// Signalling a running container delivers that very signal to its process.
#[case(covers = ["kill.sends-signal"])]
async fn signal_reaches_the_process(cx: &mut Cx) -> Verdict {
    let container = waiting_container(cx, &json!(["USR1", "USR2"])).await?;
    container.kill("USR2").await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    check_eq!(answers.granted("wait")?["signal"], json!("SIGUSR2"), "the signal that arrived");
    Ok(())
}

/// All signals that a program can wait for: 9 and 19 cannot be caught, 32 and 33 belong to the C library.
const NUMBERS: &[Variant] = &[
    Variant::new("1", &[]),
    Variant::new("2", &[]),
    Variant::new("3", &[]),
    Variant::new("4", &[]),
    Variant::new("5", &[]),
    Variant::new("6", &[]),
    Variant::new("7", &[]),
    Variant::new("8", &[]),
    Variant::new("10", &[]),
    Variant::new("11", &[]),
    Variant::new("12", &[]),
    Variant::new("13", &[]),
    Variant::new("14", &[]),
    Variant::new("15", &[]),
    Variant::new("16", &[]),
    Variant::new("17", &[]),
    Variant::new("18", &[]),
    Variant::new("20", &[]),
    Variant::new("21", &[]),
    Variant::new("22", &[]),
    Variant::new("23", &[]),
    Variant::new("24", &[]),
    Variant::new("25", &[]),
    Variant::new("26", &[]),
    Variant::new("27", &[]),
    Variant::new("28", &[]),
    Variant::new("29", &[]),
    Variant::new("30", &[]),
    Variant::new("31", &[]),
    Variant::new("34", &[]),
    Variant::new("50", &[]),
    Variant::new("64", &[]),
];

/// A signal given by its number arrives as that number.
#[case(covers = ["kill.sends-signal"], matrix(number = NUMBERS))]
async fn signal_by_its_number(cx: &mut Cx) -> Verdict {
    let number: i32 = cx.param("number").parse().unwrap_or_default();
    // SIGCHLD and SIGCONT come for other reasons as well: the others tell that no other signal came.
    let all: Vec<i32> = (1..=64).filter(|n| ![9, 17, 18, 19, 32, 33].contains(n) || *n == number).collect();
    let container = waiting_container(cx, &json!(all)).await?;
    container.kill(cx.param("number")).await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    check_eq!(answers.granted("wait")?["number"], json!(number), "the signal that arrived");
    Ok(())
}

const FORMS: &[Variant] = &[
    Variant::new("SIGHUP", &[]),
    Variant::new("SIGTERM", &[]),
    Variant::new("SIGUSR1", &[]),
    Variant::new("SIGWINCH", &[]),
    Variant::new("HUP", &[]),
    Variant::new("INT", &[]),
    Variant::new("TERM", &[]),
    Variant::new("WINCH", &[]),
];

/// A signal given by its name, with or without SIG before it, arrives as that signal.
#[case(covers = ["kill.sends-signal"], matrix(name = FORMS))]
async fn signal_by_another_form_of_its_name(cx: &mut Cx) -> Verdict {
    let name = cx.param("name");
    let container = waiting_container(cx, &json!(["HUP", "INT", "TERM", "USR1", "WINCH"])).await?;
    container.kill(name).await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    let full = format!("SIG{}", name.trim_start_matches("SIG"));
    check_eq!(answers.granted("wait")?["signal"], json!(full), "the signal that arrived");
    Ok(())
}

const KILLS: &[Variant] = &[Variant::new("9", &[]), Variant::new("KILL", &[]), Variant::new("SIGKILL", &[])];

/// SIGKILL ends the container's process.
#[case(covers = ["kill.sends-signal"], matrix(form = KILLS))]
async fn kill_signal_ends_the_process(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    container.kill(cx.param("form")).await?.must_succeed()?;
    container.wait_stopped().await
}

/// SIGSTOP stops the program, and SIGCONT lets it go on.
#[case(covers = ["kill.sends-signal"])]
async fn stop_signal_stops_the_process(cx: &mut Cx) -> Verdict {
    let container = waiting_container(cx, &json!(["USR1"])).await?;
    container.kill("STOP").await?.must_succeed()?;
    // The signals of a stopped process wait: this one is answered only after the SIGCONT.
    container.kill("USR1").await?.must_succeed()?;
    check!(
        container.answers_so_far()?.all("wait").is_empty(),
        "no answer while stopped",
        "the program answered"
    );
    container.kill("CONT").await?.must_succeed()?;
    container.wait_for_answer("wait").await?;
    Ok(())
}

/// A created container, too, can be signalled.
#[case(covers = ["kill.sends-signal"])]
async fn created_container_can_be_killed(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    container.kill("KILL").await?.must_succeed()?;
    container.wait_stopped().await?;
    check!(container.answers_so_far()?.is_empty(), "the program never ran", "it has answered");
    Ok(())
}

/// The signal goes to the container's process, not to others in the container.
#[case(covers = ["kill.sends-signal"])]
async fn only_the_first_process_is_signalled(cx: &mut Cx) -> Verdict {
    let child = json!({ "steps": [{ "do": "wait", "signals": ["USR1", "USR2"], "timeout_ms": 10_000 }] });
    let script = probe::script()
        .act("spawn", json!({ "script": child }))
        .act("wait", json!({ "signals": ["USR1"], "timeout_ms": 10_000 }))
        // -1 means all other processes of the namespace: the child. Were both signals pending, USR1 would come first.
        .act("kill", json!({ "pid": -1, "signal": "USR2" }))
        .pause();
    let container = cx.container(script).created().await?;
    container.start().await?.ready("start")?;
    wait_until("both processes wait for signals", cx.limits().wait(), async || {
        let ready = container.output()?.matches("\"ready\":true").count();
        Ok(if ready >= 2 { Poll::Ready(()) } else { Poll::NotYet(format!("{ready} are ready")) })
    })
    .await?;
    container.kill("USR1").await?.must_succeed()?;
    let nonce = format!("{}.0", container.nonce());
    let answers = wait_until("the child answers", cx.limits().wait(), async || {
        let answers = Answers::parse(&container.output()?, &nonce);
        Ok(if answers.is_done() { Poll::Ready(answers) } else { Poll::NotYet("no answer".into()) })
    })
    .await?;
    check_eq!(answers.granted("wait")?["signal"], json!("SIGUSR2"), "the first signal of the other process");
    Ok(())
}

const NO_SIGNALS: &[Variant] = &[
    Variant::new("NOSUCHSIGNAL", &[]),
    Variant::new("SIG", &[]),
    Variant::new("4711", &[]),
    Variant::new("TERM1", &[]),
];

/// A signal that does not exist is an error, and nothing is sent.
#[case(covers = ["valid-values.error", "errors.leave-state-unchanged"], matrix(signal = NO_SIGNALS))]
async fn unknown_signal_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    container.kill(cx.param("signal")).await?.must_fail()?;
    check!(!container.has_exited(), "the process lives", "it has ended");
    check_eq!(container.state().await?.status(), "running", "the status after the failed kill");
    Ok(())
}

/// Signalling a stopped container is an error and leaves its state unchanged.
#[case(covers = ["kill.not-created-or-running.errors", "kill.not-created-or-running.no-effect"])]
async fn stopped_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?; // trouble here is not a verdict
    let before = container.state().await?;
    container.kill("TERM").await?.must_fail()?; // a violation unless it fails cleanly
    check_eq!(container.state().await?, before, "the state after the failed kill");
    Ok(())
}

const STOPPED_FORMS: &[Variant] = &[
    Variant::new("9", &[]),
    Variant::new("SIGKILL", &[]),
    Variant::new("SIGUSR1", &[]),
    Variant::new("64", &[]),
];

/// Signalling a stopped container is an error for every signal, SIGKILL as well.
#[case(covers = ["kill.not-created-or-running.errors"], matrix(signal = STOPPED_FORMS))]
async fn stopped_is_error_for_every_form(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?;
    container.kill(cx.param("signal")).await?.must_fail()?;
    Ok(())
}

const UNKNOWN: &[Variant] = &[Variant::new("never-created", &[]), Variant::new("deleted", &[])];

/// Signalling a container that does not exist is an error.
#[case(covers = ["kill.not-created-or-running.errors"], matrix(id = UNKNOWN))]
async fn unknown_id_is_error(cx: &mut Cx) -> Verdict {
    let id = if cx.param("id") == "deleted" {
        let container = cx.container(probe::exit(0)).stopped().await?;
        container.delete().await?.ready("delete")?;
        container.id().to_owned()
    } else {
        cx.new_id()
    };
    cx.runtime().kill(&id, "TERM").await?.must_fail()?;
    Ok(())
}

const NO_ID: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// The kill operation without a container id is an error.
#[case(covers = ["kill.no-id.errors"], matrix(id = NO_ID))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    let args: &[&str] = if cx.param("id") == "absent" { &["kill"] } else { &["kill", "", "TERM"] };
    cx.runtime().call(args).await?.must_fail()?;
    Ok(())
}

/// A refused kill of a stopped container changes nothing on the host, and the container can be deleted.
#[case(covers = ["kill.not-created-or-running.no-effect", "errors.leave-state-unchanged"], matrix(signal = STOPPED_FORMS))]
async fn refused_kill_changes_nothing(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?;
    let before = Snapshot::take(cx, &[container.bundle().dir()]);
    container.kill(cx.param("signal")).await?.must_fail()?;
    unchanged(cx, &before, &[container.bundle().dir()]).await?;
    check_eq!(container.state().await?.status(), STAGES[2].value, "the status after the failed kill");
    container.delete().await?.must_succeed()?;
    Ok(())
}
