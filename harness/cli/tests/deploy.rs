//! The manifests of harness/deploy: against the types of the Kubernetes API, and by doing what they say.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, ServiceAccount, Volume};
use plimsoll_model::{ExitCode, Run};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

/// The documents of a manifest.
fn documents(name: &str) -> Vec<Value> {
    let path = format!("{}/../deploy/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text).map(|d| Value::deserialize(d).unwrap()).collect()
}

/// Reads a value as a type of the API and writes it again: what the API does not know, or knows by another type, is
/// missing then.
fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> T {
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    let again = serde_json::to_value(&typed).unwrap();
    assert_eq!(&again, value, "the API does not know all of it");
    typed
}

fn job() -> Job {
    let all = documents("job.yaml");
    strict(all.iter().find(|d| d["kind"] == "Job").unwrap())
}

#[test]
fn manifests_are_what_kubernetes_knows() {
    let all = documents("job.yaml");
    let kinds: Vec<&str> = all.iter().map(|d| d["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "Job"]);
    let _: Namespace = strict(&all[0]);
    let account: ServiceAccount = strict(&all[1]);
    assert_eq!(account.automount_service_account_token, Some(false));
    let pod = job().spec.unwrap().template.spec.unwrap();
    // What the API server checks beyond types.
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"), "a podFailurePolicy needs it");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.service_account_name, account.metadata.name);
    assert!(pod.host_network.is_none() && pod.host_ipc.is_none());
    let volumes: Vec<&str> = pod.volumes.iter().flatten().map(|v| v.name.as_str()).collect();
    for mount in pod.containers[0].volume_mounts.iter().flatten() {
        assert!(volumes.contains(&mount.name.as_str()), "{} is no volume", mount.name);
    }
}

#[test]
fn a_misspelt_field_would_be_found() {
    let mut value = serde_json::to_value(job()).unwrap();
    value["spec"]["backofLimitPerIndex"] = 1.into();
    let found = std::panic::catch_unwind(|| strict::<Job>(&value));
    assert!(found.is_err());
}

/// What the job's policy does with an exit code: its first rule that fits.
fn action(job: &Job, code: i32) -> String {
    let rules = job.spec.as_ref().unwrap().pod_failure_policy.as_ref().unwrap().rules.clone();
    let fits = |rule: &&k8s_openapi::api::batch::v1::PodFailurePolicyRule| {
        rule.on_exit_codes.as_ref().is_some_and(|c| c.operator == "In" && c.values.contains(&code))
    };
    rules.iter().find(fits).map_or("default".to_owned(), |r| r.action.clone())
}

#[test]
fn every_exit_code_has_its_consequence() {
    let job = job();
    for code in ExitCode::ALL.into_iter().filter(|c| *c != ExitCode::Success) {
        let want = match code {
            ExitCode::GateClosed => "FailIndex",
            ExitCode::Usage | ExitCode::StaleExpectations => "FailJob",
            _ => "Count",
        };
        assert_eq!(action(&job, i32::from(code.code())), want, "{code:?}");
    }
    let spec = job.spec.unwrap();
    assert!(spec.backoff_limit_per_index.is_some_and(|n| n > 0), "what counts is tried again");
    let disrupted = &spec.pod_failure_policy.unwrap().rules[0];
    assert_eq!(disrupted.action, "Ignore");
    assert!(disrupted.on_exit_codes.is_none());
}

/// The words of a container's command after `--`, with another target and profile.
fn command(container: &Container) -> Vec<String> {
    let args = container.args.clone().unwrap();
    let start = args.iter().position(|a| a == "--").unwrap() + 1;
    let mut words = args[start..].to_vec();
    for (flag, value) in [("-t", "ref:oci"), ("-P", "smoke")] {
        let at = words.iter().position(|w| w == flag).unwrap();
        value.clone_into(&mut words[at + 1]);
    }
    words
}

/// All indexes of the job as processes, as the job's controller would start them; their logs merge to the whole.
#[test]
fn the_jobs_shards_are_the_plan() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let spec = job().spec.unwrap();
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    let container = spec.template.spec.unwrap().containers[0].clone();
    let count = spec.completions.unwrap();
    let mut logs = Vec::new();
    for index in 0..count {
        let shared = place.path().join(format!("shared-{index}"));
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["node", "--here", "--timeout", "600", "--shared"])
            .arg(&shared)
            .arg("--out")
            .arg(place.path().join(format!("out-{index}")))
            .arg("--")
            .args(command(&container))
            .args(["--timeout-scale", "5"])
            .envs(plain(&container))
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .output()
            .unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1 | 4)), "{}", text(&output));
        let log = place.path().join(format!("shard-{index}.jsonl"));
        std::fs::write(&log, &output.stdout).unwrap();
        logs.push(log.display().to_string());
        assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0, "something is left on the node");
    }
    let merged = place.path().join("run.jsonl").display().to_string();
    let mut args = vec!["report", "merge", "-o", merged.as_str()];
    args.extend(logs.iter().map(String::as_str));
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(&args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = Run::parse(&std::fs::read_to_string(&merged).unwrap()).unwrap();
    let (list, _) = place.run(&["list", "-P", "smoke", "--format", "names"]);
    let want = String::from_utf8_lossy(&list.stdout).lines().filter(|n| run_holds(&run, n)).count();
    assert_eq!(run.records.len(), run.header.plan.len());
    assert_eq!(run.records.len(), want, "the whole plan, once");
    assert!(run.header.partition.is_none() && run.is_complete());
    // Without one of them there is no result.
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(&args[..args.len() - 1]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

fn run_holds(run: &Run, name: &str) -> bool {
    run.header.plan.iter().any(|c| c.id.as_str() == name)
}

/// The variables that a manifest sets itself.
fn plain(container: &Container) -> BTreeMap<String, String> {
    let all = container.env.clone().unwrap_or_default();
    all.into_iter().filter_map(|e| Some((e.name, e.value?))).collect()
}

#[test]
fn the_count_is_that_of_the_job() {
    let spec = job().spec.unwrap();
    let container = &spec.template.spec.as_ref().unwrap().containers[0];
    assert_eq!(plain(container)["JOB_COMPLETIONS"], spec.completions.unwrap().to_string());
}

#[test]
fn the_plugin_is_what_sonobuoy_and_kubernetes_know() {
    let all = documents("sonobuoy-plugin.yaml");
    assert_eq!(all.len(), 1);
    let plugin = all[0].as_object().unwrap();
    let keys: Vec<&str> = plugin.keys().map(String::as_str).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["extra-volumes", "podSpec", "sonobuoy-config", "spec"]);
    let config = plugin["sonobuoy-config"].as_object().unwrap();
    assert_eq!(config["driver"], "DaemonSet");
    assert_eq!(config["result-format"], "junit");
    assert!(config.keys().all(|k| ["driver", "plugin-name", "result-format"].contains(&k.as_str())));
    let pod: PodSpec = strict(&plugin["podSpec"]);
    assert_eq!(pod.host_pid, Some(true));
    let container: Container = strict(&plugin["spec"]);
    let volumes: Vec<Volume> = plugin["extra-volumes"].as_array().unwrap().iter().map(strict).collect();
    for mount in container.volume_mounts.iter().flatten() {
        // Sonobuoy itself adds the volume `results`.
        assert!(mount.name == "results" || volumes.iter().any(|v| v.name == mount.name), "{}", mount.name);
    }
    let results = container.volume_mounts.iter().flatten().find(|m| m.name == "results").unwrap();
    assert_eq!(plain(&container)["SONOBUOY_RESULTS_DIR"], results.mount_path);
}

/// What Sonobuoy's aggregator makes of a results directory, by its documented contract: `done` names the one file to
/// fetch, an archive is unpacked, every XML file in it is read as JUnit, and no item at all is `unknown`, never passed.
fn aggregate(results: &Path) -> (String, usize) {
    let named = std::fs::read_to_string(results.join("done")).unwrap();
    let path = Path::new(named.trim());
    assert!(path.starts_with(results), "{named} is outside of the results directory");
    assert!(named.ends_with(".tar.gz"), "the type is told by the name");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let (mut cases, mut failed) = (0, 0);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        assert!(!name.starts_with('/') && !name.contains(".."), "{name}");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if Path::new(&name).extension().is_some_and(|e| e == "xml") {
            let (all, bad) = junit(std::str::from_utf8(&content).unwrap());
            cases += all;
            failed += bad;
        }
    }
    let status = match (cases, failed) {
        (0, _) => "unknown",
        (_, 0) => "passed",
        _ => "failed",
    };
    (status.to_owned(), cases)
}

/// Test cases of a JUnit document, and those of them that failed.
fn junit(document: &str) -> (usize, usize) {
    let mut reader = quick_xml::Reader::from_str(document);
    let (mut cases, mut failed) = (0, 0);
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(e) | quick_xml::events::Event::Empty(e) => {
                match e.name().as_ref() {
                    b"testcase" => cases += 1,
                    b"failure" | b"error" => failed += 1,
                    _ => {}
                }
            }
            quick_xml::events::Event::Eof => return (cases, failed),
            _ => {}
        }
    }
}

#[test]
fn sonobuoy_takes_the_plugins_results() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let all = documents("sonobuoy-plugin.yaml");
    let container: Container = strict(&all[0]["spec"]);
    let results = place.path().join("results");
    let node = |words: &[String]| {
        Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["node", "--here", "--sonobuoy", "--timeout", "600", "--shared"])
            .arg(place.path().join("shared"))
            .arg("--out")
            .arg(place.out())
            .arg("--")
            .args(words)
            .env("SONOBUOY_RESULTS_DIR", &results)
            .env("PLIMSOLL_NODE", "node-7")
            .output()
            .unwrap()
    };
    let mut words = command(&container);
    words.extend(["--timeout-scale", "5", "oci-runtime/kill"].map(str::to_owned));
    let output = node(&words);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
    let (status, cases) = aggregate(&results);
    assert!(cases > 0);
    assert_eq!(status == "passed", output.status.code() == Some(0), "{status}");
    let run = Run::parse(&std::fs::read_to_string(place.out().join("run.jsonl")).unwrap()).unwrap();
    assert_eq!(run.header.host.facts["node"], "node-7");
    assert_eq!(std::fs::read_dir(place.path().join("shared")).unwrap().count(), 0);
    // A container that is started again does not begin anew.
    let again = node(&["no-such-verb".to_owned()]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
}

/// A plugin that cannot run says so, and does not let the aggregator wait.
#[test]
fn a_plugin_that_fails_is_done_and_not_passed() {
    let place = Place::new();
    let results = place.path().join("results");
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["node", "--here", "--sonobuoy", "--shared"])
        .arg(place.path().join("shared"))
        .arg("--results")
        .arg(&results)
        .arg("--out")
        .arg(place.out())
        .args(["--", "run", "-t", "oci:/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(aggregate(&results), ("unknown".to_owned(), 0));
}
