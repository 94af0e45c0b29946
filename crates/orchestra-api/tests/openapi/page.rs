//! The page for people, and the document as a server answers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orchestra_api::http::document;
use ring::digest::{SHA256, digest};

use crate::Api;

/// The content of the one element of this name.
fn content<'a>(page: &'a str, element: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
    rest.split_once(&format!("</{element}>")).unwrap().0
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_asks_nobody_else() {
    // On an address that others reach, where every other route asks for a key.
    let api = Api::with(|settings| settings.listen = "0.0.0.0:7070".parse().unwrap()).await;
    let answer = api.send("get", "/docs", &[], "").await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
    let page = answer.body.as_str().unwrap();
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let hash = STANDARD.encode(digest(&SHA256, content(page, element).as_bytes()));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none';") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for outside in
        ["http://", "https://", "//cdn", "@import", "url('", "url(http", " src=", "localStorage", "innerHTML"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(answer.headers["x-frame-options"], "DENY");
}

#[tokio::test]
async fn the_document_is_answered_without_a_key_and_other_answers_stay_no_pages() {
    let api = Api::with(|settings| settings.listen = "0.0.0.0:7070".parse().unwrap()).await;
    let answer = api.send("get", "/openapi.json", &[], "").await;
    assert_eq!((answer.status, &answer.body), (200, document()));
    assert_eq!(answer.headers["content-type"], "application/json");
    let strict = "default-src 'none'; frame-ancestors 'none'";
    assert_eq!(answer.headers["content-security-policy"], strict);
    let refused = api.send("get", "/v1/stats", &[], "").await;
    assert_eq!((refused.status, &refused.headers["content-security-policy"]), (401, &strict.parse().unwrap()));
}
