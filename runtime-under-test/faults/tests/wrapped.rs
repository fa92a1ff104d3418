//! The wrapper around a real runtime: one fault of each mechanism, seen from outside.

// Helpers of tests may unwrap and print as tests do; clippy knows only functions marked #[test].
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::{Case, wait_until};

macro_rules! case {
    ($fault:expr, $script:expr) => {
        match Case::new($fault, $script) {
            Some(case) => case,
            None => return,
        }
    };
}

const LONG: &str = "sleep 60";

#[test]
fn the_control_changes_nothing() {
    let case = case!("none", "hostname >/out/name");
    case.run_through();
    assert_eq!(case.out("name"), "sample\n");
    assert!(case.wrapped("delete", &[], &[]).status.success());
    assert_eq!(case.wrapped("state", &[], &[]).status.code(), case.direct("state", &[], &[]).status.code());
}

#[test]
fn an_edited_configuration_is_seen_by_the_runtime_only() {
    let case = case!("hostname-cut", "hostname >/out/name");
    let before = fs::read(case.bundle().join("config.json")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    case.run_through();
    assert_eq!(case.out("name"), "xsample\n");
    assert_eq!(fs::read(case.bundle().join("config.json")).unwrap(), before);
    assert_eq!(case.real_state().unwrap()["bundle"], case.bundle().to_str().unwrap());
    let bundle = case.bundle();
    let ours = |table: &str| table.lines().filter(|l| l.contains(bundle.to_str().unwrap())).count();
    assert_eq!(ours(&fs::read_to_string("/proc/self/mountinfo").unwrap()), ours(&mounts));
}

#[test]
fn output_is_edited_and_nothing_else() {
    let case = case!("state.status-created-as-running", LONG);
    assert!(case.create());
    let shown: Value = serde_json::from_slice(&case.wrapped("state", &[], &[]).stdout).unwrap();
    let mut real = case.real_state().unwrap();
    assert_eq!(real["status"], "created");
    real["status"] = json!("running");
    assert_eq!(shown, real);
}

#[test]
fn a_failure_is_hidden_only_under_its_condition() {
    let case = case!("root.absent-accepted", LONG);
    let mut config = case.config(LONG);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
    case.write_config(&config);
    assert!(!case.create(), "another failure must stay one");
    config.as_object_mut().unwrap().remove("root");
    case.write_config(&config);
    assert!(case.create());
}

#[test]
fn a_repaired_configuration_is_accepted() {
    let case = case!("process.rlimits-unknown-accepted", LONG);
    let mut config = case.config(LONG);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
    case.write_config(&config);
    assert!(case.create());
    assert_eq!(case.real_state().unwrap()["status"], "created");
}

#[test]
fn a_second_create_replaces_the_first_container() {
    let case = case!("create.duplicate-replaces", LONG);
    assert!(case.create());
    let first = case.real_state().unwrap()["pid"].clone();
    assert!(case.create());
    assert_ne!(case.real_state().unwrap()["pid"], first);
}

#[test]
fn the_container_is_altered_after_create() {
    let case = case!("default-devices.zero-is-null", "cat /dev/zero | cat >/out/zero; echo done >/out/end");
    case.run_through();
    assert_eq!((case.out("zero").as_str(), case.out("end").as_str()), ("", "done\n"));
}

#[test]
fn a_configuration_changed_after_create_takes_effect_at_start() {
    let case = case!("create.config-reread", "echo old >/out/which");
    assert!(case.create());
    case.write_config(&case.config("echo new >/out/which"));
    assert!(case.wrapped("start", &[], &[]).status.success());
    wait_until("the program writes", || !case.out("which").is_empty());
    assert_eq!(case.out("which"), "new\n");
}

fn with_hooks(case: &Case, kinds: &[&str], script: &str) {
    let mut config = case.config(LONG);
    for kind in kinds {
        config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    }
    case.write_config(&config);
}

#[test]
fn hooks_get_altered_input_in_the_callers_namespace() {
    let case = case!("hooks.state-status-stopped", LONG);
    let log = case.dir.path().join("log");
    let script = format!("cat >>{0}; echo >>{0}; readlink /proc/self/ns/mnt >>{0}", log.display());
    with_hooks(&case, &["createRuntime"], &script);
    assert!(case.create());
    let text = fs::read_to_string(log).unwrap();
    let (state, namespace) = text.split_once('\n').unwrap();
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!(state["status"], "stopped");
    assert_eq!(state["id"], case.id);
    assert_eq!(namespace.trim(), fs::read_link("/proc/self/ns/mnt").unwrap().to_str().unwrap());
}

#[test]
fn a_failing_hook_is_ignored() {
    let case = case!("hooks.create-runtime-failure-ignored", LONG);
    with_hooks(&case, &["createRuntime"], "exit 1");
    assert!(case.create());
    let case = case!("none", LONG);
    with_hooks(&case, &["createRuntime"], "exit 1");
    assert!(!case.create());
}

#[test]
fn a_failing_hook_is_told_after_the_container_was_made() {
    let case = case!("hooks.failure-leaves-container", LONG);
    with_hooks(&case, &["createRuntime"], "exit 0");
    assert!(case.create());
    assert!(case.wrapped("delete", &["--force"], &[]).status.success());
    with_hooks(&case, &["createRuntime"], "exit 1");
    assert!(!case.create());
    assert_eq!(case.real_state().unwrap()["status"], "created");
    assert!(case.wrapped("delete", &["--force"], &[]).status.success());
    assert!(!case.dir.path().join("marks").exists());
}

#[test]
fn a_failed_create_leaves_a_container() {
    let case = case!("create.failure-leaves-container", LONG);
    let mut config = case.config(LONG);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
    case.write_config(&config);
    assert!(!case.create());
    assert_eq!(case.real_state().unwrap()["status"], "created");
}

/// A profile that asks an agent about mkdir, and an agent that takes one state.
fn with_agent(case: &Case, script: &str) -> std::thread::JoinHandle<Value> {
    use std::io::Read;
    let agent = case.dir.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let mut config = case.config(script);
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "listenerMetadata": "m",
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    case.write_config(&config);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    })
}

#[test]
fn the_seccomp_agent_gets_a_spoilt_state_and_the_relay_ends() {
    let case = case!("seccomp.notify-no-metadata", LONG);
    let agent = with_agent(&case, LONG);
    assert!(case.create(), "runc 1.1 or later with libseccomp 2.5 or later is needed");
    let state = agent.join().unwrap();
    assert_eq!(state.get("metadata"), None);
    assert_eq!(state["state"]["id"], case.id);
    assert!(case.dir.path().join("marks").exists());
    assert!(case.wrapped("delete", &["--force"], &[]).status.success());
    assert!(!case.dir.path().join("marks").exists());
}

#[test]
fn a_hook_inside_the_container_gets_altered_input() {
    let case = case!("hooks.start-container-state-id-wrong", LONG);
    with_hooks(&case, &["startContainer"], "cat >/out/state");
    assert!(case.create() && case.wrapped("start", &[], &[]).status.success());
    wait_until("the hook writes", || !case.out("state").is_empty());
    assert_eq!(serde_json::from_str::<Value>(&case.out("state")).unwrap()["id"], "other");
}

#[test]
fn an_exec_process_file_is_edited() {
    let case = case!("exec.cwd-dropped", LONG);
    assert!(case.create() && case.wrapped("start", &[], &[]).status.success());
    let file = case.dir.path().join("process.json");
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/proc", "env": ["PATH=/bin"],
        "args": ["/bin/sh", "-c", "pwd; exit 7"],
    });
    fs::write(&file, process.to_string()).unwrap();
    let output = case.wrapped("exec", &["--process", file.to_str().unwrap()], &[]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), &b"/\n"[..]));
    let direct = case.direct("exec", &["--process", file.to_str().unwrap()], &[]);
    assert_eq!(direct.stdout, b"/proc\n");
}

#[test]
fn a_leaked_process_is_there_and_can_be_found() {
    let case = case!("delete.leaves-process", "sleep 0");
    case.run_through();
    assert!(case.wrapped("delete", &[], &[]).status.success());
    // The helper is ours alone: it runs our binary with our state directory in its environment.
    let marker = format!("PLIMSOLL_FAULT_STATE={}", case.dir.path().join("marks").display());
    let leaked: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let text = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&text("environ")).contains(&marker)
                && String::from_utf8_lossy(&text("cmdline")).contains("__sleep")
        })
        .collect();
    assert_eq!(leaked.len(), 1, "{leaked:?}");
    assert!(Command::new("kill").arg("-9").arg(leaked[0].to_string()).status().unwrap().success());
}

#[test]
fn marks_last_until_delete() {
    let case = case!("pause.pretended", LONG);
    assert!(case.create() && case.wrapped("start", &[], &[]).status.success());
    assert!(case.wrapped("pause", &[], &[]).status.success());
    let shown = || {
        serde_json::from_slice::<Value>(&case.wrapped("state", &[], &[]).stdout).unwrap()["status"].clone()
    };
    assert_eq!((shown(), case.real_state().unwrap()["status"].clone()), (json!("paused"), json!("running")));
    assert!(case.wrapped("resume", &[], &[]).status.success());
    assert_eq!(shown(), "running");
    assert!(case.wrapped("pause", &[], &[]).status.success());
    assert!(case.wrapped("delete", &["--force"], &[]).status.success());
    assert!(!case.dir.path().join("marks").exists());
}

#[test]
fn a_slow_call_is_slow_and_a_failing_one_fails() {
    let case = case!("bench.sleep=300", LONG);
    let started = std::time::Instant::now();
    assert!(case.create());
    assert!(started.elapsed().as_millis() >= 300);
    let case = case!("bench.fail=100", LONG);
    assert!(!case.create() && case.real_state().is_none());
}

fn plain(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-faults"));
    command.args(args).env_remove("PLIMSOLL_FAULT").env_remove("PLIMSOLL_FAULT_TARGET").output().unwrap()
}

#[test]
fn what_cannot_be_injected_is_an_error_not_a_pass() {
    for args in [
        &["state", "x"][..],
        &["--fault", "nosuch", "--target", "/bin/true", "state", "x"],
        &["--fault", "inside.keep-groups", "--target", "/bin/true", "state", "x"],
        &["--fault", "none", "--target", "/nonexistent", "state", "x"],
        &["--fault"],
    ] {
        let output = plain(args);
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn faults_are_listed_and_explained() {
    let listed: Value = serde_json::from_slice(&plain(&["--list", "--json"]).stdout).unwrap();
    assert!(listed["faults"].as_array().unwrap().len() > 500);
    assert!(listed["uncoverable"].as_array().unwrap().iter().all(|w| w["reason"].is_string()));
    let text = String::from_utf8(plain(&["--explain", "OCI-M126"]).stdout).unwrap();
    assert!(
        text.starts_with("create.duplicate-replaces\n") && text.contains("create.duplicate-id.errors"),
        "{text}"
    );
    assert!(String::from_utf8(plain(&["--list"]).stdout).unwrap().lines().count() > 500);
}

#[test]
fn the_environment_names_the_fault_too() {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll-faults"))
        .env("PLIMSOLL_FAULT", "state.empty")
        .env("PLIMSOLL_FAULT_TARGET", "/bin/echo")
        .args(["state", "x"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}
