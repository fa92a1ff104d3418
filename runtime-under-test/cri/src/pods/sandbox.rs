//! Life of a sandbox: run, stop, remove.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::mount::{MountFlags, UnmountFlags};

use super::events::Kind;
use super::{Daemon, Pod, PodRecord, cgroup, lock, pod_name, user, write_message};
use crate::api::{
    DnsConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, Protocol,
    SupplementalGroupsPolicy,
};
use crate::error::{Context as _, Error, Result};
use crate::monitor::client;
use crate::monitor::proto::{PodSpec, Request};
use crate::net::{self, Port};
use crate::oci::{seccomp, short_socket};
use crate::util::{self, now_ns};

const ASK: std::time::Duration = std::time::Duration::from_secs(10);

/// Options of a sandbox, defaults where nothing is given.
pub fn options(config: &PodSandboxConfig) -> NamespaceOption {
    security(config).namespace_options.unwrap_or_default()
}

fn security(config: &PodSandboxConfig) -> LinuxSandboxSecurityContext {
    config.linux.as_ref().and_then(|l| l.security_context.clone()).unwrap_or_default()
}

impl Daemon {
    /// Makes and starts a sandbox. Blocking. A failed run leaves nothing (`sandbox.run.failed-run-leaves-nothing`).
    pub fn run_pod(&self, config: PodSandboxConfig, handler: String) -> Result<String> {
        self.runtime(&handler)?;
        let name = pod_name(&config)?;
        check(&config, self.userns)?;
        let id = util::new_id()?;
        self.reserve(&name, &id)?;
        let dir = self.pods_dir().join(&id);
        let parent =
            cgroup::check_parent(&config.linux.as_ref().map_or(String::new(), |l| l.cgroup_parent.clone()));
        let result = parent.and_then(|parent| {
            let root = self.config.cgroup_root.trim_end_matches('/');
            let cgroup_parent = if parent.is_empty() { format!("{root}/{id}") } else { parent };
            let record = PodRecord {
                handler,
                created_at: now_ns(),
                complete: false,
                ready: false,
                pause: 0,
                network: None,
                cgroup: format!("{cgroup_parent}/{id}"),
                own_parent: !self.cgroups.processes(&cgroup_parent).exists(),
                cgroup_parent,
            };
            let socket = short_socket(&self.config.state, 'm', &id);
            let pod = Arc::new(Pod {
                id: id.clone(),
                config,
                dir: dir.clone(),
                socket,
                record: Mutex::new(record),
                monitor: Mutex::new(None),
                operation: tokio::sync::Mutex::new(()),
            });
            self.start_pod(&pod).inspect_err(|_| self.discard(&pod))?;
            Ok(pod)
        });
        let pod = result.inspect_err(|_| self.unreserve(&id))?;
        lock(&self.table).pods.insert(id.clone(), Arc::clone(&pod));
        self.watch(&pod);
        self.announce(&pod, &id, Kind::Created);
        self.announce(&pod, &id, Kind::Started);
        Ok(id)
    }

    fn start_pod(&self, pod: &Arc<Pod>) -> Result<()> {
        util::make_dir(&pod.dir, 0o711)?;
        write_message(&pod.dir.join("config.pb"), &pod.config)?;
        pod.save()?;
        let options = options(&pod.config);
        let node_network = options.network == NamespaceMode::Node as i32;
        write_files(&pod.dir, &pod.config, node_network)?;
        if options.ipc != NamespaceMode::Node as i32 {
            let shm = pod.dir.join("shm");
            util::make_dir(&shm, 0o711)?;
            let data = match options.userns_options.as_ref().filter(|u| u.mode == NamespaceMode::Pod as i32) {
                Some(u) => format!("mode=1777,size=64m,uid={0},gid={1}", host_id(&u.uids), host_id(&u.gids)),
                None => "mode=1777,size=64m".to_owned(),
            };
            let data = std::ffi::CString::new(data).doing("building mount options")?;
            rustix::mount::mount(
                "shm",
                &shm,
                "tmpfs",
                MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV,
                Some(data.as_c_str()),
            )
            .with_path("mounting", &shm)?;
        }
        if !pod.config.log_directory.is_empty() {
            util::make_dir(Path::new(&pod.config.log_directory), 0o755)?;
        }
        let group = lock(&pod.record).cgroup.clone();
        let spec = self.pod_spec(pod, &options, self.cgroups.make_sandbox(&group)?)?;
        let (child, pause) = client::spawn(&spec)?;
        *lock(&pod.monitor) = Some(child);
        lock(&pod.record).pause = pause;
        pod.save()?;
        if !node_network {
            let attachment = self.network.attach(&network_view(pod)?)?;
            lock(&pod.record).network = Some(attachment);
        }
        let mut record = lock(&pod.record);
        record.complete = true;
        record.ready = true;
        drop(record);
        pod.save()
    }

    fn pod_spec(
        &self,
        pod: &Pod,
        options: &NamespaceOption,
        cgroups: Vec<std::path::PathBuf>,
    ) -> Result<PodSpec> {
        let node = NamespaceMode::Node as i32;
        let context = security(&pod.config);
        let value = |v: &Option<crate::api::Int64Value>| {
            v.as_ref().map_or(Ok(0), |v| user::id("run_as id of the sandbox", v.value))
        };
        let userns = options
            .userns_options
            .clone()
            .filter(|u| u.mode == NamespaceMode::Pod as i32)
            .unwrap_or_default();
        let lines = |ids: &[crate::api::IdMapping]| {
            ids.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.length)).collect()
        };
        let groups: Vec<u32> = context
            .supplemental_groups
            .iter()
            .map(|g| user::id("supplemental group", *g))
            .collect::<Result<_>>()?;
        Ok(PodSpec {
            socket: pod.socket.clone(),
            dir: pod.dir.clone(),
            hostname: (options.network != node).then(|| hostname(&pod.config)),
            network: options.network != node,
            ipc: options.ipc != node,
            pid: options.pid != node,
            uid_map: lines(&userns.uids),
            gid_map: lines(&userns.gids),
            sysctls: pod.config.linux.as_ref().map(|l| l.sysctls.clone()).unwrap_or_default(),
            uid: value(&context.run_as_user)?,
            gid: value(&context.run_as_group)?,
            groups,
            seccomp: context.seccomp.is_some_and(|p| p.profile_type == 0),
            cgroups,
        })
    }

    /// Takes a sandbox that did not come up apart.
    pub fn discard(&self, pod: &Pod) {
        if let Err(error) = self.release(pod) {
            tracing::warn!(pod = %pod.id, %error, "cleaning up after a failed sandbox");
        }
        if let Err(error) = util::remove_dir(&pod.dir) {
            tracing::warn!(pod = %pod.id, %error, "cleaning up after a failed sandbox");
        }
    }

    /// Network, processes, mounts and cgroups of a sandbox; may be repeated.
    fn release(&self, pod: &Pod) -> Result<()> {
        let attachment = lock(&pod.record).network.clone();
        let network = match attachment {
            Some(attachment) => network_view(pod).and_then(|view| self.network.detach(&view, &attachment)),
            None => Ok(()),
        };
        if network.is_ok() {
            lock(&pod.record).network = None;
        }
        let _ = client::ask(&pod.socket, &Request::StopPause, ASK);
        let _ = client::ask(&pod.socket, &Request::Quit, ASK);
        if let Some(mut child) = lock(&pod.monitor).take() {
            reap(&mut child);
        }
        let _ = std::fs::remove_file(&pod.socket);
        let _ = rustix::mount::unmount(pod.dir.join("shm"), UnmountFlags::DETACH);
        let record = lock(&pod.record).clone();
        self.cgroups.remove(&record.cgroup);
        if record.own_parent {
            self.cgroups.remove(&record.cgroup_parent);
        }
        network
    }

    /// Stops a sandbox: its containers are killed, its network is given back. Idempotent.
    pub async fn stop_pod(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(pod) = self.pod(id) else { return Ok(()) };
        let _one = pod.operation.lock().await;
        let mut stops = Vec::new();
        for container in self.containers_of(&pod.id) {
            let daemon = Arc::clone(self);
            stops.push(tokio::spawn(async move { daemon.kill_container(&container).await }));
        }
        for stop in stops {
            stop.await.doing("stopping a container")??;
        }
        let (daemon, own) = (Arc::clone(self), Arc::clone(&pod));
        let was_ready = tokio::task::spawn_blocking(move || {
            let was_ready = std::mem::replace(&mut lock(&own.record).ready, false);
            own.save()?;
            daemon.release(&own)?;
            own.save()?;
            Ok::<bool, Error>(was_ready)
        })
        .await
        .doing("stopping a sandbox")??;
        if was_ready {
            self.announce(&pod, &pod.id, Kind::Stopped);
        }
        Ok(())
    }

    /// Removes a sandbox and its containers. Idempotent.
    pub async fn remove_pod(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(pod) = self.pod(id) else { return Ok(()) };
        self.stop_pod(&pod.id).await?;
        for container in self.containers_of(&pod.id) {
            self.remove_container(&container.id).await?;
        }
        let _one = pod.operation.lock().await;
        if lock(&self.table).pods.remove(&pod.id).is_none() {
            return Ok(());
        }
        let own = Arc::clone(&pod);
        tokio::task::spawn_blocking(move || util::remove_dir(&own.dir))
            .await
            .doing("removing a sandbox")??;
        self.unreserve(&pod.id);
        self.announce(&pod, &pod.id, Kind::Deleted);
        Ok(())
    }
}

/// Waits for a monitor that was told to quit; kills it if it does not.
fn reap(child: &mut std::process::Child) {
    for _ in 0..500 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Host name of the pod; without one given, the pod's name.
pub fn hostname(config: &PodSandboxConfig) -> String {
    if config.hostname.is_empty() {
        config.metadata.as_ref().map_or(String::new(), |m| m.name.chars().take(63).collect())
    } else {
        config.hostname.clone()
    }
}

fn host_id(ids: &[crate::api::IdMapping]) -> u32 {
    ids.iter().find(|m| m.container_id == 0).map_or(0, |m| m.host_id)
}

/// What the network code needs.
pub fn network_view(pod: &Pod) -> Result<net::Pod> {
    let metadata = pod.config.metadata.clone().unwrap_or_default();
    let rate = |key: &str| pod.config.annotations.get(key).and_then(|v| bandwidth(v));
    let (ingress, egress) = (rate("kubernetes.io/ingress-bandwidth"), rate("kubernetes.io/egress-bandwidth"));
    Ok(net::Pod {
        id: pod.id.clone(),
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        pause: pod.pause(),
        ports: ports(&pod.config)?,
        bandwidth: (ingress.is_some() || egress.is_some())
            .then(|| (ingress.unwrap_or(0), egress.unwrap_or(0))),
    })
}

/// `10M` and the like, in bits per second.
fn bandwidth(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Mappings with a host port; 0 means none (`sandbox.portmap.host-port-zero`).
fn ports(config: &PodSandboxConfig) -> Result<Vec<Port>> {
    let mut out = Vec::new();
    for mapping in &config.port_mappings {
        let bad = |what: &str| {
            Error::invalid(format!("port mapping: {what} must be within 1..=65535 (host_port 0 means none)"))
        };
        let protocol = match Protocol::try_from(mapping.protocol) {
            Ok(Protocol::Tcp) => "tcp",
            Ok(Protocol::Udp) => "udp",
            Ok(Protocol::Sctp) => "sctp",
            Err(_) => {
                return Err(Error::invalid(format!(
                    "port mapping: protocol {} does not exist",
                    mapping.protocol
                )));
            }
        };
        let container_port = u16::try_from(mapping.container_port)
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| bad("container_port"))?;
        let host_port = u16::try_from(mapping.host_port).map_err(|_| bad("host_port"))?;
        if !mapping.host_ip.is_empty() && mapping.host_ip.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::invalid(format!(
                "port mapping: host_ip {:?} is not an address",
                mapping.host_ip
            )));
        }
        if host_port > 0 {
            out.push(Port {
                protocol: protocol.to_owned(),
                host_port,
                container_port,
                host_ip: mapping.host_ip.clone(),
            });
        }
    }
    Ok(out)
}

/// Checks a sandbox configuration before anything is made.
fn check(config: &PodSandboxConfig, userns: bool) -> Result<()> {
    let context = security(config);
    let options = options(config);
    for (what, mode) in [("network", options.network), ("pid", options.pid), ("ipc", options.ipc)] {
        let mode = NamespaceMode::try_from(mode)
            .map_err(|_| Error::invalid(format!("{what} namespace mode {mode} does not exist")))?;
        let fits = matches!(mode, NamespaceMode::Pod | NamespaceMode::Node)
            || what == "pid" && mode == NamespaceMode::Container;
        if !fits {
            return Err(Error::invalid(format!(
                "{what} namespace mode {} is not for a sandbox",
                mode.as_str_name()
            )));
        }
    }
    if config.hostname.len() > 64 {
        return Err(Error::invalid("the hostname is longer than the kernel's 64 bytes"));
    }
    if config.hostname.contains(['\n', '\0', '/']) || config.hostname.starts_with(['.', '-']) {
        return Err(Error::invalid("the hostname holds characters that are not allowed"));
    }
    if context.run_as_group.is_some() && context.run_as_user.is_none() {
        return Err(Error::invalid("run_as_group of the sandbox needs run_as_user"));
    }
    if SupplementalGroupsPolicy::try_from(context.supplemental_groups_policy).is_err() {
        return Err(Error::invalid(format!(
            "supplemental_groups_policy {} does not exist",
            context.supplemental_groups_policy
        )));
    }
    seccomp::check("seccomp", context.seccomp.as_ref(), true)?;
    seccomp::check("apparmor", context.apparmor.as_ref(), false)?;
    check_userns(&options, userns)?;
    ports(config)?;
    if !config.log_directory.is_empty() && !Path::new(&config.log_directory).is_absolute() {
        return Err(Error::invalid("log_directory must be an absolute path"));
    }
    config.linux.as_ref().map_or(Ok(()), |l| check_sysctls(&l.sysctls, &options))?;
    check_dns(config.dns_config.as_ref())
}

fn check_userns(options: &NamespaceOption, supported: bool) -> Result<()> {
    let Some(userns) = &options.userns_options else { return Ok(()) };
    match NamespaceMode::try_from(userns.mode) {
        Ok(NamespaceMode::Node) => return Ok(()),
        Ok(NamespaceMode::Pod) => {}
        _ => return Err(Error::invalid("user namespace mode must be POD or NODE")),
    }
    if !supported {
        return Err(Error::invalid("user namespaces with id-mapped mounts do not work on this host"));
    }
    if options.network == NamespaceMode::Node as i32 {
        return Err(Error::invalid("a user namespace with the host's network is not supported"));
    }
    for (what, ids) in [("uids", &userns.uids), ("gids", &userns.gids)] {
        let [one] = ids.as_slice() else {
            return Err(Error::invalid(format!("userns_options.{what} must be exactly one mapping")));
        };
        if one.container_id != 0 || one.length == 0 || one.host_id.checked_add(one.length).is_none() {
            return Err(Error::invalid(format!(
                "userns_options.{what} must map container id 0 and a range that exists"
            )));
        }
    }
    if userns.uids != userns.gids {
        return Err(Error::invalid("userns_options.uids and gids must be the same mapping"));
    }
    Ok(())
}

/// Only what belongs to a namespace of the pod (`sandbox.sysctl.*`; RELIABILITY: sysctl injection).
fn check_sysctls(sysctls: &BTreeMap<String, String>, options: &NamespaceOption) -> Result<()> {
    let node = NamespaceMode::Node as i32;
    for (key, value) in sysctls {
        let plain =
            key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !key.contains("..");
        if !plain || value.contains(['\0', '\n', '+']) {
            return Err(Error::invalid(format!(
                "sysctl {key:?} = {value:?} holds characters that are not allowed"
            )));
        }
        let dotted = key.replace('/', ".");
        let network = dotted.starts_with("net.");
        let ipc = dotted.starts_with("fs.mqueue.")
            || [
                "kernel.shmmax",
                "kernel.shmall",
                "kernel.shmmni",
                "kernel.shm_rmid_forced",
                "kernel.msgmax",
                "kernel.msgmnb",
                "kernel.msgmni",
                "kernel.sem",
            ]
            .contains(&dotted.as_str());
        if !network && !ipc {
            return Err(Error::invalid(format!(
                "sysctl {key:?} does not belong to a namespace of the pod; it would change the node"
            )));
        }
        if network && options.network == node || ipc && options.ipc == node {
            return Err(Error::invalid(format!(
                "sysctl {key:?} would change the node, whose namespace this pod shares"
            )));
        }
    }
    Ok(())
}

fn check_dns(dns: Option<&DnsConfig>) -> Result<()> {
    let Some(dns) = dns else { return Ok(()) };
    let all = dns.servers.iter().chain(&dns.searches).chain(&dns.options);
    if let Some(bad) = all.into_iter().find(|word| word.contains(['\n', '\r', '\0'])) {
        return Err(Error::invalid(format!(
            "dns_config entry {bad:?} holds characters that are not allowed"
        )));
    }
    Ok(())
}

/// `resolv.conf`, `hostname` and `hosts` of the pod.
fn write_files(dir: &Path, config: &PodSandboxConfig, node_network: bool) -> Result<()> {
    let resolv = match &config.dns_config {
        None => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        Some(dns) => resolv_conf(dns),
    };
    let name = if node_network && config.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        hostname(config)
    };
    let hosts = if node_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{name}\n")
    };
    for (file, text) in [("resolv.conf", resolv), ("hostname", format!("{name}\n")), ("hosts", hosts)] {
        let path = dir.join(file);
        std::fs::write(&path, text).with_path("writing", &path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .with_path("changing the mode of", &path)?;
    }
    Ok(())
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut out = String::new();
    if !dns.searches.is_empty() {
        out += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        out += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        out += &format!("options {}\n", dns.options.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_sysctls_are_refused() {
        let pod = NamespaceOption::default();
        let node = NamespaceOption { network: 2, ipc: 2, ..Default::default() };
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(check_sysctls(&one("net.ipv4.ip_forward", "1"), &pod).is_ok());
        assert!(check_sysctls(&one("kernel.shmmax", "1"), &pod).is_ok());
        for (key, value, options) in [
            ("kernel.core_pattern", "|/x", &pod),
            ("net.ipv4.ip_forward", "1", &node),
            ("kernel.sem", "1", &node),
            ("net/../kernel/core_pattern", "x", &pod),
            ("net.a", "1+kernel.core_pattern=x", &pod),
            ("vm.swappiness", "1", &pod),
        ] {
            assert!(check_sysctls(&one(key, value), options).is_err(), "{key}");
        }
    }

    #[test]
    fn resolv_conf_has_all_in_order() {
        let dns = DnsConfig {
            servers: vec!["1.1.1.1".into(), "2.2.2.2".into()],
            searches: vec!["a".into(), "b".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a b\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:5\n"
        );
        assert_eq!(bandwidth("10M"), Some(10_000_000));
    }
}
