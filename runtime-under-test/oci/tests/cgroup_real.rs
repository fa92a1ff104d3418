//! Cgroups of this machine, in whatever layout it has.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::exit)] // helpers of tests, not the program

mod cgroup_common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use cgroup_common::{Guard, Shell, create, devices, name, read, skip, usable};
use plimsoll_oci::cgroup::{Cgroup, Error, MountStep, mount_plan};
use serde_json::{Value, json};

#[test]
fn from_plan_to_delete() {
    if !usable() {
        return;
    }
    let path = format!("{}/a//./b", name());
    let mut planned = Cgroup::plan(Some(&path), "c", &Value::Null).unwrap();
    let saved = planned.save();
    assert!(!planned.exists(), "a plan touches nothing");
    planned.create().unwrap();
    let guard = Guard(planned);
    let cgroup = &guard.0;
    assert_eq!(Cgroup::load(&cgroup.save()).unwrap(), *cgroup);
    assert!(cgroup.paths().values().all(|dir| dir.is_dir() && dir.ends_with("a/b")), "{:?}", cgroup.paths());

    let mut shell = Shell::start();
    cgroup.add_process(shell.pid()).unwrap();
    let mine = fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
    assert!(mine.lines().all(|l| l.ends_with("/a/b")), "{mine}");
    assert_eq!(cgroup.pids().unwrap(), [shell.pid()]);

    // A container that makes cgroups of its own, and is frozen with them.
    for dir in cgroup.paths().values() {
        fs::create_dir(dir.join("inner")).unwrap();
    }
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    assert_eq!(shell.ask("echo awake"), "awake");

    let stats = cgroup.stats().unwrap();
    if cgroup.paths().contains_key("pids") {
        assert_eq!(stats["pids"]["current"], 1, "{stats}");
    }
    assert!(stats["cpu"]["usage"]["total"].is_u64(), "{stats}");

    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert!(!shell.0.wait().unwrap().success());
    // What was saved before anything was made is enough to remove it all, parents too.
    Cgroup::load(&saved).unwrap().delete().unwrap();
    assert!(!cgroup.exists());
    for dir in cgroup.paths().values() {
        assert!(!dir.parent().unwrap().parent().unwrap().exists(), "{dir:?}");
    }
    cgroup.delete().unwrap();
    assert!(cgroup.pids().unwrap().is_empty());
    assert!(matches!(cgroup.stats(), Err(Error::Unsupported(_))));
}

#[test]
fn what_was_there_before_stays() {
    if !usable() {
        return;
    }
    let path = name();
    let before = create(&path);
    let kept: Vec<PathBuf> = before.0.paths().values().map(|d| d.join("kept")).collect();
    for dir in &kept {
        fs::create_dir(dir).unwrap();
    }
    let second = Cgroup::open_or_create(Some(&path), "c", &Value::Null).unwrap();
    let inner = create(&format!("{path}/deeper"));
    drop(inner);
    for dir in second.paths().values() {
        fs::create_dir(dir.join("made-by-container")).unwrap();
    }
    second.delete().unwrap();
    assert!(second.exists());
    for dir in second.paths().values() {
        assert!(dir.join("kept").exists() && !dir.join("made-by-container").exists());
    }
}

#[test]
fn unfit_cgroups_are_refused_and_left_alone() {
    if !usable() {
        return;
    }
    let path = name();
    let before = create(&path);
    let mut shell = Shell::start();
    let mut planned = Cgroup::plan(Some(&path), "c", &Value::Null).unwrap();
    before.0.add_process(shell.pid()).unwrap();
    assert!(matches!(Cgroup::plan(Some(&path), "c", &Value::Null), Err(Error::Unfit { .. })));
    assert!(matches!(planned.create(), Err(Error::Unfit { .. })));
    // Cleaning up after the refusal must not touch the other's processes.
    planned.kill_all().unwrap();
    planned.delete().unwrap();
    assert_eq!(shell.ask("echo alive"), "alive");
    before.0.kill_all().unwrap();
    shell.0.wait().unwrap();
    before.0.freeze().unwrap();
    for inside in ["", "/below"] {
        let error = Cgroup::plan(Some(&format!("{path}{inside}")), "c", &Value::Null).unwrap_err();
        assert!(error.to_string().contains("frozen"), "{error}");
    }
    before.0.thaw().unwrap();
}

#[test]
fn paths_never_leave_the_mount() {
    for bad in ["/", "..", "/a/../..", "a\nb"] {
        assert!(matches!(Cgroup::plan(Some(bad), "c", &Value::Null), Err(Error::Invalid { .. })), "{bad:?}");
    }
    let climbing = Cgroup::plan(Some("/../../plimsoll-test-climb"), "c", &Value::Null).unwrap();
    let straight = Cgroup::plan(Some("/plimsoll-test-climb"), "c", &Value::Null).unwrap();
    assert_eq!(climbing, straight);
    assert_ne!(
        Cgroup::plan(None, "one", &Value::Null).unwrap(),
        Cgroup::plan(None, "two", &Value::Null).unwrap()
    );
    assert!(
        Cgroup::plan(None, "c", &json!({"pids": {"limit": "x"}})).is_err(),
        "resources are checked first"
    );
    assert!(Cgroup::load(&json!({"nodes": [{"path": "/../x"}], "unprivileged": false})).is_err());
}

#[test]
fn limits_are_in_the_files() {
    if !usable() {
        return;
    }
    let guard = create(&format!("{}/deep/er", name()));
    let cgroup = &guard.0;
    let paths = cgroup.paths();
    let only = |controller: &str, resources: &Value, file: &str, value: &str| {
        let Some(dir) = paths.get(controller) else { return println!("SKIP: no v1 {controller} here") };
        cgroup.apply(resources).unwrap();
        assert_eq!(read(dir, file), value, "{resources}");
    };
    let mega = 1 << 20;
    only("memory", &json!({"memory": {"limit": 64 * mega}}), "memory.limit_in_bytes", "67108864");
    let both = json!({"memory": {"limit": 128 * mega, "swap": 256 * mega, "reservation": 32 * mega, "swappiness": 7}});
    only("memory", &both, "memory.memsw.limit_in_bytes", "268435456");
    only("memory", &Value::Null, "memory.limit_in_bytes", "134217728");
    only("memory", &Value::Null, "memory.soft_limit_in_bytes", "33554432");
    only("memory", &Value::Null, "memory.swappiness", "7");
    let lower = json!({"memory": {"limit": 16 * mega, "swap": 16 * mega, "disableOOMKiller": true}});
    only("memory", &lower, "memory.memsw.limit_in_bytes", "16777216");
    only("pids", &json!({"pids": {"limit": 32771}}), "pids.max", "32771");
    only("pids", &json!({"pids": {"limit": 0}}), "pids.max", "0");
    only("pids", &json!({"pids": {"limit": -1}}), "pids.max", "max");
    only(
        "cpu",
        &json!({"cpu": {"quota": 50000, "period": 200_000, "shares": 77}}),
        "cpu.cfs_period_us",
        "200000",
    );
    only("cpu", &json!({"cpu": {"quota": 4000, "period": 5000, "burst": 3000}}), "cpu.cfs_burst_us", "3000");
    only("cpu", &json!({"cpu": {"quota": 2000, "burst": 1000}}), "cpu.cfs_quota_us", "2000");
    only("cpu", &json!({"cpu": {"quota": -1}}), "cpu.cfs_quota_us", "-1");
    only("cpu", &Value::Null, "cpu.shares", "77");
    only("cpu", &json!({"cpu": {"shares": 99, "idle": 1}}), "cpu.idle", "1");
    only("cpu", &json!({"cpu": {"shares": 98, "idle": 0}}), "cpu.shares", "98");
    only("cpuset", &json!({"cpu": {"cpus": "0", "mems": "0"}}), "cpuset.cpus", "0");
    if paths.contains_key("cpuset") {
        assert!(!read(paths["cpuset"].parent().unwrap(), "cpuset.cpus").is_empty(), "the parents have CPUs");
        let error = cgroup.apply(&json!({"cpu": {"cpus": "4095"}})).unwrap_err().to_string();
        assert!(error.contains("linux.resources.cpu.cpus"), "{error}");
    }
    for (controller, resources) in [
        ("net_cls", json!({"network": {"classID": 1}})),
        ("rdma", json!({"rdma": {"mlx5_0": {"hcaHandles": 1}}})),
        ("blkio.bfq", json!({"blockIO": {"leafWeight": 100}})),
    ] {
        if !paths.contains_key(controller) {
            let error = cgroup.apply(&resources).unwrap_err().to_string();
            assert!(error.contains("linux.resources"), "{error}");
        }
    }
    assert!(cgroup.update(&json!({"unified": {"foo.bar": "1"}})).is_err());
}

#[test]
fn devices_are_closed_and_opened() {
    if usable() {
        devices(&create(&name()).0);
    }
}

#[test]
fn oom_kills_are_noticed() {
    if !usable() {
        return;
    }
    let guard = create(&name());
    if guard.0.apply(&json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}})).is_err() {
        return skip("no memory controller with swap accounting here");
    }
    let mut watch = guard.0.oom_watch().unwrap();
    assert_eq!(watch.wait(std::time::Duration::ZERO).unwrap(), 0);
    let mut shell = Shell::start();
    guard.0.add_process(shell.pid()).unwrap();
    // Only the shell's child grows; whichever of the two the kernel picks is one kill.
    writeln!(shell.1, "head -c 64000000 /dev/zero | tail -c 64000000 >/dev/null").unwrap();
    let begun = std::time::Instant::now();
    assert!(watch.wait(std::time::Duration::from_secs(60)).unwrap() >= 1);
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "noticed, not found at the end");
    assert!(guard.0.oom_kills().unwrap() >= 1);
}

#[test]
fn mount_plans() {
    if !usable() {
        return;
    }
    let guard = create(&name());
    let plan = mount_plan(Some(&guard.0), libc::MS_RDONLY | libc::MS_NOSUID, true).unwrap();
    if guard.0.is_v2() {
        assert!(matches!(&plan[..], [MountStep::Mount { fstype, .. }] if fstype == "cgroup2"), "{plan:?}");
        return;
    }
    let MountStep::Mount { fstype, flags, .. } = &plan[0] else { panic!("{plan:?}") };
    assert_eq!((fstype.as_str(), *flags), ("tmpfs", libc::MS_NOSUID), "writable until everything is in it");
    assert!(matches!(plan.last(), Some(MountStep::Remount { flags, .. }) if flags & libc::MS_RDONLY != 0));
    let binds = mount_plan(Some(&guard.0), 0, false).unwrap();
    let sources: Vec<&PathBuf> = binds
        .iter()
        .filter_map(|s| if let MountStep::Bind { source, .. } = s { Some(source) } else { None })
        .collect();
    assert!(!sources.is_empty() && sources.iter().all(|s| s.is_dir()));
    assert!(mount_plan(None, 0, true).is_err());
}
