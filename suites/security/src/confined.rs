//! Paths that a bundle or a caller chooses: none leads out of where it belongs.

use super::support::{answers_or_refusal, canary, descriptors, untouched, without_dev};
use plimsoll_kit::host;
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
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
    cgroup_of_exec_stays_in_the_container_s,
    exec_directory_by_a_descriptor_stays_inside,
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

const KERNEL: &[Variant] =
    &[Variant::new("proc", &[]), Variant::new("proc-to-volume", &[]), Variant::new("sys", &[])];

/// Where /proc or /sys is a link, or a volume of another container lies over it, the bundle is refused or the real
/// file system of the kernel is there.
#[case(covers = ["sec.proc-symlink-refused"], matrix(what = KERNEL))]
async fn linked_proc_is_procfs_or_refused(cx: &mut Cx) -> Verdict {
    let what = cx.param("what").split('-').next().unwrap_or_default().to_owned();
    let script = probe::script().ask_with("statfs", json!({ "path": format!("/{what}/") }));
    let mut builder = cx.container(script);
    if cx.param("what") == "proc-to-volume" {
        let volume = cx.dir().join("volume");
        fs::create_dir_all(volume.join("inner"))?;
        builder = builder.with(|config| {
            let bind =
                json!({ "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"] });
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.insert(0, bind);
            }
        });
    }
    let target = if cx.param("what") == "proc-to-volume" { "/volume/inner" } else { "/mnt" };
    let link = what.clone();
    let builder = builder.rootfs(move |root| {
        fs::remove_dir(root.join(&link))?;
        symlink(target, root.join(link))
    });
    let Some(answers) = answers_or_refusal(builder).await? else { return Ok(()) };
    let magic = if what == "proc" { 0x9fa0 } else { 0x6265_6572 };
    check_eq!(answers.facts("statfs")?["type_number"], json!(magic), "the file system type of /{what}");
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

const STEPS: &[Variant] = &[
    Variant::new("relative", &[]),
    Variant::new("absolute", &[]),
    Variant::new("one-up", &[]),
    Variant::new("within", &[]),
];

/// A cgroups path with parent steps makes nothing appear above the hierarchies.
#[case(covers = ["sec.cgroup-path-confined"], matrix(path = STEPS))]
async fn cgroups_path_stays_in_the_hierarchy(cx: &mut Cx) -> Verdict {
    let name = format!("plimsoll-escape-{}", cx.nonce());
    let below = cx.cgroup().to_owned();
    let path = match cx.param("path") {
        "relative" => format!("../../{name}"),
        "absolute" => format!("/../../{name}"),
        "one-up" => format!("/../{name}"),
        _ => format!("{below}/a/../{name}"),
    };
    let builder = cx.container(probe::exit(0)).set("/linux/cgroupsPath", path);
    answers_or_refusal(builder).await?;
    for hierarchy in host::hierarchies() {
        let parent = hierarchy.mount.parent().unwrap_or(&hierarchy.mount).to_owned();
        let places = [Some(parent.as_path()), parent.parent()].map(|p| p.map(|p| p.join(&name)));
        let found: Vec<_> = places.into_iter().flatten().filter(|p| p.exists()).collect();
        // The name is this attempt's own: what is there is to be told, and not to stay.
        for place in &found {
            let _ = fs::remove_dir(place);
        }
        let above = !found.is_empty();
        check!(!above, "nothing above the hierarchy", "{name} at {}", parent.display());
    }
    Ok(())
}

/// A sub-cgroup of exec with parent steps is refused or lies in the container's own cgroup.
#[case(covers = ["sec.cgroup-path-confined"], matrix(path = STEPS))]
async fn cgroup_of_exec_stays_in_the_container_s(cx: &mut Cx) -> Verdict {
    let help = cx.runtime().call(&["exec", "--help"]).await?;
    let knows = format!("{}{}", help.stdout, help.stderr).contains("-cgroup");
    let lack = || Stop::NotApplicable {
        capability: "exec-cgroup".into(),
        reason: "the help of `exec` does not name --cgroup".into(),
    };
    knows.then_some(()).ok_or_else(lack)?;
    let container = cx.container(probe::ask(["cgroups"]).pause()).running().await?;
    let path = match cx.param("path") {
        "relative" => "../../..",
        "absolute" => "/../../..",
        _ => "a/../../..",
    };
    let (call, answers) = container.exec(&["--cgroup", path], &probe::ask(["cgroups"])).await?;
    if !call.succeeded() {
        call.must_fail()?;
        return Ok(());
    }
    let lines =
        |a: &Answers| Ok::<_, Stop>(a.facts("cgroups")?["lines"].as_array().cloned().unwrap_or_default());
    let own = lines(&container.answers_so_far()?)?;
    for (line, own) in lines(&answers)?.iter().zip(&own) {
        let (line, own) = (line.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
        check!(line.starts_with(own), format!("a cgroup below {own:?}, or an error"), "{line:?}");
    }
    Ok(())
}

/// A working directory of exec that names a descriptor is refused or lies below the root.
#[case(covers = ["sec.cwd.no-proc-fd"], matrix(fd = NUMBERS))]
async fn exec_directory_by_a_descriptor_stays_inside(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let cwd = format!("/proc/self/fd/{}", cx.param("fd"));
    let nonce = format!("{}-cwd", container.nonce());
    let text = probe::ask(["cwd"]).text(&nonce, None);
    let options = CallOptions { fds: descriptors(&canary(cx)?, 10)?, ..CallOptions::default() };
    let args = ["exec", "--cwd", &cwd, container.id(), "/probe", &text];
    let call = cx.runtime().call_with(&args, options).await?;
    let answers = Answers::parse(&call.stdout, &nonce);
    if !answers.is_done() {
        call.must_fail()?;
        return Ok(());
    }
    reachable(Some(&answers))
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
