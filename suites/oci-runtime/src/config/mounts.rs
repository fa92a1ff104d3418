//! config.md, mounts: order, destination, source, type, options of the file system and of mount(8).

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    mounts_appear_in_list_order,
    later_mount_covers_an_earlier_one,
    types_are_the_configured_ones,
    absent_mounts_change_nothing,
    bad_mount_is_error,
    relative_destination_means_the_root,
    source_is_relative_to_the_bundle,
    data_options_reach_the_file_system,
    unknown_option_is_error,
    option_of_mount8_acts_like_it,
];

const MOUNT_TYPES: &[Variant] =
    &[Variant::new("sysfs", &[]), Variant::new("mqueue", &[]), Variant::new("tmpfs", &[])];

/// A mount has the file system type that is configured.
#[case(covers = ["mounts.type"], matrix(kind = MOUNT_TYPES))]
async fn types_are_the_configured_ones(cx: &mut Cx) -> Verdict {
    let kind = cx.param("kind").to_owned();
    let mut mount = json!({ "destination": "/m", "type": kind, "source": kind });
    if kind == "sysfs" {
        mount["options"] = json!(["nosuid", "noexec", "nodev", "ro"]);
    }
    let answers = cx.container(probe::ask(["mounts"])).mount(mount).answers().await?;
    check_eq!(mount_at(&answers, "/m")?["fstype"], json!(kind), "the file system at /m");
    Ok(())
}

/// The last mount at a path, as the probe sees it.
pub fn mount_at(answers: &Answers, path: &str) -> Result<Value, Stop> {
    let list = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    let found = list.into_iter().rev().find(|m| m["mountpoint"] == path);
    found.ok_or_else(|| Stop::violation(format!("something is mounted at {path}"), "nothing is"))
}

/// Mounts are made in list order, so that a later one may stand in an earlier one.
#[case(covers = ["mounts.order", "mounts.supported"])]
async fn mounts_appear_in_list_order(cx: &mut Cx) -> Verdict {
    let tmpfs = |path: &str| json!({ "destination": path, "type": "tmpfs", "source": "tmpfs" });
    let builder = ["/outer", "/outer/a", "/outer/a/b"]
        .iter()
        .fold(cx.container(probe::ask(["mounts"])), |b, p| b.mount(tmpfs(p)));
    let answers = builder.answers().await?;
    for path in ["/outer", "/outer/a", "/outer/a/b"] {
        check_eq!(mount_at(&answers, path)?["fstype"], json!("tmpfs"), "the file system at {path}");
    }
    Ok(())
}

/// Of two mounts at one place both are made, and the later one is seen.
#[case(covers = ["mounts.order"])]
async fn later_mount_covers_an_earlier_one(cx: &mut Cx) -> Verdict {
    let (first, second) = (cx.dir().join("first"), cx.dir().join("second"));
    for (dir, text) in [(&first, "1"), (&second, "2")] {
        std::fs::create_dir(dir)?;
        std::fs::write(dir.join("which"), text)?;
    }
    let bind = |p: &std::path::Path| json!({ "destination": "/m", "type": "bind", "source": p, "options": ["rbind"] });
    let script = probe::script().ask_with("read", json!({ "path": "/m/which" })).ask("mounts");
    let answers = cx.container(script).mount(bind(&first)).mount(bind(&second)).answers().await?;
    check_eq!(answers.facts("read")?["data"], json!("2"), "the content at the shared destination");
    let all = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    check_eq!(all.iter().filter(|m| m["mountpoint"] == "/m").count(), 2, "the number of mounts at /m");
    Ok(())
}

/// A configuration without a list of mounts is valid.
#[case(covers = ["mounts.supported"])]
async fn absent_mounts_change_nothing(cx: &mut Cx) -> Verdict {
    cx.container(probe::ask(["identity"])).remove("/mounts").answers().await?;
    Ok(())
}

const BAD: &[Variant] = &[
    Variant::new("destination-absent", &["mounts.destination.required"]),
    Variant::new("destination-empty", &["mounts.destination.required"]),
    Variant::new("destination-number", &["mounts.destination.required"]),
    Variant::new("type-unknown", &["mounts.type"]),
    Variant::new("type-number", &["mounts.type"]),
    Variant::new("source-missing", &["mounts.source"]),
    Variant::new("source-number", &["mounts.source"]),
    Variant::new("options-text", &["mounts.options"]),
    Variant::new("options-numbers", &["mounts.options"]),
];

/// A mount that is incomplete, of a wrong type or impossible is an error.
#[case(covers = [], matrix(mount = BAD))]
async fn bad_mount_is_error(cx: &mut Cx) -> Verdict {
    let mut mount = json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs" });
    match cx.param("mount") {
        "destination-absent" => mount = json!({ "type": "tmpfs", "source": "tmpfs" }),
        "destination-empty" => mount["destination"] = json!(""),
        "destination-number" => mount["destination"] = json!(1),
        "type-unknown" => mount["type"] = json!("plimsollfs"),
        "type-number" => mount["type"] = json!(1),
        "source-missing" => {
            mount = json!({ "destination": "/m", "type": "bind", "source": "/no/such/source", "options": ["bind"] });
        }
        "source-number" => mount["source"] = json!(1),
        "options-text" => mount["options"] = json!("ro"),
        _ => mount["options"] = json!([1]),
    }
    cx.container(probe::exit(0)).mount(mount).rejected().await?;
    Ok(())
}

/// A relative destination is taken from the root, whatever the working directory.
#[case(covers = ["mounts.destination.relative-means-root", "mounts.destination.relative-accepted"])]
async fn relative_destination_means_the_root(cx: &mut Cx) -> Verdict {
    let mount = json!({ "destination": "data/x", "type": "tmpfs", "source": "tmpfs" });
    let builder = cx.container(probe::ask(["mounts"])).set("/process/cwd", "/tmp").mount(mount);
    let (create, container) = builder.attempt().await?;
    // Accepting it is a MAY; where it is accepted, what it means is a MUST.
    cx.record("mounts.destination.relative", if create.succeeded() { "accepted" } else { "refused" });
    if create.succeeded() {
        container.start().await?.must_succeed()?;
        let answers = container.finished_answers().await?;
        check_eq!(mount_at(&answers, "/data/x")?["fstype"], json!("tmpfs"), "the file system at /data/x");
    }
    Ok(())
}

/// A relative source of a bind mount is taken from the bundle.
#[case(covers = ["mounts.source"])]
async fn source_is_relative_to_the_bundle(cx: &mut Cx) -> Verdict {
    let mount = json!({ "destination": "/m", "type": "bind", "source": "rootfs/etc", "options": ["bind"] });
    let script = probe::script().ask_with("stat", json!({ "path": "/m/passwd" }));
    let answers = cx.container(script).mount(mount).answers().await?;
    check_eq!(answers.first("stat")?.errno(), 0, "errno of looking at a file of the source");
    Ok(())
}

/// Options that are no flags reach the file system.
#[case(covers = ["mounts.unknown-options-to-data", "mounts.options"])]
async fn data_options_reach_the_file_system(cx: &mut Cx) -> Verdict {
    let options = json!(["size=1024k", "mode=0711", "nr_inodes=77", "uid=3", "gid=4"]);
    let mount = json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": options });
    let script =
        probe::script().ask_with("stat", json!({ "path": "/m" })).ask_with("statfs", json!({ "path": "/m" }));
    let answers = cx.container(script).mount(mount).answers().await?;
    let stat = answers.facts("stat")?;
    check_eq!(stat["octal"], json!("0711"), "the mode of the root of the tmpfs");
    check_eq!((&stat["uid"], &stat["gid"]), (&json!(3), &json!(4)), "its owner");
    let statfs = answers.facts("statfs")?;
    check_eq!(statfs["files"], json!(77), "its inodes");
    let size =
        statfs["blocks"].as_u64().unwrap_or_default() * statfs["block_size"].as_u64().unwrap_or_default();
    check_eq!(size, 1 << 20, "its size in bytes");
    Ok(())
}

/// An option that neither the runtime nor the file system knows is an error.
#[case(covers = ["mounts.unknown-options-to-data", "mounts.options"])]
async fn unknown_option_is_error(cx: &mut Cx) -> Verdict {
    let mount =
        json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["plimsolloption"] });
    cx.container(probe::exit(0)).mount(mount).rejected().await?;
    Ok(())
}

const CUSTOM: &[Variant] = &[
    Variant::new("user", &[]),
    Variant::new("users", &[]),
    Variant::new("owner", &[]),
    Variant::new("group", &[]),
    Variant::new("nofail", &[]),
    Variant::new("noauto", &[]),
    Variant::new("_netdev", &[]),
    Variant::new("x-plimsoll.note", &[]),
];

/// An option beyond the table that mount(8) knows is refused, or does what it does there.
#[case(
    covers = ["mounts.custom-options-follow-mount8", "mounts.custom-options-allowed"],
    matrix(option = CUSTOM)
)]
async fn option_of_mount8_acts_like_it(cx: &mut Cx) -> Verdict {
    let option = cx.param("option");
    let mount = json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": [option] });
    let (create, container) = cx.container(probe::ask(["mounts"])).mount(mount).attempt().await?;
    cx.record(&format!("mounts.options.{option}"), if create.succeeded() { "accepted" } else { "refused" });
    if !create.succeeded() {
        create.must_fail()?;
        return container.nothing_left().await;
    }
    container.start().await?.must_succeed()?;
    let mount = mount_at(&container.finished_answers().await?, "/m")?;
    let seen: Vec<&str> =
        mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // For the others mount(8) has no flag: they are for those who decide whether and when to mount.
    let implied: &[&str] = match option {
        "user" | "users" => &["nosuid", "nodev", "noexec"],
        "owner" | "group" => &["nosuid", "nodev"],
        _ => &[],
    };
    let missing: Vec<&&str> = implied.iter().filter(|f| !seen.contains(*f)).collect();
    check!(missing.is_empty(), format!("{option} implies {implied:?}"), "{seen:?}");
    Ok(())
}
