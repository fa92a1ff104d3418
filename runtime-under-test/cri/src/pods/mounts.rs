//! Mounts and devices of a container.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::api::{ContainerConfig, Device, Mount, MountPropagation};
use crate::error::{Error, Result};

/// Where the pod's own files lie and what the container wants of them.
pub struct Place<'a> {
    /// The pod's directory with `hosts`, `hostname`, `resolv.conf`, `shm`.
    pub pod_dir: &'a Path,
    /// Full rights over devices, sysfs and cgroups.
    pub privileged: bool,
    /// The root is read-only.
    pub readonly: bool,
    /// Shares the node's network namespace.
    pub host_network: bool,
    /// Shares the node's IPC namespace.
    pub host_ipc: bool,
    /// Shares the node's pid namespace.
    pub host_pid: bool,
    /// Is in a user namespace.
    pub userns: bool,
}

/// Checks a requested mount (requirements `container.mount.*`).
pub fn check(mount: &Mount, rro: bool) -> Result<()> {
    let what = &mount.container_path;
    if what.is_empty() || !what.starts_with('/') || what.contains('\0') {
        return Err(Error::invalid(format!("mount: container_path {what:?} must be an absolute path")));
    }
    if Path::new(what).components().any(|c| c == std::path::Component::ParentDir)
        || what.trim_matches('/').is_empty()
    {
        return Err(Error::invalid(format!("mount: container_path {what:?} must be below / and without ..")));
    }
    let has_image = mount.image.as_ref().is_some_and(|i| !i.image.is_empty());
    match (mount.host_path.is_empty(), has_image) {
        (true, false) => {
            return Err(Error::invalid(format!("mount {what}: neither host_path nor image is set")));
        }
        (false, true) => {
            return Err(Error::invalid(format!("mount {what}: host_path and image exclude each other")));
        }
        _ => {}
    }
    if has_image && !mount.readonly {
        return Err(Error::invalid(format!("mount {what}: an image volume must be readonly")));
    }
    if !has_image && !mount.image_sub_path.is_empty() {
        return Err(Error::invalid(format!("mount {what}: image_sub_path needs an image")));
    }
    let propagation = MountPropagation::try_from(mount.propagation).map_err(|_| {
        Error::invalid(format!("mount {what}: propagation {} does not exist", mount.propagation))
    })?;
    if mount.recursive_read_only {
        if !mount.readonly {
            return Err(Error::invalid(format!("mount {what}: recursive_read_only needs readonly")));
        }
        if propagation != MountPropagation::PropagationPrivate {
            return Err(Error::invalid(format!(
                "mount {what}: recursive_read_only needs private propagation"
            )));
        }
        if !rro {
            return Err(Error::new(
                tonic::Code::Unknown,
                format!(
                    "RROUnsupported: mount {what}: the runtime handler cannot mount recursively read-only"
                ),
            ));
        }
    }
    for option in &mount.mount_options {
        if ![
            "noexec",
            "nodev",
            "nosuid",
            "exec",
            "dev",
            "suid",
            "noatime",
            "nodiratime",
            "relatime",
            "strictatime",
            "nosymfollow",
        ]
        .contains(&option.as_str())
        {
            return Err(Error::invalid(format!("mount {what}: option {option:?} is not known")));
        }
    }
    Ok(())
}

/// The OCI form of a bind mount whose source is ready on the host.
pub fn bind(mount: &Mount, source: &Path) -> Value {
    let propagation = match MountPropagation::try_from(mount.propagation) {
        Ok(MountPropagation::PropagationBidirectional) => "rshared",
        Ok(MountPropagation::PropagationHostToContainer) => "rslave",
        _ => "rprivate",
    };
    let mut options = vec!["rbind", propagation];
    options.push(match (mount.recursive_read_only, mount.readonly) {
        (true, _) => "rro",
        (false, true) => "ro",
        (false, false) => "rw",
    });
    options.extend(mount.mount_options.iter().map(String::as_str));
    json!({"destination": mount.container_path, "type": "bind", "source": source, "options": options})
}

/// A missing host path is an error; a link is followed (`container.mount.host-path-*`).
pub fn host_source(mount: &Mount) -> Result<PathBuf> {
    let path = Path::new(&mount.host_path);
    if !path.is_absolute() {
        return Err(Error::invalid(format!(
            "mount {}: host_path {:?} must be absolute",
            mount.container_path, mount.host_path
        )));
    }
    let real = std::fs::canonicalize(path).map_err(|error| {
        Error::invalid(format!("mount {}: host_path {}: {error}", mount.container_path, mount.host_path))
    })?;
    let propagation =
        MountPropagation::try_from(mount.propagation).unwrap_or(MountPropagation::PropagationPrivate);
    if propagation != MountPropagation::PropagationPrivate {
        let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let fields = propagation_fields(&info, &real);
        let shared = fields.iter().any(|f| f.starts_with("shared:"));
        let slave = fields.iter().any(|f| f.starts_with("master:"));
        if !(shared || slave && propagation == MountPropagation::PropagationHostToContainer) {
            return Err(Error::invalid(format!(
                "mount {}: {} is on a mount that is not shared, so nothing can propagate; make it shared or use private propagation",
                mount.container_path, mount.host_path
            )));
        }
    }
    Ok(real)
}

/// Optional fields of the mountinfo line that `path` is on.
fn propagation_fields(info: &str, path: &Path) -> Vec<String> {
    let mut best: (usize, Vec<String>) = (0, Vec::new());
    for line in info.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(point) = fields.get(4).map(|p| p.replace("\\040", " ")) else { continue };
        if path.starts_with(&point) && point.len() >= best.0 {
            best = (
                point.len(),
                fields.iter().skip(6).take_while(|f| **f != "-").map(|f| (*f).to_owned()).collect(),
            );
        }
    }
    best.1
}

/// The strictest root propagation that these mounts need.
pub fn root_propagation(mounts: &[Mount]) -> &'static str {
    let has = |p: MountPropagation| mounts.iter().any(|m| m.propagation == p as i32);
    if has(MountPropagation::PropagationBidirectional) {
        "rshared"
    } else if has(MountPropagation::PropagationHostToContainer) {
        "rslave"
    } else {
        ""
    }
}

/// Mounts that every container has, except where the client mounts something itself.
pub fn standard(place: &Place<'_>, config: &ContainerConfig) -> Vec<Value> {
    let taken: BTreeSet<&str> =
        config.mounts.iter().map(|m| m.container_path.trim_end_matches('/')).collect();
    let guarded = ["nosuid", "noexec", "nodev"];
    let sys_mode = if place.privileged { "rw" } else { "ro" };
    let mut out = Vec::new();
    if place.userns && place.host_pid {
        out.push(json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "nosuid", "noexec", "nodev"]}));
    } else {
        out.push(json!({"destination": "/proc", "type": "proc", "source": "proc", "options": guarded}));
    }
    out.push(json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}));
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !place.userns {
        pts.push("gid=5");
    }
    out.push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts}));
    if place.host_ipc {
        out.push(json!({"destination": "/dev/mqueue", "type": "bind", "source": "/dev/mqueue", "options": ["rbind", "nosuid", "noexec", "nodev"]}));
    } else {
        out.push(
            json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": guarded}),
        );
    }
    if place.userns && place.host_network {
        out.push(json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", sys_mode]}));
    } else {
        out.push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", sys_mode]}));
        out.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", sys_mode]}));
    }
    if place.host_ipc && !Path::new("/dev/mqueue").exists() {
        out.retain(|m| m["destination"] != "/dev/mqueue");
    }
    let shm = if place.host_ipc { PathBuf::from("/dev/shm") } else { place.pod_dir.join("shm") };
    if !taken.contains("/dev/shm") {
        out.push(json!({"destination": "/dev/shm", "type": "bind", "source": shm, "options": ["rbind", "rprivate", "rw"]}));
    }
    let mode = if place.readonly { "ro" } else { "rw" };
    for name in ["hosts", "hostname", "resolv.conf"] {
        let destination = format!("/etc/{name}");
        if !taken.contains(destination.as_str()) {
            out.push(json!({"destination": destination, "type": "bind", "source": place.pod_dir.join(name), "options": ["rbind", "rprivate", mode]}));
        }
    }
    out.retain(|m| !taken.contains(m["destination"].as_str().unwrap_or_default()));
    out
}

/// Parents before children, whatever the order given (`container.mount.order-nested`).
pub fn sort(mounts: &mut [Value]) {
    mounts.sort_by_key(|m| m["destination"].as_str().map_or(0, |d| Path::new(d).components().count()));
}

/// Nodes and rules for the client's devices; a directory is expanded, a link resolved.
pub fn devices(list: &[Device], privileged: bool) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut nodes = Vec::new();
    let mut rules = Vec::new();
    if privileged {
        rules.push(json!({"allow": true, "access": "rwm"}));
        let mut found = Vec::new();
        walk(Path::new("/dev"), Path::new("/dev"), 0, &mut found);
        nodes.extend(found.into_iter().map(|(target, node)| node_json(&target, &node)));
    } else {
        rules.push(json!({"allow": false, "access": "rwm"}));
    }
    for device in list {
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        if !access.chars().all(|c| "rwm".contains(c)) {
            return Err(Error::invalid(format!(
                "device {}: permissions {access:?} must be letters of rwm",
                device.host_path
            )));
        }
        let host = std::fs::canonicalize(&device.host_path)
            .map_err(|error| Error::invalid(format!("device {}: {error}", device.host_path)))?;
        let target = Path::new(if device.container_path.is_empty() {
            &device.host_path
        } else {
            &device.container_path
        });
        let mut found = Vec::new();
        if host.is_dir() {
            walk(&host, target, 0, &mut found);
        } else {
            found.push((
                target.to_owned(),
                Node::of(&host)
                    .ok_or_else(|| Error::invalid(format!("{} is not a device", device.host_path)))?,
            ));
        }
        for (target, node) in found {
            nodes.retain(|n: &Value| n["path"].as_str() != target.to_str());
            rules.push(json!({"allow": true, "type": node.kind, "major": node.major, "minor": node.minor, "access": access}));
            nodes.push(node_json(&target, &node));
        }
    }
    Ok((nodes, rules))
}

struct Node {
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Node {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        let kind = if meta.file_type().is_char_device() {
            "c"
        } else if meta.file_type().is_block_device() {
            "b"
        } else {
            return None;
        };
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        Some(Self { kind, major, minor, mode: meta.mode() & 0o777, uid: meta.uid(), gid: meta.gid() })
    }
}

fn node_json(target: &Path, node: &Node) -> Value {
    json!({"path": target, "type": node.kind, "major": node.major, "minor": node.minor, "fileMode": node.mode, "uid": node.uid, "gid": node.gid})
}

/// Device nodes below a directory, without those that a container has of its own.
fn walk(dir: &Path, target: &Path, depth: u32, out: &mut Vec<(PathBuf, Node)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        let own = depth == 0 && dir == Path::new("/dev");
        if own && ["pts", "shm", "mqueue", "console", "ptmx", "fd", ".lxc", "tty"].iter().any(|n| name == *n)
        {
            continue;
        }
        if kind.is_dir() && depth < 6 {
            walk(&path, &target.join(&name), depth + 1, out);
        } else if let Some(node) = Node::of(&path)
            && out.len() < 4096
        {
            out.push((target.join(&name), node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ImageSpec;

    #[test]
    fn contradictory_mounts_are_refused() {
        let good = Mount {
            container_path: "/a".into(),
            host_path: "/tmp".into(),
            readonly: true,
            ..Default::default()
        };
        assert!(check(&good, true).is_ok());
        let image = Some(ImageSpec { image: "x".into(), ..Default::default() });
        let bad: Vec<Mount> = vec![
            Mount { host_path: String::new(), ..good.clone() },
            Mount { image: image.clone(), ..good.clone() },
            Mount { image, host_path: String::new(), readonly: false, ..good.clone() },
            Mount { container_path: "a".into(), ..good.clone() },
            Mount { container_path: "/../a".into(), ..good.clone() },
            Mount { recursive_read_only: true, readonly: false, ..good.clone() },
            Mount { recursive_read_only: true, propagation: 1, ..good.clone() },
            Mount { propagation: 7, ..good.clone() },
            Mount { mount_options: vec!["bogus".into()], ..good.clone() },
        ];
        for mount in bad {
            assert!(check(&mount, true).is_err(), "{mount:?}");
        }
    }

    #[test]
    fn propagation_is_read_from_the_deepest_mount() {
        let info = "1 0 0:1 / / rw shared:1 - ext4 a rw\n2 1 0:2 / /mnt/x rw - tmpfs b rw\n";
        assert_eq!(propagation_fields(info, Path::new("/mnt/x/y")), Vec::<String>::new());
        assert_eq!(propagation_fields(info, Path::new("/mnt/z")), vec!["shared:1"]);
    }
}
