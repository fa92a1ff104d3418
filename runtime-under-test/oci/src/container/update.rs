//! `update` and `events`: cgroup settings and statistics of a container.

use super::ops::cgroup_of;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::state::{self, Status};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// Largest resource document that is read, bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// A number that a flag sets: JSON path below `resources`, and the value.
pub type Setting = (&'static [&'static str], Value);

/// Applies a resource document (`-` = standard input) or single settings.
pub fn update(root: &Path, id: &str, document: Option<&Path>, settings: Vec<Setting>) -> Result<()> {
    let (store, record) = state::open(root, id)?;
    if store.status(&record) == Status::Stopped {
        bail!("container not running");
    }
    let resources = match document {
        Some(path) => read(path)?,
        None => build(settings),
    };
    if !resources.is_object() {
        bail!("the resource document is not an object");
    }
    cgroup_of(&record)?.update(&resources).map_err(|e| Error::new(e.to_string()))?;
    record.scope.as_ref().map_or(Ok(()), |scope| scope.update(&resources))
}

fn read(path: &Path) -> Result<Value> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("--resources {}", path.display()))?;
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
    }
    serde_json::from_slice(&bytes).context("resource document")
}

fn build(settings: Vec<Setting>) -> Value {
    let mut root = Value::Object(Map::new());
    for (path, value) in settings {
        let mut at = &mut root;
        for name in path {
            at = &mut at[*name];
        }
        *at = value;
    }
    root
}

/// Bytes with an optional binary unit, as `512m`; -1 = no limit.
pub fn bytes(text: &str) -> Result<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches("ib").trim_end_matches('b');
    let (number, shift) = match digits.char_indices().last() {
        Some((at, 'k')) => (&digits[..at], 10),
        Some((at, 'm')) => (&digits[..at], 20),
        Some((at, 'g')) => (&digits[..at], 30),
        Some((at, 't')) => (&digits[..at], 40),
        _ => (digits, 0),
    };
    let value: Option<i64> = number.trim().parse().ok();
    match value.and_then(|v| v.checked_mul(1 << shift)) {
        Some(v) if v >= -1 => Ok(v),
        _ => bail!("{text:?} is not a size such as 512m"),
    }
}

/// One statistics line.
pub fn stats(root: &Path, id: &str) -> Result<Value> {
    let (store, record) = state::open(root, id)?;
    if store.status(&record) == Status::Stopped {
        bail!("container not running");
    }
    let data = cgroup_of(&record)?.stats().map_err(|e| Error::new(e.to_string()))?;
    Ok(json!({ "type": "stats", "id": id, "data": data }))
}

/// Prints statistics every `interval` and OOM kills as they happen, until the container stops.
pub fn events(root: &Path, id: &str, interval: Duration, mut print: impl FnMut(&Value)) -> Result<()> {
    const TICK: Duration = Duration::from_millis(100);
    let (store, record) = state::open(root, id)?;
    if store.status(&record) == Status::Stopped {
        bail!("container not running");
    }
    let cgroup = cgroup_of(&record)?;
    let mut kills = cgroup.oom_kills().unwrap_or(0);
    let mut next = Instant::now() + interval;
    while state::alive(&record) {
        std::thread::sleep(TICK.min(interval));
        let now = cgroup.oom_kills().unwrap_or(kills);
        for _ in kills..now {
            print(&json!({ "type": "oom", "id": id }));
        }
        kills = now;
        if Instant::now() >= next {
            next += interval;
            if let Ok(data) = cgroup.stats() {
                print(&json!({ "type": "stats", "id": id, "data": data }));
            }
        }
    }
    let now = cgroup.oom_kills().unwrap_or(kills);
    for _ in kills..now {
        print(&json!({ "type": "oom", "id": id }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{build, bytes};
    use serde_json::json;

    #[test]
    fn sizes_have_binary_units() {
        for (text, value) in [("-1", -1), ("4096", 4096), ("64m", 64 << 20), ("1GiB", 1 << 30), ("2KB", 2048)]
        {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for bad in ["", "m", "1x", "-2", "99999999999t"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_nest() {
        let built = build(vec![
            (&["memory", "limit"], json!(1)),
            (&["memory", "swap"], json!(2)),
            (&["pids", "limit"], json!(3)),
        ]);
        assert_eq!(built, json!({"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}}));
    }
}
