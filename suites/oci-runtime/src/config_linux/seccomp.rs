//! config-linux.md, seccomp: actions, arguments, errno values, architectures, flags.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    absent_filter_filters_nothing,
    filter_is_in_force,
    every_name_of_a_rule_counts,
    action_of_a_rule_is_taken,
    action_by_default_is_taken,
    errno_of_a_rule_is_returned,
    errno_by_default_is_returned,
    errno_with_another_action_is_error,
    comparison_selects_arguments,
    all_comparisons_of_a_rule_have_to_hold,
    architecture_is_accepted,
    flag_is_accepted_as_declared,
    filter_holds_for_joined_processes,
];

/// A call that nothing else in the container makes: `personality`.
fn call(argument: u64) -> Value {
    json!({ "name": "personality", "args": [argument], "fork": true })
}

fn rule(action: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["personality"], "action": action }] })
}

/// Without a filter the program is in no seccomp mode.
#[case(covers = ["seccomp"])]
async fn absent_filter_filters_nothing(cx: &mut Cx) -> Verdict {
    let answers = cx.container(probe::ask(["seccomp"])).answers().await?;
    check_eq!(answers.facts("seccomp")?["mode"], json!(0), "the seccomp mode");
    Ok(())
}

/// A rule holds for each of its calls, the last one included.
#[case(covers = ["seccomp.syscalls", "seccomp.syscalls.names.non-empty"])]
async fn every_name_of_a_rule_counts(cx: &mut Cx) -> Verdict {
    let names = ["swapon", "personality"];
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO" }] });
    let script = probe::script().ask_with("syscall", call(0));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    check_eq!(answers.facts("syscall")?["errno"], json!(1), "errno of the call that is named last");
    Ok(())
}

const FORMS: &[Variant] = &[
    Variant::new("rule", &["seccomp"]),
    Variant::new("no-rules", &["seccomp.syscalls"]),
    Variant::new("new-privileges", &["seccomp"]),
];

/// With a filter the program is in filter mode, with new privileges forbidden or not.
#[case(covers = ["seccomp"], matrix(form = FORMS))]
async fn filter_is_in_force(cx: &mut Cx) -> Verdict {
    let mut builder = cx.container(probe::ask(["seccomp"]).ask_with("syscall", call(0)));
    let empty = json!({ "defaultAction": "SCMP_ACT_LOG", "syscalls": [] });
    let bare = cx.param("form") == "no-rules";
    builder = builder.set("/linux/seccomp", if bare { empty } else { rule("SCMP_ACT_ERRNO") });
    if cx.param("form") == "new-privileges" {
        builder = builder.set("/process/noNewPrivileges", false);
    }
    let answers = builder.answers().await?;
    check_eq!(answers.facts("seccomp")?["mode"], json!(2), "the seccomp mode");
    let errno = i32::from(!bare);
    check_eq!(answers.facts("syscall")?["errno"], json!(errno), "errno of the call");
    Ok(())
}

const ACTIONS: &[Variant] = &[
    Variant::new("SCMP_ACT_KILL", &[]),
    Variant::new("SCMP_ACT_KILL_PROCESS", &["seccomp.default-errno-ret.default-eperm"]),
    Variant::new("SCMP_ACT_KILL_THREAD", &["seccomp.default-errno-ret.default-eperm"]),
    Variant::new("SCMP_ACT_TRAP", &[]),
    Variant::new("SCMP_ACT_ERRNO", &[]),
    Variant::new("SCMP_ACT_TRACE", &[]),
    Variant::new("SCMP_ACT_ALLOW", &[]),
    Variant::new("SCMP_ACT_LOG", &[]),
];

/// What an action does to a call: `None` is a signal, otherwise errno.
fn effect(action: &str) -> Option<u64> {
    match action {
        "SCMP_ACT_ERRNO" => Some(1),
        "SCMP_ACT_TRACE" => Some(38), // no tracer: ENOSYS
        "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => Some(0),
        _ => None,
    }
}

fn judge(answers: &Answers, action: &str) -> Verdict {
    let seen = answers.facts("syscall")?;
    if let Some(errno) = effect(action) {
        check_eq!(seen["errno"], json!(errno), "errno of a call under {action}");
        return Ok(());
    }
    let killed = seen["signal"] == "SIGSYS" || seen["signal"] == 31;
    check!(killed, format!("SIGSYS for a call under {action}"), "{seen}");
    Ok(())
}

/// A call that a rule names meets the rule's action.
#[case(covers = ["seccomp.syscalls.action.required", "seccomp.syscalls"], matrix(action = ACTIONS))]
async fn action_of_a_rule_is_taken(cx: &mut Cx) -> Verdict {
    let action = cx.param("action");
    let mut filter = rule(action);
    if action == "SCMP_ACT_ALLOW" {
        // A rule that repeats the default may be refused: this default differs.
        filter["defaultAction"] = json!("SCMP_ACT_LOG");
    }
    let script = probe::script().ask_with("syscall", call(0xffff_ffff));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    judge(&answers, action)
}

const DEFAULTS: &[Variant] = &[
    Variant::new("SCMP_ACT_ERRNO", &["seccomp.default-errno-ret.default-eperm"]),
    Variant::new("SCMP_ACT_TRACE", &[]),
    Variant::new("SCMP_ACT_ALLOW", &[]),
    Variant::new("SCMP_ACT_LOG", &[]),
    Variant::new("SCMP_ACT_KILL", &[]),
    Variant::new("SCMP_ACT_KILL_PROCESS", &["seccomp.default-errno-ret.default-eperm"]),
    Variant::new("SCMP_ACT_TRAP", &[]),
];

/// All calls of x86-64, by number up to the newest that programs may want, except the one under test.
fn everything_else() -> Value {
    json!(EVERYTHING_ELSE.split_whitespace().collect::<Vec<_>>())
}

/// What a program and the runtime's last steps need, by name.
const EVERYTHING_ELSE: &str = "read write open openat openat2 close stat fstat lstat newfstatat statx poll ppoll lseek \
    mmap mprotect munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack ioctl \
    pread64 pwrite64 readv writev access faccessat faccessat2 pipe pipe2 select pselect6 sched_yield dup dup2 dup3 pause \
    nanosleep clock_nanosleep clock_gettime getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid \
    socket connect accept accept4 sendto recvfrom sendmsg recvmsg shutdown bind listen socketpair setsockopt getsockopt \
    clone clone3 fork vfork execve execveat exit exit_group wait4 waitid kill tgkill tkill uname fcntl flock fsync \
    getdents64 getcwd chdir fchdir readlink readlinkat umask getrlimit prlimit64 setrlimit getrusage sysinfo capget \
    capset prctl arch_prctl futex set_tid_address set_robust_list rseq timer_create timer_settime timer_delete \
    timerfd_create timerfd_settime epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 getrandom sched_getaffinity \
    sched_setaffinity seccomp setuid setgid setgroups setresuid setresgid setsid setpgid getpgid getpgrp getsid \
    fstatfs statfs pidfd_open pidfd_send_signal close_range getpriority memfd_create";

/// A call that no rule names meets the default action.
#[case(covers = ["seccomp.default-action"], matrix(action = DEFAULTS))]
async fn action_by_default_is_taken(cx: &mut Cx) -> Verdict {
    let action = cx.param("action");
    let other = if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" };
    let filter = json!({
        "defaultAction": action, "syscalls": [{ "names": everything_else(), "action": other }]
    });
    let script = probe::script().ask_with("syscall", call(0xffff_ffff));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    judge(&answers, action)
}

const ERRNOS: &[Variant] = &[
    Variant::new("1", &[]),
    Variant::new("6", &[]),
    Variant::new("38", &[]),
    Variant::new("42", &[]),
    Variant::new("133", &[]),
];

/// A refused call returns the errno of its rule.
#[case(covers = ["seccomp.syscalls.errno-ret"], matrix(errno = ERRNOS))]
async fn errno_of_a_rule_is_returned(cx: &mut Cx) -> Verdict {
    let errno: u64 = cx.param("errno").parse().unwrap_or_default();
    let mut filter = rule("SCMP_ACT_ERRNO");
    filter["syscalls"][0]["errnoRet"] = json!(errno);
    let script = probe::script().ask_with("syscall", call(0));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    check_eq!(answers.facts("syscall")?["errno"], json!(errno), "errno of the call");
    Ok(())
}

/// A call that meets the default action returns the default errno.
#[case(covers = ["seccomp.default-errno-ret"], matrix(errno = ERRNOS))]
async fn errno_by_default_is_returned(cx: &mut Cx) -> Verdict {
    let errno: u64 = cx.param("errno").parse().unwrap_or_default();
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno,
        "syscalls": [{ "names": everything_else(), "action": "SCMP_ACT_ALLOW" }]
    });
    let script = probe::script().ask_with("syscall", call(0));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    check_eq!(answers.facts("syscall")?["errno"], json!(errno), "errno of the call");
    Ok(())
}

const WITHOUT_ERRNO: &[Variant] = &[
    Variant::new("default-ALLOW", &["seccomp.default-errno-ret.unsupported-errors"]),
    Variant::new("default-LOG", &["seccomp.default-errno-ret.unsupported-errors"]),
    Variant::new("default-KILL_PROCESS", &["seccomp.default-errno-ret.unsupported-errors"]),
    Variant::new("rule-ALLOW", &["seccomp.syscalls.errno-ret.unsupported-errors"]),
    Variant::new("rule-LOG", &["seccomp.syscalls.errno-ret.unsupported-errors"]),
    Variant::new("rule-KILL", &["seccomp.syscalls.errno-ret.unsupported-errors"]),
    Variant::new("rule-TRAP", &["seccomp.syscalls.errno-ret.unsupported-errors"]),
];

/// An errno beside an action that returns none is an error.
#[case(covers = [], matrix(action = WITHOUT_ERRNO))]
async fn errno_with_another_action_is_error(cx: &mut Cx) -> Verdict {
    let (place, action) = cx.param("action").split_once('-').unwrap_or_default();
    let action = format!("SCMP_ACT_{action}");
    let filter = if place == "default" {
        json!({
            "defaultAction": action, "defaultErrnoRet": 5,
            "syscalls": [{ "names": everything_else(), "action": "SCMP_ACT_ERRNO" }]
        })
    } else {
        let mut filter = rule(&action);
        filter["defaultAction"] =
            json!(if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" });
        filter["syscalls"][0]["errnoRet"] = json!(5);
        filter
    };
    cx.container(probe::exit(0)).set("/linux/seccomp", filter).rejected().await?;
    Ok(())
}

const OPERATORS: &[Variant] = &[
    Variant::new("NE", &[]),
    Variant::new("LT", &[]),
    Variant::new("LE", &[]),
    Variant::new("EQ", &[]),
    Variant::new("GE", &[]),
    Variant::new("GT", &[]),
    Variant::new("MASKED_EQ", &["seccomp.syscalls.args.value-two"]),
];

/// Arguments around the compared value: below, equal, above, and above by a bit that the mask does not hold.
const ARGUMENTS: [u64; 4] = [7, 8, 9, 12];

fn holds(operator: &str, argument: u64) -> bool {
    match operator {
        "NE" => argument != 8,
        "LT" => argument < 8,
        "LE" => argument <= 8,
        "EQ" => argument == 8,
        "GE" => argument >= 8,
        "GT" => argument > 8,
        _ => argument & 0b1100 == 0b1000,
    }
}

/// A rule with a comparison meets the calls for which the comparison holds, and no others.
#[case(
    covers = [
        "seccomp.syscalls.args.op", "seccomp.syscalls.args.value", "seccomp.syscalls.args.index",
        "seccomp.syscalls.args"
    ],
    matrix(operator = OPERATORS)
)]
async fn comparison_selects_arguments(cx: &mut Cx) -> Verdict {
    let operator = cx.param("operator");
    let value = if operator == "MASKED_EQ" { 12 } else { 8 };
    let mut filter = rule("SCMP_ACT_ERRNO");
    filter["syscalls"][0]["errnoRet"] = json!(42);
    filter["syscalls"][0]["args"] =
        json!([{ "index": 0, "value": value, "valueTwo": 8, "op": format!("SCMP_CMP_{operator}") }]);
    let script = ARGUMENTS.iter().fold(probe::script(), |s, a| s.ask_with("syscall", call(*a)));
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    for (index, argument) in ARGUMENTS.into_iter().enumerate() {
        let Ok(seen) = &answers.at(index)?.result else {
            return Err(Stop::setup("the probe could not make the call"));
        };
        let met = seen["errno"] == 42;
        check_eq!(met, holds(operator, argument), "the rule {operator} 8 meets the argument {argument}");
    }
    Ok(())
}

/// A rule with several comparisons meets only calls for which all of them hold.
#[case(covers = ["seccomp.syscalls.args", "seccomp.syscalls.args.index"])]
async fn all_comparisons_of_a_rule_have_to_hold(cx: &mut Cx) -> Verdict {
    // A priority of what is no kind of thing: EINVAL unless the rule answers.
    let mut filter = rule("SCMP_ACT_ERRNO");
    filter["syscalls"][0] = json!({
        "names": ["setpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": [
            { "index": 0, "value": 900, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 1, "op": "SCMP_CMP_EQ" }
        ]
    });
    let calls = [(900, 1, true), (900, 3, false), (901, 1, false)];
    let script = calls.iter().fold(probe::script(), |s, (a, b, _)| {
        s.ask_with("syscall", json!({ "name": "setpriority", "args": [a, b], "fork": true }))
    });
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    for (index, (first, second, hit)) in calls.into_iter().enumerate() {
        let Ok(seen) = &answers.at(index)?.result else {
            return Err(Stop::setup("the probe could not make the call"));
        };
        check_eq!(seen["errno"] == 42, hit, "the rule meets setpriority({first}, {second})");
    }
    Ok(())
}

const ARCHITECTURES: &[Variant] = &[
    Variant::new("SCMP_ARCH_X86_64", &[]),
    Variant::new("SCMP_ARCH_X86", &[]),
    Variant::new("SCMP_ARCH_X32", &[]),
    Variant::new("SCMP_ARCH_ARM", &[]),
    Variant::new("SCMP_ARCH_AARCH64", &[]),
    Variant::new("SCMP_ARCH_PPC64LE", &[]),
];

/// The number of `personality` in the x32 call table, which x86-64 programs may use as well.
const X32_CALL: u64 = 0x4000_0000 + 135;

/// A listed architecture is accepted beside the native one, which stays filtered; where this machine can make calls of
/// the other one, the rule holds for them too.
#[case(covers = ["seccomp.architectures"], matrix(architecture = ARCHITECTURES))]
async fn architecture_is_accepted(cx: &mut Cx) -> Verdict {
    let native = format!("SCMP_ARCH_{}", cx.host().machine.to_uppercase());
    let other = cx.param("architecture");
    let mut filter = rule("SCMP_ACT_ERRNO");
    filter["architectures"] = if other == native { json!([other]) } else { json!([native, other]) };
    let mut script = probe::script().ask_with("syscall", call(0));
    if other == "SCMP_ARCH_X32" && native == "SCMP_ARCH_X86_64" {
        script = script.ask_with("syscall", json!({ "nr": X32_CALL, "args": [0], "fork": true }));
    }
    let answers = cx.container(script).set("/linux/seccomp", filter).answers().await?;
    for answer in answers.all("syscall") {
        let errno = answer.result.as_ref().map_or(&Value::Null, |seen| &seen["errno"]);
        check_eq!(*errno, json!(1), "errno of the call");
    }
    Ok(())
}

const FLAGS: &[Variant] = &[
    Variant::new("SECCOMP_FILTER_FLAG_TSYNC", &[]),
    Variant::new("SECCOMP_FILTER_FLAG_LOG", &[]),
    Variant::new("SECCOMP_FILTER_FLAG_SPEC_ALLOW", &[]),
];

/// A filter flag that the runtime knows is accepted, and the filter is in force.
#[case(covers = ["seccomp.flags"], matrix(flag = FLAGS))]
async fn flag_is_accepted_as_declared(cx: &mut Cx) -> Verdict {
    let flag = cx.param("flag");
    let mut filter = rule("SCMP_ACT_ERRNO");
    filter["flags"] = json!([flag]);
    let known = cx.features().and_then(|f| f.pointer("/linux/seccomp/supportedFlags").cloned());
    let declared = known.is_none_or(|list| list.as_array().is_some_and(|l| l.iter().any(|f| f == flag)));
    let script = probe::script().ask_with("syscall", call(0));
    let builder = cx.container(script).set("/linux/seccomp", filter);
    if !declared {
        builder.rejected().await?;
        return Ok(());
    }
    let answers = builder.answers().await?;
    check_eq!(answers.facts("syscall")?["errno"], json!(1), "errno of the call");
    Ok(())
}

/// The filter holds for a process that joins later.
#[case(covers = ["seccomp"])]
async fn filter_holds_for_joined_processes(cx: &mut Cx) -> Verdict {
    let container =
        cx.container(probe::pause()).set("/linux/seccomp", rule("SCMP_ACT_ERRNO")).running().await?;
    let (exec, answers) = container.exec(&[], &probe::ask(["seccomp"]).ask_with("syscall", call(0))).await?;
    exec.must_succeed()?;
    check_eq!(answers.facts("seccomp")?["mode"], json!(2), "the seccomp mode of the joined process");
    check_eq!(answers.facts("syscall")?["errno"], json!(1), "errno of the joined process's call");
    Ok(())
}
