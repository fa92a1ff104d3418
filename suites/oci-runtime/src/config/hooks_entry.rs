//! config.md, hooks: the members of a hook: path, args, env, timeout.

use crate::runtime::state_hooks::{hook_of, whole_life};
use plimsoll_kit::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    path_is_required,
    relative_path_is_error,
    args_are_the_whole_argv,
    args_may_be_absent,
    first_arg_is_free,
    env_is_the_environment,
    absent_env_is_recorded,
    timeout_ends_the_hook,
    hook_within_its_timeout_is_kept,
    timeout_is_positive,
    unknown_members_are_ignored,
];

const PATH_REQUIRED: &[Variant] = &[
    Variant::new("prestart,absent", &["hooks.prestart.entry.path.required"]),
    Variant::new("prestart,empty", &["hooks.prestart.entry.path.required"]),
    Variant::new("createRuntime,absent", &["hooks.create-runtime.entry.path.required"]),
    Variant::new("createRuntime,empty", &["hooks.create-runtime.entry.path.required"]),
    Variant::new("createContainer,absent", &["hooks.create-container.supported"]),
    Variant::new("startContainer,absent", &["hooks.start-container.supported"]),
    Variant::new("poststart,absent", &["hooks.poststart.supported"]),
    Variant::new("poststop,absent", &["hooks.poststop.supported"]),
];

/// The hook of a matrix value `KIND,FORM`, and the form.
fn kind_and_form(value: &str) -> Result<(HookKind, &str), Stop> {
    let (kind, form) = value.split_once(',').unwrap_or((value, ""));
    let kind = HookKind::from_key(kind).ok_or_else(|| Stop::setup(format!("no hook is called {kind}")))?;
    Ok((kind, form))
}

/// Shows that a hook of this kind works as the other members have it.
async fn works(cx: &Cx, hook: &Hook) -> Result<(), Stop> {
    let container = whole_life(cx.container(probe::exit(0)), hook).await?;
    check!(container.hook_ran(hook)?, "the valid hook runs", "it did not");
    Ok(())
}

/// Demands that a bundle with this hook is refused. A startContainer hook may be looked at only when start has
/// returned (runtime.md, errors, leaves open how an error is told): then the program must not run. A poststop hook may
/// be looked at by delete, which warns then.
async fn refused(cx: &Cx, hook: Hook) -> Verdict {
    if hook.kind() == HookKind::Poststop {
        return refused_or_warned(cx, hook).await;
    }
    if !hook.kind().resolves_in_container() {
        cx.container(probe::pause()).hook(hook).rejected().await?;
        return Ok(());
    }
    let (create, container) = cx.container(probe::exit(0)).hook(hook).attempt().await?;
    if !create.succeeded() {
        create.must_fail()?;
        return container.nothing_left().await;
    }
    let start = container.start().await?;
    container.wait_exit().await?;
    let ran = !container.answers_so_far()?.is_empty();
    check!(!ran, "a refused bundle's program does not run", "start: {}; the program ran", start.describe());
    Ok(())
}

/// Demands that a bundle with this poststop hook is refused, or that delete says what is wrong with the hook.
async fn refused_or_warned(cx: &Cx, hook: Hook) -> Verdict {
    let (create, container) = cx.container(probe::exit(0)).hook(hook).attempt().await?;
    if !create.succeeded() {
        create.must_fail()?;
        return container.nothing_left().await;
    }
    let start = container.start().await?;
    if !start.succeeded() {
        start.must_fail()?;
        return Ok(());
    }
    container.wait_stopped().await?;
    let delete = container.delete().await?;
    let told = !delete.succeeded() || !delete.stderr.trim().is_empty();
    check!(
        told,
        "an invalid hook is an error, or a warning at its turn",
        "create, start and delete: exit 0, no word"
    );
    Ok(())
}

/// A hook without a path is an error.
#[case(covers = ["valid-values.error"], matrix(hook = PATH_REQUIRED))]
async fn path_is_required(cx: &mut Cx) -> Verdict {
    let (kind, form) = kind_and_form(cx.param("hook"))?;
    works(cx, &Hook::new(kind)).await?;
    let path = if form == "absent" { Value::Null } else { json!("") };
    refused(cx, Hook::new(kind).with("path", path)).await
}

const PATH_ABSOLUTE: &[Variant] = &[
    Variant::new("prestart,found-from-cwd", &["hooks.prestart.entry.path.absolute"]),
    Variant::new("prestart,missing", &["hooks.prestart.entry.path.absolute"]),
    Variant::new("createRuntime,found-from-cwd", &["hooks.create-runtime.entry.path.absolute"]),
    Variant::new("createRuntime,missing", &["hooks.create-runtime.entry.path.absolute"]),
    Variant::new("createContainer,found-from-cwd", &["hooks.create-container.supported"]),
    Variant::new("startContainer,found-from-cwd", &["hooks.start-container.supported"]),
    Variant::new("poststart,found-from-cwd", &["hooks.poststart.supported"]),
    Variant::new("poststop,found-from-cwd", &["hooks.poststop.supported"]),
];

/// A hook's relative path is an error, even where the working directory makes it one of a program.
#[case(covers = ["valid-values.error"], matrix(hook = PATH_ABSOLUTE))]
async fn relative_path_is_error(cx: &mut Cx) -> Verdict {
    let (kind, form) = kind_and_form(cx.param("hook"))?;
    works(cx, &Hook::new(kind)).await?;
    let path = match (form, kind.resolves_in_container()) {
        ("missing", _) => "plimsoll-no-such-hook".to_owned(),
        (_, true) => "probe".to_owned(),
        // The runtime is called from the root directory.
        (_, false) => cx.probe_path().display().to_string().trim_start_matches('/').to_owned(),
    };
    refused(cx, Hook::new(kind).with("path", json!(path))).await
}

const ARGS: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.entry.args"]),
    Variant::new("createRuntime", &["hooks.create-runtime.entry.args"]),
    Variant::new("createContainer", &["hooks.create-container.supported"]),
    Variant::new("startContainer", &["hooks.start-container.supported"]),
    Variant::new("poststart", &["hooks.poststart.supported"]),
    Variant::new("poststop", &["hooks.poststop.supported"]),
];

/// Writes a container with this hook, lets the configuration be changed, and runs its whole life.
async fn with_entry(
    cx: &Cx,
    hook: &Hook,
    change: impl FnOnce(&mut Value),
) -> Result<(Container, Value), Stop> {
    let written = cx.container(probe::exit(0)).hook(hook.clone()).written()?;
    let mut config = written.container.config().clone();
    let pointer = format!("/hooks/{}/0", cx.param("kind"));
    let entry = config.pointer_mut(&pointer).ok_or_else(|| Stop::setup("no hook in the configuration"))?;
    change(entry);
    let entry = entry.clone();
    written.container.bundle().write(&config)?;
    let (call, container) = written.create().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    Ok((container, entry))
}

/// A hook's args are its whole argv, each exactly as it stands.
#[case(covers = [], matrix(kind = ARGS))]
async fn args_are_the_whole_argv(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.asks(["argv"]);
    let more = ["", " a  b ", "$HOME;*", "ü☂", "--flag=\"x\""];
    let (container, entry) = with_entry(cx, &hook, |entry| {
        if let Some(args) = entry["args"].as_array_mut() {
            args.extend(more.iter().map(|a| json!(a)));
        }
    })
    .await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    check_eq!(container.hook_answers(&hook)?.facts("argv")?["argv"], entry["args"], "the hook's argv");
    Ok(())
}

/// A hook without args runs.
#[case(covers = [], matrix(kind = ARGS))]
async fn args_may_be_absent(cx: &mut Cx) -> Verdict {
    // The interpreter line brings the script to the probe, for want of arguments.
    let hook = hook_of(cx)?;
    let inside = cx.param("kind") == "startContainer";
    let written = cx.container(probe::exit(0)).hook(hook.clone()).written()?;
    let mut config = written.container.config().clone();
    let entry = &mut config["hooks"][cx.param("kind")][0];
    let script = entry["args"][1].as_str().unwrap_or_default().to_owned();
    let rootfs = written.container.bundle().rootfs();
    let (on_host, seen, probe) = if inside {
        (rootfs.clone(), String::new(), "/probe".to_owned())
    } else {
        (cx.shared(), cx.shared().display().to_string(), cx.probe_path().display().to_string())
    };
    fs::write(on_host.join("no-args.json"), script)?;
    let program = on_host.join("no-args");
    fs::write(&program, format!("#!{probe} @{seen}/no-args.json\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    entry["path"] = json!(format!("{seen}/no-args"));
    if let Some(entry) = entry.as_object_mut() {
        entry.remove("args");
    }
    written.container.bundle().write(&config)?;
    let (call, container) = written.create().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the hook without args runs", "it did not");
    Ok(())
}

/// A hook's first argument need not be its path.
#[case(covers = [], matrix(kind = ARGS))]
async fn first_arg_is_free(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.asks(["argv"]);
    let (container, _) = with_entry(cx, &hook, |entry| entry["args"][0] = json!("no path, a name")).await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    let answers = container.hook_answers(&hook)?;
    check_eq!(answers.facts("argv")?["argv"][0], json!("no path, a name"), "the hook's argv[0]");
    Ok(())
}

const ENV: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.entry.env"]),
    Variant::new("createRuntime", &["hooks.create-runtime.entry.env"]),
    Variant::new("createContainer", &["hooks.create-container.supported"]),
    Variant::new("startContainer", &["hooks.start-container.supported"]),
    Variant::new("poststart", &["hooks.poststart.supported"]),
    Variant::new("poststop", &["hooks.poststop.supported"]),
];

/// A hook's env is its environment, no more and no less.
#[case(covers = [], matrix(kind = ENV))]
async fn env_is_the_environment(cx: &mut Cx) -> Verdict {
    let given = ["PLIMSOLL_A=1", "PLIMSOLL_B= a b ", "PLIMSOLL_EMPTY="];
    let hook = hook_of(cx)?.asks(["env"]).with("env", json!(given));
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    let answers = container.hook_answers(&hook)?;
    let mut seen: Vec<&str> =
        answers.facts("env")?["env"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    seen.sort_unstable();
    check_eq!(seen, given, "the hook's environment");
    Ok(())
}

/// The environment of a hook without env is recorded.
#[case(covers = [], matrix(kind = ENV))]
async fn absent_env_is_recorded(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.asks(["env"]);
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook without env runs", "it did not");
    let answers = container.hook_answers(&hook)?;
    let names: Vec<&str> = answers.facts("env")?["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|entry| entry.split('=').next().unwrap_or_default())
        .collect();
    cx.record(&format!("hooks.{}.environment-without-env", cx.param("kind")), json!(names));
    Ok(())
}

const TIMEOUT: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.entry.timeout"]),
    Variant::new("createRuntime", &["hooks.create-runtime.entry.timeout"]),
    Variant::new("createContainer", &["hooks.create-container.supported"]),
    Variant::new("startContainer", &["hooks.start-container.supported"]),
    Variant::new("poststart", &["hooks.poststart.supported"]),
    Variant::new("poststop", &["hooks.poststop.supported"]),
];

/// A hook that goes on beyond its timeout is ended.
#[case(covers = [], matrix(kind = TIMEOUT))]
async fn timeout_ends_the_hook(cx: &mut Cx) -> Verdict {
    // Longer than a call's deadline: a runtime that waits for the hook does not come back in time.
    let hook =
        hook_of(cx)?.then(|s| s.act("sleep", json!({ "ms": 60_000 })).ask("stamp")).with("timeout", json!(1));
    let (call, container) = cx.container(probe::exit(0)).hook(hook.clone()).attempt().await?;
    let call = match cx.param("kind") {
        "startContainer" | "poststart" => container.start().await?,
        "poststop" => {
            container.start().await?.must_succeed()?;
            container.wait_stopped().await?;
            container.delete().await?
        }
        _ => call,
    };
    if cx.param("kind") == "startContainer" {
        container.wait_exit().await?;
    }
    check!(!container.hook_answers(&hook)?.is_empty(), "the hook begins", "it did not");
    check!(!container.hook_ran(&hook)?, "the hook is ended before it is through", "it ran to its end");
    match cx.param("kind") {
        // Up to 1.2.1 a failing poststart hook warns only: that the call comes back is what counts.
        "poststart" => {
            check!(
                !matches!(call.status, plimsoll_kit::CallStatus::Deadline),
                "start returns",
                "{}",
                call.describe()
            );
        }
        "poststop" => call.must_succeed().map(|_| ())?,
        "startContainer" => {
            check!(container.answers_so_far()?.is_empty(), "the program does not run", "it has answered");
        }
        _ => {
            call.must_fail()?;
            container.nothing_left().await?;
        }
    }
    Ok(())
}

/// A hook that ends within its timeout is not disturbed by it.
#[case(covers = [], matrix(kind = TIMEOUT))]
async fn hook_within_its_timeout_is_kept(cx: &mut Cx) -> Verdict {
    works(cx, &hook_of(cx)?.with("timeout", json!(30))).await
}

const TIMEOUT_POSITIVE: &[Variant] = &[
    Variant::new("prestart,0", &["hooks.prestart.entry.timeout-positive"]),
    Variant::new("prestart,-1", &["hooks.prestart.entry.timeout-positive"]),
    Variant::new("createRuntime,0", &["hooks.create-runtime.entry.timeout-positive"]),
    Variant::new("createRuntime,-1", &["hooks.create-runtime.entry.timeout-positive"]),
    Variant::new("createContainer,-1", &["hooks.create-container.supported"]),
    Variant::new("startContainer,-1", &["hooks.start-container.supported"]),
    Variant::new("poststart,-1", &["hooks.poststart.supported"]),
    Variant::new("poststop,-1", &["hooks.poststop.supported"]),
];

/// A hook's timeout of zero or less is an error.
#[case(covers = ["valid-values.error"], matrix(hook = TIMEOUT_POSITIVE))]
async fn timeout_is_positive(cx: &mut Cx) -> Verdict {
    let (kind, number) = kind_and_form(cx.param("hook"))?;
    let with_timeout = |seconds: i64| Hook::new(kind).with("timeout", json!(seconds));
    works(cx, &with_timeout(30)).await?;
    let seconds: i64 = number.parse().unwrap_or_default();
    // A hook that outlasts any race: a runtime that takes the value for a time that is over ends it each time.
    refused(cx, with_timeout(seconds).then(|s| s.act("sleep", json!({ "ms": 700 })))).await
}

/// A member of a hook that the specification does not know is ignored.
#[case(covers = ["extensibility.ignore-unknown"], matrix(kind = UNKNOWN))]
async fn unknown_members_are_ignored(cx: &mut Cx) -> Verdict {
    works(cx, &hook_of(cx)?.with("plimsollUnknown", json!({ "a": [1] }))).await
}

const UNKNOWN: &[Variant] = &[Variant::new("createRuntime", &[]), Variant::new("poststop", &[])];
