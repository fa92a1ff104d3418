//! What a process of the container can reach and do.

use super::support::{answers_or_refusal, canary, on_the_host_s_kernel, untouched, without_dev};
use plimsoll_kit::exec::Exec;
use plimsoll_kit::prelude::*;
use std::os::unix::fs::symlink;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    score_is_effective_on_the_host,
    mount_over_a_part_of_proc_is_refused,
    masked_file_is_the_null_device,
    console_is_the_terminal,
    prepared_console_stays_inside,
    parameter_is_effective_on_the_host,
    odd_user_is_refused_or_exact,
    exec_has_no_inheritable_capability,
    exec_gains_no_privileges,
    exec_is_filtered,
    cgroup_is_its_own_root,
    switch_of_the_kernel_is_not_writable,
    masked_file_gives_nothing,
    denied_device_stays_denied,
    too_long_values_are_refused,
];

/// The score for the out-of-memory killer is that of the process on the host.
#[case(covers = ["sec.procfs-write-effective"])]
async fn score_is_effective_on_the_host(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).set("/process/oomScoreAdj", 500).running().await?;
    check_eq!(container.proc_file("oom_score_adj")?.trim(), "500", "oom_score_adj on the host");
    Ok(())
}

const BELOW_PROC: &[Variant] =
    &[Variant::new("attr", &[]), Variant::new("sys", &[]), Variant::new("task", &[])];

/// A mount over a part of procfs that runtimes write to is refused.
#[case(covers = ["sec.procfs-write-effective"], matrix(path = BELOW_PROC))]
async fn mount_over_a_part_of_proc_is_refused(cx: &mut Cx) -> Verdict {
    let destination = match cx.param("path") {
        "attr" => "/proc/self/attr",
        "sys" => "/proc/sys",
        _ => "/proc/1/task",
    };
    let mount =
        json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] });
    let refused = cx.container(probe::exit(0)).mount(mount).rejected().await.map(|_| ());
    on_the_host_s_kernel(cx, refused).await
}

/// A masked file is the real null device though /dev/null of the root file system is a link.
#[case(covers = ["sec.masked-path.source-verified"])]
async fn masked_file_is_the_null_device(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("stat", json!({ "path": "/etc/secret" }));
    let builder = cx
        .container(script)
        .file("/etc/secret", "secret")
        .file("/etc/other", "other")
        .rootfs(|root| symlink("/etc/other", root.join("dev/null")))
        .with(without_dev)
        .set("/linux/maskedPaths", json!(["/etc/secret"]));
    let Some(answers) = answers_or_refusal(builder).await? else { return Ok(()) };
    let stat = answers.facts("stat")?;
    let null = stat["type"] == "char" && stat["rdev_major"] == 1 && stat["rdev_minor"] == 3;
    check!(null, "the null device, or a refusal", "{stat}");
    Ok(())
}

/// The console is the terminal that is also standard input.
#[case(covers = ["sec.console.source-verified"])]
async fn console_is_the_terminal(cx: &mut Cx) -> Verdict {
    let script =
        probe::ask(["stdio_tty"]).ask_with("stat", json!({ "path": "/dev/console", "follow": true }));
    let container = cx.container(script.pause()).terminal().running().await?;
    let answers = container.answers_so_far()?;
    console_is_standard_input(&answers)
}

/// Where there is a console, it is the terminal of standard input. That there is one is the specification's matter.
fn console_is_standard_input(answers: &Answers) -> Verdict {
    let Ok(stat) = &answers.first("stat")?.result else { return Ok(()) };
    let stdio = &answers.facts("stdio_tty")?["stdio"][0];
    check_eq!(stat["type"], json!("char"), "the type of /dev/console");
    check_eq!(stat["rdev_major"], stdio["rdev_major"], "the major number of /dev/console");
    check_eq!(stat["rdev_minor"], stdio["rdev_minor"], "the minor number of /dev/console");
    Ok(())
}

const PREPARED: &[Variant] = &[
    Variant::new("link", &[]),
    Variant::new("dangling-link", &[]),
    Variant::new("directory", &[]),
    Variant::new("file", &[]),
];

/// Where the root file system has a console of its own, nothing appears outside, and the console is the terminal or
/// the bundle is refused.
#[case(covers = ["sec.console.source-verified"], matrix(console = PREPARED))]
async fn prepared_console_stays_inside(cx: &mut Cx) -> Verdict {
    let dir = canary(cx)?;
    let kind = cx.param("console").to_owned();
    let target = if kind == "link" { dir.clone() } else { dir.join("missing") };
    let script =
        probe::ask(["stdio_tty"]).ask_with("stat", json!({ "path": "/dev/console", "follow": true }));
    let builder = cx.container(script).terminal().with(without_dev).rootfs(move |root| {
        let console = root.join("dev/console");
        match kind.as_str() {
            "directory" => std::fs::create_dir(console),
            "file" => std::fs::write(console, ""),
            _ => symlink(target, console),
        }
    });
    let answers = answers_or_refusal(builder).await?;
    untouched(&dir)?;
    answers.map_or(Ok(()), |answers| console_is_standard_input(&answers))
}

/// A kernel parameter is that of the process's own namespace, and not a file that only looks like it.
#[case(covers = ["sec.procfs-write-effective"])]
async fn parameter_is_effective_on_the_host(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("sysctl", json!({ "name": "net.ipv4.ip_default_ttl" }));
    let text: Value = serde_json::from_str(&script.text("beside", None)).unwrap_or_default();
    let builder =
        cx.container(probe::pause()).set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "77" }));
    let container = builder.running().await?;
    // Another process of the harness in the container's network namespace, with the host's own procfs.
    let enter = json!({ "path": format!("/proc/{}/ns/net", container.pid()?), "type": "net" });
    let outer = probe::script().act("setns", enter).act("spawn", json!({ "script": text, "wait": true }));
    let exec = Exec::new(&cx.probe_path(), cx.dir().join("beside")).args([outer.text("outer", None)]);
    let call = exec.run(cx.runtime().reaper()).await?;
    let answers = Answers::parse(&call.stdout, "beside");
    let effective = || {
        check_eq!(answers.facts("sysctl")?["value"], json!("77"), "the parameter as the host reads it");
        Ok(())
    };
    on_the_host_s_kernel(cx, effective()).await
}

const USERS: &[Variant] = &[
    Variant::new("plus", &[]),
    Variant::new("trailing-letters", &[]),
    Variant::new("leading-space", &[]),
    Variant::new("hexadecimal", &[]),
    Variant::new("too-large", &[]),
    Variant::new("negative", &[]),
    Variant::new("trailing-colon", &[]),
    Variant::new("leading-colon", &[]),
    Variant::new("empty", &[]),
];

/// A user that is no proper number is an error or exactly the user that was meant.
#[case(covers = ["sec.exec.user-parsing"], matrix(user = USERS))]
async fn odd_user_is_refused_or_exact(cx: &mut Cx) -> Verdict {
    let user = match cx.param("user") {
        "plus" => "+1000",
        "trailing-letters" => "1000abc",
        "leading-space" => " 1000",
        "hexadecimal" => "0x3e8",
        "too-large" => "4294967296",
        "negative" => "-1",
        "leading-colon" => ":1000",
        "empty" => "",
        _ => "1000:",
    };
    let container = cx.container(probe::pause()).running().await?;
    let (call, answers) = container.exec(&["--user", user], &probe::ask(["identity"])).await?;
    if !answers.is_done() {
        call.must_fail()?;
        return Ok(());
    }
    let uid = &answers.facts("identity")?["uid"];
    if matches!(cx.param("user"), "leading-colon" | "empty") {
        // No user is named: that of the configuration, which is 0, is what was asked for.
        check_eq!(*uid, json!(0), "the user that {user:?} gives");
        return Ok(());
    }
    if matches!(cx.param("user"), "trailing-letters" | "too-large" | "negative") {
        return Err(Stop::violation(
            format!("an error for the user {user:?}"),
            format!("it runs as user {uid}"),
        ));
    }
    check_eq!(*uid, json!(1000), "the user that {user:?} gives");
    Ok(())
}

const WITH: &[Variant] = &[Variant::new("nothing", &[]), Variant::new("a-capability", &[])];

/// A process of exec has no inheritable and no ambient capability.
#[case(covers = ["sec.exec.no-inheritable-caps"], matrix(with = WITH))]
async fn exec_has_no_inheritable_capability(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let flags: &[&str] = if cx.param("with") == "nothing" { &[] } else { &["--cap", "CAP_CHOWN"] };
    let (call, answers) = container.exec(flags, &probe::ask(["caps"])).await?;
    call.must_succeed()?;
    for set in ["inheritable", "ambient"] {
        check_eq!(answers.facts("caps")?[set]["names"], json!([]), "the {set} set");
    }
    Ok(())
}

/// A process of exec cannot gain privileges when the configuration says so.
#[case(covers = ["sec.no-new-privs-covers-exec"])]
async fn exec_gains_no_privileges(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let (call, answers) = container.exec(&[], &probe::ask(["no_new_privs"])).await?;
    call.must_succeed()?;
    check_eq!(answers.facts("no_new_privs")?["no_new_privs"], json!(true), "no_new_privs");
    Ok(())
}

/// A call that the filter blocks is blocked for a process of exec.
#[case(covers = ["sec.seccomp-covers-exec"])]
async fn exec_is_filtered(cx: &mut Cx) -> Verdict {
    let blocked = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 });
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [blocked] });
    let container = cx.container(probe::pause()).set("/linux/seccomp", filter).running().await?;
    let script = probe::script().act("mkdir", json!({ "path": "/tmp/made" }));
    let (call, answers) = container.exec(&[], &script).await?;
    check!(answers.is_done(), "the program runs to its end", "{}", call.describe());
    check_eq!(answers.first("mkdir")?.errno(), 1, "errno of the blocked call");
    Ok(())
}

/// In a cgroup namespace of its own the program and exec see their cgroup as the root.
#[case(covers = ["sec.cgroupns.no-host-view"])]
async fn cgroup_is_its_own_root(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["cgroups"]).pause()).namespace("cgroup", None);
    let container = builder.running().await?;
    let (call, exec) = container.exec(&[], &probe::ask(["cgroups"])).await?;
    call.must_succeed()?;
    for answers in [container.answers_so_far()?, exec] {
        let lines = answers.facts("cgroups")?["lines"].as_array().cloned().unwrap_or_default();
        let foreign: Vec<&str> =
            lines.iter().filter_map(Value::as_str).filter(|l| l.contains("plimsoll")).collect();
        check!(foreign.is_empty(), "no path of the host", "{foreign:?}");
    }
    Ok(())
}

const SWITCHES: &[Variant] = &[
    Variant::new("sysrq", &[]),
    Variant::new("core-pattern", &[]),
    Variant::new("modprobe", &[]),
    Variant::new("uevent-helper", &[]),
    Variant::new("interrupts", &[]),
    Variant::new("kernel-security", &[]),
];

/// A switch of the host's kernel cannot be opened for writing.
#[case(covers = ["sec.readonly-proc-sys-open"], matrix(switch = SWITCHES))]
async fn switch_of_the_kernel_is_not_writable(cx: &mut Cx) -> Verdict {
    let path = match cx.param("switch") {
        "sysrq" => "/proc/sysrq-trigger",
        "core-pattern" => "/proc/sys/kernel/core_pattern",
        "modprobe" => "/proc/sys/kernel/modprobe",
        "interrupts" => "/proc/irq/default_smp_affinity",
        "kernel-security" => "/sys/kernel/mm/transparent_hugepage/enabled",
        _ => "/sys/kernel/uevent_helper",
    };
    let script = probe::script().ask_with("open", json!({ "path": path, "flags": ["w"] }));
    let answers = cx.container(script).answers().await?;
    let refused = || {
        check_ne!(answers.first("open")?.errno(), 0, "errno of opening {path} for writing");
        Ok(())
    };
    on_the_host_s_kernel(cx, refused()).await
}

const MASKED: &[Variant] =
    &[Variant::new("kcore", &[]), Variant::new("keys", &[]), Variant::new("timer_list", &[])];

/// A masked file of procfs gives no data.
#[case(covers = ["sec.kcore-masked"], matrix(file = MASKED))]
async fn masked_file_gives_nothing(cx: &mut Cx) -> Verdict {
    let path = format!("/proc/{}", cx.param("file"));
    let script = probe::script().ask_with("read", json!({ "path": path, "max": 1 }));
    let answers = cx.container(script).set("/linux/maskedPaths/-", path.clone()).answers().await?;
    let nothing = || {
        if let Ok(facts) = &answers.first("read")?.result {
            check_eq!(facts["bytes"], json!(0), "bytes read of {path}");
        }
        Ok(())
    };
    on_the_host_s_kernel(cx, nothing()).await
}

const WHEN: &[Variant] = &[
    Variant::new("at-once", &["sec.device-cgroup-mknod"]),
    Variant::new("after-update", &["sec.devices-deny-persist"]),
];

/// A device that the rules deny cannot be opened through a node that the container made.
#[case(covers = [], matrix(when = WHEN))]
async fn denied_device_stays_denied(cx: &mut Cx) -> Verdict {
    cx.need_capability("CAP_MKNOD")?;
    let builder = cx.container(probe::pause()).capabilities(&["CAP_MKNOD"]).setup();
    let container = builder.running().await?;
    if cx.param("when") == "after-update" {
        let call = cx.runtime().call(&["update", "--pids-limit", "100", container.id()]).await?;
        let applies = Stop::NotApplicable { capability: "update".into(), reason: call.describe() };
        call.succeeded().then_some(()).ok_or(applies)?;
    }
    // A number for local use: no driver answers to it, so an open that is allowed finds no device (ENXIO).
    let node = json!({ "path": "/dev/plimsoll", "type": "char", "major": 240, "minor": 77 });
    let script = probe::script()
        .act("mknod", node)
        .ask_with("open", json!({ "path": "/dev/plimsoll", "flags": ["r"] }));
    let (call, answers) = container.exec(&[], &script).await?;
    call.must_succeed()?;
    let denied = || {
        if answers.first("mknod")?.errno() == 0 {
            check_eq!(answers.first("open")?.errno(), 1, "errno of opening the denied device");
        }
        Ok(())
    };
    on_the_host_s_kernel(cx, denied()).await
}

const LONG: &[Variant] = &[Variant::new("namespace-path", &[]), Variant::new("id-mappings", &[])];

/// Values that are too long are a clean error, and nothing is left.
#[case(covers = ["sec.netlink-lengths"], matrix(what = LONG))]
async fn too_long_values_are_refused(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = if cx.param("what") == "namespace-path" {
        builder.namespace("network", Some(&format!("/{}", "a".repeat(70_000))))
    } else {
        let range = |n: u32| json!({ "containerID": n * 2, "hostID": 100_000 + n * 2, "size": 1 });
        let map: Vec<Value> = (0..5000).map(range).collect();
        builder.user_namespace(100_000).set("/linux/uidMappings", map)
    };
    builder.rejected().await?;
    Ok(())
}
