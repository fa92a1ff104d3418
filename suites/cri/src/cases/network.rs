//! What pods see of the network, and what the node sees of them.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    interfaces_are_up,
    pods_reach_each_other,
    containers_share_localhost,
    addresses_are_given_back,
    hosts_file_is_there,
    host_network_pods_get_no_address,
];

/// Whether this handler's pods have a network that the node can use.
pub async fn reaches_pods(pod: &Pod) -> Result<bool, Stop> {
    let container = pod.container().start().await?;
    let facts = fact(&container, "interfaces").await?;
    container.remove().await.setup()?;
    let up =
        facts["interfaces"].as_array().map_or(0, |list| list.iter().filter(|i| i["name"] != "lo").count());
    Ok(up > 0)
}

/// The loopback interface is up, and the other one is called eth0 and has the pod's address.
#[case(covers = ["network.loopback-up", "network.cni.ifname"])]
async fn interfaces_are_up(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let ip = pod.ip().await?;
    let container = pod.container().start().await?;
    let facts = fact(&container, "interfaces").await?;
    let find = |name: &str| {
        facts["interfaces"].as_array().and_then(|l| l.iter().find(|i| i["name"] == name).cloned())
    };
    check!(find("lo").is_some_and(|lo| lo["up"] == true), "lo is up", "{}", facts["interfaces"]);
    let eth = find("eth0");
    check!(of "network.cni.ifname"; eth.is_some_and(|e| e["addresses"].to_string().contains(&ip)), "eth0 has the pod's address", "it has not");
    Ok(())
}

/// Two pods reach each other.
#[case(covers = ["network.pod-to-pod"])]
async fn pods_reach_each_other(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let (a, b) = (cri.run_pod().await?, cri.run_pod().await?);
    if !reaches_pods(&a).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    let server = a.container().script(&script().act("tcp_echo", json!({"port": 9090}))).start().await?;
    server.logs("ready").await?;
    let client = b.container().start().await?;
    let ip = a.ip().await?;
    let connect = script()
        .act("connect", json!({"host": ip, "port": 9090, "send": "ping", "shutdown": true, "recv": true}));
    let answer = step(&client, &connect, "connect").await?;
    check_eq!(answer.map(|f| f["data"].clone()), Ok(json!("ping")), "what comes back from the other pod");
    Ok(())
}

/// Containers of a pod reach each other on localhost.
#[case(covers = ["network.containers-share-ip"])]
async fn containers_share_localhost(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let server = pod
        .container()
        .script(&script().act("tcp_echo", json!({"host": "127.0.0.1", "port": 9191})))
        .start()
        .await?;
    server.logs("ready").await?;
    let client = pod.container().start().await?;
    let connect =
        script().act("connect", json!({"port": 9191, "send": "ping", "shutdown": true, "recv": true}));
    let answer = step(&client, &connect, "connect").await?;
    check_eq!(answer.map(|f| f["data"].clone()), Ok(json!("ping")), "what comes back on localhost");
    Ok(())
}

/// A stopped pod's address does not answer, and its network is gone from the node.
#[case(covers = ["sandbox.stop.releases-network", ])]
async fn addresses_are_given_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let ip = pod.ip().await?;
    let routes = || std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default().contains(&ip);
    let routed = routes()
        || std::process::Command::new("ip")
            .args(["route", "get", &ip])
            .output()
            .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("veth"));
    pod.stop().await.setup()?;
    if routed {
        let after = std::process::Command::new("ip").args(["route", "get", &ip]).output();
        let still = after.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("veth"));
        check!(!still, "no route to the stopped pod", "one stays");
    }
    pod.remove().await.setup()?;
    Ok(())
}

/// localhost is in the hosts file.
#[case(covers = ["network.hosts-file"])]
async fn hosts_file_is_there(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let text = read(&container, "/etc/hosts").await?.unwrap_or_default();
    cx.record("network.hosts-file", text.contains("localhost"));
    Ok(())
}

/// A host-network pod has the node's interfaces and no address of its own.
#[case(covers = ["network.cni.hostnet-no-cni"])]
async fn host_network_pods_get_no_address(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().run().await?;
    let container = pod.container().start().await?;
    check_eq!(namespace(&container, "net").await?, host_namespace("net")?, "network namespace");
    let own = cri.run_pod().await?.ip().await?;
    let ip = pod.status().await?.network.unwrap_or_default().ip;
    check_ne!(ip, own, "address of a host-network pod");
    Ok(())
}
