//! cgroup v2: on this machine as far as it has controllers there, and in a mount namespace that shows nothing else.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::exit)] // helpers of tests, not the program

mod cgroup_common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use cgroup_common::{Shell, create, devices, name, read, skip, usable};
use plimsoll_oci::cgroup::Cgroup;
use serde_json::{Value, json};

const VIEW: &str = "PLIMSOLL_TEST_CGROUP_VIEW";

/// Needs a host whose unified hierarchy has the controllers: elsewhere each part says that it is left out.
#[test]
fn limits_are_in_the_files_of_v2() {
    if !usable() {
        return;
    }
    let guard = create(&format!("{}/deep/er", name()));
    let cgroup = &guard.0;
    let Some(dir) = cgroup.paths().remove("") else { return println!("SKIP: no unified hierarchy here") };
    let on = read(&dir, "cgroup.controllers");
    let with = |controller: &str, resources: &Value, file: &str, value: &str| {
        if !on.split_whitespace().any(|c| c == controller) {
            return println!("SKIP: no {controller} in the unified hierarchy here");
        }
        cgroup.apply(resources).unwrap();
        assert_eq!(read(&dir, file), value, "{resources}");
    };
    let mega = 1 << 20;
    let memory = json!({"memory": {"limit": 64 * mega, "reservation": 32 * mega, "useHierarchy": true}});
    with("memory", &memory, "memory.max", "67108864");
    with("memory", &Value::Null, "memory.low", "33554432");
    with("memory", &json!({"memory": {"limit": 64 * mega, "swap": 96 * mega}}), "memory.max", "67108864");
    if dir.join("memory.swap.max").exists() {
        with("memory", &Value::Null, "memory.swap.max", "33554432");
        with("memory", &json!({"memory": {"swap": 80 * mega}}), "memory.swap.max", "16777216");
    }
    with(
        "memory",
        &json!({"unified": {"memory.high": "1048576", "memory.oom.group": "1"}}),
        "memory.high",
        "1048576",
    );
    with("memory", &Value::Null, "memory.oom.group", "1");
    with(
        "memory",
        &json!({"memory": {"limit": -1}, "unified": {"memory.max": "8388608"}}),
        "memory.max",
        "8388608",
    );
    let cpu = json!({"cpu": {"quota": 50000, "period": 200_000, "burst": 1000, "shares": 1024}});
    with("cpu", &cpu, "cpu.max", "50000 200000");
    with("cpu", &Value::Null, "cpu.max.burst", "1000");
    with("cpu", &Value::Null, "cpu.weight", "100");
    with("cpu", &json!({"cpu": {"shares": 2}}), "cpu.weight", "1");
    with("cpu", &json!({"cpu": {"quota": 30000}}), "cpu.max", "30000 200000");
    with("cpu", &json!({"cpu": {"quota": -1, "period": 100_000}}), "cpu.max", "max 100000");
    with("cpu", &json!({"cpu": {"idle": 1}}), "cpu.idle", "1");
    with("cpu", &json!({"cpu": {"idle": 0, "shares": 262_144}}), "cpu.weight", "10000");
    with("cpuset", &json!({"cpu": {"cpus": "0", "mems": "0"}}), "cpuset.cpus", "0");
    with("pids", &json!({"pids": {"limit": 32771}}), "pids.max", "32771");
    with("pids", &json!({"pids": {"limit": 0}}), "pids.max", "0");
    with("pids", &json!({"pids": {"limit": -1}}), "pids.max", "max");
    if dir.join("io.weight").exists() {
        with("io", &json!({"blockIO": {"weight": 500}}), "io.weight", "default 4950");
    }
    for bad in [
        json!({"memory": {"swappiness": 5}}),
        json!({"network": {"classID": 5}}),
        json!({"unified": {"foo.bar": "1"}}),
    ] {
        if cgroup.is_v2() {
            let error = cgroup.apply(&bad).unwrap_err().to_string();
            assert!(error.contains("linux.resources."), "{error}");
        }
    }
    assert!(
        cgroup
            .update(&json!({"blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 99, "rate": 5}]}}))
            .is_err()
    );
}

/// A container that runs a service manager: its first process moves down and gives controllers to what is below.
fn a_container_with_cgroups_of_its_own(cgroup: &Cgroup, dir: &Path, first: &Shell) {
    let Some(controller) = read(dir, "cgroup.controllers").split_whitespace().next().map(String::from) else {
        return println!("SKIP: no controller in the unified hierarchy here");
    };
    fs::create_dir(dir.join("init.scope")).unwrap();
    fs::write(dir.join("init.scope/cgroup.procs"), first.pid().to_string()).unwrap();
    fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    let mut further = Shell::start();
    if cgroup.add_process(further.pid()).is_ok() {
        return println!("SKIP: {controller} leaves processes beside cgroups with controllers");
    }
    let place = cgroup.unified_beside(first.pid()).unwrap().unwrap();
    fs::write(place.join("cgroup.procs"), further.pid().to_string()).unwrap();
    let place = fs::read_to_string(format!("/proc/{}/cgroup", further.pid())).unwrap();
    assert!(place.lines().any(|l| l.ends_with("/in/ner/init.scope")), "{place}");
    assert!(cgroup.pids().unwrap().contains(&further.pid()));
    further.0.kill().unwrap();
    further.0.wait().unwrap();
    fs::write(dir.join("cgroup.subtree_control"), format!("-{controller}")).unwrap();
}

/// Run in a mount namespace that shows cgroup v2 alone.
#[test]
fn helper_in_a_v2_view() {
    if std::env::var_os(VIEW).is_none() {
        return;
    }
    let guard = create(&format!("{}/in/ner", name()));
    let cgroup = &guard.0;
    assert!(cgroup.is_v2() && cgroup.unified_dir().is_some());
    let dir = cgroup.paths()[""].clone();
    devices(cgroup);
    let mut shell = Shell::start();
    cgroup.add_process(shell.pid()).unwrap();
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert_eq!(shell.ask("echo awake"), "awake");
    a_container_with_cgroups_of_its_own(cgroup, &dir, &shell);
    cgroup.kill_all().unwrap();
    shell.0.wait().unwrap();
    cgroup.chown(12345).unwrap();
    let given = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().uid(), 12345);
    for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        let file = entry.file_name().to_string_lossy().into_owned();
        let expected = if given.lines().any(|l| l == file) { 12345 } else { 0 };
        assert_eq!(entry.metadata().unwrap().uid(), expected, "{file}");
    }
    let on = read(&dir, "cgroup.controllers");
    let has = |controller: &str| on.split_whitespace().any(|c| c == controller);
    cgroup.apply(&json!({"unified": {"cgroup.max.depth": "3"}})).unwrap();
    assert_eq!(read(&dir, "cgroup.max.depth"), "3");
    if has("hugetlb") && dir.join("hugetlb.2MB.max").exists() {
        let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}], "unified": {"hugetlb.2MB.max": "2097152"}});
        cgroup.apply(&huge).unwrap();
        assert_eq!(read(&dir, "hugetlb.2MB.rsvd.max"), "4194304");
        assert_eq!(read(&dir, "hugetlb.2MB.max"), "2097152", "unified overrides what was converted");
        assert!(cgroup.apply(&json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]})).is_err());
    }
    for (controller, resources) in [
        ("memory", json!({"memory": {"limit": 1 << 20}})),
        ("pids", json!({"pids": {"limit": 5}})),
        ("", json!({"network": {"classID": 5}})),
        ("", json!({"memory": {"swappiness": 5}})),
        ("", json!({"unified": {"foo.bar": "5"}})),
    ] {
        if !has(controller) {
            let error = cgroup.apply(&resources).unwrap_err().to_string();
            assert!(error.contains("linux.resources."), "{error}");
        }
    }
    cgroup.delete().unwrap();
    assert!(!dir.exists() && !dir.parent().unwrap().exists());
    drop(guard);
    std::process::exit(77);
}

#[test]
fn a_view_of_v2_alone() {
    if !usable() {
        return;
    }
    let me = std::env::current_exe().unwrap();
    let mut run = if create(&name()).0.is_v2() {
        Command::new(me)
    } else {
        let script =
            "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 76; exec \"$@\"";
        let mut run = Command::new("unshare");
        run.args(["--mount", "sh", "-c", script, "sh"]).arg(me);
        run
    };
    run.args(["--exact", "helper_in_a_v2_view", "--test-threads=1", "--nocapture"]).env(VIEW, "1");
    let run = run.output();
    match run {
        Ok(output) if output.status.code() == Some(77) => {}
        Ok(output) if output.status.code() != Some(76) => {
            let text = [output.stdout, output.stderr].concat();
            panic!("{:?}: {}", output.status, String::from_utf8_lossy(&text));
        }
        _ => skip("a mount namespace with cgroup v2 alone cannot be made here"),
    }
}
