//! pause and resume.

use super::support::{need_freezer, need_verb};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] =
    &[status_follows, processes_do_not_run, unknown_container_is_error, stopped_container_is_error];

async fn pausable(cx: &Cx, script: Script) -> Result<Container, Stop> {
    need_verb(cx, "pause").await?;
    need_freezer(cx)?;
    cx.container(script).running().await
}

/// The status is paused after pause, and running after resume.
#[case(covers = ["cli.pause.status"])]
async fn status_follows(cx: &mut Cx) -> Verdict {
    let container = pausable(cx, probe::pause()).await?;
    cx.runtime().verb("pause", container.id()).await?.must_succeed()?;
    check_eq!(container.state().await?.status(), "paused", "the status after pause");
    cx.runtime().verb("resume", container.id()).await?.must_succeed()?;
    check_eq!(container.state().await?.status(), "running", "the status after resume");
    Ok(())
}

/// A program answers a signal of the time of its pause only after resume.
#[case(covers = ["cli.pause.stops"])]
async fn processes_do_not_run(cx: &mut Cx) -> Verdict {
    let script = probe::script().act("wait", json!({ "signals": ["USR1"], "timeout_ms": 30_000 })).pause();
    let container = pausable(cx, script).await?;
    cx.runtime().verb("pause", container.id()).await?.must_succeed()?;
    let kill = container.kill("USR1").await?;
    if !kill.succeeded() {
        cx.runtime().verb("resume", container.id()).await?;
        let capability = "kill-while-paused".to_owned();
        return Err(Stop::NotApplicable { capability, reason: kill.describe() });
    }
    // A call of the runtime takes longer than the answer of a program that runs.
    check_eq!(container.state().await?.status(), "paused", "the status after the signal");
    check!(container.answers_so_far()?.all("wait").is_empty(), "no answer while paused", "it answered");
    cx.runtime().verb("resume", container.id()).await?.must_succeed()?;
    container.wait_for_answer("wait").await?;
    Ok(())
}

const VERBS: &[Variant] = &[Variant::new("pause", &[]), Variant::new("resume", &[])];

/// pause and resume of a container that is not there are errors.
#[case(covers = ["cli.pause.unknown"], matrix(verb = VERBS))]
async fn unknown_container_is_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, cx.param("verb")).await?;
    cx.runtime().verb(cx.param("verb"), &cx.new_id()).await?.must_fail()?;
    Ok(())
}

/// The pause of a stopped container is an error.
#[case(covers = ["cli.pause.stopped"])]
async fn stopped_container_is_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, "pause").await?;
    let container = cx.container(probe::exit(0)).stopped().await?;
    cx.runtime().verb("pause", container.id()).await?.must_fail()?;
    check_eq!(container.state().await?.status(), "stopped", "the status after the refused pause");
    Ok(())
}
