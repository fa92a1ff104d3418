//! Checkpoints of containers and pods, and their restore.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    checkpoints_are_written,
    without_the_tool_the_error_is_clear,
    bad_checkpoints_are_refused,
    pod_checkpoints_are_checked,
    bad_restores_are_refused,
];

/// Whether the host's checkpointing tool is there and works with this kernel.
async fn criu_works() -> bool {
    let mut check = tokio::process::Command::new("criu");
    check.arg("check").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), check.output()).await;
    output.is_ok_and(|o| o.is_ok_and(|o| o.status.success()))
}

/// A checkpoint is an archive, and the container goes on.
#[case(covers = ["checkpoint.container.creates-archive", "checkpoint.container.keeps-running"])]
async fn checkpoints_are_written(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("CheckpointContainer").await?;
    cx.need(criu_works().await, "criu", "criu is not installed, or does not work with this kernel")?;
    let container = cri.run_pod().await?.container().start().await?;
    let location = cri.dir().join("checkpoint.tar");
    checkpoint(&container, &location).await.must_succeed()?;
    check!(std::fs::metadata(&location).is_ok_and(|m| m.len() > 0), "an archive", "none");
    check_eq!(of "checkpoint.container.keeps-running"; container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
    Ok(())
}

async fn checkpoint(
    container: &Container,
    location: &std::path::Path,
) -> Result<v1::CheckpointContainerResponse, plimsoll_kit::cri::CallError> {
    let request = v1::CheckpointContainerRequest {
        container_id: container.id.clone(),
        location: location.display().to_string(),
        timeout: 20,
    };
    container.cri().client().checkpoint_container(request).await
}

/// Where the host cannot make checkpoints the error says so, and the container goes on.
#[case(covers = ["checkpoint.container.no-criu-error"])]
async fn without_the_tool_the_error_is_clear(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("CheckpointContainer").await?;
    cx.need(!criu_works().await, "no-criu", "criu works on this host")?;
    let container = cri.run_pod().await?.container().start().await?;
    let location = cri.dir().join("checkpoint.tar");
    let error = checkpoint(&container, &location).await.must_fail()?;
    check!(error.message.to_lowercase().contains("criu"), "a message that names criu", "another");
    check!(!location.exists(), "no archive", "one");
    check_eq!(container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
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
