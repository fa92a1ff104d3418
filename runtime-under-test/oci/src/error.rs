//! The one error type of the runtime: a sentence that says what failed and why.
//!
//! Callers of a runtime read its error text (engines match on fragments of it), so an error is a chain
//! of context joined with `: `, outermost first, exactly as it is printed.

use std::fmt::{self, Display};

/// A failed operation.
pub struct Error {
    text: String,
}

/// Result of any step of the runtime.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The same error with an outer sentence in front.
    #[must_use]
    pub fn wrap(self, outer: impl Display) -> Self {
        Self { text: format!("{outer}: {}", self.text) }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::new(system_text(&e))
    }
}

/// The text of a system error as runc prints it, which engines look for: in lower case and without the number.
fn system_text(e: &std::io::Error) -> String {
    let text = e.to_string();
    let Some(number) = e.raw_os_error() else { return text };
    let mut plain = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned();
    if let Some(first) = plain.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    plain
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Self {
        Self::from(std::io::Error::from(e))
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Self::new(e.to_string())
    }
}

/// Adds the outer sentence to a foreign error.
pub trait Context<T> {
    /// Wraps the error with a fixed sentence.
    fn context(self, outer: impl Display) -> Result<T>;
    /// Wraps the error with a sentence that is built only when there is one.
    fn with_context<D: Display>(self, outer: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, outer: impl Display) -> Result<T> {
        self.map_err(|e| e.into().wrap(outer))
    }

    fn with_context<D: Display>(self, outer: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().wrap(outer()))
    }
}

/// Returns an [`Error`] built like `format!`.
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => { return Err($crate::error::Error::new(format!($($arg)*))) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_engines_expect_them() {
        for (number, text) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::ENOTDIR, "not a directory"),
        ] {
            assert_eq!(Error::from(std::io::Error::from_raw_os_error(number)).to_string(), text);
        }
        assert_eq!(Error::from(std::io::Error::other("Own words")).to_string(), "Own words");
    }
}
