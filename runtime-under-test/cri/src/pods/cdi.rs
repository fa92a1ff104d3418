//! Container Device Interface: specs in JSON, and the edits that a device asks for.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::api::CdiDevice;
use crate::error::{Error, Result};

/// What devices add to a container.
#[derive(Debug, Default)]
pub struct Edits {
    /// Environment.
    pub env: Vec<String>,
    /// OCI mounts.
    pub mounts: Vec<Value>,
    /// OCI device nodes.
    pub nodes: Vec<Value>,
    /// OCI device rules.
    pub rules: Vec<Value>,
    /// OCI hooks.
    pub hooks: Value,
}

/// Resolves `vendor/class=name` devices; an unknown one is an error, a repeated one counts once.
pub fn inject(dirs: &[PathBuf], wanted: &[CdiDevice]) -> Result<Edits> {
    let mut edits = Edits::default();
    if wanted.is_empty() {
        return Ok(edits);
    }
    let specs = load(dirs);
    let mut done = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for device in wanted {
        if !done.insert(device.name.clone()) {
            continue;
        }
        let unknown = || {
            Error::invalid(format!(
                "CDI device {:?} is not in any CDI spec; expected vendor/class=name",
                device.name
            ))
        };
        let (kind, name) = device.name.split_once('=').ok_or_else(unknown)?;
        // Later directories have priority.
        let spec =
            specs.iter().rev().find(|s| s["kind"] == kind && find(s, name).is_some()).ok_or_else(unknown)?;
        if kinds.insert(kind.to_owned()) {
            apply(&mut edits, &spec["containerEdits"])?;
        }
        apply(&mut edits, &find(spec, name).ok_or_else(unknown)?["containerEdits"])?;
    }
    Ok(edits)
}

fn load(dirs: &[PathBuf]) -> Vec<Value> {
    let mut out = Vec::new();
    for dir in dirs {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
            match std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                Some(value) => out.push(value),
                None => tracing::warn!(file = %file.display(), "a CDI spec cannot be read; ignored"),
            }
        }
    }
    out
}

fn find<'a>(spec: &'a Value, name: &str) -> Option<&'a Value> {
    spec["devices"].as_array()?.iter().find(|d| d["name"] == name)
}

fn apply(edits: &mut Edits, from: &Value) -> Result<()> {
    let list = |key: &str| from[key].as_array().cloned().unwrap_or_default();
    edits.env.extend(list("env").iter().filter_map(|e| e.as_str().map(str::to_owned)));
    for mount in list("mounts") {
        let options = mount.get("options").cloned().unwrap_or_else(|| json!(["rbind", "ro"]));
        let kind = mount.get("type").cloned().unwrap_or_else(|| json!("bind"));
        edits.mounts.push(json!({"destination": mount["containerPath"], "source": mount["hostPath"], "type": kind, "options": options}));
    }
    for node in list("deviceNodes") {
        let (device, rule) = device_node(&node)?;
        edits.nodes.push(device);
        edits.rules.push(rule);
    }
    for hook in list("hooks") {
        let Some(stage) = hook["hookName"].as_str() else { continue };
        if edits.hooks.is_null() {
            edits.hooks = json!({});
        }
        let mut entry = Map::new();
        for key in ["path", "args", "env", "timeout"] {
            if let Some(value) = hook.get(key) {
                entry.insert(key.into(), value.clone());
            }
        }
        match edits.hooks[stage].as_array_mut() {
            Some(hooks) => hooks.push(entry.into()),
            None => edits.hooks[stage] = json!([entry]),
        }
    }
    Ok(())
}

fn device_node(node: &Value) -> Result<(Value, Value)> {
    let path = node["path"].as_str().ok_or_else(|| Error::invalid("a CDI device node has no path"))?;
    let host = node["hostPath"].as_str().unwrap_or(path);
    let meta = std::fs::metadata(host)
        .map_err(|error| Error::invalid(format!("CDI device node {host}: {error}")))?;
    let kind = if meta.file_type().is_block_device() { "b" } else { "c" };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let access = node["permissions"].as_str().unwrap_or("rwm");
    let mut device =
        json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": meta.mode() & 0o777});
    for (from, to) in [("fileMode", "fileMode"), ("uid", "uid"), ("gid", "gid")] {
        if let Some(value) = node.get(from) {
            device[to] = value.clone();
        }
    }
    Ok((device, json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_resolved_once() {
        let dir = tempfile::tempdir().unwrap();
        let spec = json!({"cdiVersion": "0.6.0", "kind": "a.com/x", "containerEdits": {"env": ["ALL=1"]},
            "devices": [{"name": "d", "containerEdits": {"env": ["D=1"], "deviceNodes": [{"path": "/dev/d", "hostPath": "/dev/null"}]}}]});
        std::fs::write(dir.path().join("a.json"), spec.to_string()).unwrap();
        let device = |name: &str| CdiDevice { name: name.into() };
        let dirs = [dir.path().to_owned()];
        let edits = inject(&dirs, &[device("a.com/x=d"), device("a.com/x=d")]).unwrap();
        assert_eq!(edits.env, vec!["ALL=1", "D=1"]);
        assert_eq!(edits.nodes.len(), 1);
        assert_eq!((edits.nodes[0]["major"].as_u64(), edits.nodes[0]["minor"].as_u64()), (Some(1), Some(3)));
        assert!(inject(&dirs, &[device("a.com/x=none")]).is_err());
        assert!(inject(&dirs, &[device("nonsense")]).is_err());
    }
}
