//! runtime.md, delete: what create made goes, what it did not make stays, and only a stopped container goes.

use super::support::{Snapshot, pause, unchanged};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;
use std::path::PathBuf;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    undoes_create,
    undoes_create_of_every_part,
    removes_what_create_made,
    removes_cgroups_made_inside,
    keeps_the_bundle,
    keeps_mounted_directories,
    keeps_a_joined_namespace,
    keeps_the_parent_cgroup,
    keeps_other_containers,
    missing_id_is_error,
    container_that_is_not_stopped_is_error,
    refused_delete_has_no_effect,
    unknown_id_is_error,
    id_can_be_used_again,
];

const LIVES: &[Variant] = &[
    Variant::new("ran-to-its-end", &[]),
    Variant::new("killed", &[]),
    Variant::new("killed-before-start", &[]),
];

/// A container brought to its end in one of three ways.
async fn ended(cx: &Cx, builder_of: impl Fn(Script) -> Builder, life: &str) -> Result<Container, Stop> {
    let container = match life {
        "ran-to-its-end" => return builder_of(probe::exit(0)).stopped().await,
        "killed" => builder_of(probe::pause()).running().await?,
        _ => builder_of(probe::pause()).created().await?,
    };
    container.kill("KILL").await?.must_succeed().map_err(|stop| stop.of("kill.sends-signal"))?;
    container.wait_stopped().await?;
    let _ = cx;
    Ok(container)
}

/// After delete, mounts, cgroups, processes, state and bundle are as before create.
#[case(covers = ["delete.undoes-create", "kill.sends-signal"], matrix(life = LIVES))]
async fn undoes_create(cx: &mut Cx) -> Verdict {
    let written = cx.container(probe::pause()).written()?;
    let directory = written.container.bundle().dir().to_owned();
    let before = Snapshot::take(cx, &[&directory]);
    let (call, container) = written.create().await?;
    call.ready("create")?;
    if cx.param("life") != "killed-before-start" {
        container.start().await?.ready("start")?;
        container.wait_for_answer("pause_forever").await?;
    }
    let signal = if cx.param("life") == "ran-to-its-end" { "TERM" } else { "KILL" };
    container.kill(signal).await?.must_succeed().map_err(|stop| stop.of("kill.sends-signal"))?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    unchanged(cx, &before, &[&directory]).await
}

const PARTS: &[Variant] = &[
    Variant::new("hooks", &[]),
    Variant::new("user-namespace", &[]),
    Variant::new("mounts", &[]),
    Variant::new("resources", &[]),
    Variant::new("seccomp", &[]),
];

/// A container whose configuration has this part, for which create makes more than for a plain one.
fn with_part(cx: &Cx, part: &str) -> Builder {
    let builder = cx.container(probe::pause());
    match part {
        "hooks" => HookKind::ALL.into_iter().fold(builder, |b, kind| b.hook(Hook::new(kind))),
        "user-namespace" => builder.user_namespace(100_000),
        "mounts" => ["/mnt/one", "/mnt/two/three"].into_iter().fold(builder, |b, place| {
            b.mount(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }))
        }),
        "resources" => builder.set("/linux/resources/cpu", json!({ "shares": 600 })),
        _ => builder.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ERRNO" }]
            }),
        ),
    }
}

/// What create makes for a part of the configuration goes with delete as well.
#[case(covers = ["delete.undoes-create", "delete.removes-resources"], matrix(part = PARTS))]
async fn undoes_create_of_every_part(cx: &mut Cx) -> Verdict {
    let written = with_part(cx, cx.param("part")).written()?;
    let before = Snapshot::take(cx, &[]);
    let (call, container) = written.create().await?;
    call.ready("create")?;
    container.start().await?.ready("start")?;
    container.wait_for_answer("pause_forever").await?;
    container.kill("KILL").await?.ready("kill")?;
    container.wait_stopped().await?;
    container.delete().await?.must_succeed()?;
    unchanged(cx, &before, &[]).await
}

/// After delete, nothing of the container is left: no state, no cgroup, no process.
#[case(covers = ["delete.removes-resources", "kill.sends-signal"], matrix(life = LIVES))]
async fn removes_what_create_made(cx: &mut Cx) -> Verdict {
    let container = ended(cx, |script| cx.container(script), cx.param("life")).await?;
    container.delete().await?.must_succeed()?;
    container.nothing_left().await
}

/// Cgroups that the program made below its own go with delete.
#[case(covers = ["delete.removes-resources"])]
async fn removes_cgroups_made_inside(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let own = container.cgroup_directories();
    cx.need(!own.is_empty(), "cgroup-path", "the runtime made no cgroup at the path of the configuration")?;
    let inner: Vec<PathBuf> = own.iter().map(|d| d.join("inner")).collect();
    for directory in &inner {
        fs::create_dir(directory)?;
    }
    container.kill("KILL").await?.ready("kill")?;
    container.wait_stopped().await?;
    let call = container.delete().await?;
    let left: Vec<_> = inner.iter().filter(|d| d.exists()).map(|d| d.display().to_string()).collect();
    for directory in inner.iter().chain(&own) {
        let _ = fs::remove_dir(directory);
    }
    call.must_succeed()?;
    check!(left.is_empty(), "no cgroup below the container's own", "{left:?}");
    Ok(())
}

/// The bundle is not the runtime's: its configuration and root file system stay.
#[case(covers = ["delete.keeps-foreign-resources", "kill.sends-signal"], matrix(life = LIVES))]
async fn keeps_the_bundle(cx: &mut Cx) -> Verdict {
    let new = |script| cx.container(script).file("/etc/kept", "kept").directory("/mnt/kept").setup();
    let container = ended(cx, new, cx.param("life")).await?;
    let config = fs::read(container.bundle().dir().join("config.json"))?;
    container.delete().await?.must_succeed()?;
    let bundle = container.bundle();
    check_eq!(fs::read(bundle.dir().join("config.json")).unwrap_or_default(), config, "config.json");
    let kept = fs::read_to_string(bundle.rootfs().join("etc/kept")).unwrap_or_default();
    check_eq!(kept, "kept", "a file of the root file system");
    check!(bundle.rootfs().join("mnt/kept").is_dir(), "a directory of the root file system", "it is gone");
    check!(bundle.rootfs().join("probe").is_file(), "the program in the root file system", "it is gone");
    Ok(())
}

const BINDS: &[Variant] = &[Variant::new("bind", &[]), Variant::new("rbind", &[])];

/// The source of a bind mount and all in it stay, with what the container wrote to it.
#[case(covers = ["delete.keeps-foreign-resources"], matrix(mount = BINDS))]
async fn keeps_mounted_directories(cx: &mut Cx) -> Verdict {
    let source = cx.dir().join("source");
    fs::create_dir_all(source.join("sub"))?;
    fs::write(source.join("sub/file"), "host")?;
    let script =
        probe::script().act("write", json!({ "path": "/mnt/written", "data": "container", "create": true }));
    let container = cx
        .container(script)
        .mount(json!({
            "destination": "/mnt", "type": "bind", "source": source.display().to_string(),
            "options": [cx.param("mount")]
        }))
        .setup()
        .stopped()
        .await?;
    container.delete().await?.must_succeed()?;
    let read = |name: &str| fs::read_to_string(source.join(name)).unwrap_or_default();
    check_eq!(read("sub/file"), "host", "the file of the source");
    check_eq!(read("written"), "container", "the file that the container wrote");
    Ok(())
}

const JOINED: &[Variant] =
    &[Variant::new("network", &[]), Variant::new("ipc", &[]), Variant::new("uts", &[])];

/// A namespace that the container joined lives on when the container is deleted.
#[case(covers = ["delete.keeps-foreign-resources"], matrix(kind = JOINED))]
async fn keeps_a_joined_namespace(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    let name = if kind == "network" { "net" } else { kind };
    let owner = cx.container(probe::pause()).running().await?;
    let path = format!("/proc/{}/ns/{name}", owner.pid()?);
    let namespace = owner.namespace(name)?;
    let mut guest = cx.container(probe::exit(0)).namespace(kind, Some(&path));
    if kind == "uts" {
        guest = guest.remove("/hostname");
    }
    let guest = guest.setup().stopped().await?;
    guest.delete().await?.must_succeed()?;
    check!(!owner.has_exited(), "the process of the joined namespace lives", "it has ended");
    check_eq!(owner.namespace(name)?, namespace, "the namespace of its owner");
    check_eq!(owner.state().await?.status(), "running", "the status of its owner");
    Ok(())
}

/// The cgroup above the container's own stays, with another that stands beside it.
#[case(covers = ["delete.keeps-foreign-resources"])]
async fn keeps_the_parent_cgroup(cx: &mut Cx) -> Verdict {
    let name = cx.new_id();
    let path = format!("{}/{name}-parent/{name}", cx.cgroup());
    let foreign = format!("{name}-foreign");
    let mut made = Vec::new();
    for h in plimsoll_kit::host::hierarchies() {
        let parent = h.mount.join(cx.cgroup().trim_start_matches('/'));
        if parent.is_dir() {
            let beside = parent.join(format!("{name}-parent")).join(&foreign);
            fs::create_dir_all(&beside)?;
            made.push(beside);
        }
    }
    let removed = |made: &[PathBuf]| {
        for beside in made {
            plimsoll_kit::host::remove_cgroup(beside.parent().unwrap_or(beside));
        }
    };
    if made.is_empty() {
        return cx.need(false, "cgroup-parent", "the attempt has no cgroup of its own in any hierarchy");
    }
    let outcome = async {
        let container =
            cx.container(probe::exit(0)).set("/linux/cgroupsPath", path).setup().stopped().await?;
        container.delete().await?.must_succeed().map(|_| ())
    }
    .await;
    let gone: Vec<_> = made.iter().filter(|d| !d.is_dir()).map(|d| d.display().to_string()).collect();
    removed(&made);
    outcome?;
    check!(gone.is_empty(), "the foreign cgroups stay", "gone: {gone:?}");
    Ok(())
}

/// Deleting one container leaves another alone.
#[case(covers = ["delete.keeps-foreign-resources"])]
async fn keeps_other_containers(cx: &mut Cx) -> Verdict {
    let other = cx.container(probe::pause()).running().await?;
    let state = other.state().await?;
    let container = cx.container(probe::exit(0)).stopped().await?;
    container.delete().await?.must_succeed()?;
    check_eq!(other.state().await?, state, "the other container's state");
    check!(!other.has_exited(), "the other container's process lives", "it has ended");
    Ok(())
}

const NO_ID: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// The delete operation without a container id is an error.
#[case(covers = ["delete.no-id.errors"], matrix(id = NO_ID))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    let args: &[&str] = if cx.param("id") == "absent" { &["delete"] } else { &["delete", ""] };
    cx.runtime().call(args).await?.must_fail()?;
    Ok(())
}

const NOT_STOPPED: &[Variant] =
    &[Variant::new("created", &[]), Variant::new("running", &[]), Variant::new("paused", &[])];

/// A container whose process lives, at the stage of the matrix.
async fn alive(cx: &Cx) -> Result<Container, Stop> {
    let container = match cx.param("stage") {
        "created" => cx.container(probe::pause()).created().await?,
        _ => cx.container(probe::pause()).running().await?,
    };
    if cx.param("stage") == "paused" {
        pause(cx, &container).await?;
    }
    Ok(container)
}

/// Deleting a container that is not stopped is an error.
#[case(covers = ["delete.not-stopped.errors"], matrix(stage = NOT_STOPPED))]
async fn container_that_is_not_stopped_is_error(cx: &mut Cx) -> Verdict {
    let container = alive(cx).await?;
    container.delete().await?.must_fail()?;
    Ok(())
}

/// A delete of a container that is not stopped leaves it as it was, and usable.
#[case(covers = ["delete.not-stopped.no-effect"], matrix(stage = NOT_STOPPED))]
async fn refused_delete_has_no_effect(cx: &mut Cx) -> Verdict {
    let container = alive(cx).await?;
    let state = container.state().await?;
    let before = Snapshot::take(cx, &[container.bundle().dir()]);
    let call = container.delete().await?;
    check!(!container.has_exited(), "the process lives", "it has ended; delete: {}", call.describe());
    check_eq!(container.state().await?, state, "the state after the delete");
    unchanged(cx, &before, &[container.bundle().dir()]).await?;
    match cx.param("stage") {
        "created" => {
            container.start().await?.must_succeed()?;
            container.wait_for_answer("pause_forever").await?;
        }
        "paused" => cx.runtime().verb("resume", container.id()).await?.must_succeed().map(|_| ())?,
        _ => {}
    }
    Ok(())
}

const UNKNOWN: &[Variant] = &[Variant::new("never-created", &[]), Variant::new("deleted", &[])];

/// Deleting a container that does not exist is an error.
#[case(covers = ["delete.not-stopped.errors"], matrix(id = UNKNOWN))]
async fn unknown_id_is_error(cx: &mut Cx) -> Verdict {
    let id = if cx.param("id") == "deleted" {
        let container = cx.container(probe::exit(0)).stopped().await?;
        container.delete().await?.ready("delete")?;
        container.id().to_owned()
    } else {
        cx.new_id()
    };
    cx.runtime().delete(&id).await?.must_fail()?;
    Ok(())
}

/// The id of a deleted container may be used again; whether it can is recorded.
#[case(covers = ["delete.id-reusable"])]
async fn id_can_be_used_again(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?;
    let bundle = container.bundle().dir().display().to_string();
    let mut times = 0;
    for _ in 0..3 {
        container.delete().await?.ready("delete")?;
        let again =
            container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?;
        if !again.succeeded() {
            break;
        }
        container.start().await?.ready("start")?;
        container.wait_stopped().await?;
        times += 1;
    }
    cx.record("delete.id-used-again-times", times);
    Ok(())
}
