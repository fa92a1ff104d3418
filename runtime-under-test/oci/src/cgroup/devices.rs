//! The device allow-list (runtime-spec "Allowed Device list"): the rules' meaning, and their form for cgroup v1.
//!
//! Meaning: nothing is allowed at first but the devices that every container has. Then the rules apply in order, each
//! to the kinds of access that it names. A rule that denies everything gives the state of the beginning, so that the
//! usual first rule of a config does not take `/dev/null` away; a rule that denies one of these devices does.

use super::Error;
use super::json::{Fields, invalid};

/// Kinds of access as bits, in the kernel's numbering (`BPF_DEVCG_ACC_*`).
pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const ALL: u8 = MKNOD | READ | WRITE;

/// Kinds of device as bits, in the kernel's numbering (`BPF_DEVCG_DEV_*`).
pub(super) const BLOCK: u8 = 1;
pub(super) const CHAR: u8 = 2;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceRule {
    pub allow: bool,
    /// [`BLOCK`], [`CHAR`] or both.
    pub kinds: u8,
    /// `None`: any.
    pub major: Option<i32>,
    /// `None`: any.
    pub minor: Option<i32>,
    /// [`MKNOD`], [`READ`] and [`WRITE`].
    pub access: u8,
}

impl DeviceRule {
    const fn all(allow: bool) -> Self {
        Self { allow, kinds: BLOCK | CHAR, major: None, minor: None, access: ALL }
    }

    /// Whether it says something about everything, so that nothing before it matters.
    pub fn is_total(&self) -> bool {
        *self == Self::all(self.allow)
    }

    /// Whether it is about every device that `other` is about.
    fn covers(&self, other: &Self) -> bool {
        other.kinds & !self.kinds == 0
            && self.major.is_none_or(|m| other.major == Some(m))
            && self.minor.is_none_or(|m| other.minor == Some(m))
    }

    /// Whether there is a device that both are about.
    fn meets(&self, other: &Self) -> bool {
        let same = |a: Option<i32>, b: Option<i32>| a.is_none() || b.is_none() || a == b;
        self.kinds & other.kinds != 0 && same(self.major, other.major) && same(self.minor, other.minor)
    }

    fn same_devices(&self, other: &Self) -> bool {
        self.covers(other) && other.covers(self)
    }
}

const fn default(kinds: u8, major: Option<i32>, minor: Option<i32>, access: u8) -> DeviceRule {
    DeviceRule { allow: true, kinds, major, minor, access }
}

/// What every container may use: making nodes (opening them is another matter), the default devices of the spec, and
/// the pseudo-terminals.
const DEFAULTS: [DeviceRule; 10] = [
    default(CHAR, None, None, MKNOD),
    default(BLOCK, None, None, MKNOD),
    default(CHAR, Some(1), Some(3), ALL),
    default(CHAR, Some(1), Some(5), ALL),
    default(CHAR, Some(1), Some(7), ALL),
    default(CHAR, Some(1), Some(8), ALL),
    default(CHAR, Some(1), Some(9), ALL),
    default(CHAR, Some(5), Some(0), ALL),
    default(CHAR, Some(5), Some(2), ALL),
    default(CHAR, Some(136), None, ALL),
];

/// Reads one rule of the config.
pub(super) fn parse(fields: &Fields<'_>) -> Result<DeviceRule, Error> {
    let allow = fields.flag("allow")?.ok_or_else(|| invalid(fields.place("allow"), "is required"))?;
    let kinds = match fields.text("type")?.unwrap_or("a") {
        "" | "a" => BLOCK | CHAR,
        "b" => BLOCK,
        "c" => CHAR,
        other => return Err(invalid(fields.place("type"), format!("is {other:?}: must be a, b or c"))),
    };
    let number = |key: &str| match fields.int(key)? {
        None | Some(-1) => Ok(None),
        Some(n) => match i32::try_from(n) {
            Ok(n) if n >= 0 => Ok(Some(n)),
            _ => Err(invalid(fields.place(key), format!("is {n}: must be -1 (any) or a device number"))),
        },
    };
    let mut access = 0;
    for letter in fields.text("access")?.unwrap_or_default().chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => {
                return Err(invalid(
                    fields.place("access"),
                    format!("has {letter:?}: must be of r, w and m"),
                ));
            }
        };
    }
    let access = if access == 0 { ALL } else { access };
    Ok(DeviceRule { allow, kinds, major: number("major")?, minor: number("minor")?, access })
}

/// The rules as they count: the first one is total, no later one is, and the last that is about a device and a kind
/// of access decides.
pub(super) fn normalise(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let closed = || {
        let mut list = vec![DeviceRule::all(false)];
        list.extend(DEFAULTS);
        list
    };
    let mut list = closed();
    for rule in rules {
        match (rule.is_total(), rule.allow) {
            (true, true) => list = vec![*rule],
            (true, false) => list = closed(),
            (false, _) => list.push(*rule),
        }
    }
    list
}

/// cgroup v1's form: one answer for everything, and exceptions without an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExceptionList {
    /// The answer where no exception says otherwise.
    pub allow: bool,
    /// Each about one kind of device, with the opposite answer.
    pub exceptions: Vec<DeviceRule>,
}

/// Turns normalised rules into exceptions.
///
/// # Errors
/// A rule that takes some devices out of a wider one cannot be said in cgroup v1, and is not silently widened.
pub(super) fn exceptions(rules: &[DeviceRule]) -> Result<ExceptionList, Error> {
    let mut list = ExceptionList { allow: false, exceptions: Vec::new() };
    for rule in rules {
        if rule.is_total() {
            list = ExceptionList { allow: rule.allow, exceptions: Vec::new() };
            continue;
        }
        for kind in [BLOCK, CHAR].into_iter().filter(|k| rule.kinds & k != 0) {
            let rule = DeviceRule { kinds: kind, ..*rule };
            if rule.allow == list.allow {
                take_out(&mut list.exceptions, &rule)?;
            } else {
                match list.exceptions.iter_mut().find(|e| e.same_devices(&rule)) {
                    Some(known) => known.access |= rule.access,
                    None => list.exceptions.push(rule),
                }
            }
        }
    }
    // The kernel wants one exception that has all the access asked for, so narrow ones take over what wide ones have.
    let wide = list.exceptions.clone();
    for exception in &mut list.exceptions {
        exception.access |= wide.iter().filter(|w| w.covers(exception)).fold(0, |all, w| all | w.access);
    }
    Ok(list)
}

fn take_out(exceptions: &mut Vec<DeviceRule>, rule: &DeviceRule) -> Result<(), Error> {
    for exception in exceptions.iter_mut().filter(|e| e.meets(rule) && e.access & rule.access != 0) {
        let ours = DEFAULTS.iter().any(|d| d.access == MKNOD && d.same_devices(exception));
        if rule.covers(exception) {
            exception.access &= !rule.access;
        } else if ours && exception.access == MKNOD {
            // That every node may be made is our own addition: it gives way as a whole.
            exception.access = 0;
        } else {
            let why = format!(
                "the rule for {} takes part of an earlier, wider rule back, which cgroup v1 cannot do: name the devices one by one",
                line(rule)
            );
            return Err(invalid("linux.resources.devices", why));
        }
    }
    exceptions.retain(|e| e.access != 0);
    Ok(())
}

/// A rule as the files of cgroup v1 write it, such as `c 1:3 rwm`.
pub(super) fn line(rule: &DeviceRule) -> String {
    let kind = match rule.kinds {
        BLOCK => 'b',
        CHAR => 'c',
        _ => 'a',
    };
    let number = |n: Option<i32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut access = String::new();
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if rule.access & bit != 0 {
            access.push(letter);
        }
    }
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}

/// The writes that turn what `devices.list` reads now into `wanted`: file and line, in order. What is allowed before
/// and after stays allowed in between.
pub(super) fn v1_writes(now: &str, wanted: &ExceptionList) -> Vec<(&'static str, String)> {
    let mut writes = Vec::new();
    let mut current: Vec<&str> = now.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let open = current.contains(&"a *:* rwm");
    if wanted.allow {
        if !open {
            writes.push(("devices.allow", "a".to_owned()));
        }
        writes.extend(wanted.exceptions.iter().map(|e| ("devices.deny", line(e))));
        return writes;
    }
    if open {
        writes.push(("devices.deny", "a".to_owned()));
        current.clear();
    }
    let lines: Vec<String> = wanted.exceptions.iter().map(line).collect();
    for line in &lines {
        if !current.contains(&line.as_str()) {
            writes.push(("devices.allow", line.clone()));
        }
    }
    for old in current.iter().filter(|old| !lines.iter().any(|l| l == *old)) {
        let Some((device, access)) = old.rsplit_once(' ') else { continue };
        let keep = lines
            .iter()
            .filter_map(|l| l.rsplit_once(' '))
            .find(|(d, _)| *d == device)
            .map_or("", |(_, a)| a);
        let gone: String = access.chars().filter(|c| !keep.contains(*c)).collect();
        if !gone.is_empty() {
            writes.push(("devices.deny", format!("{device} {gone}")));
        }
    }
    writes
}
