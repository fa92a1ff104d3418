//! Checkpoints, load, leaks, and what a kubelet does from start-up to a deleted pod.

use crate::prelude::*;
use futures_util::future::{join_all, try_join_all};

/// The table of this file.
pub static CASES: &[Case] = &[
    checkpoints_are_written,
    bad_checkpoints_are_refused,
    pod_checkpoints_are_checked,
    bad_restores_are_refused,
    cycles_leak_nothing,
    pods_in_parallel,
    windows_fields_are_ignored,
    a_kubelet_starts_up,
    a_kubelet_runs_a_pod,
    a_kubelet_probes_and_restarts,
];

fn has_criu() -> bool {
    ["/usr/sbin/criu", "/usr/bin/criu", "/usr/local/sbin/criu"]
        .iter()
        .any(|p| std::path::Path::new(p).exists())
}

/// A checkpoint is an archive, and the container goes on; without the tool the error is clear.
#[case(covers = ["checkpoint.container.creates-archive", "checkpoint.container.keeps-running", "checkpoint.container.no-criu-error", ])]
async fn checkpoints_are_written(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("CheckpointContainer").await?;
    let container = cri.run_pod().await?.container().start().await?;
    let location = cri.dir().join("checkpoint.tar");
    let request = v1::CheckpointContainerRequest {
        container_id: container.id.clone(),
        location: location.display().to_string(),
        timeout: 20,
    };
    let answer = cri.client().checkpoint_container(request).await;
    if !has_criu() {
        let error = answer.must_fail().map_err(|s| s.of("checkpoint.container.no-criu-error"))?;
        check!(of "checkpoint.container.no-criu-error"; !error.message.is_empty(), "a message", "none");
        return Ok(());
    }
    answer.must_succeed()?;
    check!(std::fs::metadata(&location).is_ok_and(|m| m.len() > 0), "an archive", "none");
    check_eq!(of "checkpoint.container.keeps-running"; container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
    Ok(())
}

/// Unknown and ended containers have no checkpoint.
#[case(covers = ["checkpoint.container.not-found", "checkpoint.container.not-running"])]
async fn bad_checkpoints_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("CheckpointContainer").await?;
    let request = |id: &str| v1::CheckpointContainerRequest {
        container_id: id.into(),
        location: cri.dir().join("none.tar").display().to_string(),
        timeout: 5,
    };
    cri.client().checkpoint_container(request(NOBODY)).await.must_fail_with(&[Code::NotFound])?;
    let ended = cri.run_pod().await?.container().script(&script()).run().await?;
    cri.client()
        .checkpoint_container(request(&ended.id))
        .await
        .must_fail()
        .map_err(|s| s.of("checkpoint.container.not-running"))?;
    Ok(())
}

/// A pod's checkpoint wants known containers, known options and an existing empty directory.
#[case(covers = ["checkpoint.pod.validate-ids", "checkpoint.pod.unknown-options", "checkpoint.pod.not-found", "checkpoint.pod.output-dir"])]
async fn pod_checkpoints_are_checked(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("CheckpointPod").await?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    let output_path = host_dir(&cri, "checkpoint")?;
    let good = v1::CheckpointPodRequest {
        pod_sandbox_id: pod.id.clone(),
        output_path,
        container_ids: vec![container.id.clone()],
        ..Default::default()
    };
    let call = |request: v1::CheckpointPodRequest| cri.client().checkpoint_pod(request);
    for ids in [vec![], vec![NOBODY.to_owned()], vec![container.id.clone(), container.id.clone()]] {
        call(v1::CheckpointPodRequest { container_ids: ids, ..good.clone() }).await.must_fail()?;
    }
    let odd =
        v1::CheckpointPodRequest { options: [("foo".to_owned(), "bar".to_owned())].into(), ..good.clone() };
    call(odd).await.must_fail().map_err(|s| s.of("checkpoint.pod.unknown-options"))?;
    let unknown = v1::CheckpointPodRequest { pod_sandbox_id: NOBODY.into(), ..good.clone() };
    call(unknown).await.must_fail().map_err(|s| s.of("checkpoint.pod.not-found"))?;
    let left = std::fs::read_dir(&good.output_path).map_or(1, Iterator::count);
    check_eq!(of "checkpoint.pod.output-dir"; left, 0, "files of refused checkpoints");
    Ok(())
}

/// A restore with a wrong path, handler or option is refused and leaves nothing.
#[case(covers = ["restore.pod.error-cleans", "restore.pod.handler", "restore.pod.unknown-options", ])]
async fn bad_restores_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("RestorePod").await?;
    let config = cri.pod().config().clone();
    let base = v1::RestorePodRequest {
        checkpoint_path: host_dir(&cri, "empty")?,
        config: Some(config),
        ..Default::default()
    };
    let call = |request: v1::RestorePodRequest| cri.client().restore_pod(request);
    call(base.clone()).await.must_fail()?;
    call(v1::RestorePodRequest { runtime_handler: "no-such-handler".into(), ..base.clone() })
        .await
        .must_fail()
        .map_err(|s| s.of("restore.pod.handler"))?;
    let odd = v1::RestorePodRequest { options: [("foo".to_owned(), "bar".to_owned())].into(), ..base };
    call(odd).await.must_fail().map_err(|s| s.of("restore.pod.unknown-options"))?;
    let label_selector = [(plimsoll_kit::cri::TAG_LABEL.to_owned(), cri.tag().to_owned())].into();
    let filter = Some(v1::PodSandboxFilter { label_selector, ..Default::default() });
    let pods =
        cri.client().list_pod_sandbox(v1::ListPodSandboxRequest { filter }).await.must_succeed()?.items;
    check!(pods.is_empty(), "no pod after refused restores", "one");
    Ok(())
}

/// Cycles of pods and containers leave no cgroup, mount or list entry.
#[case(covers = ["robust.leak.pods", "robust.leak.containers"])]
async fn cycles_leak_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let pod = cri.run_pod().await?;
        for _ in 0..3 {
            let container = pod.container().start().await?;
            container.stop(0).await.must_succeed()?;
            container.remove().await.must_succeed()?;
            ids.push(container.id);
        }
        pod.stop().await.must_succeed()?;
        pod.remove().await.must_succeed()?;
        ids.push(pod.id);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    check!(ids.iter().all(|id| !mounts.contains(id)), "no mount stays", "one does");
    let containers =
        cri.client().list_containers(v1::ListContainersRequest::default()).await.must_succeed()?.containers;
    check!(containers.iter().all(|c| !ids.contains(&c.id)), "no container stays listed", "one does");
    Ok(())
}

/// Lives of several pods beside each other succeed.
#[case(covers = ["robust.stress.parallel-pods", "sandbox.stop.concurrent"])]
async fn pods_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.plain().await?;
    let lives = (0..8).map(|_| async {
        let pod = cri.pod().try_run().await.must_succeed()?;
        let container = pod.container().try_create().await?.must_succeed()?;
        container.start().await.must_succeed()?;
        container.exec_script(&script(), 30).await.must_succeed()?;
        pod.stop().await.must_succeed()?;
        pod.remove().await.must_succeed()
    });
    try_join_all(lives).await?;
    let answers = join_all((0..4).map(|_| cri.client().version(v1::VersionRequest::default()))).await;
    for answer in answers {
        answer.must_succeed()?;
    }
    Ok(())
}

/// Windows parts of a request are ignored.
#[case(covers = ["windows.fields-ignored"])]
async fn windows_fields_are_ignored(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().with(|c| c.windows = Some(v1::WindowsPodSandboxConfig::default()));
    let pod = pod.try_run().await.must_succeed()?;
    pod.container()
        .with(|c| c.windows = Some(v1::WindowsContainerConfig::default()))
        .try_create()
        .await?
        .must_succeed()?;
    Ok(())
}

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
