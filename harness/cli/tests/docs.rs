//! The pages of harness/docs say what is so.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CI: &str = include_str!("../../docs/CI.md");

/// Fenced blocks: their language and their text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Every text below `run` and `script` in a pipeline's file.
fn scripts(value: &serde_yaml_ng::Value, out: &mut Vec<String>) {
    match value {
        serde_yaml_ng::Value::Mapping(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    (Some("run"), serde_yaml_ng::Value::String(text)) => out.push(text.clone()),
                    (Some("script"), serde_yaml_ng::Value::Sequence(lines)) => {
                        out.extend(lines.iter().map(|l| l.as_str().unwrap().to_owned()));
                    }
                    _ => scripts(value, out),
                }
            }
        }
        serde_yaml_ng::Value::Sequence(items) => items.iter().for_each(|v| scripts(v, out)),
        _ => {}
    }
}

/// All shell lines of the page.
fn shell_lines() -> Vec<String> {
    let mut lines = Vec::new();
    for (language, text) in blocks(CI) {
        match language.as_str() {
            "sh" => lines.extend(text.lines().map(str::to_owned)),
            "yaml" => {
                let value = serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                scripts(&value, &mut lines);
            }
            "groovy" => {
                let calls = text.lines().filter_map(|l| l.trim().strip_prefix("sh '"));
                lines.extend(calls.map(|l| l.strip_suffix('\'').unwrap().to_owned()));
            }
            "toml" => {}
            other => panic!("nobody tests a block of {other}"),
        }
    }
    lines
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_snippet_is_understood() {
    let place = Place::new();
    let dir = place.path();
    let real = env!("CARGO_BIN_EXE_plimsoll");
    // In place of the real ones: a run only prints its plan, other verbs only parse what they are given. A target that
    // may not be installed here is another name for the one that is.
    let stand_in = format!(
        "#!/bin/sh\nverb=$1; shift\nset -- $(printf '%s\\n' \"$@\" | sed 's,^oci:/usr/sbin/runc$,oci:./my-runtime?name=runc,; s,^--$,--help\\n--,')\n\
         case $verb in run) case \" $* \" in *\" --rerun \"*|*\" --balance \"*) exec {real} run \"$@\" --help;; esac; exec {real} run \"$@\" --dry-run;;\n\
         *) exec {real} \"$verb\" \"$@\" --help;; esac\n"
    );
    fs::create_dir(dir.join("bin")).unwrap();
    program(&dir.join("plimsoll"), &stand_in);
    program(&dir.join("bin/plimsoll"), &stand_in);
    program(&dir.join("bin/sudo"), "#!/bin/sh\nexec \"$@\"\n");
    program(&dir.join("my-runtime"), "#!/bin/sh\nexit 0\n");
    fs::create_dir(dir.join("plimsoll-out")).unwrap();
    fs::write(dir.join("plimsoll-out/summary.md"), "").unwrap();
    for (language, text) in blocks(CI) {
        if language == "toml" && text.contains("[[expect]]") {
            fs::write(dir.join("expectations.toml"), &text).unwrap();
        } else if language == "toml" {
            fs::write(dir.join("plimsoll.toml"), &text).unwrap();
        }
    }
    let lines = shell_lines();
    let ours = lines.iter().filter(|l| l.contains("plimsoll ")).count();
    assert!(ours >= 15, "only {ours} lines call plimsoll");
    for line in lines {
        let line = line.replace("${{ matrix.shard }}", "2");
        let output = Command::new("/bin/sh")
            .args(["-ec", &line])
            .current_dir(dir)
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.join("bin").display()))
            .env("GITHUB_STEP_SUMMARY", dir.join("step.md"))
            .envs([("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")])
            .env_remove("PLIMSOLL_CONFIG")
            .env("XDG_CONFIG_HOME", dir)
            .output()
            .unwrap();
        let said = text(&output);
        let warned = String::from_utf8_lossy(&output.stderr).contains("warning:");
        assert!(output.status.success() && !warned, "{line}\n{said}");
    }
}

#[test]
fn every_exit_code_is_explained() {
    for code in plimsoll_model::ExitCode::ALL {
        let row = CI.lines().find(|l| l.starts_with(&format!("| {} |", code.code())));
        assert!(row.is_some_and(|r| r.len() > 30), "no row for {code:?}");
    }
    assert_eq!(plimsoll_model::ExitCode::ALL.len(), 10, "a new code wants its row");
}

#[test]
fn the_examples_of_expectations_are_read() {
    for page in [CI, include_str!("../../docs/OUTCOMES.md")] {
        let files = blocks(page).into_iter().filter(|(l, t)| l == "toml" && t.contains("[[expect]]"));
        let mut number = 0;
        for (_, text) in files {
            let file: plimsoll_model::Expectations = toml::from_str(&text).unwrap();
            number += file.entries.len();
        }
        assert!(number > 0);
    }
}

#[test]
fn every_report_and_shape_stands_in_the_page_of_formats() {
    let page = include_str!("../../docs/FORMATS.md");
    for kind in ["jsonl", "html", "junit", "markdown", "tap", "ctrf", "openmetrics", "badge"] {
        assert!(page.contains(&format!("--report {kind}=PATH")), "{kind}");
    }
    for shape in ["human", "concise", "json", "jsonl", "tap", "github"] {
        assert!(page.contains(&format!("`{shape}`")), "{shape}");
    }
}
