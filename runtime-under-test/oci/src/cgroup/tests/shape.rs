//! Resources that break a rule of the spec, each with the field that the error must name.

use serde_json::{Value, json};

use super::super::resources::{Resources, page_bytes};

#[test]
fn invalid_resources_are_refused_by_name() {
    let cases: &[(Value, &str)] = &[
        (json!([]), "linux.resources: must be an object"),
        (json!({"memory": 1}), "memory"),
        (json!({"memory": {"limit": "1"}}), "memory.limit"),
        (json!({"memory": {"limit": -2}}), "memory.limit"),
        (json!({"memory": {"limit": 1.5}}), "memory.limit"),
        (json!({"memory": {"limit": 100, "swap": 99}}), "memory.swap"),
        (json!({"memory": {"limit": -1, "swap": 99}}), "memory.swap"),
        (json!({"memory": {"swappiness": 101}}), "memory.swappiness"),
        (json!({"memory": {"swappiness": -1}}), "memory.swappiness"),
        (json!({"memory": {"disableOOMKiller": "yes"}}), "memory.disableOOMKiller"),
        (json!({"cpu": {"quota": -2}}), "cpu.quota"),
        (json!({"cpu": {"quota": 1000, "burst": 2000}}), "cpu.burst"),
        (json!({"cpu": {"shares": -1}}), "cpu.shares"),
        (json!({"cpu": {"idle": 2}}), "cpu.idle"),
        (json!({"cpu": {"cpus": 0}}), "cpu.cpus"),
        (json!({"pids": {"limit": -2}}), "pids.limit"),
        (json!({"pids": {"limit": "5"}}), "pids.limit"),
        (json!({"blockIO": {"weight": 5}}), "blockIO.weight"),
        (json!({"blockIO": {"weight": 1001}}), "blockIO.weight"),
        (json!({"blockIO": {"leafWeight": 9}}), "blockIO.leafWeight"),
        (json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}), "blockIO.weightDevice[0]"),
        (json!({"blockIO": {"weightDevice": [{"minor": 0, "weight": 10}]}}), "weightDevice[0].major"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}}),
            "throttleReadBpsDevice[0].rate",
        ),
        (
            json!({"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "rate": 1}]}}),
            "throttleWriteIOPSDevice[0].minor",
        ),
        (json!({"hugepageLimits": [{"limit": 1}]}), "hugepageLimits[0].pageSize"),
        (json!({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}), "hugepageLimits[0].pageSize"),
        (json!({"hugepageLimits": [{"pageSize": "2MB"}]}), "hugepageLimits[0].limit"),
        (json!({"network": {"priorities": [{"priority": 1}]}}), "network.priorities[0].name"),
        (json!({"network": {"priorities": [{"name": "lo"}]}}), "network.priorities[0].priority"),
        (json!({"network": {"classID": 4_294_967_296u64}}), "network.classID"),
        (json!({"rdma": {"mlx5_0": {}}}), "rdma.mlx5_0"),
        (json!({"unified": {"memory.high": 5}}), "unified.memory.high"),
        (json!({"unified": {"../cgroup.procs": "1"}}), "unified"),
        (json!({"unified": {"..": "1"}}), "unified"),
        (json!({"devices": [{"access": "r"}]}), "devices[0].allow"),
        (json!({"devices": [{"allow": "true"}]}), "devices[0].allow"),
        (json!({"devices": [{"allow": true, "type": "x"}]}), "devices[0].type"),
        (json!({"devices": [{"allow": true, "access": "x"}]}), "devices[0].access"),
        (json!({"devices": [{"allow": true, "major": -2}]}), "devices[0].major"),
    ];
    for (resources, field) in cases {
        let error = Resources::parse(resources).expect_err(&resources.to_string()).to_string();
        assert!(error.contains(field), "{resources}: {error}");
    }
}

#[test]
fn absent_null_and_zero_ask_for_nothing() {
    let nothing = Resources::default();
    let zeros = json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": 0, "checkBeforeUpdate": false},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
        "pids": {},
    });
    let nulls = json!({"memory": null, "cpu": {"quota": null}, "devices": null, "unified": null, "hugepageLimits": null});
    for resources in [Value::Null, json!({}), zeros, nulls] {
        assert_eq!(Resources::parse(&resources).unwrap(), nothing, "{resources}");
    }
    assert_eq!(Resources::parse(&json!({"pids": {"limit": 0}})).unwrap().pids, Some(0), "here 0 is a limit");
}

#[test]
fn page_sizes() {
    assert_eq!(page_bytes("64KB"), Some(65536));
    assert_eq!(page_bytes("2MB"), Some(2 << 20));
    assert_eq!(page_bytes("1GB"), Some(1 << 30));
    for bad in ["", "MB", "2M", "02MB", "-2MB", "2 MB", "2mb", "99999999999999999999GB", "2MBé"] {
        assert_eq!(page_bytes(bad), None, "{bad}");
    }
}
