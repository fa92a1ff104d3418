//! config-linux.md, sysctl, personality, memory policy, propagation, masked and read-only paths, mount label.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    kernel_parameter_is_set,
    kernel_parameter_that_cannot_be_set_is_error,
    execution_domain_is_set,
    memory_policy_is_set,
    impossible_memory_policy_is_error,
    propagation_is_that_of_the_root,
    masked_path_is_hidden,
    every_masked_path_is_hidden,
    missing_masked_path_is_ignored,
    readonly_path_refuses_writes,
    every_readonly_path_refuses_writes,
    missing_readonly_path_is_ignored,
    mount_label_is_applied,
];

const PARAMETERS: &[Variant] = &[
    Variant::new("net.ipv4.ip_forward:1", &[]),
    Variant::new("net.ipv4.ip_default_ttl:77", &[]),
    Variant::new("kernel.shmmax:1048576", &[]),
    Variant::new("kernel.msgmax:4096", &[]),
    Variant::new("fs.mqueue.msg_max:11", &[]),
    Variant::new("net.ipv4.conf.lo.accept_local:1", &[]),
];

/// A namespaced kernel parameter has the configured value inside.
#[case(covers = ["sysctl"], matrix(parameter = PARAMETERS))]
async fn kernel_parameter_is_set(cx: &mut Cx) -> Verdict {
    let (name, value) = cx.param("parameter").split_once(':').unwrap_or_default();
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    cx.need_path(&path, "kernel-parameter")?;
    let before = std::fs::read_to_string(&path)?;
    let builder = cx.container(probe::script().ask_with("sysctl", json!({ "name": name })));
    let answers = builder.set("/linux/sysctl", json!({ name: value })).answers().await?;
    check_eq!(answers.granted("sysctl")?["value"], json!(value), "{name} inside");
    check_eq!(std::fs::read_to_string(&path)?, before, "{name} on the host");
    Ok(())
}

const UNSETTABLE: &[Variant] = &[
    Variant::new("unknown", &[]),
    Variant::new("bad-value", &[]),
    Variant::new("network-of-the-host", &[]),
    Variant::new("ipc-of-the-host", &[]),
];

/// A kernel parameter that is unknown, ill-valued, or not the container's own is an error.
#[case(covers = ["sysctl"], matrix(parameter = UNSETTABLE))]
async fn kernel_parameter_that_cannot_be_set_is_error(cx: &mut Cx) -> Verdict {
    // On the host each would get the value that it has: a runtime that sets it all the same does no harm.
    let now = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).map(|t| t.trim().to_owned());
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("parameter") {
        "unknown" => builder.set("/linux/sysctl", json!({ "net.plimsoll.unknown": "1" })),
        "bad-value" => builder.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "plimsoll" })),
        "network-of-the-host" => {
            let value = now("net/ipv4/ip_default_ttl")?;
            builder
                .without_namespace("network")
                .set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": value }))
                .with(|config| {
                    if let Some(mounts) = config["mounts"].as_array_mut() {
                        mounts.retain(|m| m["destination"] != "/sys");
                    }
                })
        }
        _ => builder
            .without_namespace("ipc")
            .set("/linux/sysctl", json!({ "kernel.shmmax": now("kernel/shmmax")? })),
    };
    builder.rejected().await?;
    Ok(())
}

const DOMAINS: &[Variant] = &[Variant::new("LINUX", &[]), Variant::new("LINUX32", &[])];

/// The execution domain is the configured one, and a program that joins later has it as well.
#[case(covers = ["personality.domain", "personality", "personality.flags"], matrix(domain = DOMAINS))]
async fn execution_domain_is_set(cx: &mut Cx) -> Verdict {
    let domain = cx.param("domain");
    let script = probe::ask(["personality", "uname"]);
    let builder = cx.container(script.clone().pause());
    let container = builder.set("/linux/personality", json!({ "domain": domain })).running().await?;
    let number = if domain == "LINUX" { 0 } else { 8 };
    let first = container.wait_for_answer("uname").await?;
    let (exec, later) = container.exec(&[], &script).await?;
    exec.must_succeed()?;
    for (who, answers) in [("the program", first), ("a joined program", later)] {
        check_eq!(answers.granted("personality")?["number"], json!(number), "the domain of {who}");
        let machine = answers.facts("uname")?["machine"].clone();
        if cx.host().machine == "x86_64" {
            let want = if domain == "LINUX" { "x86_64" } else { "i686" };
            check_eq!(machine, json!(want), "the machine that {who} sees");
        }
    }
    Ok(())
}

const POLICIES: &[Variant] = &[
    Variant::new("MPOL_DEFAULT", &[]),
    Variant::new("MPOL_BIND", &["memory-policy.nodes"]),
    Variant::new("MPOL_INTERLEAVE", &["memory-policy.nodes"]),
    Variant::new("MPOL_PREFERRED", &["memory-policy.nodes"]),
    Variant::new("MPOL_PREFERRED_MANY", &["memory-policy.nodes"]),
    Variant::new("MPOL_LOCAL", &[]),
    Variant::new("MPOL_WEIGHTED_INTERLEAVE", &["memory-policy.nodes"]),
    Variant::new("MPOL_BIND-MPOL_F_STATIC_NODES", &["memory-policy.flags"]),
    Variant::new("MPOL_BIND-MPOL_F_RELATIVE_NODES", &["memory-policy.flags"]),
];

/// The program's memory policy is the configured one.
#[case(covers = ["memory-policy.mode", "memory-policy"], matrix(policy = POLICIES))]
async fn memory_policy_is_set(cx: &mut Cx) -> Verdict {
    cx.need_path("/proc/self/numa_maps", "numa")?;
    let (mode, flag) = cx.param("policy").split_once('-').unwrap_or((cx.param("policy"), ""));
    let mut policy = json!({ "mode": mode });
    if !matches!(mode, "MPOL_DEFAULT" | "MPOL_LOCAL") {
        policy["nodes"] = json!("0");
    }
    if !flag.is_empty() {
        policy["flags"] = json!([flag]);
    }
    let answers =
        cx.container(probe::ask(["mempolicy"])).set("/linux/memoryPolicy", policy).answers().await?;
    let seen = answers.facts("mempolicy")?;
    check_eq!(seen["mode"], json!(mode), "the mode");
    if !flag.is_empty() {
        let flags = seen["flags"].as_array().cloned().unwrap_or_default();
        check!(flags.iter().any(|f| f == flag), format!("the flag {flag}"), "{flags:?}");
    }
    Ok(())
}

const BAD_POLICIES: &[Variant] = &[
    Variant::new("both-node-flags", &["memory-policy.flags"]),
    Variant::new("node-that-cannot-be", &["memory-policy.nodes"]),
    Variant::new("default-with-nodes", &["memory-policy.nodes"]),
    Variant::new("range-backwards", &["memory-policy.nodes"]),
];

/// A memory policy that the kernel cannot hold is an error.
#[case(covers = ["memory-policy"], matrix(policy = BAD_POLICIES))]
async fn impossible_memory_policy_is_error(cx: &mut Cx) -> Verdict {
    cx.need_path("/proc/self/numa_maps", "numa")?;
    let policy = match cx.param("policy") {
        "both-node-flags" => {
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] })
        }
        "node-that-cannot-be" => json!({ "mode": "MPOL_BIND", "nodes": "1048576" }),
        "default-with-nodes" => json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }),
        _ => json!({ "mode": "MPOL_BIND", "nodes": "3-1" }),
    };
    cx.container(probe::exit(0)).set("/linux/memoryPolicy", policy).rejected().await?;
    Ok(())
}

const PROPAGATIONS: &[Variant] = &[
    Variant::new("shared", &[]),
    Variant::new("slave", &[]),
    Variant::new("private", &[]),
    Variant::new("unbindable", &[]),
];

/// The root mount of the container has the configured propagation.
#[case(covers = ["rootfs-propagation"], matrix(propagation = PROPAGATIONS))]
async fn propagation_is_that_of_the_root(cx: &mut Cx) -> Verdict {
    let propagation = cx.param("propagation");
    let builder = cx.container(probe::ask(["mounts"]));
    let answers = builder.set("/linux/rootfsPropagation", propagation).answers().await?;
    let all = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    let root =
        all.iter().find(|m| m["mountpoint"] == "/").map(|m| m["optional"].to_string()).unwrap_or_default();
    let holds = match propagation {
        "shared" => root.contains("shared:"),
        "unbindable" => root.contains("unbindable"),
        // A slave of a private mount is private: there is no master to name.
        _ => !root.contains("shared:") && !root.contains("unbindable"),
    };
    check!(holds, format!("a root mount that is {propagation}"), "its tags are {root}");
    Ok(())
}

const HIDDEN: &[Variant] =
    &[Variant::new("file", &[]), Variant::new("directory", &[]), Variant::new("symbolic-link", &[])];

/// What stands at a masked path cannot be read, by the program or by one that joins.
#[case(covers = ["masked-paths"], matrix(kind = HIDDEN))]
async fn masked_path_is_hidden(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    let path = if kind == "directory" { "/etc/secret/file" } else { "/etc/secret-file" };
    let masked = if kind == "directory" { "/etc/secret" } else { "/etc/secret-file" };
    let script = probe::script().ask_with("read", json!({ "path": path }));
    let builder = cx.container(script.clone().pause());
    let builder = if kind == "symbolic-link" {
        builder
            .file("/etc/behind", "plimsoll-secret")
            .rootfs(|root| std::os::unix::fs::symlink("/etc/behind", root.join("etc/secret-file")))
    } else {
        builder.file(path, "plimsoll-secret")
    };
    let builder = builder.set("/linux/maskedPaths", json!([masked]));
    if kind == "symbolic-link" {
        let (call, _) = builder.attempt().await?;
        cx.record("masked-paths.symbolic-link", if call.succeeded() { "accepted" } else { "refused" });
        return Ok(());
    }
    let container = builder.running().await?;
    let first = container.wait_for_answer("read").await?;
    let (exec, later) = container.exec(&[], &script).await?;
    exec.must_succeed()?;
    for (who, answers) in [("the program", first), ("a joined program", later)] {
        let text = answers.first("read")?.result.as_ref().map(ToString::to_string).unwrap_or_default();
        check!(!text.contains("plimsoll-secret"), format!("{path} is hidden from {who}"), "{text}");
    }
    Ok(())
}

/// Three files of their own, by the places in a list that a runtime may forget.
const THREE: [&str; 3] = ["/etc/first", "/etc/middle", "/etc/last"];

fn three_files(builder: Builder) -> Builder {
    THREE.iter().fold(builder, |builder, path| builder.file(path, "plimsoll-secret"))
}

/// Each of several masked paths is hidden, wherever it stands in the list.
#[case(covers = ["masked-paths"])]
async fn every_masked_path_is_hidden(cx: &mut Cx) -> Verdict {
    let script = THREE.iter().fold(probe::script(), |s, path| s.ask_with("read", json!({ "path": path })));
    let builder = three_files(cx.container(script)).set("/linux/maskedPaths", json!(THREE));
    let answers = builder.answers().await?;
    for (index, path) in THREE.iter().enumerate() {
        let text = answers.at(index)?.result.as_ref().map(ToString::to_string).unwrap_or_default();
        check!(!text.contains("plimsoll-secret"), format!("{path} is hidden"), "{text}");
    }
    Ok(())
}

/// A masked path that does not exist changes nothing.
#[case(covers = ["masked-paths"])]
async fn missing_masked_path_is_ignored(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["identity"]));
    builder.set("/linux/maskedPaths", json!(["/plimsoll/missing"])).answers().await?;
    Ok(())
}

/// What stands at a read-only path can be read but not written, by the program or by one that joins.
#[case(covers = ["readonly-paths"])]
async fn readonly_path_refuses_writes(cx: &mut Cx) -> Verdict {
    let script = probe::script()
        .ask_with("open", json!({ "path": "/etc/kept/file", "flags": ["w"] }))
        .ask_with("open", json!({ "path": "/etc/kept/new", "flags": ["w", "creat"] }))
        .ask_with("read", json!({ "path": "/etc/kept/file" }));
    let builder = cx.container(script.clone().pause()).file("/etc/kept/file", "kept");
    let container = builder.set("/linux/readonlyPaths", json!(["/etc/kept"])).running().await?;
    let first = container.wait_for_answer("read").await?;
    let (exec, later) = container.exec(&[], &script).await?;
    exec.must_succeed()?;
    for (who, answers) in [("the program", first), ("a joined program", later)] {
        check_eq!(answers.at(0)?.errno(), 30, "errno (EROFS) of writing as {who}");
        check_eq!(answers.at(1)?.errno(), 30, "errno (EROFS) of making a file as {who}");
        check_eq!(answers.facts("read")?["data"], json!("kept"), "what {who} reads");
    }
    Ok(())
}

/// Each of several read-only paths refuses writes, wherever it stands in the list.
#[case(covers = ["readonly-paths"])]
async fn every_readonly_path_refuses_writes(cx: &mut Cx) -> Verdict {
    let open = |s: Script, path: &&str| s.ask_with("open", json!({ "path": path, "flags": ["w"] }));
    let script = THREE.iter().fold(probe::script(), open);
    let builder = three_files(cx.container(script)).set("/linux/readonlyPaths", json!(THREE));
    let answers = builder.answers().await?;
    for (index, path) in THREE.iter().enumerate() {
        check_eq!(answers.at(index)?.errno(), 30, "errno (EROFS) of writing {path}");
    }
    Ok(())
}

/// A read-only path that does not exist changes nothing.
#[case(covers = ["readonly-paths"])]
async fn missing_readonly_path_is_ignored(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["identity"]));
    builder.set("/linux/readonlyPaths", json!(["/plimsoll/missing"])).answers().await?;
    Ok(())
}

/// The mounts of the container have the configured label.
#[case(covers = ["mount-label"])]
async fn mount_label_is_applied(cx: &mut Cx) -> Verdict {
    cx.need_path("/sys/fs/selinux/enforce", "selinux")?;
    let label = "system_u:object_r:container_file_t:s0:c715,c811";
    let script = probe::script().ask_with("xattr", json!({ "path": "/dev/shm", "name": "security.selinux" }));
    let answers = cx.container(script).set("/linux/mountLabel", label).answers().await?;
    let seen = answers.facts("xattr")?["data"].as_str().unwrap_or_default().trim_end_matches('\0').to_owned();
    check_eq!(seen, label, "the label of /dev/shm");
    Ok(())
}
