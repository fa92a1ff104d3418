//! config.md, hooks: the section itself, the six lists, their order, and what each hook reads.

use crate::runtime::state_hooks::{handed_state, hook_of, whole_life};
use crate::runtime::support::BASE_STATUSES;
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    lists_may_be_absent,
    list_is_honoured,
    all_lists_together_are_honoured,
    list_runs_in_order,
    long_list_runs_in_order,
    kinds_run_in_the_order_of_the_life,
    standard_input_ends,
    state_fits_the_step,
];

const FORMS: &[Variant] = &[
    Variant::new("absent", &[]),
    Variant::new("empty-object", &[]),
    Variant::new("empty-lists", &[]),
    Variant::new("unknown-list", &[]),
];

/// Hooks may be absent or empty, and a list of an unknown name is ignored.
#[case(covers = ["hooks.section"], matrix(form = FORMS))]
async fn lists_may_be_absent(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("form") {
        "absent" => builder.with(|_| {}),
        "empty-object" => builder.set("/hooks", json!({})),
        "empty-lists" => HookKind::ALL
            .iter()
            .fold(builder, |builder, kind| builder.set(&format!("/hooks/{}", kind.key()), json!([]))),
        _ => builder.set("/hooks", json!({ "plimsollUnknown": [{ "path": "/plimsoll/no/such/hook" }] })),
    };
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    Ok(())
}

/// All six kinds, each with the row that says that its list is honoured.
pub const SUPPORTED: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.supported"]),
    Variant::new("createRuntime", &["hooks.create-runtime.supported"]),
    Variant::new("createContainer", &["hooks.create-container.supported"]),
    Variant::new("startContainer", &["hooks.start-container.supported"]),
    Variant::new("poststart", &["hooks.poststart.supported"]),
    Variant::new("poststop", &["hooks.poststop.supported"]),
];

/// A list is honoured when it stands alone.
#[case(covers = ["hooks.section"], matrix(kind = SUPPORTED))]
async fn list_is_honoured(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook of the list runs", "it did not");
    check_eq!(container.hooks_in_order()?, [cx.param("kind")], "the hooks that run");
    Ok(())
}

/// All six lists together are honoured.
#[case(covers = ["hooks.section", "hooks.create-runtime.supported"])]
async fn all_lists_together_are_honoured(cx: &mut Cx) -> Verdict {
    let hooks: Vec<Hook> = HookKind::ALL.into_iter().map(Hook::new).collect();
    let builder = hooks.iter().fold(cx.container(probe::exit(0)), |b, hook| b.hook(hook.clone()));
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    for (hook, kind) in hooks.iter().zip(HookKind::ALL) {
        check!(container.hook_ran(hook)?, format!("the {} hook runs", kind.key()), "it did not");
    }
    Ok(())
}

const KINDS: &[Variant] = &[
    Variant::new("prestart", &["hooks.in-order", "hooks.prestart.invoked"]),
    Variant::new("createRuntime", &["hooks.in-order", "hooks.create-runtime.invoked"]),
    Variant::new("createContainer", &["hooks.in-order", "hooks.create-container.invoked"]),
    Variant::new("startContainer", &["hooks.in-order", "hooks.start-container.invoked"]),
    Variant::new("poststart", &["hooks.in-order", "hooks.poststart.invoked"]),
    Variant::new("poststop", &["hooks.in-order", "hooks.poststop.invoked"]),
];

/// Runs `count` hooks of the matrix's kind, of which earlier ones take longer, and compares the order of their ends.
async fn in_order(cx: &Cx, count: u32) -> Verdict {
    let names: Vec<String> = (0..count).map(|i| format!("hook-{i}")).collect();
    let mut builder = cx.container(probe::exit(0));
    let mut hooks = Vec::new();
    for (i, name) in names.iter().enumerate() {
        // Hooks that ran side by side would end in the reverse order.
        let pause = if i + 1 < names.len() { 40 / names.len() } else { 0 };
        let hook = hook_of(cx)?.named(name).then(|s| s.act("sleep", json!({ "ms": pause })).ask("stamp"));
        builder = builder.hook(hook.clone());
        hooks.push(hook);
    }
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    check_eq!(container.hooks_in_order()?, names, "the order in which the hooks begin");
    let mut ends = Vec::new();
    for hook in &hooks {
        let answers = container.hook_answers(hook)?;
        ends.push((
            answers.facts("stamp")?["start_ns"].as_u64().unwrap_or_default(),
            answers.facts("stamp")?["now_ns"].as_u64().unwrap_or_default(),
        ));
    }
    for pair in ends.windows(2) {
        check!(
            pair[0].1 <= pair[1].0,
            "a hook begins when the one before it has ended",
            "begin and end: {pair:?}"
        );
    }
    Ok(())
}

/// The hooks of one list run one after another, in the order of the list.
#[case(covers = [], matrix(kind = KINDS))]
async fn list_runs_in_order(cx: &mut Cx) -> Verdict {
    in_order(cx, 3).await
}

/// A list of twenty hooks runs in its order as well.
#[case(covers = [], matrix(kind = LONG))]
async fn long_list_runs_in_order(cx: &mut Cx) -> Verdict {
    in_order(cx, 20).await
}

const LONG: &[Variant] =
    &[Variant::new("createRuntime", &["hooks.in-order"]), Variant::new("poststop", &["hooks.in-order"])];

/// The kinds run in the order of the life: prestart, createRuntime, createContainer, and so on to poststop.
#[case(covers = ["hooks.in-order", "hooks.prestart.before-create-runtime", "hooks.create-container.after-create-runtime"])]
async fn kinds_run_in_the_order_of_the_life(cx: &mut Cx) -> Verdict {
    // The order of the members in the configuration is the reverse one: it means nothing.
    let hooks: Vec<Hook> = HookKind::ALL
        .into_iter()
        .map(|kind| {
            // Slow enough for a hook that does not wait for it to be seen.
            let ms = if kind == HookKind::StartContainer { 150 } else { 0 };
            Hook::new(kind).then(|s| s.act("sleep", json!({ "ms": ms })).ask("stamp"))
        })
        .collect();
    let builder = hooks.iter().rev().fold(cx.container(probe::exit(0)), |b, hook| b.hook(hook.clone()));
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    let mut times = Vec::new();
    for (hook, kind) in hooks.iter().zip(HookKind::ALL) {
        let answers = container.hook_answers(hook)?;
        check!(answers.is_done(), format!("the {} hook runs", kind.key()), "it did not");
        let stamp = answers.facts("stamp")?;
        let at = |key: &str| stamp[key].as_u64().unwrap_or_default();
        times.push((kind.key(), at("start_ns"), at("now_ns")));
    }
    for pair in times.windows(2) {
        let row = match pair[1].0 {
            "createRuntime" => "hooks.prestart.before-create-runtime",
            "createContainer" => "hooks.create-container.after-create-runtime",
            _ => "hooks.in-order",
        };
        check!(
            of row;
            pair[0].2 <= pair[1].1,
            format!("{} ends before {} begins", pair[0].0, pair[1].0),
            "name, begin and end in ns: {pair:?}"
        );
    }
    Ok(())
}

const STDIN: &[Variant] = &[
    Variant::new("prestart", &[]),
    Variant::new("createRuntime", &[]),
    Variant::new("createContainer", &[]),
    Variant::new("startContainer", &[]),
    Variant::new("poststart", &[]),
    Variant::new("poststop", &[]),
];

/// A hook's standard input holds the state and then ends.
#[case(covers = ["hooks.state-on-stdin"], matrix(kind = STDIN))]
async fn standard_input_ends(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    let state = handed_state(&container, &hook)?;
    check_eq!(state["id"], json!(container.id()), "the id on standard input");
    let answers = container.hook_answers(&hook)?;
    check_eq!(answers.facts("stdin")?["eof"], json!(true), "the end of standard input");
    Ok(())
}

/// The status on a hook's standard input fits the step of the life at which the hook runs.
#[case(covers = ["hooks.state-on-stdin"], matrix(kind = STDIN))]
async fn state_fits_the_step(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?;
    let container = cx.container(probe::pause()).hook(hook.clone()).running().await?;
    container.kill("KILL").await?.ready("kill")?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    let status = handed_state(&container, &hook)?["status"].as_str().unwrap_or_default().to_owned();
    let fitting: &[&str] = match cx.param("kind") {
        // A status beyond the base values is the runtime's own word for a moment of its own.
        "startContainer" if !BASE_STATUSES.contains(&status.as_str()) => &[],
        "startContainer" => &["created", "running"],
        "poststart" => &["running"],
        "poststop" => &["stopped"],
        _ => &["creating", "created"],
    };
    check!(
        fitting.is_empty() || fitting.contains(&status.as_str()),
        format!("a status of {fitting:?}"),
        "{status:?}"
    );
    Ok(())
}
