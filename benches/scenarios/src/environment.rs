//! The environment of a run: the comparability key, and how noisy the host is.
//!
//! Numbers from two runs are compared only when their keys are equal. Load and pressure are not part of
//! the key: they vary within a run too, and the pairing is there to bear them.

use crate::cgroup::{self, Layout};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What must be equal for numbers to be comparable; each field by name, so that a mismatch can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Field name to value.
    pub fields: BTreeMap<String, String>,
}

impl Key {
    /// Reads the host. `scheduler` is the class the lifecycles run in, `guest_digest` the guest program's,
    /// `work_dir` where the bundles are.
    pub fn of_host(scheduler: &str, guest_digest: &str, work_dir: &Path) -> Self {
        let mut fields = BTreeMap::new();
        let mut set = |name: &str, value: String| {
            fields.insert(name.to_owned(), value);
        };
        let uname = rustix::system::uname();
        set("kernel", uname.release().to_string_lossy().into_owned());
        set("machine", uname.machine().to_string_lossy().into_owned());
        set("cpu-model", cpu_field("model name"));
        set("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string());
        set("cgroups", format!("{:?}", cgroup::layout()).to_lowercase());
        set("scheduler", scheduler.to_owned());
        set("mitigations", mitigations());
        set("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
        set("smt", read("/sys/devices/system/cpu/smt/control"));
        set("transparent-huge-pages", read("/sys/kernel/mm/transparent_hugepage/enabled"));
        set("memory-mib", (meminfo_kib("MemTotal").unwrap_or(0) >> 10).to_string());
        set("work-file-system", file_system(work_dir));
        set("guest", guest_digest.to_owned());
        set("method", METHOD.to_owned());
        Self { fields }
    }

    /// Each field that differs, with both values.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let none = String::from("(absent)");
        self.fields
            .keys()
            .chain(other.fields.keys())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter_map(|name| {
                let (a, b) =
                    (self.fields.get(name).unwrap_or(&none), other.fields.get(name).unwrap_or(&none));
                (a != b).then(|| format!("{name}: `{a}` there, `{b}` here"))
            })
            .collect()
    }
}

/// Changes whenever what is measured changes, so that old numbers are not mixed with new ones.
const METHOD: &str = "1";

/// How loud the host is, read once before and once after a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// One-minute load average.
    pub load: f64,
    /// Share of the last ten seconds in which some task waited for a CPU, percent.
    pub cpu_pressure: Option<f64>,
    /// The same for I/O.
    pub io_pressure: Option<f64>,
    /// Stolen CPU time since boot, ticks.
    pub steal: u64,
}

impl Noise {
    /// Reads /proc.
    pub fn now() -> Self {
        let pressure = |what: &str| {
            let text = fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
            text.split_whitespace().find_map(|w| w.strip_prefix("avg10=")?.parse().ok())
        };
        let load = read("/proc/loadavg").split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0.0);
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let steal = stat.lines().next().and_then(|l| l.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0);
        Self { load, cpu_pressure: pressure("cpu"), io_pressure: pressure("io"), steal }
    }
}

/// One line of /proc/meminfo in KiB.
pub fn meminfo_kib(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The cgroup layout of the host.
pub fn host_layout() -> Layout {
    cgroup::layout()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "(absent)".to_owned(), |t| t.trim().to_owned())
}

fn cpu_field(name: &str) -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .find(|l| l.starts_with(name))
        .and_then(|l| l.split_once(':'))
        .map_or_else(|| "(unknown)".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The state of every CPU vulnerability, shortened to its first word each.
fn mitigations() -> String {
    let mut all: Vec<String> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| {
            let text = fs::read_to_string(e.path()).ok()?;
            let state = text.split([':', ';', ',']).next()?.trim();
            (state != "Not affected").then(|| format!("{}={state}", e.file_name().to_string_lossy()))
        })
        .collect();
    all.sort();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}

/// The type of the file system that holds `path`, by the longest mount point that is its prefix.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?;
            path.starts_with(point).then(|| (point.len(), right.split(' ').next().unwrap_or("?").to_owned()))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "(unknown)".to_owned(), |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hosts_have_no_differences_and_unequal_ones_say_which() {
        let a = Key::of_host("other", "abc", Path::new("/tmp"));
        let mut b = a.clone();
        assert!(a.differences(&b).is_empty());
        b.fields.insert("scheduler".into(), "fifo".into());
        b.fields.remove("guest");
        let said = a.differences(&b);
        assert_eq!(said.len(), 2);
        assert!(said.iter().any(|d| d == "scheduler: `other` there, `fifo` here"), "{said:?}");
        assert!(said.iter().any(|d| d.contains("(absent)")));
    }

    #[test]
    fn the_host_can_be_read() {
        let noise = Noise::now();
        assert!(noise.load >= 0.0);
        assert!(meminfo_kib("MemTotal").is_some_and(|kib| kib > 1_000));
        assert_ne!(
            Key::of_host("other", "", Path::new("/proc/self")).fields["work-file-system"],
            "(unknown)"
        );
    }
}
