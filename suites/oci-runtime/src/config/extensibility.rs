//! config.md, extensibility and valid values: unknown members are ignored, invalid values are errors.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    unknown_member_is_ignored,
    unknown_member_of_any_type_is_ignored,
    unknown_members_are_logged_or_not,
    invalid_value_is_error,
    support_of_valid_values_is_recorded,
];

/// What the default configuration lacks of the objects that the cases change: the place that needs it, where it
/// stands, and a value that this kernel can apply without further needs.
fn parts() -> Vec<(&'static str, &'static str, Value)> {
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["personality"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 0, "value": 4711, "op": "SCMP_CMP_EQ" }]
        }]
    });
    vec![
        ("process.user", "/process/user/additionalGids", json!([10])),
        (
            "process.rlimits",
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]),
        ),
        (
            "linux.devices",
            "/linux/devices",
            json!([{ "path": "/dev/given", "type": "c", "major": 1, "minor": 3 }]),
        ),
        ("linux.sysctl", "/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "65" })),
        ("linux.resources.memory", "/linux/resources/memory", json!({ "limit": 1_073_741_824_u64 })),
        ("linux.resources.cpu", "/linux/resources/cpu", json!({ "shares": 512 })),
        ("linux.resources.pids", "/linux/resources/pids", json!({ "limit": 100 })),
        ("linux.seccomp", "/linux/seccomp", seccomp),
        ("hooks", "/hooks", json!({})),
    ]
}

/// The default configuration with what a place needs.
fn base(builder: Builder, place: &str) -> Builder {
    parts()
        .into_iter()
        .filter(|(prefix, _, _)| place.starts_with(prefix))
        .fold(builder, |builder, (_, pointer, value)| builder.set(pointer, value))
}

/// Runs the unchanged base and gives its answers. A base that the runtime refuses makes the case not applicable: its
/// members are other cases' matter.
async fn accepted(cx: &Cx, place: &str, script: Script) -> Result<Answers, Stop> {
    // Devices are no controller in version 2, and need none.
    for controller in ["memory", "cpu", "pids"] {
        if place.starts_with(&format!("linux.resources.{controller}")) {
            cx.need_controller(controller)?;
        }
    }
    base(cx.container(script), place).answers().await.map_err(|stop| match stop {
        Stop::Violation(violation) => Stop::NotApplicable {
            capability: format!("config.{place}"),
            reason: format!("the unchanged configuration fails as well: {}", violation.actual),
        },
        other => other,
    })
}

const PLACES: &[Variant] = &[
    Variant::new("top", &[]),
    Variant::new("process", &[]),
    Variant::new("process.user", &[]),
    Variant::new("process.capabilities", &[]),
    Variant::new("process.rlimits.0", &[]),
    Variant::new("root", &[]),
    Variant::new("mounts.0", &[]),
    Variant::new("hooks", &[]),
    Variant::new("linux", &[]),
    Variant::new("linux.namespaces.0", &[]),
    Variant::new("linux.devices.0", &[]),
    Variant::new("linux.resources", &[]),
    Variant::new("linux.resources.devices.0", &[]),
    Variant::new("linux.resources.memory", &[]),
    Variant::new("linux.resources.cpu", &[]),
    Variant::new("linux.resources.pids", &[]),
    Variant::new("linux.seccomp", &[]),
    Variant::new("linux.seccomp.syscalls.0", &[]),
    Variant::new("linux.seccomp.syscalls.0.args.0", &[]),
];

/// The pointer of an unknown member in the object at a matrix value.
fn unknown_at(place: &str) -> String {
    let prefix = if place == "top" { String::new() } else { format!("/{}", place.replace('.', "/")) };
    format!("{prefix}/plimsollUnknown")
}

/// A member that the specification does not know is ignored, in whatever object it stands.
#[case(covers = ["extensibility.ignore-unknown"], matrix(object = PLACES))]
async fn unknown_member_is_ignored(cx: &mut Cx) -> Verdict {
    let place = cx.param("object");
    let questions = ["hostname", "caps", "rlimits", "identity", "seccomp"];
    let plain = accepted(cx, place, probe::ask(questions)).await?;
    let builder = base(cx.container(probe::ask(questions)), place);
    let changed = builder.set(&unknown_at(place), json!({ "a": [1, "b"] })).answers().await?;
    for question in questions {
        let (seen, expected) = (&changed.first(question)?.result, &plain.first(question)?.result);
        check_eq!(seen, expected, "{question} with the unknown member");
    }
    Ok(())
}

const TYPES: &[Variant] = &[
    Variant::new("string", &[]),
    Variant::new("number", &[]),
    Variant::new("fraction", &[]),
    Variant::new("null", &[]),
    Variant::new("array", &[]),
    Variant::new("nested", &[]),
    Variant::new("huge-number", &[]),
];

/// An unknown member is ignored whatever its value is.
#[case(covers = ["extensibility.ignore-unknown"], matrix(value = TYPES))]
async fn unknown_member_of_any_type_is_ignored(cx: &mut Cx) -> Verdict {
    let value = match cx.param("value") {
        "string" => json!("text"),
        "number" => json!(-1),
        "fraction" => json!(1.5),
        "null" => Value::Null,
        "array" => json!([1, "a", null, {}]),
        "nested" => (0..20).fold(json!(1), |inner, _| json!({ "a": inner })),
        _ => json!(1e300),
    };
    let builder = cx.container(probe::exit(0));
    builder.set("/plimsollUnknown", value.clone()).set("/linux/plimsollUnknown", value).stopped().await?;
    Ok(())
}

/// Unknown members may be logged; whether they are is recorded.
#[case(covers = ["extensibility.may-log"])]
async fn unknown_members_are_logged_or_not(cx: &mut Cx) -> Verdict {
    let (call, _) = cx.container(probe::exit(0)).set("/plimsollUnknown", 1).attempt().await?;
    call.must_succeed()?;
    cx.record("extensibility.unknown-members-logged", call.stderr.contains("plimsollUnknown"));
    Ok(())
}

/// The members that are given an invalid value, each with the value in [`invalid`].
const MUTANTS: &[Variant] = &[
    Variant::new("ociVersion:number", &[]),
    Variant::new("process:array", &[]),
    Variant::new("process.terminal:string", &[]),
    Variant::new("process.user:string", &[]),
    Variant::new("process.user.uid:string", &[]),
    Variant::new("process.user.uid:negative", &[]),
    Variant::new("process.user.uid:33-bits", &[]),
    Variant::new("process.user.gid:fraction", &[]),
    Variant::new("process.user.additionalGids:string", &[]),
    Variant::new("process.args:string", &[]),
    Variant::new("process.args:numbers", &[]),
    Variant::new("process.env:object", &[]),
    Variant::new("process.env:numbers", &[]),
    Variant::new("process.cwd:number", &[]),
    Variant::new("process.capabilities:array", &[]),
    Variant::new("process.capabilities.bounding:string", &[]),
    Variant::new("process.rlimits:object", &[]),
    Variant::new("process.rlimits.0.type:unknown-word", &[]),
    Variant::new("process.rlimits.0.soft:negative", &[]),
    Variant::new("process.rlimits.0.hard:string", &[]),
    Variant::new("process.noNewPrivileges:string", &[]),
    Variant::new("process.oomScoreAdj:string", &[]),
    Variant::new("root:array", &[]),
    Variant::new("root.path:number", &[]),
    Variant::new("root.readonly:string", &[]),
    Variant::new("hostname:number", &[]),
    Variant::new("mounts:object", &[]),
    Variant::new("mounts.0:string", &[]),
    Variant::new("mounts.0.destination:number", &[]),
    Variant::new("mounts.0.options:string", &[]),
    Variant::new("hooks:array", &[]),
    Variant::new("hooks.createRuntime:object", &[]),
    Variant::new("hooks.poststop:string", &[]),
    Variant::new("linux:array", &[]),
    Variant::new("linux.namespaces:object", &[]),
    Variant::new("linux.namespaces.0.type:number", &[]),
    Variant::new("linux.namespaces.0.type:unknown-word", &[]),
    Variant::new("linux.devices:object", &[]),
    Variant::new("linux.devices.0.path:number", &[]),
    Variant::new("linux.devices.0.type:unknown-word", &[]),
    Variant::new("linux.devices.0.major:string", &[]),
    Variant::new("linux.cgroupsPath:number", &[]),
    Variant::new("linux.sysctl:array", &[]),
    Variant::new("linux.resources:array", &[]),
    Variant::new("linux.resources.memory:string", &[]),
    Variant::new("linux.resources.memory.limit:string", &[]),
    Variant::new("linux.resources.cpu.shares:negative", &[]),
    Variant::new("linux.resources.cpu.shares:string", &[]),
    Variant::new("linux.resources.pids.limit:string", &[]),
    Variant::new("linux.resources.devices:object", &[]),
    Variant::new("linux.resources.devices.0.allow:string", &[]),
    Variant::new("linux.seccomp:array", &[]),
    Variant::new("linux.seccomp.defaultAction:number", &[]),
    Variant::new("linux.seccomp.defaultAction:unknown-word", &[]),
    Variant::new("linux.seccomp.syscalls.0.names:string", &[]),
    Variant::new("linux.seccomp.syscalls.0.action:unknown-word", &[]),
    Variant::new("linux.seccomp.syscalls.0.args.0.op:unknown-word", &[]),
    Variant::new("linux.maskedPaths:string", &[]),
    Variant::new("linux.readonlyPaths:object", &[]),
    Variant::new("linux.rootfsPropagation:number", &[]),
    Variant::new("linux.rootfsPropagation:unknown-word", &[]),
];

/// The value that a form stands for.
fn invalid(form: &str) -> Value {
    match form {
        "number" => json!(5),
        "string" => json!("5"),
        "array" => json!([]),
        "object" => json!({ "a": 1 }),
        "numbers" => json!([1, 2]),
        "negative" => json!(-1),
        "33-bits" => json!(4_294_967_296_u64),
        "fraction" => json!(1.5),
        _ => json!("plimsoll"),
    }
}

/// A member of the wrong type, out of its range or with an unknown word as its value is an error.
#[case(covers = ["valid-values.error"], tags = ["parser-leniency"], matrix(mutant = MUTANTS))]
async fn invalid_value_is_error(cx: &mut Cx) -> Verdict {
    let (place, form) = cx.param("mutant").split_once(':').unwrap_or_default();
    let pointer = format!("/{}", place.replace('.', "/"));
    accepted(cx, place, probe::exit(0)).await?;
    base(cx.container(probe::exit(0)), place).set(&pointer, invalid(form)).rejected().await?;
    Ok(())
}

const VALID: &[Variant] = &[
    Variant::new("seccomp-architecture-arm", &[]),
    Variant::new("seccomp-architecture-s390x", &[]),
    Variant::new("seccomp-action-trap", &[]),
    Variant::new("seccomp-action-log", &[]),
    Variant::new("seccomp-action-kill-process", &[]),
    Variant::new("namespace-cgroup", &[]),
    Variant::new("namespace-time", &[]),
    Variant::new("scheduler-batch", &[]),
    Variant::new("io-priority-idle", &[]),
    Variant::new("personality-linux32", &[]),
    Variant::new("domainname", &[]),
    Variant::new("rootfs-propagation-unbindable", &[]),
];

/// A runtime may support some of the valid values only: the others are an error; which ones is recorded.
#[case(covers = ["valid-values.subset-allowed"], matrix(value = VALID))]
async fn support_of_valid_values_is_recorded(cx: &mut Cx) -> Verdict {
    let value = cx.param("value");
    let seccomp = |action: &str, architecture: &str| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", architecture],
            "syscalls": [{ "names": ["acct"], "action": action }]
        })
    };
    let builder = cx.container(probe::exit(0));
    let builder = match value {
        "seccomp-architecture-arm" => {
            builder.set("/linux/seccomp", seccomp("SCMP_ACT_ERRNO", "SCMP_ARCH_ARM"))
        }
        "seccomp-architecture-s390x" => {
            builder.set("/linux/seccomp", seccomp("SCMP_ACT_ERRNO", "SCMP_ARCH_S390X"))
        }
        "seccomp-action-trap" => builder.set("/linux/seccomp", seccomp("SCMP_ACT_TRAP", "SCMP_ARCH_X86")),
        "seccomp-action-log" => builder.set("/linux/seccomp", seccomp("SCMP_ACT_LOG", "SCMP_ARCH_X86")),
        "seccomp-action-kill-process" => {
            builder.set("/linux/seccomp", seccomp("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86"))
        }
        "namespace-cgroup" => builder.namespace("cgroup", None),
        "namespace-time" => builder.namespace("time", None),
        "scheduler-batch" => builder.set("/process/scheduler", json!({ "policy": "SCHED_BATCH" })),
        "io-priority-idle" => {
            builder.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }))
        }
        "personality-linux32" => builder.set("/linux/personality", json!({ "domain": "LINUX32" })),
        "domainname" => builder.set("/domainname", "plimsoll.example"),
        _ => builder.set("/linux/rootfsPropagation", "unbindable"),
    };
    let (create, container) = builder.attempt().await?;
    let call = if create.succeeded() { container.start().await? } else { create };
    cx.record(&format!("valid-values.{value}"), if call.succeeded() { "accepted" } else { "refused" });
    if !call.succeeded() {
        call.must_fail()?;
    }
    Ok(())
}
