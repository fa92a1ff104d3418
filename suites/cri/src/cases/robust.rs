//! Load, leaks, and what must be ignored.

use crate::prelude::*;
use futures_util::future::{join_all, try_join_all};

/// The table of this file.
pub static CASES: &[Case] = &[cycles_leak_nothing, pods_in_parallel, windows_fields_are_ignored];

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
    check!(of "robust.leak.containers"; containers.iter().all(|c| !ids.contains(&c.id)), "no container stays listed", "one does");
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
