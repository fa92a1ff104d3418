//! What a kubelet does from start-up to a running, probed, restarted and deleted pod.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    a_kubelet_starts_up,
    a_kubelet_runs_a_pod,
    a_kubelet_probes_and_restarts,
    a_kubelet_rotates_logs,
    a_kubelet_follows_events,
    a_kubelet_reads_all_statistics,
    a_kubelet_hands_streams_on,
];

/// The calls of a kubelet's start-up succeed, in their order.
#[case(covers = ["kubelet.node-ready", "kubelet.restart-keeps-pods"])]
async fn a_kubelet_starts_up(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for _ in 0..2 {
        // The second round is a kubelet that comes back.
        let client = cri.client().reconnected();
        client.version(v1::VersionRequest::default()).await.must_succeed()?;
        let version = client.version(v1::VersionRequest { version: "0.1.0".into() }).await.must_succeed()?;
        check_eq!(version.version, "0.1.0", "version");
        for _ in 0..3 {
            let config = client.runtime_config(v1::RuntimeConfigRequest {}).await;
            check!(
                config.is_ok() || config.as_ref().is_err_and(|e| e.code == Code::Unimplemented),
                "an answer or Unimplemented",
                "{:?}",
                config.map_err(|e| e.code)
            );
        }
        let conditions = client
            .status(v1::StatusRequest::default())
            .await
            .must_succeed()?
            .status
            .unwrap_or_default()
            .conditions;
        check!(
            conditions.len() >= 2
                && conditions
                    .iter()
                    .filter(|c| c.r#type == "RuntimeReady" || c.r#type == "NetworkReady")
                    .all(|c| c.status),
            "RuntimeReady and NetworkReady",
            "not so"
        );
        client.image_fs_info(v1::ImageFsInfoRequest {}).await.must_succeed()?;
        client.list_container_stats(v1::ListContainerStatsRequest::default()).await.must_succeed()?;
        let pods = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.must_succeed()?.items;
        check!(of "kubelet.restart-keeps-pods"; pods.iter().any(|p| p.id == pod.id && p.state == 0), "the pod that ran before", "it is gone");
    }
    Ok(())
}

fn kubernetes_labels(name: &str) -> Vec<(String, String)> {
    [("pod.name", "web"), ("pod.namespace", "plimsoll"), ("pod.uid", "u-1"), ("container.name", name)]
        .iter()
        .map(|(k, v)| (format!("io.kubernetes.{k}"), (*v).to_owned()))
        .collect()
}

/// What a kubelet asks while it runs and deletes a pod has every field that it relies on.
#[case(covers = ["kubelet.static-pod-runs", "kubelet.pod-delete-cleans", "kubelet.stats-summary", ])]
async fn a_kubelet_runs_a_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let reference = cri.publish("web", "1", &cri.catalogue().tagged(&format!("web-{}", cri.tag())))?;
    check!(cri.image_status(&reference).await.must_succeed()?.is_none(), "no image yet", "one");
    let image_ref = cri.try_pull(&reference).await.must_succeed()?;
    let pod = cri.pod().with(|c| c.labels.extend(kubernetes_labels("web"))).try_run().await.must_succeed()?;
    let status = pod.status().await?;
    let network = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).map(|o| o.network);
    check_eq!(network, Some(0), "network mode in the status");
    check!(status.network.unwrap_or_default().ip.parse::<std::net::IpAddr>().is_ok(), "an address", "none");
    let image = cri.image_status(&reference).await.must_succeed()?.unwrap_or_default();
    check!(!image.id.is_empty() && image.size > 0, "id and size of the image", "none");
    std::fs::create_dir_all(pod.log_directory().join("web"))?;
    let hash = [("io.kubernetes.container.hash", "abc"), ("io.kubernetes.container.restartCount", "0")];
    let container = pod.container().image(&image_ref).with(|c| {
        c.labels.extend(kubernetes_labels("web"));
        c.annotations.extend(hash.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        c.log_path = "web/0.log".into();
    });
    let container = container.try_create().await?.must_succeed()?;
    container.start().await.must_succeed()?;
    let status = container.status().await?;
    check!(
        status.annotations.get("io.kubernetes.container.hash").is_some_and(|h| h == "abc"),
        "the container's hash",
        "another"
    );
    check!(
        status.created_at > 0 && status.started_at > 0 && !status.image_ref.is_empty(),
        "times and image_ref",
        "none"
    );
    let filter = v1::ContainerStatsFilter { id: container.id.clone(), ..Default::default() };
    let stats = cri
        .client()
        .list_container_stats(v1::ListContainerStatsRequest { filter: Some(filter) })
        .await
        .must_succeed()?
        .stats;
    let one = stats.first().cloned().unwrap_or_default();
    check!(of "kubelet.stats-summary"; one.cpu.is_some() && one.memory.is_some() && one.writable_layer.is_some(), "CPU, memory and writable layer", "not all");
    container.stop(30).await.must_succeed()?;
    pod.stop().await.must_succeed()?;
    container.remove().await.must_succeed()?;
    pod.remove().await.must_succeed()?;
    check!(of "kubelet.pod-delete-cleans"; pod.listed().await?.is_none() && container.listed().await?.is_none(), "nothing listed", "something");
    Ok(())
}

/// Failing and slow probes are told apart, a restart is a next attempt, and the termination message stays.
#[case(covers = ["kubelet.liveness-exec-restart", "kubelet.exec-probe-timeout", "kubelet.termination-message", ])]
async fn a_kubelet_probes_and_restarts(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let message = host_file(&cri, "termination-log", "")?;
    let pod = cri.run_pod().await?;
    let say = script().act("write", json!({"path": "/dev/termination-log", "data": "gone wrong"})).pause();
    let named = |attempt: u32| {
        pod.container().script(&say).mount(&message, "/dev/termination-log", |_| ()).with(move |c| {
            c.metadata = Some(v1::ContainerMetadata { name: "app".into(), attempt });
        })
    };
    let first = named(0).start().await?;
    first.logs("pause_forever").await?;
    let failing = first.exec_script(&script().exit(1), 5).await.must_succeed()?;
    check_eq!(failing.exit_code, 1, "exit code of a failing probe");
    let slow = first
        .exec_script(&script().act("sleep", json!({"ms": 9000})), 1)
        .await
        .must_fail_with(&[Code::DeadlineExceeded]);
    slow.map_err(|s| s.of("kubelet.exec-probe-timeout"))?;
    first.stop(1).await.must_succeed()?;
    let second = named(1).try_create().await?.must_succeed()?;
    second.start().await.must_succeed()?;
    check!(
        second.id != first.id && first.listed().await?.is_some(),
        "the old container stays beside the new one",
        "not so"
    );
    check_eq!(of "kubelet.termination-message"; std::fs::read_to_string(&message)?, "gone wrong", "termination message on the host");
    Ok(())
}

/// A kubelet's log rotation: rename, reopen, compress; the reader of both files misses nothing.
#[case(covers = ["kubelet.log-rotation"])]
async fn a_kubelet_rotates_logs(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "go")?;
    let talk = script()
        .act("print", json!({"text": "first\n", "fd": 2}))
        .act("wait_file", json!({"path": "/go/now", "timeout_ms": 20_000}))
        .act("print", json!({"text": "second\n", "fd": 2}));
    let pod = cri.run_pod().await?;
    std::fs::create_dir_all(pod.log_directory().join("app"))?;
    let container = pod.container().with(|c| c.log_path = "app/0.log".into()).mount(&dir, "/go", |_| ());
    let container = container.script(&talk).start().await?;
    container.logs("first").await?;
    let told = container.status().await?.log_path;
    check_eq!(told, container.log_file().display().to_string(), "log_path in the status");
    let rotated = container.log_file().with_extension("log.20260101-000000");
    std::fs::rename(container.log_file(), &rotated)?;
    let reopen = v1::ReopenContainerLogRequest { container_id: container.id.clone() };
    cri.client().reopen_container_log(reopen).await.must_succeed()?;
    std::fs::write(format!("{dir}/now"), "")?;
    container.exited().await?;
    check!(
        std::fs::read_to_string(&rotated)?.contains("first"),
        "the first line in the rotated file",
        "none"
    );
    check_eq!(container.log_text("stderr")?, "second\n", "stderr in the new file");
    Ok(())
}

/// A kubelet that follows events knows from them alone what runs, what ended and how.
#[case(covers = ["kubelet.evented-pleg"])]
async fn a_kubelet_follows_events(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    let client = cri.client().with_deadline(Duration::from_secs(20));
    let watch = async { client.get_container_events(v1::GetEventsRequest {}).await.must_succeed() };
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pod = cri.run_pod().await?;
        let container = pod.container().script(&script().exit(3)).start().await?;
        container.exited().await?;
        pod.stop().await.setup()?;
        pod.remove().await.setup()?;
        Ok::<_, Stop>((pod, container))
    };
    let (events, made) = tokio::join!(watch, life);
    let (mut events, (pod, container)) = (events?, made?);
    // What a kubelet keeps: per container the last state that an event told, with its code.
    let mut known = std::collections::BTreeMap::new();
    let mut gone = false;
    let end = Instant::now() + cri.wait();
    while !gone && Instant::now() < end {
        let Some(event) = events.next(cri.wait()).await.must_succeed()? else { break };
        let Some(status) = event.pod_sandbox_status.as_ref().filter(|s| s.id == pod.id) else { continue };
        let uid = status.metadata.as_ref().map(|m| m.uid.clone());
        check_eq!(uid.as_deref(), Some(pod.metadata().uid.as_str()), "uid of the pod in an event");
        for status in event.containers_statuses {
            let seen = known.entry(status.id.clone()).or_insert_with(Vec::new);
            seen.push((status.state, status.exit_code));
        }
        gone = event.container_id == pod.id
            && event.container_event_type == v1::ContainerEventType::ContainerStoppedEvent as i32;
    }
    let seen = known.remove(&container.id).unwrap_or_default();
    let states: Vec<i32> = seen.iter().map(|s| s.0).collect();
    check!(
        states.is_sorted() && !states.is_empty(),
        "states of the container that do not go back",
        "{states:?}"
    );
    check_eq!(
        seen.last(),
        Some(&(v1::ContainerState::ContainerExited as i32, 3)),
        "last state and code told"
    );
    Ok(())
}

/// A pod below a cgroup of its own, as a kubelet makes one for every pod.
async fn pod_in_a_cgroup(cri: &Cri) -> Result<Pod, Stop> {
    let driver = if cri.has("RuntimeConfig").await? {
        cri.client().runtime_config(v1::RuntimeConfigRequest {}).await.must_succeed()?.linux
    } else {
        None
    };
    let name = format!("plimsoll-{}", cri.tag());
    let systemd = driver.is_some_and(|l| l.cgroup_driver == v1::CgroupDriver::Systemd as i32);
    let parent = if systemd { format!("{name}.slice") } else { format!("/{name}") };
    cri.pod()
        .linux(|l| {
            if l.cgroup_parent.is_empty() {
                l.cgroup_parent = parent;
            }
        })
        .run()
        .await
}

/// A kubelet that takes statistics from the endpoint alone gets the pod's and its containers' from two calls.
#[case(covers = ["kubelet.stats-from-cri"])]
async fn a_kubelet_reads_all_statistics(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListPodSandboxStats").await?;
    let pod = pod_in_a_cgroup(&cri).await?;
    let container = pod.container().start().await?;
    let filter = v1::PodSandboxStatsFilter { id: pod.id.clone(), ..Default::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    let stats = cri.client().list_pod_sandbox_stats(request).await.must_succeed()?.stats;
    check_eq!(stats.len(), 1, "statistics of the pod");
    let linux = stats[0].linux.clone().unwrap_or_default();
    let cpu = linux.cpu.and_then(|c| c.usage_core_nano_seconds).map_or(0, |v| v.value);
    let memory = linux.memory.and_then(|m| m.working_set_bytes).map_or(0, |v| v.value);
    check!(cpu > 0 && memory > 0, "CPU time and working set of the pod", "{cpu} and {memory}");
    check!(linux.network.and_then(|n| n.default_interface).is_some(), "the pod's default interface", "none");
    let one = linux.containers.into_iter().next().unwrap_or_default();
    let id = one.attributes.as_ref().map(|a| a.id.clone()).unwrap_or_default();
    check_eq!(id, container.id, "the container in the pod's statistics");
    let name = one.attributes.and_then(|a| a.metadata).map(|m| m.name).unwrap_or_default();
    check_eq!(Some(name), container.config.metadata.as_ref().map(|m| m.name.clone()), "its name");
    let working = one.memory.and_then(|m| m.working_set_bytes).map_or(0, |v| v.value);
    check!(working > 0 && working <= memory, "a working set within the pod's", "{working} of {memory}");
    let layer = one.writable_layer.unwrap_or_default();
    check!(
        layer.used_bytes.is_some() && layer.inodes_used.is_some(),
        "bytes and inodes of the writable layer",
        "not both"
    );
    cri.need_rpc("ListPodSandboxMetrics").await?;
    let request = v1::ListPodSandboxMetricsRequest {};
    let metrics = cri.client().list_pod_sandbox_metrics(request).await.must_succeed()?.pod_metrics;
    check!(metrics.iter().any(|m| m.pod_sandbox_id == pod.id), "metrics of the pod", "none");
    pod.remove().await.setup()?;
    super::pod_config::remove_cgroups(&format!("plimsoll-{}", cri.tag()));
    Ok(())
}

/// A kubelet hands a user's exec, attach and port-forward on to the URL that the endpoint gave.
#[case(covers = ["kubelet.exec-via-kubelet"])]
async fn a_kubelet_hands_streams_on(cx: &mut Cx) -> Verdict {
    use plimsoll_kit::cri::stream::forward::Forward;
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let echo = script().act("tcp_echo", json!({"host": "127.0.0.1", "port": 7171}));
    let container = pod.container().script(&echo).start().await?;
    container.logs("ready").await?;
    let reads = script().ask_with("stdin", json!({"timeout_ms": 9000})).exit(5);
    let output = container.run_stream(&reads, Protocol::SPDY, ALL, Some(b"typed")).await?;
    let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
    check_eq!(answers.facts("stdin")?["data"], "typed", "input of a command");
    check_eq!(output.finish, Some(Finish::ExitCode(5)), "status of a command");
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    // A kubelet names no port in the call: they come with the streams.
    let request = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: vec![] };
    let url = cri.client().port_forward(request).await.must_succeed()?.url;
    let open = Forward::open(&url, cri.wait()).await;
    let mut session = open.map_err(|e| Stop::violation("port-forward opens", e.to_string()))?;
    let link = session.exchange(7171, b"ping", cri.wait()).await;
    let link = link.map_err(|e| Stop::violation("forwarding works", e.to_string()))?;
    check_eq!(link.received, b"ping".to_vec(), "bytes that came back");
    Ok(())
}
