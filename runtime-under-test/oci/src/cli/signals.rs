//! Signal names of `kill`.

use crate::bail;
use crate::error::Result;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A number, a name such as `TERM`, or one such as `SIGTERM`; real-time signals as `RTMIN+n`, `RTMAX-n`.
pub fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if (1..=64).contains(&number) {
            return Ok(number);
        }
        bail!("unknown signal {text:?}");
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        "UNUSED" => "SYS",
        other => other,
    };
    if let Some(at) = NAMES.iter().position(|n| *n == alias) {
        return Ok(at as i32 + 1);
    }
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(n) => n.parse::<i32>().ok(),
        None => rest.is_empty().then_some(0),
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').map(|n| 34 + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').map(|n| 64 - n)
    } else {
        None
    };
    match real_time.filter(|n| (34..=64).contains(n)) {
        Some(number) => Ok(number),
        None => bail!("unknown signal {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn all_three_forms() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+1", 35),
            ("RTMAX", 64),
            ("SYS", 31),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "NOPE", "SIGRTMIN+99"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
