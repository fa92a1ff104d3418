//! Standard output is data, standard error is everything else; a closed pipe is no error.

use crate::usage::Failure;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

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
    let (red, reset) = if std::io::stderr().is_terminal() { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    note(&format!("{red}error{reset}: {}", failure.what));
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
