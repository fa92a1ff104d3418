//! The host's side of the probe: scripts of questions, and the facts that come back. See `harness/docs/PROBE.md`.

use crate::stop::Stop;
use plimsoll_model::{Trouble, TroubleKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The probe itself: a static executable.
pub static PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

/// A script: questions (`ask`) and actions (`do`) in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    steps: Vec<Value>,
}

/// An empty script: the probe says `done` and exits with 0.
pub fn script() -> Script {
    Script::default()
}

/// A script that asks these questions, without arguments.
pub fn ask<'a>(questions: impl IntoIterator<Item = &'a str>) -> Script {
    questions.into_iter().fold(script(), Script::ask)
}

/// A script that exits with `code` at once.
pub fn exit(code: u8) -> Script {
    script().exit(code)
}

/// A script that answers `ready` and then waits until it is killed; SIGTERM ends it with 0.
pub fn pause() -> Script {
    script().pause()
}

impl Script {
    /// Asks a question without arguments.
    #[must_use]
    pub fn ask(self, question: &str) -> Self {
        self.step(json!({ "ask": question }))
    }

    /// Asks a question with arguments: `ask_with("stat", json!({"path": "/dev/null"}))`.
    #[must_use]
    pub fn ask_with(self, question: &str, arguments: Value) -> Self {
        self.with("ask", question, arguments)
    }

    /// Does something: `act("sleep", json!({"ms": 10}))`.
    #[must_use]
    pub fn act(self, action: &str, arguments: Value) -> Self {
        self.with("do", action, arguments)
    }

    /// Appends a whole step.
    #[must_use]
    pub fn step(mut self, step: Value) -> Self {
        self.steps.push(step);
        self
    }

    /// Exits with `code`.
    #[must_use]
    pub fn exit(self, code: u8) -> Self {
        self.act("exit", json!({ "code": code }))
    }

    /// Waits until killed; SIGTERM ends it with 0.
    #[must_use]
    pub fn pause(self) -> Self {
        self.act("pause_forever", json!({}))
    }

    /// Whether a step of it waits for a signal, having said that it is ready.
    pub(crate) fn waits(&self) -> bool {
        let waiting = ["pause_forever", "wait", "signals"];
        self.steps
            .iter()
            .any(|s| s["do"].as_str().or(s["ask"].as_str()).is_some_and(|n| waiting.contains(&n)))
    }

    /// The script's text with a nonce; answers go to `out` instead of standard output when given.
    pub fn text(&self, nonce: &str, out: Option<&str>) -> String {
        let mut document = json!({ "nonce": nonce, "steps": self.steps });
        if let Some(out) = out {
            document["out"] = json!(out);
        }
        document.to_string()
    }

    fn with(self, kind: &str, name: &str, arguments: Value) -> Self {
        let mut step = json!({ kind: name });
        if let (Value::Object(step), Value::Object(arguments)) = (&mut step, arguments) {
            step.extend(arguments);
        }
        self.step(step)
    }
}

/// Why the probe could not do a step: the kernel's answer, which is a fact too.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// errno.
    pub errno: i32,
    /// The probe's words.
    pub error: String,
}

/// The answer to one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The step's name.
    pub step: String,
    /// The facts, or the kernel's refusal.
    pub result: Result<Value, Refusal>,
}

impl Answer {
    /// The errno of a refusal; 0 for success.
    pub fn errno(&self) -> i32 {
        self.result.as_ref().err().map_or(0, |r| r.errno)
    }
}

/// All answers of one script.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    by_index: BTreeMap<usize, Vec<Answer>>,
    events: Vec<(usize, Value)>,
    done: bool,
    raw: String,
}

impl Answers {
    /// Picks the lines with this nonce out of `text`; all else is ignored: a container may write what it likes.
    pub fn parse(text: &str, nonce: &str) -> Self {
        let mut answers = Self { raw: text.to_owned(), ..Self::default() };
        for line in text.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line.trim_end_matches('\r')) else { continue };
            if value["nonce"] != nonce {
                continue;
            }
            if value.get("done").is_some() {
                answers.done = true;
            }
            if let (Some(of), Some(event)) = (value["of"].as_u64(), value.get("event")) {
                answers.events.push((of as usize, event.clone()));
            }
            let Some(index) = value["i"].as_u64() else { continue };
            let step = value["step"].as_str().unwrap_or_default().to_owned();
            let result = match value.get("ok") {
                Some(facts) => Ok(facts.clone()),
                None => Err(Refusal {
                    errno: value["errno"].as_i64().unwrap_or(-1) as i32,
                    error: value["error"].as_str().unwrap_or_default().to_owned(),
                }),
            };
            answers.by_index.entry(index as usize).or_default().push(Answer { step, result });
        }
        answers
    }

    /// Whether the probe came to the end of its script.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether any step has answered.
    pub fn is_empty(&self) -> bool {
        self.by_index.is_empty()
    }

    /// What steps told on the way, in order: the step's index and the event.
    pub fn events(&self) -> &[(usize, Value)] {
        &self.events
    }

    /// Whether a waiting step has said that it is ready to be signalled.
    pub fn is_ready(&self) -> bool {
        !self.all("pause_forever").is_empty() || self.events.iter().any(|(_, e)| e["ready"] == true)
    }

    /// Everything that was written, answers or not.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The answers to all steps of this name, in script order.
    pub fn all(&self, step: &str) -> Vec<&Answer> {
        self.by_index.values().flatten().filter(|a| a.step == step).collect()
    }

    /// The answer of the n-th step (from 0) of the script.
    pub fn at(&self, index: usize) -> Result<&Answer, Stop> {
        self.by_index.get(&index).and_then(|a| a.first()).ok_or_else(|| self.lost(&format!("step {index}")))
    }

    /// The answer to the first step of this name.
    pub fn first(&self, step: &str) -> Result<&Answer, Stop> {
        self.all(step).first().copied().ok_or_else(|| self.lost(step))
    }

    /// The facts of the first step of this name. A refusal is trouble: use [`Answers::first`] where it can be one.
    pub fn facts(&self, step: &str) -> Result<&Value, Stop> {
        match &self.first(step)?.result {
            Ok(facts) => Ok(facts),
            Err(r) => Err(Stop::Trouble(Trouble::new(
                TroubleKind::ProbeLost,
                format!("the probe could not answer `{step}`: {} (errno {})", r.error, r.errno),
            ))),
        }
    }

    /// The facts of the first step of this name, which a program in this container has a right to: a refusal is a
    /// violation.
    pub fn granted(&self, step: &str) -> Result<&Value, Stop> {
        let refused = |r: &Refusal| Stop::violation(format!("the kernel answers `{step}`"), r.error.clone());
        self.first(step)?.result.as_ref().map_err(refused)
    }

    /// Trouble: the probe's answer is missing.
    fn lost(&self, step: &str) -> Stop {
        let tail: String = self.raw.chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
        Stop::Trouble(Trouble::new(
            TroubleKind::ProbeLost,
            format!("the probe did not answer `{step}`; the last of what the container wrote: {tail:?}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, ask};

    #[test]
    fn only_lines_with_the_nonce_count() {
        let text = "noise\n{\"nonce\":\"x\",\"i\":0,\"step\":\"env\",\"ok\":[]}\n{\"nonce\":\"y\",\"i\":1,\"step\":\"argv\",\"ok\":[]}\n{\"nonce\":\"x\",\"i\":1,\"step\":\"open\",\"errno\":13,\"error\":\"EACCES\"}\n{\"nonce\":\"x\",\"done\":2}\n";
        let answers = Answers::parse(text, "x");
        assert!(answers.is_done());
        assert!(answers.facts("env").is_ok());
        assert!(answers.facts("argv").is_err());
        assert_eq!(answers.first("open").unwrap().errno(), 13);
        assert!(!Answers::parse(text, "z").is_done());
    }

    #[test]
    fn a_script_is_one_json_document() {
        let text = ask(["env"]).exit(3).text("n", Some("/out"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["steps"][1]["code"], 3);
        assert_eq!(value["out"], "/out");
    }
}
