//! Paths that a bundle or a caller chooses: none leads out of where it belongs.

use super::support::{answers_or_refusal, canary, descriptors, untouched, without_dev};
use plimsoll_kit::host;
use plimsoll_kit::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    directory_by_a_descriptor_stays_inside,
    directory_by_a_link_to_a_descriptor_stays_inside,
    mount_through_a_link_stays_inside,
    missing_parents_are_made_inside,
    linked_proc_is_procfs_or_refused,
    linked_dev_stays_inside,
    id_that_is_a_path_is_refused,
    cgroups_path_stays_in_the_hierarchy,
    root_file_system_is_not_changed,
];

/// The working directory has to be reachable from the root.
fn reachable(answers: Option<&Answers>) -> Verdict {
    let Some(answers) = answers else { return Ok(()) };
    if let Ok(cwd) = &answers.first("cwd")?.result {
        let path = cwd["cwd"].as_str().unwrap_or_default();
        check!(path.starts_with('/'), "an error, or a directory below the root", "{cwd}");
    } else {
        let error = "the directory has no path below the root";
        return Err(Stop::violation("an error, or a directory below the root", error));
    }
    Ok(())
}

const NUMBERS: &[Variant] = &[
    Variant::new("3", &[]),
    Variant::new("4", &[]),
    Variant::new("5", &[]),
    Variant::new("6", &[]),
    Variant::new("7", &[]),
    Variant::new("8", &[]),
    Variant::new("9", &[]),
    Variant::new("10", &[]),
    Variant::new("11", &[]),
    Variant::new("12", &[]),
];

/// A working directory that names a descriptor is refused or lies below the root.
#[case(covers = ["sec.cwd.no-proc-fd"], matrix(fd = NUMBERS))]
async fn directory_by_a_descriptor_stays_inside(cx: &mut Cx) -> Verdict {
    let cwd = format!("/proc/self/fd/{}", cx.param("fd"));
    let builder = cx.container(probe::ask(["cwd"])).set("/process/cwd", cwd);
    reachable(answers_or_refusal(builder).await?.as_ref())
}

/// A working directory that is a link to a descriptor of the caller is refused or lies below the root.
#[case(covers = ["sec.cwd.no-proc-fd"], matrix(fd = NUMBERS))]
async fn directory_by_a_link_to_a_descriptor_stays_inside(cx: &mut Cx) -> Verdict {
    let target = format!("/proc/self/fd/{}", cx.param("fd"));
    let builder = cx.container(probe::ask(["cwd"])).set("/process/cwd", "/link");
    let builder = builder.rootfs(move |root| symlink(target, root.join("link")));
    let fds = descriptors(&canary(cx)?, 10)?;
    let builder = fds.into_iter().fold(builder, |b, (fd, number)| b.pass_fd(fd, number));
    reachable(answers_or_refusal(builder).await?.as_ref())
}

const LINKS: &[Variant] = &[
    Variant::new("absolute", &[]),
    Variant::new("relative", &[]),
    Variant::new("nested", &[]),
    Variant::new("dangling", &[]),
];

/// A root file system with a link at `/out` whose target would be the canary on the host.
fn linked(builder: Builder, kind: &str, canary: &Path) -> Builder {
    let absolute = canary.to_owned();
    let up = "../".repeat(24);
    let relative = format!("{up}{}", canary.display().to_string().trim_start_matches('/'));
    let kind = kind.to_owned();
    builder.rootfs(move |root| match kind.as_str() {
        "relative" => symlink(relative, root.join("out")),
        "nested" => {
            symlink(absolute, root.join("mnt/second"))?;
            symlink("/mnt/second", root.join("out"))
        }
        "dangling" => symlink(absolute.join("missing"), root.join("out")),
        _ => symlink(absolute, root.join("out")),
    })
}

fn tmpfs(destination: &str) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"] })
}

/// A mount through a link makes nothing appear at the link's target on the host.
#[case(covers = ["sec.mount.symlink-destination-confined"], matrix(link = LINKS))]
async fn mount_through_a_link_stays_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let script = probe::script().act("marker", json!({ "path": "/out/marker", "data": "x" }));
    let builder = linked(cx.container(script), cx.param("link"), &dir).mount(tmpfs("/out"));
    answers_or_refusal(builder).await?;
    untouched(&dir)
}

/// Missing parents of a mount point behind a link are made inside or not at all.
#[case(covers = ["sec.mkdirall.no-host-create"], matrix(link = LINKS))]
async fn missing_parents_are_made_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let builder = linked(cx.container(probe::exit(0)), cx.param("link"), &dir).mount(tmpfs("/out/a/b/c"));
    answers_or_refusal(builder).await?;
    untouched(&dir)
}

/// Where /proc is a link the bundle is refused, or /proc is a real procfs.
#[case(covers = ["sec.proc-symlink-refused"])]
async fn linked_proc_is_procfs_or_refused(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("statfs", json!({ "path": "/proc/" }));
    let builder = cx.container(script).rootfs(|root| {
        fs::remove_dir(root.join("proc"))?;
        symlink("/mnt", root.join("proc"))
    });
    let Some(answers) = answers_or_refusal(builder).await? else { return Ok(()) };
    check_eq!(answers.facts("statfs")?["type_number"], json!(0x9fa0), "the file system type of /proc");
    Ok(())
}

const DEV: &[Variant] = &[Variant::new("absolute", &[]), Variant::new("relative", &[])];

/// Where /dev is a link nothing is made at its target on the host.
#[case(covers = ["sec.dev-symlink-refused"], matrix(link = DEV))]
async fn linked_dev_stays_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let builder = linked(cx.container(probe::exit(0)), cx.param("link"), &dir).with(without_dev);
    let builder = builder.rootfs(|root| {
        fs::remove_dir(root.join("dev"))?;
        fs::rename(root.join("out"), root.join("dev"))
    });
    answers_or_refusal(builder).await?;
    untouched(&dir)
}

const IDS: &[Variant] = &[
    Variant::new("parent", &[]),
    Variant::new("slash", &[]),
    Variant::new("dot", &[]),
    Variant::new("dots", &[]),
    Variant::new("percent", &[]),
];

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// An id that is a path is refused, and no odd id makes anything appear beside the state directory.
#[case(covers = ["sec.container-id-confined"], matrix(id = IDS))]
async fn id_that_is_a_path_is_refused(cx: &mut Cx) -> Verdict {
    let id = match cx.param("id") {
        "parent" => "../plimsoll-escaped",
        "slash" => "a/b",
        "dot" => ".",
        "dots" => "..",
        _ => "%00",
    };
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let above = cx.runtime().root().parent().unwrap_or(cx.dir()).to_owned();
    let before = names(&above);
    let call = cx.runtime().call(&["create", "--bundle", &bundle, id]).await?;
    let new: Vec<String> = names(&above).difference(&before).cloned().collect();
    if call.succeeded() {
        cx.runtime().delete_force(id).await?;
    }
    // A percent sign is no path: an id with it may be taken as it stands.
    if id != "%00" {
        call.must_fail()?;
    }
    check!(new.is_empty(), "nothing beside the state directory", "{new:?}");
    Ok(())
}

const STEPS: &[Variant] =
    &[Variant::new("relative", &[]), Variant::new("absolute", &[]), Variant::new("within", &[])];

/// A cgroups path with parent steps makes nothing appear above the hierarchies.
#[case(covers = ["sec.cgroup-path-confined"], matrix(path = STEPS))]
async fn cgroups_path_stays_in_the_hierarchy(cx: &mut Cx) -> Verdict {
    let name = format!("plimsoll-escape-{}", cx.nonce());
    let below = cx.cgroup().to_owned();
    let path = match cx.param("path") {
        "relative" => format!("../../{name}"),
        "absolute" => format!("/../../{name}"),
        _ => format!("{below}/a/../{name}"),
    };
    let builder = cx.container(probe::exit(0)).set("/linux/cgroupsPath", path);
    answers_or_refusal(builder).await?;
    for hierarchy in host::hierarchies() {
        let parent = hierarchy.mount.parent().unwrap_or(&hierarchy.mount).to_owned();
        let above = parent.join(&name).exists() || parent.parent().is_some_and(|p| p.join(&name).exists());
        check!(!above, "nothing above the hierarchy", "{name} at {}", parent.display());
    }
    Ok(())
}

fn listing(dir: &Path, into: &mut BTreeSet<String>) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        into.insert(format!(
            "{} {:o} {}:{} {}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.len()
        ));
        if meta.is_dir() {
            listing(&path, into)?;
        }
    }
    Ok(())
}

/// After a container's life its root file system is as it was.
#[case(covers = ["sec.rootfs-not-modified"])]
async fn root_file_system_is_not_changed(cx: &mut Cx) -> Verdict {
    let written = cx.container(probe::exit(0)).written()?;
    let root = written.container.bundle().rootfs();
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    listing(&root, &mut before)?;
    let (call, container) = written.create().await?;
    call.ready("create")?;
    container.start().await?.ready("start")?;
    container.wait_stopped().await?;
    container.delete().await?.ready("delete")?;
    listing(&root, &mut after)?;
    let changed: Vec<&String> = before.symmetric_difference(&after).collect();
    check!(changed.is_empty(), "an unchanged root file system", "{changed:?}");
    Ok(())
}
