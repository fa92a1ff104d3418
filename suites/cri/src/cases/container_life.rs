//! Life of a container: create, start, list.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    create_makes_and_starts_nothing,
    incomplete_requests_are_refused,
    stopped_pods_take_no_containers,
    the_sandbox_config_is_a_reference,
    names_are_unique_in_a_pod,
    failed_creates_leave_nothing,
    images_are_named_three_ways,
    a_missing_image_is_not_pulled,
    labels_and_annotations_come_back,
    start_runs_once,
    failed_starts_are_told,
    list_filters_select,
    list_matches_status,
    stream_equals_list,
    streams_hold_more_than_a_message,
];

/// A created container is listed, in the state CREATED, and nothing of it has run.
#[case(covers = ["container.create.state-created", "container.create.returns-id", "container.create.listed"])]
async fn create_makes_and_starts_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "marker")?;
    let pod = cri.run_pod().await?;
    let marker = script().act("marker", json!({"path": "/m/ran"}));
    let mine = || v1::ContainerFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
    check_eq!(of "container.create.listed"; list(&cri, Some(mine())).await?.len(), 0, "containers of a new pod");
    let container =
        pod.container().mount(&dir, "/m", |_| ()).script(&marker).try_create().await?.must_succeed()?;
    check!(of "container.create.returns-id"; !container.id.is_empty(), "an id", "none");
    check_eq!(container.status().await?.state(), v1::ContainerState::ContainerCreated, "state");
    check!(of "container.create.listed"; container.listed().await?.is_some(), "the container is listed", "it is not");
    check_eq!(of "container.create.listed"; list(&cri, Some(mine())).await?.len(), 1,
        "containers of the pod, asked as before the creation");
    check!(!std::path::Path::new(&format!("{dir}/ran")).exists(), "nothing has run", "the command has");
    Ok(())
}

/// A container without configuration, metadata or an existing pod is refused.
#[case(covers = ["container.create.missing-config", "container.create.missing-metadata", "container.create.sandbox-unknown"])]
async fn incomplete_requests_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let image = cri.plain().await?.id;
    let call = |request: v1::CreateContainerRequest| cri.client().create_container(request);
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: None,
        sandbox_config: Some(pod.config.clone()),
    };
    call(request.clone()).await.must_fail()?;
    pod.container()
        .with(|c| c.metadata = None)
        .try_create()
        .await?
        .must_fail()
        .map_err(|s| s.of("container.create.missing-metadata"))?;
    let config = pod.container().image(&image).config().clone();
    let unknown =
        v1::CreateContainerRequest { pod_sandbox_id: NOBODY.into(), config: Some(config), ..request };
    call(unknown).await.must_fail().map_err(|s| s.of("container.create.sandbox-unknown"))?;
    check!(pod.containers().await?.is_empty(), "no container after refusals", "one");
    Ok(())
}

/// A stopped pod takes no container, and starts none.
#[case(covers = ["container.create.sandbox-stopped", "container.start.sandbox-stopped"])]
async fn stopped_pods_take_no_containers(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let early = pod.container().create().await?;
    pod.stop().await.setup()?;
    early.start().await.must_fail().map_err(|s| s.of("container.start.sandbox-stopped"))?;
    pod.container().try_create().await?.must_fail()?;
    Ok(())
}

/// The pod's configuration in a CreateContainer call is for reference: the pod stays what it is.
#[case(covers = ["container.create.sandbox-config-reference"])]
async fn the_sandbox_config_is_a_reference(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let mut other = pod.clone();
    other.config.labels.insert("invented".into(), "later".into());
    other.container().try_create().await?.must_succeed()?;
    check!(
        !pod.status().await?.labels.contains_key("invented"),
        "the pod's own labels",
        "those of the later call"
    );
    Ok(())
}

/// A name and attempt are used once in a pod, and are free again after removal.
#[case(covers = [
    "container.create.name-attempt-unique", "container.create.name-reuse-after-remove", "container.create.attempt-next",
    "container.create.same-name-other-pod",
])]
async fn names_are_unique_in_a_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let named = |attempt| {
        move |c: &mut v1::ContainerConfig| {
            c.metadata = Some(v1::ContainerMetadata { name: "same".into(), attempt });
        }
    };
    let first = pod.container().with(named(0)).create().await?;
    if let Ok(second) = pod.container().with(named(0)).try_create().await? {
        check!(second.id == first.id, "a refusal, or the first container's id", "a second container");
    }
    let next = pod
        .container()
        .with(named(1))
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("container.create.attempt-next"))?;
    check!(of "container.create.attempt-next"; next.id != first.id && first.listed().await?.is_some(), "another container beside the first", "not so");
    first.remove().await.setup()?;
    pod.container()
        .with(named(0))
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("container.create.name-reuse-after-remove"))?;
    let other = cri.pod().host_network().run().await?;
    other
        .container()
        .with(named(0))
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("container.create.same-name-other-pod"))?;
    Ok(())
}

/// A refused container leaves nothing listed and no log file.
#[case(covers = ["container.create.failed-leaves-nothing"])]
async fn failed_creates_leave_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let bad = pod
        .container()
        .with(|c| c.mounts.push(v1::Mount { container_path: "/x".into(), ..Default::default() }));
    bad.try_create().await?.must_fail()?;
    check!(pod.containers().await?.is_empty(), "no container", "one is listed");
    let logs = std::fs::read_dir(pod.log_directory()).map_or(0, Iterator::count);
    check_eq!(logs, 0, "log files of refused containers");
    Ok(())
}

/// An image is named by id, by tag or by digest.
#[case(covers = ["container.create.image-by-id", "container.create.image-by-tag", "container.create.image-by-digest", "container.create.user-specified-image"])]
async fn images_are_named_three_ways(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let plain = cri.plain().await?;
    pod.container().image(&plain.id).try_create().await?.must_succeed()?;
    pod.container()
        .image(&plain.reference)
        .try_create()
        .await?
        .must_succeed()
        .map_err(|s| s.of("container.create.image-by-tag"))?;
    let image = cri.image_status(&plain.id).await.must_succeed()?.unwrap_or_default();
    if let Some(digest) = image.repo_digests.first() {
        pod.container()
            .image(digest)
            .try_create()
            .await?
            .must_succeed()
            .map_err(|s| s.of("container.create.image-by-digest"))?;
    }
    let named = pod.container().image(&plain.id).with(|c| {
        if let Some(image) = &mut c.image {
            image.user_specified_image.clone_from(&plain.reference);
        }
    });
    let status = named.create().await?.status().await?.image.unwrap_or_default();
    check!(of "container.create.user-specified-image"; status.image == plain.reference || status.user_specified_image == plain.reference,
        "the name that the user gave", "{}", if status.image == plain.id { "the id" } else { "another text" });
    Ok(())
}

/// A missing image is an error; the endpoint asks no registry for it.
#[case(covers = ["container.create.image-missing"])]
async fn a_missing_image_is_not_pulled(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let reference =
        cri.publish("never-pulled", "1", &cri.catalogue().tagged(&format!("never-{}", cri.tag())))?;
    pod.container().image(&reference).try_create().await?.must_fail()?;
    check_eq!(cri.registry()?.counters().total, 0, "requests that the registry saw");
    Ok(())
}

/// Labels and annotations of a container come back in status, list and statistics.
#[case(covers = ["container.create.labels-roundtrip", "container.create.annotations-roundtrip", "container.create.label-keys-prefixed"])]
async fn labels_and_annotations_come_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().with(|c| {
        c.labels.insert("example.test/a".into(), "b".into());
        c.annotations.insert("example.test/text".into(), "one\ntwo \u{e9}".into());
    });
    let container = container.start().await?;
    let (status, listed) = (container.status().await?, container.listed().await?.unwrap_or_default());
    check_eq!(status.labels, container.config.labels, "labels in the status");
    check_eq!(listed.labels, container.config.labels, "labels in the list");
    check_eq!(of "container.create.label-keys-prefixed"; status.labels.get("example.test/a").map(String::as_str), Some("b"), "the label with a prefix");
    check_eq!(of "container.create.annotations-roundtrip"; status.annotations, container.config.annotations, "annotations in the status");
    check_eq!(of "container.create.annotations-roundtrip"; listed.annotations, container.config.annotations, "annotations in the list");
    Ok(())
}

/// A container starts once: it is RUNNING at once, and neither a running nor an ended one starts again.
#[case(covers = ["container.start.running", "container.start.twice", "container.start.after-exit", "container.start.not-found"])]
async fn start_runs_once(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod.container().create().await?;
    container.start().await.must_succeed()?;
    let status = container.status().await?;
    check_eq!(status.state(), v1::ContainerState::ContainerRunning, "state right after the start");
    check!(status.started_at > 0, "started_at is set", "it is zero");
    let before = pid_of(&container).await?;
    container.start().await.must_fail().map_err(|s| s.of("container.start.twice"))?;
    check_eq!(of "container.start.twice"; pid_of(&container).await?, before, "process after the refused start");
    container.stop(0).await.setup()?;
    container.start().await.must_fail().map_err(|s| s.of("container.start.after-exit"))?;
    let unknown = v1::StartContainerRequest { container_id: NOBODY.into() };
    cri.client().start_container(unknown).await.must_fail().map_err(|s| s.of("container.start.not-found"))?;
    Ok(())
}

/// A container whose start failed is EXITED, with a code and a reason.
#[case(covers = ["container.start.error-status", "container.command.not-found", "container.status.message", "container.status.reason-camelcase"])]
async fn failed_starts_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = match pod.container().command(&["/no/such/command"]).try_create().await? {
        Err(error) => {
            cx.record("container.command-not-found", "create");
            Err::<(), _>(error).must_fail().map_err(|s| s.of("container.command.not-found"))?;
            return Ok(());
        }
        Ok(container) => container,
    };
    cx.record("container.command-not-found", "start");
    container.start().await.must_fail().map_err(|s| s.of("container.command.not-found"))?;
    let status = container.status().await?;
    check_ne!(status.state(), v1::ContainerState::ContainerRunning, "state");
    check_eq!(status.state(), v1::ContainerState::ContainerExited, "state");
    check!(
        status.exit_code != 0 && !status.reason.is_empty(),
        "a code other than zero and a reason",
        "{} {:?}",
        status.exit_code,
        status.reason
    );
    check!(of "container.status.reason-camelcase"; status.reason.chars().all(|c| c.is_ascii_alphanumeric()), "one CamelCase word", "{:?}", status.reason);
    cx.record("container.failed-start-has-message", !status.message.is_empty());
    Ok(())
}

fn ids(containers: &[v1::Container]) -> Vec<&str> {
    let mut ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn list(cri: &Cri, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>, Stop> {
    Ok(cri.client().list_containers(v1::ListContainersRequest { filter }).await.must_succeed()?.containers)
}

/// Filters by id, pod, state and labels select exactly, and combine.
#[case(covers = [
    "container.list.filter-id", "container.list.nil-filter", "container.list.filter-unknown-empty", "container.list.filter-state",
    "container.list.filter-sandbox", "container.list.filter-labels", "container.list.filter-and",
])]
async fn list_filters_select(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (pod, other) = (cri.run_pod().await?, cri.pod().host_network().run().await?);
    let colored = |pod: &Pod, color: &'static str| {
        pod.container().with(move |c| {
            c.labels.insert("color".into(), color.into());
        })
    };
    let created = colored(&pod, "red").create().await?;
    let running = colored(&pod, "blue").start().await?;
    let exited = colored(&other, "red").script(&script()).run().await?;
    let filter = |change: &dyn Fn(&mut v1::ContainerFilter)| {
        let mut filter = v1::ContainerFilter::default();
        filter.label_selector.insert(plimsoll_kit::cri::TAG_LABEL.into(), cri.tag().into());
        change(&mut filter);
        Some(filter)
    };
    let all = list(&cri, filter(&|_| ())).await?;
    let mut expected = vec![created.id.as_str(), running.id.as_str(), exited.id.as_str()];
    expected.sort_unstable();
    check_eq!(of "container.list.filter-labels"; ids(&all), expected, "containers with the case's label");
    let every = list(&cri, None).await?;
    check!(of "container.list.nil-filter"; expected.iter().all(|id| ids(&every).contains(id)), "all states and pods without a filter", "some are missing");
    check_eq!(
        ids(&list(&cri, filter(&|f| f.id.clone_from(&created.id))).await?),
        [created.id.as_str()],
        "containers with an id"
    );
    check!(of "container.list.filter-unknown-empty"; list(&cri, filter(&|f| f.id = NOBODY.into())).await?.is_empty(), "no container", "some");
    for (state, container) in [(0, &created), (1, &running), (2, &exited)] {
        let found = list(&cri, filter(&|f| f.state = Some(v1::ContainerStateValue { state }))).await?;
        check_eq!(of "container.list.filter-state"; ids(&found), [container.id.as_str()], "containers in state {state}");
    }
    let there = list(&cri, filter(&|f| f.pod_sandbox_id.clone_from(&other.id))).await?;
    check_eq!(of "container.list.filter-sandbox"; ids(&there), [exited.id.as_str()], "containers of a pod");
    let blue = list(
        &cri,
        filter(&|f| {
            f.label_selector.insert("color".into(), "blue".into());
        }),
    )
    .await?;
    check_eq!(of "container.list.filter-labels"; ids(&blue), [running.id.as_str()], "containers with both labels");
    let none = list(
        &cri,
        filter(&|f| {
            f.id.clone_from(&created.id);
            f.pod_sandbox_id.clone_from(&other.id);
        }),
    )
    .await?;
    check!(of "container.list.filter-and"; none.is_empty(), "no container with the id of one and the pod of another", "some");
    Ok(())
}

/// The list says of a container what its status says.
#[case(covers = ["container.list.fields", "container.list.created-at-ns", "container.list.image-id-consistent"])]
async fn list_matches_status(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let noted = pod.container().with(|c| {
        c.annotations.insert("plimsoll.test/note".into(), "kept".into());
    });
    let container = noted.start().await?;
    let (status, listed) = (container.status().await?, container.listed().await?.unwrap_or_default());
    check!(listed.id == status.id && listed.pod_sandbox_id == pod.id, "the ids of the status", "others");
    check!(
        listed.metadata == status.metadata && listed.state == status.state,
        "metadata and state of the status",
        "others"
    );
    check!(listed.image_ref == status.image_ref, "the image_ref of the status", "another one");
    check!(
        listed.labels == status.labels && listed.annotations == status.annotations,
        "labels and annotations of the status",
        "{:?} and {:?}",
        listed.labels,
        listed.annotations
    );
    // Which of its names stands there is the endpoint's choice.
    check!(listed.image.is_some_and(|i| !i.image.is_empty()), "the image", "none");
    check_eq!(of "container.list.created-at-ns"; listed.created_at, status.created_at, "created_at in the list");
    check!(of "container.list.created-at-ns"; listed.created_at > 1_500_000_000_000_000_000, "nanoseconds since 1970", "another unit");
    if !listed.image_id.is_empty() {
        check_eq!(of "container.list.image-id-consistent"; listed.image_id, cri.plain().await?.id, "image_id in the list");
    }
    Ok(())
}

/// The stream of containers has what the list has, each once, and ends.
#[case(covers = ["container.stream.equals-list", "container.stream.filters"])]
async fn stream_equals_list(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamContainers").await?;
    let pod = cri.run_pod().await?;
    for _ in 0..3 {
        pod.container().create().await?;
    }
    let started = pod.container().start().await?;
    let running = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
    let by_pod = |id: &str| v1::ContainerFilter { pod_sandbox_id: id.into(), ..Default::default() };
    let filters = [
        by_pod(&pod.id),
        by_pod(NOBODY),
        v1::ContainerFilter { id: started.id.clone(), ..Default::default() },
        v1::ContainerFilter { state: Some(running), ..by_pod(&pod.id) },
        v1::ContainerFilter { label_selector: started.config.labels.clone(), ..by_pod(&pod.id) },
    ];
    for (n, filter) in filters.into_iter().enumerate() {
        let id = if n == 0 { "container.stream.equals-list" } else { "container.stream.filters" };
        let request = v1::StreamContainersRequest { filter: Some(filter.clone()) };
        let messages =
            cri.client().stream_containers(request).await.must_succeed()?.all().await.must_succeed()?;
        check!(messages.iter().all(|m| !m.containers.is_empty()), "messages with items", "an empty one");
        let streamed: Vec<_> = messages.into_iter().flat_map(|m| m.containers).collect();
        check_eq!(of id; ids(&streamed), ids(&list(&cri, Some(filter)).await?), "streamed containers");
    }
    Ok(())
}

/// A stream gives more containers than one message of 16 MiB could hold.
#[case(covers = ["container.stream.large"])]
async fn streams_hold_more_than_a_message(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("StreamContainers").await?;
    let pod = cri.run_pod().await?;
    let mut made = Vec::new();
    for _ in 0..4 {
        let large = (0..6).map(|n| (format!("plimsoll/part-{n}"), "s".repeat(1 << 20)));
        made.push(pod.container().with(|c| c.annotations.extend(large)).create().await?.id);
    }
    made.sort();
    let filter = v1::ContainerFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
    let request = v1::StreamContainersRequest { filter: Some(filter) };
    let messages =
        cri.client().stream_containers(request).await.must_succeed()?.all().await.must_succeed()?;
    let streamed: Vec<_> = messages.into_iter().flat_map(|m| m.containers).collect();
    check_eq!(ids(&streamed), made.iter().map(String::as_str).collect::<Vec<_>>(), "streamed containers");
    let size: usize = streamed.iter().flat_map(|c| c.annotations.values()).map(String::len).sum();
    check_eq!(size, 24 << 20, "bytes of annotations in the stream");
    Ok(())
}
