//! runtime.md, create: what exists once create has returned, and what has not happened yet.

use super::support::{HostView, need_host_view};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    makes_a_created_container,
    environment_is_as_configured,
    namespaces_exist_before_start,
    mounts_exist_before_start,
    cgroup_exists_before_start,
    devices_exist_before_start,
    properties_are_applied_before_start,
    program_does_not_run,
    program_is_not_executed,
    later_changes_of_the_configuration_are_ignored,
    process_properties_before_start_are_recorded,
    early_validation_is_recorded,
];

/// Create makes a container with a live process whose state is created.
#[case(covers = ["create.makes-container"])]
async fn makes_a_created_container(cx: &mut Cx) -> Verdict {
    let (call, container) = cx.container(probe::pause()).attempt().await?;
    call.must_succeed()?;
    let state = container.state().await?;
    check_eq!(state.status(), "created", "the status after create");
    check!(state.pid().is_some(), "a process", "{}", state.raw["pid"]);
    check!(!container.has_exited(), "the process lives", "it has ended");
    Ok(())
}

/// The program finds the environment that the configuration asks for.
#[case(covers = ["create.environment-per-config"])]
async fn environment_is_as_configured(cx: &mut Cx) -> Verdict {
    let script = probe::script()
        .ask("hostname")
        .ask("cwd")
        .ask("mounts")
        .ask_with("read", json!({ "path": "/mnt/given/file" }))
        .ask_with("write", json!({ "path": "/new", "data": "x", "create": true }));
    let source = cx.shared();
    fs::write(source.join("file"), "from the host")?;
    let answers = cx
        .container(script)
        .set("/hostname", "as-configured")
        .set("/process/cwd", "/tmp")
        .set("/root/readonly", true)
        .directory("/mnt/given")
        .mount(json!({
            "destination": "/mnt/given", "type": "bind", "source": source.display().to_string(),
            "options": ["bind", "ro"]
        }))
        .answers()
        .await?;
    check_eq!(answers.facts("hostname")?["hostname"], json!("as-configured"), "the hostname");
    check_eq!(answers.facts("cwd")?["cwd"], json!("/tmp"), "the working directory");
    check_eq!(answers.facts("read")?["data"], json!("from the host"), "the content of the bind mount");
    check_eq!(answers.first("write")?.errno(), 30, "errno (EROFS) of writing to the read-only root");
    Ok(())
}

/// A running container of which the host took a look while it was only created.
async fn looked_at_before_start(cx: &Cx, builder: Builder) -> Result<(Container, HostView), Stop> {
    let container = builder.created().await?;
    let view = HostView::of(&container)?;
    container.start().await?.ready("start")?;
    let answers = container.wait_for_answer("namespaces").await?;
    need_host_view(&container, &answers)?;
    let _ = cx;
    Ok((container, view))
}

fn looking() -> Script {
    probe::ask(["namespaces"]).pause()
}

const NAMESPACES: &[Variant] = &[
    Variant::new("pid", &[]),
    Variant::new("network", &[]),
    Variant::new("mount", &[]),
    Variant::new("ipc", &[]),
    Variant::new("uts", &[]),
];

/// A namespace that the configuration asks for exists once create has returned, and start keeps it.
#[case(covers = ["create.resources-created"], matrix(kind = NAMESPACES))]
async fn namespaces_exist_before_start(cx: &mut Cx) -> Verdict {
    let name = match cx.param("kind") {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    };
    let container = cx.container(looking()).created().await?;
    let before = container.namespace(name)?;
    container.start().await?.ready("start")?;
    let answers = container.wait_for_answer("namespaces").await?;
    need_host_view(&container, &answers)?;
    let own = fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
    check_ne!(before, own, "the {name} namespace of the created container");
    check_eq!(answers.facts("namespaces")?["ns"][name], json!(before), "the {name} namespace after start");
    Ok(())
}

/// The mounts of the configuration stand once create has returned.
#[case(covers = ["create.resources-created"])]
async fn mounts_exist_before_start(cx: &mut Cx) -> Verdict {
    let builder = cx.container(looking()).directory("/mnt/extra").mount(json!({
        "destination": "/mnt/extra", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]
    }));
    let (_, view) = looked_at_before_start(cx, builder).await?;
    for point in ["/proc", "/dev", "/dev/pts", "/sys", "/mnt/extra"] {
        check!(view.points().contains(&point), format!("a mount at {point}"), "{:?}", view.points());
    }
    Ok(())
}

/// The cgroup of the configuration exists once create has returned, with its limit and the process in it.
#[case(covers = ["create.resources-created"])]
async fn cgroup_exists_before_start(cx: &mut Cx) -> Verdict {
    cx.need_controller("pids")?;
    let container = cx.container(looking()).set("/linux/resources/pids/limit", 77).created().await?;
    let directory = container.cgroup("pids")?;
    let path = container.config()["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
    check!(
        directory.ends_with(path.trim_start_matches('/')),
        format!("the process is in the cgroup {path}"),
        "{}",
        directory.display()
    );
    let limit = fs::read_to_string(directory.join("pids.max")).unwrap_or_default();
    check_eq!(limit.trim(), "77", "pids.max of the created container's cgroup");
    Ok(())
}

/// A device of the configuration exists once create has returned.
#[case(covers = ["create.resources-created"])]
async fn devices_exist_before_start(cx: &mut Cx) -> Verdict {
    let builder = cx.container(looking()).set(
        "/linux/devices",
        json!([{ "path": "/dev/given", "type": "c", "major": 1, "minor": 5, "fileMode": 438, "uid": 0, "gid": 0 }]),
    );
    let container = builder.created().await?;
    let meta = fs::symlink_metadata(format!("/proc/{}/root/dev/given", container.pid()?));
    container.start().await?.ready("start")?;
    need_host_view(&container, &container.wait_for_answer("namespaces").await?)?;
    match meta {
        Ok(meta) => check_eq!(meta.rdev(), rdev(1, 5), "the device number of /dev/given"),
        Err(e) => return Err(Stop::violation("/dev/given exists before start", e.to_string())),
    }
    Ok(())
}

fn rdev(major: u64, minor: u64) -> u64 {
    (major << 8) | minor
}

const APPLIED: &[Variant] = &[
    Variant::new("readonly-root", &[]),
    Variant::new("masked-path", &[]),
    Variant::new("readonly-path", &[]),
    Variant::new("mount", &[]),
];

/// A property outside `process` is applied by create, not only by start.
#[case(covers = ["create.applies-all-but-process"], matrix(property = APPLIED))]
async fn properties_are_applied_before_start(cx: &mut Cx) -> Verdict {
    let property = cx.param("property");
    let builder = cx.container(looking()).file("/etc/masked", "secret").directory("/etc/fixed");
    let builder = match property {
        "readonly-root" => builder.set("/root/readonly", true),
        "masked-path" => builder.set("/linux/maskedPaths", json!(["/etc/masked"])),
        "readonly-path" => builder.set("/linux/readonlyPaths", json!(["/etc/fixed"])),
        _ => builder.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" })),
    };
    let (_, view) = looked_at_before_start(cx, builder).await?;
    let (point, option) = match property {
        "readonly-root" => ("/", Some("ro")),
        "masked-path" => ("/etc/masked", None),
        "readonly-path" => ("/etc/fixed", Some("ro")),
        _ => ("/mnt", None),
    };
    let line = view.mounts.iter().rfind(|l| l.split(' ').nth(4) == Some(point));
    let Some(line) = line else {
        return Err(Stop::violation(
            format!("a mount at {point} before start"),
            format!("{:?}", view.points()),
        ));
    };
    let options = line.split(' ').nth(5).unwrap_or_default();
    check!(
        option.is_none_or(|o| options.split(',').any(|x| x == o)),
        format!("the mount at {point} is read-only before start"),
        "{options}"
    );
    Ok(())
}

/// Create does not run the program; start does.
#[case(covers = ["create.program-not-run"])]
async fn program_does_not_run(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["argv"])).created().await?;
    // Another operation's time passes: more than a program needs to write its first line.
    check_eq!(container.state().await?.status(), "created", "the status after create");
    check!(
        container.output()?.is_empty(),
        "no output of the program before start",
        "{:?}",
        container.output()?
    );
    container.start().await?.must_succeed()?;
    container.finished_answers().await?;
    Ok(())
}

/// After create, the container's process is not yet the configured program.
#[case(covers = ["create.args-not-applied"])]
async fn program_is_not_executed(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let program = fs::metadata(container.bundle().rootfs().join("probe"))?;
    let exe = fs::metadata(format!("/proc/{}/exe", container.pid()?))?;
    let same = (program.dev(), program.ino()) == (exe.dev(), exe.ino());
    check!(!same, "the process executes something else than `args` before start", "it executes the program");
    check!(container.answers_so_far()?.is_empty(), "no answer before start", "the program has answered");
    Ok(())
}

const EDITS: &[Variant] = &[
    Variant::new("args", &[]),
    Variant::new("env", &[]),
    Variant::new("cwd", &[]),
    Variant::new("hostname", &[]),
    Variant::new("annotations", &[]),
    Variant::new("poststop-hook-removed", &["create.config-updates-ignored", "hooks.poststop.invoked"]),
    Variant::new("file-removed", &[]),
    Variant::new("file-garbled", &[]),
];

/// What is written to config.json after create changes nothing.
#[case(covers = ["create.config-updates-ignored"], matrix(edit = EDITS))]
async fn later_changes_of_the_configuration_are_ignored(cx: &mut Cx) -> Verdict {
    let edit = cx.param("edit");
    let hook = Hook::new(HookKind::Poststop);
    let script = probe::ask(["argv", "env", "cwd", "hostname"]);
    let builder = cx.container(script).set("/annotations", json!({ "com.example.a": "before" }));
    let container = builder.hook(hook.clone()).setup().created().await?;
    let mut config = container.config().clone();
    match edit {
        "args" => config["process"]["args"] = json!(["/probe", "{\"nonce\":\"other\",\"steps\":[]}"]),
        "env" => config["process"]["env"] = json!(["AFTER=1"]),
        "cwd" => config["process"]["cwd"] = json!("/tmp"),
        "hostname" => config["hostname"] = json!("after"),
        "annotations" => config["annotations"] = json!({ "com.example.a": "after" }),
        "poststop-hook-removed" => config["hooks"] = json!({}),
        _ => {}
    }
    match edit {
        "file-removed" => fs::remove_file(container.bundle().dir().join("config.json"))?,
        "file-garbled" => container.bundle().write_bytes("config.json", b"{\"ociVersion\": ")?,
        _ => container.bundle().write(&config)?,
    }
    container.start().await?.must_succeed()?;
    container.wait_exit().await?;
    let answers = container.answers_so_far()?;
    check!(answers.is_done(), "the program of the original configuration runs", "{:?}", container.output()?);
    let env = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    check!(!env.contains(&json!("AFTER=1")), "the original environment", "{env:?}");
    check_eq!(answers.facts("cwd")?["cwd"], json!("/"), "the working directory");
    check_eq!(answers.facts("hostname")?["hostname"], json!("plimsoll"), "the hostname");
    let state = container.wait_status("stopped").await?;
    check_eq!(state.raw.pointer("/annotations/com.example.a"), Some(&json!("before")), "the annotation");
    container.delete().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the original poststop hook runs", "it did not");
    Ok(())
}

/// Which members of `process` create already applies is free; what it applies is recorded.
#[case(covers = ["create.process-others-may-apply"])]
async fn process_properties_before_start_are_recorded(cx: &mut Cx) -> Verdict {
    let container = cx
        .container(looking())
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/oomScoreAdj", 500)
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 321, "hard": 321 }]))
        .created()
        .await?;
    let status = container.proc_file("status")?;
    let field =
        |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let limits = container.proc_file("limits")?;
    let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap_or_default();
    cx.record(
        "create.process-applied-before-start",
        json!({
            "user": field("Uid:").starts_with("1000"),
            "noNewPrivileges": field("NoNewPrivs:") == "1",
            "oomScoreAdj": container.proc_file("oom_score_adj")?.trim() == "500",
            "rlimits": files.contains(" 321 "),
        }),
    );
    container.start().await?.must_succeed()?;
    container.wait_for_answer("pause_forever").await?;
    Ok(())
}

/// Create may validate the configuration before it does anything; whether it does is recorded.
#[case(covers = ["create.may-validate-config"])]
async fn early_validation_is_recorded(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::CreateRuntime);
    let container =
        cx.container(probe::pause()).hook(hook.clone()).set("/process/cwd", "relative").written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let call = container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?;
    cx.record(
        "create.validates-before-hooks",
        json!({ "relative cwd is refused at create": !call.succeeded(), "a hook ran": container.hook_ran(&hook)? }),
    );
    Ok(())
}
