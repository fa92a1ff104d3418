//! The end of a container: stop and remove.

use crate::prelude::*;
use futures_util::future::join_all;

/// The table of this file.
pub static CASES: &[Case] = &[
    stop_of_nothing_succeeds,
    stop_is_graceful,
    stop_kills_after_the_timeout,
    stop_without_time_kills_at_once,
    stop_ends_children,
    stops_in_parallel,
    a_shorter_stop_wins,
    a_cancelled_stop_does_not_kill,
    remove_in_every_state,
    removes_in_parallel,
];

/// Stopping an unknown, an ended or a created container succeeds.
#[case(covers = ["container.stop.twice-ok", "container.stop.not-found-ok", "container.stop.created-ok", "container.stop.timeout-negative"])]
async fn stop_of_nothing_succeeds(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    container.stop(5).await.must_succeed()?;
    container.stop(5).await.must_succeed()?;
    let unknown = v1::StopContainerRequest { container_id: NOBODY.into(), timeout: 1 };
    cri.client()
        .stop_container(unknown)
        .await
        .must_succeed()
        .map_err(|s| s.of("container.stop.not-found-ok"))?;
    pod.container()
        .create()
        .await?
        .stop(1)
        .await
        .must_succeed()
        .map_err(|s| s.of("container.stop.created-ok"))?;
    let other = pod.container().start().await?;
    let answer = tokio::time::timeout(Duration::from_secs(45), other.stop(-1)).await;
    check!(of "container.stop.timeout-negative"; answer.is_ok(), "the call returns", "it hangs");
    Ok(())
}

/// The process gets its signal and the time to end by itself.
#[case(covers = ["container.stop.graceful", "container.stop.exited-on-return"])]
async fn stop_is_graceful(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let slow = script()
        .act("wait", json!({"signals": ["TERM"], "timeout_ms": 60000}))
        .act("sleep", json!({"ms": 700}))
        .exit(3);
    let container = pod.container().script(&slow).start().await?;
    container.logs("ready").await?;
    let start = Instant::now();
    container.stop(10).await.must_succeed()?;
    let took = start.elapsed();
    let status = container.status().await?;
    check_eq!(of "container.stop.exited-on-return"; status.state(), v1::ContainerState::ContainerExited, "state on return");
    check!(of "container.stop.exited-on-return"; status.finished_at > 0, "finished_at is set", "it is zero");
    check_eq!(status.exit_code, 3, "exit code of the process that ended by itself");
    check!(
        took < Duration::from_secs(6),
        "the stop returns soon after the process ended",
        "after {} s",
        took.as_secs()
    );
    Ok(())
}

/// A process that ignores its signal is killed after the timeout.
#[case(covers = ["container.stop.kill-after-timeout"])]
async fn stop_kills_after_the_timeout(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = stubborn(&cri.run_pod().await?).await?;
    let start = Instant::now();
    container.stop(2).await.must_succeed()?;
    let took = start.elapsed().as_millis();
    check!((1900..8000).contains(&took), "the stop takes about 2 s", "{} s", took / 1000);
    check_eq!(container.status().await?.exit_code, 137, "exit code");
    Ok(())
}

async fn stubborn(pod: &Pod) -> Result<Container, Stop> {
    let stubborn = script().act("pause_forever", json!({"ignore": ["TERM"]}));
    let container = pod.container().script(&stubborn).start().await?;
    container.logs("ready").await?;
    Ok(container)
}

/// A timeout of zero kills at once.
#[case(covers = ["container.stop.timeout-zero"])]
async fn stop_without_time_kills_at_once(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = stubborn(&cri.run_pod().await?).await?;
    let start = Instant::now();
    container.stop(0).await.must_succeed()?;
    check!(
        start.elapsed() < Duration::from_secs(5),
        "the stop returns at once",
        "after {} s",
        start.elapsed().as_secs()
    );
    check_eq!(container.status().await?.exit_code, 137, "exit code");
    Ok(())
}

/// Nothing of a stopped container lives on, whatever its process namespace.
#[case(covers = ["container.stop.kills-children"])]
async fn stop_ends_children(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for mode in [v1::NamespaceMode::Container, v1::NamespaceMode::Pod] {
        let pod = cri.pod().namespaces(|n| n.pid = mode as i32).run().await?;
        let watcher = pod.container().start().await?;
        let parent = script().act("fork_orphans", json!({"count": 2, "ms": 60000})).pause();
        let container = pod.container().script(&parent).start().await?;
        container.logs("ready").await?;
        let Some(pid) = pid_of(&container).await? else {
            return cri.not_applicable("verbose-pid", "the verbose status has no pid");
        };
        let Some(cgroup) = cgroup_of(pid, "memory") else {
            return cx.need(false, "cgroup-memory", "the container has no memory cgroup");
        };
        container.stop(1).await.must_succeed()?;
        let left = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        check!(
            left.trim().is_empty(),
            "no process of the container is left",
            "{} with pid mode {mode:?}",
            left.lines().count()
        );
        watcher.stop(0).await.setup()?;
    }
    Ok(())
}

/// Stops at the same time all succeed.
#[case(covers = ["container.stop.concurrent"])]
async fn stops_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    for answer in join_all((0..20).map(|_| container.stop(3))).await {
        answer.must_succeed()?;
    }
    Ok(())
}

/// A later stop with a shorter timeout ends the wait of an earlier one.
#[case(covers = ["container.stop.shorter-timeout-wins"])]
async fn a_shorter_stop_wins(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = stubborn(&cri.run_pod().await?).await?;
    let long = async { container.stop(20).await };
    let short = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let start = Instant::now();
        container.stop(1).await.map(|()| start.elapsed())
    };
    let (_, short) = tokio::join!(long, short);
    let took = short.must_succeed()?;
    check!(
        took < Duration::from_secs(10),
        "the second stop is done after about 1 s",
        "after {} s",
        took.as_secs()
    );
    Ok(())
}

/// Giving up a stop does not kill before its time, and a later stop works.
#[case(covers = ["container.stop.cancelled-call", ])]
async fn a_cancelled_stop_does_not_kill(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = stubborn(&cri.run_pod().await?).await?;
    let attempt = tokio::time::timeout(Duration::from_secs(1), container.stop(30)).await;
    check!(attempt.is_err(), "the stop waits for its timeout", "it returned early");
    check_eq!(
        container.status().await?.state(),
        v1::ContainerState::ContainerRunning,
        "state after the cancelled stop"
    );
    container.stop(0).await.must_succeed()?;
    Ok(())
}

/// Containers are removed in every state; again, and of nothing, is no error; the log stays.
#[case(covers = [
    "container.remove.created", "container.remove.running", "container.remove.exited", "container.remove.not-found-ok",
    "container.remove.twice-ok", "container.remove.status-not-found", "container.remove.log-kept", "container.remove.disk-freed",
])]
async fn remove_in_every_state(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let created = pod.container().create().await?;
    let running = pod.container().start().await?;
    let exited = pod.container().script(&script().act("print", json!({"text": "kept\n"}))).run().await?;
    let pid = pid_of(&running).await?;
    for (container, id) in [
        (&created, "container.remove.created"),
        (&running, "container.remove.running"),
        (&exited, "container.remove.exited"),
    ] {
        container.remove().await.must_succeed().map_err(|s| s.of(id))?;
        check!(of id; container.listed().await?.is_none(), "the container is not listed", "it is");
        container.remove().await.must_succeed().map_err(|s| s.of("container.remove.twice-ok"))?;
        let status = container.try_status(false).await.must_fail_with(&[Code::NotFound]);
        status.map_err(|s| s.of("container.remove.status-not-found"))?;
    }
    check!(of "container.remove.running"; pid.is_none_or(|p| cgroup_of(p, "memory").is_none_or(|c| !c.to_string_lossy().contains(&running.id))),
        "the process is gone", "it lives");
    check!(of "container.remove.log-kept"; exited.log_text("stdout")?.contains("kept"), "the log stays", "it is gone");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    check!(of "container.remove.disk-freed"; !mounts.contains(&exited.id), "no mount stays", "one stays");
    let unknown = v1::RemoveContainerRequest { container_id: NOBODY.into() };
    cri.client()
        .remove_container(unknown)
        .await
        .must_succeed()
        .map_err(|s| s.of("container.remove.not-found-ok"))?;
    Ok(())
}

/// Removals at the same time all succeed.
#[case(covers = ["container.remove.concurrent"])]
async fn removes_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    container.stop(0).await.setup()?;
    for answer in join_all((0..10).map(|_| container.remove())).await {
        answer.must_succeed()?;
    }
    Ok(())
}
