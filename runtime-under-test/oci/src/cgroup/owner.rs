//! Giving a cgroup to the container (runtime-spec "Cgroup ownership").

use std::fs;
use std::io;

use serde_json::Value;

use super::{Cgroup, Error, sys};

/// What is given away when the kernel does not say.
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Where the config's cgroup mount must be for the cgroup to be given away.
const MOUNT: &str = "/sys/fs/cgroup";

/// The host's user id that the container's cgroup belongs to, when the config asks for that: a new cgroup namespace,
/// and a writable cgroup mount at `/sys/fs/cgroup`.
///
/// The id is that of `process.user`, through the config's own mappings when it makes a user namespace.
pub fn owner_uid(config: &Value) -> Option<libc::uid_t> {
    let namespaces = config.pointer("/linux/namespaces")?.as_array()?;
    let new = |kind: &str| {
        let path = |n: &Value| n["path"].as_str().is_none_or(str::is_empty);
        namespaces.iter().any(|n| n["type"] == kind && path(n))
    };
    if !new("cgroup") {
        return None;
    }
    // Of several mounts at one place the last one is what the container sees.
    let at = |m: &&Value| m["destination"].as_str().is_some_and(|d| d.trim_end_matches('/') == MOUNT);
    let mount = config.get("mounts")?.as_array()?.iter().rfind(at)?;
    let options = mount["options"].as_array().map_or(&[][..], Vec::as_slice);
    let last = options.iter().filter_map(Value::as_str).rfind(|o| ["ro", "rw"].contains(o));
    if !matches!(mount["type"].as_str(), Some("cgroup" | "cgroup2")) || last == Some("ro") {
        return None;
    }
    let uid = config.pointer("/process/user/uid").and_then(Value::as_u64).unwrap_or(0);
    let uid = if new("user") { mapped(config, uid)? } else { uid };
    libc::uid_t::try_from(uid).ok()
}

fn mapped(config: &Value, uid: u64) -> Option<u64> {
    config.pointer("/linux/uidMappings")?.as_array()?.iter().find_map(|m| {
        let number = |key: &str| m[key].as_u64();
        let (container, host, size) = (number("containerID")?, number("hostID")?, number("size")?);
        let offset = uid.checked_sub(container).filter(|o| *o < size)?;
        host.checked_add(offset)
    })
}

impl Cgroup {
    /// Gives the cgroup to `uid` (see [`owner_uid`]): the directory, and those of its files that the kernel names in
    /// `/sys/kernel/cgroup/delegate`. Nothing is done unless the unified hierarchy is the only one: a v1 cgroup is no
    /// safe thing to give away.
    ///
    /// # Errors
    /// [`Error::Io`] when an owner cannot be changed. Files that the cgroup does not have are fine.
    pub fn chown(&self, uid: libc::uid_t) -> Result<(), Error> {
        if !self.is_v2() {
            return Ok(());
        }
        let Some(node) = self.unified() else { return Ok(()) };
        let dir = node.dir();
        let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| FALLBACK.to_owned());
        let files =
            list.lines().map(str::trim).filter(|f| !f.is_empty() && !f.contains('/')).map(|f| dir.join(f));
        for path in std::iter::once(dir.clone()).chain(files) {
            match sys::chown(&path, uid) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && path != dir => {}
                Err(source) => return Err(Error::Io { what: format!("give to user {uid}"), path, source }),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(namespaces: &Value, mount: &Value) -> Value {
        json!({"process": {"user": {"uid": 5}}, "mounts": [mount], "linux": {"namespaces": namespaces,
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 10}]}})
    }

    #[test]
    fn given_away_only_with_a_new_namespace_and_a_writable_mount() {
        let both = json!([{"type": "cgroup"}, {"type": "user", "path": ""}]);
        let rw =
            json!({"destination": "/sys/fs/cgroup/", "type": "cgroup", "options": ["nosuid", "ro", "rw"]});
        assert_eq!(owner_uid(&config(&both, &rw)), Some(100_004));
        assert_eq!(owner_uid(&config(&json!([{"type": "cgroup"}]), &rw)), Some(5));
        assert_eq!(owner_uid(&config(&json!([{"type": "user"}]), &rw)), None);
        assert_eq!(owner_uid(&config(&json!([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]), &rw)), None);
        let ro = json!({"destination": "/sys/fs/cgroup", "type": "cgroup2", "options": ["rw", "ro"]});
        assert_eq!(owner_uid(&config(&both, &ro)), None);
        let elsewhere = json!({"destination": "/cgroup", "type": "cgroup"});
        assert_eq!(owner_uid(&config(&both, &elsewhere)), None);
        let bind = json!({"destination": "/sys/fs/cgroup", "type": "bind"});
        assert_eq!(owner_uid(&config(&both, &bind)), None);
    }
}
