//! Messages of CRI v1, generated from `harness/proto/cri/v1/api.proto`.

use std::fmt;

#[allow(missing_docs, unused_qualifications, deprecated, clippy::all, clippy::pedantic)]
mod generated {
    tonic::include_proto!("runtime.v1");
}

pub use generated::*;

impl fmt::Debug for AuthConfig {
    /// Shows which fields are set, never what they hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hide = |text: &str| if text.is_empty() { "" } else { "***" };
        f.debug_struct("AuthConfig")
            .field("username", &hide(&self.username))
            .field("password", &hide(&self.password))
            .field("auth", &hide(&self.auth))
            .field("server_address", &self.server_address)
            .field("identity_token", &hide(&self.identity_token))
            .field("registry_token", &hide(&self.registry_token))
            .finish()
    }
}
