//! config.md, process: resource limits and capabilities.

use plimsoll_kit::bundle::DEFAULT_CAPABILITIES;
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    limit_is_applied,
    several_limits_are_applied,
    bad_limit_is_error,
    capability_set_is_exact,
    ambient_capabilities_survive_for_users,
    unknown_capability_is_only_warned_about,
    ungrantable_capability_does_not_fail,
    bad_capabilities_are_errors,
    exec_gets_the_same_capabilities,
];

const LIMITS: &[Variant] = &[
    Variant::new("RLIMIT_AS", &[]),
    Variant::new("RLIMIT_CORE", &[]),
    Variant::new("RLIMIT_CPU", &[]),
    Variant::new("RLIMIT_DATA", &[]),
    Variant::new("RLIMIT_FSIZE", &[]),
    Variant::new("RLIMIT_LOCKS", &[]),
    Variant::new("RLIMIT_MEMLOCK", &[]),
    Variant::new("RLIMIT_MSGQUEUE", &[]),
    Variant::new("RLIMIT_NICE", &[]),
    Variant::new("RLIMIT_NOFILE", &[]),
    Variant::new("RLIMIT_NPROC", &[]),
    Variant::new("RLIMIT_RSS", &[]),
    Variant::new("RLIMIT_RTPRIO", &[]),
    Variant::new("RLIMIT_RTTIME", &[]),
    Variant::new("RLIMIT_SIGPENDING", &[]),
    Variant::new("RLIMIT_STACK", &[]),
];

/// A configured resource limit has the configured soft and hard value inside.
#[case(
    covers = [
        "process.rlimits.soft-matches",
        "process.rlimits.hard-matches",
        "process.rlimits.getrlimit-succeeds",
        "process.rlimits"
    ],
    matrix(limit = LIMITS)
)]
async fn limit_is_applied(cx: &mut Cx) -> Verdict {
    let name = cx.param("limit").to_owned();
    let (_, own_hard) = own_limit(&name)?;
    // Below the harness's own hard limit, so that no privilege is needed; large enough for a program to start.
    let hard = match name.as_str() {
        "RLIMIT_AS" | "RLIMIT_DATA" | "RLIMIT_FSIZE" | "RLIMIT_RSS" | "RLIMIT_STACK" => own_hard.min(1 << 33),
        "RLIMIT_NICE" | "RLIMIT_RTPRIO" => own_hard.min(20),
        _ => own_hard.min(1000),
    };
    let soft = hard - hard / 4;
    let limit = json!([{ "type": name, "soft": soft, "hard": hard }]);
    let answers = cx.container(probe::ask(["rlimits"])).set("/process/rlimits", limit).answers().await?;
    let seen = &answers.facts("rlimits")?[&name];
    check_eq!(seen["cur"], json!(soft), "the soft value of {name}");
    check_eq!(of "process.rlimits.hard-matches"; seen["max"], json!(hard), "the hard value of {name}");
    Ok(())
}

/// Of several limits each is applied.
#[case(covers = ["process.rlimits"])]
async fn several_limits_are_applied(cx: &mut Cx) -> Verdict {
    let wanted = [("RLIMIT_NOFILE", 91), ("RLIMIT_CORE", 4096), ("RLIMIT_FSIZE", 1 << 30)];
    let mut limits = Vec::new();
    for (name, value) in wanted {
        let value = own_limit(name)?.1.min(value);
        limits.push(json!({ "type": name, "soft": value, "hard": value }));
    }
    let builder = cx.container(probe::ask(["rlimits"])).set("/process/rlimits", limits.clone());
    let answers = builder.answers().await?;
    for limit in &limits {
        let name = limit["type"].as_str().unwrap_or_default();
        check_eq!(answers.facts("rlimits")?[name]["cur"], limit["soft"], "the soft value of {name}");
    }
    Ok(())
}

fn own_limit(name: &str) -> Result<(u64, u64), Stop> {
    let row = match name {
        "RLIMIT_AS" => "Max address space",
        "RLIMIT_CORE" => "Max core file size",
        "RLIMIT_CPU" => "Max cpu time",
        "RLIMIT_DATA" => "Max data size",
        "RLIMIT_FSIZE" => "Max file size",
        "RLIMIT_LOCKS" => "Max file locks",
        "RLIMIT_MEMLOCK" => "Max locked memory",
        "RLIMIT_MSGQUEUE" => "Max msgqueue size",
        "RLIMIT_NICE" => "Max nice priority",
        "RLIMIT_NOFILE" => "Max open files",
        "RLIMIT_NPROC" => "Max processes",
        "RLIMIT_RSS" => "Max resident set",
        "RLIMIT_RTPRIO" => "Max realtime priority",
        "RLIMIT_RTTIME" => "Max realtime timeout",
        "RLIMIT_SIGPENDING" => "Max pending signals",
        _ => "Max stack size",
    };
    let text = std::fs::read_to_string("/proc/self/limits")?;
    let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).unwrap_or(u64::MAX);
    let line = text.lines().find_map(|l| l.strip_prefix(row));
    let mut words = line.unwrap_or_default().split_whitespace();
    Ok((number(words.next()), number(words.next())))
}

const BAD_LIMITS: &[Variant] = &[
    Variant::new("type-absent", &["process.rlimits.type.required"]),
    Variant::new("type-unknown", &["process.rlimits.unmappable-errors"]),
    Variant::new("type-lower-case", &["process.rlimits.unmappable-errors"]),
    Variant::new("type-without-prefix", &["process.rlimits.unmappable-errors"]),
    Variant::new("soft-absent", &["process.rlimits.soft.required"]),
    Variant::new("hard-absent", &["process.rlimits.hard.required"]),
    Variant::new("soft-above-hard", &["process.rlimits.hard-matches"]),
    Variant::new("soft-negative", &["process.rlimits.soft.required"]),
    Variant::new("hard-text", &["process.rlimits.hard.required"]),
    Variant::new("duplicate", &["process.rlimits.duplicates-error"]),
];

/// A resource limit that is incomplete, unknown, inconsistent or given twice is an error.
#[case(covers = [], matrix(limit = BAD_LIMITS))]
async fn bad_limit_is_error(cx: &mut Cx) -> Verdict {
    let list = match cx.param("limit") {
        "type-absent" => json!([{ "soft": 100, "hard": 100 }]),
        "type-unknown" => json!([{ "type": "RLIMIT_TEST", "soft": 100, "hard": 100 }]),
        "type-lower-case" => json!([{ "type": "rlimit_nofile", "soft": 100, "hard": 100 }]),
        "type-without-prefix" => json!([{ "type": "NOFILE", "soft": 100, "hard": 100 }]),
        "soft-absent" => json!([{ "type": "RLIMIT_NOFILE", "hard": 100 }]),
        "hard-absent" => json!([{ "type": "RLIMIT_NOFILE", "soft": 100 }]),
        "soft-above-hard" => json!([{ "type": "RLIMIT_NOFILE", "soft": 200, "hard": 100 }]),
        "soft-negative" => json!([{ "type": "RLIMIT_NOFILE", "soft": -1, "hard": 100 }]),
        "hard-text" => json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": "100" }]),
        _ => json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }
        ]),
    };
    cx.container(probe::exit(0)).set("/process/rlimits", list).rejected().await?;
    Ok(())
}

const SETS: &[Variant] = &[
    Variant::new("bounding", &["process.capabilities.bounding"]),
    Variant::new("effective", &["process.capabilities.effective"]),
    Variant::new("permitted", &["process.capabilities.permitted"]),
    Variant::new("inheritable", &["process.capabilities.inheritable"]),
    Variant::new("ambient", &["process.capabilities.ambient"]),
];

/// Each of the five capability sets is exactly what the configuration asks for.
#[case(covers = ["process.capabilities"], matrix(set = SETS))]
async fn capability_set_is_exact(cx: &mut Cx) -> Verdict {
    let set = cx.param("set").to_owned();
    // Nested sets, all different, so that a set taken for another shows.
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER", "CAP_SETUID"],
        "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER", "CAP_SETUID"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_CHOWN"]
    });
    // Root's ambient set is empty after execve; a program of another user keeps it.
    let as_user = set == "ambient";
    let mut builder = cx.container(probe::ask(["caps"])).set("/process/capabilities", sets.clone());
    if as_user {
        builder = builder.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    }
    let answers = builder.answers().await?;
    let seen = names(&answers.facts("caps")?[&set]["names"]);
    // no_new_privs is on: execve by root gains nothing beyond the configured permitted set (capabilities(7)).
    check_eq!(seen, names(&sets[&set]), "the {set} set");
    Ok(())
}

fn names(list: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        list.as_array().into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// Ambient capabilities are permitted and effective for a program that is not root's.
#[case(covers = ["process.capabilities.ambient", "process.capabilities.effective"])]
async fn ambient_capabilities_survive_for_users(cx: &mut Cx) -> Verdict {
    let one = json!(["CAP_NET_BIND_SERVICE"]);
    let sets =
        json!({ "bounding": one, "permitted": one, "effective": one, "inheritable": one, "ambient": one });
    let answers = cx
        .container(probe::ask(["caps"]))
        .set("/process/capabilities", sets)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .answers()
        .await?;
    for set in ["ambient", "permitted", "effective"] {
        check_eq!(answers.facts("caps")?[set]["names"], one, "the {set} set");
    }
    Ok(())
}

/// A capability that nobody knows is a warning, not an error, since 1.1.0.
#[case(covers = ["process.capabilities.unknown-warned"])]
async fn unknown_capability_is_only_warned_about(cx: &mut Cx) -> Verdict {
    let mut list: Vec<&str> = DEFAULT_CAPABILITIES.to_vec();
    list.push("CAP_PLIMSOLL_TEST");
    let container = cx.container(probe::ask(["caps"])).version("1.1.0").capabilities(&list).created().await?;
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    check_eq!(
        names(&answers.facts("caps")?["bounding"]["names"]),
        names(&json!(DEFAULT_CAPABILITIES)),
        "the known ones"
    );
    let said = container.error_output()?;
    check!(
        said.contains("CAP_PLIMSOLL_TEST"),
        "a warning that names the capability",
        "standard error {said:?}"
    );
    Ok(())
}

/// A capability that the caller cannot grant does not fail the container.
#[case(covers = ["process.capabilities.ungrantable-no-fail"])]
async fn ungrantable_capability_does_not_fail(cx: &mut Cx) -> Verdict {
    let Some(missing) = cx.host().missing_capabilities.first().cloned() else {
        return cx.need(
            false,
            "missing-capability",
            "the harness holds every capability, so all can be granted",
        );
    };
    let mut list: Vec<&str> = DEFAULT_CAPABILITIES.to_vec();
    list.push(&missing);
    let answers = cx.container(probe::ask(["caps"])).version("1.1.0").capabilities(&list).answers().await?;
    let seen = names(&answers.facts("caps")?["effective"]["names"]);
    check!(!seen.contains(&missing), "the set lacks what cannot be granted", "{}", describe(&seen));
    Ok(())
}

const BAD_CAPABILITIES: &[Variant] = &[
    Variant::new("bounding-text", &["process.capabilities.bounding"]),
    Variant::new("effective-numbers", &["process.capabilities.effective"]),
    Variant::new("permitted-object", &["process.capabilities.permitted"]),
    Variant::new("inheritable-text", &["process.capabilities.inheritable"]),
    Variant::new("ambient-number", &["process.capabilities.ambient"]),
];

/// A capability set that is no list of names is an error.
#[case(covers = ["process.capabilities"], matrix(value = BAD_CAPABILITIES))]
async fn bad_capabilities_are_errors(cx: &mut Cx) -> Verdict {
    let (set, kind) = cx.param("value").split_once('-').unwrap_or_default();
    let value = match kind {
        "text" => json!("CAP_KILL"),
        "numbers" => json!([5]),
        "object" => json!({ "CAP_KILL": true }),
        _ => json!(7),
    };
    cx.container(probe::exit(0)).set(&format!("/process/capabilities/{set}"), value).rejected().await?;
    Ok(())
}

/// A process that joins later gets no more in its bounding set than the configuration grants.
#[case(covers = ["process.capabilities.bounding"], tags = ["exec"])]
async fn exec_gets_the_same_capabilities(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    let (call, answers) = container.exec(&[], &probe::ask(["caps"])).await?;
    call.must_succeed()?;
    check_eq!(
        names(&answers.facts("caps")?["bounding"]["names"]),
        names(&json!(DEFAULT_CAPABILITIES)),
        "the bounding set"
    );
    Ok(())
}
