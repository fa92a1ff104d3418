//! The `linux.seccomp` object, read strictly: every rule of the spec about its shape is kept here.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Error;
use super::arch;

/// Actions by the spec's name, with the kernel's `SECCOMP_RET_*` value.
pub(super) const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_KILL", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", libc::SECCOMP_RET_KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_TRAP", libc::SECCOMP_RET_TRAP),
    ("SCMP_ACT_ERRNO", libc::SECCOMP_RET_ERRNO),
    ("SCMP_ACT_TRACE", libc::SECCOMP_RET_TRACE),
    ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW),
    ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG),
    ("SCMP_ACT_NOTIFY", libc::SECCOMP_RET_USER_NOTIF),
];

/// Operators by the spec's name.
pub(super) const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_NE", Operator::Ne),
    ("SCMP_CMP_LT", Operator::Lt),
    ("SCMP_CMP_LE", Operator::Le),
    ("SCMP_CMP_EQ", Operator::Eq),
    ("SCMP_CMP_GE", Operator::Ge),
    ("SCMP_CMP_GT", Operator::Gt),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEq),
];

/// Flags by the spec's name, with the kernel's value.
pub(super) const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
];

/// The largest errno that the kernel passes on (`MAX_ERRNO`).
const MAX_ERRNO: u64 = 4095;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// Not equal.
    Ne,
    /// Less, unsigned.
    Lt,
    /// Less or equal, unsigned.
    Le,
    /// Equal.
    Eq,
    /// Greater or equal, unsigned.
    Ge,
    /// Greater, unsigned.
    Gt,
    /// Equal to `value_two` in the bits of `value`.
    MaskedEq,
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What it is compared with; for [`Operator::MaskedEq`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEq`] what the masked argument must be.
    pub value_two: u64,
    /// How.
    pub operator: Operator,
}

/// One entry of `syscalls`.
#[derive(Debug, Clone)]
pub(super) struct Rule<'a> {
    /// The calls it is about.
    pub names: Vec<&'a str>,
    /// The `SECCOMP_RET_*` value with its data.
    pub ret: u32,
    /// It holds when all conditions of any one group hold. One empty group: always.
    pub groups: Vec<Vec<Condition>>,
}

impl Rule<'_> {
    /// Whether it holds whatever the arguments are.
    pub fn always(&self) -> bool {
        self.groups.iter().any(Vec::is_empty)
    }
}

/// A profile whose every field was checked.
#[derive(Debug, Clone)]
pub(super) struct Profile<'a> {
    /// The `SECCOMP_RET_*` value for what no rule is about.
    pub default: u32,
    /// The listed architectures.
    pub architectures: Vec<&'static str>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
    /// The agent's socket.
    pub listener_path: Option<PathBuf>,
    /// Text for the agent.
    pub listener_metadata: Option<String>,
    /// The rules, in order.
    pub rules: Vec<Rule<'a>>,
}

impl<'a> Profile<'a> {
    /// Whether some rule asks an agent.
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|r| r.ret == libc::SECCOMP_RET_USER_NOTIF)
    }

    /// Reads the object.
    pub fn parse(cfg: &'a Value) -> Result<Self, Error> {
        let Value::Object(top) = cfg else { return Err(invalid("", "must be an object")) };
        let default = action(top, "", "defaultAction", "defaultErrnoRet")?;
        if default == libc::SECCOMP_RET_USER_NOTIF {
            return Err(invalid(
                "defaultAction",
                "SCMP_ACT_NOTIFY cannot be the default: the agent could not be reached",
            ));
        }
        let architectures = list(top, "", "architectures")?
            .iter()
            .enumerate()
            .map(|(i, v)| named(v, &format!("architectures[{i}]"), &arch::NAMES.map(|n| (n, n))))
            .collect::<Result<_, _>>()?;
        let flags = list(top, "", "flags")?
            .iter()
            .enumerate()
            .try_fold(0, |all, (i, v)| Ok(all | named(v, &format!("flags[{i}]"), &FLAGS)?))?;
        let rules = list(top, "", "syscalls")?
            .iter()
            .enumerate()
            .map(|(i, v)| rule(v, &format!("syscalls[{i}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let listener_path = text(top, "listenerPath")?.filter(|p| !p.is_empty()).map(PathBuf::from);
        let listener_metadata = text(top, "listenerMetadata")?.filter(|m| !m.is_empty());
        if listener_metadata.is_some() && listener_path.is_none() {
            return Err(invalid(
                "listenerMetadata",
                "is of no use without listenerPath: give both or neither",
            ));
        }
        let profile = Self { default, architectures, flags, listener_path, listener_metadata, rules };
        if profile.notifies() && profile.listener_path.is_none() {
            return Err(invalid("listenerPath", "is needed because a rule has the action SCMP_ACT_NOTIFY"));
        }
        Ok(profile)
    }
}

fn rule<'a>(value: &'a Value, at: &str) -> Result<Rule<'a>, Error> {
    let Value::Object(fields) = value else { return Err(invalid(at, "must be an object")) };
    let names = list(fields, at, "names")?
        .iter()
        .enumerate()
        .map(|(i, v)| match v {
            Value::String(name) => Ok(name.as_str()),
            _ => Err(invalid(&format!("{at}.names[{i}]"), "must be a string")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err(invalid(&format!("{at}.names"), "must have at least one name"));
    }
    let ret = action(fields, at, "action", "errnoRet")?;
    if ret == libc::SECCOMP_RET_USER_NOTIF && names.contains(&"write") {
        let why = "SCMP_ACT_NOTIFY cannot be used for write: the runtime writes the listener's number before the agent listens";
        return Err(invalid(&format!("{at}.action"), why));
    }
    let conditions = list(fields, at, "args")?
        .iter()
        .enumerate()
        .map(|(i, v)| condition(v, &format!("{at}.args[{i}]")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Rule { names, ret, groups: groups(conditions) })
}

/// Conditions on different arguments must all hold. Several conditions on one argument are alternatives: profiles in
/// the field are written so since the first runtimes could not combine them, and every runtime reads them so.
fn groups(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let repeated =
        conditions.iter().enumerate().any(|(i, c)| conditions[..i].iter().any(|d| d.index == c.index));
    if repeated { conditions.into_iter().map(|c| vec![c]).collect() } else { vec![conditions] }
}

fn condition(value: &Value, at: &str) -> Result<Condition, Error> {
    let Value::Object(fields) = value else { return Err(invalid(at, "must be an object")) };
    let index = number(fields, at, "index")?
        .ok_or_else(|| invalid(&format!("{at}.index"), "is required (0 to 5)"))?;
    let index = u8::try_from(index).ok().filter(|i| *i <= 5).ok_or_else(|| {
        invalid(&format!("{at}.index"), &format!("is {index}: a call has arguments 0 to 5"))
    })?;
    let value = number(fields, at, "value")?.ok_or_else(|| invalid(&format!("{at}.value"), "is required"))?;
    let value_two = number(fields, at, "valueTwo")?.unwrap_or(0);
    let field = format!("{at}.op");
    let operator = match fields.get("op") {
        None | Some(Value::Null) => return Err(invalid(&field, "is required")),
        Some(op) => named(op, &field, &OPERATORS)?,
    };
    Ok(Condition { index, value, value_two, operator })
}

/// An action with its errno, as the kernel's return value.
fn action(fields: &Map<String, Value>, at: &str, key: &str, errno_key: &str) -> Result<u32, Error> {
    let field = join(at, key);
    let ret = match fields.get(key) {
        None | Some(Value::Null) => return Err(invalid(&field, "is required")),
        Some(v) => named(v, &field, &ACTIONS)?,
    };
    let errno = number(fields, at, errno_key)?;
    let field = join(at, errno_key);
    match (ret, errno) {
        (libc::SECCOMP_RET_ERRNO | libc::SECCOMP_RET_TRACE, None) => Ok(ret | libc::EPERM.unsigned_abs()),
        (libc::SECCOMP_RET_ERRNO, Some(errno)) if errno > MAX_ERRNO => {
            Err(invalid(&field, &format!("is {errno}: the kernel returns at most {MAX_ERRNO}")))
        }
        (libc::SECCOMP_RET_ERRNO | libc::SECCOMP_RET_TRACE, Some(errno)) => match u16::try_from(errno) {
            Ok(errno) => Ok(ret | u32::from(errno)),
            Err(_) => Err(invalid(&field, &format!("is {errno}: must be at most 65535"))),
        },
        (_, Some(_)) => Err(invalid(&field, "is only for the actions SCMP_ACT_ERRNO and SCMP_ACT_TRACE")),
        (_, None) => Ok(ret),
    }
}

fn named<T: Copy>(value: &Value, field: &str, known: &[(&str, T)]) -> Result<T, Error> {
    let Value::String(name) = value else { return Err(invalid(field, "must be a string")) };
    known.iter().find(|(n, _)| n == name).map(|(_, found)| *found).ok_or_else(|| {
        let all: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
        invalid(field, &format!("is {name:?}: must be one of {}", all.join(", ")))
    })
}

fn list<'a>(fields: &'a Map<String, Value>, at: &str, key: &str) -> Result<&'a [Value], Error> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(invalid(&join(at, key), "must be an array")),
    }
}

fn number(fields: &Map<String, Value>, at: &str, key: &str) -> Result<Option<u64>, Error> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => match v.as_u64() {
            Some(n) => Ok(Some(n)),
            None => Err(invalid(&join(at, key), &format!("is {v}: must be an integer from 0 to 2^64-1"))),
        },
    }
}

fn text(fields: &Map<String, Value>, key: &str) -> Result<Option<String>, Error> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone())),
        Some(_) => Err(invalid(key, "must be a string")),
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.into() } else { format!("{at}.{key}") }
}

fn invalid(field: &str, why: &str) -> Error {
    Error::Invalid { field: field.into(), why: why.into() }
}
