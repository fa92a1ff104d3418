//! bundle.md: the configuration is the file config.json at the top of the bundle, and nothing else.

use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] =
    &[missing_configuration_is_error, misplaced_configuration_is_error, misnamed_configuration_is_error];

/// Shows that a bundle is accepted, and gives another of the same kind that no create has seen yet.
async fn after_a_good_one(cx: &Cx) -> Result<Container, Stop> {
    cx.container(probe::exit(0)).stopped().await?.delete().await?.ready("delete")?;
    Ok(cx.container(probe::exit(0)).written()?.container)
}

const MISSING: &[Variant] = &[
    Variant::new("absent", &[]),
    Variant::new("directory", &[]),
    Variant::new("dangling-link", &[]),
    Variant::new("empty-file", &[]),
];

/// A directory without a configuration is no bundle: create is an error that leaves nothing.
#[case(covers = ["bundle.config-json.required"], matrix(file = MISSING))]
async fn missing_configuration_is_error(cx: &mut Cx) -> Verdict {
    let container = after_a_good_one(cx).await?;
    let path = container.bundle().dir().join("config.json");
    fs::remove_file(&path)?;
    match cx.param("file") {
        "directory" => fs::create_dir(&path)?,
        "dangling-link" => std::os::unix::fs::symlink("no-such-file", &path)?,
        "empty-file" => fs::write(&path, "")?,
        _ => {}
    }
    let bundle = container.bundle().dir().display().to_string();
    container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?.must_fail()?;
    container.nothing_left().await
}

const PLACES: &[Variant] = &[
    Variant::new("sub-directory", &[]),
    Variant::new("parent-directory", &[]),
    Variant::new("root-file-system", &[]),
    Variant::new("working-directory", &[]),
];

/// A configuration that stands elsewhere than at the top of the bundle is not read.
#[case(covers = ["bundle.config-json.location"], matrix(place = PLACES))]
async fn misplaced_configuration_is_error(cx: &mut Cx) -> Verdict {
    let container = after_a_good_one(cx).await?;
    let directory = container.bundle().dir().to_owned();
    let elsewhere = match cx.param("place") {
        "sub-directory" => directory.join("sub"),
        "parent-directory" => directory.parent().unwrap_or(&directory).to_owned(),
        "root-file-system" => container.bundle().rootfs(),
        _ => cx.dir().join("elsewhere"),
    };
    fs::create_dir_all(&elsewhere)?;
    // It would work there: its root is found from anywhere.
    let mut config = container.config().clone();
    config["root"]["path"] = json!(container.bundle().rootfs().display().to_string());
    fs::remove_file(directory.join("config.json"))?;
    fs::write(elsewhere.join("config.json"), config.to_string())?;
    let options = CallOptions { cwd: Some(elsewhere), ..CallOptions::default() };
    let bundle = directory.display().to_string();
    container.create_by(&["--bundle", &bundle], container.id(), options).await?.must_fail()?;
    container.nothing_left().await
}

const NAMES: &[Variant] = &[
    Variant::new("Config.json", &[]),
    Variant::new("config.JSON", &[]),
    Variant::new("config", &[]),
    Variant::new("config.json.bak", &[]),
    Variant::new("config.yaml", &[]),
];

/// A configuration under another name than config.json is not read.
#[case(covers = ["bundle.config-json.name"], matrix(name = NAMES))]
async fn misnamed_configuration_is_error(cx: &mut Cx) -> Verdict {
    let container = after_a_good_one(cx).await?;
    let directory = container.bundle().dir();
    fs::rename(directory.join("config.json"), directory.join(cx.param("name")))?;
    let bundle = directory.display().to_string();
    container.create_by(&["--bundle", &bundle], container.id(), CallOptions::default()).await?.must_fail()?;
    container.nothing_left().await
}
