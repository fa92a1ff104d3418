//! A server that is killed and comes back: nothing that ran is lost, and nothing that happened meanwhile.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    a_killed_server_loses_nothing,
    ends_without_a_server_are_told,
    what_ran_before_is_served,
    logs_go_on_without_a_gap,
    kills_in_the_middle_of_calls,
    user_namespaces_stay,
];

async fn image_ids(cri: &Cri) -> Result<Vec<(String, Vec<String>)>, Stop> {
    let images = cri.client().list_images(v1::ListImagesRequest::default()).await.must_succeed()?.images;
    let mut list: Vec<_> = images.into_iter().map(|i| (i.id, i.repo_tags)).collect();
    list.sort();
    Ok(list)
}

/// Pods, containers in every state and images are the same after a kill, and what runs goes on.
#[case(covers = ["robust.restart.sandboxes-kept", "robust.restart.images-kept"], exclusive = ["daemon"])]
async fn a_killed_server_loses_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    let (pod, stopped) = (cri.run_pod().await?, cri.run_pod().await?);
    stopped.stop().await.setup()?;
    let running = pod.container().start().await?;
    let created = pod.container().create().await?;
    let ended = pod.container().script(&script().exit(7)).run().await?;
    let images = image_ids(&cri).await?;
    let pid = pid_of(&running).await?;
    let mut before = Vec::new();
    for container in [&running, &created, &ended] {
        before.push((container.status().await?, container.listed().await?));
    }
    let pods = [pod.status().await?, stopped.status().await?];
    daemon.restart().await?;
    check_eq!([pod.status().await?, stopped.status().await?], pods, "status of the pods");
    for (container, (status, listed)) in [&running, &created, &ended].into_iter().zip(before) {
        check_eq!(container.status().await?, status, "status of the container");
        check_eq!(container.listed().await?, listed, "the container in the list");
    }
    check_eq!(pid_of(&running).await?, pid, "process of the running container");
    check_eq!(of "robust.restart.images-kept"; image_ids(&cri).await?, images, "images");
    Ok(())
}

/// What ends while no server is there is told afterwards, with its code and its time.
#[case(covers = ["robust.restart.exit-during-down"], exclusive = ["daemon"])]
async fn ends_without_a_server_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    let dir = host_dir(&cri, "go")?;
    let waits = script().act("wait_file", json!({"path": "/go/now", "timeout_ms": 60_000})).exit(7);
    let pod = cri.run_pod().await?;
    let container = pod.container().mount(&dir, "/go", |_| ()).script(&waits).start().await?;
    let Some(pid) = pid_of(&container).await? else {
        return cri.not_applicable("verbose-pid", "the verbose status has no pid");
    };
    daemon.kill().await?;
    let killed = now_ns();
    std::fs::write(format!("{dir}/now"), "")?;
    wait_until("the process has ended", cri.wait(), async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") {
            return Ok(Poll::Ready(()));
        }
        Ok(Poll::NotYet("it runs".into()))
    })
    .await
    .map_err(|_| Stop::setup("the container's process does not end"))?;
    daemon.back().await?;
    let back = now_ns();
    let status = container.exited().await?;
    check_eq!(status.exit_code, 7, "exit code");
    check!(
        (killed - 1_000_000_000..back).contains(&status.finished_at),
        "the time of its end, before the server came back",
        "another time"
    );
    Ok(())
}

/// Commands, streams, logs, updates and a graceful stop work on what was started before, and new things can be made.
#[case(covers = ["robust.restart.exec-after"], exclusive = ["daemon"])]
async fn what_ran_before_is_served(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    let pod = cri.run_pod().await?;
    let polite = script().act("pause_forever", json!({"on": ["TERM"], "code": 9}));
    let container = pod.container().script(&polite).start().await?;
    container.logs("ready").await?;
    daemon.restart().await?;
    let answer = container.exec_script(&script().exit(4), 20).await.must_succeed()?;
    check_eq!(answer.exit_code, 4, "exit code of a command");
    let print = script().act("print", json!({"text": "streamed", "fd": 2}));
    let output = container.run_stream(&print, Protocol::SPDY, OUTPUTS, None).await?;
    check_eq!(String::from_utf8_lossy(&output.stderr), "streamed", "output of a streamed command");
    let url = container.attach_url(OUTPUTS).await.must_succeed()?;
    let mut attached = Session::open(&url, Protocol::SPDY, OUTPUTS, cri.wait())
        .await
        .map_err(|e| Stop::violation("attaching works", e.to_string()))?;
    std::fs::rename(container.log_file(), container.log_file().with_extension("old"))?;
    let reopen = v1::ReopenContainerLogRequest { container_id: container.id.clone() };
    cri.client().reopen_container_log(reopen).await.must_succeed()?;
    check!(container.log_file().exists(), "a new log file", "none");
    let fresh = pod.container().script(&script().exit(3)).run().await?;
    check_eq!(fresh.status().await?.exit_code, 3, "exit code of a new container in the old pod");
    container.stop(20).await.must_succeed()?;
    check_eq!(container.status().await?.exit_code, 9, "exit code of the stopped container");
    let end = attached.gather(cri.wait(), 1 << 20).await;
    check!(end.is_ok(), "the attachment ends with the container", "it does not");
    container.remove().await.must_succeed()?;
    Ok(())
}

/// Every line that was written before, during and after the kill is in the log, once and in order.
#[case(covers = ["robust.restart.log-continues"], exclusive = ["daemon"])]
async fn logs_go_on_without_a_gap(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    let mut steps = script();
    for n in 0..60 {
        steps = steps
            .act("print", json!({"text": format!("line {n}\n"), "fd": 2}))
            .act("sleep", json!({"ms": 20}));
    }
    let container = cri.run_pod().await?.container().script(&steps).start().await?;
    container.logs("line 5").await?;
    daemon.kill().await?;
    let size = || std::fs::metadata(container.log_file()).map_or(0, |m| m.len());
    let before = size();
    tokio::time::sleep(Duration::from_millis(300)).await;
    cx.record("robust.log-grows-without-server", size() > before);
    daemon.back().await?;
    container.exited().await?;
    let text = container.log_text("stderr")?;
    let expected: Vec<String> = (0..60).map(|n| format!("line {n}")).collect();
    check_eq!(text.lines().collect::<Vec<_>>(), expected, "lines in the log");
    Ok(())
}

/// After kills in the middle of calls everything is listed or can be made again, and all of it can be removed.
#[case(covers = ["robust.kill9-server"], exclusive = ["daemon"], deadline_s = 120)]
async fn kills_in_the_middle_of_calls(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    let image = cri.plain().await?.id;
    for round in 0_u64..8 {
        let builder = cri.pod();
        let life = async {
            let pod = builder.clone().try_run().await.ok()?;
            let container = pod.container().image(&image).try_create().await.ok()?.ok()?;
            container.start().await.ok()?;
            Some((pod, container))
        };
        let killed = async {
            // From the first milliseconds of the pod to the container's start.
            tokio::time::sleep(Duration::from_millis(7 + round * 23)).await;
            daemon.restart().await
        };
        let (made, killed) = tokio::join!(life, killed);
        killed?;
        if let Some((pod, container)) = made {
            check!(pod.listed().await?.is_some(), "a pod that was made is listed", "it is lost");
            check!(container.listed().await?.is_some(), "a container that was made is listed", "it is lost");
        }
        let name = builder.config().labels.clone();
        let mine = v1::PodSandboxFilter { label_selector: name, ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(mine) };
        for pod in cri.client().list_pod_sandbox(request.clone()).await.must_succeed()?.items {
            let stop = v1::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            cri.client().stop_pod_sandbox(stop).await.must_succeed()?;
            let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id };
            cri.client().remove_pod_sandbox(remove).await.must_succeed()?;
        }
        check!(
            cri.client().list_pod_sandbox(request).await.must_succeed()?.items.is_empty(),
            "no pod after its removal",
            "one"
        );
        let again = builder.try_run().await.must_succeed()?;
        again.remove().await.must_succeed()?;
    }
    Ok(())
}

/// Containers that are made after a restart get the mapping of their pod.
#[case(covers = ["sandbox.userns.persist-restart"], exclusive = ["daemon"])]
async fn user_namespaces_stay(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let daemon = cri.daemon()?;
    if !cri.handler_features().await?.is_some_and(|f| f.user_namespaces) {
        return cri.not_applicable("user-namespaces", "the handler does not declare user namespaces");
    }
    let pod = super::userns::pod(&cri).run().await?;
    let before = pod.container().start().await?;
    let maps = fact(&before, "id_maps").await?;
    let namespace_before = namespace(&before, "user").await?;
    daemon.restart().await?;
    let after = pod.container().try_create().await?.must_succeed()?;
    after.start().await.must_succeed()?;
    check_eq!(fact(&after, "id_maps").await?, maps, "mappings of a container made after the restart");
    check_eq!(namespace(&after, "user").await?, namespace_before, "its user namespace");
    Ok(())
}
