//! The log format that the kubelet reads: `TIME STREAM TAGS CONTENT`.

use crate::stop::Stop;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339 time with a fraction.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the line of output ends here (tag F), as opposed to going on (tag P).
    pub full: bool,
    /// Content without the line's end.
    pub content: Vec<u8>,
}

/// Takes a log apart; every byte must fit the format.
pub fn parse(bytes: &[u8]) -> Result<Vec<LogLine>, Stop> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            return Err(broken("a last line without its end", rest));
        };
        lines.push(line(&rest[..end])?);
        rest = &rest[end + 1..];
    }
    Ok(lines)
}

fn broken(what: &str, line: &[u8]) -> Stop {
    let line: String = String::from_utf8_lossy(line).chars().take(80).collect();
    let seen = line.split_once(' ').map_or("", |(_, after)| after);
    Stop::violation(
        "each log line is `time stream tags content`",
        format!("{what}; after the time: {seen:?}"),
    )
}

fn line(bytes: &[u8]) -> Result<LogLine, Stop> {
    let mut fields = bytes.splitn(4, |b| *b == b' ');
    let mut text = || fields.next().map(|f| String::from_utf8_lossy(f).into_owned()).unwrap_or_default();
    let (time, stream, tags) = (text(), text(), text());
    let content = fields.next().ok_or_else(|| broken("fewer than four fields", bytes))?.to_vec();
    if !is_time(&time) {
        return Err(broken("the time is not RFC 3339 with a fraction of a second and a zone", bytes));
    }
    if stream != "stdout" && stream != "stderr" {
        return Err(broken("the stream is neither stdout nor stderr", bytes));
    }
    let full = match tags.split(':').next() {
        Some("F") => true,
        Some("P") => false,
        _ => return Err(broken("the first tag is neither F nor P", bytes)),
    };
    Ok(LogLine { time, stream, full, content })
}

/// `2006-01-02T15:04:05.999999999Z` or with `+07:00`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00.") else { return false };
    let zone = rest.trim_start_matches('0');
    let digits = rest.len() - zone.len();
    (1..=9).contains(&digits) && matches!(zone, "Z" | "+00:00" | "-00:00")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_are_taken_apart() {
        let log = b"2026-01-02T03:04:05.123456789Z stdout F a b\n2026-01-02T03:04:05.1+02:00 stderr P \n";
        let lines = parse(log).unwrap();
        assert_eq!((lines[0].content.as_slice(), lines[0].full), (&b"a b"[..], true));
        assert_eq!((lines[1].stream.as_str(), lines[1].full, lines[1].content.len()), ("stderr", false, 0));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "2026-01-02T03:04:05.1Z stdout F no end",
            "2026-01-02T03:04:05.1Z stdout F\n",
            "2026-01-02T03:04:05Z stdout F x\n",
            "2026-01-02T03:04:05.1Z stdin F x\n",
            "2026-01-02T03:04:05.1Z stdout X x\n",
            "{\"log\":\"x\"}\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
