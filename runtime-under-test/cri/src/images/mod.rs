//! Images: references, registries, layers, the store.

pub mod document;
pub mod http;
pub mod import;
pub mod layer;
pub mod overlay;
pub mod pull;
pub mod reference;
pub mod registry;
pub mod resolve;
pub mod store;
pub mod unpack;
