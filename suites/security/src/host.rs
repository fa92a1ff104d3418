//! What the host's own programs and files are exposed to while a container is made.

use super::support::{answers_or_refusal, canary, on_the_host_s_kernel, untouched};
use plimsoll_kit::prelude::*;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    created_container_exposes_no_program_of_the_host,
    created_process_is_not_the_user_s_to_inspect,
    private_proc_of_a_nested_namespace_is_refused,
    control_groups_of_a_mapped_root_are_not_writable,
    annotation_with_an_effect_is_disclosed,
    file_of_a_handler_stays_inside,
];

/// Whether the program that a process runs can be written through its `exe` link: not when it is another file than
/// the runtime's, sealed, or on a read-only mount.
fn is_writable_program(pid: i32, runtime: &Path) -> Result<Option<String>, Stop> {
    let link = format!("/proc/{pid}/exe");
    let seen = fs::metadata(&link).map_err(|e| Stop::setup(format!("looking at {link}: {e}")))?;
    let own = fs::metadata(runtime)?;
    let open = File::open(&link)?;
    let sealed = nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_GET_SEALS).is_ok_and(|bits| {
        nix::fcntl::SealFlag::from_bits_truncate(bits).contains(nix::fcntl::SealFlag::F_SEAL_WRITE)
    });
    let mount = nix::sys::statvfs::fstatvfs(open.as_fd())?;
    let read_only = mount.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    let same = (seen.dev(), seen.ino()) == (own.dev(), own.ino());
    let what = fs::read_link(&link)?.display().to_string();
    Ok((same && !sealed && !read_only).then_some(what))
}

/// While a container waits for its start, no process in it runs the host's own executable in a form that can be
/// opened for writing.
#[case(covers = ["sec.exe-not-writable-host-binary"])]
async fn created_container_exposes_no_program_of_the_host(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let exposed = is_writable_program(container.pid()?, cx.runtime().program())?;
    let wanted = "another file than the runtime's executable, a sealed copy or a read-only mount";
    let verdict =
        exposed.map_or(Ok(()), |seen| Err(Stop::violation(wanted, format!("{seen}, which the host runs"))));
    on_the_host_s_kernel(cx, verdict).await
}

/// The process that waits for the start does not belong to the container's user: nobody inside may look into it.
#[case(covers = ["sec.init-nondumpable"])]
async fn created_process_is_not_the_user_s_to_inspect(cx: &mut Cx) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let container = cx.container(probe::pause()).set("/process/user", user).created().await?;
    // The owner of these files is root for a process that is not dumpable, and its user else.
    let mut owners = Vec::new();
    for file in ["exe", "mem", "environ"] {
        let path = format!("/proc/{}/{file}", container.pid()?);
        let owner =
            fs::symlink_metadata(&path).map_err(|e| Stop::setup(format!("looking at {path}: {e}")))?;
        owners.push((file, owner.uid()));
    }
    let root_s = || {
        let others: Vec<_> = owners.iter().filter(|(_, owner)| *owner != 0).collect();
        check!(others.is_empty(), "files in /proc of the created process that are root's", "{others:?}");
        Ok(())
    };
    on_the_host_s_kernel(cx, root_s()).await
}

const ROOTS: &[Variant] = &[Variant::new("pivoted", &[]), Variant::new("no-pivot", &[])];

/// A process in a user namespace of its own cannot mount a procfs without the masks of the container's.
#[case(covers = ["sec.no-pivot-proc"], matrix(root = ROOTS))]
async fn private_proc_of_a_nested_namespace_is_refused(cx: &mut Cx) -> Verdict {
    let mounts =
        probe::script().act("mount", json!({ "target": "/mnt", "source": "proc", "fstype": "proc" }));
    let child: Value = serde_json::from_str(&mounts.text("child", None)).unwrap_or_default();
    let script = probe::script()
        .act("unshare", json!({ "flags": ["user", "mount", "pid"] }))
        .act("spawn", json!({ "script": child, "wait": true }));
    let mut builder = cx.container(script);
    if cx.param("root") == "no-pivot" {
        let help = cx.runtime().call(&["create", "--help"]).await?;
        let knows = format!("{}{}", help.stdout, help.stderr).contains("no-pivot");
        let lack = || Stop::NotApplicable {
            capability: "create-no-pivot".into(),
            reason: "the help of `create` does not name --no-pivot".into(),
        };
        knows.then_some(()).ok_or_else(lack)?;
        builder = builder.flag("--no-pivot");
    }
    let answers = builder.answers().await?;
    if answers.first("unshare")?.errno() != 0 {
        return Ok(());
    }
    let mount = Answers::parse(answers.raw(), "child");
    let refused = || {
        check_ne!(mount.first("mount")?.errno(), 0, "errno of mounting procfs in a nested user namespace");
        Ok(())
    };
    on_the_host_s_kernel(cx, refused()).await
}

const VIEWS: &[Variant] = &[Variant::new("cgroup-mount", &[]), Variant::new("sysfs-alone", &[])];

/// A mapped root in the host's cgroup namespace can open no file for writing that moves processes or names programs.
#[case(covers = ["sec.rootless.cgroup-not-writable"], matrix(view = VIEWS))]
async fn control_groups_of_a_mapped_root_are_not_writable(cx: &mut Cx) -> Verdict {
    let mut paths = Vec::new();
    for h in plimsoll_kit::host::hierarchies() {
        for file in ["cgroup.procs", "release_agent", "cgroup.subtree_control"] {
            paths.push(h.mount.join(file).display().to_string());
        }
    }
    let open = |s: Script, p: &String| s.ask_with("open", json!({ "path": p, "flags": ["w"] }));
    let script = paths.iter().fold(probe::script(), open);
    let owner = |root: &Path| std::os::unix::fs::chown(root, Some(100_000), Some(100_000));
    let mut builder = cx.container(script).rootfs(owner).user_namespace(100_000);
    if cx.param("view") == "cgroup-mount" {
        builder = builder.mount(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
        }));
    }
    let Some(answers) = answers_or_refusal(builder).await? else { return Ok(()) };
    let refused = || {
        for (index, path) in paths.iter().enumerate() {
            check_ne!(answers.at(index)?.errno(), 0, "errno of opening {path} for writing");
        }
        Ok(())
    };
    on_the_host_s_kernel(cx, refused()).await
}

const ANNOTATIONS: &[Variant] = &[
    Variant::new("run.oci.hooks.stdout", &[]),
    Variant::new("run.oci.hooks.stderr", &[]),
    Variant::new("run.oci.delegate-cgroup", &[]),
];

/// Whether the features document discloses an annotation; an entry that ends with `.` or `*` stands for all below.
fn is_disclosed(features: &Value, key: &str) -> bool {
    let list = features["potentiallyUnsafeConfigAnnotations"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).any(|entry| {
        let prefix = entry.trim_end_matches('*');
        entry == key || (prefix.ends_with('.') && key.starts_with(prefix))
    })
}

/// An annotation that changes what happens on the host is named in the features document.
#[case(covers = ["sec.features-lists-unsafe-annotations"], matrix(annotation = ANNOTATIONS))]
async fn annotation_with_an_effect_is_disclosed(cx: &mut Cx) -> Verdict {
    let features = cx.features().cloned().ok_or_else(|| Stop::NotApplicable {
        capability: "features".into(),
        reason: "the target has no features operation, which is optional".into(),
    })?;
    let key = cx.param("annotation");
    let dir = canary(cx)?;
    let value =
        if key.ends_with("cgroup") { "sub".to_owned() } else { dir.join("seen").display().to_string() };
    let hook = Hook::new(HookKind::Prestart).asks(["identity"]);
    let builder = cx.container(probe::pause()).set("/annotations", json!({ key: value })).hook(hook);
    let (call, container) = builder.attempt().await?;
    if !call.succeeded() {
        call.must_fail()?;
        return Ok(());
    }
    let moved = container.proc_file("cgroup")?.lines().any(|l| l.ends_with("/sub"));
    let effect = moved || untouched(&dir).is_err();
    cx.record(&format!("annotation.{key}"), if effect { "acts" } else { "ignored" });
    check!(
        !effect || is_disclosed(&features, key),
        format!("{key}, which has an effect, in potentiallyUnsafeConfigAnnotations"),
        "{}",
        features["potentiallyUnsafeConfigAnnotations"]
    );
    Ok(())
}

const LINKS: &[Variant] = &[Variant::new("absolute", &[]), Variant::new("relative", &[])];

/// A file that a handler of the runtime writes into the root file system does not follow a link out of it.
#[case(covers = ["sec.krun-config-symlink"], matrix(link = LINKS))]
async fn file_of_a_handler_stays_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let target = dir.join("written");
    let target = if cx.param("link") == "absolute" {
        target
    } else {
        Path::new(&"../".repeat(24)).join(target.strip_prefix("/").unwrap_or(&target))
    };
    let builder = cx.container(probe::exit(0)).set("/annotations", json!({ "run.oci.handler": "krun" }));
    let builder = builder.rootfs(move |root| symlink(target, root.join(".krun_config.json")));
    answers_or_refusal(builder).await?;
    untouched(&dir)
}
