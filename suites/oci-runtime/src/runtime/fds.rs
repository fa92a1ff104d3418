//! runtime-linux.md, file descriptors: what the program inherits.

use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    only_three_by_default,
    no_descriptor_of_the_caller_leaks,
    more_may_be_passed,
    what_they_are_is_recorded,
];

/// The numbers of a probe's open descriptors, without those that it opened itself.
fn numbers(answers: &Answers) -> Result<Vec<i64>, Stop> {
    let fds = answers.facts("fds")?["fds"].as_array().cloned().unwrap_or_default();
    Ok(fds.iter().filter(|f| f["probe_out"] != json!(true)).filter_map(|f| f["fd"].as_i64()).collect())
}

/// By default, the program has the descriptors 0, 1 and 2 only.
#[case(covers = ["fds.only-stdio-by-default"])]
async fn only_three_by_default(cx: &mut Cx) -> Verdict {
    let answers = cx.container(probe::ask(["fds"])).answers().await?;
    let open: Vec<i64> = numbers(&answers)?.into_iter().filter(|n| *n > 2).collect();
    check!(open.is_empty(), "no descriptor above 2", "{open:?}");
    Ok(())
}

fn canary(cx: &Cx) -> Result<OwnedFd, Stop> {
    let path = cx.dir().join("canary");
    std::fs::write(&path, "canary")?;
    Ok(File::open(path)?.into())
}

const LEAKS: &[Variant] = &[
    Variant::new("3", &[]),
    Variant::new("4", &[]),
    Variant::new("7", &[]),
    Variant::new("10", &[]),
    Variant::new("20", &[]),
    Variant::new("100", &[]),
];

/// A descriptor that the caller left open at create does not reach the program.
#[case(covers = ["fds.only-stdio-by-default"], matrix(fd = LEAKS))]
async fn no_descriptor_of_the_caller_leaks(cx: &mut Cx) -> Verdict {
    let number: RawFd = cx.param("fd").parse().unwrap_or(3);
    let answers = cx.container(probe::ask(["fds"])).pass_fd(canary(cx)?, number).answers().await?;
    let open: Vec<i64> = numbers(&answers)?.into_iter().filter(|n| *n > 2).collect();
    check!(open.is_empty(), "no descriptor above 2", "{open:?}");
    Ok(())
}

/// Further descriptors may be passed by socket activation; whether they arrive is recorded.
#[case(covers = ["fds.extra-may-pass"])]
async fn more_may_be_passed(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["fds", "env"])).written()?.container;
    let bundle = container.bundle().dir().display().to_string();
    let options = CallOptions {
        fds: vec![(canary(cx)?, 3), (canary(cx)?, 4)],
        env: vec![("LISTEN_FDS".into(), "2".into())],
        ..CallOptions::default()
    };
    let call = container.create_by(&["--bundle", &bundle], container.id(), options).await?;
    call.ready("create with LISTEN_FDS")?;
    container.start().await?.ready("start")?;
    let answers = container.finished_answers().await?;
    let open: Vec<i64> = numbers(&answers)?.into_iter().filter(|n| *n > 2).collect();
    let env = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    let told: Vec<_> =
        env.into_iter().filter(|e| e.as_str().is_some_and(|e| e.starts_with("LISTEN_"))).collect();
    cx.record("fds.socket-activation", json!({ "descriptors": open, "environment": told }));
    Ok(())
}

/// Standard descriptors may be /dev/null; what they are without a terminal is recorded.
#[case(covers = ["fds.may-be-dev-null"])]
async fn what_they_are_is_recorded(cx: &mut Cx) -> Verdict {
    let answers = cx.container(probe::ask(["fds"])).answers().await?;
    let fds = answers.facts("fds")?["fds"].as_array().cloned().unwrap_or_default();
    let kinds: Vec<_> = fds
        .iter()
        .filter(|f| f["fd"].as_i64().is_some_and(|n| n <= 2))
        .map(|f| {
            let is_null = f["type"] == "char" && f["rdev_major"] == 1 && f["rdev_minor"] == 3;
            json!({ "fd": f["fd"], "type": f["type"], "devNull": is_null })
        })
        .collect();
    cx.record("fds.standard", json!(kinds));
    Ok(())
}
