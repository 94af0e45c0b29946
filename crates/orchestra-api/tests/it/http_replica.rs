//! `/v1/replica`: the whole store, for whoever moves it.

use serde_json::json;

use crate::Api;

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let api = Api::new().await;
    let mut problems = Vec::new();
    for path in [
        "/v1/replica/items?limit=0",
        "/v1/replica/items?after=nowhere",
        "/v1/replica/streams/none",
        "/v1/replica/streams/none/changes",
        "/v1/replica/size?tenant=acme",
    ] {
        problems.push(api.get(path).await.problem());
    }
    for (path, body) in [
        ("/v1/replica/gate", json!({"epoch": 1, "writers": "nobody"})),
        ("/v1/replica/gate", json!({"epoch": 0, "writers": "mover"})),
        ("/v1/replica/items", json!({"epoch": 3, "items": []})),
        ("/v1/replica/items", json!({"epoch": 3, "items": [{"item": "memory"}]})),
        ("/v1/replica/items/read", json!({"keys": [{"memory": {"tenant": "a"}}]})),
        ("/v1/replica/streams", json!({"stream": ""})),
        ("/v1/replica/streams/none/acknowledge", json!({"position": "1"})),
    ] {
        problems.push(api.post(path, &body).await.problem());
    }
    insta::assert_snapshot!(problems.join("\n"));
}
