//! The text form of edits.

use serde_json::Value;

use super::edit::Edit;
use super::path::Path;

/// Splits off the first word; words end at blanks outside of brackets.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ' ' if depth <= 0 => return (&text[..at], text[at..].trim_start()),
            _ => {}
        }
    }
    (text, "")
}

struct Args<'a> {
    rest: &'a str,
}

impl<'a> Args<'a> {
    fn text(&mut self, what: &str) -> Result<&'a str, String> {
        let (first, rest) = word(self.rest);
        self.rest = rest;
        match first {
            "" => Err(format!("{what} is missing")),
            "''" => Ok(""),
            other => Ok(other),
        }
    }

    fn path(&mut self) -> Result<Path, String> {
        Path::parse(self.text("a path")?)
    }

    fn number(&mut self) -> Result<f64, String> {
        let text = self.text("a number")?;
        text.parse().map_err(|_| format!("{text:?} is not a number"))
    }

    fn json(&mut self) -> Result<Value, String> {
        let text = std::mem::take(&mut self.rest);
        serde_json::from_str(text).map_err(|e| format!("{text:?} is not JSON: {e}"))
    }
}

/// Parses one edit.
pub fn parse(text: &str) -> Result<Edit, String> {
    let (name, rest) = word(text);
    let mut args = Args { rest };
    let edit = build(name, &mut args).map_err(|e| format!("edit {text:?}: {e}"))?;
    if args.rest.is_empty() { Ok(edit) } else { Err(format!("edit {text:?}: {:?} is too much", args.rest)) }
}

fn build(name: &str, args: &mut Args<'_>) -> Result<Edit, String> {
    let path = args.path()?;
    Ok(match name {
        "drop" => Edit::Drop(path),
        "set" => Edit::Set(path, args.json()?),
        "put" => Edit::Put(path, args.json()?),
        "default" => Edit::Default(path, args.json()?),
        "add" => Edit::Add(path, args.number()?),
        "mul" => Edit::Mul(path, args.number()?),
        "append" => Edit::Append(path, args.json()?),
        "prepend" => Edit::Prepend(path, args.json()?),
        "truncate" => Edit::Truncate(path, args.number()? as usize),
        "pop" => Edit::Pop(path),
        "shift" => Edit::Shift(path),
        "reverse" => Edit::Reverse(path),
        "dedup" => Edit::Dedup(path, args.text("a member name")?.to_owned()),
        "concat" => Edit::Concat(path, args.path()?),
        "concat-front" => Edit::ConcatFront(path, args.path()?),
        "copy" => Edit::Copy(path, args.path()?),
        "prefix" => Edit::Prefix(path, args.text("text")?.to_owned()),
        "suffix" => Edit::Suffix(path, args.text("text")?.to_owned()),
        "subst" => Edit::Subst(path, args.text("text")?.to_owned(), args.text("text")?.to_owned()),
        "ensure" => Edit::Ensure(path, args.text("a member name")?.to_owned(), args.json()?),
        "absolute" => Edit::Absolute(path),
        "semver" => Edit::Semver(path, args.text("a version")?.to_owned()),
        "clamp" => Edit::Clamp(path, args.number()?, args.number()?),
        "split" => Edit::Split(path, args.text("a member name")?.to_owned()),
        "caller-env" => Edit::CallerEnv(path),
        other => return Err(format!("there is no edit {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_edits_are_refused() {
        for bad in [
            "",
            "drop",
            "drop x",
            "set /a",
            "set /a {",
            "drop /a b",
            "frob /a",
            "add /a x",
            "copy /a",
            "clamp /a 1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_may_hold_blanks() {
        assert!(parse("drop /a/*[name in=@top]").is_ok());
    }
}
