//! config.md, hooks: where a hook's path resolves, and in whose namespaces it runs.

use crate::runtime::state_hooks::{hook_of, whole_life};
use plimsoll_kit::prelude::*;
use std::fs;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    host_path_is_found,
    container_path_is_not_found_on_the_host,
    container_path_is_found,
    host_path_is_not_found_in_the_container,
    runs_in_the_namespaces_of_the_runtime,
    runs_in_the_namespaces_of_the_container,
    runs_in_the_root_of_the_container,
];

const HOST_PATHS: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.path-runtime-ns"]),
    Variant::new("createRuntime", &["hooks.create-runtime.path-runtime-ns"]),
    Variant::new("createContainer", &["hooks.create-container.path-runtime-ns"]),
    Variant::new("poststart", &["hooks.poststart.path-runtime-ns"]),
    Variant::new("poststop", &["hooks.poststop.path-runtime-ns"]),
];

/// A program that only the host has is found as the path of a hook of the runtime namespace.
#[case(covers = [], matrix(kind = HOST_PATHS))]
async fn host_path_is_found(cx: &mut Cx) -> Verdict {
    let path = cx.shared().join("only-on-the-host");
    fs::copy(cx.probe_path(), &path)?;
    let hook = hook_of(cx)?.with("path", json!(path.display().to_string()));
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook that only the host has runs", "it did not");
    Ok(())
}

const NOT_IN_CONTAINER: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.path-runtime-ns"]),
    Variant::new("createRuntime", &["hooks.create-runtime.path-runtime-ns"]),
    Variant::new("createContainer", &["hooks.create-container.path-runtime-ns"]),
];

/// A program that only the container has is no hook of the runtime namespace: create is an error.
#[case(covers = [], matrix(kind = NOT_IN_CONTAINER))]
async fn container_path_is_not_found_on_the_host(cx: &mut Cx) -> Verdict {
    let name = "/plimsoll-only-in-the-container";
    cx.need(!Path::new(name).exists(), "free-path", "the host has a file of that name itself")?;
    let probe = cx.probe_path();
    let hook = hook_of(cx)?.with("path", json!(name));
    let builder = cx.container(probe::pause()).hook(hook.clone());
    let builder = builder.rootfs(move |root| fs::copy(probe, root.join(&name[1..])).map(|_| ()));
    let (call, container) = builder.attempt().await?;
    check!(container.hook_answers(&hook)?.is_empty(), "the container's program is not the hook", "it ran");
    call.must_fail()?;
    container.nothing_left().await
}

/// A program that only the container has is found as the path of a startContainer hook.
#[case(covers = ["hooks.start-container.path-container-ns"])]
async fn container_path_is_found(cx: &mut Cx) -> Verdict {
    let name = "/plimsoll-only-in-the-container";
    let probe = cx.probe_path();
    let hook = Hook::new(HookKind::StartContainer).with("path", json!(name));
    let builder = cx.container(probe::exit(0)).hook(hook.clone());
    let builder = builder.rootfs(move |root| fs::copy(probe, root.join(&name[1..])).map(|_| ()));
    let container = builder.stopped().await?;
    check!(container.hook_ran(&hook)?, "the hook that only the container has runs", "it did not");
    Ok(())
}

/// A program that only the host has is no startContainer hook: start is an error.
#[case(covers = ["hooks.start-container.path-container-ns", "hooks.start-container.fail-errors"])]
async fn host_path_is_not_found_in_the_container(cx: &mut Cx) -> Verdict {
    let path = cx.probe_path().display().to_string();
    let hook = Hook::new(HookKind::StartContainer).with("path", json!(path));
    let (create, container) = cx.container(probe::exit(0)).hook(hook.clone()).attempt().await?;
    if create.succeeded() {
        let start = container.start().await?;
        cx.record("hooks.start-container-failure-fails-start", !start.succeeded());
        container.wait_exit().await?;
    } else {
        create.must_fail()?;
    }
    check!(container.hook_answers(&hook)?.is_empty(), "the host's program is not the hook", "it ran");
    check!(container.answers_so_far()?.is_empty(), "the program does not run", "it has answered");
    Ok(())
}

const OF_THE_RUNTIME: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.runs-runtime-ns"]),
    Variant::new("createRuntime", &["hooks.create-runtime.runs-runtime-ns"]),
    Variant::new("poststart", &["hooks.poststart.runs-runtime-ns"]),
    Variant::new("poststop", &["hooks.poststop.runs-runtime-ns"]),
];

/// A hook of the runtime namespace runs in the namespaces that the runtime was called in.
#[case(covers = [], matrix(kind = OF_THE_RUNTIME))]
async fn runs_in_the_namespaces_of_the_runtime(cx: &mut Cx) -> Verdict {
    let hook = hook_of(cx)?.asks(["namespaces"]);
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    let answers = container.hook_answers(&hook)?;
    let seen = &answers.facts("namespaces")?["ns"];
    for name in ["mnt", "net", "pid", "uts", "ipc", "user", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
        check_eq!(seen[name], json!(own), "the hook's {name} namespace (the caller's)");
    }
    Ok(())
}

const OF_THE_CONTAINER: &[Variant] = &[
    Variant::new("createContainer,mnt", &["hooks.create-container.runs-container-ns"]),
    Variant::new("createContainer,net", &["hooks.create-container.runs-container-ns"]),
    Variant::new("createContainer,uts", &["hooks.create-container.runs-container-ns"]),
    Variant::new("createContainer,ipc", &["hooks.create-container.runs-container-ns"]),
    Variant::new("startContainer,mnt", &["hooks.start-container.runs-container-ns"]),
    Variant::new("startContainer,net", &["hooks.start-container.runs-container-ns"]),
    Variant::new("startContainer,uts", &["hooks.start-container.runs-container-ns"]),
    Variant::new("startContainer,ipc", &["hooks.start-container.runs-container-ns"]),
    Variant::new("startContainer,pid", &["hooks.start-container.runs-container-ns"]),
];

/// A hook of the container namespace runs in the namespaces in which the program will run.
#[case(covers = [], matrix(at = OF_THE_CONTAINER))]
async fn runs_in_the_namespaces_of_the_container(cx: &mut Cx) -> Verdict {
    let (kind, name) = cx.param("at").split_once(',').unwrap_or_default();
    let kind = HookKind::from_key(kind).ok_or_else(|| Stop::setup("no such kind of hook"))?;
    let hook = Hook::new(kind).asks(["namespaces"]);
    let container = cx.container(probe::ask(["namespaces"])).hook(hook.clone()).stopped().await?;
    check!(container.hook_ran(&hook)?, "the hook runs", "it did not");
    let (program, answers) = (container.answers_so_far()?, container.hook_answers(&hook)?);
    let inside = &program.facts("namespaces")?["ns"][name];
    check_eq!(
        answers.facts("namespaces")?["ns"][name],
        *inside,
        "the hook's {name} namespace (the program's)"
    );
    let own = fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
    check_ne!(answers.facts("namespaces")?["ns"][name], json!(own), "the hook's {name} namespace");
    Ok(())
}

/// A startContainer hook runs in the container's root file system.
#[case(covers = ["hooks.start-container.runs-container-ns"])]
async fn runs_in_the_root_of_the_container(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::StartContainer)
        .then(|s| s.ask_with("read", json!({ "path": "/etc/plimsoll-inside" })));
    let builder = cx.container(probe::exit(0)).file("/etc/plimsoll-inside", "inside").hook(hook.clone());
    let container = builder.stopped().await?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the hook runs", "it did not");
    match &answers.first("read")?.result {
        Ok(facts) => {
            check_eq!(facts["data"], json!("inside"), "the file of the root file system");
            Ok(())
        }
        Err(refusal) => Err(Stop::violation("the hook sees the container's root", refusal.error.clone())),
    }
}
