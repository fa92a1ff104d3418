//! Signals: the CRI's own numbering, names in image configs, and the kernel's numbers.

use crate::api::Signal;

/// Names as the kernel numbers them, 1..=31.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Kernel number of a name (`SIGTERM`, `TERM`, `15`, `RTMIN+3`).
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    if let Some(at) = NAMES.iter().position(|n| *n == alias) {
        return Some(at as i32 + 1);
    }
    if let Some(rest) = alias.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    let rest = alias.strip_prefix("RTMAX")?;
    let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<i32>().ok()? };
    (0..=30).contains(&offset).then_some(64 - offset)
}

/// Kernel number of a CRI signal; `None` for the runtime default.
pub fn from_cri(signal: i32) -> Option<i32> {
    let name = Signal::try_from(signal).ok()?.as_str_name().strip_prefix("SIGNAL_")?.to_owned();
    parse(&name.replace("PLUS", "+").replace("MINUS", "-"))
}

/// CRI signal of a kernel number.
pub fn to_cri(number: i32) -> Signal {
    if number == 0 {
        return Signal::RuntimeDefault;
    }
    (1..=65)
        .filter(|n| from_cri(*n) == Some(number))
        .find_map(|n| Signal::try_from(n).ok())
        .unwrap_or(Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cri_signal_has_a_number_and_comes_back() {
        for cri in 1..=65 {
            let number = from_cri(cri).unwrap_or_else(|| panic!("{cri}"));
            assert_eq!(from_cri(to_cri(number) as i32), Some(number));
        }
        assert_eq!(from_cri(Signal::Sigterm as i32), Some(15));
        assert_eq!(from_cri(Signal::Sigrtminplus3 as i32), Some(37));
        assert_eq!(from_cri(0), None);
        assert_eq!(parse("SIGUSR1"), Some(10));
        assert_eq!(parse("rtmax-1"), Some(63));
        assert_eq!(parse("NOPE"), None);
        assert_eq!(parse("65"), None);
    }
}
