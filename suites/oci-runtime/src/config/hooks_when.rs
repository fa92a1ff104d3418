//! config.md, hooks: the moment at which each kind runs, seen from the program and from the host.

use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use plimsoll_kit::wait::Poll;
use std::task;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    create_waits_for_its_hooks,
    start_waits_for_its_hooks,
    delete_waits_for_its_hooks,
    namespaces_exist_before_the_hooks_of_create,
    container_hook_still_sees_the_host_tree,
    mounts_of_a_container_hook_reach_the_program,
    start_container_runs_before_the_program,
    poststart_runs_beside_the_program,
    poststop_runs_after_the_cgroup_is_gone,
    poststop_runs_after_the_process_is_gone,
];

fn slow(kind: HookKind) -> Hook {
    Hook::new(kind).then(|s| s.act("sleep", json!({ "ms": 150 })).ask("stamp"))
}

const OF_CREATE: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.timing"]),
    Variant::new("createRuntime", &["hooks.create-runtime.timing"]),
    Variant::new("createContainer", &["hooks.create-container.timing"]),
];

/// Create returns only when a slow hook of its own has ended.
#[case(covers = [], matrix(kind = OF_CREATE))]
async fn create_waits_for_its_hooks(cx: &mut Cx) -> Verdict {
    let hook = slow(HookKind::from_key(cx.param("kind")).unwrap_or(HookKind::CreateRuntime));
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    check!(container.hook_ran(&hook)?, "the slow hook has ended when create returns", "it has not");
    Ok(())
}

/// Start returns only when a slow poststart hook has ended.
#[case(covers = ["hooks.poststart.timing"])]
async fn start_waits_for_its_hooks(cx: &mut Cx) -> Verdict {
    let hook = slow(HookKind::Poststart);
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let early = !container.hook_answers(&hook)?.is_empty();
    container.start().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the slow hook has ended when start returns", "it has not");
    check!(!early, "the poststart hook runs in start", "it had run when create returned");
    Ok(())
}

/// Delete returns only when a slow poststop hook has ended.
#[case(covers = ["hooks.poststop.timing"])]
async fn delete_waits_for_its_hooks(cx: &mut Cx) -> Verdict {
    let hook = slow(HookKind::Poststop);
    let container = cx.container(probe::exit(0)).hook(hook.clone()).stopped().await?;
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the slow hook has ended when delete returns", "it has not");
    Ok(())
}

/// The container's process, in its own namespaces, exists when the hooks of create run.
#[case(covers = [], matrix(kind = BEFORE_PIVOT))]
async fn namespaces_exist_before_the_hooks_of_create(cx: &mut Cx) -> Verdict {
    let kind = HookKind::from_key(cx.param("kind")).unwrap_or(HookKind::CreateRuntime);
    // The hook goes on when the host has looked.
    let gate = cx.shared().join("gate");
    let path = gate.display().to_string();
    let hook = Hook::new(kind).then(|s| s.act("wait_file", json!({ "path": path, "timeout_ms": 8_000 })));
    let container = cx.container(probe::pause()).hook(hook.clone()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let look = async {
        let answer = wait_until("the hook runs inside create", cx.limits().wait(), async || {
            let answers = container.hook_answers(&hook)?;
            Ok(match answers.first("stdin") {
                Ok(answer) => Poll::Ready(answer.clone()),
                Err(_) => Poll::NotYet("no answer of the hook".into()),
            })
        })
        .await;
        let seen = answer.map(|answer| look_at(&answer.result.unwrap_or_default()));
        let opened = std::fs::write(&gate, "");
        opened?;
        seen
    };
    let flags = ["--bundle", &bundle];
    let create = container.create_by(&flags, container.id(), CallOptions::default());
    let (call, seen) = futures_join(create, look).await;
    call?.must_succeed()?;
    let (pid, namespace) = seen?;
    check!(pid > 0, "a process id in the state that the hook is handed", "{pid}");
    let own = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    check!(!namespace.is_empty(), "the process of that id exists", "/proc/{pid}/ns/net cannot be read");
    check_ne!(namespace, own, "the network namespace of the container's process");
    Ok(())
}

/// The process id in a state on standard input, and that process's network namespace.
fn look_at(stdin: &Value) -> (i64, String) {
    let state: Value = serde_json::from_str(stdin["data"].as_str().unwrap_or_default()).unwrap_or_default();
    let pid = state["pid"].as_i64().unwrap_or_default();
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net"));
    (pid, link.map(|l| l.display().to_string()).unwrap_or_default())
}

/// Drives two futures on this task until both are through.
async fn futures_join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        if first.is_none()
            && let task::Poll::Ready(value) = a.as_mut().poll(context)
        {
            first = Some(value);
        }
        if second.is_none()
            && let task::Poll::Ready(value) = b.as_mut().poll(context)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(x), Some(y)) => task::Poll::Ready((x, y)),
            (x, y) => {
                (first, second) = (x, y);
                task::Poll::Pending
            }
        }
    })
    .await
}

const BEFORE_PIVOT: &[Variant] = &[
    Variant::new("prestart", &["hooks.prestart.timing"]),
    Variant::new("createRuntime", &["hooks.create-runtime.timing"]),
];

/// A createContainer hook runs before the root is changed: it still sees the host's tree.
#[case(covers = ["hooks.create-container.timing"])]
async fn container_hook_still_sees_the_host_tree(cx: &mut Cx) -> Verdict {
    let path = cx.shared().join("on-the-host");
    std::fs::write(&path, "host")?;
    let hook = Hook::new(HookKind::CreateContainer)
        .then(|s| s.ask_with("read", json!({ "path": path.display().to_string() })));
    let container = cx.container(probe::pause()).hook(hook.clone()).created().await?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the hook runs in create", "it did not");
    check_eq!(answers.first("read")?.errno(), 0, "errno of reading a file of the host");
    Ok(())
}

/// What a createContainer hook mounts below the root file system is there for the program, and not for the host.
#[case(covers = ["hooks.create-container.timing", "hooks.create-container.runs-container-ns"])]
async fn mounts_of_a_container_hook_reach_the_program(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("statfs", json!({ "path": "/mnt" }));
    let builder = cx.container(script);
    let target = cx.dir().join("b").join(builder.id()).join("rootfs/mnt").display().to_string();
    let hook = Hook::new(HookKind::CreateContainer).then(|s| {
        s.act("mount", json!({ "target": target, "source": "tmpfs", "fstype": "tmpfs", "data": "size=64k" }))
    });
    let container = builder.hook(hook.clone()).stopped().await?;
    let mounted = container.hook_answers(&hook)?;
    check!(mounted.is_done(), "the hook runs in create", "it did not");
    check_eq!(mounted.first("mount")?.errno(), 0, "errno of mounting in the hook");
    let answers = container.answers_so_far()?;
    let size = answers.facts("statfs")?;
    let bytes = size["blocks"].as_u64().unwrap_or_default() * size["block_size"].as_u64().unwrap_or_default();
    check_eq!(bytes, 65_536, "the size of the file system that the program finds at /mnt");
    let on_host = plimsoll_kit::leak::mounts().iter().any(|m| m.contains(&target));
    check!(!on_host, "no mount on the host", "it is there");
    Ok(())
}

/// A startContainer hook has ended before the program begins.
#[case(covers = ["hooks.start-container.timing"])]
async fn start_container_runs_before_the_program(cx: &mut Cx) -> Verdict {
    let hook = slow(HookKind::StartContainer);
    let container = cx.container(probe::ask(["stamp"])).hook(hook.clone()).created().await?;
    check!(container.hook_answers(&hook)?.is_empty(), "the hook does not run in create", "it has run");
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    check!(container.hook_ran(&hook)?, "the hook runs before the program", "it did not");
    let ended = container.hook_answers(&hook)?.facts("stamp")?["now_ns"].as_u64().unwrap_or_default();
    let began = answers.facts("stamp")?["start_ns"].as_u64().unwrap_or_default();
    check!(
        ended <= began,
        "the hook ends before the program begins",
        "hook: {ended} ns, program: {began} ns"
    );
    Ok(())
}

/// A poststart hook runs while the program runs already: it can wait for what the program does.
#[case(covers = ["hooks.poststart.timing"])]
async fn poststart_runs_beside_the_program(cx: &mut Cx) -> Verdict {
    let mark = cx.shared().join("program-runs").display().to_string();
    let shared = cx.shared().display().to_string();
    let hook = Hook::new(HookKind::Poststart)
        .then(|s| s.act("wait_file", json!({ "path": mark, "timeout_ms": 4_000 })));
    let script = probe::script().act("marker", json!({ "path": "/mnt/program-runs" })).pause();
    let container = cx
        .container(script)
        .mount(json!({ "destination": "/mnt", "type": "bind", "source": shared, "options": ["bind"] }))
        .hook(hook.clone())
        .created()
        .await?;
    container.start().await?.must_succeed()?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the hook has ended when start returns", "it has not");
    check_eq!(answers.first("wait_file")?.errno(), 0, "errno of the hook's wait for the program");
    Ok(())
}

/// When a poststop hook runs, the container's cgroup is gone.
#[case(covers = ["hooks.poststop.timing"])]
async fn poststop_runs_after_the_cgroup_is_gone(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let path = builder.config()["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
    let directories: Vec<String> = plimsoll_kit::host::hierarchies()
        .iter()
        .map(|h| h.mount.join(path.trim_start_matches('/')).display().to_string())
        .collect();
    let hook = Hook::new(HookKind::Poststop).then(|s| {
        directories.iter().fold(s, |s, d| s.ask_with("access", json!({ "path": d, "modes": ["f"] })))
    });
    let container = builder.hook(hook.clone()).created().await?;
    let made = !container.cgroup_directories().is_empty();
    cx.need(made, "cgroup-path", "the runtime made no cgroup at the path of the configuration")?;
    container.start().await?.must_succeed()?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the poststop hook runs", "it did not");
    for (answer, directory) in answers.all("access").into_iter().zip(&directories) {
        check_eq!(answer.errno(), 2, "errno (ENOENT) of looking for {directory}");
    }
    Ok(())
}

/// When a poststop hook runs, the container's process is gone, even when delete had to kill it.
#[case(covers = ["hooks.poststop.timing"])]
async fn poststop_runs_after_the_process_is_gone(cx: &mut Cx) -> Verdict {
    let socket = cx.shared().join("s").display().to_string();
    let shared = cx.shared().display().to_string();
    // Only a process that lives accepts connections at its socket.
    let script =
        probe::script().act("listen", json!({ "path": "/mnt/s", "accept": 2, "timeout_ms": 30_000 }));
    let hook = Hook::new(HookKind::Poststop).then(|s| s.ask_with("connect", json!({ "path": socket })));
    let container = cx
        .container(script)
        .mount(json!({ "destination": "/mnt", "type": "bind", "source": shared, "options": ["bind"] }))
        .hook(hook.clone())
        .running()
        .await?;
    wait_until("the program listens", cx.limits().wait(), async || {
        let ready = container.output()?.contains("\"ready\":true");
        Ok(if ready { Poll::Ready(()) } else { Poll::NotYet("it does not yet".into()) })
    })
    .await?;
    let reachable = std::os::unix::net::UnixStream::connect(cx.shared().join("s")).is_ok();
    cx.need(
        reachable,
        "shared-sockets",
        "sockets of this runtime's containers cannot be reached from the host",
    )?;
    container.delete_force().await?.must_succeed()?;
    let answers = container.hook_answers(&hook)?;
    check!(answers.is_done(), "the poststop hook runs", "it did not");
    check_ne!(answers.first("connect")?.errno(), 0, "errno of connecting to the deleted container's program");
    Ok(())
}
