//! After a case: removing what it made, and telling what stays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Client, Cri, Made, TAG_LABEL, images, traces, v1};
use crate::job::Limits;

/// Bound of one call, before scaling.
const CALL: Duration = Duration::from_secs(20);
/// Rpcs that make something; `(raw)` may be any of them.
const MAKING: [&str; 4] = ["RunPodSandbox", "CreateContainer", "PullImage", "(raw)"];
/// Bound of the whole removal: less than what a worker gets for its clean-up.
const LIMIT: Duration = Duration::from_secs(25);

/// Removes everything of the attempt and gives what could not be removed or came back, one line each, without ids.
/// Ends in time whatever the endpoint does.
pub async fn finish(cri: &Cri) -> Vec<String> {
    let mut left = Vec::new();
    // An endpoint that was asked for nothing, perhaps because it never answers, is not asked to remove it.
    if cri.records().iter().any(|r| MAKING.contains(&r.rpc)) {
        match tokio::time::timeout(LIMIT, remove(cri)).await {
            Ok(found) => left = found,
            Err(_) => left.push(format!("what the endpoint did not remove within {} s", LIMIT.as_secs())),
        }
        left.extend(traces::left(cri).await);
    }
    // Dropping the registry joins its thread.
    cri.state.registry.take();
    if let Err(error) = std::fs::remove_dir_all(cri.dir()) {
        left.push(format!("the attempt's directory: {}", error.kind()));
    }
    left
}

fn call(cri: &Cri) -> Duration {
    CALL.mul_f64(cri.wait().as_secs_f64() / Limits::default().wait().as_secs_f64())
}

async fn remove(cri: &Cri) -> Vec<String> {
    let client = cri.client().with_deadline(call(cri));
    let mut left = Vec::new();
    let mine: BTreeMap<String, String> = [(TAG_LABEL.to_owned(), cri.tag().to_owned())].into();
    for pod in pods(&client, &mine).await {
        left.extend(remove_pod(&client, &pod).await);
        cri.remember(Made::Pod(pod));
    }
    if !pods(&client, &mine).await.is_empty() {
        left.push("a pod is still listed after its removal".to_owned());
    }
    let filter = v1::ContainerFilter { label_selector: mine, ..Default::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    if let Ok(answer) = client.list_containers(request).await {
        for container in answer.containers {
            left.push("a container is still listed after its pod's removal".to_owned());
            let request = v1::RemoveContainerRequest { container_id: container.id.clone() };
            let _ = client.remove_container(request).await;
            cri.remember(Made::Container(container.id));
        }
    }
    for reference in cri.state.pulled.take() {
        let request = v1::RemoveImageRequest { image: Some(images::spec(&reference)) };
        let _ = client.remove_image(request).await;
    }
    left
}

async fn remove_pod(client: &Client, id: &str) -> Vec<String> {
    let mut left = Vec::new();
    let stop = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    if let Err(error) = client.stop_pod_sandbox(stop).await {
        left.push(format!("a pod that cannot be stopped: {:?}", error.code));
    }
    let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    if let Err(error) = client.remove_pod_sandbox(remove).await {
        left.push(format!("a pod that cannot be removed: {:?}", error.code));
    }
    left
}

async fn pods(client: &Client, mine: &BTreeMap<String, String>) -> Vec<String> {
    let filter = v1::PodSandboxFilter { label_selector: mine.clone(), ..Default::default() };
    let request = v1::ListPodSandboxRequest { filter: Some(filter) };
    match client.list_pod_sandbox(request).await {
        Ok(answer) => answer.items.into_iter().map(|p| p.id).collect(),
        Err(_) => Vec::new(),
    }
}

/// Removes the pods, containers and images of every attempt of a run: of all whose tag is `RUNxN`. Gives what could
/// not be removed. An error is the endpoint's that could not even be asked.
pub async fn remove_run(cri: &Cri, run: &str) -> Result<Vec<String>, super::CallError> {
    let client = cri.client().with_deadline(call(cri));
    let prefix = format!("{run}x");
    let ours =
        |labels: &BTreeMap<String, String>| labels.get(TAG_LABEL).is_some_and(|t| t.starts_with(&prefix));
    let mut left = Vec::new();
    let pods = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.items;
    for pod in pods.iter().filter(|p| ours(&p.labels)) {
        left.extend(remove_pod(&client, &pod.id).await);
    }
    let containers = client.list_containers(v1::ListContainersRequest::default()).await?.containers;
    for container in containers.into_iter().filter(|c| ours(&c.labels)) {
        let request = v1::RemoveContainerRequest { container_id: container.id };
        if let Err(error) = client.remove_container(request).await {
            left.push(format!("a container that cannot be removed: {:?}", error.code));
        }
    }
    let images = client.list_images(v1::ListImagesRequest::default()).await?.images;
    let name = format!("/{prefix}");
    for reference in images.iter().flat_map(|i| i.repo_tags.iter().chain(&i.repo_digests)) {
        if reference.contains(&name) {
            let request = v1::RemoveImageRequest { image: Some(images::spec(reference)) };
            if let Err(error) = client.remove_image(request).await {
                left.push(format!("an image that cannot be removed: {:?}", error.code));
            }
        }
    }
    Ok(left)
}
