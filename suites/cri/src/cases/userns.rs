//! User namespaces of pods.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    mappings_are_exact,
    the_hosts_user_namespace,
    odd_modes_are_refused,
    odd_mappings_are_refused,
    containers_follow_the_pod,
    files_belong_to_the_mapped_root,
    volumes_are_mapped,
    options_come_back,
];

const HOST_ID: u32 = 400_000;
const LENGTH: u32 = 65_536;

fn mapping(host_id: u32, container_id: u32, length: u32) -> v1::IdMapping {
    v1::IdMapping { host_id, container_id, length }
}

fn namespace_of(mode: v1::NamespaceMode, ids: &[v1::IdMapping]) -> v1::UserNamespace {
    v1::UserNamespace { mode: mode as i32, uids: ids.to_vec(), gids: ids.to_vec() }
}

/// A pod with a user namespace.
pub fn pod(cri: &Cri) -> PodBuilder {
    let ids = [mapping(HOST_ID, 0, LENGTH)];
    cri.pod().namespaces(|n| n.userns_options = Some(namespace_of(v1::NamespaceMode::Pod, &ids)))
}

async fn needed(cri: &Cri) -> Verdict {
    if cri.handler_features().await?.is_some_and(|f| f.user_namespaces) {
        return Ok(());
    }
    cri.not_applicable("user-namespaces", "the handler does not declare user namespaces")
}

/// Containers run with exactly the mappings asked for.
#[case(covers = ["sandbox.userns.pod-mapping", "sandbox.userns.gid-mapping", ])]
async fn mappings_are_exact(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let container = pod(&cri).try_run().await.must_succeed()?.container().start().await?;
    let maps = fact(&container, "id_maps").await?;
    check_eq!(maps["uid_map"], json!([[0, HOST_ID, LENGTH]]), "uid_map");
    check_eq!(of "sandbox.userns.gid-mapping"; maps["gid_map"], json!([[0, HOST_ID, LENGTH]]), "gid_map");
    Ok(())
}

/// NODE, and no option at all, mean the node's user namespace.
#[case(covers = ["sandbox.userns.node", "sandbox.userns.nil-is-node-equivalent"])]
async fn the_hosts_user_namespace(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = host_namespace("user")?;
    let container = cri.run_pod().await?.container().start().await?;
    check_eq!(of "sandbox.userns.nil-is-node-equivalent"; namespace(&container, "user").await?, host, "user namespace without options");
    let node = cri.pod().namespaces(|n| n.userns_options = Some(namespace_of(v1::NamespaceMode::Node, &[])));
    let container = node.try_run().await.must_succeed()?.container().start().await?;
    check_eq!(namespace(&container, "user").await?, host, "user namespace");
    Ok(())
}

/// The modes CONTAINER and TARGET are refused.
#[case(covers = ["sandbox.userns.container-mode-rejected", "sandbox.userns.target-mode-rejected"])]
async fn odd_modes_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let ids = [mapping(HOST_ID, 0, LENGTH)];
    for (mode, id) in [
        (v1::NamespaceMode::Container, "sandbox.userns.container-mode-rejected"),
        (v1::NamespaceMode::Target, "sandbox.userns.target-mode-rejected"),
    ] {
        let run = cri.pod().namespaces(|n| n.userns_options = Some(namespace_of(mode, &ids))).try_run().await;
        run.must_fail().map_err(|s| s.of(id))?;
    }
    Ok(())
}

/// Mappings that cannot be kept are refused, never ignored.
#[case(covers = ["sandbox.userns.multiple-mappings", "sandbox.userns.zero-not-mapped", "sandbox.userns.uid-gid-must-match"])]
async fn odd_mappings_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let with =
        |options: v1::UserNamespace| cri.pod().namespaces(|n| n.userns_options = Some(options)).try_run();
    let pod_mode = v1::NamespaceMode::Pod;
    let two = namespace_of(pod_mode, &[mapping(HOST_ID, 0, 1000), mapping(HOST_ID + 5000, 1000, 1000)]);
    with(two).await.must_fail()?;
    let none = namespace_of(pod_mode, &[mapping(HOST_ID, 1, LENGTH)]);
    with(none).await.must_fail().map_err(|s| s.of("sandbox.userns.zero-not-mapped"))?;
    let mut differ = namespace_of(pod_mode, &[mapping(HOST_ID, 0, LENGTH)]);
    differ.gids = vec![mapping(HOST_ID + 100_000, 0, LENGTH)];
    if let Ok(pod) = with(differ).await {
        let maps = fact(&pod.container().start().await?, "id_maps").await?;
        check!(of "sandbox.userns.uid-gid-must-match"; maps["gid_map"][0][1] == HOST_ID + 100_000, "the gid mapping that was asked for, or a refusal", "{}", maps["gid_map"]);
    }
    Ok(())
}

/// A container that asks for another user namespace than its pod is refused.
#[case(covers = ["sandbox.userns.container-must-match-sandbox"])]
async fn containers_follow_the_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let pod = pod(&cri).run().await?;
    let other = namespace_of(v1::NamespaceMode::Pod, &[mapping(HOST_ID + 200_000, 0, LENGTH)]);
    let options = v1::NamespaceOption { userns_options: Some(other), ..Default::default() };
    pod.container().security(|s| s.namespace_options = Some(options)).must_be_refused().await?;
    Ok(())
}

/// Files of the image belong to root inside the user namespace.
#[case(covers = ["sandbox.userns.files-owned", ])]
async fn files_belong_to_the_mapped_root(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let container = pod(&cri).run().await?.container().start().await?;
    let answers = container.ask(&script().ask_with("stat", json!({"path": "/etc/passwd"}))).await?;
    check_eq!(answers.facts("stat")?["uid"], 0, "owner of /etc/passwd");
    Ok(())
}

/// With id-mapped mounts a volume's files keep their ids on the host.
#[case(covers = ["sandbox.userns.volume-idmap"])]
async fn volumes_are_mapped(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let dir = host_dir(&cri, "volume")?;
    let ids = vec![mapping(HOST_ID, 0, LENGTH)];
    let container = pod(&cri).run().await?.container().mount(&dir, "/volume", |m| {
        m.uid_mappings.clone_from(&ids);
        m.gid_mappings.clone_from(&ids);
    });
    let container = container.start().await?;
    write(&container, "/volume/new", "x")
        .await?
        .map_err(|e| Stop::violation("the volume is writable", format!("errno {e}")))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("{dir}/new"))?);
    check_eq!(owner, 0, "owner of the new file on the host");
    Ok(())
}

/// The status tells the options of the user namespace.
#[case(covers = ["sandbox.userns.status-roundtrip"])]
async fn options_come_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    needed(&cri).await?;
    let status = pod(&cri).run().await?.status().await?;
    let options =
        status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).and_then(|o| o.userns_options);
    check_eq!(options.unwrap_or_default().uids, vec![mapping(HOST_ID, 0, LENGTH)], "uids in the status");
    Ok(())
}
