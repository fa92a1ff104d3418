//! Life of a pod sandbox: run, status, list, stop, remove.

use crate::prelude::*;
use futures_util::future::join_all;

/// The table of this file.
pub static CASES: &[Case] = &[
    run_gives_a_ready_pod,
    ids_are_unique,
    incomplete_configs_are_refused,
    the_same_pod_runs_once,
    attempts_and_names_tell_pods_apart,
    handlers_choose_the_runtime,
    long_names_are_accepted,
    status_matches_the_request,
    verbose_status_is_json,
    containers_statuses_match,
    list_filters_select,
    list_works_during_churn,
    stop_is_idempotent_and_ends_containers,
    stop_of_a_dead_pod_works,
    remove_is_idempotent_and_complete,
    remove_takes_running_containers,
    a_dead_pause_process_is_noticed,
    stream_equals_list,
    resources_can_be_told,
    the_pause_container_is_hidden,
];

/// A pod is ready, listed and known by its id as soon as RunPodSandbox returns.
#[case(covers = [
    "sandbox.run.ready-on-success", "sandbox.run.returns-id", "sandbox.run.listed-immediately",
    "sandbox.config.cgroup-parent.empty", "sandbox.log-directory.created-or-exists", "sandbox.run.handler-empty-default",
])]
async fn run_gives_a_ready_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let bare = cri.pod().handler("").linux(|l| l.cgroup_parent.clear());
    bare.try_run().await.must_succeed().map_err(|s| s.of("sandbox.run.handler-empty-default"))?;
    let own = cri.pod().linux(|l| l.cgroup_parent.clear()).try_run().await;
    own.must_succeed().map_err(|s| s.of("sandbox.config.cgroup-parent.empty"))?;
    let pod = cri.pod().try_run().await.must_succeed()?;
    check!(of "sandbox.run.returns-id"; !pod.id.is_empty(), "an id", "none");
    check_eq!(pod.status().await?.state(), v1::PodSandboxState::SandboxReady, "state right after the run");
    let listed = pod.listed().await?;
    check!(of "sandbox.run.listed-immediately"; listed.is_some(), "the pod is listed", "it is not");
    let missing = cri.pod().with(|c| c.log_directory.push_str("/not/yet/there"));
    std::fs::remove_dir_all(&missing.config().log_directory).ok();
    let other = missing.try_run().await;
    check!(of "sandbox.log-directory.created-or-exists"; other.as_ref().map_or_else(plimsoll_kit::cri::CallError::is_answer, |_| true),
        "a pod, or a clear refusal", "{:?}", other.map(|_| ()).map_err(|e| e.kind));
    Ok(())
}

/// Every run gives another id.
#[case(covers = ["sandbox.run.id-unique"])]
async fn ids_are_unique(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let pod = cri.pod().host_network().run().await?;
        check!(seen.insert(pod.id.clone()), "an id that no earlier pod had", "one came twice");
        pod.stop().await.setup()?;
        pod.remove().await.setup()?;
    }
    Ok(())
}

/// A pod without configuration or metadata is refused, and nothing of it stays.
#[case(covers = ["sandbox.run.missing-config", "sandbox.run.missing-metadata", "sandbox.run.failed-run-leaves-nothing"])]
async fn incomplete_configs_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.client().run_pod_sandbox(v1::RunPodSandboxRequest::default()).await.must_fail()?;
    let refused = cri.pod().with(|c| c.metadata = None).try_run().await.must_fail();
    refused.map_err(|s| s.of("sandbox.run.missing-metadata"))?;
    cri.pod().handler("no-such-handler").try_run().await.must_fail()?;
    let pods =
        cri.client().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.must_succeed()?.items;
    let mine = pods
        .iter()
        .filter(|p| {
            p.labels.get(plimsoll_kit::cri::TAG_LABEL).is_some_and(|t| t == cri.tag()) && p.state == 0
        })
        .count();
    check_eq!(of "sandbox.run.failed-run-leaves-nothing"; mine, 0, "ready pods after refused runs");
    Ok(())
}

/// Running the same pod again makes no second live one.
#[case(covers = ["sandbox.run.metadata-identity"])]
async fn the_same_pod_runs_once(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let builder = cri.pod();
    let first = builder.clone().run().await?;
    match builder.try_run().await {
        Ok(second) => {
            cx.record("sandbox.run-twice", "same id");
            check!(second.id == first.id, "the id of the first pod, or an error", "a second pod");
        }
        Err(error) => cx.record("sandbox.run-twice", format!("{:?}", error.code)),
    }
    Ok(())
}

/// Another attempt is another pod, and after its removal a pod's name is free again.
#[case(covers = ["sandbox.run.attempt-distinguishes", "sandbox.run.name-released-after-remove"])]
async fn attempts_and_names_tell_pods_apart(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let builder = cri.pod().host_network();
    let first = builder.clone().run().await?;
    let next = builder.clone().with(|c| {
        if let Some(m) = &mut c.metadata {
            m.attempt = 1;
        }
    });
    let second = next.try_run().await.must_succeed()?;
    check_ne!(second.id, first.id, "id of the next attempt");
    first.stop().await.setup()?;
    first.remove().await.setup()?;
    let again =
        builder.try_run().await.must_succeed().map_err(|s| s.of("sandbox.run.name-released-after-remove"))?;
    check_ne!(again.id, first.id, "id of the pod that was run again");
    Ok(())
}

/// An unknown handler is refused; the handler of a pod is told.
#[case(covers = ["sandbox.run.handler-unknown-rejected", "sandbox.run.handler-roundtrip"])]
async fn handlers_choose_the_runtime(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.pod().handler("no-such-handler").try_run().await.must_fail()?;
    let pod = cri.run_pod().await?;
    check_eq!(of "sandbox.run.handler-roundtrip"; pod.status().await?.runtime_handler, cri.handler(), "handler in the status");
    let listed = pod.listed().await?.unwrap_or_default();
    check_eq!(of "sandbox.run.handler-roundtrip"; listed.runtime_handler, cri.handler(), "handler in the list");
    Ok(())
}

/// A pod name of 253 characters is accepted.
#[case(covers = ["sandbox.run.metadata-long-names"])]
async fn long_names_are_accepted(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let name = format!("{}{}", cri.name("n"), "x".repeat(253))[..253].to_owned();
    let pod = cri.pod().host_network().with(|c| {
        if let Some(m) = &mut c.metadata {
            m.name.clone_from(&name);
        }
    });
    let pod = pod.try_run().await.must_succeed()?;
    check_eq!(pod.status().await?.metadata.unwrap_or_default().name, name, "name");
    Ok(())
}

/// The status says what was asked for, when the pod was made and where it is in the network.
#[case(covers = [
    "sandbox.status.required-fields", "sandbox.status.created-at-ns", "sandbox.status.created-at-stable",
    "sandbox.status.network-ip", "sandbox.status.additional-ips", "sandbox.status.hostnet-ip-empty",
    "sandbox.list.fields",
])]
async fn status_matches_the_request(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let before = now_ns();
    let pod = cri.pod().with(|c| {
        c.annotations.insert("plimsoll.test/note".into(), "kept".into());
        c.labels.insert("plimsoll.test/kind".into(), "shown".into());
    });
    let pod = pod.run().await?;
    let after = now_ns();
    let status = pod.status().await?;
    check_eq!(status.id, pod.id, "id");
    check_eq!(status.metadata, Some(pod.metadata()), "metadata");
    check!(of "sandbox.status.created-at-ns"; (before..=after).contains(&status.created_at),
        "created_at is in nanoseconds, between before and after the call", "it is not");
    let network = status.network.clone().unwrap_or_default();
    check!(of "sandbox.status.network-ip"; network.ip.parse::<std::net::IpAddr>().is_ok(), "an IP address", "{:?}", network.ip);
    let more: std::collections::BTreeSet<_> =
        network.additional_ips.iter().map(|i| i.ip.clone()).chain([network.ip.clone()]).collect();
    check_eq!(of "sandbox.status.additional-ips"; more.len(), network.additional_ips.len() + 1,
        "number of different addresses");
    let listed = pod.listed().await?.unwrap_or_default();
    let seen =
        (listed.id, listed.metadata, listed.state, listed.labels, listed.annotations, listed.runtime_handler);
    let expected =
        (status.id, status.metadata, status.state, status.labels, status.annotations, status.runtime_handler);
    check!(of "sandbox.list.fields"; seen == expected, "the list says the same as the status", "{seen:?}");
    check_eq!(of "sandbox.status.created-at-stable"; listed.created_at, status.created_at, "created_at in the list");
    let host = cri.pod().host_network().run().await?.status().await?.network.unwrap_or_default();
    cx.record("sandbox.hostnet-ip", if host.ip.is_empty() { "empty" } else { "set" });
    Ok(())
}

/// The verbose status has JSON values, the plain one has none.
#[case(covers = ["sandbox.status.verbose-info", "sandbox.config.cgroup-parent.in-verbose", "sandbox.status.truncated-id"])]
async fn verbose_status_is_json(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    check!(pod.try_status(false).await.must_succeed()?.info.is_empty(), "no info unless verbose", "some");
    let info = pod.try_status(true).await.must_succeed()?.info;
    check!(info.values().all(|v| serde_json::from_str::<Value>(v).is_ok()), "JSON values", "another text");
    cx.record("sandbox.verbose-tells-cgroup", info.values().any(|v| v.contains("cgroup")));
    let short =
        v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.chars().take(8).collect(), verbose: false };
    cx.record("sandbox.id-prefix", cri.client().pod_sandbox_status(short).await.is_ok());
    Ok(())
}

/// Container statuses in a pod's status, where there are any, equal those of ContainerStatus.
#[case(covers = ["sandbox.status.containers-statuses", "sandbox.status.timestamp"])]
async fn containers_statuses_match(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    let answer = pod.try_status(false).await.must_succeed()?;
    cx.record("sandbox.containers-statuses", !answer.containers_statuses.is_empty());
    if answer.timestamp == 0 {
        return Ok(());
    }
    let own = container.status().await?;
    let within: Vec<_> = answer.containers_statuses.iter().map(|s| (s.id.clone(), s.state)).collect();
    check_eq!(within, vec![(own.id, own.state)], "container ids and states in the pod's status");
    let again = pod.try_status(false).await.must_succeed()?.timestamp;
    check!(of "sandbox.status.timestamp"; again >= answer.timestamp, "a timestamp that does not go back", "it went back");
    Ok(())
}

fn ids(pods: &[v1::PodSandbox]) -> Vec<&str> {
    let mut ids: Vec<&str> = pods.iter().map(|p| p.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Filters by id, state and labels select exactly, and combine.
#[case(covers = [
    "sandbox.list.filter-id", "sandbox.list.nil-filter", "sandbox.list.filter-id-unknown", "sandbox.list.filter-state",
    "sandbox.list.filter-labels", "sandbox.list.filter-and",
])]
async fn list_filters_select(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let label = |color: &'static str| {
        move |c: &mut v1::PodSandboxConfig| {
            c.labels.insert("color".into(), color.into());
        }
    };
    let a = cri.pod().host_network().with(label("red")).run().await?;
    let b = cri.pod().host_network().with(label("blue")).run().await?;
    b.stop().await.setup()?;
    let by = |id: &str, state: Option<i32>, labels: &[(&str, &str)]| v1::PodSandboxFilter {
        id: id.into(),
        state: state.map(|state| v1::PodSandboxStateValue { state }),
        label_selector: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    let tag = (plimsoll_kit::cri::TAG_LABEL, cri.tag());
    let both = a.list(by("", None, &[tag])).await?;
    let mut expected = vec![a.id.as_str(), b.id.as_str()];
    expected.sort_unstable();
    check_eq!(of "sandbox.list.filter-labels"; ids(&both), expected, "pods with the case's label");
    check_eq!(of "sandbox.list.filter-labels"; ids(&a.list(by("", None, &[tag, ("color", "red")])).await?), [a.id.as_str()], "pods with both labels");
    check_eq!(ids(&a.list(by(&a.id, None, &[])).await?), [a.id.as_str()], "pods with an id");
    check!(of "sandbox.list.filter-id-unknown"; a.list(by(NOBODY, None, &[])).await?.is_empty(), "no pod", "some");
    check_eq!(of "sandbox.list.filter-state"; ids(&a.list(by("", Some(0), &[tag])).await?), [a.id.as_str()], "ready pods");
    check_eq!(of "sandbox.list.filter-state"; ids(&a.list(by("", Some(1), &[tag])).await?), [b.id.as_str()], "pods that are not ready");
    check!(of "sandbox.list.filter-and"; a.list(by(&a.id, None, &[("color", "blue")])).await?.is_empty(), "no pod for the id of one and the label of another", "some");
    check!(of "sandbox.list.filter-and"; a.list(by(&a.id, Some(1), &[])).await?.is_empty(), "no pod for an id in another state", "some");
    let all = cri.client().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.must_succeed()?.items;
    let found = ids(&all);
    check!(of "sandbox.list.nil-filter"; expected.iter().all(|id| found.contains(id)), "both pods without a filter", "not both");
    Ok(())
}

/// Listing does not fail while pods come and go.
#[case(covers = ["sandbox.list.consistent-under-churn"])]
async fn list_works_during_churn(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let churn = async {
        for _ in 0..4 {
            let pod = cri.pod().host_network().run().await?;
            pod.stop().await.setup()?;
            pod.remove().await.setup()?;
        }
        Ok::<_, Stop>(())
    };
    let list = async {
        for _ in 0..60 {
            cri.client().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.must_succeed()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Stop>(())
    };
    let (churned, listed) = tokio::join!(churn, list);
    churned?;
    listed
}

/// Stopping ends containers by force, can be done again, and of nothing.
#[case(covers = [
    "sandbox.stop.kills-containers", "sandbox.stop.state-notready", "sandbox.stop.containers-stay-listed",
    "sandbox.stop.twice-ok", "sandbox.stop.not-found-ok", "sandbox.stop.concurrent", "sandbox.stop.ips-kept-in-status",
])]
async fn stop_is_idempotent_and_ends_containers(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let stubborn = script().act("pause_forever", json!({"ignore": ["TERM"]}));
    let container = pod.container().script(&stubborn).start().await?;
    container.logs("ready").await?;
    let start = Instant::now();
    pod.stop().await.must_succeed()?;
    check!(start.elapsed() < Duration::from_secs(30), "stop returns within 30 s", "{:?}", start.elapsed());
    check_eq!(of "sandbox.stop.state-notready"; pod.status().await?.state(), v1::PodSandboxState::SandboxNotready, "state of the pod");
    let status = container.status().await?;
    check_eq!(status.state(), v1::ContainerState::ContainerExited, "state of the container");
    check_eq!(status.exit_code, 137, "exit code of the killed container");
    check!(of "sandbox.stop.containers-stay-listed"; container.listed().await?.is_some(), "the container stays listed", "it is gone");
    pod.stop().await.must_succeed().map_err(|s| s.of("sandbox.stop.twice-ok"))?;
    for answer in join_all((0..10).map(|_| pod.stop())).await {
        answer.must_succeed().map_err(|s| s.of("sandbox.stop.concurrent"))?;
    }
    let unknown = v1::StopPodSandboxRequest { pod_sandbox_id: NOBODY.into() };
    cri.client()
        .stop_pod_sandbox(unknown)
        .await
        .must_succeed()
        .map_err(|s| s.of("sandbox.stop.not-found-ok"))?;
    cx.record("sandbox.ip-after-stop", !pod.status().await?.network.unwrap_or_default().ip.is_empty());
    Ok(())
}

/// A pod whose sandbox process has died can be stopped and removed.
#[case(covers = ["sandbox.stop.netns-gone"])]
async fn stop_of_a_dead_pod_works(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    kill_pause(&pod).await?;
    pod.stop().await.must_succeed()?;
    pod.remove().await.must_succeed()?;
    Ok(())
}

async fn kill_pause(pod: &Pod) -> Verdict {
    let Some(pid) = pod_pid_of(pod).await?.filter(|pid| *pid > 1) else {
        return Err(Stop::NotApplicable {
            capability: "pause-process".into(),
            reason: "the verbose status names no sandbox process".into(),
        });
    };
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    if killed.success() { Ok(()) } else { Err(Stop::setup("the sandbox process cannot be killed")) }
}

/// Removing takes a pod off the list, keeps its logs, can be done again, and of nothing.
#[case(covers = [
    "sandbox.remove.gone-from-list", "sandbox.remove.status-not-found", "sandbox.remove.log-dir-kept",
    "sandbox.remove.twice-ok", "sandbox.remove.not-found-ok",
])]
async fn remove_is_idempotent_and_complete(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().script(&script().act("print", json!({"text": "kept\n"}))).run().await?;
    pod.stop().await.setup()?;
    pod.remove().await.must_succeed()?;
    check!(pod.listed().await?.is_none(), "the pod is not listed", "it is");
    let status = pod.try_status(false).await.must_fail_with(&[Code::NotFound]);
    status.map_err(|s| s.of("sandbox.remove.status-not-found"))?;
    check!(of "sandbox.remove.log-dir-kept"; container.log_text("stdout")?.contains("kept"), "the log stays", "it is gone");
    pod.remove().await.must_succeed().map_err(|s| s.of("sandbox.remove.twice-ok"))?;
    let unknown = v1::RemovePodSandboxRequest { pod_sandbox_id: NOBODY.into() };
    cri.client()
        .remove_pod_sandbox(unknown)
        .await
        .must_succeed()
        .map_err(|s| s.of("sandbox.remove.not-found-ok"))?;
    Ok(())
}

/// A running pod can be removed; its containers, processes, mounts and cgroups go with it.
#[case(covers = ["sandbox.remove.running-containers", "sandbox.remove.without-stop", "sandbox.remove.disk-cleaned"])]
async fn remove_takes_running_containers(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    let pid = pid_of(&container).await?;
    let cgroup = pid.and_then(|p| cgroup_of(p, "memory"));
    pod.remove().await.must_succeed().map_err(|s| s.of("sandbox.remove.without-stop"))?;
    check!(container.listed().await?.is_none(), "the container is gone from the list", "it is listed");
    check!(
        pid.is_none_or(|p| !std::path::Path::new(&format!("/proc/{p}/ns")).exists() || is_zombie(p)),
        "the process is gone",
        "it lives"
    );
    if let Some(cgroup) = cgroup.filter(|c| c.to_string_lossy().contains(container.id.as_str())) {
        check!(of "sandbox.remove.disk-cleaned"; !cgroup.exists(), "the cgroup is gone", "it stays");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    check!(of "sandbox.remove.disk-cleaned"; !mounts.contains(&pod.id), "no mount of the pod stays", "one stays");
    Ok(())
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// A pod turns NOTREADY when its sandbox process dies.
#[case(covers = ["sandbox.status.notready-after-pause-death"])]
async fn a_dead_pause_process_is_noticed(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    kill_pause(&pod).await?;
    wait_until("the pod is NOTREADY", cri.wait(), async || match pod.status().await?.state() {
        v1::PodSandboxState::SandboxNotready => Ok(Poll::Ready(())),
        state @ v1::PodSandboxState::SandboxReady => Ok(Poll::NotYet(format!("{state:?}"))),
    })
    .await
}

/// The stream of pods has what the list has, each once, and ends.
#[case(covers = [
    "sandbox.stream.equals-list", "sandbox.stream.no-duplicates", "sandbox.stream.non-empty-messages",
    "sandbox.stream.eof", "sandbox.stream.filters",
])]
async fn stream_equals_list(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamPodSandboxes").await?;
    let a = cri.pod().host_network().run().await?;
    let stopped = cri.pod().host_network().run().await?;
    stopped.stop().await.setup()?;
    let tagged = v1::PodSandboxFilter {
        label_selector: [(plimsoll_kit::cri::TAG_LABEL.to_owned(), cri.tag().to_owned())].into(),
        ..Default::default()
    };
    let ready = Some(v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady as i32 });
    for (filter, id) in [
        (tagged.clone(), "sandbox.stream.equals-list"),
        (v1::PodSandboxFilter { state: ready, ..tagged }, "sandbox.stream.filters"),
        (v1::PodSandboxFilter { id: a.id.clone(), ..Default::default() }, "sandbox.stream.filters"),
        (v1::PodSandboxFilter { id: NOBODY.into(), ..Default::default() }, "sandbox.stream.filters"),
    ] {
        let request = v1::StreamPodSandboxesRequest { filter: Some(filter.clone()) };
        let stream = cri.client().stream_pod_sandboxes(request).await.must_succeed()?;
        let messages = stream.all().await.must_succeed().map_err(|s| s.of("sandbox.stream.eof"))?;
        let empty = messages.iter().any(|m| m.pod_sandboxes.is_empty());
        check!(of "sandbox.stream.non-empty-messages"; !empty, "messages with items", "an empty one");
        let streamed: Vec<_> = messages.into_iter().flat_map(|m| m.pod_sandboxes).collect();
        let listed = a.list(filter).await?;
        let unique: std::collections::BTreeSet<_> = streamed.iter().map(|p| p.id.as_str()).collect();
        check_eq!(of "sandbox.stream.no-duplicates"; streamed.len(), unique.len(), "streamed pods");
        check_eq!(of id; ids(&streamed), ids(&listed), "streamed pods");
    }
    Ok(())
}

/// UpdatePodSandboxResources is accepted for a pod and NotFound for none.
#[case(covers = [
    "sandbox.update-resources.ok", "sandbox.update-resources.not-found", "sandbox.update-resources.no-cgroup-fight",
    "sandbox.update-resources.visible",
])]
async fn resources_can_be_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("UpdatePodSandboxResources").await?;
    let pod = cri.run_pod().await?;
    let resources = v1::LinuxContainerResources {
        cpu_shares: 512,
        memory_limit_in_bytes: 128 << 20,
        ..Default::default()
    };
    let request = |id: &str| v1::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: id.into(),
        overhead: None,
        resources: Some(resources.clone()),
    };
    cri.client().update_pod_sandbox_resources(request(&pod.id)).await.must_succeed()?;
    check_eq!(of "sandbox.update-resources.no-cgroup-fight"; pod.status().await?.state(), v1::PodSandboxState::SandboxReady, "state of the pod");
    let unknown = cri.client().update_pod_sandbox_resources(request(NOBODY)).await;
    unknown.must_fail_with(&[Code::NotFound]).map_err(|s| s.of("sandbox.update-resources.not-found"))?;
    let info = pod.try_status(true).await.must_succeed()?.info;
    cx.record("sandbox.resources-in-info", info.values().any(|v| v.contains("134217728")));
    Ok(())
}

/// The sandbox's own process and image are the server's affair.
#[case(covers = ["sandbox.pause-not-in-container-list", "sandbox.works-without-pause-pull"])]
async fn the_pause_container_is_hidden(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    check!(pod.containers().await?.is_empty(), "no container in an empty pod", "some");
    let images = cri.client().list_images(v1::ListImagesRequest::default()).await.must_succeed()?.images;
    let pause = images.iter().find(|i| i.repo_tags.iter().any(|t| t.contains("pause")));
    cx.record("sandbox.pause-image-listed", pause.is_some());
    check!(of "sandbox.works-without-pause-pull"; pause.is_none_or(|i| i.pinned), "a listed pause image is pinned", "it is not");
    Ok(())
}
