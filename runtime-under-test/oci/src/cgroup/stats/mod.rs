//! The `data` object of `events --stats`, in the form that callers of OCI runtimes read.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Cgroup, Error};

mod v1;
mod v2;

/// Reading a controller's files: what is not there is absent, not an error, as kernels differ.
struct Files(PathBuf);

impl Files {
    fn text(&self, file: &str) -> Option<String> {
        crate::files::read_kernel(self.0.join(file)).ok()
    }

    /// A number; `max` is the largest one.
    fn number(&self, file: &str) -> Option<u64> {
        match self.text(file)?.trim() {
            "max" => Some(u64::MAX),
            n => n.parse().ok(),
        }
    }

    /// Lines of a name and a number.
    fn table(&self, file: &str) -> Map<String, Value> {
        let text = self.text(file).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, n)| Some((name.to_owned(), n.trim().parse::<u64>().ok()?.into())))
            .collect()
    }

    fn dir(&self) -> &Path {
        &self.0
    }
}

/// A number of a table, 0 when it is not there.
fn of(table: &Map<String, Value>, name: &str) -> u64 {
    table.get(name).and_then(Value::as_u64).unwrap_or(0)
}

impl Cgroup {
    /// What the container uses: times in nanoseconds, sizes in bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the container has no cgroup (any more).
    pub fn stats(&self) -> Result<Value, Error> {
        if !self.exists() {
            return Err(Error::Unsupported("the container has no cgroup to read statistics from".into()));
        }
        let v1 = |controller: &str| self.v1_dir(controller).map(Files);
        let unified = self.unified().map(|n| Files(n.dir()));
        let v2 = |controller: &str| {
            let files = unified.as_ref()?;
            let on = files.text("cgroup.controllers").unwrap_or_default();
            on.split_whitespace().any(|c| c == controller).then_some(files)
        };
        let mut data = json!({});
        data["cpu"] = match (v1("cpuacct"), &unified) {
            (Some(files), _) => v1::cpu(&files, v1("cpu").as_ref()),
            (None, Some(files)) => v2::cpu(files),
            (None, None) => json!({}),
        };
        data["memory"] = match (v1("memory"), v2("memory")) {
            (Some(files), _) => v1::memory(&files),
            (None, Some(files)) => v2::memory(files),
            (None, None) => json!({}),
        };
        data["pids"] = match (v1("pids"), v2("pids")) {
            (Some(files), _) => pids(&files),
            (None, Some(files)) => pids(files),
            (None, None) => json!({}),
        };
        data["blkio"] = match (v1("blkio"), v2("io")) {
            (Some(files), _) => v1::block_io(&files),
            (None, Some(files)) => v2::block_io(files),
            (None, None) => json!({}),
        };
        data["cpuset"] = match (v1("cpuset"), v2("cpuset")) {
            (Some(files), _) => v1::cpuset(&files),
            (None, Some(files)) => v2::cpuset(files),
            (None, None) => json!({}),
        };
        data["hugetlb"] = match (v1("hugetlb"), v2("hugetlb")) {
            (Some(files), _) => v1::hugepages(&files),
            (None, Some(files)) => v2::hugepages(files),
            (None, None) => json!({}),
        };
        data["intel_rdt"] = json!({});
        data["network_interfaces"] = Value::Null;
        Ok(data)
    }
}

/// The same in both versions; no limit is 0.
fn pids(files: &Files) -> Value {
    let limit = files.number("pids.max").filter(|l| *l != u64::MAX).unwrap_or(0);
    json!({ "current": files.number("pids.current").unwrap_or(0), "limit": limit })
}

/// The numbers of a list such as `0-2,5`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// The page sizes for which a cgroup has files, such as `2MB`.
fn page_sizes(files: &Files, ending: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(files.dir()) else { return Vec::new() };
    let size = |name: &str| {
        let middle = name.strip_prefix("hugetlb.")?.strip_suffix(ending)?;
        (!middle.contains('.')).then(|| middle.to_owned())
    };
    entries.filter_map(|e| size(&e.ok()?.file_name().to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(list("\n"), [0u16; 0]);
        assert_eq!(list("7"), [7]);
    }

    #[test]
    fn a_v2_cgroup_as_statistics() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        put(
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\n",
        );
        put("memory.current", "4096\n");
        put("memory.max", "max\n");
        put("memory.peak", "8192\n");
        put("memory.swap.current", "100\n");
        put("memory.swap.max", "1000\n");
        put("memory.stat", "anon 1\nfile 2048\n");
        put("memory.events", "low 0\nmax 3\noom_kill 1\n");
        put("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        put("hugetlb.2MB.current", "5\n");
        put("hugetlb.2MB.rsvd.current", "6\n");
        put("hugetlb.2MB.events", "max 9\n");
        let files = Files(dir.path().to_owned());
        let cpu = v2::cpu(&files);
        assert_eq!(cpu["usage"]["total"], 30_000);
        assert_eq!(cpu["throttling"], json!({"periods": 4, "throttledPeriods": 2, "throttledTime": 7000}));
        let memory = v2::memory(&files);
        assert_eq!(memory["cache"], 2048);
        assert_eq!(memory["usage"], json!({"limit": u64::MAX, "usage": 4096, "max": 8192, "failcnt": 3}));
        assert_eq!(memory["swap"]["usage"], 4196);
        assert_eq!(memory["raw"]["anon"], 1);
        assert_eq!(pids(&files), json!({"current": 3, "limit": 0}));
        assert_eq!(
            v2::block_io(&files)["ioServicedRecursive"][1],
            json!({"major": 8, "minor": 0, "op": "Write", "value": 4})
        );
        assert_eq!(v2::hugepages(&files), json!({"2MB": {"usage": 5, "max": 0, "failcnt": 9}}));
    }

    #[test]
    fn a_v1_cgroup_as_statistics() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        put("cpuacct.usage", "50\n");
        put("cpuacct.usage_user", "30\n");
        put("cpuacct.usage_sys", "20\n");
        put("cpuacct.usage_percpu", "10 40 \n");
        put("cpu.stat", "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n");
        put("memory.usage_in_bytes", "10\n");
        put("memory.limit_in_bytes", "20\n");
        put("memory.max_usage_in_bytes", "15\n");
        put("memory.failcnt", "2\n");
        put("memory.stat", "cache 7\nrss 3\n");
        put("blkio.throttle.io_service_bytes_recursive", "254:0 Read 5\n254:0 Total 5\nTotal 5\n");
        let files = Files(dir.path().to_owned());
        let cpu = v1::cpu(&files, Some(&files));
        assert_eq!(cpu["usage"], json!({"total": 50, "percpu": [10, 40], "kernel": 20, "user": 30}));
        assert_eq!(cpu["throttling"]["throttledTime"], 3);
        let memory = v1::memory(&files);
        assert_eq!(memory["usage"], json!({"limit": 20, "usage": 10, "max": 15, "failcnt": 2}));
        assert_eq!(memory["cache"], 7);
        let io = v1::block_io(&files);
        assert_eq!(
            io["ioServiceBytesRecursive"][0],
            json!({"major": 254, "minor": 0, "op": "Read", "value": 5})
        );
        assert_eq!(io["ioServiceBytesRecursive"].as_array().unwrap().len(), 2);
    }
}
