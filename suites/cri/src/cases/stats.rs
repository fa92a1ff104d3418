//! Statistics of containers and pods.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    container_stats_are_plausible,
    cpu_time_grows,
    memory_follows_use,
    written_files_are_counted,
    lists_select,
    lists_survive_churn,
    ended_containers_give_no_stale_numbers,
    container_stream,
    pod_stats_are_plausible,
    pod_lists_select,
    pod_streams,
    pods_that_are_gone,
];

async fn stats(container: &Container) -> Result<v1::ContainerStats, Stop> {
    let request = v1::ContainerStatsRequest { container_id: container.id.clone() };
    let answer = container.cri().client().container_stats(request).await.must_succeed()?;
    answer.stats.ok_or_else(|| Stop::violation("ContainerStats answers statistics", "none"))
}

/// The statistics name their container, and their times are now.
#[case(covers = [
    "stats.container.attributes", "stats.container.cpu-timestamp", "stats.container.memory-usage-ge-ws",
    "stats.container.memory-available", "stats.container.memory-faults", "stats.container.swap", "stats.container.psi",
])]
async fn container_stats_are_plausible(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container =
        cri.run_pod().await?.container().resources(|r| r.memory_limit_in_bytes = 256 << 20).start().await?;
    let stats = stats(&container).await?;
    let attributes = stats.attributes.unwrap_or_default();
    check!(
        attributes.id == container.id && attributes.metadata == container.config.metadata,
        "id and metadata",
        "others"
    );
    check!(
        attributes.labels == container.config.labels
            && attributes.annotations == container.config.annotations,
        "labels and annotations",
        "others"
    );
    let cpu = stats.cpu.unwrap_or_default();
    let age = now_ns() - cpu.timestamp;
    check!(of "stats.container.cpu-timestamp"; (0..60_000_000_000).contains(&age), "nanoseconds, now", "another time");
    let memory = stats.memory.unwrap_or_default();
    let value = |v: Option<v1::UInt64Value>| v.map(|v| v.value);
    let working = value(memory.working_set_bytes).unwrap_or(0);
    if let Some(usage) = value(memory.usage_bytes) {
        check!(of "stats.container.memory-usage-ge-ws"; usage >= working, "usage >= working set", "{usage} < {working}");
    }
    if let Some(available) = value(memory.available_bytes) {
        check!(of "stats.container.memory-available"; available <= (256 << 20) && available + working <= (257 << 20), "limit - working set", "{available}");
    }
    let again = self::stats(&container).await?;
    let later = again.memory.unwrap_or_default();
    for (before, after) in
        [(memory.page_faults, later.page_faults), (memory.major_page_faults, later.major_page_faults)]
    {
        check!(of "stats.container.memory-faults"; value(after) >= value(before), "page faults that do not shrink", "{:?} after {:?}", value(after), value(before));
    }
    if let Some(swap) = again.swap {
        let (used, free) = (value(swap.swap_usage_bytes), value(swap.swap_available_bytes));
        check!(of "stats.container.swap"; used.is_none_or(|u| u <= 1 << 40) && swap.timestamp > 0, "the swap in use, with a time", "{used:?} and {free:?}");
    }
    if let Some(psi) = cpu.psi {
        check!(of "stats.container.psi"; psi.some.is_some() && psi.full.is_some(), "the lines some and full", "not both");
    }
    Ok(())
}

/// CPU time grows with the work done and never shrinks.
#[case(covers = ["stats.container.cpu-usage", "stats.container.cpu-monotonic", ])]
async fn cpu_time_grows(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let used = || async {
        let cpu = stats(&container).await?.cpu.unwrap_or_default();
        Ok::<_, Stop>(cpu.usage_core_nano_seconds.map(|v| v.value))
    };
    let before = used().await?.ok_or_else(|| Stop::violation("CPU time", "none"))?;
    let burnt = container.ask(&script().act("burn_cpu", json!({"ms": 1000}))).await?;
    let spent = burnt.facts("burn_cpu")?["cpu_ns"].as_u64().unwrap_or(0);
    let after = used().await?.unwrap_or(0);
    check!(of "stats.container.cpu-monotonic"; after >= before, "time that does not shrink", "it does");
    let grown = after - before;
    check!(
        grown * 10 >= spent * 7 && grown < spent + 1_500_000_000,
        "about the time that was burnt",
        "{} ms for {} ms",
        grown / 1_000_000,
        spent / 1_000_000
    );
    Ok(())
}

/// The working set follows what the container holds.
#[case(covers = ["stats.container.memory-working-set", "stats.container.memory-rss"])]
async fn memory_follows_use(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let idle = pod.container().start().await?;
    let holder =
        pod.container().script(&script().act("hold_memory", json!({"bytes": 64 << 20}))).start().await?;
    holder.logs("ready").await?;
    let used = async |container: &Container| {
        let memory = stats(container).await?.memory.unwrap_or_default();
        Ok::<_, Stop>(memory.working_set_bytes.map_or(0, |v| v.value))
    };
    let more = used(&holder).await?.saturating_sub(used(&idle).await?);
    check!((50 << 20..90 << 20).contains(&more), "about 64 MiB more", "{} MiB", more >> 20);
    follows(&idle, used(&idle).await?, cri.wait()).await?;
    // The kernel sums up anonymous memory now and then.
    wait_until("rss_bytes tells the 64 MiB that the container holds", cri.wait(), async || {
        match stats(&holder).await?.memory.and_then(|m| m.rss_bytes).map(|v| v.value >> 20) {
            None | Some(60..90) => Ok(Poll::Ready(())),
            Some(other) => Ok(Poll::NotYet(format!("{other} MiB"))),
        }
    })
    .await
    .map_err(|s| s.of("stats.container.memory-rss"))
}

/// What a container's command takes is in its numbers while the command runs: they were asked for before, too.
async fn follows(container: &Container, before: u64, limit: Duration) -> Verdict {
    let hold = script().act("hold_memory", json!({"bytes": 64 << 20, "timeout_ms": 20_000}));
    let held = std::pin::pin!(container.exec_script(&hold, 30));
    let seen = wait_until("the working set grows by what the container takes", limit, async || {
        let memory = stats(container).await?.memory.unwrap_or_default();
        let more = memory.working_set_bytes.map_or(0, |v| v.value).saturating_sub(before);
        if more >= 50 << 20 {
            Ok(Poll::Ready(()))
        } else {
            Ok(Poll::NotYet(format!("{} MiB more", more >> 20)))
        }
    });
    match futures_util::future::select(std::pin::pin!(seen), held).await {
        // The command is given up: it ends with the container.
        futures_util::future::Either::Left((seen, _)) => seen,
        futures_util::future::Either::Right((answer, _)) => {
            answer.setup()?;
            Err(Stop::violation("the working set grows by what the container takes", "it did not in 20 s"))
        }
    }
}

/// Files that a container writes are counted on an existing file system.
#[case(covers = ["stats.container.writable-layer", "stats.container.writable-layer-fsid"])]
async fn written_files_are_counted(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let big = script().act("copy_self", json!({"to": "/tmp/a"})).act("copy_self", json!({"to": "/tmp/b"}));
    container.ask(&big).await?;
    let layer = wait_until("the written bytes are counted", Duration::from_secs(40), async || {
        let layer = stats(&container).await?.writable_layer.unwrap_or_default();
        let used = layer.used_bytes.map_or(0, |v| v.value);
        if used > 500_000 { Ok(Poll::Ready(layer)) } else { Ok(Poll::NotYet(format!("{used} bytes"))) }
    })
    .await?;
    let place = layer.fs_id.unwrap_or_default().mountpoint;
    check!(of "stats.container.writable-layer-fsid"; std::path::Path::new(&place).exists(), "an existing path", "another");
    Ok(())
}

async fn list(cri: &Cri, filter: Option<v1::ContainerStatsFilter>) -> Result<Vec<String>, Stop> {
    let answer =
        cri.client().list_container_stats(v1::ListContainerStatsRequest { filter }).await.must_succeed()?;
    let mut ids: Vec<_> = answer.stats.into_iter().filter_map(|s| s.attributes).map(|a| a.id).collect();
    ids.sort();
    Ok(ids)
}

/// Filters by id, pod and labels select running containers exactly, and combine.
#[case(covers = [
    "stats.list.filter-id", "stats.list.running-only", "stats.list.nil-filter", "stats.list.filter-sandbox",
    "stats.list.filter-labels", "stats.list.filter-and",
])]
async fn lists_select(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (pod, other) = (cri.run_pod().await?, cri.pod().host_network().run().await?);
    let marked = pod.container().with(|c| {
        c.labels.insert("plimsoll.test/which".into(), cri.tag().into());
    });
    let (a, b) = (marked.start().await?, other.container().start().await?);
    let ended = pod.container().script(&script()).run().await?;
    let filter = |change: &dyn Fn(&mut v1::ContainerStatsFilter)| {
        let mut filter = v1::ContainerStatsFilter::default();
        change(&mut filter);
        Some(filter)
    };
    let all = list(&cri, None).await?;
    check!(of "stats.list.nil-filter"; all.contains(&a.id) && all.contains(&b.id), "both containers", "not both");
    check!(of "stats.list.running-only"; !all.contains(&ended.id), "no ended container", "one");
    check_eq!(list(&cri, filter(&|f| f.id.clone_from(&a.id))).await?.len(), 1, "statistics of an id");
    let there = list(&cri, filter(&|f| f.pod_sandbox_id.clone_from(&other.id))).await?;
    check!(of "stats.list.filter-sandbox"; there == [b.id.clone()], "the pod's container", "others");
    let mut expected = vec![a.id.clone(), b.id.clone()];
    expected.sort();
    let tagged = list(
        &cri,
        filter(&|f| {
            f.label_selector.insert(plimsoll_kit::cri::TAG_LABEL.into(), cri.tag().into());
        }),
    );
    check!(of "stats.list.filter-labels"; tagged.await? == expected, "the case's containers", "others");
    let marked = list(
        &cri,
        filter(&|f| {
            f.label_selector.insert("plimsoll.test/which".into(), cri.tag().into());
        }),
    );
    check!(of "stats.list.filter-labels"; marked.await? == [a.id.clone()], "the one container with that label", "others");
    let none = list(
        &cri,
        filter(&|f| {
            f.id.clone_from(&a.id);
            f.pod_sandbox_id.clone_from(&other.id);
        }),
    );
    check!(of "stats.list.filter-and"; none.await?.is_empty(), "nothing", "something");
    Ok(())
}

/// Containers that vanish do not fail a list.
#[case(covers = ["stats.list.race-removed"])]
async fn lists_survive_churn(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let churn = async {
        for _ in 0..4 {
            pod.container().start().await?.remove().await.setup()?;
        }
        Ok::<_, Stop>(())
    };
    let lists = async {
        for _ in 0..25 {
            let filter = v1::ContainerStatsFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
            list(&cri, Some(filter)).await?;
        }
        Ok::<_, Stop>(())
    };
    let (churned, listed) = tokio::join!(churn, lists);
    churned?;
    listed
}

/// An ended container gives an error or nothing, no stale numbers.
#[case(covers = ["stats.container.created-or-exited"])]
async fn ended_containers_give_no_stale_numbers(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let ended = cri.run_pod().await?.container().script(&script()).run().await?;
    let request = v1::ContainerStatsRequest { container_id: ended.id.clone() };
    let answer = cri.client().container_stats(request).await;
    cx.record("stats.of-ended-container", answer.is_ok());
    let memory = answer.ok().and_then(|a| a.stats).and_then(|s| s.memory).and_then(|m| m.working_set_bytes);
    check!(memory.is_none_or(|m| m.value == 0), "no memory of an ended container", "some");
    Ok(())
}

/// The stream of statistics has what the list has.
#[case(covers = ["stats.stream"])]
async fn container_stream(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamContainerStats").await?;
    let container = cri.run_pod().await?.container().start().await?;
    let filter = v1::ContainerStatsFilter { id: container.id.clone(), ..Default::default() };
    let request = v1::StreamContainerStatsRequest { filter: Some(filter) };
    let messages =
        cri.client().stream_container_stats(request).await.must_succeed()?.all().await.must_succeed()?;
    let ids: Vec<_> = messages
        .into_iter()
        .flat_map(|m| m.container_stats)
        .filter_map(|s| s.attributes)
        .map(|a| a.id)
        .collect();
    check_eq!(ids, [container.id], "streamed statistics");
    Ok(())
}

async fn pod_stats(pod: &Pod) -> Result<v1::PodSandboxStats, Stop> {
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let answer = pod.cri().client().pod_sandbox_stats(request).await.must_succeed()?;
    answer.stats.ok_or_else(|| Stop::violation("PodSandboxStats answers statistics", "none"))
}

/// A pod's statistics name it and hold its containers, network and processes.
#[case(covers = [
    "stats.pod.attributes", "stats.pod.cpu-memory", "stats.pod.network", "stats.pod.process-count", "stats.pod.containers",
    "stats.pod.io", "stats.pod.network-hostnet",
])]
async fn pod_stats_are_plausible(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("PodSandboxStats").await?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    container.ask(&script().act("burn_cpu", json!({"ms": 300}))).await?;
    let stats = pod_stats(&pod).await?;
    let attributes = stats.attributes.unwrap_or_default();
    check!(
        attributes.id == pod.id
            && attributes.metadata == pod.config.metadata
            && attributes.labels == pod.config.labels,
        "id, metadata and labels",
        "others"
    );
    let linux = stats.linux.unwrap_or_default();
    let inside: Vec<_> =
        linux.containers.iter().filter_map(|c| c.attributes.as_ref()).map(|a| a.id.clone()).collect();
    check!(of "stats.pod.containers"; inside == [container.id.clone()], "the pod's container", "{} containers", inside.len());
    let spent = |cpu: &Option<v1::CpuUsage>| Some(cpu.as_ref()?.usage_core_nano_seconds.as_ref()?.value);
    let within: u64 = linux.containers.iter().filter_map(|c| spent(&c.cpu)).sum();
    if let Some(all) = spent(&linux.cpu) {
        // The pod is measured a moment before or after its containers.
        check!(of "stats.pod.cpu-memory"; all.saturating_mul(10) >= within.saturating_mul(9),
            "CPU time of the pod that covers its containers'", "{all} ns, and {within} ns of its containers");
    }
    let memory = linux.memory.and_then(|m| m.usage_bytes).map_or(0, |v| v.value);
    check!(of "stats.pod.cpu-memory"; linux.cpu.is_some() && memory > 0, "CPU and memory of the pod", "none");
    let interface = linux.network.and_then(|n| n.default_interface).unwrap_or_default();
    check!(of "stats.pod.network"; !interface.name.is_empty() && interface.rx_bytes.is_some(), "the default interface with its bytes", "{:?}", interface.name);
    let processes = linux.process.and_then(|p| p.process_count).map_or(0, |v| v.value);
    check!(of "stats.pod.process-count"; processes >= 2, "the processes of the pod", "{processes}");
    if let Some(io) = linux.io {
        check!(of "stats.pod.io"; io.timestamp > 0, "the pressure of input and output with its time", "no time");
    }
    Ok(())
}

/// Filters of pod statistics select exactly, and stopped pods do not fail the call.
#[case(covers = ["stats.pod.list-filters", "stats.pod.notready"])]
async fn pod_lists_select(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListPodSandboxStats").await?;
    let (pod, stopped) = (cri.run_pod().await?, cri.run_pod().await?);
    let other = cri.pod().host_network().run().await?;
    pod.container().start().await?;
    other.container().start().await?;
    stopped.stop().await.setup()?;
    let list = |filter| cri.client().list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest { filter });
    list(None).await.must_succeed().map_err(|s| s.of("stats.pod.notready"))?;
    let filter = v1::PodSandboxStatsFilter { id: pod.id.clone(), ..Default::default() };
    let found = list(Some(filter)).await.must_succeed()?.stats;
    let ids: Vec<_> = found.into_iter().filter_map(|s| s.attributes).map(|a| a.id).collect();
    check!(ids == [pod.id.clone()], "only the pod", "{} pods", ids.len());
    Ok(())
}

/// The stream of pod statistics has what the list has.
#[case(covers = ["stats.pod.stream"])]
async fn pod_streams(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamPodSandboxStats").await?;
    let pod = cri.run_pod().await?;
    let filter = v1::PodSandboxStatsFilter { id: pod.id.clone(), ..Default::default() };
    let request = v1::StreamPodSandboxStatsRequest { filter: Some(filter) };
    let messages =
        cri.client().stream_pod_sandbox_stats(request).await.must_succeed()?.all().await.must_succeed()?;
    let ids: Vec<_> = messages
        .into_iter()
        .flat_map(|m| m.pod_sandbox_stats)
        .filter_map(|s| s.attributes)
        .map(|a| a.id)
        .collect();
    check_eq!(ids, [pod.id], "streamed pods");
    Ok(())
}

/// Statistics of an unknown pod are NotFound.
#[case(covers = ["stats.pod.not-found"])]
async fn pods_that_are_gone(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("PodSandboxStats").await?;
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: NOBODY.into() };
    cri.client().pod_sandbox_stats(request).await.must_fail_with(&[Code::NotFound])?;
    Ok(())
}
