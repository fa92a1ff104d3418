//! Namespace modes of pods and containers.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    the_network_is_the_pods,
    defaults_are_the_pods,
    a_shared_process_namespace,
    own_process_namespaces,
    the_hosts_processes,
    target_process_namespace,
    bad_targets_are_refused,
    ipc_of_the_pod,
    ipc_of_the_host,
    modes_come_back,
    orphans_are_reaped,
];

fn modes(network: v1::NamespaceMode, pid: v1::NamespaceMode, ipc: v1::NamespaceMode) -> v1::NamespaceOption {
    v1::NamespaceOption { network: network as i32, pid: pid as i32, ipc: ipc as i32, ..Default::default() }
}

use v1::NamespaceMode::{Container as Own, Node, Pod as Shared};

async fn pod(
    cri: &Cri,
    network: v1::NamespaceMode,
    pid: v1::NamespaceMode,
    ipc: v1::NamespaceMode,
) -> Result<Pod, Stop> {
    let options = modes(network, pid, ipc);
    let builder = cri.pod().security(|s| s.namespace_options = Some(options));
    let builder = if network == Node { builder.with(|c| c.hostname.clear()) } else { builder };
    builder.try_run().await.must_succeed()
}

/// A pod has a network of its own, which its containers share.
#[case(covers = ["sandbox.ns.network-pod", "sandbox.ns.network-container-unset-by-kubelet"])]
async fn the_network_is_the_pods(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Own, Shared).await?;
    let (a, b) = (pod.container().start().await?, pod.container().start().await?);
    let (in_a, in_b) = (namespace(&a, "net").await?, namespace(&b, "net").await?);
    check_eq!(in_a, in_b, "network namespace of a second container");
    check_ne!(in_a, host_namespace("net")?, "network namespace");
    let odd = modes(Own, Own, Shared);
    let run = cri.pod().security(|s| s.namespace_options = Some(odd)).try_run().await;
    cx.record("sandbox.network-mode-container", run.is_ok());
    Ok(())
}

/// Without namespace options everything is the pod's.
#[case(covers = ["sandbox.ns.defaults"])]
async fn defaults_are_the_pods(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().security(|s| s.namespace_options = None).run().await?;
    let container = pod.container().security(|s| s.namespace_options = None).start().await?;
    for kind in ["net", "pid", "ipc"] {
        check_ne!(namespace(&container, kind).await?, host_namespace(kind)?, "{kind} namespace");
    }
    let pid1 = fact(&container, "identity").await?["pid"].clone();
    check!(pid1 != 1, "a shared process namespace", "the command runs as process 1");
    Ok(())
}

/// Containers of a pod with a shared process namespace see each other, and none is process 1.
#[case(covers = ["sandbox.ns.pid-pod"])]
async fn a_shared_process_namespace(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Shared, Shared).await?;
    let (a, b) = (pod.container().start().await?, pod.container().start().await?);
    check_eq!(
        namespace(&a, "pid").await?,
        namespace(&b, "pid").await?,
        "process namespace of a second container"
    );
    let seen = fact(&a, "procs").await?["procs"].as_array().map_or(0, Vec::len);
    check!(seen >= 3, "the sandbox and both containers are visible", "{seen} processes");
    check_ne!(namespace(&a, "pid").await?, host_namespace("pid")?, "process namespace");
    Ok(())
}

/// A container with a process namespace of its own is process 1 and sees no other.
#[case(covers = ["sandbox.ns.pid-container"])]
async fn own_process_namespaces(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Own, Shared).await?;
    let (a, b) = (pod.container().start().await?, pod.container().start().await?);
    check_ne!(
        namespace(&a, "pid").await?,
        namespace(&b, "pid").await?,
        "process namespace of a second container"
    );
    let argv = fact(&a, "pid1").await?["argv"].to_string();
    check!(argv.contains("pause"), "process 1 is the container's command", "{argv}");
    let seen = fact(&a, "procs").await?["procs"].as_array().map_or(0, Vec::len);
    check!(seen <= 2, "only the command and the probe are visible", "{seen} processes");
    Ok(())
}

/// A container in the host's process namespace sees the host's processes.
#[case(covers = ["sandbox.ns.pid-node"])]
async fn the_hosts_processes(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Node, Shared).await?;
    let container = pod.container().start().await?;
    check_eq!(namespace(&container, "pid").await?, host_namespace("pid")?, "process namespace");
    Ok(())
}

fn target(id: &str) -> v1::NamespaceOption {
    v1::NamespaceOption { target_id: id.into(), ..modes(Shared, v1::NamespaceMode::Target, Shared) }
}

/// A container joins the process namespace of its target.
#[case(covers = ["container.ns.pid-target", "container.ns.pid-target-needs-container-mode"])]
async fn target_process_namespace(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Own, Shared).await?;
    let first = pod.container().start().await?;
    let options = target(&first.id);
    let made = pod
        .container()
        .security(|s| s.namespace_options = Some(options))
        .try_create()
        .await?
        .must_succeed()?;
    made.start().await.must_succeed()?;
    check_eq!(
        namespace(&made, "pid").await?,
        namespace(&first, "pid").await?,
        "process namespace of the joined container"
    );
    let shared = cri.run_pod().await?;
    let other = shared.container().start().await?;
    let options = target(&other.id);
    let joined = shared.container().security(|s| s.namespace_options = Some(options)).try_create().await?;
    cx.record("container.target-in-pod-mode", joined.is_ok());
    if let Ok(joined) = joined
        && joined.start().await.is_ok()
    {
        check_eq!(of "container.ns.pid-target-needs-container-mode"; namespace(&joined, "pid").await?, namespace(&other, "pid").await?,
            "process namespace when the target shares the pod's");
    }
    Ok(())
}

/// A target that is empty, unknown or in another pod is refused.
#[case(covers = ["container.ns.pid-target-missing"])]
async fn bad_targets_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let here = pod(&cri, Shared, Own, Shared).await?;
    let elsewhere = pod(&cri, Shared, Own, Shared).await?.container().start().await?;
    for id in ["", NOBODY, elsewhere.id.as_str()] {
        let options = target(id);
        here.container().security(|s| s.namespace_options = Some(options)).must_be_refused().await?;
    }
    Ok(())
}

/// Containers of a pod share IPC and /dev/shm, apart from the host.
#[case(covers = ["sandbox.ns.ipc-pod", "sandbox.ns.shm-shared"])]
async fn ipc_of_the_pod(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Own, Shared).await?;
    let (a, b) = (pod.container().start().await?, pod.container().start().await?);
    check_eq!(
        namespace(&a, "ipc").await?,
        namespace(&b, "ipc").await?,
        "IPC namespace of a second container"
    );
    check_ne!(namespace(&a, "ipc").await?, host_namespace("ipc")?, "IPC namespace");
    write(&a, "/dev/shm/note", "shared").await?.map_err(|e| {
        Stop::violation("/dev/shm is writable", format!("errno {e}")).of("sandbox.ns.shm-shared")
    })?;
    check_eq!(of "sandbox.ns.shm-shared"; read(&b, "/dev/shm/note").await?.as_deref(), Ok("shared"), "the file in the other container's /dev/shm");
    let answers = a.ask(&script().ask_with("statfs", json!({"path": "/dev/shm"}))).await?;
    let facts = answers.facts("statfs")?;
    let size = facts["blocks"].as_u64().unwrap_or(0) * facts["block_size"].as_u64().unwrap_or(0);
    check_eq!(of "sandbox.ns.shm-shared"; size, 64 << 20, "size of /dev/shm");
    Ok(())
}

/// A pod in the host's IPC namespace is there.
#[case(covers = ["sandbox.ns.ipc-node"])]
async fn ipc_of_the_host(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = pod(&cri, Shared, Own, Node).await?.container().start().await?;
    check_eq!(namespace(&container, "ipc").await?, host_namespace("ipc")?, "IPC namespace");
    Ok(())
}

/// The status tells the modes that were asked for.
#[case(covers = ["sandbox.ns.status-roundtrip"])]
async fn modes_come_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for (network, pid, ipc) in [(Shared, Shared, Shared), (Node, Own, Node), (Shared, Node, Shared)] {
        let status = pod(&cri, network, pid, ipc).await?.status().await?;
        let options = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).unwrap_or_default();
        check_eq!(
            (options.network, options.pid, options.ipc),
            (network as i32, pid as i32, ipc as i32),
            "modes in the status"
        );
    }
    Ok(())
}

/// Orphans in a shared process namespace are reaped.
#[case(covers = ["robust.zombie-reaping"])]
async fn orphans_are_reaped(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = pod(&cri, Shared, Shared, Shared).await?;
    let container = pod.container().start().await?;
    container.ask(&script().act("fork_orphans", json!({"count": 3, "ms": 10}))).await?;
    wait_until("no zombie is left in the pod", cri.wait(), async || {
        let facts = fact(&container, "procs").await?;
        let zombies = facts["procs"].as_array().map_or(0, |p| p.iter().filter(|p| p["state"] == "Z").count());
        if zombies == 0 { Ok(Poll::Ready(())) } else { Ok(Poll::NotYet(format!("{zombies} zombies"))) }
    })
    .await
}
