//! config.md, process: program, arguments, environment, working directory, user, privileges.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    arguments_arrive_unchanged,
    program_is_looked_up_on_the_path,
    program_that_cannot_run_is_error,
    arguments_are_required,
    environment_arrives_unchanged,
    environment_of_the_caller_stays_out,
    working_directory_is_applied,
    bad_working_directory_is_error,
    ids_are_applied,
    ids_are_required,
    umask_is_applied,
    additional_groups_are_applied,
    no_additional_groups_leak,
    no_new_privileges_is_applied,
    oom_score_adjustment_is_applied,
    unset_oom_score_adjustment_is_left_alone,
    bad_oom_score_adjustment_is_error,
    process_is_needed_by_start_only,
    apparmor_profile_is_applied,
    selinux_label_is_applied,
];

/// Arguments arrive as given, empty ones and line feeds included.
#[case(covers = ["process.args"])]
async fn arguments_arrive_unchanged(cx: &mut Cx) -> Verdict {
    let odd = ["", "two words", "line\nfeed", "quote\"", "ünïcode", "--flag"];
    let builder = odd
        .iter()
        .fold(cx.container(probe::ask(["argv"])), |b, arg| b.with(|c| push(c, "/process/args", arg)));
    let config = builder.config().clone();
    let answers = builder.answers().await?;
    let argv = answers.facts("argv")?["argv"].as_array().cloned().unwrap_or_default();
    let want: Vec<Value> = odd.iter().map(|a| json!(a)).collect();
    check_eq!(argv.get(2..).unwrap_or_default(), want.as_slice(), "the arguments after the script");
    check_eq!(argv.first(), config["process"]["args"].get(0), "the first argument");
    Ok(())
}

fn push(config: &mut Value, pointer: &str, item: &str) {
    if let Some(list) = config.pointer_mut(pointer).and_then(Value::as_array_mut) {
        list.push(json!(item));
    }
}

/// A program without a slash is looked up on the PATH of the configuration.
#[case(covers = ["process.args"])]
async fn program_is_looked_up_on_the_path(cx: &mut Cx) -> Verdict {
    let answers = cx
        .container(probe::ask(["argv"]))
        .rootfs(|root| {
            std::fs::create_dir_all(root.join("opt/bin"))?;
            std::fs::hard_link(root.join("probe"), root.join("opt/bin/finder"))
        })
        .set("/process/env", json!(["PATH=/nowhere:/opt/bin"]))
        .with(|c| c["process"]["args"][0] = json!("finder"))
        .answers()
        .await?;
    check_eq!(answers.facts("argv")?["argv"][0], json!("finder"), "the first argument");
    Ok(())
}

const UNRUNNABLE: &[Variant] = &[
    Variant::new("missing", &[]),
    Variant::new("missing-on-path", &[]),
    Variant::new("not-executable", &[]),
    Variant::new("directory", &[]),
    Variant::new("bad-interpreter", &[]),
];

/// A program that cannot be executed is an error, at start at the latest.
#[case(covers = ["process.args"], matrix(program = UNRUNNABLE))]
async fn program_that_cannot_run_is_error(cx: &mut Cx) -> Verdict {
    let path = match cx.param("program") {
        "missing" => "/no/such/program",
        "missing-on-path" => "no-such-program",
        "not-executable" => "/etc/passwd",
        "directory" => "/etc",
        _ => "/script",
    };
    let script = |root: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(root.join("script"), "#!/no/such/interpreter\n")?;
        std::fs::set_permissions(root.join("script"), std::fs::Permissions::from_mode(0o755))
    };
    let (create, container) =
        cx.container(probe::exit(0)).rootfs(script).set("/process/args", json!([path])).attempt().await?;
    if create.succeeded() {
        let start = container.start().await?;
        check!(!start.succeeded(), "create or start fails", "both succeeded");
        start.must_fail()?;
    } else {
        create.must_fail()?;
    }
    Ok(())
}

const BAD_ARGS: &[Variant] = &[
    Variant::new("empty-list", &[]),
    Variant::new("absent", &[]),
    Variant::new("text", &[]),
    Variant::new("numbers", &[]),
];

/// A process without a usable list of arguments is an error.
#[case(covers = ["process.args.at-least-one"], matrix(args = BAD_ARGS))]
async fn arguments_are_required(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("args") {
        "empty-list" => builder.set("/process/args", json!([])),
        "absent" => builder.remove("/process/args"),
        "text" => builder.set("/process/args", "/probe"),
        _ => builder.set("/process/args", json!([1, 2])),
    };
    builder.rejected().await?;
    Ok(())
}

/// The environment arrives as given, odd values included.
#[case(covers = ["process.env"])]
async fn environment_arrives_unchanged(cx: &mut Cx) -> Verdict {
    let env = json!([
        "PATH=/bin",
        "A=",
        "B=two words",
        "C=a=b",
        "D=line\nfeed",
        "E=ünïcode",
        "F=g==h",
        "HOME=/elsewhere"
    ]);
    let answers = cx.container(probe::ask(["env"])).set("/process/env", env.clone()).answers().await?;
    let seen = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    for wanted in env.as_array().into_iter().flatten() {
        check!(seen.contains(wanted), format!("the environment holds {wanted}"), "{}", describe(&seen));
    }
    Ok(())
}

/// Nothing of the caller's environment reaches the program.
#[case(covers = ["process.env"])]
async fn environment_of_the_caller_stays_out(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["env"])).set("/process/env", json!(["PATH=/bin", "ONLY=this"]));
    let answers = builder.answers().await?;
    let seen = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    let foreign: Vec<&Value> = seen
        .iter()
        .filter(|e| {
            !["PATH=", "ONLY=", "HOME=", "TERM=", "HOSTNAME="]
                .iter()
                .any(|p| e.as_str().is_some_and(|e| e.starts_with(p)))
        })
        .collect();
    check!(foreign.is_empty(), "no variable beyond the configured ones", "{}", describe(&foreign));
    Ok(())
}

const DIRECTORIES: &[Variant] =
    &[Variant::new("root", &[]), Variant::new("tmp", &[]), Variant::new("deep", &[])];

/// The program starts in the configured working directory.
#[case(covers = ["process.cwd.required"], matrix(directory = DIRECTORIES))]
async fn working_directory_is_applied(cx: &mut Cx) -> Verdict {
    let path = match cx.param("directory") {
        "root" => "/",
        "tmp" => "/tmp",
        _ => "/srv/a/b c",
    };
    let answers =
        cx.container(probe::ask(["cwd"])).directory("/srv/a/b c").set("/process/cwd", path).answers().await?;
    check_eq!(answers.facts("cwd")?["cwd"], json!(path), "the working directory");
    Ok(())
}

const BAD_DIRECTORIES: &[Variant] = &[
    Variant::new("absent", &["process.cwd.required"]),
    Variant::new("empty", &["process.cwd.required"]),
    Variant::new("relative", &["process.cwd.absolute"]),
    Variant::new("dot", &["process.cwd.absolute"]),
    Variant::new("number", &["process.cwd.required"]),
];

/// A working directory that is absent or not absolute is an error.
#[case(covers = [], matrix(cwd = BAD_DIRECTORIES))]
async fn bad_working_directory_is_error(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("cwd") {
        "absent" => builder.remove("/process/cwd"),
        "empty" => builder.set("/process/cwd", ""),
        "relative" => builder.set("/process/cwd", "tmp"),
        "dot" => builder.set("/process/cwd", "./"),
        _ => builder.set("/process/cwd", 7),
    };
    builder.rejected().await?;
    Ok(())
}

const IDS: &[Variant] = &[Variant::new("root", &[]), Variant::new("user", &[]), Variant::new("large", &[])];

/// The program runs with the configured user and group in all their roles.
#[case(covers = ["user.uid", "user.gid"], matrix(ids = IDS))]
async fn ids_are_applied(cx: &mut Cx) -> Verdict {
    let (uid, gid) = match cx.param("ids") {
        "root" => (0, 0),
        "user" => (1000, 1001),
        _ => (3_000_000_000_u32, 2_999_999_999_u32),
    };
    let user = json!({ "uid": uid, "gid": gid });
    let answers = cx.container(probe::ask(["identity"])).set("/process/user", user).answers().await?;
    let seen = answers.facts("identity")?;
    for role in ["uid", "euid", "suid", "fsuid"] {
        check_eq!(seen[role], json!(uid), "{role}");
    }
    for role in ["gid", "egid", "sgid", "fsgid"] {
        check_eq!(of "user.gid"; seen[role], json!(gid), "{role}");
    }
    Ok(())
}

const BAD_IDS: &[Variant] = &[
    Variant::new("uid-text", &["user.uid"]),
    Variant::new("gid-text", &["user.gid"]),
    Variant::new("uid-negative", &["user.uid"]),
    Variant::new("gid-negative", &["user.gid"]),
    Variant::new("uid-too-large", &["user.uid"]),
    Variant::new("gid-too-large", &["user.gid"]),
    Variant::new("uid-fraction", &["user.uid"]),
];

/// A user or group that is no 32-bit number is an error.
#[case(covers = [], matrix(id = BAD_IDS))]
async fn ids_are_required(cx: &mut Cx) -> Verdict {
    let (member, value) = match cx.param("id") {
        "uid-text" => ("uid", json!("0")),
        "gid-text" => ("gid", json!("0")),
        "uid-negative" => ("uid", json!(-1)),
        "gid-negative" => ("gid", json!(-1)),
        "uid-too-large" => ("uid", json!(1_u64 << 32)),
        "gid-too-large" => ("gid", json!(1_u64 << 32)),
        _ => ("uid", json!(0.5)),
    };
    cx.container(probe::exit(0)).set(&format!("/process/user/{member}"), value).rejected().await?;
    Ok(())
}

const UMASKS: &[Variant] = &[Variant::new("0077", &[]), Variant::new("0000", &[]), Variant::new("0027", &[])];

/// The configured file mode creation mask is in force.
#[case(covers = ["user.umask"], matrix(umask = UMASKS))]
async fn umask_is_applied(cx: &mut Cx) -> Verdict {
    let mask = u32::from_str_radix(cx.param("umask"), 8).unwrap_or_default();
    let answers = cx.container(probe::ask(["umask"])).set("/process/user/umask", mask).answers().await?;
    check_eq!(answers.facts("umask")?["umask"], json!(mask), "the mask");
    Ok(())
}

/// The configured additional groups are the program's groups.
#[case(covers = ["user.additional-gids"])]
async fn additional_groups_are_applied(cx: &mut Cx) -> Verdict {
    let groups = json!([5, 1234, 4_000_000]);
    let answers = cx
        .container(probe::ask(["identity"]))
        .set("/process/user/additionalGids", groups.clone())
        .answers()
        .await?;
    let seen = answers.facts("identity")?["groups"].as_array().cloned().unwrap_or_default();
    for group in groups.as_array().into_iter().flatten() {
        check!(seen.contains(group), format!("the groups hold {group}"), "{}", describe(&seen));
    }
    let extra: Vec<&Value> = seen
        .iter()
        .filter(|g| **g != json!(0) && !groups.as_array().is_some_and(|l| l.contains(g)))
        .collect();
    check!(extra.is_empty(), "no group beyond the configured ones", "{}", describe(&extra));
    Ok(())
}

/// Without additional groups none of the caller's reach the program.
#[case(covers = ["user.additional-gids"])]
async fn no_additional_groups_leak(cx: &mut Cx) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let answers = cx.container(probe::ask(["identity"])).set("/process/user", user).answers().await?;
    let seen = answers.facts("identity")?["groups"].as_array().cloned().unwrap_or_default();
    let extra: Vec<&Value> = seen.iter().filter(|g| **g != json!(1000)).collect();
    check!(extra.is_empty(), "no group but the primary one", "{}", describe(&extra));
    Ok(())
}

const SWITCH: &[Variant] =
    &[Variant::new("true", &[]), Variant::new("false", &[]), Variant::new("absent", &[])];

/// The `no_new_privs` attribute is as configured, and off when absent.
#[case(covers = ["process.no-new-privileges"], matrix(value = SWITCH))]
async fn no_new_privileges_is_applied(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["no_new_privs"]));
    let (builder, want) = match cx.param("value") {
        "true" => (builder.set("/process/noNewPrivileges", true), true),
        "false" => (builder.set("/process/noNewPrivileges", false), false),
        _ => (builder.remove("/process/noNewPrivileges"), false),
    };
    let answers = builder.answers().await?;
    check_eq!(answers.facts("no_new_privs")?["no_new_privs"], json!(want), "no_new_privs");
    Ok(())
}

const SCORES: &[Variant] = &[
    Variant::new("0", &[]),
    Variant::new("250", &[]),
    Variant::new("500", &[]),
    Variant::new("1000", &[]),
    Variant::new("-500", &[]),
];

/// The configured OOM score adjustment is applied.
#[case(covers = ["process.oom-score-adj.set", "process.oom-score-adj"], matrix(score = SCORES))]
async fn oom_score_adjustment_is_applied(cx: &mut Cx) -> Verdict {
    let score: i64 = cx.param("score").parse().unwrap_or_default();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse::<i64>().unwrap_or_default();
    if score == own {
        // What the program would inherit has to be another value. The attempt's own process ends with the attempt.
        std::fs::write("/proc/self/oom_score_adj", (own + 100).to_string())?;
    }
    if score < own {
        cx.need_capability("CAP_SYS_RESOURCE")?;
    }
    let answers =
        cx.container(probe::ask(["oom_score_adj"])).set("/process/oomScoreAdj", score).answers().await?;
    check_eq!(answers.facts("oom_score_adj")?["oom_score_adj"], json!(score), "the adjustment");
    Ok(())
}

/// An OOM score adjustment that is not configured is the caller's.
#[case(covers = ["process.oom-score-adj.unset-untouched"])]
async fn unset_oom_score_adjustment_is_left_alone(cx: &mut Cx) -> Verdict {
    // The attempt's own process: what it starts inherits the value, and it ends with the attempt.
    std::fs::write("/proc/self/oom_score_adj", "137")?;
    let answers = cx.container(probe::ask(["oom_score_adj"])).answers().await?;
    check_eq!(answers.facts("oom_score_adj")?["oom_score_adj"], json!(137), "the adjustment, inherited");
    Ok(())
}

const BAD_SCORES: &[Variant] = &[
    Variant::new("1001", &[]),
    Variant::new("-1001", &[]),
    Variant::new("text", &[]),
    Variant::new("fraction", &[]),
];

/// An OOM score adjustment that the kernel does not take is an error.
#[case(covers = ["process.oom-score-adj"], matrix(score = BAD_SCORES))]
async fn bad_oom_score_adjustment_is_error(cx: &mut Cx) -> Verdict {
    let value = match cx.param("score") {
        "text" => json!("100"),
        "fraction" => json!(1.5),
        number => json!(number.parse::<i64>().unwrap_or_default()),
    };
    cx.container(probe::exit(0)).set("/process/oomScoreAdj", value).rejected().await?;
    Ok(())
}

/// Create accepts a configuration without a process, which is needed when start is called; start fails then.
#[case(covers = ["process.optional-at-create"])]
async fn process_is_needed_by_start_only(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).remove("/process").created().await?;
    check_eq!(container.state().await?.status(), "created", "the status without a process");
    container.start().await?.must_fail()?;
    Ok(())
}

/// A configured `AppArmor` profile is the program's, or an error where it cannot be.
#[case(covers = ["process.apparmor-profile"])]
async fn apparmor_profile_is_applied(cx: &mut Cx) -> Verdict {
    let active = cx.host().lsm.iter().any(|l| l == "apparmor");
    cx.need(active, "apparmor", "AppArmor is not active on this host")?;
    cx.container(probe::exit(0))
        .set("/process/apparmorProfile", "plimsoll-no-such-profile")
        .rejected()
        .await?;
    Ok(())
}

/// A configured `SELinux` label is the program's, or an error where it cannot be.
#[case(covers = ["process.selinux-label"])]
async fn selinux_label_is_applied(cx: &mut Cx) -> Verdict {
    let active = cx.host().lsm.iter().any(|l| l == "selinux");
    cx.need(active, "selinux", "SELinux is not active on this host")?;
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let answers = cx.container(probe::ask(["label"])).set("/process/selinuxLabel", label).answers().await?;
    check_eq!(answers.facts("label")?["current"]["label"], json!(label), "the label");
    Ok(())
}
