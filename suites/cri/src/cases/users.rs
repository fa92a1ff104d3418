//! Users and groups of containers and pods.

use super::security::facts;
use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    users_by_number,
    users_by_name,
    bad_users_are_refused,
    users_of_the_image,
    passwd_links_do_not_leave,
    supplemental_groups,
    strict_groups,
    pod_groups_policy,
    pod_users,
];

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
pub(super) fn int(value: i64) -> Option<v1::Int64Value> {
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
        check!(of "security.user.username-and-uid"; uid == 4321 || uid == 1234, "one of the two users", "{uid}");
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
    let told = container.status().await?.user.and_then(|u| u.linux);
    // Endpoints that declare the groups policy tell the user; older ones need not.
    let must = cri.features().await?.supplemental_groups_policy;
    check!(of "container.status.user"; told.is_some() || !must, "the user in the status", "none");
    if let Some(user) = told {
        check!(of "security.groups.primary-included"; user.supplemental_groups.contains(&user.gid), "the primary group among the supplementary ones", "{:?}", user.supplemental_groups);
        check!(of "container.status.user"; user.uid == 1234 && user.gid == 1234, "the ids of the process", "{}:{}", user.uid, user.gid);
    }
    Ok(())
}

/// With the strict policy only the groups of the request are there.
#[case(covers = ["security.groups.strict", "status.features-suppgroups-truthful"])]
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
    if let Some(pid) = pod_pid_of(&pod).await? {
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
