//! Status, resources and updates of a container.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    status_has_what_clients_need,
    times_are_in_order,
    exit_codes_and_reasons,
    oom_kills_are_told,
    plain_kills_are_not_oom,
    exits_are_noticed,
    verbose_status_has_the_pid,
    status_works_without_the_image,
    limits_are_set,
    limits_of_swap,
    huge_pages_and_unified,
    huge_page_limits,
    oom_score_is_set,
    unset_limits_stay_open,
    updates_take_effect,
    updates_keep_the_rest,
    updates_of_swap_and_unified,
    odd_updates,
    updates_are_all_or_nothing,
    updates_before_the_start,
];

/// Identity, image and state are there as a client needs them.
#[case(covers = [
    "container.status.required-fields", "container.status.image-field", "container.status.image-ref-digest",
    "container.status.image-id", "container.status.started-at-zero-before-start", ])]
async fn status_has_what_clients_need(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let plain = cri.plain().await?;
    let container = cri.run_pod().await?.container().create().await?;
    let status = container.status().await?;
    check!(
        status.id == container.id && status.metadata == container.config.metadata && status.created_at > 0,
        "id, metadata and created_at",
        "others"
    );
    let image = status.image.clone().unwrap_or_default();
    check!(!image.image.is_empty() && !status.image_ref.is_empty(), "image and image_ref", "empty ones");
    check!(of "container.status.image-field"; image.image == plain.id || image.image == plain.reference || image.image.contains("sha256:"), "the image of the request", "{}", image.image);
    check!(of "container.status.image-ref-digest"; status.image_ref.contains("sha256:"), "a digest in image_ref", "{}", status.image_ref);
    if !status.image_id.is_empty() {
        check_eq!(of "container.status.image-id"; status.image_id, plain.id, "image_id");
    }
    check!(of "container.status.started-at-zero-before-start"; status.started_at == 0 && status.finished_at == 0, "no times before the start", "{} {}", status.started_at, status.finished_at);
    Ok(())
}

/// Times are nanoseconds in the order of events.
#[case(covers = ["container.status.timestamps-order"])]
async fn times_are_in_order(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let before = now_ns();
    let status = cri
        .run_pod()
        .await?
        .container()
        .script(&script().act("sleep", json!({"ms": 300})))
        .run()
        .await?
        .status()
        .await?;
    let order = [before, status.created_at, status.started_at, status.finished_at, now_ns()];
    check!(order.is_sorted(), "before <= created <= started <= finished <= now", "another order");
    Ok(())
}

/// The exit code, that of a signal included, and the reason of the end are told.
#[case(covers = [
    "container.status.exit-code", "container.status.exit-code-signal", "container.status.reason-completed",
    "container.status.reason-error",
])]
async fn exit_codes_and_reasons(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().namespaces(|n| n.pid = 0).run().await?;
    for code in [0_u8, 1, 42, 255] {
        let status = pod.container().script(&script().exit(code)).run().await?.status().await?;
        check_eq!(status.exit_code, i32::from(code), "exit code");
        let (reason, id) = if code == 0 {
            ("Completed", "container.status.reason-completed")
        } else {
            ("Error", "container.status.reason-error")
        };
        check_eq!(of id; status.reason, reason, "reason of exit code {code}");
    }
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let status = pod
            .container()
            .script(&script().act("die", json!({"signal": signal})))
            .run()
            .await?
            .status()
            .await?;
        check_eq!(of "container.status.exit-code-signal"; status.exit_code, code, "exit code after {signal}");
    }
    Ok(())
}

/// A container that the kernel killed for its memory is OOMKilled, and its pod stays ready.
#[case(covers = ["container.status.reason-oomkilled", "robust.sandbox-oom"])]
async fn oom_kills_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let hog = script().act("hold_memory", json!({"bytes": 256 << 20}));
    let limited = pod.container().resources(|r| {
        r.memory_limit_in_bytes = 32 << 20;
        r.memory_swap_limit_in_bytes = 32 << 20;
    });
    let status = limited.script(&hog).run().await?.status().await?;
    check_eq!(status.exit_code, 137, "exit code");
    check_eq!(status.reason, "OOMKilled", "reason");
    check_eq!(of "robust.sandbox-oom"; pod.status().await?.state(), v1::PodSandboxState::SandboxReady, "state of the pod");
    Ok(())
}

/// A plain SIGKILL is not taken for an OOM kill.
#[case(covers = ["container.status.reason-not-oom-on-kill9"])]
async fn plain_kills_are_not_oom(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let status = cri
        .run_pod()
        .await?
        .container()
        .script(&script().act("die", json!({"signal": "KILL"})))
        .run()
        .await?
        .status()
        .await?;
    check_ne!(status.reason, "OOMKilled", "reason of a plain kill");
    Ok(())
}

/// The end of a container is noticed without a further call.
#[case(covers = ["container.status.state-exited-detected"])]
async fn exits_are_noticed(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container =
        cri.run_pod().await?.container().script(&script().act("sleep", json!({"ms": 700}))).start().await?;
    let status = container.exited().await?;
    let lag = (now_ns() - status.finished_at) / 1_000_000;
    check!(lag < 2000, "noticed within 2 s", "after {} s", lag / 1000);
    Ok(())
}

/// The verbose status has JSON values and the pid of a running container.
#[case(covers = ["container.status.verbose-info", "container.status.verbose-pid"])]
async fn verbose_status_has_the_pid(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    check!(
        container.try_status(false).await.must_succeed()?.info.is_empty(),
        "no info unless verbose",
        "some"
    );
    let info = container.try_status(true).await.must_succeed()?.info;
    check!(info.values().all(|v| serde_json::from_str::<Value>(v).is_ok()), "JSON values", "another text");
    let pid = pid_of(&container).await?;
    check!(of "container.status.verbose-pid"; pid.is_some_and(|p| std::path::Path::new(&format!("/proc/{p}")).exists()), "the pid of a live process", "none");
    Ok(())
}

/// A container lives on when its image is removed.
#[case(covers = ["container.status.no-image-needed", "image.remove.in-use"])]
async fn status_works_without_the_image(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let image = cri.pull("doomed", &cri.catalogue().tagged(&format!("doomed-{}", cri.tag()))).await?;
    let container = cri.run_pod().await?.container().image(&image.id).start().await?;
    let spec = v1::ImageSpec { image: image.reference.clone(), ..Default::default() };
    let removed = cri.client().remove_image(v1::RemoveImageRequest { image: Some(spec) }).await;
    cx.record("image.remove-in-use", removed.is_ok());
    check_eq!(container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
    container.exec_script(&script(), 20).await.must_succeed().map_err(|s| s.of("image.remove.in-use"))?;
    container.stop(0).await.must_succeed()?;
    Ok(())
}

fn number(text: &str) -> i64 {
    text.split_whitespace().next().unwrap_or_default().parse().unwrap_or(-1)
}

/// CPU and memory limits are in the cgroup, and told.
#[case(covers = [
    "container.resources.memory", "container.resources.cpu-shares", "container.resources.cpu-quota",
    "container.resources.cpuset", "container.status.resources", "container.resources.pids-default",
])]
async fn limits_are_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().resources(|r| {
        r.memory_limit_in_bytes = 64 << 20;
        r.cpu_shares = 512;
        r.cpu_quota = 50_000;
        r.cpu_period = 100_000;
        r.cpuset_cpus = "0".into();
    });
    let container = container.start().await?;
    check_eq!(
        number(&container.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await?),
        64 << 20,
        "memory limit"
    );
    let shares = number(&container.cgroup_value("cpu", "cpu.shares", "cpu.weight").await?);
    // Version 2 knows two formulas for the weight of 512 shares.
    check!(of "container.resources.cpu-shares"; matches!(shares, 512 | 20 | 59), "512 shares or their weight", "{shares}");
    let quota = number(&container.cgroup_value("cpu", "cpu.cfs_quota_us", "cpu.max").await?);
    check_eq!(of "container.resources.cpu-quota"; quota, 50_000, "CPU quota");
    check_eq!(of "container.resources.cpuset"; fact(&container, "affinity").await?["cpus"], json!([0]), "processors");
    let pids = container.cgroup_value("pids", "pids.max", "pids.max").await;
    cx.record("container.pids-default", pids.unwrap_or_default());
    match container.status().await?.resources.and_then(|r| r.linux) {
        Some(told) => {
            let same = told.memory_limit_in_bytes == 64 << 20 && told.cpu_shares == 512;
            check!(of "container.status.resources"; same, "the limits in the status", "others");
        }
        None if cri.has("RuntimeConfig").await? => {
            return Err(Stop::violation("the limits in the status", "none").of("container.status.resources"));
        }
        None => cx.record("container.status-has-resources", false),
    }
    Ok(())
}

/// A swap limit equal to the memory limit allows no swap, and one below it is refused.
#[case(covers = ["container.resources.swap", "container.resources.swap-lt-memory"])]
async fn limits_of_swap(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let with = |swap: i64| {
        pod.container().resources(|r| {
            r.memory_limit_in_bytes = 64 << 20;
            r.memory_swap_limit_in_bytes = swap;
        })
    };
    with(32 << 20).must_be_refused().await.map_err(|s| s.of("container.resources.swap-lt-memory"))?;
    let container = with(64 << 20).start().await?;
    let value =
        number(&container.cgroup_value("memory", "memory.memsw.limit_in_bytes", "memory.swap.max").await?);
    check!(value == 64 << 20 || value == 0, "no swap beyond the memory", "{value}");
    Ok(())
}

/// Huge page limits and version 2 keys are applied, unknown ones refused.
#[case(covers = [
    "container.resources.hugepage-bad-size", "container.resources.unified",
    "container.resources.unified-invalid", "robust.fork-bomb",
])]
async fn huge_pages_and_unified(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let odd = v1::HugepageLimit { page_size: "3MB".into(), limit: 0 };
    let made = pod.container().resources(|r| r.hugepage_limits = vec![odd]).try_create().await?;
    cx.record("container.hugepage-bad-size", made.is_ok());
    let unified = |key: &'static str, value: &'static str| {
        pod.container().resources(move |r| {
            r.unified.insert(key.into(), value.into());
        })
    };
    cx.need_v2("pids")?;
    unified("no.such.file", "1")
        .must_be_refused()
        .await
        .map_err(|s| s.of("container.resources.unified-invalid"))?;
    let container = unified("pids.max", "77").start().await?;
    check_eq!(of "container.resources.unified"; container.cgroup_value("pids", "pids.max", "pids.max").await?, "77", "pids.max");
    let bomb = script().act("fork_orphans", json!({"count": 200, "ms": 3000}));
    check_eq!(of "robust.fork-bomb"; step(&container, &bomb, "fork_orphans").await?.map(|_| ()), Err(11), "200 processes with a limit of 77");
    Ok(())
}

/// oom_score_adj of the first process is the one asked for.
#[case(covers = ["container.resources.oom-score-adj"])]
async fn oom_score_is_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for value in [0, 500, 1000] {
        let answers =
            pod.container().resources(|r| r.oom_score_adj = value).answers(&ask(["oom_score_adj"])).await?;
        let set = answers.facts("oom_score_adj")?["oom_score_adj"].clone();
        if set.as_i64().is_some_and(|set| set > value) {
            // What started the container may have a higher value, which only this capability can lower.
            cx.need_capability("CAP_SYS_RESOURCE")?;
        }
        check_eq!(set, value, "oom_score_adj");
    }
    Ok(())
}

/// Zero and -1 mean no limit.
#[case(covers = ["container.resources.memory-zero-unlimited", "container.resources.cpu-quota-negative"])]
async fn unset_limits_stay_open(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().resources(|r| {
        r.memory_limit_in_bytes = 0;
        r.cpu_quota = -1;
    });
    let quota = "container.resources.cpu-quota-negative";
    let container = container.try_create().await?.must_succeed().map_err(|s| s.of(quota))?;
    container.start().await.must_succeed().map_err(|s| s.of(quota))?;
    let memory = container.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await?;
    check!(memory == "max" || number(&memory) > 1 << 50, "no memory limit", "{memory}");
    let quota = container.cgroup_value("cpu", "cpu.cfs_quota_us", "cpu.max").await?;
    check!(of "container.resources.cpu-quota-negative"; quota.starts_with("max") || quota == "-1", "no CPU limit", "{quota}");
    Ok(())
}

fn memory(bytes: i64) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() }
}

/// New limits are in force when the call returns, are told, and can be set again.
#[case(covers = [
    "container.update.memory", "container.update.cpu", "container.update.cpuset", "container.update.synchronous",
    "container.update.idempotent", "container.status.resources-after-update", "container.update.annotations-ignored",
])]
async fn updates_take_effect(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    // Asked before, too: what is told afterwards must not be what was remembered.
    container.status().await?;
    let wanted = v1::LinuxContainerResources {
        cpu_shares: 256,
        cpu_quota: 30_000,
        cpu_period: 100_000,
        cpuset_cpus: "0".into(),
        ..memory(96 << 20)
    };
    container.update(wanted.clone()).await.must_succeed()?;
    let limit = || async { container.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await };
    check_eq!(number(&limit().await?), 96 << 20, "memory limit");
    let shares = number(&container.cgroup_value("cpu", "cpu.shares", "cpu.weight").await?);
    // Version 2 knows two formulas for the weight of 256 shares.
    check!(of "container.update.synchronous"; matches!(shares, 256 | 10 | 35), "256 shares or their weight when the call has returned", "{shares}");
    let quota = number(&container.cgroup_value("cpu", "cpu.cfs_quota_us", "cpu.max").await?);
    check_eq!(of "container.update.cpu"; quota, 30_000, "CPU quota");
    check_eq!(of "container.update.cpuset"; container.cgroup_value("cpuset", "cpuset.cpus", "cpuset.cpus").await?, "0", "processors");
    container.update(wanted.clone()).await.must_succeed().map_err(|s| s.of("container.update.idempotent"))?;
    if let Some(told) = container.status().await?.resources.and_then(|r| r.linux) {
        check_eq!(of "container.status.resources-after-update"; told.memory_limit_in_bytes, 96 << 20, "memory limit in the status");
    }
    let request = v1::UpdateContainerResourcesRequest {
        container_id: container.id.clone(),
        linux: Some(wanted),
        annotations: [("example.test/unknown".to_owned(), "x".to_owned())].into(),
        ..Default::default()
    };
    cx.record("container.update-annotations", cri.client().update_container_resources(request).await.is_ok());
    Ok(())
}

/// A value of zero keeps what was set.
#[case(covers = ["container.update.zero-keeps"])]
async fn updates_keep_the_rest(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container =
        cri.run_pod().await?.container().resources(|r| r.memory_limit_in_bytes = 64 << 20).start().await?;
    container
        .update(v1::LinuxContainerResources { cpu_shares: 300, ..Default::default() })
        .await
        .must_succeed()?;
    let limit = number(&container.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await?);
    check_eq!(limit, 64 << 20, "memory limit after an update of the CPU");
    Ok(())
}

/// Swap and version 2 keys can be updated.
#[case(covers = ["container.update.unified", "container.update.swap"])]
async fn updates_of_swap_and_unified(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need_v2("memory")?;
    let container =
        cri.run_pod().await?.container().resources(|r| r.memory_limit_in_bytes = 64 << 20).start().await?;
    let mut wanted = v1::LinuxContainerResources { memory_swap_limit_in_bytes: 96 << 20, ..memory(64 << 20) };
    wanted.unified.insert("memory.high".into(), (48 << 20).to_string());
    container.update(wanted).await.must_succeed()?;
    check_eq!(number(&container.cgroup_value("memory", "", "memory.high").await?), 48 << 20, "memory.high");
    check_eq!(of "container.update.swap"; number(&container.cgroup_value("memory", "", "memory.swap.max").await?), 32 << 20, "memory.swap.max");
    Ok(())
}

/// Unknown and ended containers are not updated; a limit below the usage is refused or told truly.
#[case(covers = ["container.update.not-found", "container.update.exited-error", "container.update.memory-below-usage"])]
async fn odd_updates(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let request = v1::UpdateContainerResourcesRequest {
        container_id: NOBODY.into(),
        linux: Some(memory(1 << 26)),
        ..Default::default()
    };
    cri.client().update_container_resources(request).await.must_fail_with(&[Code::NotFound])?;
    let pod = cri.run_pod().await?;
    let holder =
        pod.container().script(&script().act("hold_memory", json!({"bytes": 48 << 20}))).start().await?;
    holder.logs("ready").await?;
    let answer = holder.update(memory(8 << 20)).await;
    cx.record("container.update-below-usage", answer.is_ok());
    let status = holder.status().await?;
    check_eq!(of "container.update.memory-below-usage"; status.state(), v1::ContainerState::ContainerRunning, "state after a limit below the usage");
    if let Some(told) = status.resources.and_then(|r| r.linux) {
        let real = holder.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await?;
        let same = told.memory_limit_in_bytes == number(&real)
            || (told.memory_limit_in_bytes == 0 && number(&real) != 8 << 20);
        check!(of "container.update.memory-below-usage"; same, "the limit in force in the status", "{} instead of {real}", told.memory_limit_in_bytes);
    }
    let ended = pod.container().script(&script()).run().await?;
    ended.update(memory(1 << 26)).await.must_fail().map_err(|s| s.of("container.update.exited-error"))?;
    Ok(())
}

/// When one value cannot be applied, the reported limits stay the old ones.
#[case(covers = ["container.update.transactional"])]
async fn updates_are_all_or_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container =
        cri.run_pod().await?.container().resources(|r| r.memory_limit_in_bytes = 64 << 20).start().await?;
    let bad = v1::LinuxContainerResources { cpuset_cpus: "4000".into(), ..memory(96 << 20) };
    container.update(bad).await.must_fail()?;
    if let Some(told) = container.status().await?.resources.and_then(|r| r.linux) {
        check_eq!(told.memory_limit_in_bytes, 64 << 20, "memory limit in the status");
    }
    Ok(())
}

/// A container can be updated before its start, with effect after it.
#[case(covers = ["container.update.created-state"])]
async fn updates_before_the_start(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().create().await?;
    container.update(memory(80 << 20)).await.must_succeed()?;
    container.start().await.must_succeed()?;
    let limit = number(&container.cgroup_value("memory", "memory.limit_in_bytes", "memory.max").await?);
    check_eq!(limit, 80 << 20, "memory limit after the start");
    Ok(())
}

/// A limit of huge pages is in the cgroup.
#[case(covers = ["container.resources.hugepages"])]
async fn huge_page_limits(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need_path("/sys/kernel/mm/hugepages/hugepages-2048kB", "hugepages-2MB")?;
    // On a hybrid host the controller may be where only some runtimes of version 1 look.
    if cx.need_v1("hugetlb").is_err() {
        cx.need_v2("hugetlb")?;
    }
    let limit = v1::HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
    let container = cri.run_pod().await?.container().resources(|r| r.hugepage_limits = vec![limit]);
    let container = container.try_create().await?.must_succeed()?;
    container.start().await.must_succeed()?;
    let value = container.cgroup_value("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max").await?;
    check_eq!(number(&value), 4 << 20, "limit of huge pages of 2 MiB");
    Ok(())
}
