//! Renderings of a run: pure functions from [`BenchRun`] to text.

mod machine;
mod text;

pub use machine::{ActionFiles, bencher, csv, github_action, open_metrics};
pub use text::{markdown, text};

use crate::result::{BenchRun, SCHEMA};

/// The whole run, raw samples included, on one line.
pub fn json(run: &BenchRun) -> Result<String, serde_json::Error> {
    let mut out = serde_json::to_string(run)?;
    out.push('\n');
    Ok(out)
}

/// Why a file is not a run that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON of the expected shape.
    #[error("this is not a benchmark run: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another version of the format.
    #[error("this run has the format `{0}`, expected `{SCHEMA}`; read it with the version that wrote it")]
    Schema(String),
}

/// Reads what [`json`] wrote.
pub fn read(text: &[u8]) -> Result<BenchRun, ReadError> {
    // The version is looked at first, so that another format is named instead of its first odd field.
    let value: serde_json::Value = serde_json::from_slice(text)?;
    match value["schema"].as_str() {
        Some(schema) if schema != SCHEMA => Err(ReadError::Schema(schema.to_owned())),
        _ => Ok(serde_json::from_value(value)?),
    }
}

#[cfg(test)]
pub(crate) mod tests;
