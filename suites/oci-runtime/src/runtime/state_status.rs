//! runtime.md, state: the status, its values and when each of them holds.

use super::support::{BASE_STATUSES, STAGES, at_stage, pause};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    is_present,
    follows_the_life,
    hooks_inside_create_see_creating,
    hooks_before_the_program_do_not_see_it_run,
    killed_before_start_is_stopped,
    further_values_are_recorded,
    further_values_mean_further_states,
    base_stages_have_base_values,
];

/// The state has a status, a word, at every stage.
#[case(covers = ["state.status.present"], matrix(stage = STAGES))]
async fn is_present(cx: &mut Cx) -> Verdict {
    let container = at_stage(cx.container(probe::pause()), cx.param("stage")).await?;
    let state = container.state().await?;
    check!(!state.status().is_empty(), "`status` is a word", "{}", state.raw["status"]);
    Ok(())
}

/// The status is created after create, running after start, stopped after the program's end.
#[case(covers = ["state.returns-state", "state.status.known-values"])]
async fn follows_the_life(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    check_eq!(container.state().await?.status(), "created", "the status after create");
    container.start().await?.ready("start")?;
    container.wait_for_answer("pause_forever").await?;
    check_eq!(container.state().await?.status(), "running", "the status while the program runs");
    container.kill("TERM").await?.ready("kill")?;
    container.wait_exit().await?;
    container.wait_status("stopped").await?;
    Ok(())
}

const INSIDE_CREATE: &[Variant] = &[
    Variant::new("prestart", &["state.status.known-values", "hooks.prestart.timing"]),
    Variant::new("createRuntime", &["state.status.known-values", "hooks.create-runtime.timing"]),
    Variant::new("createContainer", &["state.status.known-values", "hooks.create-container.timing"]),
];

/// Hooks that run while create is at work are told the status creating.
#[case(covers = ["hooks.state-on-stdin"], matrix(kind = INSIDE_CREATE))]
async fn hooks_inside_create_see_creating(cx: &mut Cx) -> Verdict {
    let Some(kind) = HookKind::from_key(cx.param("kind")) else {
        return Err(Stop::setup("no such kind of hook"));
    };
    let hook = Hook::new(kind);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the hook runs inside create", "it has not");
    let text = answers.facts("stdin")?["data"].as_str().unwrap_or_default().to_owned();
    let state: Value = serde_json::from_str(&text)
        .map_err(|e| Stop::violation("a state on the hook's standard input", format!("{e}: {text:?}")))?;
    // A runtime may call the container created once its environment stands (runtime.md, lifecycle, steps 2 to 5).
    let seen = state["status"].as_str().unwrap_or_default();
    cx.record("state.status-inside-create", seen);
    check_eq!(seen, "creating", "the status that the hook is told");
    Ok(())
}

/// A startContainer hook is told neither that the program runs nor that it has ended: it was not executed yet.
#[case(covers = ["hooks.state-on-stdin", "state.status.known-values", "hooks.start-container.timing"])]
async fn hooks_before_the_program_do_not_see_it_run(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::StartContainer);
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    let state = super::state_hooks::handed_state(&container, &hook)?;
    let seen = state["status"].as_str().unwrap_or_default();
    cx.record("state.status-inside-start", seen);
    check!(!["running", "stopped"].contains(&seen), "a status of before the program", "{seen:?}");
    Ok(())
}

/// A container whose process is killed before start is stopped.
#[case(covers = ["state.returns-state", "kill.sends-signal", "state.status.known-values"])]
async fn killed_before_start_is_stopped(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    container.kill("KILL").await?.must_succeed()?;
    container.wait_exit().await?;
    container.wait_status("stopped").await?;
    Ok(())
}

/// Status values beyond the four are allowed; the one of a paused container is recorded.
#[case(covers = ["state.status.additional-values"])]
async fn further_values_are_recorded(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    pause(cx, &container).await?;
    let status = container.state().await?.status().to_owned();
    cx.record("state.status-when-paused", status);
    cx.runtime().verb("resume", container.id()).await?.ready("resume")?;
    Ok(())
}

/// A paused container is none of creating, created and stopped, and running again when it is resumed.
#[case(covers = ["state.status.additional-values-distinct"])]
async fn further_values_mean_further_states(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    pause(cx, &container).await?;
    let paused = container.state().await?.status().to_owned();
    check!(
        !["creating", "created", "stopped", ""].contains(&paused.as_str()),
        "a status that is true of a process that exists and was started",
        "{paused:?}"
    );
    cx.runtime().verb("resume", container.id()).await?.ready("resume")?;
    check_eq!(container.state().await?.status(), "running", "the status after resuming");
    Ok(())
}

/// In the stages that the specification defines, the status is one of its four values.
#[case(covers = ["state.status.additional-values-distinct"], matrix(stage = STAGES))]
async fn base_stages_have_base_values(cx: &mut Cx) -> Verdict {
    let container = at_stage(cx.container(probe::pause()), cx.param("stage")).await?;
    let state = container.state().await?;
    check!(BASE_STATUSES.contains(&state.status()), "one of the four base values", "{}", state.raw["status"]);
    Ok(())
}
