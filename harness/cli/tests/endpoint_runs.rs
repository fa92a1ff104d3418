//! Whole runs against CRI endpoints: the bundled server, a kill -9 and its clean-up, an interrupt, a testbed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, packaged, text};
use nix::sys::signal::Signal;
use plimsoll_model::{OutcomeKind, Run};
use std::process::Child;
use std::time::{Duration, Instant};

fn read(place: &Place) -> Run {
    Run::parse(&std::fs::read_to_string(place.out().join("run.jsonl")).unwrap()).unwrap()
}

/// Waits until so many cases have begun.
fn in_mid_run(place: &Place, cases: usize) {
    let start = Instant::now();
    let begun = || {
        std::fs::read_to_string(place.out().join("run.jsonl"))
            .is_ok_and(|t| t.matches("case-started").count() >= cases)
    };
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(120), "no case has begun");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Command lines of processes that name this text.
fn commands_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.map(|e| std::fs::read(e.path().join("cmdline")).unwrap_or_default());
    let commands = commands.map(|c| String::from_utf8_lossy(&c).replace('\0', " "));
    commands.filter(|c| c.contains(text)).collect()
}

/// What a run must not leave anywhere on the host: everything that it makes carries its id or lies below its place.
fn assert_nothing_left(place: &Place, run: &str) {
    place.assert_clean();
    let work = place.path().display().to_string();
    assert_eq!(commands_with(&work), Vec::<String>::new(), "processes are left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&work), "a mount is left");
    let bridges: Vec<_> = std::fs::read_dir("/sys/class/net").unwrap().flatten().collect();
    assert!(!bridges.iter().any(|b| b.file_name().to_string_lossy().contains(run)), "a bridge is left");
    for hierarchy in plimsoll_kit::host::hierarchies() {
        for dir in plimsoll_kit::host::sub_directories(&hierarchy.mount) {
            assert!(!dir.display().to_string().contains(run), "{} is left", dir.display());
        }
    }
}

#[test]
fn the_reference_server_passes_the_smoke_profile() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (output, _) = place.run(&["run", "-t", "ref:cri", "-P", "smoke", "--timeout-scale", "3"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run = read(&place);
    assert!(run.is_complete() && run.records.len() > 10, "{said}");
    assert!(run.header.targets[0].version.contains("CRI v1"), "{said}");
    for name in ["junit_ref-cri.xml", "report.html", "summary.md"] {
        assert!(place.out().join(name).is_file(), "{name} is missing");
    }
    assert_nothing_left(&place, &run.header.run_id);
}

#[test]
fn both_kinds_of_targets_share_a_report() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let args = ["run", "-t", "ref:oci", "-t", "ref:cri", "-t", "ref:cri?name=second", "--timeout-scale", "3"];
    let names = ["oci-runtime/kill", "cri/status"];
    let (output, _) = place.run(&[&args[..], &names[..]].concat());
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run = read(&place);
    for record in &run.records {
        let endpoint = record.target != "ref-oci";
        let own = record.case.suite() == if endpoint { "cri" } else { "oci-runtime" };
        let applies = record.outcome.kind() != OutcomeKind::NotApplicable;
        assert!(own || !applies, "{} on {} is {:?}", record.case, record.target, record.outcome);
    }
    for label in ["ref-oci", "ref-cri", "second"] {
        let passed = |r: &&plimsoll_model::CaseRecord| r.outcome.kind() == OutcomeKind::Pass;
        assert!(run.records.iter().filter(|r| r.target == label).any(|r| passed(&r)), "{label}: {said}");
    }
    assert_nothing_left(&place, &run.header.run_id);
}

#[test]
fn what_a_killed_run_left_is_collected() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let mut child = place.command(&["run", "-t", "ref:cri", "-P", "full"]).spawn().unwrap();
    in_mid_run(&place, 6);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = read(&place);
    assert!(!run.is_complete());
    let (output, _) = place.run(&["gc"]);
    assert!(output.status.success() && text(&output).contains("removed"), "{}", text(&output));
    let (again, _) = place.run(&["gc"]);
    assert!(text(&again).contains("nothing to remove"), "{}", text(&again));
    assert_nothing_left(&place, &run.header.run_id);
}

#[test]
fn an_interrupt_cleans_up_and_writes_the_footer() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let mut child = place.command(&["run", "-t", "ref:cri", "-P", "full"]).spawn().unwrap();
    in_mid_run(&place, 3);
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let run = read(&place);
    assert!(run.footer.is_some() && !run.is_complete());
    assert!(run.records.iter().any(|r| r.outcome.kind() == OutcomeKind::NotRun));
    // Workers that the interrupt cut off, however early, have no verdict; they are no trouble.
    let trouble = run.records.iter().filter(|r| r.outcome.kind() == OutcomeKind::Error).count();
    assert_eq!(trouble, 0, "cases that were cut off count as errors");
    assert_nothing_left(&place, &run.header.run_id);
}

#[test]
fn a_testbed_runs_a_command_and_passes_its_exit_code_on() {
    let (true, Some(_), Some(_)) = (fit(), packaged("containerd"), packaged("runc")) else { return };
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_plimsoll");
    let (out, work) = (place.out().display().to_string(), place.work().display().to_string());
    let inner = [program, "run", "-t", "@testbed", "-t", "@testbed?handler=plimsoll-oci", "cri/status"];
    let mut args = vec!["testbed", "containerd", "--handler", "runc", "--handler", "plimsoll-oci"];
    args.extend(["--work-dir", &work, "--"]);
    args.extend(inner);
    args.extend(["--out", &out, "--work-dir", &work, "--exit-zero", "--timeout-scale", "3"]);
    let output = std::process::Command::new(program).args(&args).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run = read(&place);
    let labels: Vec<&str> = run.header.targets.iter().map(|t| t.label.as_str()).collect();
    assert_eq!(labels, ["containerd", "containerd-plimsoll-oci"]);
    assert!(run.header.targets.iter().all(|t| t.unfit.is_none()), "{said}");
    assert!(run.records.iter().any(|r| r.outcome.kind() == OutcomeKind::Pass), "{said}");
    assert_nothing_left(&place, &run.header.run_id);

    let args =
        ["testbed", "containerd", "--handler", "runc", "--work-dir", &work, "--", "sh", "-c", "exit 42"];
    let output = std::process::Command::new(program).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", text(&output));
    place.assert_clean();
}

#[test]
fn what_a_killed_testbed_left_is_collected() {
    let (true, Some(_), Some(_)) = (fit(), packaged("containerd"), packaged("runc")) else { return };
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_plimsoll");
    let mut args = vec!["testbed", "containerd", "--handler", "runc", "--", program];
    let (out, work) = (place.out().display().to_string(), place.work().display().to_string());
    args.extend(["run", "-t", "@testbed", "cri", "--out", &out, "--work-dir", &work]);
    let mut child =
        std::process::Command::new(program).env("PLIMSOLL_WORK_DIR", &work).args(&args).spawn().unwrap();
    in_mid_run(&place, 6);
    let run = read(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    // The inner run has lost its endpoint, cannot be stopped from here, and ends by itself.
    let end = Instant::now() + Duration::from_secs(180);
    let ours = place.path().display().to_string();
    loop {
        let (output, _) = place.run(&["gc"]);
        if text(&output).contains("nothing to remove") && commands_with(&ours).is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{}", text(&output));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_nothing_left(&place, &run.header.run_id);
}

/// A CRI server that goes on after a run, in a place of its own.
fn serve(place: &Place) -> (Child, std::path::PathBuf) {
    let (dir, tag) = (place.path().join("server"), std::process::id());
    std::fs::create_dir(&dir).unwrap();
    let socket = dir.join("cri.sock");
    let at = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "socket = {:?}\nroot = {:?}\nstate = {:?}\ncgroup_root = \"/plimsoll-t{tag}\"\n\
         [network]\nmode = \"builtin\"\nbridge = \"plt{tag}\"\nsubnet = \"10.62.{}.0/24\"\n",
        at("cri.sock"),
        at("root"),
        at("st"),
        tag % 256
    );
    std::fs::write(dir.join("cri.toml"), config).unwrap();
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["cri", "--config"])
        .arg(dir.join("cri.toml"))
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, socket)
}

/// Numbers of pods, containers and images that an endpoint lists.
fn listed(socket: &std::path::Path) -> (usize, usize, usize) {
    use plimsoll_kit::cri::{Client, Options, address, v1};
    let endpoint = format!("unix://{}", socket.display());
    let target = plimsoll_kit::job::CriTarget {
        endpoint: endpoint.clone(),
        image_endpoint: endpoint,
        handler: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::lazy(&address(&target), Options::default());
        let pods = client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.unwrap().items;
        let containers =
            client.list_containers(v1::ListContainersRequest::default()).await.unwrap().containers;
        let images = client.list_images(v1::ListImagesRequest::default()).await.unwrap().images;
        (pods.len(), containers.len(), images.len())
    })
}

#[test]
fn what_a_killed_run_left_on_an_endpoint_is_collected() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (mut server, socket) = serve(&place);
    let target = format!("cri:unix://{}", socket.display());
    let mut child = place.command(&["run", "-t", &target, "cri/security"]).spawn().unwrap();
    in_mid_run(&place, 6);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = read(&place);
    assert!(listed(&socket).2 > 0, "the run's image is gone before the clean-up");
    let (output, _) = place.run(&["gc"]);
    let (said, left) = (text(&output), listed(&socket));
    send(&server, Signal::SIGTERM);
    server.wait().unwrap();
    assert!(output.status.success() && said.contains("removed"), "{said}");
    assert_eq!(left, (0, 0, 0), "pods, containers and images on the endpoint");
    assert_nothing_left(&place, &run.header.run_id);
}
