//! runtime.md, create: the id and the bundle that it needs, ids in use, and ids that are none.

use super::support::{Snapshot, pause, unchanged};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    missing_id_is_error,
    missing_bundle_is_error,
    used_id_is_error,
    used_id_leaves_the_first_container_alone,
    invalid_id_is_error,
    odd_id_is_refused_or_kept,
];

const NO_ID: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// Create without an id is an error and makes nothing.
#[case(covers = ["create.no-id.errors", "errors.leave-state-unchanged"], matrix(id = NO_ID))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let before = Snapshot::take(cx, &[container.bundle().dir()]);
    let args: &[&str] = if cx.param("id") == "absent" {
        &["create", "--bundle", &bundle]
    } else {
        &["create", "--bundle", &bundle, ""]
    };
    cx.runtime().call(args).await?.must_fail()?;
    unchanged(cx, &before, &[container.bundle().dir()]).await
}

const NO_BUNDLE: &[Variant] = &[
    Variant::new("absent-and-cwd-is-none", &[]),
    Variant::new("missing-path", &[]),
    Variant::new("empty-path", &[]),
    Variant::new("is-a-file", &[]),
];

/// Create without a bundle is an error.
#[case(covers = ["create.no-bundle.errors"], matrix(bundle = NO_BUNDLE))]
async fn missing_bundle_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).written()?.container;
    let empty = cx.dir().join("empty");
    fs::create_dir_all(&empty)?;
    let missing = empty.join("none").display().to_string();
    let file = container.bundle().dir().join("config.json").display().to_string();
    let flags: &[&str] = match cx.param("bundle") {
        "absent-and-cwd-is-none" => &[],
        "missing-path" => &["--bundle", &missing],
        "empty-path" => &["--bundle", ""],
        _ => &["--bundle", &file],
    };
    let options = CallOptions { cwd: Some(empty), ..CallOptions::default() };
    container.create_by(flags, container.id(), options).await?.must_fail()?;
    container.nothing_left().await
}

const IN_USE: &[Variant] = &[
    Variant::new("created", &[]),
    Variant::new("running", &[]),
    Variant::new("paused", &[]),
    Variant::new("stopped", &[]),
];

/// A first container at the stage of the matrix, and a second bundle that was not created yet.
async fn two_bundles(cx: &Cx) -> Result<(Container, Container), Stop> {
    let stage = cx.param("stage");
    let first = match stage {
        "created" => cx.container(probe::pause()).created().await?,
        "stopped" => cx.container(probe::exit(0)).stopped().await?,
        _ => cx.container(probe::pause()).running().await?,
    };
    if stage == "paused" {
        pause(cx, &first).await?;
    }
    let second = cx.container(probe::pause()).written()?.container;
    Ok((first, second))
}

/// Create with an id that is in use is an error, at whatever stage its container is.
#[case(covers = ["create.duplicate-id.errors"], matrix(stage = IN_USE))]
async fn used_id_is_error(cx: &mut Cx) -> Verdict {
    let (first, second) = two_bundles(cx).await?;
    let bundle = second.bundle().dir().display().to_string();
    cx.runtime().call(&["create", "--bundle", &bundle, first.id()]).await?.must_fail()?;
    Ok(())
}

/// A refused second create leaves the first container of that id as it was, and makes no other.
#[case(covers = ["create.duplicate-id.no-new-container", "errors.leave-state-unchanged"], matrix(stage = IN_USE))]
async fn used_id_leaves_the_first_container_alone(cx: &mut Cx) -> Verdict {
    let (first, second) = two_bundles(cx).await?;
    let state = first.state().await?;
    let directories = [first.bundle().dir(), second.bundle().dir()];
    let before = Snapshot::take(cx, &directories);
    let bundle = second.bundle().dir().display().to_string();
    cx.runtime().call(&["create", "--bundle", &bundle, first.id()]).await?.must_fail()?;
    check_eq!(first.state().await?, state, "the first container's state");
    unchanged(cx, &before, &directories).await?;
    match cx.param("stage") {
        "created" => {
            first.start().await?.must_succeed()?;
            first.wait_for_answer("pause_forever").await?;
        }
        "stopped" => first.delete().await?.must_succeed().map(|_| ())?,
        "paused" => cx.runtime().verb("resume", first.id()).await?.must_succeed().map(|_| ())?,
        _ => check!(!first.has_exited(), "the first container's process lives", "it has ended"),
    }
    Ok(())
}

const INVALID: &[Variant] = &[
    Variant::new("dot", &[]),
    Variant::new("dot-dot", &[]),
    Variant::new("parent-path", &[]),
    Variant::new("slash", &[]),
    Variant::new("absolute-path", &[]),
];

/// An id that names a path is an error, and nothing is made outside the state directory.
#[case(covers = ["create.invalid-id.errors"], matrix(id = INVALID))]
async fn invalid_id_is_error(cx: &mut Cx) -> Verdict {
    let name = cx.new_id();
    let id = match cx.param("id") {
        "dot" => ".".to_owned(),
        "dot-dot" => "..".to_owned(),
        "parent-path" => format!("../{name}"),
        "slash" => format!("{name}/x"),
        _ => cx.dir().join(&name).display().to_string(),
    };
    let container = cx.container(probe::pause()).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let before = Snapshot::take(cx, &[container.bundle().dir()]);
    let call = cx.runtime().call(&["create", "--bundle", &bundle, &id]).await?;
    if call.succeeded() {
        // Nobody else knows this id: what was made by mistake goes at once.
        cx.runtime().delete_force(&id).await?;
    }
    call.must_fail()?;
    check!(!cx.dir().join(&name).exists(), "nothing outside the state directory", "{name} is there");
    unchanged(cx, &before, &[container.bundle().dir()]).await
}

const ODD: &[Variant] = &[
    Variant::new("newline", &[]),
    Variant::new("space", &[]),
    Variant::new("non-ascii", &[]),
    Variant::new("4096-characters", &[]),
    Variant::new("shell-characters", &[]),
];

/// An unusual id is refused with an error, or the container has exactly that id.
#[case(covers = ["create.invalid-id.errors", "state.id.present"], matrix(id = ODD))]
async fn odd_id_is_refused_or_kept(cx: &mut Cx) -> Verdict {
    let base = cx.new_id();
    let id = match cx.param("id") {
        "newline" => format!("{base}\nx"),
        "space" => format!("{base} x"),
        "non-ascii" => format!("{base}ü"),
        "4096-characters" => format!("{base}{}", "x".repeat(4096 - base.len())),
        _ => format!("{base}$(x);*"),
    };
    let (call, container) = cx.container(probe::pause()).with_id(&id).attempt().await?;
    if call.succeeded() {
        cx.record("create.accepts-id", cx.param("id"));
        check_eq!(of "state.id.present"; container.state().await?.raw["id"], json!(id), "the state's id");
        return Ok(());
    }
    call.must_fail()?;
    container.nothing_left().await
}
