//! A file that may not grow any more: writes are refused with 507, reads go on.

use serde_json::json;

use crate::{Api, texts};

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_what_was_acknowledged() {
    let api = Api::with(|settings| settings.limits.data_bytes = Some(2 << 20)).await;
    let mut acknowledged = Vec::new();
    let refused = loop {
        assert!(acknowledged.len() < 1000, "a file of 2 MiB cannot hold 20 MB");
        // Text that a file format cannot make much smaller.
        let noise: String = (0..500).map(|_| uuid::Uuid::now_v7().simple().to_string()).collect();
        let answer = api.post("/v1/memories", &json!({"text": format!("note {} {noise}", acknowledged.len())})).await;
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(answer.body["id"].as_str().unwrap().to_owned());
    };
    insta::assert_snapshot!(refused.problem(), @"507 storage_full [-] the store has no room left; nothing of this request was kept, and what was acknowledged before is safe");
    assert!(!acknowledged.is_empty());
    assert_eq!(api.get("/readyz").await.status, 200);
    for id in &acknowledged {
        api.get(&format!("/v1/memories/{id}")).await.ok(200);
    }
    let page = api.get("/v1/memories?limit=1000").await.ok(200);
    assert_eq!(texts(&page, "memories").len(), acknowledged.len(), "nothing of the refused write was kept");
    let found = api.post("/v1/memories/search", &json!({"query": "note 3"})).await.ok(200);
    assert!(!found["results"].as_array().unwrap().is_empty());
}
