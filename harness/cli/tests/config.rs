//! Layered configuration by the built program.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};
use std::fs;
use std::process::{Command, Output};

/// Runs in the place as its working directory, with a user's configuration below it.
fn run(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command: Command = place.command(args);
    command.current_dir(place.path()).env("XDG_CONFIG_HOME", place.path().join("home"));
    command.env_remove("PLIMSOLL_CONFIG").envs(variables.iter().copied());
    command.output().unwrap()
}

fn write(place: &Place, name: &str, content: &str) {
    let path = place.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn each_value_names_its_origin() {
    let place = Place::new();
    write(&place, "home/plimsoll/config.toml", "[run]\nretries = 1\njobs = 2\n");
    write(&place, "plimsoll.toml", "[run]\nretries = 2\n[gate.mine]\nprofile = \"must\"\n");
    let args = ["config", "show", "--origin", "--gate", "mine"];
    let shown = run(&place, &args, &[("PLIMSOLL_TIMEOUT_SCALE", "2.5")]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown));
    let shown = text(&shown);
    for (key, origin) in [
        ("retries = 2", "# project file plimsoll.toml"),
        ("jobs = 2", "# user file "),
        ("profile = \"must\"", "# gate mine (project file plimsoll.toml)"),
        ("timeout-scale = 2.5", "# variable PLIMSOLL_TIMEOUT_SCALE"),
        ("max-fail = 0", "# default"),
    ] {
        let found = shown.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key}: {shown}"));
        assert!(found.contains(origin), "{found}");
    }
    assert!(shown.contains("[gate.release]"), "the gates of this program: {shown}");
    let only = run(&place, &["config", "show", "--origin", "--config", "none"], &[]);
    assert!(!text(&only).contains("project file"), "{}", text(&only));
}

#[test]
fn a_file_decides_what_runs_and_a_flag_decides_over_it() {
    let place = Place::new();
    write(
        &place,
        ".config/plimsoll.toml",
        "[run]\nprofile = \"smoke\"\n[gate.kill]\nfilter = [\"section(kill)\"]\n",
    );
    let cases = |args: &[&str], variables: &[(&str, &str)]| -> Vec<String> {
        let output = run(&place, args, variables);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().filter(|l| l.contains('/')).map(|l| l.split(' ').next().unwrap().to_owned()).collect()
    };
    let smoke = cases(&["run", "--dry-run"], &[]);
    assert_eq!(
        smoke,
        cases(&["list", "--format", "names"], &[])
            .into_iter()
            .filter(|c| !c.starts_with("cri/"))
            .collect::<Vec<_>>()
    );
    let full = cases(&["run", "--dry-run", "-P", "full"], &[]);
    assert!(full.len() > 2 * smoke.len(), "{} and {}", full.len(), smoke.len());
    assert_eq!(full, cases(&["run", "--dry-run"], &[("PLIMSOLL_PROFILE", "full")]));
    let kill = cases(&["run", "--dry-run", "--gate", "kill"], &[]);
    assert!(!kill.is_empty() && kill.iter().all(|c| c.contains("/kill/")), "{kill:?}");
    assert_eq!(kill, cases(&["run", "--dry-run"], &[("PLIMSOLL_GATE", "kill")]));
}

#[test]
fn mistakes_are_told_where_they_are() {
    let place = Place::new();
    let with = |content: &str, args: &[&str]| {
        write(&place, "plimsoll.toml", content);
        let output = run(&place, args, &[]);
        (output.status.code(), text(&output))
    };
    let (code, said) = with("[run]\nprofle = \"smoke\"\n", &["config", "show"]);
    assert_eq!(code, Some(0), "an unknown key is no reason to stop: {said}");
    assert!(
        said.contains(
            "warning: project file plimsoll.toml: unknown key `run.profle`; did you mean `profile`?"
        ),
        "{said}"
    );
    for (content, want) in [
        ("[run\n", "plimsoll.toml"),
        ("[run]\njobs = \"many\"\n", "`run.jobs` takes a whole number"),
        ("[run]\nformat = \"xml\"\n", "`run.format` does not know `xml`"),
        ("[run]\ngate = \"relaese\"\n", "no gate is called `relaese`"),
        ("min-version = \"99\"\n", "needs plimsoll 99"),
    ] {
        let (code, said) = with(content, &["run", "--dry-run"]);
        assert_eq!(code, Some(2), "{content}: {said}");
        assert!(said.contains(want) && said.contains("hint: "), "{content}: {said}");
        assert!(!place.out().exists(), "{content}");
    }
    let (_, said) = with("", &["run", "--dry-run", "--gate", "relaese"]);
    assert!(said.contains("did you mean `release`?"), "{said}");
    let bad = run(&place, &["run", "--dry-run"], &[("PLIMSOLL_JOBS", "many")]);
    assert_eq!(bad.status.code(), Some(2), "{}", text(&bad));
    write(&place, ".config/plimsoll.toml", "");
    let (code, said) = with("", &["list"]);
    assert!(code == Some(2) && said.contains("both plimsoll.toml and .config/plimsoll.toml"), "{said}");
    let gone = run(&place, &["list", "--config", "nowhere.toml"], &[]);
    assert_eq!(gone.status.code(), Some(2), "{}", text(&gone));
}

#[test]
fn the_run_file_says_what_the_configuration_said() {
    if !fit() {
        return;
    }
    let place = Place::new();
    write(
        &place,
        "plimsoll.toml",
        "[run]\nretries = 1\ntimeout-scale = 3.0\ntarget = [\"ref:oci?name=mine\"]\n",
    );
    let case = "oci-runtime/kill/stopped-is-error";
    let output = run(&place, &["run", "--case", case, "--gate", "release"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let run_file = fs::read_to_string(place.out().join("run.jsonl")).unwrap();
    let run = plimsoll_model::Run::parse(&run_file).unwrap();
    assert_eq!(run.header.targets[0].label, "mine");
    for flag in ["--retries=1", "--timeout-scale=3", "--target=ref:oci?name=mine", "--strict=true"] {
        assert!(run.header.command.iter().any(|a| a == flag), "{flag}: {:?}", run.header.command);
    }
    // Whoever repeats the command has not these files.
    let again: Vec<&str> =
        run.header.command.iter().map(String::as_str).filter(|a| *a != "--config").collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let repeated = command.args(again).arg("--dry-run").env("PLIMSOLL_CONFIG", "none").output().unwrap();
    assert!(String::from_utf8_lossy(&repeated.stdout).contains(case), "{}", text(&repeated));
}
