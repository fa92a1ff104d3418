//! Users, groups, capabilities, seccomp, paths and privileges of a container.

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
    users_by_number,
    users_by_name,
    bad_users_are_refused,
    users_of_the_image,
    passwd_links_do_not_leave,
    supplemental_groups,
    strict_groups,
    pod_groups_policy,
    readonly_roots,
    roots_are_apart,
    no_new_privileges,
    masked_and_readonly_paths,
    unmasked_paths,
    seccomp_kinds,
    seccomp_by_file,
    bad_seccomp_files,
    seccomp_adapts,
    pods_have_their_own_profile,
    apparmor_profiles,
    selinux_labels,
    pod_users,
];

async fn facts(
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

fn profile(kind: ProfileType, file: &str) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: file.into() }
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
    cx.record("security.privileged-cgroup", at("/sys/fs/cgroup")["options"].clone());
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
fn capability(add: &[&str], drop: &[&str], ambient: &[&str]) -> Option<v1::Capability> {
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

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
fn int(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

/// A user by number gets the group asked for, or that of the image's passwd file, or 0.
#[case(covers = [
    "security.user.run-as-user", "security.user.run-as-user-unknown-uid", "security.user.run-as-user-passwd-gid",
    "security.user.run-as-group",
])]
async fn users_by_number(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for (id, uid, group, expected) in [
        ("security.user.run-as-user-unknown-uid", 4321, None, 0),
        ("security.user.run-as-user-passwd-gid", 1234, None, 1234),
        ("security.user.run-as-group", 1234, Some(5555), 5555),
    ] {
        let answers = facts(&pod, &["identity"], |s| {
            s.run_as_user = int(uid);
            s.run_as_group = group.and_then(int);
        });
        let answers = answers.await.map_err(|s| s.of(id))?;
        let identity = answers.facts("identity")?;
        check_eq!(identity["uid"], uid, "user id");
        check_eq!(of id; identity["gid"], expected, "group id of user {uid}");
    }
    Ok(())
}

/// A user by name is looked up in the image, and has its home.
#[case(covers = ["security.user.run-as-username", "security.user.home-env", "security.user.username-and-uid"])]
async fn users_by_name(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let answers = facts(&pod, &["identity", "env"], |s| s.run_as_username = "plimsoll".into()).await?;
    check_eq!(answers.facts("identity")?["uid"], 1234, "user id");
    check!(of "security.user.home-env"; answers.facts("env")?["env"].to_string().contains("HOME=/home/plimsoll"), "HOME=/home/plimsoll", "another");
    let both = pod.container().security(|s| {
        s.run_as_username = "plimsoll".into();
        s.run_as_user = int(4321);
    });
    let Ok(container) = both.try_create().await? else { return Ok(()) };
    if container.start().await.is_ok() {
        let uid = fact(&container, "identity").await?["uid"].clone();
        cx.record("security.username-and-uid", uid.clone());
        check_ne!(uid, 0, "user id with both a name and a number");
    }
    Ok(())
}

/// A group without a user, and an unknown name, are refused.
#[case(covers = ["security.user.group-without-user", "security.user.username-unknown", "security.groups.invalid-policy"])]
async fn bad_users_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    pod.container().security(|s| s.run_as_group = int(5)).must_be_refused().await?;
    pod.container()
        .security(|s| s.run_as_username = "nobody-here".into())
        .must_be_refused()
        .await
        .map_err(|s| s.of("security.user.username-unknown"))?;
    if cri.features().await?.supplemental_groups_policy {
        pod.container()
            .security(|s| s.supplemental_groups_policy = 99)
            .must_be_refused()
            .await
            .map_err(|s| s.of("security.groups.invalid-policy"))?;
    }
    Ok(())
}

/// Without a user in the request the image's is used, in all its forms.
#[case(covers = ["security.user.image-user-default"])]
async fn users_of_the_image(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for (n, (user, uid, gid)) in [
        ("1234", 1234, 1234),
        ("plimsoll", 1234, 1234),
        ("1234:2001", 1234, 2001),
        ("plimsoll:extra", 1234, 2001),
    ]
    .into_iter()
    .enumerate()
    {
        let image = cri.pull(&format!("user-{n}"), &cri.catalogue().user(user)).await?;
        let answers = pod.container().image(&image.id).answers(&ask(["identity"])).await?;
        let identity = answers.facts("identity")?;
        check!(
            identity["uid"] == uid && identity["gid"] == gid,
            format!("{uid}:{gid} for the image's user {user}"),
            "{}:{}",
            identity["uid"],
            identity["gid"]
        );
    }
    Ok(())
}

/// A passwd file that is a link reads no file of the host.
#[case(covers = ["security.user.passwd-symlink-escape"])]
async fn passwd_links_do_not_leave(cx: &mut Cx) -> Verdict {
    use plimsoll_kit::cri::images_kit::{Image, Layer};
    let cri = cx.cri()?;
    let secret = host_file(&cri, "passwd", "outsider:x:4242:4242::/:/x\n")?;
    let layer =
        Layer::new().file("probe", probe::PROBE, 0o755).dir("etc", 0o755).symlink("etc/passwd", &secret);
    let image = cri.pull("link", &Image::new().layer(layer).build()).await?;
    let made =
        cri.run_pod().await?.container().image(&image.id).security(|s| s.run_as_username = "outsider".into());
    made.must_be_refused().await?;
    Ok(())
}

fn groups(answers: &Answers) -> Result<Vec<u64>, Stop> {
    let list = answers.facts("identity")?["groups"].as_array().cloned().unwrap_or_default();
    let mut list: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
    list.sort_unstable();
    Ok(list)
}

/// Groups of the request are added to those of the image.
#[case(covers = ["security.groups.supplemental", "security.groups.merge-default", "security.groups.primary-included", "container.status.user"])]
async fn supplemental_groups(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let answers = facts(&pod, &["identity"], |s| {
        s.run_as_user = int(1234);
        s.supplemental_groups = vec![3001];
    });
    let found = groups(&answers.await?)?;
    check!(found.contains(&3001), "the group of the request", "{found:?}");
    check!(of "security.groups.merge-default"; found.contains(&2001) && found.contains(&2002), "the groups of the image", "{found:?}");
    cx.record("security.primary-in-groups", found.contains(&1234));
    let container = pod.container().security(|s| s.run_as_user = int(1234)).start().await?;
    if let Some(user) = container.status().await?.user.and_then(|u| u.linux) {
        check!(of "container.status.user"; user.uid == 1234 && user.gid == 1234, "the ids of the process", "{}:{}", user.uid, user.gid);
    }
    Ok(())
}

/// With the strict policy only the groups of the request are there.
#[case(covers = ["security.groups.strict"])]
async fn strict_groups(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.features().await?.supplemental_groups_policy {
        return cri.not_applicable("supplemental-groups-policy", "Status.features does not declare it");
    }
    let pod = cri.run_pod().await?;
    let answers = facts(&pod, &["identity"], |s| {
        s.run_as_user = int(1234);
        s.supplemental_groups = vec![3001];
        s.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict as i32;
    });
    let found = groups(&answers.await?)?;
    check!(!found.contains(&2001) && found.contains(&3001), "only the groups of the request", "{found:?}");
    Ok(())
}

/// A pod with an unknown groups policy is refused.
#[case(covers = ["sandbox.supplemental-groups-policy", "sandbox.supplemental-groups"])]
async fn pod_groups_policy(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.features().await?.supplemental_groups_policy {
        return cri.not_applicable("supplemental-groups-policy", "Status.features does not declare it");
    }
    cri.pod().security(|s| s.supplemental_groups_policy = 99).try_run().await.must_fail()?;
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

/// With no_new_privs a set-user-id program gives nothing; without it does.
#[case(covers = ["security.nnp.true", "security.nnp.false", "security.nnp.seccomp-order"])]
async fn no_new_privileges(cx: &mut Cx) -> Verdict {
    use plimsoll_kit::cri::images_kit::Layer;
    let cri = cx.cri()?;
    let layer = Layer::new().file("suid", probe::PROBE, 0o4755);
    let image = cri.pull("suid", &cri.catalogue().waiting().layer(layer).build()).await?;
    let pod = cri.run_pod().await?;
    for (nnp, euid, id) in [(true, 1234, "security.nnp.true"), (false, 0, "security.nnp.false")] {
        let container = pod.container().image(&image.id).security(|s| {
            s.run_as_user = int(1234);
            s.no_new_privs = nnp;
            s.seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
        });
        let container = container.start().await?;
        let inner = ask(["identity"]).text("inner", None);
        let run = script()
            .act("exec", json!({"path": "/suid", "argv": ["suid", inner]}))
            .ask("seccomp")
            .ask("no_new_privs");
        let answers = container.ask(&run).await?;
        let out = answers.facts("exec")?["stdout"]["data"].as_str().unwrap_or_default().to_owned();
        let inside = Answers::parse(&out, "inner");
        check_eq!(of id; inside.facts("identity")?["euid"], euid, "effective user of a set-user-id program");
        check_eq!(of id; answers.facts("no_new_privs")?["no_new_privs"], nnp, "no_new_privs");
        check_eq!(of "security.nnp.seccomp-order"; answers.facts("seccomp")?["mode"], 2, "seccomp mode of another user");
    }
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

/// Unconfined is no seccomp, the default profile refuses what is known to be dangerous.
#[case(covers = ["security.seccomp.unconfined", "security.seccomp.runtime-default", "security.seccomp.nil-profile", ])]
async fn seccomp_kinds(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let free = facts(&pod, &["seccomp"], |s| s.seccomp = Some(profile(ProfileType::Unconfined, ""))).await?;
    check_eq!(free.facts("seccomp")?["mode"], 0, "seccomp mode of an unconfined container");
    let calls = script()
        .ask("seccomp")
        .act("syscall", json!({"name": "keyctl", "args": [0, 0], "fork": true}))
        .act("syscall", json!({"name": "kexec_load", "args": [0, 0, null, 0], "fork": true}))
        .act("syscall", json!({"name": "unshare", "args": [0x1000_0000], "fork": true}));
    let confined = pod
        .container()
        .security(|s| s.seccomp = Some(profile(ProfileType::RuntimeDefault, "")))
        .answers(&calls)
        .await?;
    check_eq!(of "security.seccomp.runtime-default"; confined.facts("seccomp")?["mode"], 2, "seccomp mode with the default profile");
    for answer in confined.all("syscall") {
        let facts: Value = answer.result.clone().unwrap_or_default();
        check!(of "security.seccomp.runtime-default"; facts["errno"] == 1 || facts["errno"] == 38 || facts["signal"].is_string(), "dangerous calls are refused", "{facts}");
    }
    let nil = facts(&pod, &["seccomp"], |s| s.seccomp = None).await?;
    cx.record("security.seccomp-without-profile", nil.facts("seccomp")?["mode"].clone());
    check_eq!(of "security.seccomp.nil-profile"; nil.facts("seccomp")?["mode"], 0, "seccomp mode without a profile");
    Ok(())
}

const BLOCK_MKDIR: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_AARCH64"],
"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":77}]}"#;

/// A profile by file is applied, with its own error number.
#[case(covers = ["security.seccomp.localhost", "security.seccomp.localhost-errno-ret"])]
async fn seccomp_by_file(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let file = host_file(&cri, "profile.json", BLOCK_MKDIR)?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .security(|s| s.seccomp = Some(profile(ProfileType::Localhost, &file)));
    let container = container.start().await?;
    let made = step(&container, &script().act("mkdir", json!({"path": "/tmp/x"})), "mkdir").await?;
    check!(made.is_err(), "the call is refused", "it works");
    check_eq!(of "security.seccomp.localhost-errno-ret"; made.map(|_| ()), Err(77), "errno of the refused call");
    Ok(())
}

/// A profile that is missing, broken or relative is an error.
#[case(covers = [
    "security.seccomp.localhost-missing", "security.seccomp.localhost-invalid-json",
    "sandbox.security-profile.localhost-abs-path", "sandbox.security-profile.localhost-ref-only-localhost",
])]
async fn bad_seccomp_files(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let with = |file: &str| {
        let profile = profile(ProfileType::Localhost, file);
        pod.container().security(|s| s.seccomp = Some(profile))
    };
    with(&cri.dir().join("missing.json").display().to_string()).must_be_refused().await?;
    let broken = host_file(&cri, "broken.json", "{\"defaultAction\":")?;
    with(&broken).must_be_refused().await.map_err(|s| s.of("security.seccomp.localhost-invalid-json"))?;
    let relative = profile(ProfileType::Localhost, "profile.json");
    let run = cri.pod().security(|s| s.seccomp = Some(relative)).try_run().await.must_fail();
    run.map_err(|s| s.of("sandbox.security-profile.localhost-abs-path"))?;
    let stray = profile(ProfileType::RuntimeDefault, &broken);
    let run = cri.pod().security(|s| s.seccomp = Some(stray)).try_run().await;
    run.must_succeed().map_err(|s| s.of("sandbox.security-profile.localhost-ref-only-localhost"))?;
    Ok(())
}

/// The default profile allows what an added capability needs.
#[case(covers = ["security.seccomp.sys-admin-allows"])]
async fn seccomp_adapts(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().security(|s| {
        s.seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
        s.capabilities = capability(&["SYS_ADMIN"], &[], &[]);
    });
    let container = container.start().await?;
    let renamed =
        step(&container, &script().act("set_hostname", json!({"name": "renamed"})), "set_hostname").await?;
    check!(renamed.is_ok(), "sethostname works with SYS_ADMIN", "errno {:?}", renamed.err());
    Ok(())
}

/// A pod's profile is the sandbox's own and does not reach into containers.
#[case(covers = ["sandbox.seccomp.runtime-default", "sandbox.seccomp.applies-not-to-containers", ])]
async fn pods_have_their_own_profile(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let default = profile(ProfileType::RuntimeDefault, "");
    let pod = cri.pod().security(|s| s.seccomp = Some(default)).try_run().await.must_succeed()?;
    let answers =
        facts(&pod, &["seccomp"], |s| s.seccomp = Some(profile(ProfileType::Unconfined, ""))).await?;
    check_eq!(of "sandbox.seccomp.applies-not-to-containers"; answers.facts("seccomp")?["mode"], 0, "seccomp mode of an unconfined container");
    let info = pod.try_status(true).await.must_succeed()?.info;
    let pid = info
        .values()
        .filter_map(|v| serde_json::from_str::<Value>(v).ok())
        .find_map(|v| v["pid"].as_i64())
        .unwrap_or(0);
    if pid > 0 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mode = status
            .lines()
            .find_map(|l| l.strip_prefix("Seccomp:"))
            .map(str::trim)
            .unwrap_or_default()
            .to_owned();
        check_eq!(mode, "2", "seccomp mode of the sandbox process");
    }
    Ok(())
}

fn has_lsm(name: &str) -> bool {
    std::fs::read_to_string("/sys/kernel/security/lsm")
        .unwrap_or_default()
        .split(',')
        .any(|l| l.trim() == name)
}

/// AppArmor profiles are applied, and one that is not loaded is an error.
#[case(covers = [
    "security.apparmor.not-loaded", "security.apparmor.unconfined",
    "security.apparmor.runtime-default", "security.apparmor.typed-wins", ])]
async fn apparmor_profiles(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(has_lsm("apparmor"), "apparmor", "the kernel does not enforce AppArmor")?;
    let pod = cri.run_pod().await?;
    pod.container()
        .security(|s| s.apparmor = Some(profile(ProfileType::Localhost, "plimsoll-not-loaded")))
        .must_be_refused()
        .await?;
    let free = facts(&pod, &["label"], |s| s.apparmor = Some(profile(ProfileType::Unconfined, ""))).await?;
    check!(of "security.apparmor.unconfined"; free.facts("label")?.to_string().contains("unconfined"), "unconfined", "{}", free.facts("label")?);
    let default =
        facts(&pod, &["label"], |s| s.apparmor = Some(profile(ProfileType::RuntimeDefault, ""))).await?;
    check!(of "security.apparmor.runtime-default"; !default.facts("label")?["current"].to_string().contains("unconfined"), "a profile", "unconfined");
    let both = facts(&pod, &["label"], |s| {
        s.apparmor = Some(profile(ProfileType::Unconfined, ""));
        set_deprecated(s, "runtime/default");
    });
    check!(of "security.apparmor.typed-wins"; both.await?.facts("label")?["current"].to_string().contains("unconfined"), "the typed field", "the text");
    Ok(())
}

#[expect(deprecated, reason = "servers must still understand it")]
fn set_deprecated(security: &mut v1::LinuxContainerSecurityContext, profile: &str) {
    security.apparmor_profile = profile.into();
}

/// SELinux labels are applied, and invalid ones refused.
#[case(covers = [
    "security.selinux.options", "security.selinux.invalid", ])]
async fn selinux_labels(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(has_lsm("selinux"), "selinux", "the kernel does not enforce SELinux")?;
    let label = v1::SeLinuxOption {
        user: "system_u".into(),
        role: "system_r".into(),
        r#type: "container_t".into(),
        level: "s0:c4,c5".into(),
    };
    let pod = cri.run_pod().await?;
    let own = label.clone();
    let answers = facts(&pod, &["label"], |s| s.selinux_options = Some(own)).await?;
    check!(
        answers.facts("label")?["current"].to_string().contains("s0:c4,c5"),
        "the label",
        "{}",
        answers.facts("label")?["current"]
    );
    let bad = v1::SeLinuxOption { level: "no-level".into(), ..label };
    pod.container()
        .security(|s| s.selinux_options = Some(bad))
        .must_be_refused()
        .await
        .map_err(|s| s.of("security.selinux.invalid"))?;
    Ok(())
}

/// A pod's group without a user is refused; its user and root are the sandbox's own.
#[case(covers = ["sandbox.run-as-group-needs-user", "sandbox.run-as-user", "sandbox.readonly-rootfs"])]
async fn pod_users(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.pod().security(|s| s.run_as_group = int(5)).try_run().await.must_fail()?;
    let pod = cri.pod().security(|s| {
        s.run_as_user = int(65_534);
        s.readonly_rootfs = true;
    });
    let pod = pod.try_run().await.must_succeed().map_err(|s| s.of("sandbox.run-as-user"))?;
    let info = pod.try_status(true).await.must_succeed()?.info;
    let pid = info
        .values()
        .filter_map(|v| serde_json::from_str::<Value>(v).ok())
        .find_map(|v| v["pid"].as_i64())
        .unwrap_or(0);
    if pid > 0 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|l| l.strip_prefix("Uid:"))
            .and_then(|l| l.split_whitespace().next())
            .unwrap_or_default()
            .to_owned();
        check_eq!(of "sandbox.run-as-user"; uid, "65534", "user of the sandbox process");
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let root = mounts.lines().find(|l| l.split(' ').nth(4) == Some("/")).unwrap_or_default();
        check!(of "sandbox.readonly-rootfs"; root.split(' ').nth(5).is_some_and(|o| o.split(',').any(|o| o == "ro")), "a read-only root", "another");
    }
    Ok(())
}
