//! config-linux.md, namespaces: new, joined, inherited, of the wrong type, given twice.

use crate::runtime::support::need_host_view;
use plimsoll_kit::prelude::*;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    listed_type_is_new,
    two_containers_share_nothing,
    first_process_is_number_one,
    network_has_only_loopback,
    control_group_is_seen_as_root,
    missing_type_is_inherited,
    absent_section_inherits_everything,
    path_is_joined,
    path_of_another_type_is_error,
    path_that_is_no_namespace_is_error,
    relative_path_is_error,
    type_given_twice_is_error,
];

/// The name below `/proc/PID/ns` of a type.
fn link(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

/// A namespace of the harness, which is that of the runtime.
fn own(kind: &str) -> Result<String, Stop> {
    Ok(fs::read_link(format!("/proc/self/ns/{}", link(kind)))?.display().to_string())
}

fn with_new(builder: Builder, kind: &str) -> Builder {
    if kind == "user" { builder.user_namespace(100_000) } else { builder.namespace(kind, None) }
}

fn need_type(cx: &Cx, kind: &str) -> Result<(), Stop> {
    cx.need_path(&format!("/proc/self/ns/{}", link(kind)), &format!("{kind}-namespace"))
}

const SUPPORTED: &[Variant] = &[
    Variant::new("pid", &["namespaces.pid.supported"]),
    Variant::new("network", &["namespaces.network.supported"]),
    Variant::new("mount", &["namespaces.mount.supported"]),
    Variant::new("ipc", &["namespaces.ipc.supported"]),
    Variant::new("uts", &["namespaces.uts.supported"]),
    Variant::new("user", &["namespaces.user.supported"]),
    Variant::new("cgroup", &["namespaces.cgroup.supported"]),
    Variant::new("time", &["namespaces.time.supported"]),
];

const TYPES: &[Variant] = &[
    Variant::new("pid", &[]),
    Variant::new("network", &[]),
    Variant::new("mount", &[]),
    Variant::new("ipc", &[]),
    Variant::new("uts", &[]),
    Variant::new("user", &[]),
    Variant::new("cgroup", &[]),
    Variant::new("time", &["namespaces.time.supported"]),
];

/// A listed type without a path is a new namespace.
#[case(covers = ["namespaces.no-path.creates-new"], matrix(kind = SUPPORTED))]
async fn listed_type_is_new(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    need_type(cx, kind)?;
    let answers = with_new(cx.container(probe::ask(["namespaces"])), kind).answers().await?;
    let inside = answers.facts("namespaces")?["ns"][link(kind)].clone();
    check_ne!(inside, json!(own(kind)?), "the {kind} namespace of the program");
    Ok(())
}

/// Two containers with new namespaces share none.
#[case(covers = ["namespaces.no-path.creates-new"])]
async fn two_containers_share_nothing(cx: &mut Cx) -> Verdict {
    let mut seen: Vec<Value> = Vec::new();
    let mut containers = Vec::new();
    for _ in 0..2 {
        let builder = cx.container(probe::ask(["namespaces"]).pause()).namespace("cgroup", None);
        let container = builder.running().await?;
        let answers = container.wait_for_answer("namespaces").await?;
        need_host_view(&container, &answers)?;
        seen.push(answers.facts("namespaces")?["ns"].clone());
        containers.push(container);
    }
    for kind in ["pid", "net", "mnt", "ipc", "uts", "cgroup"] {
        check_ne!(seen[0][kind], seen[1][kind], "the {kind} namespace of the second container");
    }
    Ok(())
}

/// In a new process namespace the program is process 1 and sees no process of the host.
#[case(covers = ["namespaces.pid.supported"])]
async fn first_process_is_number_one(cx: &mut Cx) -> Verdict {
    let answers = cx.container(probe::ask(["identity", "procs"])).answers().await?;
    check_eq!(answers.facts("identity")?["pid"], json!(1), "the process id of the program");
    let all = answers.facts("procs")?["procs"].as_array().map_or(0, Vec::len);
    check_eq!(all, 1, "the number of processes in /proc");
    Ok(())
}

/// A new network namespace holds no interface of the host but has a loopback of its own.
#[case(covers = ["namespaces.network.supported"])]
async fn network_has_only_loopback(cx: &mut Cx) -> Verdict {
    let answers = cx.container(probe::ask(["interfaces"])).answers().await?;
    let all = answers.facts("interfaces")?["interfaces"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = all.iter().filter_map(|i| i["name"].as_str()).collect();
    check!(names.contains(&"lo"), "a loopback interface", "{names:?}");
    // Some kernels put tunnel devices into each namespace; none of them is up or has an address.
    let up = all.iter().filter(|i| i["name"] != "lo" && i["up"] == true).count();
    check_eq!(up, 0, "the number of interfaces beside lo that are up");
    Ok(())
}

/// In a new cgroup namespace the program's cgroup is the root of what it sees.
#[case(covers = ["namespaces.cgroup.supported"])]
async fn control_group_is_seen_as_root(cx: &mut Cx) -> Verdict {
    need_type(cx, "cgroup")?;
    let answers = cx.container(probe::ask(["cgroups"])).namespace("cgroup", None).answers().await?;
    let lines = answers.facts("cgroups")?["lines"].as_array().cloned().unwrap_or_default();
    let tag = cx.cgroup().to_owned();
    for line in lines.iter().filter_map(Value::as_str) {
        check!(!line.contains(&tag), "no line tells where the cgroup is on the host", "{line:?}");
    }
    Ok(())
}

const INHERITED: &[Variant] = &[
    Variant::new("pid", &[]),
    Variant::new("network", &[]),
    Variant::new("ipc", &[]),
    Variant::new("uts", &[]),
    Variant::new("user", &[]),
    Variant::new("cgroup", &[]),
    Variant::new("time", &["namespaces.time.supported"]),
];

/// A type that is not listed is inherited from the runtime.
#[case(covers = ["namespaces.absent.inherits"], matrix(kind = INHERITED))]
async fn missing_type_is_inherited(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    need_type(cx, kind)?;
    let mut builder = cx.container(probe::ask(["namespaces"])).without_namespace(kind);
    if kind == "uts" {
        builder = builder.remove("/hostname");
    }
    if kind == "network" {
        // A sysfs of another network namespace than the mounter's may not be mounted; a bind does for all.
        builder = builder.with(|config| {
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.retain(|m| m["destination"] != "/sys");
            }
        });
    }
    let answers = builder.answers().await?;
    let inside = answers.facts("namespaces")?["ns"][link(kind)].clone();
    check_eq!(inside, json!(own(kind)?), "the {kind} namespace of the program");
    Ok(())
}

/// A configuration without its `linux` object is accepted, and the container inherits every namespace.
#[case(covers = ["linux.section", "linux.section.allowed"])]
async fn absent_section_inherits_everything(cx: &mut Cx) -> Verdict {
    // No mounts either: without a namespace of its own they would be the host's.
    let builder = cx.container(probe::pause()).remove("/linux").remove("/hostname").remove("/mounts");
    let container = builder.created().await?;
    for kind in INHERITED.iter().map(|v| v.value).filter(|k| need_type(cx, k).is_ok()) {
        check_eq!(container.namespace(link(kind))?, own(kind)?, "the {kind} namespace");
    }
    container.delete_force().await?.must_succeed()?;
    Ok(())
}

/// A path to a namespace of another container is joined.
#[case(covers = ["namespaces.path.joined", "namespaces.path"], matrix(kind = TYPES))]
async fn path_is_joined(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    need_type(cx, kind)?;
    let script = probe::ask(["namespaces"]).pause();
    let holder = with_new(cx.container(script), kind).running().await?;
    need_host_view(&holder, &holder.wait_for_answer("namespaces").await?)?;
    let path = format!("/proc/{}/ns/{}", holder.pid()?, link(kind));
    let builder = cx.container(probe::ask(["namespaces"]));
    let mut builder = if kind == "user" { builder.user_namespace(100_000) } else { builder };
    if kind == "user" {
        // A joined user namespace has its mappings already.
        builder = builder.remove("/linux/uidMappings").remove("/linux/gidMappings");
    }
    if kind == "mount" {
        builder = builder.set("/root/path", holder.bundle().rootfs().display().to_string());
        let (call, container) = builder.namespace(kind, Some(&path)).attempt().await?;
        // What a root file system means inside of a foreign mount namespace is left open, so that it may be refused.
        cx.record("namespaces.mount.joined", if call.succeeded() { "accepted" } else { "refused" });
        if call.succeeded() {
            let joined = holder.namespace("mnt")?;
            check_eq!(container.namespace("mnt")?, joined, "the mount namespace of the accepted container");
        }
        return Ok(());
    }
    let answers = builder.namespace(kind, Some(&path)).answers().await?;
    let inside = answers.facts("namespaces")?["ns"][link(kind)].clone();
    check_eq!(inside, json!(holder.namespace(link(kind))?), "the {kind} namespace of the program");
    Ok(())
}

/// A path to a namespace of another type is an error, for each other type.
#[case(covers = ["namespaces.path.type-mismatch-errors"], matrix(kind = TYPES))]
async fn path_of_another_type_is_error(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    need_type(cx, kind)?;
    for wrong in TYPES.iter().map(|v| v.value).filter(|w| *w != kind) {
        if need_type(cx, wrong).is_err() {
            continue;
        }
        let path = format!("/proc/{}/ns/{}", std::process::id(), link(wrong));
        let builder = cx.container(probe::exit(0)).namespace(kind, Some(&path));
        builder.rejected().await?;
    }
    Ok(())
}

const NO_NAMESPACES: &[Variant] = &[
    Variant::new("missing", &[]),
    Variant::new("file", &[]),
    Variant::new("directory", &[]),
    Variant::new("dev-null", &[]),
];

/// A path to what is no namespace is an error.
#[case(covers = ["namespaces.path.type-mismatch-errors"], matrix(path = NO_NAMESPACES))]
async fn path_that_is_no_namespace_is_error(cx: &mut Cx) -> Verdict {
    let path = match cx.param("path") {
        "missing" => cx.dir().join("missing"),
        "file" => cx.probe_path(),
        "directory" => cx.dir().to_owned(),
        _ => "/dev/null".into(),
    };
    for kind in ["network", "ipc", "uts"] {
        let builder = cx.container(probe::exit(0));
        builder.namespace(kind, Some(&path.display().to_string())).rejected().await?;
    }
    Ok(())
}

/// A relative path is an error even when it leads to a namespace.
#[case(covers = ["namespaces.path.absolute"])]
async fn relative_path_is_error(cx: &mut Cx) -> Verdict {
    // The runtime's working directory is the root, and the bundle is deep below it: both ways lead to a namespace.
    for path in ["proc/self/ns/net", "../../../../../../../../../../../../proc/self/ns/net"] {
        cx.container(probe::exit(0)).namespace("network", Some(path)).rejected().await?;
    }
    Ok(())
}

/// A type that stands twice in the list is an error, with a path or without.
#[case(covers = ["namespaces.duplicate-type-errors"], matrix(kind = TYPES))]
async fn type_given_twice_is_error(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    need_type(cx, kind)?;
    let again = json!({ "type": kind });
    with_new(cx.container(probe::exit(0)), kind).set("/linux/namespaces/-", again).rejected().await?;
    let path = format!("/proc/{}/ns/{}", std::process::id(), link(kind));
    let again = json!({ "type": kind, "path": path });
    with_new(cx.container(probe::exit(0)), kind).set("/linux/namespaces/-", again).rejected().await?;
    Ok(())
}
