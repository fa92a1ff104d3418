//! A value for a file of a cgroup, and writing several of them whose order the kernel may care about.

use std::io;
use std::path::Path;

use super::Error;
use super::layout::write_file;

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// The place in the config that asks for it.
    pub field: String,
    /// Whether a kernel without this file, or that no longer takes values there, is fine.
    pub optional: bool,
}

impl Setting {
    /// A value that must arrive.
    #[allow(clippy::needless_pass_by_value)] // numbers and texts alike, without a `&` at sixty places
    pub fn new(file: impl Into<String>, value: impl ToString, field: &str) -> Self {
        let field = format!("linux.resources.{field}");
        Self { file: file.into(), value: value.to_string(), field, optional: false }
    }

    /// A value that a kernel may not know.
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        match write_file(&dir.join(&self.file), &self.value) {
            Err(e) if self.optional && matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
                Ok(())
            }
            other => other,
        }
    }

    fn error(&self, dir: &Path, source: io::Error) -> Error {
        let hint = match source.raw_os_error() {
            Some(libc::ENOENT) => " (this kernel or cgroup does not have the file)",
            Some(libc::EINVAL | libc::ERANGE) => " (the kernel does not take this value)",
            Some(libc::EBUSY) => " (the cgroup is in use in a way that forbids it)",
            Some(libc::ENODEV) => " (there is no such device)",
            _ => "",
        };
        let what = format!("{}: cannot write {:?}{hint} to", self.field, self.value);
        Error::Io { what, path: dir.join(&self.file), source }
    }
}

/// Writes one controller's values. Where one is refused because another must come first (memory before swap or the
/// reverse, period and quota, idle and weight), the others are tried and then it again.
pub(super) fn write_all(dir: &Path, settings: &[Setting]) -> Result<(), Error> {
    let mut open: Vec<&Setting> = settings.iter().collect();
    while !open.is_empty() {
        let mut refused = Vec::new();
        let mut first = None;
        for setting in &open {
            match setting.write(dir) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    first.get_or_insert_with(|| setting.error(dir, e));
                    refused.push(*setting);
                }
                Err(e) => return Err(setting.error(dir, e)),
            }
        }
        match first {
            Some(error) if refused.len() == open.len() => return Err(error),
            _ => open = refused,
        }
    }
    Ok(())
}
