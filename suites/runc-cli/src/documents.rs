//! Documents that commands print or write: events, features and spec.

use super::support::{need_verb, running};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    statistics_are_one_object,
    events_of_an_unknown_container_are_an_error,
    features_are_one_object,
    configuration_is_written,
    written_configuration_works,
    configuration_is_not_overwritten,
];

/// One look at the statistics gives an object with type, id and data.
#[case(covers = ["cli.events.stats"])]
async fn statistics_are_one_object(cx: &mut Cx) -> Verdict {
    need_verb(cx, "events").await?;
    let container = running(cx).await?;
    let call = cx.runtime().call(&["events", "--stats", container.id()]).await?;
    call.must_succeed()?;
    let event: Value = serde_json::from_str(call.stdout.trim()).unwrap_or_default();
    check!(event.is_object(), "one JSON object", "{}", describe(&call.stdout));
    check_eq!(event["type"], json!("stats"), "type");
    check_eq!(event["id"], json!(container.id()), "id");
    for part in ["cpu", "memory", "pids"] {
        check!(event["data"][part].is_object(), format!("an object data.{part}"), "{}", event["data"][part]);
    }
    check_eq!(
        event["data"]["pids"]["current"],
        json!(1),
        "data.pids.current of a container with one process"
    );
    Ok(())
}

/// The events of a container that is not there are an error.
#[case(covers = ["cli.events.unknown"])]
async fn events_of_an_unknown_container_are_an_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, "events").await?;
    cx.runtime().call(&["events", "--stats", &cx.new_id()]).await?.must_fail()?;
    Ok(())
}

/// The features are an object with the oldest and the newest version.
#[case(covers = ["cli.features.json"])]
async fn features_are_one_object(cx: &mut Cx) -> Verdict {
    need_verb(cx, "features").await?;
    let call = cx.runtime().call(&["features"]).await?;
    call.must_succeed()?;
    let features: Value = serde_json::from_str(call.stdout.trim()).unwrap_or_default();
    check!(features.is_object(), "one JSON object", "{}", describe(&call.stdout));
    for version in ["ociVersionMin", "ociVersionMax"] {
        check!(features[version].is_string(), format!("a {version}"), "{}", features[version]);
    }
    Ok(())
}

/// Writes a configuration into an empty directory and gives it.
async fn spec(cx: &Cx) -> Result<Value, Stop> {
    need_verb(cx, "spec").await?;
    let dir = cx.dir().join("spec");
    fs::create_dir_all(&dir)?;
    let options = CallOptions { cwd: Some(dir.clone()), ..CallOptions::default() };
    cx.runtime().call_with(&["spec"], options).await?.must_succeed()?;
    let text = fs::read_to_string(dir.join("config.json")).unwrap_or_default();
    serde_json::from_str(&text).map_err(|e| Stop::violation("config.json with a JSON object", e.to_string()))
}

/// The command writes a configuration with its version, process, root and mounts.
#[case(covers = ["cli.spec.writes-config"])]
async fn configuration_is_written(cx: &mut Cx) -> Verdict {
    let config = spec(cx).await?;
    check!(config["ociVersion"].is_string(), "an ociVersion", "{}", config["ociVersion"]);
    check!(config["process"]["args"].is_array(), "process.args", "{}", config["process"]);
    check!(config["process"]["cwd"].is_string(), "process.cwd", "{}", config["process"]);
    check!(config["root"]["path"].is_string(), "root.path", "{}", config["root"]);
    check!(config["mounts"].is_array(), "mounts", "{}", config["mounts"]);
    Ok(())
}

/// The configuration that the command writes makes a container, with arguments of the caller's.
#[case(covers = ["cli.spec.runs"])]
async fn written_configuration_works(cx: &mut Cx) -> Verdict {
    let mut config = spec(cx).await?;
    let builder = cx.container(probe::ask(["identity"]));
    config["process"]["args"] = builder.config()["process"]["args"].clone();
    config["process"]["terminal"] = json!(false);
    config["root"]["path"] = json!("rootfs");
    config["linux"]["cgroupsPath"] = builder.config()["linux"]["cgroupsPath"].clone();
    let answers = builder.raw_config(config.to_string()).answers().await?;
    check_eq!(answers.facts("identity")?["pid"], json!(1), "the program's pid");
    Ok(())
}

/// A configuration that is there already is not overwritten.
#[case(covers = ["cli.spec.no-overwrite"])]
async fn configuration_is_not_overwritten(cx: &mut Cx) -> Verdict {
    need_verb(cx, "spec").await?;
    let dir = cx.dir().join("spec");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("config.json"), "mine")?;
    let options = CallOptions { cwd: Some(dir.clone()), ..CallOptions::default() };
    cx.runtime().call_with(&["spec"], options).await?.must_fail()?;
    check_eq!(fs::read_to_string(dir.join("config.json"))?, "mine", "config.json");
    Ok(())
}
