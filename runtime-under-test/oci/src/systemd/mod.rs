//! The systemd cgroup driver (`--systemd-cgroup`): the container's cgroup is a scope of the service manager.
//!
//! `cgroupsPath` reads `slice:prefix:name`, as with every engine: the unit `prefix-name.scope` in that slice. The
//! manager makes the scope's directory in the hierarchies that it manages and moves the container's first process
//! there; the rest is as with cgroupfs, in the same directories (`Delegate=yes` says that they are ours).

mod bus;
mod wire;

use crate::bail;
use crate::error::{Context, Result};
use bus::Bus;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use wire::{Value, Writer};

/// A scope: what is kept in the container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Name of the unit.
    pub unit: String,
    /// Name of the slice.
    pub slice: String,
    /// Whether the manager is the calling user's own.
    pub user: bool,
}

impl Scope {
    /// The scope that `cgroupsPath` asks for; without one it is of the default slice and named for the container.
    pub fn parse(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self> {
        let default = if user { "user.slice" } else { "system.slice" };
        let (slice, prefix, name) = match cgroups_path.filter(|p| !p.is_empty()) {
            None => (default, "plimsoll", id),
            Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
                [slice, prefix, name] => (if slice.is_empty() { default } else { slice }, prefix, name),
                _ => bail!("linux.cgroupsPath {path:?}: with systemd it is written slice:prefix:name"),
            },
        };
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:\\@".contains(c);
        if name.is_empty() || unit.len() > 255 || !unit.chars().all(plain) {
            bail!("linux.cgroupsPath: {unit:?} is no name of a systemd unit");
        }
        slice_path(slice)?;
        Ok(Self { unit, slice: slice.to_owned(), user })
    }

    /// The scope's cgroup below the mount point of each hierarchy. Asks the manager where its own is.
    pub fn path(&self) -> Result<String> {
        let own = Bus::open(self.user)?.property("ControlGroup")?;
        Ok(format!("{}{}/{}", own.trim_end_matches('/'), slice_path(&self.slice)?, self.unit))
    }

    /// Makes the scope with this process in it, and waits until it is there.
    pub fn start(&self, id: &str, pid: i32, resources: &serde_json::Value) -> Result<()> {
        let mut properties = vec![
            ("Description", Value::Text(format!("container {id}"))),
            ("Slice", Value::Text(self.slice.clone())),
            ("PIDs", Value::Numbers(vec![pid.unsigned_abs()])),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("MemoryAccounting", Value::Flag(true)),
            ("CPUAccounting", Value::Flag(true)),
            ("TasksAccounting", Value::Flag(true)),
        ];
        properties.extend(limits(resources));
        let mut bus = Bus::open(self.user)?;
        let body = Writer::default().text(&self.unit).text("fail").properties(&properties).no_units();
        let job = bus.manager("StartTransientUnit", &body)?;
        bus.finish(&job)
    }

    /// Tells the manager changed limits, so that it does not write the old ones again.
    pub fn update(&self, resources: &serde_json::Value) -> Result<()> {
        let limits = limits(resources);
        if limits.is_empty() {
            return Ok(());
        }
        let body = Writer::default().text(&self.unit).flag(true).properties(&limits);
        Bus::open(self.user)?.manager("SetUnitProperties", &body).map(drop)
    }

    /// Ends the scope. One that is gone already is fine: it goes with its last process.
    pub fn stop(&self) -> Result<()> {
        let mut bus = Bus::open(self.user).context("ending the scope")?;
        let stopped = bus.manager("StopUnit", &Writer::default().text(&self.unit).text("replace"));
        let gone = match stopped {
            Ok(job) => bus.finish(&job),
            Err(e) if e.to_string().contains("NoSuchUnit") => Ok(()),
            Err(e) => Err(e),
        };
        // A scope that failed is remembered, and its name stays taken, until this.
        let _ = bus.manager("ResetFailedUnit", &Writer::default().text(&self.unit));
        gone
    }
}

/// A slice's place: each dash is a level, `a-b.slice` is in `a.slice`.
fn slice_path(slice: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:\\@".contains(c);
    let name = slice.strip_suffix(".slice").filter(|n| !n.is_empty() && n.chars().all(plain));
    let Some(name) = name else { bail!("linux.cgroupsPath: {slice:?} is no name of a systemd slice") };
    if name == "-" {
        return Ok(String::new());
    }
    let (mut path, mut whole) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            bail!("linux.cgroupsPath: {slice:?} is no name of a systemd slice");
        }
        whole = if whole.is_empty() { part.to_owned() } else { format!("{whole}-{part}") };
        let _ = write!(path, "/{whole}.slice");
    }
    Ok(path)
}

/// The limits that systemd knows of, in its own words. The kernel's files are written beside it all the same.
fn limits(resources: &serde_json::Value) -> Vec<(&'static str, Value)> {
    let number = |pointer: &str| resources.pointer(pointer).and_then(serde_json::Value::as_i64);
    let unlimited = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    let mut all = Vec::new();
    if let Some(limit) = number("/memory/limit").filter(|n| *n != 0) {
        all.push(("MemoryMax", Value::Number(unlimited(limit))));
    }
    if let Some(low) = number("/memory/reservation").filter(|n| *n > 0) {
        all.push(("MemoryLow", Value::Number(unlimited(low))));
    }
    if let Some(limit) = number("/pids/limit").filter(|n| *n != 0) {
        all.push(("TasksMax", Value::Number(unlimited(limit))));
    }
    if let Some(shares) = number("/cpu/shares").filter(|n| *n > 0) {
        // systemd translates between shares and weights itself.
        all.push(("CPUShares", Value::Number(unlimited(shares.clamp(2, 262_144)))));
    }
    if let Some(quota) = number("/cpu/quota").filter(|n| *n != 0) {
        let period = number("/cpu/period").filter(|n| *n > 0).unwrap_or(100_000);
        let per_second =
            u64::try_from(quota).map_or(u64::MAX, |q| q.saturating_mul(1_000_000) / period.unsigned_abs());
        all.push(("CPUQuotaPerSecUSec", Value::Number(per_second)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scopes_are_named_as_engines_expect() {
        let scope = |path| Scope::parse(path, "c1", false).map(|s| (s.slice, s.unit));
        let names = |slice: &str, unit: &str| Ok::<_, String>((slice.to_owned(), unit.to_owned()));
        let plain = |path| scope(path).map_err(|e| e.to_string());
        assert_eq!(plain(None), names("system.slice", "plimsoll-c1.scope"));
        assert_eq!(plain(Some("a-b.slice:cri:x1")), names("a-b.slice", "cri-x1.scope"));
        assert_eq!(plain(Some("::x")), names("system.slice", "x.scope"));
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:",
            "a:b:c",
            "a.slice:b:c/d",
            "../a.slice:b:c",
            "a--b.slice:p:n",
            "a.slice:b:c:d",
        ] {
            assert!(scope(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn dashes_are_levels() {
        assert_eq!(slice_path("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(slice_path("-.slice").unwrap(), "");
        for bad in ["-a.slice", "a-.slice", ".slice", "a", "a/b.slice"] {
            assert!(slice_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_in_systemds_words() {
        let told = limits(&json!({
            "memory": { "limit": -1, "reservation": 4096 }, "pids": { "limit": 5 },
            "cpu": { "quota": 50000, "period": 100_000, "shares": 1024 }
        }));
        assert_eq!(
            told,
            [
                ("MemoryMax", Value::Number(u64::MAX)),
                ("MemoryLow", Value::Number(4096)),
                ("TasksMax", Value::Number(5)),
                ("CPUShares", Value::Number(1024)),
                ("CPUQuotaPerSecUSec", Value::Number(500_000)),
            ]
        );
        assert_eq!(limits(&json!({})), []);
    }
}
