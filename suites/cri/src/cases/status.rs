//! Status, runtime configuration and its update.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    conditions_are_true,
    verbose_info_only_when_asked,
    handlers_are_a_stable_set,
    readonly_flag_is_true,
    userns_flag_is_true,
    groups_flag_is_true,
    hostnet_userns_flag_is_true,
    mount_options_flag_is_true,
    runtime_config_tells_the_driver,
    pod_cidr_can_be_updated,
    false_conditions_have_a_reason,
];

async fn status(cri: &Cri, verbose: bool) -> Result<v1::StatusResponse, Stop> {
    cri.client().status(v1::StatusRequest { verbose }).await.must_succeed()
}

/// RuntimeReady and NetworkReady are there and true, and pods with and without a network run.
#[case(covers = [
    "status.conditions-present", "status.runtime-ready-true", "status.network-ready-true",
    "status.condition-default-false",
])]
async fn conditions_are_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let conditions = status(&cri, false).await?.status.unwrap_or_default().conditions;
    let find = |name: &str| conditions.iter().find(|c| c.r#type == name).map(|c| c.status);
    check!(
        conditions.len() >= 2 && find("RuntimeReady").is_some() && find("NetworkReady").is_some(),
        "RuntimeReady and NetworkReady",
        "{:?}",
        conditions.iter().map(|c| &c.r#type).collect::<Vec<_>>()
    );
    let host = cri.pod().host_network().try_run().await;
    check!(of "status.runtime-ready-true"; find("RuntimeReady") == Some(host.is_ok()),
        "RuntimeReady tells whether a host-network pod runs", "{:?}, pod runs: {}", find("RuntimeReady"), host.is_ok());
    let own = cri.pod().try_run().await;
    check!(of "status.network-ready-true"; find("NetworkReady") == Some(own.is_ok()),
        "NetworkReady tells whether a pod with its own network runs", "{:?}, pod runs: {}", find("NetworkReady"),
        own.is_ok());
    cx.record("status.conditions", conditions.iter().map(|c| c.r#type.clone()).collect::<Vec<_>>());
    Ok(())
}

/// The info map is empty unless verbose was asked, and its values are JSON.
#[case(covers = ["status.verbose-info-only", "status.verbose-info-json"])]
async fn verbose_info_only_when_asked(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    check!(status(&cri, false).await?.info.is_empty(), "no info", "some");
    let info = status(&cri, true).await?.info;
    for (key, value) in &info {
        check!(of "status.verbose-info-json"; serde_json::from_str::<Value>(value).is_ok(), "JSON values", "{key} is none");
    }
    Ok(())
}

/// A false condition has a CamelCase reason and a message.
#[case(covers = ["status.network-not-ready-reason"])]
async fn false_conditions_have_a_reason(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for condition in status(&cri, false).await?.status.unwrap_or_default().conditions {
        let word = condition.reason.chars().next().is_none_or(|c| c.is_ascii_uppercase())
            && condition.reason.chars().all(|c| c.is_ascii_alphanumeric());
        check!(word, "a reason that is one CamelCase word", "{:?}", condition.reason);
        check!(
            condition.status || (!condition.reason.is_empty() && !condition.message.is_empty()),
            "a false condition says why",
            "{} has reason {:?}",
            condition.r#type,
            condition.reason
        );
    }
    Ok(())
}

/// Runtime handlers have unique names, include the default one, and keep their order.
#[case(covers = [
    "status.runtime-handlers-unique", "status.runtime-handlers-default", "status.runtime-handlers-stable-order",
])]
async fn handlers_are_a_stable_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let handlers = status(&cri, false).await?.runtime_handlers;
    if handlers.is_empty() {
        return cri.not_applicable("runtime-handlers", "Status declares no handlers");
    }
    let names: Vec<_> = handlers.iter().map(|h| h.name.clone()).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    check_eq!(unique.len(), names.len(), "number of different handler names");
    check!(of "status.runtime-handlers-default"; names.iter().any(String::is_empty), "a handler with the empty name", "{names:?}");
    for _ in 0..10 {
        let again: Vec<_> = status(&cri, false).await?.runtime_handlers.into_iter().map(|h| h.name).collect();
        check_eq!(of "status.runtime-handlers-stable-order"; again, names, "handler names of a later call");
    }
    Ok(())
}

async fn features(cri: &Cri) -> Result<v1::RuntimeHandlerFeatures, Stop> {
    match cri.handler_features().await? {
        Some(features) => Ok(features),
        None => cri.not_applicable("runtime-handlers", "Status declares no handlers"),
    }
}

/// The flag for recursive read-only mounts tells the truth.
#[case(covers = ["status.handler-feature-rro-truthful", "container.mount.rro-unsupported-error"])]
async fn readonly_flag_is_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let claimed = features(&cri).await?.recursive_read_only_mounts;
    let dir = host_dir(&cri, "rro")?;
    let pod = cri.run_pod().await?;
    let made = pod
        .container()
        .mount(&dir, "/rro", |m| {
            m.readonly = true;
            m.recursive_read_only = true;
        })
        .try_create()
        .await?;
    let id =
        if claimed { "status.handler-feature-rro-truthful" } else { "container.mount.rro-unsupported-error" };
    check_eq!(of id; made.is_ok(), claimed, "whether a recursive read-only mount is accepted");
    Ok(())
}

/// The flag for user namespaces tells the truth.
#[case(covers = ["status.handler-feature-userns-truthful"])]
async fn userns_flag_is_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let claimed = features(&cri).await?.user_namespaces;
    let run = super::userns::pod(&cri).try_run().await;
    check_eq!(run.is_ok(), claimed, "whether a pod with a user namespace runs");
    Ok(())
}

/// The flag for the groups policy tells the truth.
#[case(covers = ["status.features-suppgroups-truthful"])]
async fn groups_flag_is_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.features().await?.supplemental_groups_policy {
        return cri.not_applicable("supplemental-groups-policy", "Status.features does not declare it");
    }
    let container = cri.run_pod().await?.container().start().await?;
    check!(container.status().await?.user.is_some_and(|u| u.linux.is_some()), "ContainerStatus.user", "none");
    Ok(())
}

/// The flag for user namespaces on the host network tells the truth.
#[case(covers = ["status.features-userns-hostnet-truthful", "sandbox.userns.hostnet"])]
async fn hostnet_userns_flag_is_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !features(&cri).await?.user_namespaces {
        return cri.not_applicable("user-namespaces", "the handler does not declare them");
    }
    let claimed = cri.features().await?.user_namespaces_host_network;
    let run = super::userns::pod(&cri).host_network().try_run().await;
    let id = if claimed { "status.features-userns-hostnet-truthful" } else { "sandbox.userns.hostnet" };
    check_eq!(of id; run.is_ok(), claimed, "whether a host-network pod with a user namespace runs");
    Ok(())
}

/// The flag for mount options tells the truth.
#[case(covers = ["status.features-mount-options-truthful", "container.mount.options", "container.mount.options-unknown"])]
async fn mount_options_flag_is_true(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    if !cri.features().await?.mount_options {
        return cri.not_applicable("mount-options", "Status.features does not declare them");
    }
    let dir = host_dir(&cri, "options")?;
    let pod = cri.run_pod().await?;
    let options = ["noexec", "nodev", "nosuid"].map(ToOwned::to_owned).to_vec();
    let container = pod.container().mount(&dir, "/data", |m| m.mount_options = options).try_create().await?;
    let container = container.must_succeed()?;
    container.start().await.must_succeed()?;
    let script = script().ask_with("statfs", json!({"path": "/data"}));
    let facts = container.ask(&script).await?;
    let flags = facts.facts("statfs")?["flags"].to_string();
    check!(of "container.mount.options";
        ["noexec", "nodev", "nosuid"].iter().all(|f| flags.contains(f)),
        "noexec, nodev and nosuid",
        "{flags}"
    );
    let odd = vec!["no-such-option".to_owned()];
    let refused = pod.container().mount(&dir, "/data", |m| m.mount_options = odd).must_be_refused().await;
    refused.map_err(|s| s.of("container.mount.options-unknown"))?;
    Ok(())
}

/// RuntimeConfig answers the same cgroup driver again and again, and it is the one in use.
#[case(covers = [
    "runtimeconfig.cgroup-driver-truthful", "runtimeconfig.implemented", "runtimeconfig.linux-set",
    "runtimeconfig.repeatable", "runtimeconfig.static",
])]
async fn runtime_config_tells_the_driver(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("RuntimeConfig").await?;
    let get = || async { cri.client().runtime_config(v1::RuntimeConfigRequest {}).await.must_succeed() };
    let first = get().await.map_err(|s| s.of("runtimeconfig.implemented"))?;
    get().await.map_err(|s| s.of("runtimeconfig.repeatable"))?;
    let Some(linux) = first.linux else {
        return Err(Stop::violation("linux is set", "it is missing").of("runtimeconfig.linux-set"));
    };
    let systemd = linux.cgroup_driver == v1::CgroupDriver::Systemd as i32;
    let parent = if systemd { "plimsoll-driver.slice" } else { "/plimsoll-driver" };
    let pod = cri.pod().linux(|l| l.cgroup_parent = parent.into()).try_run().await.must_succeed()?;
    let container = pod.container().start().await?;
    if let Some(pid) = pid_of(&container).await? {
        let dir = cgroup_of(pid, "memory").map(|d| d.display().to_string()).unwrap_or_default();
        check!(
            dir.contains(parent.trim_start_matches('/')),
            "the container's cgroup is below the parent",
            "{dir}"
        );
        // A parent's name is taken by both drivers; only systemd puts a container into a scope.
        check_eq!(
            std::path::Path::new(&dir)
                .iter()
                .any(|part| std::path::Path::new(part).extension().is_some_and(|e| e == "scope")),
            systemd,
            "whether the container is in a scope"
        );
    }
    let again = get().await?;
    check_eq!(of "runtimeconfig.static"; again.linux.map(|l| l.cgroup_driver), Some(linux.cgroup_driver),
        "cgroup driver after a pod was run");
    Ok(())
}

/// The pod CIDR can be updated; nothing in it is no error.
#[case(covers = [
    "updateruntimeconfig.accepts-pod-cidr", "updateruntimeconfig.empty-cidr-ignored", "updateruntimeconfig.nil-config",
])]
async fn pod_cidr_can_be_updated(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let update = |cidr: Option<&str>| {
        let network_config = cidr.map(|c| v1::NetworkConfig { pod_cidr: c.into() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        cri.client().update_runtime_config(v1::UpdateRuntimeConfigRequest { runtime_config })
    };
    update(Some("10.88.0.0/16")).await.must_succeed()?;
    update(Some("")).await.must_succeed().map_err(|s| s.of("updateruntimeconfig.empty-cidr-ignored"))?;
    let nil = cri.client().update_runtime_config(v1::UpdateRuntimeConfigRequest::default()).await;
    check!(of "updateruntimeconfig.nil-config"; nil.is_ok() || nil.as_ref().is_err_and(|e| e.code == Code::InvalidArgument),
        "success or InvalidArgument", "{:?}", nil.map_err(|e| e.code));
    cri.client().version(v1::VersionRequest::default()).await.must_succeed()?;
    Ok(())
}
