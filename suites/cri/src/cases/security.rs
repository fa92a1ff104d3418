//! Privileges, capabilities, and paths of a container.

use super::confinement::profile;
use crate::prelude::*;
use v1::security_profile::ProfileType;

/// The table of this file.
pub static CASES: &[Case] = &[
    privileged_has_everything,
    privileged_needs_a_privileged_pod,
    unprivileged_has_little,
    capabilities_are_added,
    capabilities_are_dropped,
    ambient_capabilities,
    odd_capabilities,
    readonly_roots,
    roots_are_apart,
    masked_and_readonly_paths,
    unmasked_paths,
];

pub(super) async fn facts(
    pod: &Pod,
    questions: &[&str],
    change: impl FnOnce(&mut v1::LinuxContainerSecurityContext),
) -> Result<Answers, Stop> {
    pod.container().security(change).answers(&ask(questions.iter().copied())).await
}

fn names(answers: &Answers, set: &str) -> Result<Vec<String>, Stop> {
    let list = answers.facts("caps")?[set]["names"].as_array().cloned().unwrap_or_default();
    Ok(list.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect())
}

fn hex(answers: &Answers, set: &str) -> Result<u64, Stop> {
    let text = answers.facts("caps")?[set]["hex"].as_str().unwrap_or("0").to_owned();
    Ok(u64::from_str_radix(&text, 16).unwrap_or(0))
}

/// What this host's kernel lets a process have: the harness's own bounding set.
fn host_bounding() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).unwrap_or(0)
}

/// A privileged container has all capabilities and devices, nothing masked, and no seccomp.
#[case(covers = [
    "security.privileged.caps", "security.privileged.devices", "security.privileged.sysfs-rw",
    "security.privileged.no-apparmor", "security.privileged.no-seccomp", "security.privileged.cgroup-rw",
])]
async fn privileged_has_everything(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().security(|s| s.privileged = true).run().await?;
    let container = pod.container().security(|s| {
        s.privileged = true;
        s.seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
    });
    let container = container.start().await?;
    let answers = container.ask(&ask(["caps", "seccomp", "mounts", "label"])).await?;
    check!(
        hex(&answers, "effective")? & host_bounding() == host_bounding(),
        "all capabilities of the host",
        "{:x}",
        hex(&answers, "effective")?
    );
    check_eq!(of "security.privileged.no-seccomp"; answers.facts("seccomp")?["mode"], 0, "seccomp mode");
    let mounts = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    let at = |path: &str| mounts.iter().rev().find(|m| m["mountpoint"] == path).cloned().unwrap_or_default();
    check!(of "security.privileged.sysfs-rw"; !at("/sys")["options"].to_string().contains("\"ro\""), "/sys is read-write", "it is read-only");
    check!(of "security.privileged.sysfs-rw"; at("/proc/kcore").is_null(), "/proc/kcore is not masked", "it is");
    let devices = script().ask_with("stat", json!({"path": "/dev/kmsg"}));
    check!(of "security.privileged.devices"; step(&container, &devices, "stat").await?.is_ok(), "the host's devices", "/dev/kmsg is missing");
    let label = answers.facts("label")?["current"].to_string();
    check!(of "security.privileged.no-apparmor"; !label.contains("enforce"), "no AppArmor confinement", "{label}");
    let readonly = mounts
        .iter()
        .filter(|m| m["fstype"].as_str().is_some_and(|t| t.starts_with("cgroup")))
        .filter(|m| m["options"].to_string().contains("\"ro\""))
        .count();
    check_eq!(of "security.privileged.cgroup-rw"; readonly, 0, "read-only cgroup mounts");
    Ok(())
}

/// A privileged container in a pod that is not privileged is refused.
#[case(covers = ["sandbox.privileged-required"])]
async fn privileged_needs_a_privileged_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.run_pod().await?.container().security(|s| s.privileged = true).must_be_refused().await?;
    Ok(())
}

/// An ordinary container has a small set of capabilities, masked paths and a read-only /sys.
#[case(covers = ["security.unprivileged.default", "security.caps.default-set", "container.cgroup.readonly-mount"])]
async fn unprivileged_has_little(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    let answers = container.ask(&ask(["caps"])).await?;
    let mut list = names(&answers, "effective")?;
    check!(
        !list.contains(&"CAP_SYS_ADMIN".to_owned()) && !list.contains(&"CAP_NET_ADMIN".to_owned()),
        "no administration",
        "{list:?}"
    );
    list.sort();
    let mut again = names(&facts(&pod, &["caps"], |_| ()).await?, "effective")?;
    again.sort();
    check_eq!(of "security.caps.default-set"; again, list, "default capabilities of a second container");
    cx.record("security.default-capabilities", list);
    let mounts = fact(&container, "mounts").await?["mounts"].as_array().cloned().unwrap_or_default();
    let readonly = |m: &Value| m["options"].as_array().is_some_and(|o| o.iter().any(|o| o == "ro"));
    let sys = mounts.iter().find(|m| m["mountpoint"] == "/sys");
    check!(sys.is_none_or(readonly), "/sys is read-only", "it is read-write");
    let mount = script().act("mount", json!({"source": "tmpfs", "target": "/tmp", "fstype": "tmpfs"}));
    check!(step(&container, &mount, "mount").await?.is_err(), "mounting is refused", "it works");
    let writable = mounts
        .iter()
        .filter(|m| m["fstype"].as_str().is_some_and(|t| t.starts_with("cgroup")) && !readonly(m))
        .count();
    check_eq!(of "container.cgroup.readonly-mount"; writable, 0, "writable cgroup mounts");
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
pub(super) fn capability(add: &[&str], drop: &[&str], ambient: &[&str]) -> Option<v1::Capability> {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Some(v1::Capability {
        add_capabilities: own(add),
        drop_capabilities: own(drop),
        add_ambient_capabilities: own(ambient),
    })
}

/// An added capability is in the permitted, effective and bounding set, not in the ambient one.
#[case(covers = ["security.caps.add", "security.caps.add-not-ambient", "security.caps.add-all"])]
async fn capabilities_are_added(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let answers = facts(&pod, &["caps"], |s| s.capabilities = capability(&["NET_ADMIN"], &[], &[])).await?;
    for set in ["permitted", "effective", "bounding"] {
        check!(
            names(&answers, set)?.contains(&"CAP_NET_ADMIN".to_owned()),
            format!("CAP_NET_ADMIN in the {set} set"),
            "it is missing"
        );
    }
    cx.record(
        "security.added-is-inheritable",
        names(&answers, "inheritable")?.contains(&"CAP_NET_ADMIN".to_owned()),
    );
    let answers = facts(&pod, &["caps"], |s| {
        s.capabilities = capability(&["NET_ADMIN"], &[], &[]);
        s.run_as_user = Some(v1::Int64Value { value: 1234 });
    });
    check_eq!(of "security.caps.add-not-ambient"; hex(&answers.await?, "ambient")?, 0, "ambient set of another user");
    let all = facts(&pod, &["caps"], |s| s.capabilities = capability(&["ALL"], &[], &[])).await?;
    check_eq!(of "security.caps.add-all"; hex(&all, "bounding")? & host_bounding(), host_bounding(), "bounding set with ALL");
    Ok(())
}

/// A dropped capability is in no set, and dropping wins over adding.
#[case(covers = ["security.caps.drop", "security.caps.drop-all", "security.caps.drop-all-add-one", "security.caps.add-and-drop-same"])]
async fn capabilities_are_dropped(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let sets = ["permitted", "effective", "bounding", "inheritable", "ambient"];
    let one = facts(&pod, &["caps"], |s| s.capabilities = capability(&[], &["CHOWN"], &[])).await?;
    for set in sets {
        check!(
            !names(&one, set)?.contains(&"CAP_CHOWN".to_owned()),
            format!("no CAP_CHOWN in the {set} set"),
            "it is there"
        );
    }
    let none = facts(&pod, &["caps"], |s| s.capabilities = capability(&[], &["ALL"], &[])).await?;
    for set in sets {
        check_eq!(of "security.caps.drop-all"; hex(&none, set)?, 0, "{set} set");
    }
    let only = facts(&pod, &["caps"], |s| s.capabilities = capability(&["CHOWN"], &["ALL"], &[])).await?;
    check_eq!(of "security.caps.drop-all-add-one"; names(&only, "bounding")?, ["CAP_CHOWN"], "bounding set");
    let both = facts(&pod, &["caps"], |s| s.capabilities = capability(&["CHOWN"], &["CHOWN"], &[])).await?;
    check!(of "security.caps.add-and-drop-same"; !names(&both, "bounding")?.contains(&"CAP_CHOWN".to_owned()), "no CAP_CHOWN", "it is there");
    Ok(())
}

/// Ambient capabilities reach processes of other users.
#[case(covers = ["security.caps.ambient", "security.caps.ambient-and-add"])]
async fn ambient_capabilities(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let answers = facts(&pod, &["caps"], |s| {
        s.capabilities = capability(&["NET_RAW"], &[], &["NET_BIND_SERVICE", "NET_RAW"]);
        s.run_as_user = Some(v1::Int64Value { value: 1234 });
    });
    let answers = answers.await?;
    for set in ["ambient", "effective", "permitted", "inheritable"] {
        check!(
            names(&answers, set)?.contains(&"CAP_NET_BIND_SERVICE".to_owned()),
            format!("CAP_NET_BIND_SERVICE in the {set} set"),
            "it is missing"
        );
    }
    check!(of "security.caps.ambient-and-add"; names(&answers, "ambient")?.contains(&"CAP_NET_RAW".to_owned()), "CAP_NET_RAW in the ambient set", "it is missing");
    Ok(())
}

/// An unknown capability is an error; names with and without prefix work.
#[case(covers = ["security.caps.unknown", "security.caps.prefix", "security.caps.case-insensitive"])]
async fn odd_capabilities(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for (name, key) in [("NET_ADMIN", "plain"), ("CAP_NET_ADMIN", "prefixed"), ("net_admin", "lower-case")] {
        let made =
            pod.container().security(|s| s.capabilities = capability(&[name], &[], &[])).try_create().await?;
        let works = match made {
            Ok(container) => container.start().await.is_ok(),
            Err(_) => false,
        };
        cx.record(&format!("security.capability-{key}"), works);
        check!(of "security.caps.prefix"; works || key != "plain", "names without the prefix work", "they do not");
    }
    pod.container()
        .security(|s| s.capabilities = capability(&["NO_SUCH_THING"], &[], &[]))
        .must_be_refused()
        .await?;
    Ok(())
}

/// A read-only root refuses writes; volumes and /dev/shm do not.
#[case(covers = ["security.rootfs.readonly", "security.rootfs.readonly-mounts-rw", "security.rootfs.writable"])]
async fn readonly_roots(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "volume")?;
    let pod = cri.run_pod().await?;
    let container =
        pod.container().security(|s| s.readonly_rootfs = true).mount(&dir, "/volume", |_| ()).start().await?;
    check_eq!(write(&container, "/x", "x").await?, Err(30), "writing into a read-only root");
    for path in ["/volume/x", "/dev/shm/x"] {
        check_eq!(of "security.rootfs.readonly-mounts-rw"; write(&container, path, "x").await?, Ok(()), "writing {path}");
    }
    let other = pod.container().start().await?;
    check_eq!(of "security.rootfs.writable"; write(&other, "/x", "x").await?, Ok(()), "writing into a root");
    Ok(())
}

/// What one container writes another one of the same image does not see.
#[case(covers = ["security.rootfs.isolated"])]
async fn roots_are_apart(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let (a, b) = (pod.container().start().await?, pod.container().start().await?);
    check_eq!(write(&a, "/mine", "x").await?, Ok(()), "writing into the root");
    check!(read(&b, "/mine").await?.is_err(), "the other container does not see it", "it does");
    Ok(())
}

/// Masked paths are empty, read-only paths refuse writes, and missing ones are ignored.
#[case(covers = [
    "security.masked-paths.masked", "security.masked-paths.nonexistent", "security.readonly-paths.readonly",
    "security.readonly-paths.nonexistent",
])]
async fn masked_and_readonly_paths(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let container = cri.run_pod().await?.container().security(|s| {
        s.masked_paths = own(&["/etc/passwd", "/home", "/no/such/path"]);
        s.readonly_paths = own(&["/tmp", "/no/such/other"]);
    });
    let container = container
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("security.masked-paths.nonexistent"))?;
    container.start().await.must_succeed().map_err(|s| s.of("security.masked-paths.nonexistent"))?;
    check_eq!(read(&container, "/etc/passwd").await?.unwrap_or_default(), "", "content of the masked file");
    let list = step(&container, &script().ask_with("listdir", json!({"path": "/home"})), "listdir").await?;
    check!(
        list.as_ref().is_ok_and(|l| l["entries"].as_array().is_some_and(Vec::is_empty)),
        "an empty masked directory",
        "{list:?}"
    );
    let other = cri.run_pod().await?.container().security(|s| s.readonly_paths = own(&["/no/such/other"]));
    let other = other.try_create().await?.must_succeed();
    let other = other.map_err(|s| s.of("security.readonly-paths.nonexistent"))?;
    other.start().await.must_succeed().map_err(|s| s.of("security.readonly-paths.nonexistent"))?;
    check_eq!(of "security.readonly-paths.readonly"; write(&container, "/tmp/x", "x").await?, Err(30), "writing to the read-only path");
    Ok(())
}

/// An empty list of masked paths masks nothing more than the runtime's default or nothing at all.
#[case(covers = ["security.masked-paths.empty-list"])]
async fn unmasked_paths(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().security(|s| s.masked_paths = vec!["/home".into()]).start().await?;
    let mounts = fact(&container, "mounts").await?;
    let masked = mounts["mounts"]
        .as_array()
        .map_or(0, |l| l.iter().filter(|m| m["mountpoint"] == "/proc/kcore").count());
    check_eq!(masked, 0, "masks that were not asked for");
    Ok(())
}
