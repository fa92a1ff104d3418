//! Metrics and their descriptors.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    metrics_are_described,
    metrics_fit_their_descriptors,
    metrics_stream,
    counters_never_shrink,
    values_agree_with_the_cgroup,
];

async fn descriptors(cri: &Cri) -> Result<Vec<v1::MetricDescriptor>, Stop> {
    Ok(cri
        .client()
        .list_metric_descriptors(v1::ListMetricDescriptorsRequest {})
        .await
        .must_succeed()?
        .descriptors)
}

/// Descriptors have unique valid names and help, and stay the same.
#[case(covers = ["metrics.descriptors.present", "metrics.descriptors.names-unique", "metrics.descriptors.static"])]
async fn metrics_are_described(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListMetricDescriptors").await?;
    let first = descriptors(&cri).await?;
    check!(
        !first.is_empty() && first.iter().all(|d| !d.help.is_empty() && !d.name.is_empty()),
        "descriptors with name and help",
        "some without"
    );
    let unique: std::collections::BTreeSet<_> = first.iter().map(|d| d.name.as_str()).collect();
    let valid = |n: &str| {
        n.chars()
            .enumerate()
            .all(|(i, c)| c == '_' || c == ':' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()))
    };
    check!(of "metrics.descriptors.names-unique"; unique.len() == first.len() && unique.iter().all(|n| valid(n)), "unique valid names", "not so");
    cri.run_pod().await?.container().start().await?;
    check!(of "metrics.descriptors.static"; descriptors(&cri).await? == first, "the same descriptors later", "others");
    Ok(())
}

/// Every metric has a descriptor, as many values as keys, a fitting type and a plausible value.
#[case(covers = [
    "metrics.pod.names-declared", "metrics.pod.label-count", "metrics.pod.container-level", "metrics.pod.timestamp",
])]
async fn metrics_fit_their_descriptors(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListPodSandboxMetrics").await?;
    let pod = cri.run_pod().await?;
    let container = pod.container().start().await?;
    let keys: std::collections::BTreeMap<_, _> =
        descriptors(&cri).await?.into_iter().map(|d| (d.name, d.label_keys.len())).collect();
    let all = cri
        .client()
        .list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest {})
        .await
        .must_succeed()?
        .pod_metrics;
    let Some(mine) = all.into_iter().find(|p| p.pod_sandbox_id == pod.id) else {
        return Err(Stop::violation("metrics of the pod", "none"));
    };
    let inside = mine.container_metrics.iter().find(|c| c.container_id == container.id);
    check!(of "metrics.pod.container-level"; inside.is_some(), "metrics of the container", "none");
    for metric in mine.metrics.iter().chain(inside.into_iter().flat_map(|c| &c.metrics)) {
        let Some(count) = keys.get(&metric.name) else {
            return Err(Stop::violation(
                "a descriptor for every metric",
                format!("none for {}", metric.name),
            ));
        };
        check_eq!(of "metrics.pod.label-count"; metric.label_values.len(), *count, "label values of {}", metric.name);
        let age = now_ns() - metric.timestamp;
        check!(of "metrics.pod.timestamp"; metric.timestamp == 0 || (0..120_000_000_000).contains(&age), "0, or nanoseconds of now", "another time");
    }
    Ok(())
}

/// The stream of metrics has the pods of the list.
#[case(covers = ["metrics.pod.stream"])]
async fn metrics_stream(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamPodSandboxMetrics").await?;
    let pod = cri.run_pod().await?;
    let messages = cri
        .client()
        .stream_pod_sandbox_metrics(v1::StreamPodSandboxMetricsRequest {})
        .await
        .must_succeed()?
        .all()
        .await
        .must_succeed()?;
    let mine = messages
        .into_iter()
        .flat_map(|m| m.pod_sandbox_metrics)
        .filter(|p| p.pod_sandbox_id == pod.id)
        .count();
    check_eq!(mine, 1, "entries of the pod");
    Ok(())
}

/// Metrics of one container.
async fn of_container(container: &Container) -> Result<Vec<v1::Metric>, Stop> {
    let request = v1::ListPodSandboxMetricsRequest {};
    let pods = container.cri().client().list_pod_sandbox_metrics(request).await.must_succeed()?.pod_metrics;
    let mine = pods.into_iter().flat_map(|p| p.container_metrics).find(|c| c.container_id == container.id);
    mine.map(|c| c.metrics).ok_or_else(|| Stop::violation("metrics of the container", "none"))
}

/// A counter grows or stays while its container works, and a metric keeps its type.
#[case(covers = ["metrics.pod.type"])]
async fn counters_never_shrink(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListPodSandboxMetrics").await?;
    let container = cri.run_pod().await?.container().start().await?;
    let before = of_container(&container).await?;
    container.ask(&script().act("burn_cpu", json!({"ms": 1200}))).await?.facts("burn_cpu")?;
    let after = of_container(&container).await?;
    let value = |m: &v1::Metric| m.value.as_ref().map_or(0, |v| v.value);
    let mut grown = 0;
    for old in &before {
        let same = |m: &&v1::Metric| m.name == old.name && m.label_values == old.label_values;
        let Some(new) = after.iter().find(same) else { continue };
        check_eq!(new.metric_type, old.metric_type, "type of {}", old.name);
        if new.metric_type() == v1::MetricType::Counter {
            check!(value(new) >= value(old), "counters that do not shrink", "{} did", old.name);
            grown += u32::from(value(new) > value(old));
        }
    }
    check!(grown > 0, "a counter that grows while the container computes", "none");
    Ok(())
}

/// What the metrics say of memory and processes is what the cgroup says.
#[case(covers = ["metrics.pod.values-plausible"])]
async fn values_agree_with_the_cgroup(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("ListPodSandboxMetrics").await?;
    let hold = script().act("hold_memory", json!({"bytes": 32 << 20}));
    let limited = cri.run_pod().await?.container().resources(|r| r.memory_limit_in_bytes = 256 << 20);
    let container = limited.script(&hold).start().await?;
    container.logs("ready").await?;
    let usage = container.cgroup_value("memory", "memory.usage_in_bytes", "memory.current").await?;
    let usage = usage.parse::<u64>().unwrap_or(0);
    let metrics = of_container(&container).await?;
    let find = |name: &str| metrics.iter().find(|m| m.name == name).and_then(|m| m.value).map(|v| v.value);
    let near = |value: u64| value.abs_diff(usage) < 8 << 20;
    let mut judged = 0;
    for (name, fits) in [
        ("container_memory_usage_bytes", find("container_memory_usage_bytes").map(near)),
        (
            "container_spec_memory_limit_bytes",
            find("container_spec_memory_limit_bytes").map(|v| v == 256 << 20),
        ),
        ("container_memory_rss", find("container_memory_rss").map(|v| v >= 32 << 20 && v <= usage)),
        ("container_processes", find("container_processes").map(|v| (1..10).contains(&v))),
    ] {
        check!(
            fits != Some(false),
            "a value that agrees with the cgroup",
            "{name} does not: {:?}",
            find(name)
        );
        judged += u32::from(fits.is_some());
    }
    check!(judged > 0, "a metric of memory or processes", "none");
    Ok(())
}
