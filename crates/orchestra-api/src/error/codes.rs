//! The codes of problems: callers branch on them, and the interface's document lists them.

/// A code, the status it comes with, and what it means.
#[derive(Debug)]
pub struct Code {
    /// The code.
    pub name: &'static str,
    /// The status of every answer with it.
    pub status: u16,
    /// What happened, and what the caller can do.
    pub meaning: &'static str,
}

/// The code of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// The names of all codes.
#[must_use]
pub fn names() -> Vec<&'static str> {
    CODES.iter().map(|code| code.name).collect()
}

const fn code(status: u16, name: &'static str, meaning: &'static str) -> Code {
    Code { name, status, meaning }
}

/// Every code, by status.
pub static CODES: &[Code] = &[
    code(400, "duplicate_field", "A field or a parameter is given twice."),
    code(400, "incomplete_body", "The body ended before it was complete."),
    code(400, "invalid", "An argument is not acceptable: `field` names it, `allowed` says what is."),
    code(400, "invalid_cursor", "The cursor is not one that this list gave. Begin without a cursor."),
    code(400, "invalid_json", "The body is not JSON; the detail has the line and the column."),
    code(400, "invalid_utf8", "The body or the URL is not UTF-8."),
    code(400, "missing_field", "A required field is absent."),
    code(400, "space_mismatch", "The vector is of another model than the server's."),
    code(400, "tenant_from_identity", "An argument names a tenant; the tenant comes from the API key alone."),
    code(400, "unknown_field", "There is no such field or parameter; `allowed` lists those there are."),
    code(401, "expired_key", "The API key has expired."),
    code(401, "invalid_key", "The API key is not known."),
    code(401, "unauthenticated", "The request shows no API key, and this server asks for one."),
    code(403, "access_denied", "The API key lacks the scope that `allowed` names."),
    code(403, "quota_exceeded", "The tenant has as many memories as it may."),
    code(403, "wrong_origin", "The page of another site may not call."),
    code(404, "no_metrics", "The program around this server collects metrics itself."),
    code(404, "no_such_route", "There is no such route."),
    code(404, "not_found", "There is no such memory in the scope."),
    code(405, "method_not_allowed", "The route does not answer this method; the header `Allow` says which it does."),
    code(408, "body_timeout", "The body stopped arriving."),
    code(409, "busy", "Something of the kind is under way. Try again after `Retry-After` seconds."),
    code(409, "id_taken", "Another memory has this id."),
    code(409, "idempotency_conflict", "The idempotency key was used for another request."),
    code(409, "memories_changed", "A memory that the answer was made of was changed since. Ask again."),
    code(409, "not_yet_visible", "The write that `at_least` names is not to be seen here yet. Try again shortly."),
    code(
        409,
        "value_rejected",
        "The text is a value that was rejected; it may be written once the rejection is lifted.",
    ),
    code(410, "forgotten", "The memory was forgotten for good, and its id is not used again."),
    code(412, "version_conflict", "The memory has another version than `If-Match` names: `allowed` says which."),
    code(413, "too_large", "The body or a field is too large; `allowed` says how large it may be."),
    code(415, "unsupported_media_type", "The body has another Content-Type than `application/json`."),
    code(421, "wrong_host", "A server for this machine alone was asked by another name."),
    code(429, "rate_limited", "The tenant makes more requests than it may. Try again after `Retry-After` seconds."),
    code(500, "internal", "The server failed; its log says why, under the request's id."),
    code(501, "no_replica", "The store of this server cannot be moved through it."),
    code(501, "no_working_memory", "This server keeps no conversations that go on."),
    code(502, "embedder_refused", "The embedding model refused the request; nothing of it was kept."),
    code(503, "budget_brake", "The budget's brake is on, and this can wait. Try again after `Retry-After` seconds."),
    code(503, "embedder_unavailable", "The embedding model does not answer now; nothing of the request was kept."),
    code(
        503,
        "fenced",
        "The memory is moved to another store just now; nothing was kept. Try again after `Retry-After` seconds.",
    ),
    code(503, "not_ready", "The store does not answer now."),
    code(503, "shutting_down", "The server is shutting down."),
    code(503, "store_unavailable", "The store does not answer now. Try again after `Retry-After` seconds."),
    code(503, "store_unusable", "The store cannot be used until the operator has looked at it."),
    code(507, "storage_full", "The store has no room left; nothing of the request was kept."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_said_once() {
        assert!(CODES.is_sorted_by_key(|code| (code.status, code.name)));
        for code in CODES {
            assert!(std::ptr::eq(find(code.name).unwrap(), code), "{} twice", code.name);
        }
    }
}
