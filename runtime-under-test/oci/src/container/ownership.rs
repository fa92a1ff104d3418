//! config-linux.md "Cgroup ownership": to whom the container's cgroup is given.

use crate::config::{NamespaceKind, Spec};

/// Where the cgroup mount must be for the cgroup to be given away.
const MOUNT: &str = "sys/fs/cgroup";

/// The host's user id that the cgroup belongs to, when the configuration asks for that: a new cgroup namespace, and
/// "read-write access to the `/sys/fs/cgroup` mount". It is the one that `process.user` has on the host, through the
/// configuration's own mappings when it makes a user namespace.
pub fn host_uid(spec: &Spec) -> Option<u32> {
    let at = |m: &&crate::config::Mount| m.destination.trim_matches('/') == MOUNT;
    let mount = spec.mounts.iter().rfind(at)?;
    let cgroup = matches!(mount.kind.as_deref(), Some("cgroup" | "cgroup2"));
    let last = mount.options.iter().rfind(|o| ["ro", "rw", "rro", "rrw"].contains(&o.as_str()));
    let writable = last.is_none_or(|o| o.ends_with('w'));
    if !cgroup || !writable || !spec.new_namespace(NamespaceKind::Cgroup) {
        return None;
    }
    let uid = spec.process.as_ref()?.user.uid;
    if !spec.new_namespace(NamespaceKind::User) {
        return Some(uid);
    }
    spec.linux.uid_mappings.iter().find_map(|m| {
        let offset = uid.checked_sub(m.container_id).filter(|o| *o < m.size)?;
        m.host_id.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn uid(namespaces: &Value, mount: &Value) -> Option<u32> {
        let mappings = json!([
            { "containerID": 0, "hostID": 1000, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 10 }
        ]);
        let document = json!({
            "ociVersion": "1.0.0",
            "process": { "user": { "uid": 5, "gid": 0 }, "cwd": "/", "args": ["x"] },
            "mounts": [mount],
            "linux": { "namespaces": namespaces, "uidMappings": mappings }
        });
        host_uid(&Spec::from_copy(&serde_json::to_vec(&document).unwrap()).unwrap())
    }

    #[test]
    fn given_away_only_with_a_new_namespace_and_a_writable_mount() {
        let both = json!([{ "type": "cgroup" }, { "type": "user", "path": "" }]);
        let rw =
            json!({ "destination": "/sys/fs/cgroup/", "type": "cgroup", "options": ["nosuid", "ro", "rw"] });
        assert_eq!(uid(&both, &rw), Some(100_004));
        assert_eq!(uid(&json!([{ "type": "cgroup" }]), &rw), Some(5));
        assert_eq!(uid(&json!([{ "type": "user" }]), &rw), None);
        assert_eq!(uid(&json!([{ "type": "cgroup", "path": "/proc/1/ns/cgroup" }]), &rw), None);
        let ro = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup2", "options": ["rw", "ro"] });
        assert_eq!(uid(&both, &ro), None);
        let elsewhere = json!({ "destination": "/cgroup", "type": "cgroup" });
        assert_eq!(uid(&both, &elsewhere), None);
        let bind = json!({ "destination": "/sys/fs/cgroup", "type": "bind" });
        assert_eq!(uid(&both, &bind), None);
    }
}
