//! config.md, process: scheduler, I/O priority, CPU affinity of exec, terminal; and the host and domain names.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_kit::exec::Exec;
use plimsoll_kit::prelude::*;
use plimsoll_kit::wait::Poll;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    policy_is_applied,
    nice_value_is_applied,
    reset_on_fork_is_applied,
    deadline_parameters_are_applied,
    bad_scheduler_is_error,
    io_priority_is_applied,
    bad_io_priority_is_error,
    final_affinity_is_applied_to_exec,
    initial_affinity_alone_is_left_to_the_kernel,
    affinity_of_a_process_object_is_applied,
    terminal_is_the_three_streams,
    console_size_is_applied,
    console_size_without_terminal_is_ignored,
    incomplete_console_size_is_error,
    host_name_is_applied,
    host_name_without_uts_namespace_is_error,
    domain_name_is_applied,
];

const POLICIES: &[Variant] = &[
    Variant::new("SCHED_OTHER", &[]),
    Variant::new("SCHED_BATCH", &[]),
    Variant::new("SCHED_IDLE", &[]),
    Variant::new("SCHED_FIFO", &["process.scheduler.priority"]),
    Variant::new("SCHED_RR", &["process.scheduler.priority"]),
];

/// The configured scheduling policy is the program's.
#[case(covers = ["process.scheduler", "process.scheduler.policy"], matrix(policy = POLICIES))]
async fn policy_is_applied(cx: &mut Cx) -> Verdict {
    let policy = cx.param("policy").to_owned();
    let realtime = matches!(policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    let mut value = json!({ "policy": policy });
    if realtime {
        cx.need_capability("CAP_SYS_NICE")?;
        // With CONFIG_RT_GROUP_SCHED a version 1 cpu cgroup refuses realtime processes until it is given a budget.
        let budgets = cx.need_v1("cpu").is_ok_and(|cpu| cpu.join("cpu.rt_runtime_us").exists());
        cx.need(!budgets, "realtime-budget", "a new cpu cgroup has no realtime budget on this kernel")?;
        value["priority"] = json!(20);
    }
    let answers = cx.container(probe::ask(["scheduler"])).set("/process/scheduler", value).answers().await?;
    let seen = answers.facts("scheduler")?;
    check_eq!(of "process.scheduler.policy"; seen["policy"], json!(policy), "the policy");
    if realtime {
        check_eq!(seen["priority"], json!(20), "the static priority");
    }
    Ok(())
}

const NICE: &[Variant] = &[Variant::new("5", &[]), Variant::new("19", &[]), Variant::new("absent", &[])];

/// The configured nice value is the program's, and 0 when absent.
#[case(covers = ["process.scheduler.nice"], matrix(nice = NICE))]
async fn nice_value_is_applied(cx: &mut Cx) -> Verdict {
    let nice: Option<i64> = cx.param("nice").parse().ok();
    let mut value = json!({ "policy": "SCHED_OTHER" });
    if let Some(nice) = nice {
        value["nice"] = json!(nice);
    }
    let answers = cx.container(probe::ask(["scheduler"])).set("/process/scheduler", value).answers().await?;
    check_eq!(answers.facts("scheduler")?["nice"], json!(nice.unwrap_or(0)), "the nice value");
    Ok(())
}

/// The flag that resets the policy on fork is set.
#[case(covers = ["process.scheduler.flags"])]
async fn reset_on_fork_is_applied(cx: &mut Cx) -> Verdict {
    let value = json!({ "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
    let answers = cx.container(probe::ask(["scheduler"])).set("/process/scheduler", value).answers().await?;
    let number = answers.facts("scheduler")?["flags_number"].as_u64().unwrap_or_default();
    check!(number & 1 == 1, "SCHED_FLAG_RESET_ON_FORK is set", "flags {number:#x}");
    Ok(())
}

/// Runtime, deadline and period of the deadline policy are as configured.
#[case(covers = ["process.scheduler.runtime", "process.scheduler.deadline", "process.scheduler.period"])]
async fn deadline_parameters_are_applied(cx: &mut Cx) -> Verdict {
    cx.need_capability("CAP_SYS_NICE")?;
    let value = json!({ "policy": "SCHED_DEADLINE", "runtime": 5_000_000, "deadline": 20_000_000, "period": 40_000_000 });
    let answers =
        cx.container(probe::ask(["scheduler"])).set("/process/scheduler", value.clone()).answers().await?;
    let seen = answers.facts("scheduler")?;
    for part in ["runtime", "deadline", "period"] {
        check_eq!(of &format!("process.scheduler.{part}"); seen[part], value[part], "{part} in nanoseconds");
    }
    Ok(())
}

const BAD_SCHEDULERS: &[Variant] = &[
    Variant::new("policy-absent", &["process.scheduler.policy"]),
    Variant::new("policy-unknown", &["process.scheduler.policy"]),
    Variant::new("policy-number", &["process.scheduler.policy"]),
    Variant::new("fifo-without-priority", &["process.scheduler.priority"]),
    Variant::new("priority-too-high", &["process.scheduler.priority"]),
    Variant::new("flag-unknown", &["process.scheduler.flags"]),
    Variant::new("nice-text", &["process.scheduler.nice"]),
    Variant::new("runtime-above-deadline", &["process.scheduler.runtime"]),
    Variant::new("deadline-text", &["process.scheduler.deadline"]),
    Variant::new("period-negative", &["process.scheduler.period"]),
];

/// A scheduler that is incomplete, unknown or impossible is an error.
#[case(covers = [], matrix(scheduler = BAD_SCHEDULERS))]
async fn bad_scheduler_is_error(cx: &mut Cx) -> Verdict {
    let value = match cx.param("scheduler") {
        "policy-absent" => json!({ "nice": 1 }),
        "policy-unknown" => json!({ "policy": "SCHED_TEST" }),
        "policy-number" => json!({ "policy": 1 }),
        "fifo-without-priority" => json!({ "policy": "SCHED_FIFO" }),
        "priority-too-high" => json!({ "policy": "SCHED_FIFO", "priority": 1000 }),
        "flag-unknown" => json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_TEST"] }),
        "nice-text" => json!({ "policy": "SCHED_OTHER", "nice": "5" }),
        "runtime-above-deadline" => {
            json!({ "policy": "SCHED_DEADLINE", "runtime": 50_000_000, "deadline": 10_000_000, "period": 10_000_000 })
        }
        "deadline-text" => json!({ "policy": "SCHED_DEADLINE", "runtime": 1, "deadline": "x", "period": 1 }),
        _ => {
            json!({ "policy": "SCHED_DEADLINE", "runtime": 5_000_000, "deadline": 10_000_000, "period": -1 })
        }
    };
    cx.container(probe::exit(0)).set("/process/scheduler", value).rejected().await?;
    Ok(())
}

const IO_PRIORITIES: &[Variant] = &[
    Variant::new("IOPRIO_CLASS_BE-0", &[]),
    Variant::new("IOPRIO_CLASS_BE-7", &[]),
    Variant::new("IOPRIO_CLASS_RT-4", &[]),
    Variant::new("IOPRIO_CLASS_IDLE-0", &[]),
];

/// The configured I/O priority is the program's.
#[case(
    covers = ["process.io-priority", "process.io-priority.class", "process.io-priority.priority"],
    matrix(value = IO_PRIORITIES)
)]
async fn io_priority_is_applied(cx: &mut Cx) -> Verdict {
    let (class, data) = cx.param("value").split_once('-').unwrap_or_default();
    let data: u64 = data.parse().unwrap_or_default();
    let value = json!({ "class": class, "priority": data });
    let answers = cx.container(probe::ask(["ioprio"])).set("/process/ioPriority", value).answers().await?;
    let seen = answers.facts("ioprio")?;
    check_eq!(of "process.io-priority.class"; seen["class"], json!(class), "the class");
    check_eq!(of "process.io-priority.priority"; seen["data"], json!(data), "the level");
    Ok(())
}

const BAD_IO_PRIORITIES: &[Variant] = &[
    Variant::new("class-absent", &["process.io-priority.class"]),
    Variant::new("class-unknown", &["process.io-priority.class"]),
    Variant::new("priority-absent", &["process.io-priority.priority"]),
    Variant::new("priority-8", &["process.io-priority.priority"]),
    Variant::new("priority-negative", &["process.io-priority.priority"]),
    Variant::new("priority-text", &["process.io-priority.priority"]),
];

/// An I/O priority that is incomplete, unknown or out of range is an error.
#[case(covers = [], matrix(value = BAD_IO_PRIORITIES))]
async fn bad_io_priority_is_error(cx: &mut Cx) -> Verdict {
    let value = match cx.param("value") {
        "class-absent" => json!({ "priority": 4 }),
        "class-unknown" => json!({ "class": "IOPRIO_CLASS_TEST", "priority": 4 }),
        "priority-absent" => json!({ "class": "IOPRIO_CLASS_BE" }),
        "priority-8" => json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        "priority-negative" => json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
        _ => json!({ "class": "IOPRIO_CLASS_BE", "priority": "4" }),
    };
    cx.container(probe::exit(0)).set("/process/ioPriority", value).rejected().await?;
    Ok(())
}

/// A process that joins later runs on the configured processors.
#[case(covers = ["process.exec-cpu-affinity.final", "process.exec-cpu-affinity"])]
async fn final_affinity_is_applied_to_exec(cx: &mut Cx) -> Verdict {
    cx.need(cx.host().cpus > 1, "two-cpus", "the host has one processor, so an affinity shows nothing")?;
    let affinity = json!({ "initial": "0", "final": "1" });
    let container = cx.container(probe::pause()).set("/process/execCPUAffinity", affinity).running().await?;
    let (call, answers) = container.exec(&[], &probe::ask(["affinity"])).await?;
    call.must_succeed()?;
    check_eq!(answers.facts("affinity")?["cpus"], json!([1]), "the processors of the joined process");
    Ok(())
}

/// What the kernel makes of the affinity {1} when a process moves into a container's cpuset: seen at a process of the
/// harness's own.
async fn kernel_s_choice(cx: &Cx, container: &Container) -> Result<Vec<Value>, Stop> {
    let (this, before) = (Pid::from_raw(0), sched_getaffinity(Pid::from_raw(0))?);
    let mut second = CpuSet::new();
    second.set(1)?;
    sched_setaffinity(this, &second)?;
    let stem = cx.dir().join("affinity");
    let script = probe::script().act("wait", json!({ "signals": ["USR1"] })).ask("affinity");
    let exec = Exec::new(&cx.probe_path(), stem).args([script.text("own", None)]);
    let process = exec.spawn(cx.runtime().reaper());
    sched_setaffinity(this, &before)?;
    let process = process?;
    wait_until("the harness's own process is ready", cx.limits().wait(), async || {
        let ready = Answers::parse(&process.stdout_so_far()?, "own").is_ready();
        Ok(if ready { Poll::Ready(()) } else { Poll::NotYet("no answer".into()) })
    })
    .await?;
    std::fs::write(container.cgroup("cpuset")?.join("cgroup.procs"), process.pid().to_string())?;
    kill(Pid::from_raw(process.pid()), Signal::SIGUSR1)?;
    let answers = Answers::parse(&process.wait().await?.stdout, "own");
    Ok(answers.facts("affinity")?["cpus"].as_array().cloned().unwrap_or_default())
}

/// With an initial affinity alone, what the kernel makes of it after the move into the cgroup stays.
#[case(covers = ["process.exec-cpu-affinity.final-unset-untouched", "process.exec-cpu-affinity.initial"])]
async fn initial_affinity_alone_is_left_to_the_kernel(cx: &mut Cx) -> Verdict {
    cx.need(cx.host().cpus > 1, "two-cpus", "the host has one processor, so an affinity shows nothing")?;
    cx.need_controller("cpuset")?;
    let affinity = json!({ "initial": "1" });
    let container = cx.container(probe::pause()).set("/process/execCPUAffinity", affinity).running().await?;
    let expected = kernel_s_choice(cx, &container).await?;
    let (call, answers) = container.exec(&[], &probe::ask(["affinity"])).await?;
    call.must_succeed()?;
    let seen = &answers.facts("affinity")?["cpus"];
    check_eq!(*seen, json!(expected), "the processors of the joined process, as the kernel chooses them");
    Ok(())
}

/// A process object that brings an affinity of its own runs on those processors.
#[case(covers = ["process.exec-cpu-affinity.final", "process.exec-cpu-affinity"])]
async fn affinity_of_a_process_object_is_applied(cx: &mut Cx) -> Verdict {
    cx.need(cx.host().cpus > 1, "two-cpus", "the host has one processor, so an affinity shows nothing")?;
    let container = cx.container(probe::pause()).running().await?;
    let nonce = format!("{}-affinity", container.nonce());
    let mut object = container.config()["process"].clone();
    object["args"] = json!(["/probe", probe::ask(["affinity"]).text(&nonce, None)]);
    object["execCPUAffinity"] = json!({ "initial": "0", "final": "1" });
    let path = cx.dir().join("process.json");
    std::fs::write(&path, object.to_string())?;
    let call = container.exec_args(&["--process", &path.display().to_string()], &[]).await?;
    call.must_succeed()?;
    let answers = Answers::parse(&call.stdout, &nonce);
    check_eq!(answers.facts("affinity")?["cpus"], json!([1]), "the processors of the joined process");
    Ok(())
}

/// A terminal is standard input, output and error, and the controlling terminal.
#[case(covers = ["process.terminal"])]
async fn terminal_is_the_three_streams(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["stdio_tty"])).terminal().running().await?;
    let answers = container.finished_answers().await?;
    let seen = answers.facts("stdio_tty")?;
    for fd in 0..3 {
        check_eq!(seen["stdio"][fd]["isatty"], json!(true), "descriptor {fd} is a terminal");
        check_eq!(
            seen["stdio"][fd]["rdev_minor"],
            seen["stdio"][0]["rdev_minor"],
            "descriptor {fd}'s terminal"
        );
    }
    check_eq!(seen["controlling"]["opened"], json!(true), "/dev/tty opens");
    Ok(())
}

/// The terminal has the configured size.
#[case(covers = ["process.console-size"])]
async fn console_size_is_applied(cx: &mut Cx) -> Verdict {
    let size = json!({ "height": 41, "width": 97 });
    let builder = cx.container(probe::script().ask_with("winsize", json!({ "fd": 0 }))).terminal();
    let container = builder.set("/process/consoleSize", size).running().await?;
    let answers = container.finished_answers().await?;
    let seen = answers.facts("winsize")?;
    check_eq!((&seen["rows"], &seen["cols"]), (&json!(41), &json!(97)), "rows and columns");
    Ok(())
}

/// A console size without a terminal changes nothing.
#[case(covers = ["process.console-size.ignored-without-terminal"])]
async fn console_size_without_terminal_is_ignored(cx: &mut Cx) -> Verdict {
    let size = json!({ "height": 41, "width": 97 });
    let answers = cx.container(probe::ask(["stdio_tty"])).set("/process/consoleSize", size).answers().await?;
    check_eq!(
        answers.facts("stdio_tty")?["stdio"][1]["isatty"],
        json!(false),
        "standard output is a terminal"
    );
    Ok(())
}

const PARTIAL_SIZES: &[Variant] = &[
    Variant::new("height-absent", &["process.console-size.height"]),
    Variant::new("width-absent", &["process.console-size.width"]),
    Variant::new("height-text", &["process.console-size.height"]),
    Variant::new("width-negative", &["process.console-size.width"]),
];

/// A console size that lacks a dimension, or has one that is no number, is an error.
#[case(covers = [], matrix(size = PARTIAL_SIZES))]
async fn incomplete_console_size_is_error(cx: &mut Cx) -> Verdict {
    let size = match cx.param("size") {
        "height-absent" => json!({ "width": 80 }),
        "width-absent" => json!({ "height": 25 }),
        "height-text" => json!({ "height": "25", "width": 80 }),
        _ => json!({ "height": 25, "width": -80 }),
    };
    cx.container(probe::exit(0)).terminal().set("/process/consoleSize", size).rejected().await?;
    Ok(())
}

/// The host name inside is the configured one.
#[case(covers = ["hostname"])]
async fn host_name_is_applied(cx: &mut Cx) -> Verdict {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = format!("pl{}", cx.random() % 1_000_000);
    let answers = cx.container(probe::ask(["hostname"])).set("/hostname", name.clone()).answers().await?;
    check_eq!(answers.facts("hostname")?["hostname"], json!(name), "the host name");
    check_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname")?, before, "the host's own name");
    Ok(())
}

/// A host name without a namespace to hold it is an error, and the host keeps its name.
#[case(covers = ["hostname"])]
async fn host_name_without_uts_namespace_is_error(cx: &mut Cx) -> Verdict {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    // The same name as the host's: a runtime that sets it all the same does no harm.
    let name = before.trim().to_owned();
    let (create, _) =
        cx.container(probe::exit(0)).without_namespace("uts").set("/hostname", name).attempt().await?;
    cx.record("hostname.without-uts-namespace", if create.succeeded() { "accepted" } else { "refused" });
    check_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname")?, before, "the host's own name");
    Ok(())
}

/// The domain name inside is the configured one.
#[case(covers = ["domainname"])]
async fn domain_name_is_applied(cx: &mut Cx) -> Verdict {
    let name = format!("d{}.example", cx.random() % 1_000_000);
    let answers = cx.container(probe::ask(["domainname"])).set("/domainname", name.clone()).answers().await?;
    check_eq!(answers.facts("domainname")?["domainname"], json!(name), "the domain name");
    Ok(())
}
