//! Generated OCI images and the in-process registry that serves them.
//!
//! Nothing here needs a network or a file: a [`Layer`] is a list of entries, an [`Image`] is layers
//! and a configuration, and building one gives an [`ImageSet`]: a root descriptor and the blobs below
//! it. The same input always gives the same bytes, hence the same digests.
//!
//! ```no_run
//! use plimsoll_images::{Image, Layer};
//! let program = b"\x7fELF...".to_vec();
//! let image = Image::new().layer(Layer::new().file("bin/probe", program, 0o755)).entrypoint(["/bin/probe"]).build();
//! assert!(image.root().digest.starts_with("sha256:"));
//! ```
//!
//! An image set can be written as an OCI layout directory, an OCI archive or a docker archive (see
//! [`archive`]), served by the [`registry`], or pushed to another registry ([`push`]).

pub mod archive;
mod blob;
mod compress;
pub mod hostile;
mod image;
mod layer;
pub mod push;
pub mod registry;
pub mod standard;
mod tarball;

pub use blob::{Descriptor, ImageSet, Platform, digest_of};
pub use compress::Compression;
pub use image::{Config, Family, Image, index};
pub use layer::{Entry, Kind, Layer};
