//! What browsers are told: which pages may call, and that an answer is data.

use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, DefaultPredicate, Predicate as _, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::request::{REQUEST_ID, WRITER};

/// Lets the pages of `origins` call. With none of them nothing is sent, and browsers keep every page out. Cookies are not
/// in it: a page shows a key, as every caller does.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            HeaderName::from_static("idempotency-key"),
            REQUEST_ID,
            WRITER,
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, REQUEST_ID]);
    Some(cors)
}

/// The least that is compressed: smaller answers fit one packet as they are.
const COMPRESSED_FROM_BYTES: u16 = 1024;

/// Compresses answers for who asks for it, quickly rather than well: it is to save the time that the network takes.
pub fn compression() -> CompressionLayer<And<DefaultPredicate, SizeAbove>> {
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_FROM_BYTES));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it)
}

/// An answer is no page, belongs in no frame, and is kept by nobody on the way. What the route says itself stands.
pub fn secured<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
