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

/// As [`file()`], for content that is made while it is written.
pub fn write(
    path: &Path,
    content: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let fail = |e: std::io::Error| crate::usage::file("write", path, &e);
    // What a link names is written, not the link; and a device or a pipe is written to, never replaced: a rename over
    // /dev/null would take it from the whole host.
    let named = std::fs::canonicalize(path);
    let path = named.as_deref().unwrap_or(path);
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        let mut out = std::fs::OpenOptions::new().write(true).open(path).map_err(fail)?;
        return content(&mut out).map_err(fail);
    }
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

#[cfg(test)]
mod tests {
    use super::file;
    use std::io::Read;

    #[test]
    fn links_and_pipes_keep_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, pipe) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        file(&link, b"new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");

        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Opened for both, so that no open waits for the other end.
        let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        file(&pipe, b"data").unwrap();
        let mut seen = [0; 4];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"data");
        assert!(file(dir.path(), b"x").is_err(), "a directory is no file");
    }
}
