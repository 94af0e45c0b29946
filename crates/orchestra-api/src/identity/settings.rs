//! What a server is told about who may call it and how much.

use std::path::PathBuf;

use super::limits::RateLimit;

/// The keys file's name in the data folder.
pub const KEYS_FILE: &str = "keys.json";

/// What a server is told about its callers, checked.
#[derive(Debug, Clone, Default)]
pub struct IdentitySettings {
    /// The file of keys, where it is not the one in the data folder.
    pub keys_file: Option<PathBuf>,
    /// The file of the audit log; the log where this is `None`.
    pub audit_file: Option<PathBuf>,
    /// How many requests a tenant may make.
    pub rate: Option<RateLimit>,
    /// How many memories a tenant may have.
    pub memories: Option<u64>,
    /// The origins of the web pages that may call.
    pub cors_origins: Vec<String>,
}

/// Whether it is an origin as browsers send it. `*` is none: on the own machine, where no key is asked for, it would open
/// the memory to every page that is visited.
pub(crate) fn is_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let fits = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte))
    };
    host.is_some_and(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for origin in ["*", "null", "https://", "https://a.example/", "app.example", "https://A.example"] {
            assert!(!is_origin(origin), "{origin}");
        }
        for origin in ["https://app.example.com", "http://localhost:3000", "http://[::1]:80"] {
            assert!(is_origin(origin), "{origin}");
        }
    }
}
