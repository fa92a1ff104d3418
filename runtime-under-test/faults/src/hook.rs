//! Interposed hooks: the configuration names this program instead, which alters the hook's input, order,
//! timing or namespaces and then becomes the real hook.

use std::path::Path;

use serde_json::{Value, json};

use crate::carrier_home::Home;
use crate::step::{Action, HookOp, Step};
use crate::target::Reinvoke;

/// Where this program appears inside a container whose startContainer hooks are interposed.
const INSIDE: &str = "/dev/.plimsoll-faults";

/// Hook lists that the runtime runs in its own mount namespace while it sees an edited configuration.
const AT_HOME: &[&str] = &["prestart", "createRuntime", "poststart", "poststop"];

/// Puts this program before every hook that a step of the fault concerns. When the configuration is
/// `carried`, the hooks of the runtime's namespaces are also led back to the caller's mount namespace.
/// `marks` is the file that hooks use to tell each other of a failure.
pub fn interpose(
    config: &mut Value,
    steps: &[&Step],
    home: Option<&Home>,
    reinvoke: &Reinvoke,
    marks: &Path,
) {
    let Some(hooks) = config.get_mut("hooks").and_then(Value::as_object_mut) else { return };
    let mut inside = false;
    for (kind, list) in hooks.iter_mut() {
        let ops = ops_for(kind, steps);
        let home = home.filter(|_| AT_HOME.contains(&kind.as_str()));
        if ops.is_empty() && home.is_none() {
            continue;
        }
        for (at, hook) in list.as_array_mut().into_iter().flatten().enumerate() {
            let wrapped = wrap(hook, kind, at, &ops, home, reinvoke, marks);
            inside |= wrapped && kind == "startContainer";
        }
    }
    if inside {
        let mount = json!({
            "destination": INSIDE, "type": "bind", "source": reinvoke.program, "options": ["bind", "ro"],
        });
        match config.get_mut("mounts").and_then(Value::as_array_mut) {
            Some(mounts) => mounts.push(mount),
            None => config["mounts"] = json!([mount]),
        }
    }
}

fn ops_for(kind: &str, steps: &[&Step]) -> Vec<String> {
    steps
        .iter()
        .filter_map(|s| match &s.action {
            Action::Hook(kinds, op) if kinds.has(kind) => Some(op.to_text()),
            _ => None,
        })
        .collect()
}

/// Only hooks that would work are wrapped, so that invalid ones still meet the runtime's own checks.
fn wrap(
    hook: &mut Value,
    kind: &str,
    at: usize,
    ops: &[String],
    home: Option<&Home>,
    reinvoke: &Reinvoke,
    marks: &Path,
) -> bool {
    let path = hook.get("path").and_then(Value::as_str).filter(|p| p.starts_with('/')).map(str::to_owned);
    let args = match hook.get("args") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(args)) => args.iter().map(|a| a.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let (Some(path), Some(args)) = (path, args) else { return false };
    let in_container = kind == "startContainer";
    if !in_container && !Path::new(&path).is_file() {
        return false;
    }
    let program =
        if in_container { INSIDE.to_owned() } else { reinvoke.program.to_string_lossy().into_owned() };
    let mut words = vec!["plimsoll-faults".to_owned()];
    words.extend(reinvoke.prefix.iter().cloned());
    words.extend(["__hook".to_owned(), format!("--at={at}"), format!("--marks={}", marks.display())]);
    words.extend(home.map(|h| format!("--home={}", h.to_text())));
    words.extend(ops.iter().map(|op| format!("--op={op}")));
    words.extend(["--".to_owned(), path.clone()]);
    words.extend(if args.is_empty() { vec![path] } else { args });
    hook["path"] = Value::String(program);
    hook["args"] = json!(words);
    true
}

impl HookOp {
    /// The text that [`crate::grammar::hook_op`] reads back.
    pub fn to_text(&self) -> String {
        match self {
            HookOp::IgnoreExit => "ignore-exit".to_owned(),
            HookOp::NoStdin => "no-stdin".to_owned(),
            HookOp::CutStdin => "cut-stdin".to_owned(),
            HookOp::State(_, text) => format!("state {text}"),
            HookOp::Unshare => "unshare".to_owned(),
            HookOp::Delay(ms) => format!("delay {ms}"),
            HookOp::Abort => "abort".to_owned(),
            HookOp::SkipAfterFailure => "skip-after-failure".to_owned(),
            HookOp::Twice => "twice".to_owned(),
            HookOp::Background => "background".to_owned(),
            HookOp::SetEnv(pair) => format!("setenv {pair}"),
            HookOp::ClearEnv => "clear-env".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interposed(how: &str, mut config: Value) -> Value {
        let steps = crate::grammar::parse(how).unwrap();
        let refs: Vec<&Step> = steps.iter().collect();
        let reinvoke = Reinvoke { program: "/self".into(), prefix: vec!["faults".into()] };
        interpose(&mut config, &refs, None, &reinvoke, Path::new("/m"));
        config
    }

    #[test]
    fn a_hook_keeps_its_argv_and_the_rest_is_untouched() {
        let config = json!({"hooks": {
            "poststart": [{"path": "/bin/sh", "args": ["argv0", "x"], "timeout": 3}, {"path": "rel"}],
            "poststop": [{"path": "/bin/sh"}],
        }});
        let out = interposed("hook poststart ignore-exit", config.clone());
        assert_eq!(
            out["hooks"]["poststart"][0],
            json!({"path": "/self", "timeout": 3, "args": ["plimsoll-faults", "faults", "__hook", "--at=0", "--marks=/m",
                "--op=ignore-exit", "--", "/bin/sh", "argv0", "x"]})
        );
        assert_eq!(out["hooks"]["poststart"][1], config["hooks"]["poststart"][1]);
        assert_eq!(out["hooks"]["poststop"], config["hooks"]["poststop"]);
    }

    #[test]
    fn inside_the_container_the_program_is_mounted() {
        let out = interposed(
            "hook startContainer no-stdin",
            json!({"hooks": {"startContainer": [{"path": "/x"}]}}),
        );
        assert_eq!(out["hooks"]["startContainer"][0]["path"], INSIDE);
        assert_eq!(out["mounts"][0]["destination"], INSIDE);
    }
}
