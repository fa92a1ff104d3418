//! One call under the steps of a fault: what is decided without the network.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::script::{Cond, Op, Step, Term};
use crate::json::edit::{Edit, NoVars};
use crate::json::path::{Path, Select};

/// Most requests and answers that are remembered.
const REMEMBERED: usize = 10_000;

/// What the proxy remembers between calls.
#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: HashMap<String, u64>,
    seen: HashSet<(String, Vec<u8>)>,
    answers: HashMap<(String, Vec<u8>), (Instant, Vec<u8>)>,
    places: HashMap<String, u64>,
    firsts: HashMap<(String, Vec<u8>), Value>,
    failpoints: HashMap<usize, u64>,
    logs: HashSet<String>,
}

/// The steps that apply to a call, with its number and whether it was made before.
pub fn active<'a>(steps: &'a [Step], rpc: &str, request: &Value, raw: &[u8], memory: &Memory) -> Vec<&'a Op> {
    let (number, repeated) = memory.count(rpc, raw);
    let mut ops = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if !(step.rpcs.is_empty() || step.rpcs.iter().any(|r| r == rpc)) {
            continue;
        }
        let met = step.when.iter().all(|cond| match cond {
            Cond::Request(path) => path.count(request) > 0,
            Cond::NoRequest(path) => path.count(request) == 0,
            Cond::Every(n) => number % n == 0,
            Cond::After(n) => number > *n,
            Cond::Repeated => repeated,
            Cond::RepeatedAt(places) => memory.repeats(rpc, request, places, number),
        });
        match (&step.op, met) {
            (Op::Failpoint(terms), true) => ops.extend(memory.failpoint(at, terms)),
            (op, true) => ops.push(op),
            _ => {}
        }
    }
    ops
}

impl Memory {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let mut guard = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut guard)
    }

    /// Counts a call; gives its number from 1, and whether an equal one came before.
    fn count(&self, rpc: &str, raw: &[u8]) -> (u64, bool) {
        self.with(|m| {
            let number = m.calls.entry(rpc.to_owned()).and_modify(|n| *n += 1).or_insert(1);
            let number = *number;
            if m.seen.len() >= REMEMBERED {
                m.seen.clear();
            }
            (number, !m.seen.insert((rpc.to_owned(), raw.to_vec())))
        })
    }

    /// Whether a call before number `number` of this procedure had the same values at these places.
    fn repeats(&self, rpc: &str, request: &Value, places: &[String], number: u64) -> bool {
        let values: Vec<_> = places.iter().map(|p| request.pointer(p)).collect();
        let key = format!("{rpc} {places:?} {values:?}");
        self.with(|m| {
            if m.places.len() >= REMEMBERED {
                m.places.clear();
            }
            // Several steps may ask about the same call.
            *m.places.entry(key).or_insert(number) < number
        })
    }

    /// The operation of the term that this evaluation falls on.
    fn failpoint<'a>(&self, at: usize, terms: &'a [Term]) -> Option<&'a Op> {
        let mut nth = self.with(|m| {
            let n = m.failpoints.entry(at).or_insert(0);
            *n += 1;
            *n
        });
        let mut found = terms.last();
        for term in terms {
            match term.times {
                Some(times) if nth > times => nth -= times,
                _ => {
                    found = Some(term);
                    break;
                }
            }
        }
        // After the last counted term nothing happens any more.
        let term = found.filter(|t| t.times.is_none_or(|times| nth <= times))?;
        let hit = term.percent >= 100.0 || f64::from(random()) * 100.0 / f64::from(u32::MAX) < term.percent;
        if hit { term.op.as_ref() } else { None }
    }

    /// Whether the log at this path is spoiled for the first time.
    pub fn first_time(&self, log: &str) -> bool {
        self.with(|m| m.logs.len() < REMEMBERED && m.logs.insert(log.to_owned()))
    }

    /// A remembered answer that is still fresh.
    pub fn answer(&self, rpc: &str, raw: &[u8], fresh: Duration) -> Option<Vec<u8>> {
        self.with(|m| {
            m.answers
                .get(&(rpc.to_owned(), raw.to_vec()))
                .filter(|(at, _)| at.elapsed() < fresh)
                .map(|(_, a)| a.clone())
        })
    }

    /// Remembers an answer.
    pub fn remember(&self, rpc: &str, raw: &[u8], answer: &[u8]) {
        self.with(|m| {
            if m.answers.len() >= REMEMBERED {
                m.answers.clear();
            }
            m.answers.insert((rpc.to_owned(), raw.to_vec()), (Instant::now(), answer.to_vec()));
        });
    }

    /// Replaces the place in `response` by what the first answer to an equal request held there.
    pub fn keep(&self, rpc: &str, raw: &[u8], path: &Path, response: &mut Value) {
        let first = self.with(|m| {
            if m.firsts.len() >= REMEMBERED {
                m.firsts.clear();
            }
            m.firsts.entry((rpc.to_owned(), raw.to_vec())).or_insert_with(|| response.clone()).clone()
        });
        // Both answers become one document, so that a copy within it does the work.
        let mut both = serde_json::json!({"first": first, "now": response.take()});
        let below = |name: &str| {
            let step = crate::json::path::Step { select: Select::Name(name.to_owned()), filters: Vec::new() };
            Path { steps: std::iter::once(step).chain(path.steps.iter().cloned()).collect() }
        };
        Edit::Copy(below("first"), below("now")).apply(&mut both, &NoVars);
        *response = both["now"].take();
    }
}

fn random() -> u32 {
    let mut bytes = [0_u8; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::script::parse;
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_and_counts_are_kept() {
        let memory = Memory::default();
        let steps = [
            parse("when repeated => StopPodSandbox error NotFound").unwrap(),
            parse("when every 2 => Version swallow").unwrap(),
        ];
        let hits = |rpc: &str, raw: &[u8]| active(&steps, rpc, &json!({}), raw, &memory).len();
        assert_eq!(
            [hits("StopPodSandbox", b"a"), hits("StopPodSandbox", b"b"), hits("StopPodSandbox", b"a")],
            [0, 0, 1]
        );
        assert_eq!([hits("Version", b""), hits("Version", b""), hits("Version", b"")], [0, 1, 0]);
    }

    #[test]
    fn places_are_compared_across_calls() {
        let memory = Memory::default();
        let text = "when repeated /pod /name => CreateContainer error NotFound";
        let steps = [parse(text).unwrap(), parse(text).unwrap()];
        let hits = |pod: &str, name: &str, rest: &str| {
            let request = json!({"pod": pod, "name": name, "rest": rest});
            active(&steps, "CreateContainer", &request, rest.as_bytes(), &memory).len()
        };
        assert_eq!([hits("p", "a", "1"), hits("p", "b", "2"), hits("q", "a", "3")], [0, 0, 0]);
        assert_eq!(hits("p", "a", "4"), 2, "both steps hold");
    }

    #[test]
    fn failpoints_run_through_their_terms() {
        let memory = Memory::default();
        let steps = [parse("* failpoint 2*off->1*error(Unavailable)->0%reset").unwrap()];
        let hits: Vec<usize> =
            (0..5).map(|_| active(&steps, "Version", &json!({}), b"", &memory).len()).collect();
        assert_eq!(hits, [0, 0, 1, 0, 0]);
    }

    #[test]
    fn the_first_answer_is_kept_at_one_place() {
        let memory = Memory::default();
        let path = Path::parse("/a/b").unwrap();
        let mut first = json!({"a": {"b": 1}, "c": 1});
        memory.keep("Version", b"", &path, &mut first);
        let mut second = json!({"a": {"b": 2}, "c": 2});
        memory.keep("Version", b"", &path, &mut second);
        assert_eq!((first, second), (json!({"a": {"b": 1}, "c": 1}), json!({"a": {"b": 1}, "c": 2})));
    }
}
