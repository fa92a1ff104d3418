//! From a CRI container and its image to an OCI `config.json` (runtime-spec 1.0.2, written as 1.1 readers expect).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{resources, seccomp};
use crate::api::security_profile::ProfileType;
use crate::api::{
    Capability, ContainerConfig, LinuxContainerSecurityContext, NamespaceMode, PodSandboxConfig,
    SecurityProfile,
};
use crate::error::{Error, Result};
use crate::images::document::Defaults;
use crate::pods::user::User;

/// Capabilities by kernel number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What an unprivileged container has unless told otherwise (`security.caps.default-set`).
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Everything that goes into a spec beside the client's configuration.
pub struct Input<'a> {
    /// The client's container.
    pub config: &'a ContainerConfig,
    /// The client's sandbox.
    pub pod: &'a PodSandboxConfig,
    /// Defaults of the image.
    pub image: &'a Defaults,
    /// Who the process is.
    pub user: &'a User,
    /// Host name of the pod.
    pub hostname: &'a str,
    /// Absolute path of the mounted root.
    pub rootfs: String,
    /// All mounts, in order.
    pub mounts: Vec<Value>,
    /// Strictest propagation that a mount needs of the root; empty for the default.
    pub propagation: &'a str,
    /// Device nodes.
    pub devices: Vec<Value>,
    /// Device rules.
    pub device_rules: Vec<Value>,
    /// Environment from CDI.
    pub extra_env: Vec<String>,
    /// Pid of the sandbox process.
    pub pause: i32,
    /// Pid of the target container.
    pub target: Option<i32>,
    /// Cgroup of the container.
    pub cgroup: String,
    /// Cgroup v2.
    pub v2: bool,
    /// Process limit; 0 for none.
    pub pids: i64,
}

/// The whole document.
pub fn build(input: &Input<'_>) -> Result<Value> {
    let context = security(input.config);
    let capabilities = capability_sets(context.capabilities.as_ref(), context.privileged)?;
    let mut process = process(input, context, &capabilities)?;
    if let Some(profile) = apparmor(context)? {
        process["apparmorProfile"] = json!(profile);
    }
    let mut linux = json!({
        "cgroupsPath": input.cgroup,
        "namespaces": namespaces(input, context),
        "resources": resource_limits(input),
        "devices": input.devices,
    });
    if !context.privileged {
        if !context.masked_paths.is_empty() {
            linux["maskedPaths"] = json!(context.masked_paths);
        }
        if !context.readonly_paths.is_empty() {
            linux["readonlyPaths"] = json!(context.readonly_paths);
        }
        if let Some(profile) =
            seccomp::to_oci(context.seccomp.as_ref(), &old_seccomp(context), &capabilities.bounding)?
        {
            linux["seccomp"] = profile;
        }
    }
    if !input.propagation.is_empty() {
        linux["rootfsPropagation"] = json!(input.propagation);
    }
    if let Some(mapping) = userns_mappings(input.pod) {
        linux["uidMappings"] = mapping.0;
        linux["gidMappings"] = mapping.1;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": input.rootfs, "readonly": context.readonly_rootfs},
        "mounts": input.mounts,
        "linux": linux,
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": input.config.metadata.as_ref().map_or("", |m| &m.name),
        },
    }))
}

/// The security context, or its defaults.
pub fn security(config: &ContainerConfig) -> &LinuxContainerSecurityContext {
    static DEFAULT: std::sync::LazyLock<LinuxContainerSecurityContext> =
        std::sync::LazyLock::new(Default::default);
    config.linux.as_ref().and_then(|l| l.security_context.as_ref()).unwrap_or(&DEFAULT)
}

#[allow(deprecated)]
fn old_seccomp(context: &LinuxContainerSecurityContext) -> String {
    context.seccomp_profile_path.clone()
}

fn process(input: &Input<'_>, context: &LinuxContainerSecurityContext, capabilities: &Sets) -> Result<Value> {
    let config = input.config;
    let mut args =
        if config.command.is_empty() { input.image.entrypoint.clone() } else { config.command.clone() };
    if !config.args.is_empty() {
        args.extend(config.args.iter().cloned());
    } else if config.command.is_empty() {
        args.extend(input.image.cmd.iter().cloned());
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Error::invalid("the command or an argument holds a NUL, which no process can be given"));
    }
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid(
            "neither the container nor its image names a command; set command or args",
        ));
    }
    let cwd = [config.working_dir.as_str(), input.image.working_dir.as_str(), "/"]
        .into_iter()
        .find(|d| !d.is_empty())
        .unwrap_or("/");
    if !cwd.starts_with('/') {
        return Err(Error::invalid(format!("working directory {cwd:?} must be absolute")));
    }
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": input.user.uid, "gid": input.user.gid, "additionalGids": input.user.groups},
        "args": args,
        "env": environment(input)?,
        "cwd": cwd,
        "capabilities": {
            "bounding": capabilities.bounding,
            "effective": capabilities.effective,
            "permitted": capabilities.effective,
            "inheritable": capabilities.inheritable,
            "ambient": capabilities.ambient,
        },
        "noNewPrivileges": context.no_new_privs,
    });
    // Lowering below what this server itself has may be refused by the kernel; the server's own value is the floor.
    let wanted = config.linux.as_ref().and_then(|l| l.resources.as_ref()).map_or(0, |r| r.oom_score_adj);
    process["oomScoreAdj"] = json!(wanted.max(oom_floor()));
    Ok(process)
}

/// Without `CAP_SYS_RESOURCE` the own value is the lowest that can be set.
fn oom_floor() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map_or(0, |v| u64::from_str_radix(v.trim(), 16).unwrap_or(0));
    if effective & (1 << 24) != 0 {
        return -1000;
    }
    std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// Image first, then the client; the last of a key wins and there is one copy (`container.env.*`).
fn environment(input: &Input<'_>) -> Result<Vec<String>> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str, force: bool| match env.iter_mut().find(|(k, _)| k == key) {
        Some(slot) if force => value.clone_into(&mut slot.1),
        Some(_) => {}
        None => env.push((key.to_owned(), value.to_owned())),
    };
    for entry in &input.image.env {
        if let Some((key, value)) = entry.split_once('=') {
            set(key, value, true);
        }
    }
    for entry in &input.config.envs {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) || entry.value.contains(&0) {
            return Err(Error::invalid(format!("environment variable {:?} is malformed", entry.key)));
        }
        let value = std::str::from_utf8(&entry.value).map_err(|_| {
            Error::invalid(format!("the value of {} is not UTF-8, which config.json cannot carry", entry.key))
        })?;
        set(&entry.key, value, true);
    }
    for entry in &input.extra_env {
        if let Some((key, value)) = entry.split_once('=') {
            set(key, value, true);
        }
    }
    set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", false);
    set("HOSTNAME", input.hostname, false);
    if input.config.tty {
        set("TERM", "xterm", false);
    }
    if let Some(home) = &input.user.home {
        set("HOME", home, false);
    }
    Ok(env.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
}

struct Sets {
    bounding: Vec<String>,
    effective: Vec<String>,
    inheritable: Vec<String>,
    ambient: Vec<String>,
}

/// `NET_ADMIN`, `cap_net_admin` and `CAP_NET_ADMIN` are one; an unknown name is an error.
fn canonical(name: &str) -> Result<&'static str> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CAPABILITIES
        .iter()
        .find(|c| **c == bare)
        .copied()
        .ok_or_else(|| Error::invalid(format!("capability {name:?} does not exist")))
}

/// What this server itself may pass on, as names.
fn available() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:"))
        .and_then(|v| u64::from_str_radix(v.trim(), 16).ok());
    let mask = bounding.unwrap_or(u64::MAX);
    CAPABILITIES.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, name)| *name).collect()
}

/// The five sets (requirements `security.caps.*`): added ones are inheritable too, defaults are not
/// (CVE-2022-24769); drop wins over add.
fn capability_sets(wanted: Option<&Capability>, privileged: bool) -> Result<Sets> {
    let have = available();
    let expand = |list: &[String]| -> Result<BTreeSet<&'static str>> {
        let mut out = BTreeSet::new();
        for name in list {
            if name.eq_ignore_ascii_case("ALL") {
                out.extend(&have);
            } else {
                out.insert(canonical(name)?);
            }
        }
        Ok(out)
    };
    let empty = Capability::default();
    let wanted = wanted.unwrap_or(&empty);
    let ambient_wanted = expand(&wanted.add_ambient_capabilities)?;
    let mut added = expand(&wanted.add_capabilities)?;
    added.extend(&ambient_wanted);
    let dropped = expand(&wanted.drop_capabilities)?;
    let drops_all = wanted.drop_capabilities.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let gone = |name: &&'static str| {
        if drops_all {
            !added.contains(name) || listed(&wanted.drop_capabilities, name)
        } else {
            dropped.contains(name)
        }
    };
    let base: BTreeSet<&'static str> =
        if privileged { have.iter().copied().collect() } else { DEFAULT_CAPABILITIES.into_iter().collect() };
    let result: BTreeSet<&'static str> = base.union(&added).copied().filter(|name| !gone(name)).collect();
    let full =
        |set: &BTreeSet<&'static str>| set.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    let kept = |set: &BTreeSet<&'static str>| full(&set.intersection(&result).copied().collect());
    Ok(Sets {
        bounding: full(&result),
        effective: full(&result),
        inheritable: kept(&added),
        ambient: kept(&ambient_wanted),
    })
}

fn listed(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| canonical(entry).is_ok_and(|c| c == name))
}

fn namespaces(input: &Input<'_>, context: &LinuxContainerSecurityContext) -> Value {
    let pod_options = input
        .pod
        .linux
        .as_ref()
        .and_then(|l| l.security_context.as_ref())
        .and_then(|s| s.namespace_options.as_ref());
    let own = context.namespace_options.as_ref();
    let mode = |value: i32| NamespaceMode::try_from(value).unwrap_or(NamespaceMode::Pod);
    // Network and IPC belong to the sandbox: it wins over the container (`container.create.sandbox-config-reference`).
    let network = mode(pod_options.map_or(0, |o| o.network));
    let ipc = mode(pod_options.map_or(0, |o| o.ipc));
    let pid = mode(own.or(pod_options).map_or(0, |o| o.pid));
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", input.pause);
    let mut list = vec![json!({"type": "mount"})];
    if network != NamespaceMode::Node {
        list.push(json!({"type": "network", "path": path("net")}));
        list.push(json!({"type": "uts", "path": path("uts")}));
    }
    if ipc != NamespaceMode::Node {
        list.push(json!({"type": "ipc", "path": path("ipc")}));
    }
    match (pid, input.target) {
        (NamespaceMode::Target, Some(target)) => {
            list.push(json!({"type": "pid", "path": format!("/proc/{target}/ns/pid")}));
        }
        (NamespaceMode::Container, _) => list.push(json!({"type": "pid"})),
        (NamespaceMode::Node, _) => {}
        _ => list.push(json!({"type": "pid", "path": path("pid")})),
    }
    if userns_mappings(input.pod).is_some() {
        list.push(json!({"type": "user", "path": path("user")}));
    }
    if !context.privileged {
        list.push(json!({"type": "cgroup"}));
    }
    json!(list)
}

/// The pod's mappings in OCI form, if it has a user namespace.
pub fn userns_mappings(pod: &PodSandboxConfig) -> Option<(Value, Value)> {
    let options =
        pod.linux.as_ref()?.security_context.as_ref()?.namespace_options.as_ref()?.userns_options.as_ref()?;
    if options.mode != NamespaceMode::Pod as i32 {
        return None;
    }
    let list = |ids: &[crate::api::IdMapping]| {
        let one = |m: &crate::api::IdMapping| json!({"containerID": m.container_id, "hostID": m.host_id, "size": m.length});
        json!(ids.iter().map(one).collect::<Vec<_>>())
    };
    Some((list(&options.uids), list(&options.gids)))
}

fn resource_limits(input: &Input<'_>) -> Value {
    let mut wanted = input.config.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
    // No limit is what a new cgroup has; not every runtime can say so.
    wanted.cpu_quota = wanted.cpu_quota.max(0);
    let mut out = resources::to_oci(&wanted, input.v2, &resources::huge_page_sizes());
    out["devices"] = json!(input.device_rules);
    if input.pids > 0 {
        out["pids"] = json!({"limit": input.pids});
    }
    out
}

#[allow(deprecated)]
fn apparmor(context: &LinuxContainerSecurityContext) -> Result<Option<String>> {
    seccomp::check("apparmor", context.apparmor.as_ref(), false)?;
    if context.privileged {
        return Ok(None);
    }
    let typed = context.apparmor.clone().or_else(|| match context.apparmor_profile.as_str() {
        "" => None,
        "unconfined" => Some(SecurityProfile {
            profile_type: ProfileType::Unconfined as i32,
            localhost_ref: String::new(),
        }),
        "runtime/default" => Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        other => Some(SecurityProfile {
            profile_type: ProfileType::Localhost as i32,
            localhost_ref: other.strip_prefix("localhost/").unwrap_or(other).to_owned(),
        }),
    });
    let Some(profile) = typed.filter(|p| p.profile_type == ProfileType::Localhost as i32) else {
        return Ok(None);
    };
    let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    let name = profile.localhost_ref;
    if loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(n, _)| n == name)) {
        Ok(Some(name))
    } else {
        Err(Error::invalid(format!("AppArmor profile {name:?} is not loaded on this node")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str], ambient: &[&str]) -> Sets {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let wanted = Capability {
            add_capabilities: own(add),
            drop_capabilities: own(drop),
            add_ambient_capabilities: own(ambient),
        };
        capability_sets(Some(&wanted), false).unwrap()
    }

    #[test]
    fn capability_rules() {
        let sets = caps(&["net_admin"], &[], &[]);
        assert!(sets.bounding.contains(&"CAP_NET_ADMIN".to_owned()) && sets.ambient.is_empty());
        assert_eq!(sets.inheritable, vec!["CAP_NET_ADMIN"]);
        assert_eq!(caps(&["CAP_KILL"], &["ALL"], &[]).effective, vec!["CAP_KILL"]);
        assert!(caps(&[], &["ALL"], &[]).bounding.is_empty());
        assert!(!caps(&["NET_RAW"], &["NET_RAW"], &[]).bounding.contains(&"CAP_NET_RAW".to_owned()));
        assert_eq!(caps(&[], &[], &["KILL"]).ambient, vec!["CAP_KILL"]);
        assert!(
            capability_sets(
                Some(&Capability { add_capabilities: vec!["NO_SUCH".into()], ..Default::default() }),
                false
            )
            .is_err()
        );
    }
}
