//! Standard output is data, standard error is everything else; a closed pipe is no error.

use crate::usage::Failure;
use std::io::{ErrorKind, Write};
use std::path::Path;

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

/// Sets when colour is used. The streams take the sequences out where it is not.
pub fn choose_color(choice: clap::ColorChoice) {
    match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Colours the glyph of an outcome at the beginning of a line. The word beside it says the same.
pub fn painted(text: &str) -> String {
    let paint = |line: &str| {
        let color = match line.chars().next() {
            Some('✗') => RED,
            Some('?' | '!') => YELLOW,
            Some('✓') => GREEN,
            _ => return line.to_owned(),
        };
        let glyph = line.chars().next().map_or(0, char::len_utf8);
        format!("{color}{}{RESET}{}", &line[..glyph], &line[glyph..])
    };
    text.split_inclusive('\n').map(paint).collect()
}

/// Writes data. When the reader has gone, the program ends quietly.
pub fn data(text: &str) {
    let mut out = anstream::stdout().lock();
    let result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(e) = result
        && e.kind() != ErrorKind::BrokenPipe
    {
        note(&format!("standard output: {e}"));
    }
}

/// Writes a line of data.
pub fn line(text: &str) {
    data(&format!("{text}\n"));
}

/// Tells the user something.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells the user what went wrong and what to do.
pub fn error(failure: &Failure) {
    note(&format!("{RED}error{RESET}: {}", failure.what));
    if !failure.hint.is_empty() {
        note(&format!("hint: {}", failure.hint));
    }
}

/// Writes a file under a temporary name and renames it; parents are made; `-` is standard output.
pub fn file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        data(&String::from_utf8_lossy(content));
        return Ok(());
    }
    write(path, &mut |out| out.write_all(content))
}

/// As [`file`], for content that is made while it is written.
pub fn write(
    path: &Path,
    content: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let fail = |e: std::io::Error| crate::usage::file("write", path, &e);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fail)?;
    let mut temporary = tempfile::NamedTempFile::new_in(parent).map_err(fail)?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    content(&mut out).and_then(|()| out.flush()).map_err(fail)?;
    drop(out);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(mode).map_err(fail)?;
    temporary.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}
