//! runtime.md, scope, lifecycle, errors and warnings: what holds for all operations together.

use super::support::{Snapshot, unchanged};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    every_operation_reaches_the_container,
    all_operations_exist,
    any_end_makes_it_stopped,
    failed_operation_leaves_no_trace,
    failed_operation_leaves_others_alone,
    warning_changes_nothing_at_delete,
    warning_changes_nothing_at_create,
];

/// Who created a container can run every operation on it, each as a process of its own.
#[case(covers = ["lifecycle.scope.same-entity-operates"])]
async fn every_operation_reaches_the_container(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    check_eq!(container.state().await?.id(), container.id(), "the id of the created container");
    container.start().await?.must_succeed()?;
    container.wait_for_answer("pause_forever").await?;
    container.kill("TERM").await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    cx.runtime().state_call(container.id()).await?.must_fail()?;
    Ok(())
}

const OPERATIONS: &[Variant] = &[
    Variant::new("state", &[]),
    Variant::new("create", &[]),
    Variant::new("start", &[]),
    Variant::new("kill", &[]),
    Variant::new("delete", &[]),
];

/// The runtime has the operation, and it succeeds on a container that is ready for it.
#[case(covers = ["operations.all-supported"], matrix(operation = OPERATIONS))]
async fn all_operations_exist(cx: &mut Cx) -> Verdict {
    let script = if cx.param("operation") == "delete" { probe::exit(0) } else { probe::pause() };
    let builder = cx.container(script);
    let call = match cx.param("operation") {
        "state" => cx.runtime().state_call(builder.created().await?.id()).await?,
        "create" => builder.attempt().await?.0,
        "start" => builder.created().await?.start().await?,
        "kill" => builder.running().await?.kill("KILL").await?,
        _ => builder.stopped().await?.delete().await?,
    };
    call.must_succeed()?;
    Ok(())
}

const ENDS: &[Variant] = &[
    Variant::new("exit-0", &[]),
    Variant::new("exit-7", &[]),
    Variant::new("SIGSEGV", &[]),
    Variant::new("SIGABRT", &[]),
    Variant::new("killed", &[]),
];

/// Whatever ends the program, the container is stopped after that and can be deleted.
#[case(covers = ["state.returns-state", "process.exit.any-cause"], matrix(cause = ENDS))]
async fn any_end_makes_it_stopped(cx: &mut Cx) -> Verdict {
    let cause = cx.param("cause");
    // The first process of a pid namespace cannot kill itself by a signal: a child crashes, and init passes it on.
    let crash = |signal: &str| {
        let child = json!({ "steps": [{ "do": "die", "signal": signal }] });
        probe::script().act("init", json!({ "script": child }))
    };
    let script = match cause {
        "exit-0" => probe::exit(0),
        "exit-7" => probe::exit(7),
        "killed" => probe::pause(),
        signal => crash(signal),
    };
    let container = cx.container(script).running().await?;
    if cause == "killed" {
        container.kill("KILL").await?.ready("kill")?;
    }
    container.wait_exit().await?;
    container.wait_status("stopped").await.map_err(|stop| stop.of("state.returns-state"))?;
    if let Some(status) = container.exit_status() {
        cx.record("process.exit-status", status);
    }
    container.delete().await?.must_succeed().map_err(|stop| stop.of("state.returns-state"))?;
    Ok(())
}

const FAILURES: &[Variant] = &[
    Variant::new("create-without-config", &[]),
    Variant::new("create-of-garbage", &[]),
    Variant::new("create-without-root", &[]),
    Variant::new("create-late-failure", &[]),
    Variant::new("start-of-unknown", &[]),
    Variant::new("kill-of-unknown", &[]),
    Variant::new("delete-of-unknown", &[]),
    Variant::new("state-of-unknown", &[]),
];

/// An operation that fails leaves mounts, cgroups, processes, state and bundle as if it had not been tried.
#[case(covers = ["errors.leave-state-unchanged"], matrix(operation = FAILURES))]
async fn failed_operation_leaves_no_trace(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::pause());
    let builder = match cx.param("operation") {
        "create-of-garbage" => builder.raw_config("{"),
        "create-without-root" => builder.set("/root/path", "no-such-directory"),
        // All of the environment stands by the time at which this hook fails.
        "create-late-failure" => {
            builder.set("/hooks", json!({ "createContainer": [{ "path": "/plimsoll/none" }] }))
        }
        _ => builder,
    };
    let container = builder.written()?.container;
    if cx.param("operation") == "create-without-config" {
        std::fs::remove_file(container.bundle().dir().join("config.json"))?;
    }
    let directories = [container.bundle().dir()];
    let before = Snapshot::take(cx, &directories);
    let bundle = container.bundle().dir().display().to_string();
    let call = match cx.param("operation") {
        "start-of-unknown" => container.start().await?,
        "kill-of-unknown" => container.kill("TERM").await?,
        "delete-of-unknown" => container.delete().await?,
        "state-of-unknown" => cx.runtime().state_call(container.id()).await?,
        _ => container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?,
    };
    call.must_fail()?;
    unchanged(cx, &before, &directories).await
}

const ON_OTHERS: &[Variant] = &[
    Variant::new("create", &[]),
    Variant::new("start", &[]),
    Variant::new("kill", &[]),
    Variant::new("delete", &[]),
];

/// A failing operation on one container leaves another, running one alone.
#[case(covers = ["errors.leave-state-unchanged"], matrix(operation = ON_OTHERS))]
async fn failed_operation_leaves_others_alone(cx: &mut Cx) -> Verdict {
    let other = cx.container(probe::pause()).running().await?;
    let state = other.state().await?;
    let unknown = cx.new_id();
    let call = match cx.param("operation") {
        "create" => cx.container(probe::pause()).set("/root/path", "no-such-directory").attempt().await?.0,
        "start" => cx.runtime().start(&unknown).await?,
        "kill" => cx.runtime().kill(&unknown, "KILL").await?,
        _ => cx.runtime().delete(&unknown).await?,
    };
    call.must_fail()?;
    check_eq!(other.state().await?, state, "the other container's state");
    check!(!other.has_exited(), "the other container's process lives", "it has ended");
    Ok(())
}

/// A warning at delete changes nothing: a failing poststop hook leaves delete successful and complete.
#[case(covers = ["warnings.flow-unchanged", "hooks.poststop.fail-warns"])]
async fn warning_changes_nothing_at_delete(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststop).exits(1);
    let container = cx.container(probe::exit(0)).hook(hook.clone()).stopped().await?;
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the hook that fails runs", "it did not");
    container.nothing_left().await
}

/// A warning at create changes nothing: an unknown capability leaves the container as it is without it.
#[case(covers = ["warnings.flow-unchanged", "process.capabilities.unknown-warned"])]
async fn warning_changes_nothing_at_create(cx: &mut Cx) -> Verdict {
    let known = ["CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut with_unknown = known.to_vec();
    with_unknown.push("CAP_PLIMSOLL_UNKNOWN");
    let ask = || cx.container(probe::ask(["caps", "identity"]));
    let plain = ask().capabilities(&known).answers().await?;
    let warned = ask().capabilities(&with_unknown).answers().await?;
    check_eq!(warned.facts("caps")?, plain.facts("caps")?, "the capability sets");
    Ok(())
}
