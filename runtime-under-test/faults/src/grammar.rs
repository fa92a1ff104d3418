//! The text form of steps: `[when COND [and COND]... =>] ACTION`, steps separated by ` ; `.

use crate::json::edit::Edit;
use crate::json::path::Path;
use crate::step::{Action, ArgEdit, Cond, FileOp, HookOp, LeakKind, Noise, On, Step, Verbs};

/// The commands that a fault may name.
pub const VERBS: &[&str] = &[
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "run",
    "exec",
    "ps",
    "list",
    "pause",
    "resume",
    "update",
    "events",
    "features",
    "checkpoint",
    "restore",
    "spec",
    "version",
];

const HOOK_KINDS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Parses the `how` column of the fault table.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    text.split(" ; ").map(|s| step(s.trim())).collect()
}

fn step(text: &str) -> Result<Step, String> {
    // The proxy has conditions of its own.
    if text.starts_with("proxy ") || (text.starts_with("when ") && text.contains(" => proxy ")) {
        let step = crate::cri::script::parse(text)?;
        return Ok(Step { when: Vec::new(), action: Action::Proxy(Box::new(step)) });
    }
    let (when, action) = match text.strip_prefix("when ").and_then(|t| t.split_once(" => ")) {
        Some((conds, action)) => {
            (conds.split(" and ").map(|c| cond(c.trim())).collect::<Result<_, _>>()?, action.trim())
        }
        None => (Vec::new(), text),
    };
    Ok(Step { when, action: action_of(action).map_err(|e| format!("step {text:?}: {e}"))? })
}

fn first(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(a, b)| (a, b.trim_start()))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number in range"))
}

fn nonempty(text: &str, what: &str) -> Result<String, String> {
    if text.is_empty() { Err(format!("{what} is missing")) } else { Ok(text.to_owned()) }
}

fn cond(text: &str) -> Result<Cond, String> {
    let (name, rest) = first(text);
    Ok(match name {
        "config" => Cond::Config(Path::parse(rest)?),
        "no-config" => Cond::NoConfig(Path::parse(rest)?),
        "missing" => Cond::Missing(nonempty(rest, "a name")?),
        "misnamed" => Cond::Misnamed(nonempty(rest, "a name")?),
        "no-bundle" => Cond::NoBundle,
        "no-id" => Cond::NoId,
        "bad-id" => Cond::BadId,
        "known" => Cond::Known,
        "unknown" => Cond::Unknown,
        "status" => Cond::Status(nonempty(rest, "a status")?),
        "not-status" => Cond::NotStatus(nonempty(rest, "a status")?),
        "every" => {
            Cond::Every(number::<u64>(rest).and_then(|n| if n == 0 { Err("every 0".into()) } else { Ok(n) })?)
        }
        "no-rootfs" => Cond::NoRootfs,
        "flag" => Cond::Flag(nonempty(rest, "a flag")?),
        "no-flag" => Cond::NoFlag(nonempty(rest, "a flag")?),
        "marked" => Cond::Marked(nonempty(rest, "a mark")?),
        "unclean" => Cond::Unclean,
        "cgroup-exists" => Cond::CgroupExists,
        "order" => {
            let (earlier, later) = first(rest);
            Cond::Order(nonempty(earlier, "a member")?, nonempty(later, "another member")?)
        }
        "arg" => Cond::Arg(number(rest)?),
        "no-arg" => Cond::NoArg(number(rest)?),
        "arg-like" => {
            let (place, text) = first(rest);
            Cond::ArgLike(number(place)?, nonempty(text, "text")?)
        }
        "flag-like" | "flag-unlike" => {
            let (flag, text) = first(rest);
            let (flag, text) = (nonempty(flag, "a flag")?, nonempty(text, "text")?);
            if name == "flag-like" { Cond::FlagLike(flag, text) } else { Cond::FlagUnlike(flag, text) }
        }
        "odd-verb" => Cond::OddVerb,
        "odd-flag" => Cond::OddFlag,
        "no-containers" => Cond::NoContainers,
        "linked" => Cond::Linked(nonempty(rest, "a path")?),
        other => return Err(format!("there is no condition {other:?}")),
    })
}

fn names(text: &str, known: &[&str]) -> Result<Verbs, String> {
    let list: Vec<String> = text.split(',').map(str::to_owned).collect();
    match list.iter().find(|v| *v != "*" && !known.contains(&v.as_str())) {
        Some(odd) => Err(format!("{odd:?} is none of {}", known.join(", "))),
        None => Ok(Verbs(list)),
    }
}

fn on(text: &str) -> (&str, On) {
    if let Some(rest) = text.strip_suffix("if ok") {
        (rest.trim_end(), On::Ok)
    } else if let Some(rest) = text.strip_suffix("if failed") {
        (rest.trim_end(), On::Failed)
    } else if let Some(rest) = text.strip_suffix("if retried") {
        (rest.trim_end(), On::Retried)
    } else if let Some(rest) = text.strip_suffix("if hook-failed") {
        (rest.trim_end(), On::HookFailed)
    } else {
        (text, On::Any)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|w| if w == "''" { String::new() } else { w.to_owned() }).collect()
}

fn action_of(text: &str) -> Result<Action, String> {
    if let Some(point) = text.strip_prefix("inside:") {
        return Ok(Action::Inside(nonempty(point, "a fault point")?));
    }
    let (name, rest) = first(text);
    match name {
        "config" => return Ok(Action::Config(Edit::parse(rest)?)),
        "clean-config" => return Ok(Action::CleanConfig),
        "process" => return Ok(Action::Process(Edit::parse(rest)?)),
        "resources" => return Ok(Action::Resources(Edit::parse(rest)?)),
        "retry" => return Ok(Action::Retry(Edit::parse(rest)?)),
        "notify" => return Ok(Action::Notify(crate::notify::NotifyOp::parse(rest)?)),
        "recreate" => return Ok(Action::Recreate),
        "hook" => {
            let (kinds, op) = first(rest);
            return Ok(Action::Hook(names(kinds, HOOK_KINDS)?, hook_op(op)?));
        }
        _ => {}
    }
    let (verbs, rest) = first(rest);
    let verbs = names(verbs, VERBS)?;
    verb_action(name, verbs, rest)
}

fn verb_action(name: &str, verbs: Verbs, rest: &str) -> Result<Action, String> {
    let (body, result) = on(rest);
    Ok(match name {
        "output" => Action::Output(verbs, Edit::parse(rest)?),
        "print" => Action::Print(verbs, rest.to_owned()),
        "cut" => Action::Cut(verbs, number(rest)?),
        "argv" => Action::Argv(verbs, arg_edit(rest)?),
        "skip" => Action::Skip(verbs),
        "fail" => {
            let (code, message) = first(rest);
            Action::Fail(verbs, number(code)?, nonempty(message, "a message")?)
        }
        "exit" => Action::Exit(verbs, number(body)?, result),
        "before" => Action::Before(verbs, words(rest)),
        "after" => Action::After(verbs, words(body), result),
        "sleep" => Action::Sleep(verbs, number(rest)?),
        "linger" => Action::Linger(verbs, number(rest)?),
        "hang" => Action::Hang(verbs),
        "leak" => Action::Leak(verbs, leak_kind(body)?, result),
        "guest" => Action::Guest(verbs, file_op(rest)?),
        "host" => Action::Host(verbs, file_op(body)?, result),
        "cgroup" | "proc" => {
            let (file, value) = first(rest);
            let (file, value) = (nonempty(file, "a file")?, nonempty(value, "a value")?);
            if name == "cgroup" {
                Action::Cgroup(verbs, file, value)
            } else {
                Action::Proc(verbs, file, value)
            }
        }
        "escape" => Action::Escape(verbs),
        "noise" => Action::Noise(verbs, noise(rest)?),
        "fds" => {
            let (count, path) = first(rest);
            Action::Fds(verbs, number(count)?, if path.is_empty() { "/" } else { path }.to_owned())
        }
        "deaf" => Action::Deaf(verbs),
        "reap" => Action::Reap(verbs, number(rest)?),
        "outside" => Action::Outside(verbs),
        "follow-links" => Action::FollowLinks(verbs),
        "mark" => Action::Mark(verbs, nonempty(rest, "a mark")?),
        "unmark" => Action::Unmark(verbs, nonempty(rest, "a mark")?),
        other => return Err(format!("there is no action {other:?}")),
    })
}

/// Parses what an interposed hook does.
pub fn hook_op(text: &str) -> Result<HookOp, String> {
    let (name, rest) = first(text);
    Ok(match name {
        "ignore-exit" => HookOp::IgnoreExit,
        "no-stdin" => HookOp::NoStdin,
        "cut-stdin" => HookOp::CutStdin,
        "state" => HookOp::State(Edit::parse(rest)?, rest.to_owned()),
        "unshare" => HookOp::Unshare,
        "delay" => HookOp::Delay(number(rest)?),
        "abort" => HookOp::Abort,
        "skip-after-failure" => HookOp::SkipAfterFailure,
        "twice" => HookOp::Twice,
        "background" => HookOp::Background,
        "setenv" => HookOp::SetEnv(nonempty(rest, "NAME=VALUE")?),
        "clear-env" => HookOp::ClearEnv,
        other => return Err(format!("there is no hook operation {other:?}")),
    })
}

/// Parses the name of a leak.
pub fn leak_kind(text: &str) -> Result<LeakKind, String> {
    Ok(match text {
        "process" => LeakKind::Process,
        "pipe" => LeakKind::Pipe,
        "mount" => LeakKind::Mount,
        "cgroup" => LeakKind::Cgroup,
        "file" => LeakKind::File,
        "netns" => LeakKind::Netns,
        "fd" => LeakKind::Fd,
        other => return Err(format!("{other:?} is none of process, pipe, mount, cgroup, file, netns, fd")),
    })
}

fn noise(text: &str) -> Result<Noise, String> {
    let (name, rest) = first(text);
    Ok(match name {
        "flood" => Noise::Flood(number(rest)?),
        "hostile" => Noise::Hostile,
        "hush" => Noise::Hush,
        other => return Err(format!("there is no noise {other:?}")),
    })
}

fn file_op(text: &str) -> Result<FileOp, String> {
    let (name, rest) = first(text);
    let (a, b) = first(rest);
    let (b, c) = (b.to_owned(), a.to_owned());
    let octal = |t: &str| u32::from_str_radix(t, 8).map_err(|_| format!("{t:?} is not an octal mode"));
    Ok(match name {
        "unlink" => FileOp::Unlink(nonempty(rest, "a path")?),
        "rmdir" => FileOp::Rmdir(nonempty(rest, "a path")?),
        "mkdir" => FileOp::Mkdir(nonempty(rest, "a path")?),
        "null" => FileOp::Null(nonempty(rest, "a path")?),
        "symlink" => FileOp::Symlink(nonempty(&c, "a target")?, nonempty(&b, "a path")?),
        "write" => FileOp::Write(nonempty(&c, "a path")?, b),
        "chmod" => FileOp::Chmod(octal(&c)?, nonempty(&b, "a path")?),
        "chown" => {
            let (gid, path) = first(&b);
            FileOp::Chown(number(&c)?, number(gid)?, nonempty(path, "a path")?)
        }
        other => return Err(format!("there is no file operation {other:?}")),
    })
}

fn arg_edit(text: &str) -> Result<ArgEdit, String> {
    let (name, rest) = first(text);
    Ok(match name {
        "add" => ArgEdit::Add(words(&nonempty(rest, "an argument")?)),
        "drop" => ArgEdit::Drop(nonempty(rest, "a flag")?),
        "value" => {
            let (flag, value) = first(rest);
            ArgEdit::Value(nonempty(flag, "a flag")?, nonempty(value, "a value")?)
        }
        "signal" => ArgEdit::Signal(nonempty(rest, "a signal")?),
        "sanitize-id" => ArgEdit::SanitizeId,
        "find-bundle" => ArgEdit::FindBundle,
        "caller-env" => ArgEdit::CallerEnv,
        "id" => ArgEdit::Id(nonempty(rest, "an id")?),
        other => return Err(format!("there is no argument edit {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_come_first() {
        let steps =
            parse("when missing config.json and no-id => exit create 0 if failed ; skip kill").unwrap();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].when, vec![Cond::Missing("config.json".into()), Cond::NoId]);
        assert_eq!(steps[0].action, Action::Exit(Verbs(vec!["create".into()]), 0, On::Failed));
        assert_eq!(steps[1].action, Action::Skip(Verbs(vec!["kill".into()])));
    }

    #[test]
    fn malformed_steps_are_refused() {
        for bad in [
            "",
            "frob",
            "skip nosuchverb",
            "exit create",
            "exit create 300",
            "when nosuch => skip kill",
            "hook prestart nosuch",
            "hook nosuch delay 1",
            "leak create nosuch",
            "fail create 1",
            "when every 0 => skip kill",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
