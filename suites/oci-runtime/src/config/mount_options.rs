//! config.md, mounts: the table of mount options, one case per option.

use super::mounts::mount_at;
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    flag_is_set,
    flag_is_cleared,
    neutral_option_is_accepted,
    relatime_is_taken_back,
    bind_shows_the_source_alone,
    rbind_shows_submounts,
    propagation_is_set,
    recursive_flag_reaches_submounts,
    recursive_clearing_reaches_submounts,
    remount_changes_an_earlier_mount,
    read_only_mount_refuses_writes,
    noexec_mount_refuses_programs,
    copy_up_is_recorded,
];

macro_rules! options {
    ($($name:literal),* $(,)?) => { &[$(Variant::new($name, &[concat!("mount-option.", $name)])),*] };
}

/// All of a mount's options: of the mount and of its file system.
fn flags(mount: &Value) -> Vec<String> {
    ["options", "super_options"]
        .iter()
        .flat_map(|k| mount[k].as_array().cloned().unwrap_or_default())
        .filter_map(|o| o.as_str().map(str::to_owned))
        .collect()
}

fn tmpfs(options: &[&str]) -> Value {
    json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": options })
}

const SETTING: &[Variant] = options![
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "relatime",
    "nosymfollow",
    "sync",
    "dirsync",
    "lazytime"
];

/// An option that sets a flag shows in the mount table.
#[case(covers = [], matrix(option = SETTING))]
async fn flag_is_set(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let answers = cx.container(probe::ask(["mounts"])).mount(tmpfs(&[&option])).answers().await?;
    let seen = flags(&mount_at(&answers, "/m")?);
    check!(seen.contains(&option), format!("the mount shows {option}"), "{seen:?}");
    Ok(())
}

const CLEARING: &[Variant] = options![
    "rw",
    "suid",
    "dev",
    "exec",
    "atime",
    "diratime",
    "symfollow",
    "async",
    "nolazytime",
    "strictatime",
    "nostrictatime"
];

/// An option that clears a flag undoes an earlier one of the same list.
#[case(covers = [], matrix(option = CLEARING))]
async fn flag_is_cleared(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    // What is set before, and what must not show afterwards.
    let (before, gone): (&str, &[&str]) = match option.as_str() {
        "rw" => ("ro", &["ro"]),
        "suid" => ("nosuid", &["nosuid"]),
        "dev" => ("nodev", &["nodev"]),
        "exec" => ("noexec", &["noexec"]),
        "atime" => ("noatime", &["noatime"]),
        "diratime" => ("nodiratime", &["nodiratime"]),
        "symfollow" => ("nosymfollow", &["nosymfollow"]),
        "async" => ("sync", &["sync"]),
        "nolazytime" => ("lazytime", &["lazytime"]),
        "strictatime" => ("rw", &["relatime", "noatime"]),
        _ => ("strictatime", &["noatime"]),
    };
    let answers = cx.container(probe::ask(["mounts"])).mount(tmpfs(&[before, &option])).answers().await?;
    let seen = flags(&mount_at(&answers, "/m")?);
    for gone in gone {
        check!(!seen.iter().any(|o| o == gone), format!("the mount does not show {gone}"), "{seen:?}");
    }
    if option == "nostrictatime" {
        // With the strict rule taken back the kernel's default is left, and that one shows.
        check!(seen.iter().any(|o| o == "relatime"), "the mount shows relatime", "{seen:?}");
    }
    Ok(())
}

const RELATIVE: &[Variant] = options!["norelatime", "rnorelatime"];

/// The option takes an earlier relatime of the list back: a bind mount keeps the rule of its source then.
#[case(covers = [], matrix(option = RELATIVE))]
async fn relatime_is_taken_back(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let source = layered(cx, false)?;
    // A new mount gets relatime without being asked: only a source with another rule tells what the option does.
    for mount in [source.clone(), source.join("sub")] {
        cx.host_strictatime(&mount)?;
    }
    let before = option.replacen("no", "", 1);
    let answers = cx.container(reads()).mount(bind(&source, &["rbind", &before, &option])).answers().await?;
    let places: &[&str] = if option.starts_with('r') { &["/m", "/m/sub"] } else { &["/m"] };
    for place in places {
        let seen = flags(&mount_at(&answers, place)?);
        let lazy = seen.iter().any(|o| o == "relatime" || o == "noatime");
        check!(!lazy, format!("{place} shows neither relatime nor noatime, like its source"), "{seen:?}");
    }
    Ok(())
}

const NEUTRAL: &[Variant] =
    options!["defaults", "loud", "silent", "iversion", "noiversion", "norelatime", "mand", "nomand"];

/// An option without a trace in the mount table is accepted, and the mount is made.
#[case(covers = [], matrix(option = NEUTRAL))]
async fn neutral_option_is_accepted(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let builder = cx.container(probe::ask(["mounts"])).mount(tmpfs(&[&option]));
    if option == "mand" {
        // A MAY: kernels since 5.15 know no mandatory locks.
        let (create, _) = builder.attempt().await?;
        cx.record("mount-option.mand", if create.succeeded() { "accepted" } else { "refused" });
        return Ok(());
    }
    let answers = builder.answers().await?;
    check_eq!(mount_at(&answers, "/m")?["fstype"], json!("tmpfs"), "the file system at the destination");
    Ok(())
}

/// A source with a file and a mount below it, which holds a file as well.
fn layered(cx: &Cx, shared: bool) -> Result<std::path::PathBuf, Stop> {
    let source = cx.dir().join("layered");
    cx.host_tmpfs(&source, shared)?;
    std::fs::write(source.join("file"), "top")?;
    cx.host_tmpfs(&source.join("sub"), shared)?;
    std::fs::write(source.join("sub/file"), "below")?;
    Ok(source)
}

fn bind(source: &std::path::Path, options: &[&str]) -> Value {
    json!({ "destination": "/m", "type": "bind", "source": source, "options": options })
}

fn reads() -> Script {
    let read = |s: Script, p: &str| s.ask_with("read", json!({ "path": p }));
    read(read(probe::script(), "/m/file"), "/m/sub/file").ask("mounts")
}

/// A bind mount shows the source without what is mounted below it.
#[case(covers = ["mount-option.bind"])]
async fn bind_shows_the_source_alone(cx: &mut Cx) -> Verdict {
    let source = layered(cx, false)?;
    let answers = cx.container(reads()).mount(bind(&source, &["bind"])).answers().await?;
    check_eq!(answers.at(0)?.errno(), 0, "errno of reading the source's own file");
    check_eq!(answers.at(1)?.errno(), 2, "errno of reading a file of the mount below");
    Ok(())
}

/// A recursive bind mount shows what is mounted below the source.
#[case(covers = ["mount-option.rbind"])]
async fn rbind_shows_submounts(cx: &mut Cx) -> Verdict {
    let source = layered(cx, false)?;
    let answers = cx.container(reads()).mount(bind(&source, &["rbind"])).answers().await?;
    check_eq!(answers.at(0)?.errno(), 0, "errno of reading the source's own file");
    check_eq!(answers.at(1)?.errno(), 0, "errno of reading a file of the mount below");
    Ok(())
}

const PROPAGATIONS: &[Variant] =
    options!["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];

/// A propagation option shows in the mount table, on the submounts as well when it is recursive.
#[case(covers = [], matrix(option = PROPAGATIONS))]
async fn propagation_is_set(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    // What is shared on the host is shared inside as well, asked for or not: only a private source shows who made it so.
    let source = layered(cx, !option.ends_with("shared"))?;
    let mut builder = cx.container(reads()).mount(bind(&source, &["rbind", &option]));
    if option.ends_with("shared") {
        // Inside a slave or private tree nothing can be shared with the host; the default would be either.
        builder = builder.set("/linux/rootfsPropagation", "shared");
    }
    let answers = builder.answers().await?;
    let places: &[&str] = if option.starts_with('r') { &["/m", "/m/sub"] } else { &["/m"] };
    for place in places {
        let mount = mount_at(&answers, place)?;
        let tags: Vec<String> = mount["optional"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|t| t.as_str().map(str::to_owned))
            .collect();
        let has = |prefix: &str| tags.iter().any(|t| t.starts_with(prefix));
        let ok = match option.trim_start_matches('r') {
            "private" => !has("shared:") && !has("master:") && !has("unbindable"),
            "shared" => has("shared:"),
            "slave" => has("master:"),
            _ => has("unbindable"),
        };
        check!(ok, format!("{place} is {option}"), "tags {tags:?}");
    }
    Ok(())
}

const RECURSIVE: &[Variant] = options![
    "rro",
    "rnosuid",
    "rnoexec",
    "rnoatime",
    "rnodiratime",
    "rrelatime",
    "rstrictatime",
    "rnosymfollow"
];

/// A recursive option that sets a flag sets it on the submounts too.
#[case(covers = [], matrix(option = RECURSIVE))]
async fn recursive_flag_reaches_submounts(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let source = layered(cx, false)?;
    let answers = cx.container(reads()).mount(bind(&source, &["rbind", &option])).answers().await?;
    for place in ["/m", "/m/sub"] {
        let seen = flags(&mount_at(&answers, place)?);
        if option == "rstrictatime" {
            let lazy = seen.iter().any(|o| o == "relatime" || o == "noatime");
            check!(!lazy, format!("{place} shows neither relatime nor noatime"), "{seen:?}");
        } else {
            let flag = &option[1..];
            check!(seen.iter().any(|o| o == flag), format!("{place} shows {flag}"), "{seen:?}");
        }
    }
    Ok(())
}

const RECURSIVE_CLEARING: &[Variant] =
    options!["rrw", "rsuid", "rdev", "rexec", "ratime", "rdiratime", "rsymfollow", "rnostrictatime"];

/// A recursive option that clears a flag clears it on the submounts too.
#[case(covers = [], matrix(option = RECURSIVE_CLEARING))]
async fn recursive_clearing_reaches_submounts(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let source = layered(cx, false)?;
    let before = match option.as_str() {
        "rrw" => "rro",
        "ratime" => "rnoatime",
        "rnostrictatime" => "rstrictatime",
        other => &format!("rno{}", &other[1..]),
    };
    let gone = match option.as_str() {
        "rrw" => "ro",
        "rnostrictatime" => "noatime",
        _ => &before[1..],
    };
    let answers = cx.container(reads()).mount(bind(&source, &["rbind", before, &option])).answers().await?;
    for place in ["/m", "/m/sub"] {
        let mount = mount_at(&answers, place)?;
        let own: Vec<String> = mount["options"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|o| o.as_str().map(str::to_owned))
            .collect();
        check!(!own.iter().any(|o| o == gone), format!("{place} does not show {gone}"), "{own:?}");
        if option == "rnostrictatime" {
            // The strict rule is what shows as no rule at all; the source's own is relatime.
            check!(own.iter().any(|o| o == "relatime"), format!("{place} shows relatime"), "{own:?}");
        }
    }
    Ok(())
}

/// A remount changes the flags of an earlier mount, and adds none.
#[case(covers = ["mount-option.remount"])]
async fn remount_changes_an_earlier_mount(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["mounts"])).mount(tmpfs(&["rw"])).mount(tmpfs(&["remount", "ro"]));
    let answers = builder.answers().await?;
    let seen = flags(&mount_at(&answers, "/m")?);
    check!(seen.iter().any(|o| o == "ro"), "the mount is read-only after the remount", "{seen:?}");
    let all = answers.facts("mounts")?["mounts"].as_array().cloned().unwrap_or_default();
    check_eq!(all.iter().filter(|m| m["mountpoint"] == "/m").count(), 1, "the number of mounts at /m");
    Ok(())
}

/// A read-only bind mount refuses writes inside, and the source stays writable.
#[case(covers = ["mount-option.ro"])]
async fn read_only_mount_refuses_writes(cx: &mut Cx) -> Verdict {
    let source = layered(cx, false)?;
    let script = probe::script().ask_with("open", json!({ "path": "/m/new", "flags": ["w", "creat"] }));
    let answers = cx.container(script).mount(bind(&source, &["bind", "ro"])).answers().await?;
    check_eq!(answers.first("open")?.errno(), 30, "errno of creating a file in the mount");
    std::fs::write(source.join("host-writes"), "")?;
    Ok(())
}

/// A noexec mount refuses to execute a program, and the same mount without it does not.
#[case(covers = ["mount-option.noexec", "mount-option.exec"])]
async fn noexec_mount_refuses_programs(cx: &mut Cx) -> Verdict {
    let script = || {
        let inner = json!({ "steps": [] }).to_string();
        probe::script()
            .act("copy_self", json!({ "to": "/m/program", "mode": "0755" }))
            .ask_with("exec", json!({ "path": "/m/program", "argv": ["program", inner] }))
    };
    let open = cx.container(script()).mount(tmpfs(&["exec"])).answers().await?;
    check_eq!(of "mount-option.exec"; open.first("exec")?.errno(), 0, "errno of executing on an exec mount");
    let closed = cx.container(script()).mount(tmpfs(&["noexec"])).answers().await?;
    check_eq!(closed.first("exec")?.errno(), 13, "errno of executing on a noexec mount");
    Ok(())
}

/// Whether a tmpfs takes over what the directory held is recorded.
#[case(covers = ["mount-option.tmpcopyup"])]
async fn copy_up_is_recorded(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("read", json!({ "path": "/m/held" }));
    let builder = cx.container(script).file("m/held", "image").mount(tmpfs(&["tmpcopyup"]));
    let (create, container) = builder.attempt().await?;
    if !create.succeeded() {
        cx.record("mount-option.tmpcopyup", "refused");
        return Ok(());
    }
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    let there = answers.first("read")?.errno() == 0;
    cx.record("mount-option.tmpcopyup", if there { "copied" } else { "ignored" });
    Ok(())
}
