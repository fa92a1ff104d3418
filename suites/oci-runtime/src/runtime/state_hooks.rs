//! runtime.md, state: what hooks are handed as the state, and whose view of the process id it holds.

use super::support::{state_defects, strict_json};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    runtime_namespace_hooks_get_the_host_pid,
    container_namespace_hooks_get_the_inner_pid,
    every_hook_gets_a_conforming_state,
    every_hook_gets_the_annotations,
];

/// The kinds of hooks, as values of a matrix.
pub const KINDS: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.invoked"]),
    Variant::new("createRuntime", &["hooks.create-runtime.invoked"]),
    Variant::new("createContainer", &["hooks.create-container.invoked"]),
    Variant::new("startContainer", &["hooks.start-container.invoked"]),
    Variant::new("poststart", &["hooks.poststart.invoked"]),
    Variant::new("poststop", &["hooks.poststop.invoked"]),
];

/// Runs a container with this hook through its whole life, up to and with delete.
pub async fn whole_life(builder: Builder, hook: &Hook) -> Result<Container, Stop> {
    let container = builder.hook(hook.clone()).stopped().await?;
    container.delete().await?.must_succeed()?;
    Ok(container)
}

/// The state that a hook was handed.
pub fn handed_state(container: &Container, hook: &Hook) -> Result<Value, Stop> {
    let answers = container.hook_answers(hook)?;
    check!(answers.is_done(), "the hook runs", "it did not");
    let stdin = answers.facts("stdin")?;
    let text = stdin["data"].as_str().unwrap_or_default();
    let (of, open) = ("hooks.state-on-stdin", stdin["timed_out"] == json!(true));
    check!(of of; !open, "standard input ends after the state", "it stayed open");
    strict_json(text)
        .map_err(|e| Stop::violation("a JSON document on standard input", format!("{e}: {text:?}")).of(of))
}

/// The hook of this matrix value.
pub fn hook_of(cx: &Cx) -> Result<Hook, Stop> {
    let kind = HookKind::from_key(cx.param("kind"));
    kind.map(Hook::new).ok_or_else(|| Stop::setup(format!("no hook is called {:?}", cx.param("kind"))))
}

const OUTSIDE: &[Variant] =
    &[Variant::new("prestart", &[]), Variant::new("createRuntime", &[]), Variant::new("poststart", &[])];

/// Hooks in the runtime namespace are handed the process id as the runtime sees it.
#[case(covers = ["state.pid.hook-runtime-ns-view", "hooks.state-on-stdin"], matrix(kind = OUTSIDE))]
async fn runtime_namespace_hooks_get_the_host_pid(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    let state = handed_state(&container, &hook)?;
    check_eq!(state["pid"], json!(container.pid()?), "the pid that the hook is handed");
    Ok(())
}

const INSIDE: &[Variant] = &[Variant::new("createContainer", &[]), Variant::new("startContainer", &[])];

/// Hooks in the container namespace are handed the process id as the container sees it: 1.
#[case(covers = ["state.pid.hook-container-ns-view", "hooks.state-on-stdin"], matrix(kind = INSIDE))]
async fn container_namespace_hooks_get_the_inner_pid(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    let state = handed_state(&container, &hook)?;
    check_eq!(state["pid"], json!(1), "the pid that the hook is handed, in a new pid namespace");
    Ok(())
}

/// The state that a hook is handed conforms to the schema and is true of the container.
#[case(covers = ["state.json-schema", "hooks.state-on-stdin"], matrix(kind = KINDS))]
async fn every_hook_gets_a_conforming_state(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    let state = handed_state(&container, &hook)?;
    let defects = state_defects(&state);
    check!(of "state.json-schema"; defects.is_empty(), "the state conforms to its schema", "{}", defects.join("; "));
    check_eq!(of "hooks.state-on-stdin"; state["id"], json!(container.id()), "the id that the hook is handed");
    let bundle = container.bundle().dir().display().to_string();
    check_eq!(of "hooks.state-on-stdin"; state["bundle"], json!(bundle), "the bundle that the hook is handed");
    Ok(())
}

/// The state that a hook is handed holds the annotations of the configuration.
#[case(covers = ["state.annotations.present", "hooks.state-on-stdin"], matrix(kind = KINDS))]
async fn every_hook_gets_the_annotations(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let builder = cx.container(probe::exit(0)).set("/annotations", json!({ "com.example.hook": "a b" }));
    let container = whole_life(builder, &hook).await?;
    let state = handed_state(&container, &hook)?;
    // A runtime may leave annotations out of its states, but then out of all of them.
    let own = cx.container(probe::exit(0)).set("/annotations", json!({ "com.example.hook": "a b" }));
    let shown = own.created().await?.state().await?.raw.pointer("/annotations/com.example.hook").is_some();
    let requirement = if shown { "hooks.state-on-stdin" } else { "state.annotations.present" };
    check_eq!(
        of requirement;
        state.pointer("/annotations/com.example.hook"),
        Some(&json!("a b")),
        "the annotation that the hook is handed"
    );
    Ok(())
}
