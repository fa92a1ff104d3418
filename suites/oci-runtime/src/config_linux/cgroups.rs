//! config-linux.md, cgroups: the path, fitness, ownership, and the raw settings of version 2.

use super::support::{cgroup_dir, cgroup_file};
use plimsoll_kit::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    process_is_in_the_configured_cgroup,
    missing_cgroups_are_made,
    same_path_is_the_same_place,
    relative_path_is_recorded,
    absent_path_is_recorded,
    escaping_path_stays_below_the_mount,
    path_that_cannot_be_made_is_error,
    occupied_cgroup_is_recorded,
    version_one_cgroup_keeps_its_owner,
    delegated_cgroup_belongs_to_the_mapped_root,
    cgroup_without_delegation_keeps_its_owner,
    unified_setting_is_written,
    unified_setting_of_absent_controller_is_error,
    needed_controllers_are_enabled,
    version_one_setting_without_meaning_is_error,
];

/// Some controller that a runtime can use on this host.
fn some_controller(cx: &Cx) -> Result<&'static str, Stop> {
    let all = ["pids", "memory", "cpu", "freezer", "hugetlb"];
    let found = all.into_iter().find(|c| cx.need_controller(c).is_ok());
    found.ok_or_else(|| Stop::Skip {
        lack: "cgroup-controller".into(),
        reason: "no cgroup hierarchy with a known controller is mounted".into(),
    })
}

/// The container's process is in the cgroup at the configured path below the mount.
#[case(covers = ["cgroups-path.absolute-under-mount", "cgroups-path", "cgroups-path.abs-or-relative"])]
async fn process_is_in_the_configured_cgroup(cx: &mut Cx) -> Verdict {
    let controller = some_controller(cx)?;
    let path = format!("{}/of-its-own", cx.cgroup());
    let container = cx.container(probe::pause()).set("/linux/cgroupsPath", path).running().await?;
    let dir = cgroup_dir(cx, &container, controller)?;
    let pid = container.pid()?.to_string();
    check!(holds_process(&dir, &pid), format!("process {pid} below {}", dir.display()), "it is not there");
    cx.record("cgroups.extra-controllers", container.proc_file("cgroup")?.lines().collect::<Vec<_>>());
    Ok(())
}

/// Whether a process is in the cgroup or one that the runtime made below it.
fn holds_process(dir: &Path, pid: &str) -> bool {
    let here = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    if here.lines().any(|l| l == pid) {
        return true;
    }
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .any(|e| e.path().is_dir() && holds_process(&e.path(), pid))
}

/// Cgroups on the way to the configured path are made.
#[case(covers = ["cgroups.created-if-missing", "cgroups.extra-controllers"])]
async fn missing_cgroups_are_made(cx: &mut Cx) -> Verdict {
    let controller = some_controller(cx)?;
    let path = format!("{}/deep/er/still", cx.cgroup());
    let container = cx.container(probe::pause()).set("/linux/cgroupsPath", path).running().await?;
    let dir = cgroup_dir(cx, &container, controller)?;
    check!(holds_process(&dir, &container.pid()?.to_string()), "the process below it", "it is not there");
    Ok(())
}

/// The same path leads to the same cgroup each time.
#[case(covers = ["cgroups-path.consistent"])]
async fn same_path_is_the_same_place(cx: &mut Cx) -> Verdict {
    some_controller(cx)?;
    let path = format!("{}/again", cx.cgroup());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let builder = cx.container(probe::pause()).set("/linux/cgroupsPath", path.clone());
        let container = builder.running().await?;
        seen.push(container.proc_file("cgroup")?);
        container.delete_force().await?.ready("delete")?;
    }
    check!(seen.iter().all(|s| *s == seen[0]), "the same cgroups three times", "{seen:?}");
    Ok(())
}

/// Where a relative path leads is recorded.
#[case(covers = ["cgroups-path.relative-runtime-chosen"])]
async fn relative_path_is_recorded(cx: &mut Cx) -> Verdict {
    let path = format!("{}/relative", cx.cgroup().trim_start_matches('/'));
    let container = cx.container(probe::pause()).set("/linux/cgroupsPath", path.clone()).running().await?;
    let text = container.proc_file("cgroup")?;
    let places: Vec<String> = text.lines().map(|l| l.replace(&path, "PATH")).collect();
    cx.record("cgroups-path.relative", places);
    Ok(())
}

/// Which cgroup a container without a path gets is recorded.
#[case(covers = ["cgroups-path.default"])]
async fn absent_path_is_recorded(cx: &mut Cx) -> Verdict {
    let (call, container) = cx.container(probe::pause()).remove("/linux/cgroupsPath").attempt().await?;
    call.must_succeed()?;
    let places: Vec<String> =
        container.proc_file("cgroup")?.lines().map(|l| l.replace(container.id(), "ID")).collect();
    cx.record("cgroups-path.default", places);
    container.delete_force().await?.must_succeed()?;
    Ok(())
}

const ESCAPES: &[Variant] = &[Variant::new("absolute", &[]), Variant::new("relative", &[])];

/// A path that climbs is an error, or ends below the cgroup mount.
#[case(covers = ["cgroups-path.rejected-errors", "cgroups-path.may-reject"], matrix(path = ESCAPES))]
async fn escaping_path_stays_below_the_mount(cx: &mut Cx) -> Verdict {
    let name = format!("plimsoll-escape-{}", cx.new_id());
    let up = "../".repeat(12);
    // Were it to climb out of the mount, the directory would stand in the harness's own one.
    let home = cx.dir().display().to_string();
    let path = match cx.param("path") {
        "absolute" => format!("/{up}{}/{name}", home.trim_start_matches('/')),
        _ => format!("{up}{}/{name}", home.trim_start_matches('/')),
    };
    let (call, container) = cx.container(probe::exit(0)).set("/linux/cgroupsPath", path).attempt().await?;
    cx.record("cgroups-path.climbing", if call.succeeded() { "accepted" } else { "refused" });
    let outside = cx.dir().join(&name);
    check!(!outside.exists(), "no directory outside the cgroup mount", "{} was made", outside.display());
    if call.succeeded() {
        container.delete_force().await?.must_succeed()?;
    } else {
        call.must_fail()?;
    }
    Ok(())
}

const IMPOSSIBLE: &[Variant] = &[Variant::new("line-feed", &[]), Variant::new("nul", &[])];

/// A path that no cgroup can have is an error: the kernel takes no line feed in a name, and a zero byte ends one.
#[case(covers = ["cgroups-path.rejected-errors"], matrix(byte = IMPOSSIBLE))]
async fn path_that_cannot_be_made_is_error(cx: &mut Cx) -> Verdict {
    some_controller(cx)?;
    let byte = if cx.param("byte") == "nul" { '\0' } else { '\n' };
    let path = format!("{}/one{byte}two", cx.cgroup());
    cx.container(probe::exit(0)).set("/linux/cgroupsPath", path).rejected().await?;
    Ok(())
}

/// Creating in a cgroup that already holds a process is refused or not; which is recorded.
#[case(covers = ["cgroup.may-check-fitness", "cgroup.unfit-errors"])]
async fn occupied_cgroup_is_recorded(cx: &mut Cx) -> Verdict {
    some_controller(cx)?;
    let path = format!("{}/occupied", cx.cgroup());
    let first = cx.container(probe::pause()).set("/linux/cgroupsPath", path.clone()).running().await?;
    let (call, second) = cx.container(probe::pause()).set("/linux/cgroupsPath", path).attempt().await?;
    cx.record("cgroup.occupied", if call.succeeded() { "accepted" } else { "refused" });
    if call.succeeded() {
        // Whoever accepts it has made a container.
        let known = cx.runtime().state_call(second.id()).await?.succeeded();
        check!(of "cgroup.unfit-errors"; known, "there is a container, or create is an error", "create: exit 0, none there");
        second.delete_force().await?;
    } else {
        call.must_fail()?;
    }
    check!(!first.has_exited(), "the program that was there first lives", "it has ended");
    Ok(())
}

fn owner_of(path: &Path) -> Result<u32, Stop> {
    Ok(fs::metadata(path)?.uid())
}

/// A version 1 cgroup keeps its owner.
#[case(covers = ["cgroup-ownership.not-v1"])]
async fn version_one_cgroup_keeps_its_owner(cx: &mut Cx) -> Verdict {
    cx.need_v1("pids")?;
    let builder = cx.container(probe::pause()).user_namespace(100_000).namespace("cgroup", None);
    let container = builder.running().await?;
    let dir = cgroup_dir(cx, &container, "pids")?;
    check_eq!(owner_of(&dir)?, 0, "the owner of {}", dir.display());
    Ok(())
}

fn cgroup_mount(builder: Builder, access: &str) -> Builder {
    builder.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", access]
    }))
}

/// The files that the kernel says are delegated.
fn delegated() -> Vec<String> {
    let text = fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    text.lines().map(str::to_owned).collect()
}

/// With a writable cgroup mount the cgroup and its delegated files belong to the mapped root, and nothing else does.
#[case(
    covers = [
        "cgroup-ownership.iff-rw-cgroup-mount", "cgroup-ownership.may-change", "cgroup-ownership.only-delegate-files",
        "cgroup-ownership.missing-files-ok", "cgroup-ownership.change-existing-files",
        "cgroup-ownership.no-other-files", "cgroup-ownership.fallback-list"
    ]
)]
async fn delegated_cgroup_belongs_to_the_mapped_root(cx: &mut Cx) -> Verdict {
    cx.need_v2("")?;
    let builder = cx.container(probe::pause()).user_namespace(100_000).namespace("cgroup", None);
    let container = cgroup_mount(builder, "rw").running().await?;
    let dir = container.cgroup("")?;
    check_eq!(owner_of(&dir)?, 100_000, "the owner of the cgroup");
    let delegated = delegated();
    for entry in fs::read_dir(&dir)?.flatten().filter(|e| e.path().is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let want = if delegated.contains(&name) { 100_000 } else { 0 };
        check_eq!(owner_of(&entry.path())?, want, "the owner of {name}");
    }
    Ok(())
}

const UNDELEGATED: &[Variant] = &[
    Variant::new("read-only", &["cgroup-ownership.not-without-rw-mount"]),
    Variant::new("no-mount", &["cgroup-ownership.not-without-rw-mount"]),
    Variant::new("no-cgroup-namespace", &["cgroup-ownership.only-with-new-cgroupns"]),
];

/// Without a writable mount or a new cgroup namespace the cgroup keeps its owner.
#[case(covers = [], matrix(lack = UNDELEGATED))]
async fn cgroup_without_delegation_keeps_its_owner(cx: &mut Cx) -> Verdict {
    cx.need_v2("")?;
    let builder = cx.container(probe::pause()).user_namespace(100_000);
    let builder = match cx.param("lack") {
        "read-only" => cgroup_mount(builder.namespace("cgroup", None), "ro"),
        "no-mount" => builder.namespace("cgroup", None),
        _ => cgroup_mount(builder, "rw"),
    };
    let container = builder.running().await?;
    check_eq!(owner_of(&container.cgroup("")?)?, 0, "the owner of the cgroup");
    Ok(())
}

const UNIFIED: &[Variant] = &[
    Variant::new("memory.high", &["unified"]),
    Variant::new("pids.max", &["unified"]),
    Variant::new("cpu.weight.nice", &["unified"]),
    Variant::new("memory.oom.group", &["unified.unknown-still-written"]),
    Variant::new("cgroup.max.depth", &["unified.unknown-still-written"]),
];

/// A raw setting is written to its file, whether the runtime knows it or not.
#[case(covers = ["unified"], matrix(file = UNIFIED))]
async fn unified_setting_is_written(cx: &mut Cx) -> Verdict {
    let file = cx.param("file");
    let controller = file.split('.').next().unwrap_or_default();
    cx.need_v2(if controller == "cgroup" { "" } else { controller })?;
    let value = match file {
        "memory.high" => "104857600",
        "pids.max" => "73",
        "cpu.weight.nice" => "5",
        "memory.oom.group" => "1",
        _ => "7",
    };
    let builder = cx.container(probe::pause()).set("/linux/resources/unified", json!({ file: value }));
    let container = builder.running().await?;
    check_eq!(fs::read_to_string(container.cgroup("")?.join(file))?.trim(), value, "{file}");
    Ok(())
}

/// A raw setting of a controller that is not there is an error.
#[case(covers = ["unified.missing-controller-errors"])]
async fn unified_setting_of_absent_controller_is_error(cx: &mut Cx) -> Verdict {
    let value = json!({ "plimsoll.max": "1" });
    cx.container(probe::exit(0)).set("/linux/resources/unified", value).rejected().await?;
    Ok(())
}

/// Controllers that the settings need are enabled on the way to the container's cgroup.
#[case(covers = ["unified.controllers-enabled"])]
async fn needed_controllers_are_enabled(cx: &mut Cx) -> Verdict {
    cx.need_v2("pids")?;
    let path = format!("{}/a/b", cx.cgroup());
    let builder = cx.container(probe::pause()).set("/linux/cgroupsPath", path);
    let container = builder.set("/linux/resources/unified", json!({ "pids.max": "74" })).running().await?;
    let enabled = cgroup_file(cx, &container, "pids", "cgroup.controllers")?;
    check!(enabled.split_whitespace().any(|c| c == "pids"), "the pids controller is enabled", "{enabled:?}");
    Ok(())
}

const UNCONVERTIBLE: &[Variant] = &[
    Variant::new("memory.swappiness", &["unified.unconvertible-errors"]),
    Variant::new("memory.kernelTCP", &["unified.unconvertible-errors"]),
    Variant::new("network.classID", &["unified.unconvertible-errors"]),
    Variant::new("blockIO.leafWeight", &["unified.unconvertible-errors"]),
    Variant::new("cpu.shares", &["unified.v1-to-v2-may-convert"]),
];

/// A version 1 setting is converted for version 2, and is an error where it has no meaning there.
#[case(covers = [], matrix(setting = UNCONVERTIBLE))]
async fn version_one_setting_without_meaning_is_error(cx: &mut Cx) -> Verdict {
    cx.need_v2("cpu")?;
    let setting = cx.param("setting");
    let pointer = format!("/linux/resources/{}", setting.replace('.', "/"));
    if setting == "cpu.shares" {
        let container = cx.container(probe::pause()).set(&pointer, 1024).running().await?;
        cx.record("unified.shares-1024", cgroup_file(cx, &container, "cpu", "cpu.weight")?);
        return Ok(());
    }
    cx.container(probe::exit(0)).set(&pointer, 50).rejected().await?;
    Ok(())
}
