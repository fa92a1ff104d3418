//! features.md: the document as a whole, its versions, and the types of its members.
// A case is an async function, also when all that it looks at is at hand.
#![allow(clippy::unused_async)]

use super::{document, list};
use crate::runtime::support::{is_semver, strict_json};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use plimsoll_model::SpecVersion;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    offer_is_recorded,
    content_does_not_depend_on_the_call,
    absent_members_are_recorded,
    is_strict_json,
    names_its_version,
    named_version_is_accepted,
    latest_is_not_below_earliest,
    only_known_members,
    annotations_are_a_map_of_strings,
    annotation_structure_is_recorded,
    member_has_its_type,
    linux_object_is_recorded,
];

/// A runtime may offer the features document; whether it does is recorded.
#[case(covers = ["features.provided"])]
async fn offer_is_recorded(cx: &mut Cx) -> Verdict {
    cx.record("features.provided", cx.features().is_some());
    Ok(())
}

const CALLS: &[Variant] = &[
    Variant::new("again", &[]),
    Variant::new("other-environment", &[]),
    Variant::new("other-directory", &[]),
    Variant::new("other-state-directory", &[]),
];

/// The document is fixed when the runtime is built: it is the same however and from wherever it is asked for.
#[case(covers = ["features.compile-time-content"], matrix(call = CALLS))]
async fn content_does_not_depend_on_the_call(cx: &mut Cx) -> Verdict {
    document(cx)?;
    let first = cx.runtime().call(&["features"]).await?;
    first.must_succeed()?;
    let mut options = CallOptions::default();
    let mut runtime = cx.runtime().clone();
    match cx.param("call") {
        "other-environment" => {
            options.env =
                vec![("XDG_RUNTIME_DIR".into(), "/nowhere".into()), ("LANG".into(), "tr_TR.UTF-8".into())];
        }
        "other-directory" => options.cwd = Some(cx.shared()),
        "other-state-directory" => runtime = runtime.with_root(cx.dir().join("other-root")),
        _ => {}
    }
    let second = runtime.call_with(&["features"], options).await?;
    second.must_succeed()?;
    check_eq!(second.stdout, first.stdout, "the document");
    Ok(())
}

/// All members but the versions may be absent or null; which ones are is recorded.
#[case(covers = ["features.null-or-absent-ok"])]
async fn absent_members_are_recorded(cx: &mut Cx) -> Verdict {
    let features = document(cx)?;
    let absent: Vec<_> =
        ["hooks", "mountOptions", "linux", "annotations", "potentiallyUnsafeConfigAnnotations"]
            .into_iter()
            .filter(|name| features[*name].is_null())
            .collect();
    cx.record("features.absent-or-null", json!(absent));
    Ok(())
}

/// The features operation writes one JSON document without repeated member names.
#[case(covers = ["json.no-duplicate-names", "features.linux"])]
async fn is_strict_json(cx: &mut Cx) -> Verdict {
    document(cx)?;
    let call = cx.runtime().call(&["features"]).await?;
    call.must_succeed()?;
    strict_json(&call.stdout)
        .map_err(|e| Stop::violation("one JSON document without repeated names", e))
        .map(|_| ())
}

const VERSIONS: &[Variant] = &[
    Variant::new("ociVersionMin", &["features.oci-version-min"]),
    Variant::new("ociVersionMax", &["features.oci-version-max"]),
];

/// The document names the earliest and the latest version in SemVer form.
#[case(covers = [], matrix(member = VERSIONS))]
async fn names_its_version(cx: &mut Cx) -> Verdict {
    let value = &document(cx)?[cx.param("member")];
    check!(value.as_str().is_some_and(is_semver), "a SemVer 2.0.0 version", "{value}");
    Ok(())
}

const ACCEPTED: &[Variant] = &[
    Variant::new("ociVersionMin", &["features.oci-version-min.accepted"]),
    Variant::new("ociVersionMax", &["features.oci-version-max.accepted"]),
];

/// A configuration of a version that the document names is accepted.
#[case(covers = [], matrix(member = ACCEPTED))]
async fn named_version_is_accepted(cx: &mut Cx) -> Verdict {
    let features = document(cx)?;
    let version = features[cx.param("member")].as_str().unwrap_or_default().to_owned();
    cx.container(probe::exit(0)).version(&version).stopped().await?;
    Ok(())
}

/// The latest version is not below the earliest.
#[case(covers = ["features.oci-version-max.not-below-min"])]
async fn latest_is_not_below_earliest(cx: &mut Cx) -> Verdict {
    let features = document(cx)?;
    let version = |key: &str| features[key].as_str().unwrap_or_default().parse::<SpecVersion>();
    match (version("ociVersionMin"), version("ociVersionMax")) {
        (Ok(min), Ok(max)) => check!(min <= max, "ociVersionMin <= ociVersionMax", "{min} and {max}"),
        _ => {
            return Err(Stop::violation(
                "two versions",
                json!([features["ociVersionMin"], features["ociVersionMax"]]).to_string(),
            ));
        }
    }
    Ok(())
}

/// The members that the latest version of the specification defines; `*` stands for any name.
const KNOWN: &[&str] = &[
    "ociVersionMin",
    "ociVersionMax",
    "hooks",
    "mountOptions",
    "annotations",
    "annotations.*",
    "potentiallyUnsafeConfigAnnotations",
    "linux",
    "linux.namespaces",
    "linux.capabilities",
    "linux.cgroup",
    "linux.cgroup.v1",
    "linux.cgroup.v2",
    "linux.cgroup.systemd",
    "linux.cgroup.systemdUser",
    "linux.cgroup.rdma",
    "linux.seccomp",
    "linux.seccomp.enabled",
    "linux.seccomp.actions",
    "linux.seccomp.operators",
    "linux.seccomp.archs",
    "linux.seccomp.knownFlags",
    "linux.seccomp.supportedFlags",
    "linux.apparmor",
    "linux.apparmor.enabled",
    "linux.selinux",
    "linux.selinux.enabled",
    "linux.intelRdt",
    "linux.intelRdt.enabled",
    "linux.intelRdt.schemata",
    "linux.intelRdt.monitoring",
    "linux.memoryPolicy",
    "linux.memoryPolicy.modes",
    "linux.memoryPolicy.flags",
    "linux.mountExtensions",
    "linux.mountExtensions.idmap",
    "linux.mountExtensions.idmap.enabled",
    "linux.netDevices",
    "linux.netDevices.enabled",
];

/// Names of all members of a value, by their paths.
fn paths(value: &Value, prefix: &str, all: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if prefix == "annotations" {
            all.push("annotations.*".to_owned());
        } else {
            paths(member, &path, all);
            all.push(path);
        }
    }
}

/// The document has no member that the specification does not define.
#[case(covers = ["features.no-undefined-properties"])]
async fn only_known_members(cx: &mut Cx) -> Verdict {
    let mut all = Vec::new();
    paths(&document(cx)?, "", &mut all);
    let unknown: Vec<_> = all.into_iter().filter(|path| !KNOWN.contains(&path.as_str())).collect();
    check!(unknown.is_empty(), "members of the specification only", "{unknown:?}");
    Ok(())
}

/// The annotations of the document map names that are not empty to strings.
#[case(covers = ["features.annotations.map", "features.annotations"])]
async fn annotations_are_a_map_of_strings(cx: &mut Cx) -> Verdict {
    let annotations = &document(cx)?["annotations"];
    if annotations.is_null() {
        return Ok(());
    }
    let Some(map) = annotations.as_object() else {
        return Err(Stop::violation("an object", annotations.to_string()));
    };
    let odd: Vec<_> = map.iter().filter(|(k, v)| k.is_empty() || !v.is_string()).collect();
    check!(odd.is_empty(), "names that are not empty, and strings", "{odd:?}");
    Ok(())
}

/// The structure of the annotations is free; their names are recorded.
#[case(covers = ["features.annotations.any-structure"])]
async fn annotation_structure_is_recorded(cx: &mut Cx) -> Verdict {
    let features = document(cx)?;
    let names: Vec<_> = features["annotations"].as_object().into_iter().flatten().map(|(k, _)| k).collect();
    cx.record("features.annotations", json!(names));
    Ok(())
}

const TYPES: &[Variant] = &[
    Variant::new("hooks:strings", &["features.hooks"]),
    Variant::new("mountOptions:strings", &["features.mount-options"]),
    Variant::new("linux:object", &["features.linux"]),
    Variant::new("annotations:object", &["features.annotations"]),
    Variant::new("potentiallyUnsafeConfigAnnotations:strings", &["features.unsafe-annotations"]),
    Variant::new("linux.namespaces:strings", &["features.linux.namespaces"]),
    Variant::new("linux.capabilities:strings", &["features.linux.capabilities"]),
    Variant::new("linux.cgroup:object", &["features.linux.cgroup"]),
    Variant::new("linux.cgroup.v1:boolean", &["features.linux.cgroup.v1"]),
    Variant::new("linux.cgroup.v2:boolean", &["features.linux.cgroup.v2"]),
    Variant::new("linux.cgroup.systemd:boolean", &["features.linux.cgroup.systemd"]),
    Variant::new("linux.cgroup.systemdUser:boolean", &["features.linux.cgroup.systemd-user"]),
    Variant::new("linux.cgroup.rdma:boolean", &["features.linux.cgroup.rdma"]),
    Variant::new("linux.seccomp:object", &["features.linux.seccomp"]),
    Variant::new("linux.seccomp.enabled:boolean", &["features.linux.seccomp.enabled"]),
    Variant::new("linux.seccomp.actions:strings", &["features.linux.seccomp.actions"]),
    Variant::new("linux.seccomp.operators:strings", &["features.linux.seccomp.operators"]),
    Variant::new("linux.seccomp.archs:strings", &["features.linux.seccomp.archs"]),
    Variant::new("linux.seccomp.knownFlags:strings", &["features.linux.seccomp.known-flags"]),
    Variant::new("linux.seccomp.supportedFlags:strings", &["features.linux.seccomp.supported-flags"]),
    Variant::new("linux.apparmor:object", &["features.linux.apparmor"]),
    Variant::new("linux.apparmor.enabled:boolean", &["features.linux.apparmor.enabled"]),
    Variant::new("linux.selinux:object", &["features.linux.selinux"]),
    Variant::new("linux.selinux.enabled:boolean", &["features.linux.selinux.enabled"]),
    Variant::new("linux.memoryPolicy:object", &["features.linux.memory-policy"]),
    Variant::new("linux.memoryPolicy.modes:strings", &["features.linux.memory-policy.modes"]),
    Variant::new("linux.memoryPolicy.flags:strings", &["features.linux.memory-policy.flags"]),
    Variant::new("linux.intelRdt:object", &["features.linux.intel-rdt"]),
    Variant::new("linux.intelRdt.enabled:boolean", &["features.linux.intel-rdt.enabled"]),
    Variant::new("linux.intelRdt.schemata:boolean", &["features.linux.intel-rdt.schemata"]),
    Variant::new("linux.intelRdt.monitoring:boolean", &["features.linux.intel-rdt.monitoring"]),
    Variant::new("linux.mountExtensions:object", &["features.linux.mount-extensions"]),
    Variant::new("linux.mountExtensions.idmap:object", &["features.linux.mount-extensions.idmap"]),
    Variant::new(
        "linux.mountExtensions.idmap.enabled:boolean",
        &["features.linux.mount-extensions.idmap.enabled"],
    ),
    Variant::new("linux.netDevices:object", &["features.linux.net-devices"]),
    Variant::new("linux.netDevices.enabled:boolean", &["features.linux.net-devices.enabled"]),
];

/// A member that is present and not null has the type that the specification gives it.
#[case(covers = [], matrix(member = TYPES))]
async fn member_has_its_type(cx: &mut Cx) -> Verdict {
    let (path, kind) = cx.param("member").split_once(':').unwrap_or_default();
    let features = document(cx)?;
    let value = features.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
    if value.is_null() {
        cx.record(&format!("features.{path}"), "absent");
        return Ok(());
    }
    let fits = match kind {
        "object" => value.is_object(),
        "boolean" => value.is_boolean(),
        _ => value
            .as_array()
            .is_some_and(|items| items.iter().all(|i| i.as_str().is_some_and(|s| !s.is_empty()))),
    };
    check!(fits, format!("`{path}` is of the type {kind}"), "{value}");
    let mut items = list(&features, path);
    let count = items.len();
    items.sort_unstable();
    items.dedup();
    check_eq!(items.len(), count, "the number of different items in `{path}`");
    Ok(())
}

/// The linux object may be set; whether it is is recorded.
#[case(covers = ["features.linux.may-be-set"])]
async fn linux_object_is_recorded(cx: &mut Cx) -> Verdict {
    let set = document(cx)?["linux"].is_object();
    cx.record("features.linux-is-set", set);
    Ok(())
}
