//! What several files of this suite share: strict reading of JSON documents, the state's schema, stages of a
//! container's life, the host's view of a created container, and snapshots of the host.

use plimsoll_kit::leak;
use plimsoll_kit::prelude::*;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// Reads a JSON document and refuses what a lenient reader lets pass: repeated member names and trailing text.
pub fn strict_json(text: &str) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = serde_json::Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("the member name {name:?} is repeated")));
            }
            let value = members.next_value_seed(Strict)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// The four status values that the specification defines.
pub const BASE_STATUSES: [&str; 4] = ["creating", "created", "running", "stopped"];

/// What in a state document departs from the published state schema; empty when nothing does. Further members and
/// further status values are allowed by the text, so they are no defect.
pub fn state_defects(state: &Value) -> Vec<String> {
    let Some(members) = state.as_object() else { return vec!["it is not an object".into()] };
    let mut defects = Vec::new();
    for name in ["ociVersion", "id", "status", "bundle"] {
        match members.get(name) {
            None => defects.push(format!("`{name}` is missing")),
            Some(Value::String(text)) if text.is_empty() => defects.push(format!("`{name}` is empty")),
            Some(Value::String(_)) => {}
            Some(other) => defects.push(format!("`{name}` is {other}, no string")),
        }
    }
    if let Some(pid) = members.get("pid")
        && pid.as_u64().is_none()
    {
        defects.push(format!("`pid` is {pid}, no integer from 0 on"));
    }
    match members.get("annotations") {
        None => {}
        Some(Value::Object(map)) => {
            let odd = map.iter().filter(|(_, v)| !v.is_string());
            defects.extend(odd.map(|(k, v)| format!("the annotation `{k}` is {v}, no string")));
        }
        Some(other) => defects.push(format!("`annotations` is {other}, no object")),
    }
    if let Some(version) = members.get("ociVersion").and_then(Value::as_str)
        && !is_semver(version)
    {
        defects.push(format!("`ociVersion` is {version:?}, no SemVer 2.0.0 version"));
    }
    defects
}

/// Whether a text is a version by `SemVer` 2.0.0.
pub fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(r, b)| (r, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(c, p)| (c, Some(p)));
    let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit()) && (s == "0" || !s.starts_with('0'));
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let core: Vec<&str> = core.split('.').collect();
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    core.len() == 3
        && core.iter().all(|n| !n.is_empty() && numeric(n))
        && pre.is_none_or(|p| p.split('.').all(|s| word(s) && (!digits(s) || numeric(s))))
        && build.is_none_or(|b| b.split('.').all(word))
}

/// The stages of a container's life at which its state can be asked for between two calls.
pub const STAGES: &[Variant] =
    &[Variant::new("created", &[]), Variant::new("running", &[]), Variant::new("stopped", &[])];

/// Brings a container whose program pauses to a stage; `stopped` is reached by SIGKILL.
pub async fn at_stage(builder: Builder, stage: &str) -> Result<Container, Stop> {
    match stage {
        "created" => builder.created().await,
        "running" => builder.running().await,
        _ => {
            let container = builder.running().await?;
            container.kill("KILL").await?.ready("stopping the container")?;
            container.wait_stopped().await?;
            Ok(container)
        }
    }
}

/// What the host sees of a container's process through `/proc/PID`.
#[derive(Debug, Clone)]
pub struct HostView {
    /// `mountinfo`, one line per mount.
    pub mounts: Vec<String>,
    /// The mount namespace.
    pub mount_namespace: String,
}

impl HostView {
    /// Looks at the container's process.
    pub fn of(container: &Container) -> Result<Self, Stop> {
        Ok(Self {
            mounts: container.proc_file("mountinfo")?.lines().map(str::to_owned).collect(),
            mount_namespace: container.namespace("mnt")?,
        })
    }

    /// The mount points, in order.
    pub fn points(&self) -> Vec<&str> {
        self.mounts.iter().filter_map(|l| l.split(' ').nth(4)).collect()
    }
}

/// Ends the case as not applicable when the process that the runtime names is not the container's program as the
/// host sees it: a runtime with a kernel of its own has no such view. `answers` are the program's, and have to hold
/// `namespaces`.
pub fn need_host_view(container: &Container, answers: &Answers) -> Result<(), Stop> {
    let inside = answers.facts("namespaces")?["ns"]["mnt"].clone();
    let outside = container.namespace("mnt")?;
    if inside == json!(outside) {
        return Ok(());
    }
    Err(Stop::NotApplicable {
        capability: "host-visible-process".into(),
        reason: format!(
            "the program is in {inside}, the process that the runtime names is in {outside}: \
             the host cannot look into this container through /proc"
        ),
    })
}

/// What an operation without effect must not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    state: BTreeSet<String>,
    processes: BTreeSet<i32>,
    files: BTreeMap<String, String>,
}

impl Snapshot {
    /// Looks at the mounts, the attempt's cgroups and processes, the state directory and these directories' files.
    pub fn take(cx: &Cx, directories: &[&Path]) -> Self {
        cx.runtime().reaper().sweep();
        let mut cgroups = BTreeSet::new();
        for h in plimsoll_kit::host::hierarchies() {
            collect_directories(&h.mount.join(cx.cgroup().trim_start_matches('/')), &mut cgroups);
        }
        let mut files = BTreeMap::new();
        for directory in directories {
            collect_files(directory, &mut files);
        }
        let names = fs::read_dir(cx.runtime().root()).into_iter().flatten().flatten();
        Self {
            mounts: leak::mounts().into_iter().collect(),
            cgroups,
            // What a runtime keeps for itself (locks, logs) is no container.
            state: names
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .filter(|name| name.contains(cx.nonce()))
                .collect(),
            processes: leak::strays(cx).into_iter().collect(),
            files,
        }
    }

    /// What is different now, in words; empty when nothing is.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let mut note = |what: &str, before: Vec<String>, after: Vec<String>| {
            let gone = before.iter().filter(|x| !after.contains(x)).map(|x| format!("{what} {x} is gone"));
            let new = after.iter().filter(|x| !before.contains(x)).map(|x| format!("{what} {x} is new"));
            changes.extend(gone.chain(new));
        };
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        note("mount", list(&self.mounts), list(&now.mounts));
        note("cgroup", list(&self.cgroups), list(&now.cgroups));
        note("state", list(&self.state), list(&now.state));
        let pids = |set: &BTreeSet<i32>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
        note("process", pids(&self.processes), pids(&now.processes));
        let file = |map: &BTreeMap<String, String>| {
            map.iter().map(|(path, what)| format!("{path} ({what})")).collect::<Vec<_>>()
        };
        note("file", file(&self.files), file(&now.files));
        changes
    }
}

fn collect_directories(dir: &Path, all: &mut BTreeSet<String>) {
    if dir.is_dir() && all.insert(dir.display().to_string()) {
        for child in plimsoll_kit::host::sub_directories(dir) {
            collect_directories(&child, all);
        }
    }
}

fn collect_files(dir: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        let Ok(kind) = kind else { continue };
        let what = match entry.metadata() {
            Ok(meta) if kind.is_file() => format!("{} bytes", meta.len()),
            _ if kind.is_dir() => "directory".to_owned(),
            _ => "other".to_owned(),
        };
        all.insert(path.display().to_string(), what);
        if kind.is_dir() {
            collect_files(&path, all);
        }
    }
}

/// Demands that nothing has changed since `before`, once what ends by itself has had time to.
pub async fn unchanged(cx: &Cx, before: &Snapshot, directories: &[&Path]) -> Result<(), Stop> {
    wait_until("the host is as if the operation had not been tried", cx.limits().wait(), async || {
        let changes = before.changes(&Snapshot::take(cx, directories));
        Ok(if changes.is_empty() {
            plimsoll_kit::wait::Poll::Ready(())
        } else {
            plimsoll_kit::wait::Poll::NotYet(changes.join("; "))
        })
    })
    .await
}

/// Pauses a container, or ends the case as not applicable: pausing is no operation of the specification.
pub async fn pause(cx: &Cx, container: &Container) -> Result<(), Stop> {
    let call = cx.runtime().verb("pause", container.id()).await?;
    if call.succeeded() {
        return Ok(());
    }
    Err(Stop::NotApplicable { capability: "pause".into(), reason: call.describe() })
}

#[cfg(test)]
mod tests {
    use super::{is_semver, state_defects, strict_json};
    use serde_json::json;

    #[test]
    fn versions() {
        for good in ["1.0.2", "1.0.2-dev", "1.1.0-rc.1", "1.2.1+dev", "0.0.0", "1.0.0-alpha-x.7+b.1"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "a.b.c"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn repeated_names_are_found() {
        assert_eq!(strict_json("{\"a\":{\"b\":[1,null]}}").unwrap(), json!({"a": {"b": [1, null]}}));
        assert!(strict_json("{\"a\":{\"b\":1,\"b\":2}}").unwrap_err().contains("repeated"));
        assert!(strict_json("{} x").is_err());
    }

    #[test]
    fn defects_of_a_state() {
        let good = json!({"ociVersion": "1.0.2", "id": "x", "status": "created", "bundle": "/b", "pid": 3});
        assert_eq!(state_defects(&good), Vec::<String>::new());
        let bad = json!({"ociVersion": "1", "id": "", "status": 3, "annotations": null, "pid": -1});
        assert_eq!(state_defects(&bad).len(), 6, "{:?}", state_defects(&bad));
    }
}
