//! What a pod is configured with: host name, resolver, labels, ports, sysctls, cgroup parent.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    hostname_is_set,
    hostname_of_the_node,
    long_hostnames_are_refused,
    resolver_lines_are_exact,
    many_search_domains,
    resolver_without_config,
    resolver_is_writable_with_the_root,
    labels_and_annotations_come_back,
    annotations_change_nothing,
    ports_without_a_host_port,
    host_ports_forward,
    host_ports_with_an_address,
    bad_ports_are_refused,
    host_network_ports_do_no_harm,
    cgroup_parent_is_used,
    safe_sysctls_are_set,
    bad_sysctls_are_refused,
    host_sysctls_stay,
    overhead_is_advisory,
];

/// Containers see the pod's host name in the kernel, in /etc/hostname and in the environment.
#[case(covers = ["sandbox.hostname.set", "sandbox.hostname.env"])]
async fn hostname_is_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().with(|c| c.hostname = "plimsoll-host".into()).run().await?;
    let container = pod.container().start().await?;
    check_eq!(fact(&container, "uname").await?["nodename"], "plimsoll-host", "node name");
    let file = read(&container, "/etc/hostname").await?;
    check_eq!(file.as_deref().map(str::trim), Ok("plimsoll-host"), "/etc/hostname");
    let env = fact(&container, "env").await?["env"].to_string();
    check!(of "sandbox.hostname.env"; env.contains("HOSTNAME=plimsoll-host"), "HOSTNAME=plimsoll-host", "another or none");
    Ok(())
}

/// A host-network pod without a host name shows the node's.
#[case(covers = ["sandbox.hostname.empty-only-hostnet", "sandbox.ns.network-node"])]
async fn hostname_of_the_node(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().with(|c| c.hostname.clear()).try_run().await.must_succeed()?;
    let container = pod.container().start().await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    check_eq!(fact(&container, "uname").await?["nodename"], host.trim(), "node name");
    let inside = namespace(&container, "net").await?;
    check_eq!(of "sandbox.ns.network-node"; inside, host_namespace("net")?, "network namespace");
    Ok(())
}

/// A host name of 65 bytes is refused.
#[case(covers = ["sandbox.hostname.too-long"])]
async fn long_hostnames_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.pod().with(|c| c.hostname = "h".repeat(65)).try_run().await.must_fail()?;
    Ok(())
}

async fn resolver(pod: PodBuilder) -> Result<String, Stop> {
    let container = pod.run().await?.container().start().await?;
    read(&container, "/etc/resolv.conf")
        .await?
        .map_err(|e| Stop::violation("/etc/resolv.conf can be read", format!("errno {e}")))
}

fn dns(servers: &[&str], searches: &[&str], options: &[&str]) -> v1::DnsConfig {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    v1::DnsConfig { servers: own(servers), searches: own(searches), options: own(options) }
}

fn fields(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|l| l.strip_prefix(key)).filter(|l| l.starts_with([' ', '\t']));
    lines.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect()
}

/// Name servers, search domains and options stand in resolv.conf in their order.
#[case(covers = ["sandbox.dns.servers", "sandbox.dns.searches", "sandbox.dns.options"])]
async fn resolver_lines_are_exact(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let config = dns(&["10.0.0.1", "10.0.0.2"], &["one.test", "two.test"], &["ndots:2", "edns0"]);
    let text = resolver(cri.pod().host_network().with(|c| c.dns_config = Some(config))).await?;
    check_eq!(fields(&text, "nameserver"), ["10.0.0.1", "10.0.0.2"], "name servers");
    check_eq!(of "sandbox.dns.searches"; fields(&text, "search"), ["one.test", "two.test"], "search domains");
    check_eq!(of "sandbox.dns.searches"; text.lines().filter(|l| l.starts_with("search")).count(), 1, "search lines");
    check_eq!(of "sandbox.dns.options"; fields(&text, "options"), ["ndots:2", "edns0"], "options");
    Ok(())
}

/// Thirty-two search domains are accepted.
#[case(covers = ["sandbox.dns.many-searches"])]
async fn many_search_domains(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let names: Vec<String> = (0..32).map(|n| format!("domain-{n}.test")).collect();
    let config = v1::DnsConfig { searches: names.clone(), ..Default::default() };
    let run =
        cri.pod().host_network().with(|c| c.dns_config = Some(config)).try_run().await.must_succeed()?;
    let container = run.container().start().await?;
    let text = read(&container, "/etc/resolv.conf").await?.unwrap_or_default();
    check_eq!(fields(&text, "search"), names, "search domains");
    Ok(())
}

/// Without a resolver configuration the node's is used, and an empty one stays empty.
#[case(covers = ["sandbox.dns.nil-inherits-host", "sandbox.dns.empty-config"])]
async fn resolver_without_config(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let text = resolver(cri.pod().host_network()).await?;
    check_eq!(
        fields(&text, "nameserver"),
        fields(&host, "nameserver"),
        "name servers of a pod without a configuration"
    );
    let empty = resolver(cri.pod().host_network().with(|c| c.dns_config = Some(dns(&[], &[], &[])))).await?;
    check!(of "sandbox.dns.empty-config"; fields(&empty, "nameserver").is_empty(), "no name servers", "{:?}", fields(&empty, "nameserver"));
    Ok(())
}

/// resolv.conf is read-only exactly when the container's root is.
#[case(covers = ["sandbox.resolvconf-readonly-rootfs"])]
async fn resolver_is_writable_with_the_root(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for readonly in [true, false] {
        let container = pod.container().security(|s| s.readonly_rootfs = readonly).start().await?;
        let written = write(&container, "/etc/resolv.conf", "# x\n").await?;
        check_eq!(
            written.is_err(),
            readonly,
            "whether resolv.conf is read-only with readonly_rootfs {readonly}"
        );
    }
    Ok(())
}

/// Labels and annotations come back unchanged and without additions.
#[case(covers = [
    "sandbox.labels.roundtrip", "sandbox.labels.no-extra-visible", "sandbox.annotations.roundtrip",
    "sandbox.annotations.identical",
])]
async fn labels_and_annotations_come_back(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().with(|c| {
        c.labels.insert("example.test/app".into(), "v".repeat(63));
        c.annotations.insert("example.test/text".into(), "line one\nline \"two\" \u{e9}\u{1f6a2}".into());
        c.annotations.insert("example.test/large".into(), "z".repeat(200 << 10));
    });
    let pod = pod.run().await?;
    let status = pod.status().await?;
    let listed = pod.listed().await?.unwrap_or_default();
    let config = &pod.config;
    let kept = |has: &std::collections::BTreeMap<String, String>,
                sent: &std::collections::BTreeMap<String, String>| {
        sent.iter().all(|(k, v)| has.get(k) == Some(v))
    };
    check!(
        kept(&status.labels, &config.labels) && kept(&listed.labels, &config.labels),
        "all labels in status and list",
        "{:?}",
        status.labels
    );
    check_eq!(of "sandbox.labels.no-extra-visible"; status.labels.len(), config.labels.len(), "number of labels");
    check!(of "sandbox.annotations.roundtrip"; kept(&status.annotations, &config.annotations) && kept(&listed.annotations, &config.annotations),
        "all annotations in status and list", "some are missing or changed");
    check_eq!(of "sandbox.annotations.identical"; status.annotations.len(), config.annotations.len(), "number of annotations");
    Ok(())
}

/// An unknown annotation changes nothing.
#[case(covers = ["sandbox.annotations.no-behaviour"])]
async fn annotations_change_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let mut seen = Vec::new();
    for annotated in [false, true] {
        let pod = cri.pod().with(|c| {
            if annotated {
                c.annotations.insert("example.test/unknown".into(), "true".into());
            }
        });
        let container = pod.run().await?.container().start().await?;
        seen.push((
            fact(&container, "caps").await?["bounding"].clone(),
            fact(&container, "seccomp").await?["mode"].clone(),
        ));
    }
    check_eq!(seen[1], seen[0], "capabilities and seccomp mode with an unknown annotation");
    Ok(())
}

fn port(container_port: i32, host_port: i32, host_ip: &str, protocol: v1::Protocol) -> v1::PortMapping {
    v1::PortMapping { protocol: protocol as i32, container_port, host_port, host_ip: host_ip.into() }
}

/// A free port of the host, by asking the kernel for one.
fn free_port() -> Result<u16, Stop> {
    Ok(std::net::TcpListener::bind("0.0.0.0:0")?.local_addr()?.port())
}

async fn echo(pod: &Pod, port: u16) -> Result<Container, Stop> {
    let container = pod.container().script(&script().act("tcp_echo", json!({"port": port}))).start().await?;
    container.logs("ready").await?;
    Ok(container)
}

async fn answers(address: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"ping").await.ok()?;
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.ok()?;
        (&buffer == b"ping").then_some(())
    };
    tokio::time::timeout(Duration::from_secs(3), exchange).await.ok().flatten().is_some()
}

/// Ports that somebody listens on in the host's network.
fn listeners() -> std::collections::BTreeSet<u16> {
    let text = ["/proc/net/tcp", "/proc/net/tcp6"].map(|f| std::fs::read_to_string(f).unwrap_or_default());
    let listening = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = words.get(1)?.rsplit_once(':')?;
        (*words.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.iter().flat_map(|t| t.lines().filter_map(listening)).collect()
}

/// Whether a connection to a port of the host is answered with this text.
async fn replies(port: u16, text: &str) -> bool {
    use tokio::io::AsyncReadExt as _;
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await.ok()?;
        (answer == text.as_bytes()).then_some(())
    };
    tokio::time::timeout(Duration::from_millis(500), exchange).await.ok().flatten().is_some()
}

/// A mapping without a host port opens nothing on the host, also when it says zero.
#[case(covers = ["sandbox.portmap.container-port-only", "sandbox.portmap.host-port-zero", "network.host-to-pod"])]
async fn ports_without_a_host_port(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().with(|c| c.port_mappings.push(port(8080, 0, "", v1::Protocol::Tcp))).run().await?;
    let before = listeners();
    // A second one with the same mapping claims nothing of the host that the first has.
    let zero = cri.pod().with(|c| c.port_mappings.push(port(8080, 0, "", v1::Protocol::Tcp))).try_run().await;
    let zero = zero.must_succeed().map_err(|s| s.of("sandbox.portmap.host-port-zero"))?;
    let reply = json!({"port": 8080, "accept": 100, "reply": cri.tag(), "timeout_ms": 60_000});
    let told = zero.container().script(&script().act("listen", reply)).start().await?;
    told.logs("ready").await?;
    for opened in listeners().difference(&before) {
        // Other cases open ports too; only this pod's container answers with this attempt's tag.
        check!(of "sandbox.portmap.host-port-zero"; !replies(*opened, cri.tag()).await, "no port of the host leads to the pod", "port {opened} does");
    }
    echo(&pod, 8080).await?;
    let ip = pod.ip().await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    check!(of "network.host-to-pod"; answers(&format!("{ip}:8080")).await, "the node reaches the pod's port", "it does not");
    check!(!answers("127.0.0.1:8080").await, "nothing listens on the host", "something does");
    Ok(())
}

/// A host port leads to the container's port, and is closed after the pod was stopped.
#[case(covers = ["sandbox.portmap.host-port-tcp", "sandbox.portmap.released-on-stop"])]
async fn host_ports_forward(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host_port = free_port()?;
    let mapping = port(8080, i32::from(host_port), "", v1::Protocol::Tcp);
    let pod = cri.pod().with(|c| c.port_mappings.push(mapping)).try_run().await;
    let pod = pod.map_err(|e| port_support(&e))?;
    echo(&pod, 8080).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    check!(answers(&format!("127.0.0.1:{host_port}")).await, "the host port answers", "it does not");
    pod.stop().await.setup()?;
    check!(of "sandbox.portmap.released-on-stop"; !answers(&format!("127.0.0.1:{host_port}")).await, "the host port is closed", "it answers");
    Ok(())
}

/// Host ports need a packet filter on the host, which is not the endpoint's affair.
fn port_support(error: &plimsoll_kit::cri::CallError) -> Stop {
    let lacks = ["iptables", "nftables", "nft", "portmap"].iter().any(|w| error.message.contains(w));
    if lacks {
        return Stop::Skip { lack: "packet-filter".into(), reason: "the host cannot map ports".into() };
    }
    Err::<(), _>(error.clone()).must_succeed().err().unwrap_or_else(|| Stop::setup("no error"))
}

/// A host port with an address is open on that address only, and can be used on another one too.
#[case(covers = ["sandbox.portmap.host-ip", "sandbox.portmap.same-port-other-ip", "sandbox.portmap.udp", "sandbox.portmap.sctp"])]
async fn host_ports_with_an_address(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host_port = i32::from(free_port()?);
    let with = |ip: &'static str, protocol| {
        cri.pod().with(move |c| c.port_mappings.push(port(8080, host_port, ip, protocol)))
    };
    let pod = with("127.0.0.2", v1::Protocol::Tcp).try_run().await.map_err(|e| port_support(&e))?;
    echo(&pod, 8080).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    check!(answers(&format!("127.0.0.2:{host_port}")).await, "the address answers", "it does not");
    check!(!answers(&format!("127.0.0.3:{host_port}")).await, "another address does not answer", "it does");
    with("127.0.0.3", v1::Protocol::Tcp)
        .try_run()
        .await
        .must_succeed()
        .map_err(|s| s.of("sandbox.portmap.same-port-other-ip"))?;
    let udp = with("127.0.0.4", v1::Protocol::Udp).try_run().await.must_succeed();
    echo(&udp.map_err(|s| s.of("sandbox.portmap.udp"))?, 8080).await?;
    check!(of "sandbox.portmap.udp"; !answers(&format!("127.0.0.4:{host_port}")).await,
        "a mapping of UDP opens no port of TCP", "it does");
    cx.record("sandbox.portmap.sctp", with("127.0.0.5", v1::Protocol::Sctp).try_run().await.is_ok());
    Ok(())
}

/// A host port over 65535 is refused.
#[case(covers = ["sandbox.portmap.range"])]
async fn bad_ports_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cri.pod()
        .with(|c| c.port_mappings.push(port(80, 70_000, "", v1::Protocol::Tcp)))
        .try_run()
        .await
        .must_fail()?;
    Ok(())
}

/// Port mappings of a host-network pod do no harm.
#[case(covers = ["sandbox.portmap.ignored-for-hostnet"])]
async fn host_network_ports_do_no_harm(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let free = i32::from(free_port()?);
    let pod =
        cri.pod().host_network().with(|c| c.port_mappings.push(port(free, free, "", v1::Protocol::Tcp)));
    let pod = pod.try_run().await.must_succeed()?;
    let answer = pod
        .container()
        .script(&script().act("listen", json!({"port": free, "timeout_ms": 100, "accept": 0})))
        .run()
        .await?;
    check!(
        answer.log_text("stdout")?.contains("\"port\""),
        "the container can listen on its port",
        "it cannot"
    );
    Ok(())
}

/// The cgroup parent is above the containers, in the syntax of the driver in use.
#[case(covers = [
    "sandbox.config.cgroup-parent.cgroupfs", "sandbox.config.cgroup-parent.systemd",
    "sandbox.config.cgroup-parent.invalid-systemd", "container.resources.cgroup-under-parent",
])]
async fn cgroup_parent_is_used(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let mut systemd = false;
    if cri.has("RuntimeConfig").await? {
        let config = cri.client().runtime_config(v1::RuntimeConfigRequest {}).await.must_succeed()?;
        systemd = config.linux.is_some_and(|l| l.cgroup_driver == v1::CgroupDriver::Systemd as i32);
    }
    let name = format!("plimsoll-{}", cri.tag());
    let parent = if systemd { format!("{name}.slice") } else { format!("/{name}") };
    let pod = cri.pod().linux(|l| l.cgroup_parent.clone_from(&parent)).try_run().await.must_succeed()?;
    let container = pod.container().start().await?;
    let Some(pid) = pid_of(&container).await? else {
        return cri.not_applicable("verbose-pid", "the verbose status has no pid");
    };
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    pod.stop().await.setup()?;
    pod.remove().await.setup()?;
    remove_cgroups(&name);
    if systemd {
        check!(of "sandbox.config.cgroup-parent.systemd"; text.contains(&format!("plimsoll.slice/{name}.slice")), "the slice below those that its name says", "{text}");
    } else {
        check!(text.contains(&format!("/{name}/")), "the parent's path above the container's", "{text}");
    }
    check!(of "container.resources.cgroup-under-parent"; text.contains(&name), "the container's cgroup is below the parent", "another place");
    if systemd {
        let bad = cri.pod().linux(|l| l.cgroup_parent = "/no-slice".into()).try_run().await.must_fail();
        bad.map_err(|s| s.of("sandbox.config.cgroup-parent.invalid-systemd"))?;
    }
    Ok(())
}

/// The client makes and removes the parent, as a kubelet does; only empty ones can be removed.
pub(super) fn remove_cgroups(name: &str) {
    let Ok(entries) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    for entry in entries.flatten() {
        let _ = std::fs::remove_dir(entry.path().join(name));
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup/{name}"));
}

async fn sysctl(pod: PodBuilder, name: &str) -> Result<String, Stop> {
    let container = pod.try_run().await.must_succeed()?.container().start().await?;
    let answers = container.ask(&script().ask_with("sysctl", json!({"name": name}))).await?;
    Ok(answers.facts("sysctl")?["value"].as_str().unwrap_or_default().to_owned())
}

fn with_sysctl(pod: PodBuilder, name: &str, value: &str) -> PodBuilder {
    pod.linux(|l| {
        l.sysctls.insert(name.into(), value.into());
    })
}

/// Namespaced sysctls are set in the pod and leave the host alone.
#[case(covers = ["sandbox.sysctl.net", "sandbox.sysctl.safe", "sandbox.sysctl.unsafe-ns"])]
async fn safe_sysctls_are_set(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let host =
        || std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let before = host();
    let name = "net.ipv4.ip_unprivileged_port_start";
    check_eq!(sysctl(with_sysctl(cri.pod(), name, "600"), name).await?, "600", "{name}");
    check_eq!(host(), before, "{name} of the host");
    let name = "kernel.shm_rmid_forced";
    check_eq!(of "sandbox.sysctl.safe"; sysctl(with_sysctl(cri.pod(), name, "1"), name).await?, "1", "{name}");
    let name = "fs.mqueue.msg_max";
    check_eq!(of "sandbox.sysctl.unsafe-ns"; sysctl(with_sysctl(cri.pod(), name, "20"), name).await?, "20", "{name}");
    Ok(())
}

/// A sysctl that has no namespace, or a value that is none, fails the run and changes nothing on the host.
#[case(covers = ["sandbox.sysctl.non-namespaced-rejected", "sandbox.sysctl.invalid-value"])]
async fn bad_sysctls_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness")?;
    let answer = with_sysctl(cri.pod(), "vm.swappiness", before.trim()).try_run().await;
    check_eq!(std::fs::read_to_string("/proc/sys/vm/swappiness")?, before, "vm.swappiness of the host");
    answer.must_fail()?;
    let bad = with_sysctl(cri.pod(), "net.ipv4.ip_forward", "abc").try_run().await.must_fail();
    bad.map_err(|s| s.of("sandbox.sysctl.invalid-value"))?;
    Ok(())
}

/// A network sysctl of a host-network pod is never applied to the host.
#[case(covers = ["sandbox.sysctl.host-netns-conflict"])]
async fn host_sysctls_stay(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let path = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let before = std::fs::read_to_string(path)?;
    let answer =
        with_sysctl(cri.pod().host_network(), "net.ipv4.ip_local_reserved_ports", "61999").try_run().await;
    let after = std::fs::read_to_string(path)?;
    if after != before {
        std::fs::write(path, &before)?;
    }
    cx.record("sandbox.sysctl.host-network", answer.is_ok());
    check_eq!(after, before, "the host's value");
    Ok(())
}

/// Overhead and resources of a pod are hints and never fail the run.
#[case(covers = ["sandbox.resources.overhead", "sandbox.resources.vm-sizing"])]
async fn overhead_is_advisory(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let some = v1::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 100,
        ..Default::default()
    };
    let pod = cri.pod().linux(|l| {
        l.overhead = Some(some.clone());
        l.resources = Some(some.clone());
    });
    let container = pod.try_run().await.must_succeed()?.container().start().await?;
    cx.record(
        "sandbox.guest-cpus",
        fact(&container, "affinity").await?["cpus"].as_array().map_or(0, Vec::len),
    );
    Ok(())
}
