//! What the files of this suite share: finding out what a target has, process objects, words in error texts.

use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use plimsoll_kit::wait::Poll;
use plimsoll_kit::{exec::capture, host};
use std::fs;
use std::path::{Path, PathBuf};

/// A verb that no runtime has.
pub const NO_VERB: &str = "plimsoll-no-such-verb";

/// The help text of a verb; the case does not apply to a target that answers to it as to an unknown one.
pub async fn need_verb(cx: &Cx, verb: &str) -> Result<String, Stop> {
    let help = cx.runtime().call(&[verb, "--help"]).await?;
    let text = format!("{}{}", help.stdout, help.stderr);
    if help.succeeded() {
        return Ok(text);
    }
    let unknown = cx.runtime().call(&[NO_VERB, "--help"]).await?;
    let other = format!("{}{}", unknown.stdout, unknown.stderr);
    // A time stamp is the only thing in which two answers to unknown verbs differ.
    let plain = |text: &str, name: &str| {
        text.replace(name, "VERB").chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    if help.status == unknown.status && plain(&text, verb) == plain(&other, NO_VERB) {
        return Err(Stop::NotApplicable {
            capability: format!("verb-{verb}"),
            reason: format!("`{verb} --help` is answered like an unknown command: {}", help.describe()),
        });
    }
    if text.trim().is_empty() || text.to_lowercase().contains("not understood") {
        return Err(Stop::NotApplicable {
            capability: format!("verb-{verb}"),
            reason: format!("`{verb} --help`: {}", help.describe()),
        });
    }
    Ok(text)
}

/// Whether a help text names a long flag; tools write it with one dash or two.
pub fn names_flag(help: &str, flag: &str) -> bool {
    let dashed = format!("-{flag}");
    help.match_indices(&dashed).any(|(at, _)| {
        let before = help[..at].chars().next_back();
        let after = help[at + dashed.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric()) && after.is_none_or(|c| !c.is_alphanumeric() && c != '-')
    })
}

/// The case does not apply to a target whose help for the verb does not name the flag.
pub async fn need_flag(cx: &Cx, verb: &str, flag: &str) -> Result<(), Stop> {
    if names_flag(&need_verb(cx, verb).await?, flag) {
        return Ok(());
    }
    Err(Stop::NotApplicable {
        capability: format!("{verb}-{flag}"),
        reason: format!("the help of `{verb}` does not name --{flag}"),
    })
}

/// A process object for exec that runs a script.
pub fn process(script: &Script, nonce: &str) -> Value {
    json!({
        "terminal": false,
        "user": { "uid": 0, "gid": 0 },
        "args": ["/probe", script.text(nonce, None)],
        "env": ["PATH=/usr/bin:/bin", "FROM=process"],
        "cwd": "/"
    })
}

/// Writes a document into the attempt's directory and gives its path.
pub fn document(cx: &Cx, name: &str, value: &Value) -> Result<String, Stop> {
    let path = cx.dir().join(name);
    fs::write(&path, value.to_string())?;
    Ok(path.display().to_string())
}

/// Everything that a call said.
pub fn said(call: &Call) -> String {
    format!("{}{}", call.stdout, call.stderr).to_lowercase()
}

/// A violation unless the call failed cleanly and said one of these things.
pub fn must_say(call: &Call, words: &[&str]) -> Verdict {
    call.must_fail()?;
    let text = said(call);
    check!(
        words.iter().any(|w| text.contains(w)),
        format!("an error text with one of {words:?}"),
        "{}",
        describe(&text)
    );
    Ok(())
}

/// What callers look for when a container is not there.
pub const NOT_THERE: &[&str] = &["does not exist", "no such file or directory", "not found"];

/// What callers look for when a container has ended.
pub const NOT_RUNNING: &[&str] =
    &["container not running", "no such process", "process already finished", "not running"];

/// What callers look for when a program is missing.
pub const NO_PROGRAM: &[&str] =
    &["executable file not found", "no such file or directory", "open executable", "not found"];

/// A working container whose program waits.
pub async fn running(cx: &Cx) -> Result<Container, Stop> {
    cx.container(probe::pause()).running().await
}

/// Options that put a call's output at a place of its own.
pub fn output_at(stem: &Path) -> CallOptions {
    CallOptions { output: Some(stem.to_owned()), ..CallOptions::default() }
}

/// Waits until the file of a detached process's output holds answers that satisfy `ready`.
pub async fn answers_at(
    cx: &Cx,
    stem: &Path,
    nonce: &str,
    ready: impl Fn(&Answers) -> bool,
) -> Result<Answers, Stop> {
    wait_until("the detached process answers", cx.limits().wait(), async || {
        cx.runtime().reaper().sweep();
        let answers = Answers::parse(&capture(&stem.with_extension("out"), 1 << 20)?, nonce);
        Ok(if ready(&answers) { Poll::Ready(answers) } else { Poll::NotYet(describe(&answers.raw())) })
    })
    .await
}

/// The container's own cgroup of a controller; the case does not apply when the runtime put it into none.
pub fn own_cgroup(cx: &Cx, container: &Container, controller: &str) -> Result<PathBuf, Stop> {
    cx.need_controller(controller)?;
    let dir = container.cgroup(controller)?;
    if dir.display().to_string().contains(container.id()) {
        return Ok(dir);
    }
    Err(Stop::NotApplicable {
        capability: "cgroups".into(),
        reason: format!("the container's process is in {}, which is not its own cgroup", dir.display()),
    })
}

/// Reads a cgroup file of which only the first that exists counts: the name in version 1, then in version 2.
pub fn setting(dir: &Path, names: &[&str]) -> Result<String, Stop> {
    for name in names {
        if let Ok(text) = fs::read_to_string(dir.join(name)) {
            return Ok(text.trim().to_owned());
        }
    }
    Err(Stop::violation(
        format!("one of {names:?} in the container's cgroup"),
        format!("none of them is in {}", dir.display()),
    ))
}

/// Skips the case unless the host can freeze a cgroup.
pub fn need_freezer(cx: &Cx) -> Result<(), Stop> {
    let all = host::hierarchies();
    let present = all.iter().any(|h| h.unified || h.controllers.iter().any(|c| c == "freezer"));
    cx.need(present, "cgroup-freezer", "no hierarchy has the freezer")
}

/// The numbers of a probe's descriptors above 2, without those that it opened itself.
pub fn extra_fds(answers: &Answers) -> Result<Vec<i64>, Stop> {
    let fds = answers.facts("fds")?["fds"].as_array().cloned().unwrap_or_default();
    let open = fds.iter().filter(|f| f["probe_out"] != json!(true)).filter_map(|f| f["fd"].as_i64());
    Ok(open.filter(|n| *n > 2).collect())
}

/// The environment as the probe saw it.
pub fn environment(answers: &Answers) -> Result<Vec<String>, Stop> {
    let env = answers.facts("env")?["env"].as_array().cloned().unwrap_or_default();
    Ok(env.into_iter().filter_map(|e| e.as_str().map(str::to_owned)).collect())
}
