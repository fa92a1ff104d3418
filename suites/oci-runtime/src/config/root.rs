//! config.md, root: the container's root file system.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    path_is_absolute_or_relative_to_the_bundle,
    root_is_required,
    directory_has_to_exist,
    read_only_root_refuses_writes,
    root_is_writable_by_default,
];

const PATHS: &[Variant] =
    &[Variant::new("relative", &[]), Variant::new("dotted", &[]), Variant::new("absolute", &[])];

/// The root's path is absolute, or relative to the bundle whatever the working directory.
#[case(covers = ["root.path.abs-or-bundle-relative"], matrix(path = PATHS))]
async fn path_is_absolute_or_relative_to_the_bundle(cx: &mut Cx) -> Verdict {
    let builder =
        cx.container(probe::script().ask_with("read", json!({ "path": "/marker" }))).file("marker", "here");
    let absolute = cx.dir().join("b").join(builder.id()).join("rootfs").display().to_string();
    let path = match cx.param("path") {
        "relative" => "rootfs".to_owned(),
        "dotted" => "./rootfs".to_owned(),
        _ => absolute,
    };
    let answers = builder.set("/root/path", path).answers().await?;
    check_eq!(answers.facts("read")?["data"], json!("here"), "the marker in the root");
    Ok(())
}

const BROKEN: &[Variant] = &[
    Variant::new("root-absent", &["root.present"]),
    Variant::new("root-null", &["root.present"]),
    Variant::new("root-text", &["root.present"]),
    Variant::new("path-absent", &["root.path.required"]),
    Variant::new("path-empty", &["root.path.required"]),
    Variant::new("path-number", &["root.path.required"]),
    Variant::new("readonly-text", &["root.readonly"]),
];

/// A configuration without a usable root is an error.
#[case(covers = [], matrix(root = BROKEN))]
async fn root_is_required(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("root") {
        "root-absent" => builder.remove("/root"),
        "root-null" => builder.set("/root", Value::Null),
        "root-text" => builder.set("/root", "rootfs"),
        "path-absent" => builder.set("/root", json!({})),
        "path-empty" => builder.set("/root/path", ""),
        "path-number" => builder.set("/root/path", 1),
        _ => builder.set("/root/readonly", "yes"),
    };
    builder.rejected().await?;
    Ok(())
}

const ABSENT: &[Variant] =
    &[Variant::new("missing", &[]), Variant::new("file", &[]), Variant::new("dangling-link", &[])];

/// A root that is no existing directory is an error, and is not made.
#[case(covers = ["root.path.directory-exists"], matrix(path = ABSENT))]
async fn directory_has_to_exist(cx: &mut Cx) -> Verdict {
    let path = cx.dir().join("other-root");
    match cx.param("path") {
        "file" => std::fs::write(&path, "")?,
        "dangling-link" => std::os::unix::fs::symlink("/no/such/directory", &path)?,
        _ => {}
    }
    cx.container(probe::exit(0)).set("/root/path", path.display().to_string()).rejected().await?;
    check!(!path.is_dir(), "the directory is not made by the runtime", "{} is one now", path.display());
    Ok(())
}

/// A read-only root refuses writes inside and stays writable on the host.
#[case(covers = ["root.readonly.enforced", "root.readonly"])]
async fn read_only_root_refuses_writes(cx: &mut Cx) -> Verdict {
    let script = probe::script()
        .ask_with("open", json!({ "path": "/new-file", "flags": ["w", "creat"] }))
        .ask("mounts");
    let container = cx.container(script).set("/root/readonly", true).stopped().await?;
    let answers = container.finished_answers().await?;
    check_eq!(answers.first("open")?.errno(), 30, "errno of creating a file in the root");
    let root = answers.facts("mounts")?["mounts"]
        .as_array()
        .and_then(|list| list.iter().rev().find(|m| m["mountpoint"] == "/").cloned())
        .unwrap_or_default();
    let ro = root["options"].as_array().is_some_and(|o| o.contains(&json!("ro")));
    check!(ro, "the root's mount is read-only", "{}", describe(&root));
    std::fs::write(container.bundle().rootfs().join("host-writes"), "")?;
    Ok(())
}

/// The root is writable unless it is configured otherwise.
#[case(covers = ["root.readonly"])]
async fn root_is_writable_by_default(cx: &mut Cx) -> Verdict {
    let script = probe::script().ask_with("open", json!({ "path": "/new-file", "flags": ["w", "creat"] }));
    let answers = cx.container(script).remove("/root/readonly").answers().await?;
    check_eq!(answers.first("open")?.errno(), 0, "errno of creating a file in the root");
    Ok(())
}
