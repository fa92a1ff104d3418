//! Profiles that break a rule of the spec, each with the field that the error must name.

use serde_json::{Value, json};

use super::super::compile;

fn with(extra: &Value) -> Value {
    let mut cfg = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    for (key, value) in extra.as_object().unwrap() {
        cfg[key] = value.clone();
    }
    cfg
}

fn rule(extra: &Value) -> Value {
    let mut rule = json!({"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"});
    for (key, value) in extra.as_object().unwrap() {
        rule[key] = value.clone();
    }
    with(&json!({"syscalls": [rule]}))
}

fn arg(extra: &Value) -> Value {
    let mut arg = json!({"index": 0, "value": 0, "op": "SCMP_CMP_EQ"});
    for (key, value) in extra.as_object().unwrap() {
        arg[key] = value.clone();
    }
    rule(&json!({"args": [arg]}))
}

#[test]
fn invalid_profiles_are_refused_by_name() {
    let cases = [
        (json!([]), "must be an object"),
        (json!({}), "defaultAction"),
        (with(&json!({"defaultAction": "SCMP_ACT_NOPE"})), "defaultAction"),
        (with(&json!({"defaultAction": 1})), "defaultAction"),
        (with(&json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"})), "defaultAction"),
        (with(&json!({"defaultErrnoRet": 1})), "defaultErrnoRet"),
        (with(&json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1})), "defaultErrnoRet"),
        (with(&json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096})), "defaultErrnoRet"),
        (with(&json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1})), "defaultErrnoRet"),
        (with(&json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536})), "defaultErrnoRet"),
        (with(&json!({"architectures": ["SCMP_ARCH_VAX"]})), "architectures[0]"),
        (with(&json!({"architectures": "SCMP_ARCH_X86"})), "architectures"),
        (
            with(&json!({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"]})),
            "flags[1]",
        ),
        (with(&json!({"listenerMetadata": "m"})), "listenerMetadata"),
        (with(&json!({"syscalls": {}})), "syscalls"),
        (with(&json!({"syscalls": [{"action": "SCMP_ACT_LOG"}]})), "syscalls[0].names"),
        (rule(&json!({"names": []})), "syscalls[0].names"),
        (rule(&json!({"names": [7]})), "syscalls[0].names[0]"),
        (rule(&json!({"action": null})), "syscalls[0].action"),
        (rule(&json!({"action": "ALLOW"})), "syscalls[0].action"),
        (rule(&json!({"action": "SCMP_ACT_ALLOW", "errnoRet": 0})), "syscalls[0].errnoRet"),
        (rule(&json!({"errnoRet": "1"})), "syscalls[0].errnoRet"),
        (rule(&json!({"action": "SCMP_ACT_NOTIFY"})), "listenerPath"),
        (arg(&json!({"index": 6})), "syscalls[0].args[0].index"),
        (arg(&json!({"index": null})), "syscalls[0].args[0].index"),
        (arg(&json!({"value": null})), "syscalls[0].args[0].value"),
        (arg(&json!({"value": -1})), "syscalls[0].args[0].value"),
        (arg(&json!({"valueTwo": 1.5})), "syscalls[0].args[0].valueTwo"),
        (arg(&json!({"op": null})), "syscalls[0].args[0].op"),
        (arg(&json!({"op": "SCMP_CMP_IN"})), "syscalls[0].args[0].op"),
    ];
    for (cfg, field) in cases {
        let error = compile(&cfg).expect_err(&cfg.to_string()).to_string();
        assert!(error.contains(field), "{cfg}: {error}");
    }
    let write = json!({"listenerPath": "/x", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]});
    assert!(compile(&with(&write)).unwrap_err().to_string().contains("syscalls[0].action"));
}

#[test]
fn null_and_absent_are_alike_and_unknown_calls_are_left_out() {
    let bare = compile(&json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap();
    let nulls = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": null, "flags": null, "syscalls": null,
        "listenerPath": "", "listenerMetadata": ""});
    let unknown = rule(&json!({"names": ["not_a_call"], "args": null, "errnoRet": null}));
    for cfg in [nulls, unknown] {
        assert_eq!(compile(&cfg).unwrap().filter.len(), bare.filter.len(), "{cfg}");
    }
}
