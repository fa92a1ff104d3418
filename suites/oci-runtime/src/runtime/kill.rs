//! runtime.md, kill: a signal reaches the container's process, or the operation is an error without effect.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] =
    &[signal_reaches_the_process, stopped_is_error, unknown_id_is_error, missing_id_is_error];

/// Signalling a running container delivers that very signal to its process.
#[case(covers = ["kill.sends-signal"])]
async fn signal_reaches_the_process(cx: &mut Cx) -> Verdict {
    let script =
        probe::script().act("wait", json!({ "signals": ["USR1", "USR2"], "timeout_ms": 10_000 })).pause();
    let container = cx.container(script).running().await?;
    container.kill("USR2").await?.must_succeed()?;
    let answers = container.wait_for_answer("wait").await?;
    check_eq!(answers.facts("wait")?["signal"], json!("SIGUSR2"), "the signal that arrived");
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

/// Signalling a container that was never created is an error.
#[case(covers = ["kill.not-created-or-running.errors"])]
async fn unknown_id_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().kill(&cx.new_id(), "TERM").await?.must_fail()?;
    Ok(())
}

/// The kill operation without a container id is an error.
#[case(covers = ["kill.no-id.errors"])]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().call(&["kill"]).await?.must_fail()?;
    Ok(())
}
