//! config-linux.md, default file systems, default devices, devices, and the device rules of the cgroup.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    default_file_system_is_available,
    default_device_is_supplied,
    console_is_the_terminal,
    terminal_multiplexer_is_the_container_s_own,
    listed_device_is_available,
    mode_and_owner_are_applied,
    device_outside_dev_is_made,
    device_without_numbers_is_error,
    other_file_at_the_path_is_error,
    unlisted_device_is_not_accessible,
    rules_apply_in_order,
    rule_grants_what_it_names,
];

const DEFAULT_FILE_SYSTEMS: &[Variant] = &[
    Variant::new("proc", &["default-fs.proc"]),
    Variant::new("sys", &["default-fs.sys"]),
    Variant::new("dev.pts", &["default-fs.dev-pts"]),
    Variant::new("dev.shm", &["default-fs.dev-shm"]),
];

/// A default file system is mounted at its place with its type.
#[case(covers = [], matrix(path = DEFAULT_FILE_SYSTEMS))]
async fn default_file_system_is_available(cx: &mut Cx) -> Verdict {
    let (path, kind, magic) = match cx.param("path") {
        "proc" => ("/proc", "proc", 0x9fa0),
        "sys" => ("/sys", "sysfs", 0x6265_6572),
        "dev.pts" => ("/dev/pts", "devpts", 0x1cd1),
        _ => ("/dev/shm", "tmpfs", 0x0102_1994),
    };
    let script = probe::script().ask_with("statfs", json!({ "path": path })).ask("mounts");
    let answers = cx.container(script).answers().await?;
    // The mount table is read from /proc itself, so that what is there is asked without it first.
    let seen = answers.first("statfs")?.result.clone().map_or(Value::Null, |s| s["type_number"].clone());
    check_eq!(seen, json!(magic), "the kind of file system at {path}");
    let all = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    let found = all.iter().rev().find(|m| m["mountpoint"] == path).map(|m| m["fstype"].clone());
    check_eq!(found, Some(json!(kind)), "the type of {path}");
    Ok(())
}

const DEFAULT_DEVICES: &[Variant] = &[
    Variant::new("null", &["default-devices.null"]),
    Variant::new("zero", &["default-devices.zero"]),
    Variant::new("full", &["default-devices.full"]),
    Variant::new("random", &["default-devices.random"]),
    Variant::new("urandom", &["default-devices.urandom"]),
    Variant::new("tty", &["default-devices.tty"]),
];

/// A default device is there with its numbers and opens: with devices listed or not, with a user namespace, and for a
/// program that is not root's.
#[case(covers = ["devices"], matrix(device = DEFAULT_DEVICES))]
async fn default_device_is_supplied(cx: &mut Cx) -> Verdict {
    let device = cx.param("device");
    let numbers = match device {
        "null" => (1, 3),
        "zero" => (1, 5),
        "full" => (1, 7),
        "random" => (1, 8),
        "urandom" => (1, 9),
        _ => (5, 0),
    };
    let path = format!("/dev/{device}");
    for form in ["plain", "listed", "mapped", "user"] {
        let mut script = probe::script().ask_with("stat", json!({ "path": path, "follow": true }));
        if device != "tty" {
            script = script.ask_with("open", json!({ "path": path, "flags": ["rw"] }));
        }
        let mut builder = cx.container(script);
        builder = match form {
            "listed" => builder.set("/linux/devices", json!([])),
            "mapped" => builder.user_namespace(100_000),
            "user" => builder.set("/process/user", json!({ "uid": 1000, "gid": 1000 })),
            _ => builder,
        };
        let answers = builder.answers().await?;
        let stat = match &answers.first("stat")?.result {
            Ok(stat) => stat.clone(),
            Err(r) => return Err(Stop::violation(format!("{path} exists ({form})"), r.error.clone())),
        };
        check_eq!(stat["type"], json!("char"), "the type of {path} ({form})");
        let seen = (stat["rdev_major"].as_u64(), stat["rdev_minor"].as_u64());
        check_eq!(seen, (Some(numbers.0), Some(numbers.1)), "the numbers of {path} ({form})");
        if device != "tty" {
            check_eq!(answers.first("open")?.errno(), 0, "errno of opening {path} ({form})");
        }
    }
    Ok(())
}

/// With a terminal /dev/console is that terminal.
#[case(covers = ["default-devices.console"])]
async fn console_is_the_terminal(cx: &mut Cx) -> Verdict {
    let script = probe::script()
        .ask_with("stat", json!({ "path": "/dev/console", "follow": true }))
        .ask("stdio_tty")
        .pause();
    let container = cx.container(script).terminal().running().await?;
    let answers = container.wait_for_answer("stdio_tty").await?;
    let stat = match &answers.first("stat")?.result {
        Ok(stat) => stat.clone(),
        Err(r) => return Err(Stop::violation("/dev/console exists", r.error.clone())),
    };
    let input = answers.facts("stdio_tty")?["stdio"][0].clone();
    check_eq!(stat["rdev_major"], input["rdev_major"], "the major number of /dev/console");
    check_eq!(stat["rdev_minor"], input["rdev_minor"], "the minor number of /dev/console");
    Ok(())
}

/// /dev/ptmx opens and belongs to the container's own instance of devpts.
#[case(covers = ["default-devices.ptmx"])]
async fn terminal_multiplexer_is_the_container_s_own(cx: &mut Cx) -> Verdict {
    let script = probe::script()
        .ask_with("open", json!({ "path": "/dev/ptmx", "flags": ["rw"] }))
        .ask_with("stat", json!({ "path": "/dev/ptmx", "follow": true }));
    let answers = cx.container(script).answers().await?;
    check_eq!(answers.first("open")?.errno(), 0, "errno of opening /dev/ptmx");
    let stat = answers.facts("stat")?;
    check_eq!((&stat["rdev_major"], &stat["rdev_minor"]), (&json!(5), &json!(2)), "its numbers");
    Ok(())
}

/// A device rule that lets everything through, so that only the node is judged.
fn allow_all(builder: Builder) -> Builder {
    builder.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]))
}

const LISTED: &[Variant] = &[
    Variant::new("c", &["devices.type.required", "devices.major-minor.required"]),
    Variant::new("b", &["devices.type.required"]),
    Variant::new("p", &["devices.type.required"]),
    Variant::new("u", &["devices.type.required"]),
];

const NUMBERS: &[Variant] =
    &[Variant::new("major", &[]), Variant::new("minor", &[]), Variant::new("both", &[])];

/// A device that is no pipe and lacks a number is an error.
#[case(covers = ["devices.major-minor.required"], matrix(absent = NUMBERS))]
async fn device_without_numbers_is_error(cx: &mut Cx) -> Verdict {
    let mut device = json!({ "path": "/dev/given", "type": "c", "major": 1, "minor": 3 });
    if let Some(members) = device.as_object_mut() {
        members.retain(|name, _| {
            name != cx.param("absent") && !(cx.param("absent") == "both" && name.starts_with('m'))
        });
    }
    allow_all(cx.container(probe::exit(0))).set("/linux/devices", json!([device])).rejected().await?;
    Ok(())
}

/// A listed device is there with its type and numbers.
#[case(
    covers = ["devices.available", "devices.any-supply-method", "devices.path.required"],
    matrix(kind = LISTED)
)]
async fn listed_device_is_available(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind");
    let mut device = json!({ "path": "/dev/given", "type": kind });
    if kind != "p" {
        device["major"] = json!(1);
        device["minor"] = json!(3);
    }
    let stat = json!({ "path": "/dev/given", "follow": true });
    let builder = allow_all(cx.container(probe::script().ask_with("stat", stat)));
    let answers = builder.set("/linux/devices", json!([device])).answers().await?;
    let seen = match &answers.first("stat")?.result {
        Ok(seen) => seen.clone(),
        Err(r) => return Err(Stop::violation("/dev/given exists", r.error.clone())),
    };
    let want = match kind {
        "b" => "block",
        "p" => "fifo",
        _ => "char",
    };
    check_eq!(seen["type"], json!(want), "the type");
    if kind != "p" {
        check_eq!((&seen["rdev_major"], &seen["rdev_minor"]), (&json!(1), &json!(3)), "the numbers");
    }
    Ok(())
}

const MODES: &[Variant] = &[
    Variant::new("0666", &[]),
    Variant::new("0600", &[]),
    Variant::new("0640", &[]),
    Variant::new("0777", &[]),
];

/// A listed device has the configured mode and owner, whatever the umask.
#[case(covers = ["devices.file-mode", "devices.uid", "devices.gid"], matrix(mode = MODES))]
async fn mode_and_owner_are_applied(cx: &mut Cx) -> Verdict {
    let mode = u32::from_str_radix(cx.param("mode"), 8).unwrap_or_default();
    let device = json!({
        "path": "/dev/given", "type": "c", "major": 1, "minor": 5, "fileMode": mode, "uid": 11, "gid": 12
    });
    let builder = allow_all(cx.container(probe::script().ask_with("stat", json!({ "path": "/dev/given" }))));
    let answers = builder.set("/linux/devices", json!([device])).answers().await?;
    let seen = answers.facts("stat")?;
    check_eq!(of "devices.file-mode"; seen["mode"], json!(mode), "the mode");
    check_eq!(of "devices.uid"; seen["uid"], json!(11), "the owner");
    check_eq!(of "devices.gid"; seen["gid"], json!(12), "the group");
    Ok(())
}

/// A device may lie outside /dev, in directories that do not exist yet.
#[case(covers = ["devices.path-anywhere"])]
async fn device_outside_dev_is_made(cx: &mut Cx) -> Verdict {
    let device = json!({ "path": "/opt/deep/given", "type": "c", "major": 1, "minor": 3 });
    let script = probe::script().ask_with("stat", json!({ "path": "/opt/deep/given", "follow": true }));
    let (call, container) =
        allow_all(cx.container(script)).set("/linux/devices", json!([device])).attempt().await?;
    cx.record("devices.outside-dev", if call.succeeded() { "accepted" } else { "refused" });
    if !call.succeeded() {
        call.must_fail()?;
        return Ok(());
    }
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    check_eq!(answers.first("stat")?.errno(), 0, "errno of looking for an accepted device");
    Ok(())
}

const OTHERS: &[Variant] = &[Variant::new("file", &[]), Variant::new("directory", &[])];

/// A file of another kind at the device's path is an error.
#[case(covers = ["devices.existing-mismatch-errors"], matrix(file = OTHERS))]
async fn other_file_at_the_path_is_error(cx: &mut Cx) -> Verdict {
    let device = json!({ "path": "/mnt/given", "type": "c", "major": 1, "minor": 3 });
    let builder = allow_all(cx.container(probe::exit(0)));
    let builder = match cx.param("file") {
        "file" => builder.file("/mnt/given", "not a device"),
        _ => builder.directory("/mnt/given/deeper"),
    };
    builder.set("/linux/devices", json!([device])).rejected().await?;
    Ok(())
}

fn need_device_rules(cx: &Cx) -> Result<(), Stop> {
    cx.need_v1("devices").or_else(|_| cx.need_v2("")).map(|_| ())
}

/// Device access by questions: make a node with these numbers, then open it for reading and for writing.
fn access_script(major: u64, minor: u64) -> Script {
    let node = json!({ "path": "/tmp/node", "type": "char", "major": major, "minor": minor, "mode": "0666" });
    probe::script()
        .act("mknod", node)
        .ask_with("open", json!({ "path": "/tmp/node", "flags": ["r"] }))
        .ask_with("open", json!({ "path": "/tmp/node", "flags": ["w"] }))
}

/// A device that is neither listed nor a default one cannot be made or opened.
#[case(covers = ["devices.unlisted-not-accessible", "cgroup-devices"])]
async fn unlisted_device_is_not_accessible(cx: &mut Cx) -> Verdict {
    need_device_rules(cx)?;
    // 1:11 is the kernel's log: reading it needs no driver and harms nothing.
    let script = access_script(1, 11).ask_with("listdir", json!({ "path": "/dev" }));
    let builder = cx.container(script).capabilities(&["CAP_MKNOD"]);
    let answers = builder.answers().await?;
    // Making a node of any kind is often allowed: only opening one is access.
    check_ne!(answers.at(1)?.errno(), 0, "errno of opening a device that no rule allows");
    let list = answers.facts("listdir")?["entries"].as_array().cloned().unwrap_or_default();
    for name in ["kmsg", "mem", "port", "sda", "vda", "loop0"] {
        check!(!list.iter().any(|e| e["name"] == name), format!("no /dev/{name}"), "it is listed");
    }
    Ok(())
}

/// The rules apply in order: a later one overrides an earlier one.
#[case(covers = ["cgroup-devices.order", "cgroup-devices.allow"])]
async fn rules_apply_in_order(cx: &mut Cx) -> Verdict {
    need_device_rules(cx)?;
    let rule = |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": access });
    let rules = json!([
        { "allow": false, "access": "rwm" }, rule(true, "rwm"), rule(false, "r"), rule(false, "w"), rule(true, "w")
    ]);
    let builder =
        cx.container(access_script(1, 11)).capabilities(&["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"]);
    let answers = builder.set("/linux/resources/devices", rules).answers().await?;
    check_eq!(answers.at(0)?.errno(), 0, "errno of making the node");
    check_eq!(answers.at(1)?.errno(), 1, "errno of reading, which a later rule denies");
    check_eq!(answers.at(2)?.errno(), 0, "errno of writing, which the last rule allows");
    Ok(())
}

const ACCESSES: &[Variant] = &[
    Variant::new("r", &["cgroup-devices.access"]),
    Variant::new("w", &["cgroup-devices.access"]),
    Variant::new("rw", &["cgroup-devices.access"]),
    Variant::new("any-minor", &["cgroup-devices.major-minor"]),
    Variant::new("any-major", &["cgroup-devices.major-minor"]),
    Variant::new("other-type", &["cgroup-devices.type"]),
    Variant::new("no-type", &["cgroup-devices.type"]),
];

/// A rule grants the accesses, numbers and type that it names, and nothing else.
#[case(covers = ["cgroup-devices"], matrix(rule = ACCESSES))]
async fn rule_grants_what_it_names(cx: &mut Cx) -> Verdict {
    need_device_rules(cx)?;
    let (rule, read, write) = match cx.param("rule") {
        "r" => (json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rm" }), true, false),
        "w" => (json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "wm" }), false, true),
        "rw" => (json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }), true, true),
        "any-minor" => (json!({ "allow": true, "type": "c", "major": 1, "access": "rwm" }), true, true),
        "any-major" => (json!({ "allow": true, "type": "c", "minor": 11, "access": "rwm" }), true, true),
        "other-type" => {
            (json!({ "allow": true, "type": "b", "major": 1, "minor": 11, "access": "rwm" }), false, false)
        }
        _ => (json!({ "allow": true, "access": "rwm" }), true, true),
    };
    let rules = json!([{ "allow": false, "access": "rwm" }, rule]);
    let builder =
        cx.container(access_script(1, 11)).capabilities(&["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"]);
    let answers = builder.set("/linux/resources/devices", rules).answers().await?;
    if answers.at(0)?.errno() != 0 {
        check!(
            !read && !write,
            "the node can be made where the rule allows it",
            "errno {}",
            answers.at(0)?.errno()
        );
        return Ok(());
    }
    check_eq!(answers.at(1)?.errno() == 0, read, "the node opens for reading");
    check_eq!(answers.at(2)?.errno() == 0, write, "the node opens for writing");
    Ok(())
}
