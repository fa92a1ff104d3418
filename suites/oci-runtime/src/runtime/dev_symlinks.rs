//! runtime-linux.md, symbolic links in /dev: fd, stdin, stdout, stderr.

use super::support::need_host_view;
use plimsoll_kit::prelude::*;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] =
    &[points_into_proc, leads_to_the_descriptor, stands_after_create, stands_in_other_forms_of_dev];

const LINKS: &[Variant] = &[
    Variant::new("fd", &["dev-symlinks.fd"]),
    Variant::new("stdin", &["dev-symlinks.stdin"]),
    Variant::new("stdout", &["dev-symlinks.stdout"]),
    Variant::new("stderr", &["dev-symlinks.stderr"]),
];

/// Where the link of this name has to point.
fn target(name: &str) -> &'static str {
    match name {
        "fd" => "/proc/self/fd",
        "stdin" => "/proc/self/fd/0",
        "stdout" => "/proc/self/fd/1",
        _ => "/proc/self/fd/2",
    }
}

/// The link in /dev points to the descriptor's place in /proc.
#[case(covers = [], matrix(link = LINKS))]
async fn points_into_proc(cx: &mut Cx) -> Verdict {
    let link = cx.param("link");
    let script = probe::script().ask_with("readlink", json!({ "path": format!("/dev/{link}") }));
    let answers = cx.container(script).answers().await?;
    match &answers.first("readlink")?.result {
        Ok(facts) => check_eq!(facts["target"], json!(target(link)), "the target of /dev/{link}"),
        Err(refusal) => {
            return Err(Stop::violation(format!("/dev/{link} is a symbolic link"), refusal.error.clone()));
        }
    }
    Ok(())
}

const STREAMS: &[Variant] =
    &[Variant::new("stdout", &["dev-symlinks.stdout"]), Variant::new("stderr", &["dev-symlinks.stderr"])];

/// What is written to /dev/stdout or /dev/stderr comes out where the program's own output does.
#[case(covers = [], matrix(link = STREAMS))]
async fn leads_to_the_descriptor(cx: &mut Cx) -> Verdict {
    let link = cx.param("link");
    let text = "through the link\n";
    let script = probe::script()
        .ask_with("write", json!({ "path": format!("/dev/{link}"), "data": text, "append": true }))
        .pause();
    let container = cx.container(script).running().await?;
    let answers = container.wait_for_answer("write").await?;
    check_eq!(answers.first("write")?.errno(), 0, "errno of opening and writing /dev/{link}");
    let seen = if link == "stdout" { container.output()? } else { container.error_output()? };
    check!(seen.contains(text.trim()), format!("the text on {link}"), "{seen:?}");
    Ok(())
}

/// The links exist once create has returned.
#[case(covers = ["dev-symlinks.created-during-create"], matrix(link = LINKS_AT_CREATE))]
async fn stands_after_create(cx: &mut Cx) -> Verdict {
    let link = cx.param("link");
    let container = cx.container(probe::ask(["namespaces"]).pause()).created().await?;
    let seen = fs::read_link(format!("/proc/{}/root/dev/{link}", container.pid()?));
    container.start().await?.ready("start")?;
    need_host_view(&container, &container.wait_for_answer("namespaces").await?)?;
    match seen {
        Ok(path) => {
            check_eq!(path.display().to_string(), target(link), "the target of /dev/{link} before start");
        }
        Err(e) => return Err(Stop::violation(format!("/dev/{link} exists before start"), e.to_string())),
    }
    Ok(())
}

const LINKS_AT_CREATE: &[Variant] = &[
    Variant::new("fd", &[]),
    Variant::new("stdin", &[]),
    Variant::new("stdout", &[]),
    Variant::new("stderr", &[]),
];

const FORMS: &[Variant] = &[
    Variant::new("in-the-root-file-system", &[]),
    Variant::new("read-only-root", &[]),
    Variant::new("mounted-last", &[]),
];

/// The links are made after all mounts, whatever /dev is.
#[case(covers = ["dev-symlinks.created-during-create", "dev-symlinks.fd", "dev-symlinks.stdout"], matrix(dev = FORMS))]
async fn stands_in_other_forms_of_dev(cx: &mut Cx) -> Verdict {
    let script = ["fd", "stdin", "stdout", "stderr"].iter().fold(probe::script(), |script, link| {
        script.ask_with("readlink", json!({ "path": format!("/dev/{link}") }))
    });
    let below_dev = |m: &Value| m["destination"].as_str().is_some_and(|d| d.starts_with("/dev"));
    let builder = cx.container(script);
    let builder = match cx.param("dev") {
        "in-the-root-file-system" => builder.with(|config| {
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.retain(|m| !below_dev(m));
            }
        }),
        "read-only-root" => builder.set("/root/readonly", true),
        _ => builder.with(|config| {
            if let Some(mounts) = config["mounts"].as_array_mut() {
                let dev: Vec<Value> = mounts.iter().filter(|m| below_dev(m)).cloned().collect();
                mounts.retain(|m| !below_dev(m));
                mounts.extend(dev);
            }
        }),
    };
    let answers = builder.answers().await?;
    for (index, link) in ["fd", "stdin", "stdout", "stderr"].into_iter().enumerate() {
        match &answers.at(index)?.result {
            Ok(facts) => check_eq!(facts["target"], json!(target(link)), "the target of /dev/{link}"),
            Err(r) => {
                return Err(Stop::violation(format!("/dev/{link} is a symbolic link"), r.error.clone()));
            }
        }
    }
    Ok(())
}
