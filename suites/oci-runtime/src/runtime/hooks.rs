//! runtime.md, lifecycle: at which step each kind of hook is invoked, and what its failure leads to.

use super::state_hooks::{KINDS, hook_of, whole_life};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    is_invoked,
    hooks_of_create_have_run_after_create,
    hooks_of_start_run_only_at_start,
    hook_of_delete_runs_only_at_delete,
    failure_inside_create_is_error,
    failure_of_a_later_hook_is_error,
    hook_killed_by_a_signal_is_error,
    failure_inside_create_reaches_poststop,
    failure_before_the_program_is_error,
    failure_after_the_program_is_error,
    failing_poststop_only_warns,
    poststop_hooks_after_a_failing_one_run,
    poststop_runs_at_forced_delete,
    poststop_runs_for_a_container_never_started,
];

/// A hook of each kind runs in the life of a container.
#[case(covers = [], matrix(kind = KINDS))]
async fn is_invoked(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    check_eq!(container.hook_answers(&hook)?.all("stdin").len(), 1, "how often the hook runs");
    Ok(())
}

const OF_CREATE: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.timing"]),
    Variant::new("createRuntime", &["hooks.create-runtime.timing"]),
    Variant::new("createContainer", &["hooks.create-container.timing"]),
];

/// The hooks of create have run when create returns, and do not run again.
#[case(covers = [], matrix(kind = OF_CREATE))]
async fn hooks_of_create_have_run_after_create(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.then(|s| s.ask("stamp"));
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    check!(container.hook_ran(&hook)?, "the hook has run when create returns", "it has not");
    let once = container.hook_answers(&hook)?;
    container.start().await?.must_succeed()?;
    container.wait_for_answer("pause_forever").await?;
    container.kill("KILL").await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    check_eq!(container.hook_answers(&hook)?.all("stamp"), once.all("stamp"), "the hook's runs");
    Ok(())
}

const OF_START: &[Variant] = &[
    Variant::new("startContainer", &["hooks.start-container.timing"]),
    Variant::new("poststart", &["hooks.poststart.timing"]),
];

/// The hooks of start have not run after create, and have run when start returns.
#[case(covers = [], matrix(kind = OF_START))]
async fn hooks_of_start_run_only_at_start(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    check!(container.hook_answers(&hook)?.is_empty(), "the hook has not run after create", "it has");
    container.start().await?.must_succeed()?;
    if cx.param("kind") == "startContainer" {
        // start may return before the program runs, but not the program run before its hook.
        container.wait_for_answer("pause_forever").await?;
    }
    check!(container.hook_ran(&hook)?, "the hook has run when start is through", "it has not");
    Ok(())
}

/// A poststop hook has not run before delete, and has run when delete returns.
#[case(covers = ["hooks.poststop.timing", "hooks.poststop.invoked"])]
async fn hook_of_delete_runs_only_at_delete(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststop);
    let container = cx.container(probe::exit(0)).hook(hook.clone()).stopped().await?;
    check!(container.hook_answers(&hook)?.is_empty(), "the hook has not run before delete", "it has");
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the hook has run when delete returns", "it has not");
    Ok(())
}

const FAIL_IN_CREATE: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.fail-errors"]),
    Variant::new("createRuntime", &["hooks.create-runtime.fail-errors"]),
    Variant::new("createContainer", &["hooks.create-container.fail-errors"]),
];

/// A failing hook inside create is an error, and the container is torn down.
#[case(covers = ["errors.leave-state-unchanged"], matrix(kind = FAIL_IN_CREATE))]
async fn failure_inside_create_is_error(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.exits(1);
    let (call, container) = cx.container(probe::pause()).hook(hook.clone()).attempt().await?;
    check!(!container.hook_answers(&hook)?.is_empty(), "the failing hook runs", "it did not");
    call.must_fail()?;
    container.nothing_left().await
}

/// When the second of two hooks fails, that is an error as well, and the third does not run.
#[case(covers = ["errors.leave-state-unchanged"], matrix(kind = FAIL_IN_CREATE))]
async fn failure_of_a_later_hook_is_error(cx: &mut Cx) -> Verdict {
    let (first, second) = (hook_of(cx)?.named("first"), hook_of(cx)?.named("second").exits(7));
    let third = hook_of(cx)?.named("third");
    let builder = cx.container(probe::pause()).hook(first.clone()).hook(second.clone()).hook(third.clone());
    let (call, container) = builder.attempt().await?;
    check!(container.hook_ran(&first)?, "the first hook runs", "it did not");
    call.must_fail()?;
    check!(
        container.hook_answers(&third)?.is_empty(),
        "no hook runs after the failing one",
        "the third has run"
    );
    container.nothing_left().await
}

/// A hook that a signal ends has failed.
#[case(covers = [], matrix(kind = FAIL_IN_CREATE))]
async fn hook_killed_by_a_signal_is_error(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.then(|s| s.act("die", json!({ "signal": "KILL" })));
    let (call, container) = cx.container(probe::pause()).hook(hook.clone()).attempt().await?;
    check!(!container.hook_answers(&hook)?.is_empty(), "the hook that a signal ends runs", "it did not");
    call.must_fail()?;
    container.nothing_left().await
}

/// After a failing hook inside create, the lifecycle goes on with the teardown and the poststop hooks.
#[case(covers = ["hooks.poststop.invoked"], matrix(kind = FAIL_IN_CREATE))]
async fn failure_inside_create_reaches_poststop(cx: &mut Cx) -> Verdict {
    let failing = hook_of(cx)?.exits(1);
    let poststop = Hook::new(HookKind::Poststop);
    let builder = cx.container(probe::pause()).hook(failing).hook(poststop.clone());
    let (call, container) = builder.attempt().await?;
    call.must_fail()?;
    if cx.runtime().state_call(container.id()).await?.succeeded() {
        // A runtime may keep the stopped container for its caller to delete; then the hooks run at that.
        container.delete_force().await?.must_succeed()?;
    }
    check!(container.hook_ran(&poststop)?, "the poststop hook runs after the failed create", "it did not");
    Ok(())
}

/// A failing startContainer hook is an error: the program never runs, and the container stops.
#[case(covers = ["hooks.start-container.fail-errors"])]
async fn failure_before_the_program_is_error(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::StartContainer).exits(1);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let call = container.start().await?;
    // runtime.md, errors: whether an error is handed to the caller is open. That the program does not run is not.
    cx.record("hooks.start-container-failure-fails-start", !call.succeeded());
    container.wait_exit().await?;
    check!(!container.hook_answers(&hook)?.is_empty(), "the failing hook runs", "it did not");
    check!(container.answers_so_far()?.is_empty(), "the program does not run", "it has answered");
    stopped_or_gone(cx, &container).await
}

/// Since version 1.3.0, a failing poststart hook is an error: the container is stopped.
#[case(covers = ["hooks.poststart.fail-errors"])]
async fn failure_after_the_program_is_error(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststart).exits(1);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let call = container.start().await?;
    check!(!container.hook_answers(&hook)?.is_empty(), "the failing hook runs", "it did not");
    call.must_fail()?;
    container.wait_exit().await?;
    stopped_or_gone(cx, &container).await
}

/// Demands that a container is stopped or does not exist any more.
async fn stopped_or_gone(cx: &Cx, container: &Container) -> Verdict {
    if cx.runtime().state_call(container.id()).await?.succeeded() {
        container.wait_status("stopped").await?;
    }
    Ok(())
}

/// A failing poststop hook only warns: delete succeeds and the container is gone.
#[case(covers = ["hooks.poststop.fail-warns"])]
async fn failing_poststop_only_warns(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststop).exits(3);
    let container = cx.container(probe::exit(0)).hook(hook.clone()).stopped().await?;
    let call = container.delete().await?;
    check!(!container.hook_answers(&hook)?.is_empty(), "the failing hook runs", "it did not");
    call.must_succeed()?;
    cx.runtime().state_call(container.id()).await?.must_fail()?;
    // No log was asked for elsewhere, so a warning that is in neither stream was given to nobody.
    let said = !call.stderr.trim().is_empty() || !call.stdout.trim().is_empty();
    check!(said, "a warning about the failed hook", "delete wrote nothing at all");
    Ok(())
}

const POSTSTOP_FAILURES: &[Variant] =
    &[Variant::new("exit-status", &[]), Variant::new("signal", &[]), Variant::new("not-executable", &[])];

/// After a failing poststop hook the ones after it still run, and the container is deleted.
#[case(covers = ["hooks.poststop.fail-rest-continues"], matrix(failure = POSTSTOP_FAILURES))]
async fn poststop_hooks_after_a_failing_one_run(cx: &mut Cx) -> Verdict {
    let new = || Hook::new(HookKind::Poststop);
    let failing = match cx.param("failure") {
        "exit-status" => new().named("failing").exits(1),
        "signal" => new().named("failing").then(|s| s.act("die", json!({ "signal": "KILL" }))),
        _ => new().named("failing").with("path", json!("/etc/passwd")),
    };
    let rest = new().named("rest");
    let mut builder = cx.container(probe::exit(0));
    if cx.param("failure") == "not-executable" {
        // More state than a pipe holds: the runtime is still writing when the hook that never ran is gone, instead
        // of now and then.
        builder = builder.set("/annotations", json!({ "note": "x".repeat(70_000) }));
    }
    let container = builder.hook(failing).hook(rest.clone()).stopped().await?;
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&rest)?, "the hook after the failing one runs", "it did not");
    container.nothing_left().await
}

/// Poststop hooks run when a running container is deleted by force.
#[case(covers = ["hooks.poststop.invoked"])]
async fn poststop_runs_at_forced_delete(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststop);
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    container.delete_force().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the poststop hook runs", "it did not");
    Ok(())
}

/// Poststop hooks run when a container is deleted that was killed before it was started.
#[case(covers = ["hooks.poststop.invoked"])]
async fn poststop_runs_for_a_container_never_started(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststop);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    container.kill("KILL").await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the poststop hook runs", "it did not");
    Ok(())
}
