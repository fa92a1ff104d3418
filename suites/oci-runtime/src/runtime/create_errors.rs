//! runtime.md, create: what cannot be made is an error, and then there is no container.

use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    impossible_environment_is_error,
    unappliable_property_is_error,
    refused_container_does_not_exist,
    id_of_a_refused_container_is_free,
];

/// Makes the bundle ask for something that no host can give.
fn impossible(builder: Builder, what: &str) -> Builder {
    match what {
        "root-missing" => builder.set("/root/path", "no-such-directory"),
        "root-is-a-file" => builder.set("/root/path", "config.json"),
        "bind-source-missing" => builder.mount(json!({
            "destination": "/mnt", "type": "bind", "source": "/plimsoll/no/such/source", "options": ["bind"]
        })),
        "file-system-unknown" => {
            builder.mount(json!({ "destination": "/mnt", "type": "plimsoll-no-such-fs", "source": "none" }))
        }
        "mount-data-invalid" => builder.mount(json!({
            "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=not-a-size"]
        })),
        "namespace-path-missing" => builder.namespace("network", Some("/plimsoll/no/such/namespace")),
        "namespace-path-no-namespace" => builder.namespace("network", Some("/etc/passwd")),
        "namespace-path-of-other-type" => builder.namespace("network", Some("/proc/self/ns/uts")),
        "namespace-type-unknown" => builder.set("/linux/namespaces/-", json!({ "type": "plimsoll" })),
        "sysctl-unknown" => builder.set("/linux/sysctl", json!({ "net.ipv4.plimsoll_no_such_key": "1" })),
        "sysctl-value-invalid" => builder.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "no-number" })),
        "device-type-unknown" => builder
            .set("/linux/devices", json!([{ "path": "/dev/odd", "type": "x", "major": 1, "minor": 3 }])),
        "propagation-unknown" => builder.set("/linux/rootfsPropagation", "plimsoll"),
        "seccomp-action-unknown" => {
            builder.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_PLIMSOLL" }))
        }
        "hook-missing" => {
            builder.set("/hooks", json!({ "createRuntime": [{ "path": "/plimsoll/no/such/hook" }] }))
        }
        _ => builder.set("/hooks", json!({ "createRuntime": [{ "path": "/etc/passwd" }] })),
    }
}

const ENVIRONMENT: &[Variant] = &[
    Variant::new("root-missing", &[]),
    Variant::new("root-is-a-file", &[]),
    Variant::new("bind-source-missing", &[]),
    Variant::new("file-system-unknown", &[]),
    Variant::new("mount-data-invalid", &[]),
    Variant::new("namespace-path-missing", &[]),
    Variant::new("namespace-path-no-namespace", &[]),
    Variant::new("hook-missing", &[]),
    Variant::new("hook-not-executable", &[]),
];

/// An environment that cannot be made is an error, and leaves nothing behind.
#[case(covers = ["create.environment-failure-errors", "errors.leave-state-unchanged"], matrix(ask = ENVIRONMENT))]
async fn impossible_environment_is_error(cx: &mut Cx) -> Verdict {
    impossible(cx.container(probe::pause()), cx.param("ask")).rejected().await?;
    Ok(())
}

const PROPERTIES: &[Variant] = &[
    Variant::new("namespace-path-of-other-type", &[]),
    Variant::new("namespace-type-unknown", &[]),
    Variant::new("sysctl-unknown", &[]),
    Variant::new("sysctl-value-invalid", &[]),
    Variant::new("device-type-unknown", &[]),
    Variant::new("propagation-unknown", &[]),
    Variant::new("seccomp-action-unknown", &[]),
];

/// A property that cannot be applied is an error, and leaves nothing behind.
#[case(covers = ["create.unappliable-property.errors"], matrix(property = PROPERTIES))]
async fn unappliable_property_is_error(cx: &mut Cx) -> Verdict {
    impossible(cx.container(probe::pause()), cx.param("property")).rejected().await?;
    Ok(())
}

const REFUSED: &[Variant] = &[
    Variant::new("root-missing", &[]),
    Variant::new("bind-source-missing", &[]),
    Variant::new("namespace-path-missing", &[]),
    Variant::new("sysctl-unknown", &[]),
];

/// When a property outside `process` cannot be applied, create fails and there is no container.
#[case(covers = ["create.unappliable-property.no-container"], matrix(property = REFUSED))]
async fn refused_container_does_not_exist(cx: &mut Cx) -> Verdict {
    let (call, container) = impossible(cx.container(probe::pause()), cx.param("property")).attempt().await?;
    call.must_fail()?;
    cx.runtime().state_call(container.id()).await?.must_fail()?;
    container.nothing_left().await?;
    Ok(())
}

/// After a refused create, the same id makes a container from a good configuration.
#[case(covers = ["create.unappliable-property.no-container"], matrix(property = REFUSED))]
async fn id_of_a_refused_container_is_free(cx: &mut Cx) -> Verdict {
    let good = cx.container(probe::exit(0)).config().clone();
    let (call, container) = impossible(cx.container(probe::exit(0)), cx.param("property")).attempt().await?;
    call.must_fail()?;
    let mut config = good;
    config["process"] = container.config()["process"].clone();
    container.bundle().write(&config)?;
    let bundle = container.bundle().dir().display().to_string();
    let again = container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?;
    again.must_succeed()?;
    container.start().await?.must_succeed()?;
    container.wait_stopped().await?;
    Ok(())
}
