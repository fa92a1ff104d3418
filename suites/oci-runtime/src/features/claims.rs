//! features.md and features-linux.md: what the document lists works, and what it claims is so.
// A case is an async function, also when all that it looks at is at hand.
#![allow(clippy::unused_async)]

use super::words::{is_unknown_word, listed};
use super::{document, list};
use crate::runtime::state_hooks::{hook_of, whole_life};
use plimsoll_kit::prelude::*;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    listed_hook_works,
    every_listed_hook_is_one,
    listed_mount_options_are_recognised,
    demanded_mount_options_are_listed,
    mount_options_are_general_ones,
    listed_namespaces_are_recognised,
    listed_capabilities_are_recognised,
    listed_actions_are_recognised,
    listed_operators_are_recognised,
    listed_architectures_are_recognised,
    supported_flags_are_known,
    supported_flags_work,
    known_flags_are_recognised,
    seccomp_claim_is_true,
    cgroup_claim_is_true,
    listed_memory_policies_are_recognised,
    listed_memory_policy_flags_are_recognised,
    idmap_claim_is_true,
    resctrl_claim_is_true,
];

const HOOKS: &[Variant] = &[
    Variant::new("prestart", &[]),
    Variant::new("createRuntime", &[]),
    Variant::new("createContainer", &[]),
    Variant::new("startContainer", &[]),
    Variant::new("poststart", &[]),
    Variant::new("poststop", &[]),
];

/// A hook that the document lists works.
#[case(covers = ["features.hooks.supported"], matrix(kind = HOOKS))]
async fn listed_hook_works(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    if !listed(cx, "hooks")?.iter().any(|h| h == kind) {
        let reason = "the features document does not list this hook".to_owned();
        return Err(Stop::NotApplicable { capability: format!("hook-{kind}"), reason });
    }
    let hook = hook_of(cx)?;
    let container = whole_life(cx.container(probe::exit(0)), &hook).await?;
    check!(container.hook_ran(&hook)?, "the listed hook runs", "it did not");
    Ok(())
}

/// A listed name that is none of the six is that of a hook nevertheless: what stands there is run.
#[case(covers = ["features.hooks.supported", "features.hooks"])]
async fn every_listed_hook_is_one(cx: &mut Cx) -> Verdict {
    for name in listed(cx, "hooks")?.into_iter().filter(|n| HookKind::from_key(n).is_none()) {
        let mark = cx.shared().join(format!("hook-{}", cx.new_id()));
        let script = probe::script().act("marker", json!({ "path": mark }));
        let entry = json!({ "path": cx.probe_path(), "args": ["hook", script.text(&name, None)] });
        let builder = cx.container(probe::exit(0)).set("/hooks", json!({ &name: [entry] }));
        builder.stopped().await?.delete().await?.must_succeed()?;
        check!(mark.exists(), format!("the listed hook {name} runs"), "it did not");
    }
    Ok(())
}

/// Options that need more than a tmpfs mount of their own; the mount cases have them.
const ELSEWHERE: [&str; 8] =
    ["bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "src-nofollow", "copy-symlink"];

/// A container with one tmpfs for each of these options.
async fn mounts_with(cx: &Cx, options: &[String]) -> Result<Call, Stop> {
    let mut builder = cx.container(probe::exit(0));
    for (index, option) in options.iter().enumerate() {
        let place = format!("/mnt/{index}");
        builder = builder.directory(&place).mount(json!({
            "destination": place, "type": "tmpfs", "source": "tmpfs", "options": [option]
        }));
    }
    let (create, container) = builder.attempt().await?;
    if !create.succeeded() {
        return Ok(create);
    }
    let start = container.start().await?;
    container.delete_force().await?;
    Ok(start)
}

/// Every mount option that the document lists is recognised, not handed to the file system.
#[case(covers = ["features.mount-options.recognised"])]
async fn listed_mount_options_are_recognised(cx: &mut Cx) -> Verdict {
    let mut options = listed(cx, "mountOptions")?;
    options.retain(|o| !ELSEWHERE.contains(&o.as_str()));
    if mounts_with(cx, &options).await?.succeeded() {
        return Ok(());
    }
    let mut refused = Vec::new();
    for option in options {
        let call = mounts_with(cx, std::slice::from_ref(&option)).await?;
        if !call.succeeded() {
            refused.push(format!("{option}: {}", call.describe()));
        }
    }
    check!(refused.is_empty(), "a mount with each listed option works", "{}", refused.join("; "));
    Ok(())
}

/// What every runtime has to know of the table of options since the document exists.
const DEMANDED: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev \
    nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate \
    rshared rslave runbindable rw shared silent slave strictatime suid sync unbindable";

/// The list holds the names that the runtime recognises: none that every runtime has to recognise is missing.
#[case(covers = ["features.mount-options", "features.mount-options.recognised"])]
async fn demanded_mount_options_are_listed(cx: &mut Cx) -> Verdict {
    let list = listed(cx, "mountOptions")?;
    let missing: Vec<&str> = DEMANDED.split_whitespace().filter(|o| !list.iter().any(|l| l == o)).collect();
    check!(
        missing.is_empty(),
        "every option that a runtime has to implement is listed",
        "missing: {missing:?}"
    );
    Ok(())
}

/// Options that mount(2), `mount_setattr(2)` or the runtime itself take, whatever the file system is.
const GENERAL: &str = "async atime bind copy-symlink defaults dev diratime dirsync exec idmap iversion lazytime loud \
    mand noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow \
    private ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime \
    rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow \
    runbindable rw shared silent slave src-nofollow strictatime suid symfollow sync tmpcopyup unbindable acl noacl";

/// The list of mount options holds none that only some file system knows.
#[case(covers = ["features.mount-options.no-fs-specific"])]
async fn mount_options_are_general_ones(cx: &mut Cx) -> Verdict {
    let general: Vec<&str> = GENERAL.split_whitespace().collect();
    let mut others = listed(cx, "mountOptions")?;
    others.retain(|o| !general.contains(&o.as_str()));
    check!(others.is_empty(), "options that hold for every file system", "{others:?}");
    Ok(())
}

/// Every namespace type that the document lists is recognised, whether this kernel has it or not.
#[case(covers = ["features.linux.namespaces.recognised"])]
async fn listed_namespaces_are_recognised(cx: &mut Cx) -> Verdict {
    let mut refused = Vec::new();
    for kind in listed(cx, "linux.namespaces")? {
        let file = match kind.as_str() {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        if !Path::new("/proc/self/ns").join(file).exists() {
            let with = |word: &str| cx.container(probe::exit(0)).namespace(word, None);
            if is_unknown_word(&kind, "nobody-knows", with).await? {
                refused.push(format!("{kind}: answered like a word that nobody knows"));
            }
            continue;
        }
        let builder = cx.container(probe::exit(0));
        let builder =
            if kind == "user" { builder.user_namespace(100_000) } else { builder.namespace(&kind, None) };
        let (call, _) = builder.attempt().await?;
        // The root file system of an unprivileged user may be out of reach; that is no unknown type.
        if !call.succeeded() && kind != "user" {
            refused.push(format!("{kind}: {}", call.describe()));
        }
    }
    check!(refused.is_empty(), "a container with each listed namespace is made", "{}", refused.join("; "));
    Ok(())
}

/// Every capability that the document lists is recognised, without a warning.
#[case(covers = ["features.linux.capabilities.recognised"])]
async fn listed_capabilities_are_recognised(cx: &mut Cx) -> Verdict {
    let names = listed(cx, "linux.capabilities")?;
    let known = plimsoll_kit::host::CAPABILITIES;
    for name in names.iter().filter(|n| !known.contains(&n.as_str())) {
        let with = |word: &str| cx.container(probe::exit(0)).capabilities(&[word]);
        let unknown = is_unknown_word(name, "CAP_NOBODY_KNOWS", with).await?;
        check!(!unknown, format!("{name} is recognised"), "answered like a word that nobody knows");
    }
    let missing = cx.host().missing_capabilities.clone();
    let wanted: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|n| known.contains(n) && !missing.iter().any(|m| m == n))
        .collect();
    let (call, container) = cx.container(probe::ask(["caps"])).capabilities(&wanted).attempt().await?;
    call.must_succeed()?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    let seen = answers.facts("caps")?["bounding"]["names"].as_array().cloned().unwrap_or_default();
    let lost: Vec<_> = wanted.into_iter().filter(|n| !seen.contains(&json!(n))).collect();
    check!(lost.is_empty(), "every listed capability is in the bounding set", "missing: {lost:?}");
    Ok(())
}

/// A program that answers under this seccomp filter.
async fn filtered(cx: &Cx, seccomp: Value) -> Result<(), Stop> {
    let answers = cx.container(probe::ask(["seccomp"])).set("/linux/seccomp", seccomp).answers().await?;
    check_eq!(answers.facts("seccomp")?["mode"], json!(2), "the seccomp mode (2: filter)");
    Ok(())
}

/// System calls that the probe does not make, one for each action or operator.
const CALLS: [&str; 12] = [
    "acct",
    "swapon",
    "swapoff",
    "reboot",
    "settimeofday",
    "quotactl",
    "init_module",
    "delete_module",
    "iopl",
    "ioperm",
    "vhangup",
    "uselib",
];

/// Every seccomp action that the document lists is recognised.
#[case(covers = ["features.linux.seccomp.actions.recognised"])]
async fn listed_actions_are_recognised(cx: &mut Cx) -> Verdict {
    let actions = listed(cx, "linux.seccomp.actions")?;
    let rules: Vec<Value> = actions
        .iter()
        // A listener is needed for this one, and the default action must not stand in a rule.
        .filter(|a| !["SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW"].contains(&a.as_str()))
        .zip(CALLS)
        .map(|(action, call)| json!({ "names": [call], "action": action }))
        .collect();
    filtered(cx, json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })).await
}

/// Every seccomp operator that the document lists is recognised.
#[case(covers = ["features.linux.seccomp.operators.recognised"])]
async fn listed_operators_are_recognised(cx: &mut Cx) -> Verdict {
    let operators = listed(cx, "linux.seccomp.operators")?;
    let rules: Vec<Value> = operators
        .iter()
        .zip(CALLS)
        .map(|(op, call)| {
            let args = json!([{ "index": 0, "value": 1, "valueTwo": 1, "op": op }]);
            json!({ "names": [call], "action": "SCMP_ACT_ERRNO", "args": args })
        })
        .collect();
    filtered(cx, json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })).await
}

/// Every seccomp architecture that the document lists is recognised.
#[case(covers = ["features.linux.seccomp.archs.recognised"])]
async fn listed_architectures_are_recognised(cx: &mut Cx) -> Verdict {
    let mut odd = Vec::new();
    for arch in listed(cx, "linux.seccomp.archs")? {
        // A listed architecture may not fit this machine (another byte order), but it is not an unknown word.
        let with = |word: &str| {
            let seccomp = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": [word],
                "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }]
            });
            cx.container(probe::exit(0)).set("/linux/seccomp", seccomp)
        };
        if is_unknown_word(&arch, "SCMP_ARCH_PLIMSOLL", with).await? {
            odd.push(arch);
        }
    }
    check!(odd.is_empty(), "each listed architecture is known", "refused like an unknown word: {odd:?}");
    Ok(())
}

/// Every supported seccomp flag is a known one.
#[case(covers = ["features.linux.seccomp.supported-flags"])]
async fn supported_flags_are_known(cx: &mut Cx) -> Verdict {
    let known = list(&document(cx)?, "linux.seccomp.knownFlags");
    let supported = listed(cx, "linux.seccomp.supportedFlags")?;
    let odd: Vec<_> = supported.iter().filter(|f| !known.is_empty() && !known.contains(f)).collect();
    check!(odd.is_empty(), "each supported flag is among the known ones", "{odd:?}");
    Ok(())
}

fn with_flag(flag: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
        "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }]
    })
}

/// Every seccomp flag that the document calls supported works.
#[case(covers = ["features.linux.seccomp.supported-flags.work"])]
async fn supported_flags_work(cx: &mut Cx) -> Verdict {
    for flag in listed(cx, "linux.seccomp.supportedFlags")? {
        // Waiting for a killable listener needs a listener: the kernel refuses the flag without one.
        if flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            filtered(cx, with_flag(&flag)).await?;
        }
    }
    Ok(())
}

/// A known seccomp flag works, or is refused in other words than a flag that nobody knows.
#[case(covers = ["features.linux.seccomp.known-flags.recognised"])]
async fn known_flags_are_recognised(cx: &mut Cx) -> Verdict {
    for flag in listed(cx, "linux.seccomp.knownFlags")? {
        let with = |word: &str| cx.container(probe::exit(0)).set("/linux/seccomp", with_flag(word));
        let unknown = is_unknown_word(&flag, "SECCOMP_FILTER_FLAG_NOBODY_KNOWS", with).await?;
        check!(!unknown, format!("{flag} is recognised"), "refused like a word that nobody knows");
    }
    Ok(())
}

/// The claim about seccomp is true: a filter is installed, or a configuration with one is an error.
#[case(covers = ["features.linux.seccomp.enabled"])]
async fn seccomp_claim_is_true(cx: &mut Cx) -> Verdict {
    let enabled = claimed(cx, "linux.seccomp.enabled")?;
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }]
    });
    if enabled {
        return filtered(cx, seccomp).await;
    }
    cx.container(probe::exit(0)).set("/linux/seccomp", seccomp).rejected().await.map(|_| ())
}

const VERSIONS: &[Variant] =
    &[Variant::new("v1", &["features.linux.cgroup.v1"]), Variant::new("v2", &["features.linux.cgroup.v2"])];

/// What is claimed of a cgroup version is so where the host has it: the container gets its cgroup, or does not.
#[case(covers = ["features.linux.cgroup"], matrix(version = VERSIONS))]
async fn cgroup_claim_is_true(cx: &mut Cx) -> Verdict {
    let version = cx.param("version");
    let claim = claimed(cx, &format!("linux.cgroup.{version}"))?;
    if version == "v1" {
        cx.need_v1("pids")?;
    } else {
        cx.need_v2("")?;
    }
    let container = cx.container(probe::pause()).running().await?;
    let works = !container.cgroup_directories().is_empty();
    check_eq!(claim, works, "the claim, for a container whose cgroup exists: {works}");
    Ok(())
}

/// What the document says of a yes-or-no question; not applicable when it says nothing.
fn claimed(cx: &Cx, path: &str) -> Result<bool, Stop> {
    let features = document(cx)?;
    let claim = features.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_bool);
    claim.ok_or_else(|| Stop::NotApplicable {
        capability: format!("features.{path}"),
        reason: format!("the features document says nothing of `{path}`"),
    })
}

/// Every memory policy mode that the document lists is recognised.
#[case(covers = ["features.linux.memory-policy.modes.recognised"])]
async fn listed_memory_policies_are_recognised(cx: &mut Cx) -> Verdict {
    for mode in listed(cx, "linux.memoryPolicy.modes")? {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) { "" } else { "0" };
        let policy = json!({ "mode": mode, "nodes": nodes });
        works_or_kernel_refuses(cx, policy).await?;
    }
    Ok(())
}

/// Every memory policy flag that the document lists is recognised.
#[case(covers = ["features.linux.memory-policy.flags.recognised"])]
async fn listed_memory_policy_flags_are_recognised(cx: &mut Cx) -> Verdict {
    for flag in listed(cx, "linux.memoryPolicy.flags")? {
        works_or_kernel_refuses(cx, json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] })).await?;
    }
    Ok(())
}

async fn works_or_kernel_refuses(cx: &Cx, policy: Value) -> Result<(), Stop> {
    let word = policy.to_string();
    let (create, container) =
        cx.container(probe::exit(0)).set("/linux/memoryPolicy", policy).attempt().await?;
    let call = if create.succeeded() { container.start().await? } else { create };
    let text = call.stderr.to_lowercase();
    let kernel = text.contains("invalid argument") || text.contains("not implemented");
    check!(call.succeeded() || kernel, format!("{word} is recognised"), "{}", call.describe());
    container.delete_force().await?;
    Ok(())
}

/// A runtime whose mounts with id mappings have an effect claims idmap, also when its support is partial; one that
/// accepts them without effect does not.
#[case(
    covers = ["features.linux.mount-extensions.idmap.partial-still-true", "features.linux.mount-extensions.idmap.enabled"]
)]
async fn idmap_claim_is_true(cx: &mut Cx) -> Verdict {
    let features = document(cx)?;
    let claim = features.pointer("/linux/mountExtensions/idmap/enabled") == Some(&json!(true));
    let source = cx.dir().join("mapped");
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), "x")?;
    let map = json!([{ "containerID": 0, "hostID": 5000, "size": 65_536 }]);
    let script = probe::script().ask_with("stat", json!({ "path": "/mnt/file" }));
    let builder = cx.container(script).mount(json!({
        "destination": "/mnt", "type": "bind", "source": source.display().to_string(), "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map
    }));
    let (create, container) = builder.attempt().await?;
    let call = if create.succeeded() { container.start().await? } else { create };
    cx.record("features.idmap-claim", json!({ "claim": claim, "mount works": call.succeeded() }));
    if call.succeeded() {
        container.wait_exit().await?;
        let shifted = container.answers_so_far()?.facts("stat")?["uid"] != json!(0);
        check_eq!(claim, shifted, "idmap.enabled, where the mappings have an effect: {shifted}");
    }
    Ok(())
}

/// A runtime that claims resctrl reads the configuration's part about it: where resctrl is missing it is an error.
#[case(covers = ["features.linux.intel-rdt.enabled"], exclusive = ["resctrl"])]
async fn resctrl_claim_is_true(cx: &mut Cx) -> Verdict {
    let enabled = claimed(cx, "linux.intelRdt.enabled")?;
    let id = cx.new_id();
    let builder = cx.container(probe::pause()).set("/linux/intelRdt", json!({ "closID": id }));
    let resctrl = Path::new("/sys/fs/resctrl");
    if !resctrl.join("schemata").exists() {
        cx.need(enabled, "resctrl", "nothing here shows that what is not claimed does not work")?;
        builder.rejected().await?;
        return Ok(());
    }
    let (create, container) = builder.attempt().await?;
    let works = create.succeeded() && resctrl.join(&id).exists();
    container.delete_force().await?;
    check_eq!(enabled, works, "intelRdt.enabled, where its classes are made: {works}");
    Ok(())
}
