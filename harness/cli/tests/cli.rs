//! The command line as people and scripts meet it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const CASE: &str = "oci-runtime/kill/stopped-is-error";

#[test]
fn bad_input_says_what_why_and_what_next() {
    let place = Place::new();
    let missing = place.path().join("missing").display().to_string();
    let garbage = place.path().join("garbage").display().to_string();
    fs::write(&garbage, "{\"event\": \"footer\"}\n").unwrap();
    let plain = place.path().join("plain").display().to_string();
    fs::write(&plain, "not a program").unwrap();
    let target = format!("oci:{plain}");
    let rows: &[(&[&str], &str)] = &[
        (&["run", "-t", "docker:x"], "unknown kind `docker`"),
        (&["run", "-t", "oci:x?foo=1"], "unknown parameter `foo`"),
        (&["run", "-t", "ref:podman"], "`ref:oci`"),
        (&["run", "-t", "cri:/run/x.sock"], "unix:///path/to/socket"),
        (&["run", "-t", "cri:unix:///nonexistent.sock"], "does not exist"),
        (&["run", "-t", "no-such-runtime-anywhere"], "on PATH"),
        (&["run", "-t", &target], "is not executable"),
        (&["run", "-t", "ref:oci", "-t", "ref:oci"], "?name="),
        (&["run", "-E", "suite("], "cannot be read at byte"),
        (&["run", "-E", "suite(oci-runtim)"], "suite(oci-runtim)"),
        (&["run", "no-such-case-at-all"], "no-such-case-at-all"),
        (&["run", "--case", "oci-runtime/kill"], "oci-runtime/kill"),
        (&["run", "-P", "everything"], "known: smoke"),
        (&["run", "--partition", "slice:4/3"], "write slice:2/3"),
        (&["run", "--partition", "auto"], "CI_NODE_INDEX"),
        (&["run", "--timeout-scale", "0"], "above 0"),
        (&["run", "--timeout-scale", "NaN"], "above 0"),
        (&["run", "-j", "0"], "above 0"),
        (&["run", "--stress-count", "0"], "--stress-count"),
        (&["run", "--report", "pdf=x"], "names no report"),
        (&["run", "--report", "html"], "KIND=PATH"),
        (&["run", "--expectations", &missing], "No such file"),
        (&["run", "--expectations", &garbage], "garbage"),
        (&["run", "--rerun", "passed", &garbage], "--rerun knows no `passed`"),
        (&["run", "--rerun", "failed", &missing], "No such file"),
        (&["report", "render", &missing], "No such file"),
        (&["report", "render", &garbage], "no usable run file"),
        (&["report", "merge", &garbage, "-o", "x"], "no usable run file"),
        (&["report", "diff", &garbage, &garbage], "no usable run file"),
        (&["expectations", "check", "--run", &missing, "--file", &missing], "No such file"),
        (&["explain", "runtime.kil"], "no requirement, case or fault"),
        (&["schema", "nothing"], "known: run"),
        (&["man", "nothing"], "no verb is called `nothing`"),
        (
            &["bench", "-t", "ref:oci", "--scenario", "lukewarm-start"],
            "no scenario is called `lukewarm-start`",
        ),
        (&["bench", "-t", "ref:oci", "--gate", "loose"], "known: release"),
        (&["selftest", "--faults", "no-such-*"], "matches no fault"),
        (&["verify", &missing, "--key", &missing], "No such file"),
        (&["certify", "--vendor", &missing, "--key", &missing, "--output", &missing], "No such file"),
        (&["submission", "verify", &missing], "No such file"),
        (&["config", "show", "--gate", "nothing"], "no gate is called `nothing`"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["run", "--frobnicate"], "unexpected argument"),
    ];
    for (args, want) in rows {
        let (output, _) = place.run(args);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(want), "{args:?} does not say `{want}`: {said}");
        assert!(said.contains("error"), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}: data on standard output: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
    place.assert_clean();
}

/// Found out only after the run; what the run found is not lost.
#[test]
fn a_report_that_cannot_be_written_costs_only_itself() {
    let place = Place::new();
    let plain = place.path().join("plain").display().to_string();
    fs::write(&plain, "").unwrap();
    let report = format!("html={plain}/page.html");
    if fit() {
        let (output, _) = place.run(&["run", "--case", CASE, "--timeout-scale", "3", "--report", &report]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("cannot write"), "{}", text(&output));
        assert!(place.out().join("report.html").is_file());
    }
    place.assert_clean();
}

#[test]
fn an_output_directory_that_cannot_be_written_is_told_before_anything_runs() {
    let place = Place::new();
    fs::write(place.path().join("file"), "").unwrap();
    let out = place.path().join("file/below");
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["run", "--case", CASE, "--work-dir"])
        .arg(place.work())
        .arg("--out")
        .arg(&out)
        .env("PLIMSOLL_CONFIG", "none")
        .output()
        .unwrap();
    if fit() {
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(&out.display().to_string()), "{}", text(&output));
    }
    place.assert_clean();
}

#[test]
fn without_root_it_says_so() {
    if !fit() {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("plimsoll");
    // By a child, so that nothing forked by another test holds it open for writing when it is executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_plimsoll")).arg(&program).status().unwrap();
    assert!(copied.success());
    let output = Command::new(program)
        .args(["run", "--case", CASE, "--out", "/dev/null/x", "--work-dir", "/var/tmp/plimsoll-nobody"])
        .env("PLIMSOLL_CONFIG", "none")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("not running as root") && text(&output).contains("hint: "),
        "{}",
        text(&output)
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new();
    for args in
        [&["list"][..], &["man"], &["completions", "bash"], &["schema", "run"], &["config", "default"]]
    {
        let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success() && said.is_empty(), "{args:?}: {said}");
    }
}

#[test]
fn colour_is_used_only_where_it_is_wanted() {
    let place = Place::new();
    let said = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(&["explain", "nothing-of-this-name"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        text(&command.args(args).envs(variables.iter().copied()).output().unwrap())
    };
    assert!(!said(&[], &[]).contains('\u{1b}'), "no terminal");
    assert!(said(&["--color", "always"], &[]).contains('\u{1b}'));
    assert!(said(&[], &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    assert!(said(&[], &[("PLIMSOLL_COLOR", "always")]).contains('\u{1b}'));
    assert!(!said(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    assert!(!said(&[], &[("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn the_verbs_that_only_look_work_anywhere() {
    let place = Place::new();
    let said = |args: &[&str]| {
        let (output, _) = place.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(said(&["completions", shell]).contains("submission"), "{shell}");
    }
    assert!(said(&["man"]).contains(".TH plimsoll"));
    assert!(said(&["man", "run"]).contains("stress"));
    for name in ["run", "expectations"] {
        let schema: Value = serde_json::from_str(&said(&["schema", name])).unwrap();
        assert!(schema["$schema"].is_string(), "{name}");
    }
    let cases: Value = serde_json::from_str(&said(&["list", "--format", "json", CASE])).unwrap();
    assert_eq!(cases[0]["id"], CASE);
    assert_eq!(said(&["list", "--format", "names", "--case", CASE]), format!("{CASE}\n"));
    let told = said(&["explain", CASE]);
    let requirement = cases[0]["covers"][0].as_str().unwrap();
    assert!(told.contains(requirement), "{told}");
    assert!(said(&["explain", requirement]).contains(CASE));
    assert!(said(&["--version"]).starts_with("plimsoll "));
    assert!(said(&["run", "--dry-run", "--case", CASE]).starts_with(CASE));
}

#[test]
fn every_exit_code_stands_in_the_help() {
    let place = Place::new();
    let help = text(&place.run(&["--help"]).0);
    for code in plimsoll_model::ExitCode::ALL {
        assert!(help.contains(&code.code().to_string()), "{code:?}: {help}");
    }
}

#[test]
fn each_format_is_what_its_reader_wants() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let said = |format: &str| {
        let (output, _) = place.run(&["run", "--case", CASE, "--timeout-scale", "3", "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{format}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let document: Value = serde_json::from_str(&said("json")).unwrap();
    assert_eq!(document["schema"], "plimsoll-summary/1");
    assert_eq!(document["targets"][0]["outcomes"]["pass"], 1, "{document}");
    let concise = said("concise");
    assert!(concise.lines().count() == 1 && concise.contains("1/1 MUST pass"), "{concise}");
    let lines = said("jsonl");
    let run = plimsoll_model::Run::parse(&lines).unwrap();
    assert!(run.is_complete() && run.records.len() == 1);
    assert!(said("tap").starts_with("TAP version 14\n1..1\n"));
    assert!(said("human").contains("gate open"));
    assert!(said("github").contains("gate open"));
}

#[test]
fn what_failed_is_run_again_and_nothing_else() {
    let place = Place::new();
    let (list, _) = place.run(&["list", "--format", "names", "oci-runtime/kill"]);
    let ids: Vec<String> = String::from_utf8(list.stdout).unwrap().lines().map(str::to_owned).collect();
    let case = |id: &String| json!({"id": id, "summary": "", "covers": [], "severity": "fail", "since": "1.0.0", "file": "", "line": 1});
    let spec: plimsoll_model::TargetSpec = "ref:oci?name=mine".parse().unwrap();
    let header = json!({"event": "header", "format": "plimsoll-run/1", "run_id": "r", "tool": "plimsoll 0",
        "started_at": "", "seed": 1, "command": [], "profile": "full", "plan_digest": "", "requirements": [],
        "waivers": {}, "plan": ids.iter().take(4).map(case).collect::<Vec<_>>(),
        "targets": [{"label": "mine", "spec": spec, "version": ""}],
        "host": {"kernel": "", "machine": "", "os": "", "cgroups": "v2", "controllers": {}, "lsm": [],
            "missing_capabilities": [], "cpus": 1, "memory_kib": 1}});
    let record = |id: &str, outcome: Value, judgement: &str| {
        json!({"event": "case-finished", "target": "mine", "case": id, "attempt": 1, "outcome": outcome,
            "judgement": {"kind": judgement}, "duration_ms": 1.0})
    };
    let violation = json!([{"requirement": "r", "expected": "a", "actual": "b"}]);
    let trouble = json!({"kind": "harness", "what": "x"});
    // The fourth was cut off.
    let events = [
        header,
        record(&ids[0], json!({"kind": "pass"}), "good"),
        record(&ids[1], json!({"kind": "fail", "violations": violation}), "bad"),
        record(&ids[2], json!({"kind": "error", "trouble": trouble}), "trouble"),
    ];
    let path = place.path().join("old.jsonl");
    fs::write(&path, events.map(|e| e.to_string() + "\n").concat()).unwrap();
    let path = path.display().to_string();
    let (again, _) = place.run(&["run", "--rerun", "failed", &path, "--dry-run"]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    let listed: Vec<&str> =
        said.lines().filter_map(|l| l.split(' ').next()).filter(|l| l.contains('/')).collect();
    assert_eq!(listed, [&ids[1], &ids[2], &ids[3]], "{}", text(&again));
    assert!(String::from_utf8_lossy(&again.stderr).contains("target mine"), "{}", text(&again));
}

#[test]
fn rounds_become_attempts_of_one_run() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (output, _) = place.run(&[
        "run",
        "--case",
        CASE,
        "--timeout-scale",
        "3",
        "--stress-count",
        "3",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let run_file = fs::read_to_string(place.out().join("run.jsonl")).unwrap();
    let run = plimsoll_model::Run::parse(&run_file).unwrap();
    assert_eq!((run.records.len(), run.superseded.len(), run.records[0].attempt), (1, 2, 3));
    place.assert_clean();
}

#[test]
fn doctor_asks_the_targets_as_well() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (good, _) = place.run(&["doctor", "-t", "ref:oci", "--json"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let document: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert!(document["targets"][0]["version"].as_str().is_some_and(|v| !v.is_empty()), "{document}");
    let (bad, _) = place.run(&["doctor", "-t", "oci:/bin/true?name=truth"]);
    assert_eq!(bad.status.code(), Some(3), "{}", text(&bad));
    assert!(text(&bad).contains("✗ target truth"), "{}", text(&bad));
    place.assert_clean();
}
