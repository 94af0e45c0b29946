//! `/v1/rejections`, and forgetting with `reject`.

use serde_json::json;

use crate::Api;

#[tokio::test]
async fn a_value_is_rejected_listed_and_lifted() {
    let api = Api::new().await;
    let maya = json!({"user": "maya"});
    let mut ids = Vec::new();
    for text in ["Maya has a sister", "Maya has a sister.", "Maya has a boat"] {
        ids.push(api.remember(&json!({"text": text, "scope": maya})).await);
    }
    api.remember(&json!({"text": "Maya has a sister", "scope": {"user": "kim"}})).await;
    let body = json!({"ids": [ids[0], ids[2]], "scope": maya, "reject": true, "dry_run": true});
    let trial = api.post("/v1/memories/forget", &body).await.ok(200);
    assert_eq!((trial["forgotten"].as_array().unwrap().len(), &trial["rejected"]), (3, &json!(2)), "{trial:#}");
    assert_eq!(api.get("/v1/rejections").await.ok(200), json!({"rejections": [], "next": null}));
    let body = json!({"ids": [ids[0], ids[2]], "scope": maya, "reject": true});
    let receipt = api.post("/v1/memories/forget", &body).await.ok(200);
    assert_eq!((receipt["forgotten"].as_array().unwrap().len(), &receipt["rejected"]), (3, &json!(2)), "{receipt:#}");
    assert_eq!(api.get("/v1/stats").await.ok(200)["store"]["memories"], 1, "what others say of it is theirs");

    let page = api.get("/v1/rejections?user=maya&limit=1").await.ok(200);
    let rest =
        api.get(&format!("/v1/rejections?user=maya&limit=1&cursor={}", page["next"].as_str().unwrap())).await.ok(200);
    assert!(rest["next"].is_null());
    let [first, second] = [&page, &rest].map(|page| page["rejections"][0].clone());
    assert_ne!(first["key"], second["key"]);
    assert_eq!((&first["scope"], &first["rejected_by"]), (&maya, &json!("owner")));
    assert!(api.get("/v1/rejections?user=kim").await.ok(200)["rejections"].as_array().unwrap().is_empty());

    let write =
        json!({"memories": [{"text": "Maya sings", "scope": maya}, {"text": "MAYA has a boat!", "scope": maya}]});
    insta::assert_snapshot!(api.post("/v1/memories", &write).await.problem(), @"409 value_rejected [memories[1].text] memories[1].text: this was rejected in its scope and is not written again; an administrator can lift the rejection");
    for rejection in [&first, &second] {
        let path = format!("/v1/rejections/{}", rejection["key"].as_str().unwrap());
        assert_eq!(api.delete(&path).await.ok(200), json!({"lifted": true}));
        assert_eq!(api.delete(&path).await.ok(200), json!({"lifted": false}), "that it is gone is no error");
    }
    api.post("/v1/memories", &write).await.ok(201);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let api = Api::new().await;
    let mut problems = Vec::new();
    for path in ["/v1/rejections?session=monday", "/v1/rejections?limit=0", "/v1/rejections?tenant=other"] {
        problems.push(api.get(path).await.problem());
    }
    problems.push(api.delete("/v1/rejections/abc").await.problem());
    problems.push(api.post("/v1/memories/forget", &json!({"all": true, "reject": "yes"})).await.problem());
    insta::assert_snapshot!(problems.join("\n"));
}
