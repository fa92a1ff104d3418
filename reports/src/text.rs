//! What runtimes print is hostile input: it is cleaned here, once, before any report sees it.

use std::fmt::Write as _;

/// Stands where a character was taken out, so that a reader sees that something was there.
const GONE: char = '\u{FFFD}';

/// Removes ANSI sequences and replaces every character that XML 1.0 forbids or that a reader cannot see
/// (C0 and C1 controls, bidirectional overrides, non-characters). Line ends become `\n`.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            '\r' => {
                if rest.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\n' | '\t' => out.push(c),
            c if is_forbidden(c) => out.push(GONE),
            c => out.push(c),
        }
    }
    out
}

fn is_forbidden(c: char) -> bool {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let nonchar = matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe;
    c.is_control() || bidi || nonchar || c == '\u{feff}'
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// After ESC: a CSI, a string (OSC, DCS, SOS, PM, APC) up to its terminator, or a short sequence.
fn skip_escape(rest: &mut Chars<'_>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_csi(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            rest.next();
            skip_string(rest);
        }
        Some(' '..='/') => {
            while rest.next_if(|c| (' '..='/').contains(c)).is_some() {}
            rest.next_if(|c| ('0'..='~').contains(c));
        }
        Some('0'..='~') => {
            rest.next();
        }
        _ => {}
    }
}

fn skip_csi(rest: &mut Chars<'_>) {
    while rest.next_if(|c| (' '..='?').contains(c)).is_some() {}
    rest.next_if(|c| ('@'..='~').contains(c));
}

/// A string that never ends is a trick to hide what follows: it is taken to end with its line.
fn skip_string(rest: &mut Chars<'_>) {
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        if c == '\u{7}' || c == '\u{9c}' {
            return;
        }
        if c == '\u{1b}' {
            rest.next_if_eq(&'\\');
            return;
        }
    }
}

/// Cleaned text on one line: runs of white space become one blank.
pub fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text for a terminal: controls are shown as escapes, so that no output can move the cursor or change a colour.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_forbidden(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// At most `max` characters; what is cut is counted.
pub fn shorten(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max).collect();
    format!("{kept}… ({} more characters)", count - max)
}

/// At most `max` bytes, cut at a character; says how much is gone.
pub fn cap(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let note = |gone: usize| format!("\n[{gone} more bytes are left out]");
    let mut end = max.saturating_sub(48);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &text[..end], note(text.len() - end))
}

/// Makes a message the same on every run: long hexadecimal ids, process ids, times and temporary paths differ
/// between runs, and services that cluster failures by their text would see a new failure each time.
pub fn stable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(&stable_word(word, before));
        before = word;
    }
    out
}

fn stable_word(word: &str, before: &str) -> String {
    const EDGES: &[char] = &[',', '.', ';', ':', ')', '(', '"', '\'', '`', ']', '['];
    let core = word.trim_matches(EDGES);
    if core.is_empty() {
        return word.to_owned();
    }
    let is_number = core.bytes().all(|b| b.is_ascii_digit());
    let replacement = if is_number && before.trim_matches(EDGES).eq_ignore_ascii_case("pid") {
        "N".to_owned()
    } else if is_id(core) {
        "ID".to_owned()
    } else if is_duration(core) {
        "T".to_owned()
    } else if ["/tmp/", "/run/", "/var/"].iter().any(|p| core.starts_with(p)) {
        // The last part of the name tells what it is; the way there differs.
        let last = core.rsplit('/').next().unwrap_or_default();
        if core.matches('/').count() < 3 { core.to_owned() } else { format!("W/{}", stable_word(last, "")) }
    } else {
        return word.to_owned();
    };
    word.replacen(core, &replacement, 1)
}

fn is_id(word: &str) -> bool {
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    hex && word.len() >= 12 && word.bytes().any(|b| b.is_ascii_digit())
}

fn is_duration(word: &str) -> bool {
    ["ms", "µs", "us", "ns", "s"].iter().any(|unit| {
        word.strip_suffix(unit)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    })
}

/// A name for files and fragments: `[a-z0-9._-]`, and a hash where the mapping lost something.
pub fn slug(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let keep = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let mapped: String = text.chars().map(|c| if keep(c) { c } else { '-' }).take(64).collect();
    if mapped == text && !mapped.starts_with('.') && !mapped.is_empty() {
        return mapped;
    }
    let hash = Sha256::digest(text.as_bytes());
    let tail: String = hash.iter().take(4).fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    });
    format!("{}-{tail}", mapped.trim_start_matches('.').trim_matches('-'))
}

/// Milliseconds for people: three significant digits and a unit.
pub fn duration(ms: f64) -> String {
    if !ms.is_finite() || ms < 0.0 {
        return "–".into();
    }
    match ms {
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => {
            let seconds = (ms / 1000.0).round() as u64;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

/// `1 case`, `2 cases`.
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A word for a POSIX shell.
pub fn shell(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{cap, clean, duration, one_line, printable, shell, slug, stable};

    #[test]
    fn ansi_and_controls_go() {
        for (dirty, want) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://x\u{1b}\\y", "y"),
            ("\u{1b}]never ends\nnext", "\nnext"),
            ("\u{9b}31mx", "x"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("a\0b\u{8}\u{fffe}", "a\u{fffd}b\u{fffd}\u{fffd}"),
            ("\u{202e}evil", "\u{fffd}evil"),
            ("\u{1b}(Bx\u{1b}", "x"),
            ("tab\tstays", "tab\tstays"),
        ] {
            assert_eq!(clean(dirty), want, "{dirty:?}");
        }
        assert_eq!(printable("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(one_line(" a\n\tb "), "a b");
    }

    #[test]
    fn messages_become_stable() {
        assert_eq!(
            stable("container 0123456789abcdef (pid 421) in /tmp/x/y/rootfs took 31ms"),
            "container ID (pid N) in W/rootfs took T"
        );
        assert_eq!(stable("exit 1, uid 1000"), "exit 1, uid 1000");
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(slug("crun-1.8"), "crun-1.8");
        assert!(slug("../../etc").starts_with("--etc-") || !slug("../../etc").contains('/'));
        assert_ne!(slug("A"), slug("a"));
        assert_eq!(duration(0.5), "500 µs");
        assert_eq!(duration(61_000.0), "1 min 01 s");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert!(cap(&"ä".repeat(100), 100).len() <= 100);
    }
}
