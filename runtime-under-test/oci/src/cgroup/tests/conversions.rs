//! What each part of `linux.resources` is written as, in both versions.

use serde_json::{Value, json};

use super::super::resources::Resources;
use super::super::setting::{Setting, write_all};
use super::super::{Error, v1, v2};

fn parse(resources: &Value) -> Resources {
    Resources::parse(resources).unwrap()
}

fn pairs(settings: &[Setting]) -> Vec<(&str, &str)> {
    settings.iter().map(|s| (s.file.as_str(), s.value.as_str())).collect()
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn only(file: &'static str, text: &'static str) -> impl Fn(&str) -> Option<String> {
    move |f| (f == file).then(|| text.to_owned())
}

#[test]
fn memory_on_v1() {
    let r = parse(
        &json!({"memory": {"limit": 100, "reservation": 50, "swap": 200, "kernelTCP": 7, "swappiness": 0,
        "disableOOMKiller": true, "useHierarchy": true}}),
    );
    let all = v1::memory(&r.memory, &nothing).unwrap();
    assert_eq!(
        pairs(&all),
        [
            ("memory.limit_in_bytes", "100"),
            ("memory.soft_limit_in_bytes", "50"),
            ("memory.kmem.tcp.limit_in_bytes", "7"),
            ("memory.swappiness", "0"),
            ("memory.oom_control", "1"),
            ("memory.use_hierarchy", "1"),
            ("memory.memsw.limit_in_bytes", "200"),
        ]
    );
    let r = parse(&json!({"memory": {"limit": -1}}));
    assert_eq!(pairs(&v1::memory(&r.memory, &nothing).unwrap())[1], ("memory.memsw.limit_in_bytes", "-1"));
}

#[test]
fn memory_on_v2() {
    let write = |r: Value, read: &dyn Fn(&str) -> Option<String>| -> Result<Vec<(String, String)>, Error> {
        let all = v2::memory(&parse(&json!({"memory": r})).memory, read)?;
        Ok(all.into_iter().map(|s| (s.file, s.value)).collect())
    };
    let two = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let all = write(json!({"limit": 100, "reservation": 50, "swap": 150}), &nothing).unwrap();
    assert_eq!(all, [two("memory.swap.max", "50"), two("memory.max", "100"), two("memory.low", "50")]);
    let all = write(json!({"limit": 100, "swap": -1}), &nothing).unwrap();
    assert_eq!(all, [two("memory.swap.max", "max"), two("memory.max", "100")]);
    let all = write(json!({"limit": -1}), &nothing).unwrap();
    assert_eq!(all, [two("memory.swap.max", "max"), two("memory.max", "max")]);
    let all = write(json!({"swap": 300}), &only("memory.max", "100\n")).unwrap();
    assert_eq!(all, [two("memory.swap.max", "200")]);
    assert!(write(json!({"swap": 300}), &only("memory.max", "max\n")).is_err());
    assert!(write(json!({"swap": 300}), &only("memory.max", "400\n")).is_err());
    assert_eq!(write(json!({"useHierarchy": true, "disableOOMKiller": false}), &nothing).unwrap(), []);
    for bad in [
        json!({"swappiness": 60}),
        json!({"kernelTCP": 1}),
        json!({"kernel": 1}),
        json!({"disableOOMKiller": true}),
        json!({"useHierarchy": false}),
    ] {
        let error = write(bad.clone(), &nothing).unwrap_err().to_string();
        assert!(error.contains("no meaning on cgroup v2"), "{bad}: {error}");
    }
}

#[test]
fn a_limit_below_usage_is_refused_when_asked() {
    let check = |on: bool| parse(&json!({"memory": {"limit": 100, "checkBeforeUpdate": on}})).memory;
    assert!(v2::memory(&check(true), &only("memory.current", "101\n")).is_err());
    assert!(v2::memory(&check(true), &only("memory.current", "100\n")).is_ok());
    assert!(v2::memory(&check(false), &only("memory.current", "101\n")).is_ok());
    assert!(v1::memory(&check(true), &only("memory.usage_in_bytes", "101\n")).is_err());
    assert!(v1::memory(&check(false), &only("memory.usage_in_bytes", "101\n")).is_ok());
}

#[test]
fn cpu_in_both_versions() {
    let r = parse(&json!({"cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 1000, "idle": 0,
        "realtimeRuntime": 3, "realtimePeriod": 9, "cpus": "0-1", "mems": "0"}}));
    assert_eq!(
        pairs(&v1::cpu(&r.cpu)),
        [
            ("cpu.shares", "1024"),
            ("cpu.cfs_period_us", "10000"),
            ("cpu.cfs_quota_us", "5000"),
            ("cpu.cfs_burst_us", "1000"),
            ("cpu.rt_period_us", "9"),
            ("cpu.rt_runtime_us", "3"),
            ("cpu.idle", "0"),
        ]
    );
    assert_eq!(pairs(&v1::cpuset(&r.cpu)), [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]);
    assert!(v2::cpu(&r.cpu, &nothing).unwrap_err().to_string().contains("realtimeRuntime"));
    let v2 = |r: Value, now: &'static str| {
        let all = v2::cpu(&parse(&json!({"cpu": r})).cpu, &only("cpu.max", now)).unwrap();
        all.into_iter().map(|s| format!("{} {}", s.file, s.value)).collect::<Vec<_>>()
    };
    assert_eq!(v2(json!({"quota": 5000, "period": 10000}), ""), ["cpu.max 5000 10000"]);
    assert_eq!(v2(json!({"quota": 5000}), "max 20000\n"), ["cpu.max 5000 20000"]);
    assert_eq!(v2(json!({"period": 7000}), "500 20000\n"), ["cpu.max 500 7000"]);
    assert_eq!(v2(json!({"quota": -1, "burst": 5}), "500 20000\n"), ["cpu.max max 20000", "cpu.max.burst 5"]);
    assert_eq!(v2(json!({"shares": 1024, "idle": 1}), ""), ["cpu.weight 100", "cpu.idle 1"]);
}

#[test]
fn shares_become_weight() {
    for (shares, weight) in [(0, 1), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(v2::weight_of_shares(shares), weight, "{shares}");
    }
    let all: Vec<u64> = (2..262_144).step_by(97).map(v2::weight_of_shares).collect();
    assert!(all.is_sorted());
    assert!(all.iter().all(|w| (1..=10_000).contains(w)));
}

#[test]
fn block_io_in_both_versions() {
    let r =
        parse(&json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}))
        .block_io;
    assert_eq!(
        pairs(&v1::block_io(&r, &only("blkio.bfq.weight", "100"))),
        [
            ("blkio.bfq.weight", "500"),
            ("blkio.bfq.weight_device", "8:0 10"),
            ("blkio.throttle.read_bps_device", "8:0 1000"),
            ("blkio.throttle.write_iops_device", "8:16 0"),
        ]
    );
    assert_eq!(pairs(&v1::block_io(&r, &nothing))[0], ("blkio.weight", "500"));
    assert_eq!(
        pairs(&v2::block_io(&r, &nothing).unwrap()),
        [
            ("io.weight", "default 4950"),
            ("io.weight", "8:0 1"),
            ("io.max", "8:0 rbps=1000"),
            ("io.max", "8:16 wiops=max"),
        ]
    );
    assert_eq!(
        pairs(&v2::block_io(&r, &only("io.bfq.weight", "100")).unwrap())[..2],
        [("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 10")]
    );
    let leaf = parse(&json!({"blockIO": {"leafWeight": 500}})).block_io;
    assert!(v2::block_io(&leaf, &nothing).is_err());
    assert_eq!(pairs(&v1::block_io(&leaf, &nothing)), [("blkio.leaf_weight", "500")]);
}

#[test]
fn the_smaller_controllers() {
    let r = parse(&json!({"pids": {"limit": -1}, "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
        "network": {"classID": 65537, "priorities": [{"name": "lo", "priority": 3}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 1000}},
        "unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}}));
    assert_eq!(pairs(&v1::pids(-1)), [("pids.max", "max")]);
    assert_eq!(pairs(&v1::pids(0)), [("pids.max", "0")]);
    let huge = v1::hugepages(&r.hugepages);
    assert_eq!(pairs(&huge), [("hugetlb.2MB.rsvd.limit_in_bytes", "9"), ("hugetlb.2MB.limit_in_bytes", "9")]);
    assert!(huge[0].optional && !huge[1].optional);
    assert_eq!(
        pairs(&v2::hugepages(&r.hugepages)),
        [("hugetlb.2MB.rsvd.max", "9"), ("hugetlb.2MB.max", "9")]
    );
    assert_eq!(pairs(&v1::net_class(&r.network)), [("net_cls.classid", "65537")]);
    assert_eq!(pairs(&v1::net_priorities(&r.network)), [("net_prio.ifpriomap", "lo 3")]);
    let rdma = v1::rdma(&r.rdma);
    assert_eq!(
        pairs(&rdma),
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe3 hca_object=1000")]
    );
    let unified = v2::unified(&r);
    assert_eq!(pairs(&unified), [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("memory.high", "5")]);
}

#[test]
fn writing_names_the_field_and_leaves_out_what_is_optional() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "").unwrap();
    let there = Setting::new("a", 5, "memory.limit");
    let absent = Setting::new("b", 6, "memory.swap");
    write_all(dir.path(), &[there.clone(), absent.clone().optional()]).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "5");
    let error = write_all(dir.path(), &[there, absent]).unwrap_err().to_string();
    assert!(error.contains("linux.resources.memory.swap") && error.contains("\"6\""), "{error}");
}
