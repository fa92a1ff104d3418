//! The stream of container events.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    life_cycle_events,
    two_subscribers,
    pods_send_events_too,
    ends_are_told_soon,
    a_reader_that_does_not_read,
];

type Events = plimsoll_kit::cri::Receive<v1::ContainerEventResponse>;

async fn subscribe(cri: &Cri) -> Result<Events, Stop> {
    cri.client()
        .with_deadline(Duration::from_secs(20))
        .get_container_events(v1::GetEventsRequest {})
        .await
        .must_succeed()
}

/// Events of one container until it is deleted, in order.
async fn events_of(events: &mut Events, id: &str) -> Result<Vec<v1::ContainerEventResponse>, Stop> {
    matching(events, |event| event.container_id == id).await
}

/// The wanted events until a wanted deletion, in order.
async fn matching(
    events: &mut Events,
    mut wanted: impl FnMut(&v1::ContainerEventResponse) -> bool,
) -> Result<Vec<v1::ContainerEventResponse>, Stop> {
    let end = Instant::now() + Duration::from_secs(15);
    let mut mine = Vec::new();
    while Instant::now() < end {
        match events.next(Duration::from_secs(5)).await {
            Ok(Some(event)) if wanted(&event) => {
                let last = event.container_event_type == v1::ContainerEventType::ContainerDeletedEvent as i32;
                mine.push(event);
                if last {
                    break;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) if error.kind == Kind::Deadline => break,
            Err(error) => {
                return Err(Stop::violation("the stream stays open", format!("{:?}", error.code))
                    .of("events.stream-opens"));
            }
        }
    }
    Ok(mine)
}

/// A container's life gives the four events in order, with the statuses of its pod.
#[case(covers = [
    "events.created", "events.started", "events.stopped", "events.deleted", "events.stream-opens", "events.container-id",
    "events.created-at-ns", "events.sandbox-status", "events.containers-statuses", "events.exit-code-in-stopped",
])]
async fn life_cycle_events(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    let pod = cri.run_pod().await?;
    // The stream may open only with its first event, so the container is made beside it.
    let watch = subscribe(&cri);
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let container =
            pod.container().script(&script().act("sleep", json!({"ms": 200})).exit(3)).start().await?;
        container.exited().await?;
        container.remove().await.setup()?;
        Ok::<_, Stop>(container.id)
    };
    let (events, id) = tokio::join!(watch, life);
    let (mut events, id) = (events?, id?);
    let mine = events_of(&mut events, &id).await?;
    check!(of "events.container-id"; !mine.is_empty(), "events with the container's id", "none");
    let kinds: Vec<_> = mine.iter().map(|e| e.container_event_type).collect();
    for (kind, id) in
        ["events.created", "events.started", "events.stopped", "events.deleted"].into_iter().enumerate()
    {
        let times = kinds.iter().filter(|k| usize::try_from(**k) == Ok(kind)).count();
        check_eq!(of id; times, 1, "events of the kind {kind}");
    }
    check_eq!(kinds, [0, 1, 2, 3], "kinds of the container's events, in order");
    check!(of "events.created-at-ns"; mine.is_sorted_by_key(|e| e.created_at) && mine.iter().all(|e| e.created_at > 1_500_000_000_000_000_000),
        "times in order, in nanoseconds since 1970", "not so");
    let status = mine[1].pod_sandbox_status.clone().unwrap_or_default();
    check!(of "events.sandbox-status"; status.metadata.is_some_and(|m| !m.uid.is_empty()), "the pod's status with its uid", "none");
    for event in &mine[..3] {
        let ids: Vec<_> = event.containers_statuses.iter().map(|s| s.id.as_str()).collect();
        check_eq!(of "events.containers-statuses"; ids, [id.as_str()], "containers in the events before the deletion");
    }
    let stopped = mine[2].containers_statuses.iter().find(|s| s.id == id);
    check!(of "events.exit-code-in-stopped"; stopped.is_some_and(|s| s.exit_code == 3), "exit code 3 in the stopped event", "another or none");
    Ok(())
}

/// Two subscribers both get the events.
#[case(covers = ["events.multiple-subscribers"])]
async fn two_subscribers(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    let pod = cri.run_pod().await?;
    let (first, second) = (cri.clone(), cri.clone());
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let container = pod.container().start().await?;
        container.remove().await.setup()?;
        Ok::<_, Stop>(container.id)
    };
    let (a, b, id) = tokio::join!(subscribe(&first), subscribe(&second), life);
    let (mut a, mut b, id) = (a?, b?, id?);
    let (seen_a, seen_b) = (events_of(&mut a, &id).await?, events_of(&mut b, &id).await?);
    check!(
        !seen_a.is_empty() && !seen_b.is_empty(),
        "events for both",
        "{} and {}",
        seen_a.len(),
        seen_b.len()
    );
    check_eq!(seen_a.len(), seen_b.len(), "number of events of the second subscriber");
    Ok(())
}

/// A pod's own life gives the four events under its own id.
#[case(covers = ["events.sandbox-events", "events.no-replay-needed"])]
async fn pods_send_events_too(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    let before = cri.run_pod().await?;
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pod = cri.run_pod().await?;
        pod.stop().await.setup()?;
        pod.remove().await.setup()?;
        Ok::<_, Stop>(pod.id)
    };
    let (events, id) = tokio::join!(subscribe(&cri), life);
    let (mut events, id) = (events?, id?);
    let mut replayed = false;
    let mine = matching(&mut events, |e| {
        replayed |= e.container_id == before.id;
        e.container_id == id
    })
    .await?;
    cx.record("events.replays-history", replayed);
    let kinds: Vec<_> = mine.iter().map(|e| e.container_event_type).collect();
    check_eq!(kinds, [0, 1, 2, 3], "kinds of the pod's events");
    Ok(())
}

/// The event of an end arrives within a second of it, with room for a loaded host.
#[case(covers = ["events.latency"])]
async fn ends_are_told_soon(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    let pod = cri.run_pod().await?;
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        pod.container().script(&script().act("sleep", json!({"ms": 800}))).start().await
    };
    let (events, container) = tokio::join!(subscribe(&cri), life);
    let (mut events, container) = (events?, container?);
    let stopped = v1::ContainerEventType::ContainerStoppedEvent as i32;
    let end = Instant::now() + cri.wait();
    while Instant::now() < end {
        let next = events.next(cri.wait()).await.must_succeed()?;
        let Some(event) = next else { break };
        if event.container_id == container.id && event.container_event_type == stopped {
            let lag = (now_ns() - container.status().await?.finished_at) / 1_000_000;
            check!(lag < 3000, "the event about a second after the end", "{lag} ms after it");
            return Ok(());
        }
    }
    Err(Stop::violation("an event of the end", "none"))
}

/// A subscriber that reads nothing blocks neither calls nor other subscribers.
#[case(covers = ["events.slow-subscriber"])]
async fn a_reader_that_does_not_read(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.need_rpc("GetContainerEvents").await?;
    // The events of pods with large annotations fill the windows of a connection that nobody reads from.
    let large = "e".repeat(48 << 10);
    let pod = cri.pod().with(|c| {
        c.annotations.insert("plimsoll/large".into(), large.clone());
    });
    let pod = pod.run().await?;
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let first = pod.container().create().await?;
        first.remove().await.setup()
    };
    let sleepy = cri.client().reconnected();
    let subscription = async { sleepy.get_container_events(v1::GetEventsRequest {}).await.must_succeed() };
    let (idle, made) = tokio::join!(subscription, life);
    let _idle = idle?;
    made?;
    let life = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..10 {
            let container = pod.container().try_create().await?.must_succeed()?;
            container.remove().await.must_succeed()?;
        }
        let last = pod.container().try_create().await?.must_succeed()?;
        last.remove().await.must_succeed()?;
        Ok::<_, Stop>(last.id)
    };
    let (events, id) = tokio::join!(subscribe(&cri), life);
    let (mut events, id) = (events?, id?);
    let seen = events_of(&mut events, &id).await?;
    let kinds: Vec<_> = seen.iter().map(|e| e.container_event_type).collect();
    check!(
        kinds.first() == Some(&0) && kinds.last() == Some(&3),
        "the other subscriber's events",
        "{kinds:?}"
    );
    Ok(())
}
