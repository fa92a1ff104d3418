//! After a case: removing what it made, and telling what stays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Client, Cri, TAG_LABEL, images, v1};

/// Removes everything of the attempt and gives what could not be removed or came back, one line each, without ids.
pub async fn finish(cri: &Cri) -> Vec<String> {
    let client = cri.client().with_deadline(Duration::from_secs(30));
    let mut left = Vec::new();
    let mine: BTreeMap<String, String> = [(TAG_LABEL.to_owned(), cri.tag().to_owned())].into();
    for pod in pods(&client, &mine).await {
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
        if let Err(error) = client.stop_pod_sandbox(stop).await {
            left.push(format!("a pod that cannot be stopped: {:?}", error.code));
        }
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: pod };
        if let Err(error) = client.remove_pod_sandbox(remove).await {
            left.push(format!("a pod that cannot be removed: {:?}", error.code));
        }
    }
    if !pods(&client, &mine).await.is_empty() {
        left.push("a pod is still listed after its removal".to_owned());
    }
    let filter = v1::ContainerFilter { label_selector: mine, ..Default::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    if let Ok(answer) = client.list_containers(request).await {
        for container in answer.containers {
            left.push("a container is still listed after its pod's removal".to_owned());
            let request = v1::RemoveContainerRequest { container_id: container.id };
            let _ = client.remove_container(request).await;
        }
    }
    for reference in cri.state.pulled.take() {
        let request = v1::RemoveImageRequest { image: Some(images::spec(&reference)) };
        let _ = client.remove_image(request).await;
    }
    // Dropping the registry joins its thread.
    cri.state.registry.take();
    if let Err(error) = std::fs::remove_dir_all(cri.dir()) {
        left.push(format!("the attempt's directory: {}", error.kind()));
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
