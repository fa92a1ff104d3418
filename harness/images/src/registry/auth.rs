//! Who may read: nobody asked, basic, bearer by password, bearer by identity token, fixed bearer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Credentials {
    /// A name and a password.
    pub fn new(username: &str, password: &str) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    fn matches(&self, header: &str) -> bool {
        let expected = STANDARD.encode(format!("{}:{}", self.username, self.password));
        header.strip_prefix("Basic ").is_some_and(|given| given.trim() == expected)
    }
}

/// What the registry asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// HTTP basic authentication on every request.
    Basic(Credentials),
    /// A bearer token from the token service, which wants these credentials.
    Bearer(Credentials),
    /// A bearer token from the token service, which anybody gets (as public registries do).
    AnonymousBearer,
    /// A bearer token from the token service for this identity (refresh) token only.
    Identity(String),
    /// This very bearer token.
    Token(String),
    /// Nobody: 403 whatever is shown.
    Denied,
}

/// Tokens issued.
#[derive(Default)]
pub(super) struct Tokens {
    issued: u64,
    expired: u64,
}

impl Tokens {
    pub fn expire(&mut self) {
        self.expired = self.issued;
    }

    fn issue(&mut self) -> String {
        self.issued += 1;
        format!("plimsoll-token-{}", self.issued)
    }

    fn valid(&self, token: &str) -> bool {
        token
            .strip_prefix("plimsoll-token-")
            .and_then(|n| n.parse::<u64>().ok())
            .is_some_and(|n| n > self.expired && n <= self.issued)
    }
}

/// Whether a request may go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allowed,
    Forbidden,
    /// 401 with this challenge.
    Challenge(String),
}

impl Access {
    /// Judges the `Authorization` header of a request for `repository`.
    pub(super) fn decide(&self, tokens: &Tokens, header: &str, host: &str, repository: &str) -> Decision {
        let bearer = || {
            let scope = if repository.is_empty() {
                String::new()
            } else {
                format!(",scope=\"repository:{repository}:pull\"")
            };
            Decision::Challenge(format!("Bearer realm=\"http://{host}/token\",service=\"{host}\"{scope}"))
        };
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        match self {
            Self::Open => Decision::Allowed,
            Self::Denied => Decision::Forbidden,
            Self::Basic(credentials) if credentials.matches(header) => Decision::Allowed,
            Self::Basic(_) => Decision::Challenge("Basic realm=\"plimsoll\"".into()),
            Self::Token(expected) if token == expected => Decision::Allowed,
            Self::Bearer(_) | Self::AnonymousBearer | Self::Identity(_) if tokens.valid(token) => {
                Decision::Allowed
            }
            Self::Bearer(_) | Self::AnonymousBearer | Self::Identity(_) | Self::Token(_) => bearer(),
        }
    }

    /// Answers a token request: `header` is its `Authorization`, `form` its body or query.
    pub(super) fn token(
        &self,
        tokens: &mut Tokens,
        header: &str,
        form: &[(String, String)],
    ) -> Option<String> {
        let field = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let granted = match self {
            Self::AnonymousBearer => true,
            Self::Bearer(credentials) => {
                credentials.matches(header)
                    || (field("grant_type") == "password"
                        && field("username") == credentials.username
                        && field("password") == credentials.password)
            }
            Self::Identity(identity) => {
                field("grant_type") == "refresh_token" && field("refresh_token") == identity.as_str()
            }
            Self::Open | Self::Basic(_) | Self::Token(_) | Self::Denied => false,
        };
        granted.then(|| tokens.issue())
    }
}
