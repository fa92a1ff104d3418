//! The text form of the proxy's faults: `[when COND =>] proxy RPCS OPERATION`.

use std::time::Duration;

use super::interface::interface;
use crate::json::edit::Edit;
use crate::json::path::Path;

/// One step of a CRI fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The procedures concerned; empty means all.
    pub rpcs: Vec<String>,
    /// Conditions; all must hold.
    pub when: Vec<Cond>,
    /// What happens.
    pub op: Op,
}

/// A condition on a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Cond {
    /// `request PATH`: the request has such a place.
    Request(Path),
    /// `no-request PATH`: it has not.
    NoRequest(Path),
    /// `every N`: each Nth call of the procedure.
    Every(u64),
    /// `after N`: from the call after the Nth on.
    After(u64),
    /// `repeated`: an equal request of this procedure was made before.
    Repeated,
    /// `repeated PLACE...`: one with the same values at these places (JSON pointers) was.
    RepeatedAt(Vec<String>),
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `request EDIT`; the text is kept for messages about it.
    Request(Edit, String),
    /// `response EDIT`: also of each message of a stream.
    Response(Edit, String),
    /// `swallow`: not forwarded; an empty response.
    Swallow,
    /// `error CODE [MESSAGE]`: not forwarded.
    Error(u32, String),
    /// `map-error FROM TO`: FROM may be `*`.
    MapError(Option<u32>, u32),
    /// `forgive FROM`: the error becomes an empty response.
    Forgive(Option<u32>),
    /// `delay MS`: before forwarding.
    Delay(Duration),
    /// `late MS`: after forwarding.
    Late(Duration),
    /// `twice`: forwarded twice; the second answer counts.
    Twice,
    /// `cache MS`: an equal request gets the first answer for that long.
    Cache(Duration),
    /// `garbage`: the response is not a message.
    Garbage,
    /// `oversize BYTES`: the response carries an unknown field of that size.
    Oversize(usize),
    /// `reset`: the connection is closed.
    Reset,
    /// `serialise`: calls wait for each other.
    Serialise,
    /// `filter PATH`: messages of a stream that have such a place are lost.
    Filter(Path),
    /// `duplicate`: messages of a stream come twice.
    Duplicate,
    /// `reorder`: messages of a stream come in pairs, the later one first.
    Reorder,
    /// `prior RPC JSON`: another call first; `{request}` texts are not expanded.
    Prior(String, serde_json::Value),
    /// `require RPC`: another call with the same members first; its error is the answer.
    Require(String),
    /// `fail-late CODE`: forwarded, and reported as failed although it succeeded.
    FailLate(u32),
    /// `log FAULT`: the log of a container that has ended is spoiled, once.
    Log(LogFault),
    /// `unlink-log`: the log of the container concerned is removed after success.
    UnlinkLog,
    /// `stream FAULT`: the connection to the URL of the response is spoiled.
    Stream(StreamFault),
    /// `keep PATH`: the place in the response is that of the first response to an equal request.
    Keep(Path),
    /// `failpoint TERM->TERM`: see [`Term`].
    Failpoint(Vec<Term>),
}

/// How the lines of a log are spoiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// `subst FROM TO`: text in the head of each line is replaced; `_` is a blank, `''` nothing.
    Subst(String, String),
    /// `seconds`: times have no fraction.
    Seconds,
    /// `suffix TEXT`: text is added to each line.
    Suffix(String),
    /// `printable`: control characters and bytes that are not ASCII become question marks.
    Printable,
    /// `no-empty`: lines without content are lost.
    NoEmpty,
    /// `truncate`: the second half is lost.
    Truncate,
}

/// How the bytes of a streaming connection are spoiled, seen from the server to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// `cut N`: closed after N bytes.
    Cut(u64),
    /// `stall N`: silent after N bytes, but open.
    Stall(u64),
    /// `flip N`: the byte at place N has its lowest bit flipped.
    Flip(u64),
    /// `skip N`: the byte at place N is lost.
    Skip(u64),
    /// `slow MS`: that long before each piece.
    Slow(u64),
    /// `deaf`: nothing of what the client sends after its request head arrives.
    Deaf,
}

/// One term of a failpoint, `[P%][N*]TASK`: for N calls (or for ever), with probability P.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Probability in percent.
    pub percent: f64,
    /// For so many calls; `None` is for ever.
    pub times: Option<u64>,
    /// What happens; `None` is `off`.
    pub op: Option<Op>,
}

/// The names of gRPC status codes, by number.
const CODES: &[&str] = &[
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

fn code(text: &str) -> Result<u32, String> {
    let at = CODES.iter().position(|c| *c == text).ok_or_else(|| format!("{text:?} is no gRPC status"))?;
    Ok(at as u32)
}

fn from_code(text: &str) -> Result<Option<u32>, String> {
    if text == "*" { Ok(None) } else { code(text).map(Some) }
}

fn first(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(a, b)| (a, b.trim_start()))
}

fn millis(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| format!("{text:?} is no number of milliseconds"))
}

/// Parses one step, without the leading `proxy`.
pub fn parse(text: &str) -> Result<Step, String> {
    let (when, rest) = match text.strip_prefix("when ").and_then(|t| t.split_once(" => ")) {
        Some((conds, rest)) => (conds.split(" and ").map(cond).collect::<Result<_, _>>()?, rest),
        None => (Vec::new(), text),
    };
    let (names, op_text) = first(rest.strip_prefix("proxy ").unwrap_or(rest));
    let rpcs: Vec<String> = names.split(',').filter(|n| *n != "*").map(str::to_owned).collect();
    if let Some(odd) = rpcs.iter().find(|r| !interface().rpcs.contains_key(*r)) {
        return Err(format!("{odd:?} is no procedure of CRI"));
    }
    Ok(Step { rpcs, when, op: op(op_text).map_err(|e| format!("step {text:?}: {e}"))? })
}

fn cond(text: &str) -> Result<Cond, String> {
    let (name, rest) = first(text.trim());
    let number = || rest.parse::<u64>().map_err(|_| format!("{rest:?} is no number"));
    Ok(match name {
        "request" => Cond::Request(Path::parse(rest)?),
        "no-request" => Cond::NoRequest(Path::parse(rest)?),
        "every" => Cond::Every(number()?.max(1)),
        "after" => Cond::After(number()?),
        "repeated" if rest.is_empty() => Cond::Repeated,
        "repeated" => Cond::RepeatedAt(rest.split_whitespace().map(str::to_owned).collect()),
        other => return Err(format!("there is no condition {other:?}")),
    })
}

fn op(text: &str) -> Result<Op, String> {
    let (name, rest) = first(text);
    let (a, b) = first(rest);
    Ok(match name {
        "request" => Op::Request(Edit::parse(rest)?, rest.to_owned()),
        "response" => Op::Response(Edit::parse(rest)?, rest.to_owned()),
        "swallow" => Op::Swallow,
        "error" => Op::Error(code(a)?, if b.is_empty() { "injected".to_owned() } else { b.to_owned() }),
        "map-error" => Op::MapError(from_code(a)?, code(b)?),
        "forgive" => Op::Forgive(from_code(a)?),
        "delay" => Op::Delay(millis(rest)?),
        "late" => Op::Late(millis(rest)?),
        "twice" => Op::Twice,
        "cache" => Op::Cache(millis(rest)?),
        "garbage" => Op::Garbage,
        "oversize" => Op::Oversize(rest.parse().map_err(|_| format!("{rest:?} is no size"))?),
        "reset" => Op::Reset,
        "serialise" => Op::Serialise,
        "filter" => Op::Filter(Path::parse(rest)?),
        "duplicate" => Op::Duplicate,
        "reorder" => Op::Reorder,
        "keep" => Op::Keep(Path::parse(rest)?),
        "prior" if interface().rpcs.contains_key(a) => {
            Op::Prior(a.to_owned(), serde_json::from_str(b).map_err(|e| format!("{b:?}: {e}"))?)
        }
        "fail-late" => Op::FailLate(code(rest)?),
        "log" => Op::Log(log_fault(rest)?),
        "unlink-log" => Op::UnlinkLog,
        "stream" => {
            let number = || b.parse::<u64>().map_err(|_| format!("{b:?} is no number"));
            Op::Stream(match a {
                "cut" => StreamFault::Cut(number()?),
                "stall" => StreamFault::Stall(number()?),
                "flip" => StreamFault::Flip(number()?),
                "skip" => StreamFault::Skip(number()?),
                "slow" => StreamFault::Slow(number()?),
                "deaf" => StreamFault::Deaf,
                other => return Err(format!("there is no stream fault {other:?}")),
            })
        }
        "require" if interface().rpcs.contains_key(rest) => Op::Require(rest.to_owned()),
        "failpoint" => Op::Failpoint(rest.split("->").map(term).collect::<Result<_, _>>()?),
        other => return Err(format!("there is no proxy operation {other:?}")),
    })
}

fn log_fault(text: &str) -> Result<LogFault, String> {
    let (name, rest) = first(text);
    let (from, to) = first(rest);
    let plain = |text: &str| if text == "''" { String::new() } else { text.replace('_', " ") };
    Ok(match name {
        "subst" if !from.is_empty() && !to.is_empty() => LogFault::Subst(plain(from), plain(to)),
        "suffix" if !rest.is_empty() => LogFault::Suffix(plain(rest)),
        "seconds" => LogFault::Seconds,
        "printable" => LogFault::Printable,
        "no-empty" => LogFault::NoEmpty,
        "truncate" => LogFault::Truncate,
        other => return Err(format!("there is no log fault {other:?}, or its words are missing")),
    })
}

/// `3*off`, `1*error(Unavailable)`, `1%delay(50)`, `reset`, `garbage`, `twice` (replay), `swallow` (drop).
fn term(text: &str) -> Result<Term, String> {
    let (percent, rest) = match text.trim().split_once('%') {
        Some((p, rest)) => (p.parse().map_err(|_| format!("{p:?} is no percentage"))?, rest),
        None => (100.0, text.trim()),
    };
    let (times, task) = match rest.split_once('*') {
        Some((n, task)) => (Some(n.parse().map_err(|_| format!("{n:?} is no count"))?), task),
        None => (None, rest),
    };
    let (name, argument) = task.split_once('(').map_or((task, ""), |(n, a)| (n, a.trim_end_matches(')')));
    let op = match name {
        "off" => None,
        "drop" => Some(Op::Swallow),
        "replay" => Some(Op::Twice),
        other => Some(op(format!("{other} {argument}").trim())?),
    };
    Ok(Term { percent, times, op })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failpoints_follow_the_known_grammar() {
        let step = parse("* failpoint 3*off->1*error(Unavailable)->1%delay(50)").unwrap();
        let Op::Failpoint(terms) = step.op else { panic!() };
        assert_eq!((terms[0].times, &terms[0].op), (Some(3), &None));
        assert_eq!(terms[1].op, Some(Op::Error(14, "injected".into())));
        assert_eq!((terms[2].percent, &terms[2].op), (1.0, &Some(Op::Delay(Duration::from_millis(50)))));
    }

    #[test]
    fn malformed_steps_are_refused() {
        for bad in [
            "NoSuchRpc swallow",
            "Version nosuch",
            "Version error Nope",
            "* failpoint x*off",
            "when x => Version swallow",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            parse("when request /config and repeated => proxy RunPodSandbox error NotFound gone").is_ok()
        );
        let places = parse("when repeated /a /b => proxy CreateContainer error NotFound").unwrap();
        assert_eq!(places.when, [Cond::RepeatedAt(vec!["/a".into(), "/b".into()])]);
    }
}
