//! runtime.md, state: the document that the state operation answers, member by member.

use super::support::{STAGES, at_stage, is_semver, state_defects, strict_json};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    names_its_version,
    gives_the_id,
    second_container_of_an_id_is_refused,
    gives_a_live_pid,
    bundle_is_absolute,
    gives_the_annotations,
    no_annotations_are_absent_or_empty,
    further_members_are_recorded,
    conforms_to_the_schema,
    is_strict_json,
    describes_the_container,
    missing_id_is_error,
    unknown_id_is_error,
];

/// The state names the version of the specification that it follows, in SemVer form.
#[case(covers = ["state.oci-version.present"], matrix(stage = STAGES))]
async fn names_its_version(cx: &mut Cx) -> Verdict {
    let container = at_stage(cx.container(probe::pause()), cx.param("stage")).await?;
    let state = container.state().await?;
    check!(
        is_semver(state.oci_version()),
        "`ociVersion` is a SemVer 2.0.0 version",
        "{}",
        state.raw["ociVersion"]
    );
    Ok(())
}

const IDS: &[Variant] = &[
    Variant::new("letters-and-digits", &[]),
    Variant::new("upper-case", &[]),
    Variant::new("dot", &[]),
    Variant::new("underscore", &[]),
    Variant::new("plus", &[]),
    Variant::new("128-characters", &[]),
];

/// The state's id is the very id that create was given.
#[case(covers = ["state.id.present"], matrix(form = IDS))]
async fn gives_the_id(cx: &mut Cx) -> Verdict {
    let base = cx.new_id();
    let id = match cx.param("form") {
        "letters-and-digits" => base,
        "upper-case" => format!("{base}-Up"),
        "dot" => format!("{base}.d.t"),
        "underscore" => format!("{base}_u"),
        "plus" => format!("{base}+p"),
        _ => format!("{base}{}", "x".repeat(128 - base.len())),
    };
    let (call, container) = cx.container(probe::pause()).with_id(&id).attempt().await?;
    if !call.succeeded() {
        // Which ids are valid is the runtime's own matter; the plain form is that of every other case.
        check_ne!(cx.param("form"), "letters-and-digits", "the form of an id that is refused");
        call.must_fail()?;
        cx.record("state.id-form-refused", cx.param("form"));
        return Ok(());
    }
    check_eq!(container.state().await?.raw["id"], json!(id), "the state's id");
    Ok(())
}

/// A second container of an id that is in use is refused; another state directory may have the id again.
#[case(covers = ["state.id.unique-on-host", "create.duplicate-id.errors"])]
async fn second_container_of_an_id_is_refused(cx: &mut Cx) -> Verdict {
    let first = cx.container(probe::pause()).created().await?;
    let second = cx.container(probe::pause()).written()?.container;
    let bundle = second.bundle().dir().display().to_string();
    let args = ["create", "--bundle", &bundle, first.id()];
    cx.runtime().call(&args).await?.must_fail()?;
    let state = first.state().await?;
    check_eq!(
        state.bundle(),
        first.bundle().dir().display().to_string(),
        "the bundle of the first container"
    );
    Ok(())
}

const LIVE: &[Variant] = &[Variant::new("created", &[]), Variant::new("running", &[])];

/// While created or running, the state gives the id of a live process, the one of the pid file.
#[case(covers = ["state.pid.present-created-running"], matrix(stage = LIVE))]
async fn gives_a_live_pid(cx: &mut Cx) -> Verdict {
    let container = at_stage(cx.container(probe::pause()), cx.param("stage")).await?;
    let state = container.state().await?;
    let Some(pid) = state.pid() else {
        return Err(Stop::violation("`pid` is a process id", state.raw["pid"].to_string()));
    };
    check_eq!(pid, container.pid()?, "the state's pid (against the pid file)");
    check!(!container.has_exited(), "the process of the state's pid lives", "it has ended");
    Ok(())
}

const BUNDLE_FORMS: &[Variant] = &[
    Variant::new("absolute", &[]),
    Variant::new("relative", &[]),
    Variant::new("dot", &[]),
    Variant::new("trailing-slash", &[]),
];

/// The state's bundle is the absolute path of the bundle, however create was told.
#[case(covers = ["state.bundle.present"], matrix(given = BUNDLE_FORMS))]
async fn bundle_is_absolute(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).written()?.container;
    let dir = container.bundle().dir().to_owned();
    let parent = dir.parent().unwrap_or(&dir).to_owned();
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (argument, cwd) = match cx.param("given") {
        "absolute" => (dir.display().to_string(), None),
        "relative" => (name, Some(parent)),
        "dot" => (".".to_owned(), Some(dir.clone())),
        _ => (format!("{}/", dir.display()), None),
    };
    let options = CallOptions { cwd, ..CallOptions::default() };
    container.create_by(&["--bundle", &argument], container.id(), options).await?.must_succeed()?;
    let state = container.state().await?;
    check!(state.bundle().starts_with('/'), "`bundle` is an absolute path", "{}", state.raw["bundle"]);
    let seen = fs::canonicalize(state.bundle())
        .map_err(|e| Stop::violation("`bundle` is a path that exists", format!("{}: {e}", state.bundle())))?;
    check_eq!(seen, fs::canonicalize(&dir)?, "the directory that `bundle` names");
    Ok(())
}

fn three_annotations() -> Value {
    json!({ "com.example.one": "1", "com.example.two": "zwei ☂ \"two\"", "org.example/three": "" })
}

/// The state carries the annotations of the configuration, all of them and unchanged.
#[case(covers = ["state.annotations.present"], matrix(stage = STAGES))]
async fn gives_the_annotations(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::pause()).set("/annotations", three_annotations());
    let container = at_stage(builder, cx.param("stage")).await?;
    let state = container.state().await?;
    let seen = state.raw["annotations"].as_object().cloned().unwrap_or_default();
    for (key, value) in three_annotations().as_object().into_iter().flatten() {
        check_eq!(seen.get(key), Some(value), "the annotation {key}");
    }
    let own: Vec<_> = seen.keys().filter(|k| three_annotations().get(k.as_str()).is_none()).collect();
    if !own.is_empty() {
        cx.record("state.annotations-of-its-own", json!(own));
    }
    Ok(())
}

/// Without annotations in the configuration, the state's are absent or an empty object.
#[case(covers = ["state.annotations.absent-or-empty"])]
async fn no_annotations_are_absent_or_empty(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let state = container.state().await?;
    let form = match state.raw.get("annotations") {
        None => "absent",
        Some(Value::Object(map)) if map.is_empty() => "empty",
        Some(other) => {
            cx.record("state.annotations-without-any", other.clone());
            return Err(Stop::violation("`annotations` is absent or {}", other.to_string()));
        }
    };
    cx.record("state.annotations-without-any", form);
    Ok(())
}

/// Members beyond the specification's are allowed in the state; which ones is recorded.
#[case(covers = ["state.additional-properties"])]
async fn further_members_are_recorded(cx: &mut Cx) -> Verdict {
    let known = ["ociVersion", "id", "status", "pid", "bundle", "annotations"];
    let container = cx.container(probe::pause()).running().await?;
    let state = container.state().await?;
    let further: Vec<_> = state
        .raw
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, _)| k)
        .filter(|k| !known.contains(&k.as_str()))
        .collect();
    cx.record("state.extra-members", json!(further));
    Ok(())
}

/// The state conforms to the published schema at every stage.
#[case(covers = ["state.json-schema"], matrix(stage = STAGES))]
async fn conforms_to_the_schema(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::pause()).set("/annotations", three_annotations());
    let container = at_stage(builder, cx.param("stage")).await?;
    let defects = state_defects(&container.state().await?.raw);
    check!(defects.is_empty(), "the state conforms to its schema", "{}", defects.join("; "));
    Ok(())
}

/// The state operation writes one JSON document without repeated member names, and nothing else.
#[case(covers = ["json.no-duplicate-names", "state.returns-state"])]
async fn is_strict_json(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).set("/annotations", three_annotations()).created().await?;
    let call = cx.runtime().state_call(container.id()).await?;
    call.must_succeed()?;
    if let Err(error) = strict_json(&call.stdout) {
        return Err(Stop::violation("one JSON document without repeated names", error));
    }
    Ok(())
}

/// The state operation answers what is true of the container: id, bundle, status and pid together.
#[case(covers = ["state.returns-state"], matrix(stage = STAGES))]
async fn describes_the_container(cx: &mut Cx) -> Verdict {
    let stage = cx.param("stage");
    let container = at_stage(cx.container(probe::pause()), stage).await?;
    let state = container.state().await?;
    check_eq!(state.id(), container.id(), "the id");
    check_eq!(state.status(), stage, "the status");
    check_eq!(state.bundle(), container.bundle().dir().display().to_string(), "the bundle");
    if stage != "stopped" {
        check_eq!(state.pid(), Some(container.pid()?), "the pid");
    }
    Ok(())
}

const NO_ID: &[Variant] = &[Variant::new("absent", &[]), Variant::new("empty", &[])];

/// The state operation without a container id is an error.
#[case(covers = ["state.no-id.errors"], matrix(id = NO_ID))]
async fn missing_id_is_error(cx: &mut Cx) -> Verdict {
    let args: &[&str] = if cx.param("id") == "absent" { &["state"] } else { &["state", ""] };
    cx.runtime().call(args).await?.must_fail()?;
    Ok(())
}

const UNKNOWN: &[Variant] = &[
    Variant::new("never-created", &[]),
    Variant::new("deleted", &[]),
    Variant::new("prefix-of-another", &[]),
    Variant::new("refused-at-create", &[]),
];

/// The state of a container that does not exist is an error, and no document.
#[case(covers = ["state.nonexistent.errors"], matrix(id = UNKNOWN))]
async fn unknown_id_is_error(cx: &mut Cx) -> Verdict {
    let id = match cx.param("id") {
        "never-created" => cx.new_id(),
        "deleted" => {
            let container = cx.container(probe::exit(0)).stopped().await?;
            container.delete().await?.ready("deleting the container")?;
            container.id().to_owned()
        }
        "prefix-of-another" => {
            let container = cx.container(probe::pause()).created().await?;
            container.id()[..container.id().len() - 1].to_owned()
        }
        _ => {
            let (call, container) =
                cx.container(probe::pause()).set("/root/path", "no-such-directory").attempt().await?;
            call.must_fail()?;
            container.id().to_owned()
        }
    };
    let call = cx.runtime().state_call(&id).await?;
    call.must_fail()?;
    check!(strict_json(&call.stdout).is_err(), "no state on standard output", "{:?}", call.stdout);
    Ok(())
}
