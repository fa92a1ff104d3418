//! How time, memory and size grow with cases and nodes: synthetic run files, merged and rendered as the program does.
//!
//! `cargo bench -p plimsoll-reports --bench scaling -- CASES NODES [DIR]`; without arguments a row of sizes, each in a
//! process of its own, because the peak of memory is a process's. With a directory the merged run and page stay there.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use plimsoll_model::Run;
use plimsoll_reports::merge::{MergeError, NodeHeader, merge_nodes};
use plimsoll_reports::{html, nodes};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

const SIZES: [(usize, usize); 7] =
    [(1000, 1), (1000, 10), (1000, 50), (10_000, 1), (10_000, 10), (10_000, 25), (10_000, 50)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.len() < 2 {
        println!(
            "|cases|nodes|run files MiB|merge s|merge peak MiB|merged MiB|render s|render peak MiB|page MiB|"
        );
        println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        for (cases, nodes) in SIZES {
            let program = std::env::current_exe().unwrap();
            let status = std::process::Command::new(program)
                .args([cases.to_string(), nodes.to_string()])
                .status()
                .unwrap();
            assert!(status.success());
        }
        return;
    }
    let (cases, nodes) = (args[0].parse().unwrap(), args[1].parse().unwrap());
    let own = tempfile::tempdir().unwrap();
    measure(cases, nodes, args.get(2).map_or(own.path(), Path::new));
}

fn measure(cases: usize, count: usize, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let files: Vec<PathBuf> = (0..count).map(|n| dir.join(format!("node-{n}.jsonl"))).collect();
    for (n, path) in files.iter().enumerate() {
        generate(path, cases, n);
    }
    let size = files.iter().map(|p| p.metadata().unwrap().len()).sum();
    let start = processor();
    let headers: Vec<NodeHeader> = files.iter().map(|p| first_line(p)).collect();
    let merged: Result<Run, MergeError> = merge_nodes(&headers, |i| Ok(read(&files[i])));
    let merged = merged.unwrap();
    let path = dir.join("merged.jsonl");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path).unwrap());
    merged
        .for_each_event(&mut |event| {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")
        })
        .unwrap();
    out.flush().unwrap();
    assert_eq!(merged.records.len(), cases * count);
    assert_eq!(nodes::rows(&merged).len(), count);
    let (merge_time, merge_peak) = (processor() - start, peak());
    drop(merged);
    let start = processor();
    let page = html::render(&read(&path), &html::Options::default());
    let (render_time, render_peak) = (processor() - start, peak());
    fs::write(dir.join("report.html"), &page).unwrap();
    println!(
        "|{cases}|{count}|{:.1}|{:.2}|{:.0}|{:.1}|{:.2}|{:.0}|{:.1}|",
        mib(size),
        merge_time,
        mib(merge_peak),
        mib(path.metadata().unwrap().len()),
        render_time,
        mib(render_peak),
        mib(page.len() as u64)
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Processor time of this process so far, in seconds: the time on the clock depends on what else runs on the host.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths on every kernel that Linux runs this program on.
    [11, 12].iter().map(|i| fields[*i].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn read(path: &Path) -> Run {
    Run::read(BufReader::with_capacity(1 << 20, File::open(path).unwrap())).unwrap()
}

fn first_line(path: &Path) -> NodeHeader {
    let mut line = String::new();
    BufReader::new(File::open(path).unwrap()).read_line(&mut line).unwrap();
    NodeHeader::read(line.as_bytes()).unwrap()
}

fn id(n: usize) -> String {
    format!("oci-runtime/section-{:03}/case-{n:05}-does-what-the-clause-says", n / 40)
}

/// One node's run: of 1000 cases 20 fail with evidence, 30 are skipped, the rest passes.
fn generate(path: &Path, cases: usize, node: usize) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut line = |value: &Value| {
        serde_json::to_writer(&mut out, value).unwrap();
        out.write_all(b"\n").unwrap();
    };
    line(&header(cases, node));
    let mut counts = [0_u64; 3];
    for n in 0..cases {
        let (kind, value) = record(n, node);
        counts[kind] += 1;
        line(&value);
    }
    line(
        &json!({"event": "footer", "status": "complete", "duration_ms": 1000.0 * cases as f64, "planned": cases,
        "counts": {"runc": {"pass": counts[0], "fail": counts[1], "skip": counts[2]}}, "exit_code": 1}),
    );
}

fn header(cases: usize, node: usize) -> Value {
    let plan: Vec<Value> = (0..cases)
        .map(|n| {
            json!({"id": id(n), "summary": "The runtime does what the clause says, and nothing else happens.",
                "covers": [format!("runtime.rule-{:04}", n / 4)], "severity": "fail", "since": "1.0.0",
                "file": "suites/oci-runtime/src/section.rs", "line": n + 1, "tags": []})
        })
        .collect();
    let requirements: Vec<Value> = (0..cases.div_ceil(4))
        .map(|n| {
            json!({"id": format!("runtime.rule-{n:04}"), "file": "runtime.md", "anchor": "#rules", "lines": "10",
                "level": "MUST", "since": "1.0.0", "class": "runtime", "testable": "yes",
                "text": "The runtime does what this clause says.", "how": ""})
        })
        .collect();
    let spec: plimsoll_model::TargetSpec = "oci:/usr/sbin/runc".parse().unwrap();
    json!({"event": "header", "format": "plimsoll-run/1", "run_id": format!("r-{node}"), "tool": "plimsoll 0.1.0",
        "started_at": "2026-11-24T10:00:00Z", "seed": 42, "command": ["run", "-t", "runc"], "profile": "must",
        "plan_digest": "c0ffee", "plan": plan, "requirements": requirements,
        "targets": [{"label": "runc", "spec": spec, "version": "runc 1.1.5"}],
        "host": {"kernel": format!("6.{}.0", node % 4), "machine": "x86_64", "os": "Debian GNU/Linux 12 (bookworm)",
            "cgroups": "v2", "controllers": {"v2": ["cpu", "memory", "pids"]}, "lsm": ["apparmor"],
            "missing_capabilities": [], "cpus": 8, "memory_kib": 33_554_432,
            "facts": {"node": format!("node-{node:02}")}}})
}

/// 0 pass, 1 fail, 2 skip, and the line.
fn record(n: usize, node: usize) -> (usize, Value) {
    let mut value = json!({"event": "case-finished", "target": "runc", "case": id(n), "attempt": 1,
        "outcome": {"kind": "pass"}, "judgement": {"kind": "good"}, "duration_ms": 52.25,
        "facts": {"harness.overhead-ms": 12.125}});
    // Every other failure is one of all nodes.
    let turn = n * 37 % 1000;
    if turn < 10 || (n * 37 + node * 101) % 1000 < 10 {
        value["outcome"] = json!({"kind": "fail", "violations": [{"requirement": format!("runtime.rule-{:04}", n / 4),
            "expected": "exit status ≠ 0", "actual": "exit 0, stderr empty"}]});
        value["judgement"] = json!({"kind": "bad"});
        value["commands"] = json!([
            {"argv": ["runc", "create", "--bundle", "W/bundle", "C1"], "status": "exit 0", "ms": 31.5},
            {"argv": ["runc", "kill", "C1", "TERM"], "status": "exit 0", "ms": 9.5, "stderr": "x".repeat(300)}]);
        value["config"] = json!({"ociVersion": "1.0.2", "process": {"args": ["/probe"], "cwd": "/"},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}});
        return (1, value);
    }
    if turn >= 970 {
        value["outcome"] =
            json!({"kind": "skip", "lack": "apparmor", "reason": "no such module on this host"});
        value["judgement"] = json!({"kind": "neutral"});
        return (2, value);
    }
    (0, value)
}
