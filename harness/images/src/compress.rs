//! How a layer's bytes are wrapped.

use std::io::Write as _;

use flate2::GzBuilder;
use serde::{Deserialize, Serialize};

/// Compression of one layer blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// The tar as it is.
    None,
    /// RFC 1952, no name and no time in its header.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Wraps `data`. The same input gives the same bytes.
    pub fn apply(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::None => data.to_vec(),
            Self::Gzip => gzip(data),
            Self::Zstd => {
                ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
            }
        }
    }

    /// What a media type of the OCI image specification ends with.
    pub(crate) fn oci_suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder =
        GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), flate2::Compression::new(6));
    // Writing to memory cannot fail; an empty result would be refused by every reader and test.
    if encoder.write_all(data).is_err() {
        return Vec::new();
    }
    encoder.finish().unwrap_or_default()
}
