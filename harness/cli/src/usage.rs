//! Errors as the user reads them: what, why, and what to do next.

use plimsoll_engine::EngineError;
use plimsoll_model::ExitCode;

/// An error that ends the program.
#[derive(Debug)]
pub struct Failure {
    /// What failed and why.
    pub what: String,
    /// What to do next; may be empty.
    pub hint: String,
    /// The exit code.
    pub code: ExitCode,
}

impl Failure {
    /// The command line, a file or a filter is wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: String::new(), code: ExitCode::Usage }
    }

    /// The host or the harness is in trouble.
    pub fn trouble(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: String::new(), code: ExitCode::Trouble }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::Target(_) | EngineError::Plan(_) => ExitCode::Usage,
            EngineError::Work { .. } | EngineError::Internal(_) | EngineError::Loop(_) => ExitCode::Trouble,
        };
        let hint = match &error {
            EngineError::Plan(_) => "`plimsoll list` shows suites, sections and cases".to_owned(),
            EngineError::Work { .. } => "choose another place with --work-dir".to_owned(),
            _ => String::new(),
        };
        Self { what: error.to_string(), hint, code }
    }
}

/// A file that cannot be read or written, with its path.
pub fn file(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot {verb} {}: {error}", path.display()))
}
