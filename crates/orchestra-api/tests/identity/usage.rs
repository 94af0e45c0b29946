//! What a tenant used is counted, told to that tenant alone, and written down.

use serde_json::{Value, json};

use super::Api;

const TEXT: &str = "the vault opens with marzipan";

fn operation<'a>(used: &'a Value, name: &str) -> &'a Value {
    let operations = used["operations"].as_array().unwrap();
    operations.iter().find(|usage| usage["operation"] == name).unwrap_or(&Value::Null)
}

async fn use_it(api: &Api, key: &str) {
    api.post(key, "/v1/memories", json!({"text": TEXT})).await.ok(201);
    assert_eq!(api.post(key, "/v1/memories", json!({"text": ""})).await.status, 400);
    let entry = json!({"prompt": "What opens it?", "response": "Marzipan opens it", "metadata": {"compute_ms": 1200}});
    api.post(key, "/v1/cache/entries", entry).await.ok(201);
    for prompt in ["What opens it?", "Something else entirely"] {
        api.post(key, "/v1/cache/lookup", json!({"prompt": prompt})).await.ok(200);
    }
}

#[tokio::test]
async fn a_tenant_sees_what_it_used_and_nothing_of_another() {
    let (api, [key, other]) = Api::new([("acme", "read,write"), ("other", "read,admin")]).await;
    use_it(&api, &key).await;
    let used = api.get(&key, "/v1/usage").await.ok(200);
    assert_eq!((&used["tenant"], &used["window_seconds"]), (&json!("acme"), &json!(60)));
    let (add, lookup) = (operation(&used, "memories.add"), operation(&used, "cache.lookup"));
    assert_eq!((&add["operations"], &add["failures"], &add["embedded_texts"]), (&json!(2), &json!(1), &json!(1)));
    let sent = json!({"text": TEXT}).to_string().len() + json!({"text": ""}).to_string().len();
    assert_eq!(add["bytes_in"], sent);
    assert!(add["bytes_out"].as_u64() > Some(100) && add["embedded_tokens"].as_u64() > Some(4), "{add:#}");
    let hits = ["operations", "exact_hits", "semantic_hits", "misses", "saved_ms", "embedded_texts"];
    assert_eq!(hits.map(|field| lookup[field].as_u64().unwrap()), [2, 1, 0, 1, 1200, 1], "{lookup:#}");
    assert!(lookup["saved_tokens"].as_u64() > Some(5), "{lookup:#}");
    let total = used["operations"].as_array().unwrap().iter().map(|usage| usage["operations"].as_u64().unwrap());
    assert_eq!(used["total"]["operations"], total.sum::<u64>());
    assert!(!used.to_string().to_lowercase().contains("marzipan"));

    let foreign = api.get(&other, "/v1/usage").await.ok(200);
    assert_eq!((&foreign["tenant"], &foreign["operations"]), (&json!("other"), &json!([])));
    assert_eq!(api.get(&other, "/v1/usage?tenant=acme").await.problem(), (400, "tenant_from_identity"));
    let later = api.get(&key, "/v1/usage?from=2100-01-01").await.ok(200);
    assert_eq!((&later["operations"], &later["from"]), (&json!([]), &json!("2100-01-01T00:00:00Z")));
    assert_eq!(api.get(&key, "/v1/usage?to=soon").await.problem(), (400, "invalid"));
}

#[tokio::test]
async fn an_answer_that_was_called_wrong_is_a_false_hit_once() {
    let (api, [key, other]) = Api::new([("acme", "read,write"), ("other", "read,write")]).await;
    use_it(&api, &key).await;
    let found = api.post(&key, "/v1/cache/lookup", json!({"prompt": "What opens it?"})).await.ok(200);
    let entry = &found["entry_id"];
    let say = |verdict: &str| json!({"entry": entry, "verdict": verdict});
    api.post(&key, "/v1/cache/feedback", say("right")).await.ok(200);
    // It is not another tenant's to judge; and two readers of it are one false answer.
    api.post(&other, "/v1/cache/feedback", say("wrong")).await.ok(200);
    for _ in 0..2 {
        api.post(&key, "/v1/cache/feedback", say("wrong")).await.ok(200);
    }
    let used = api.get(&key, "/v1/usage").await.ok(200);
    assert_eq!(operation(&used, "cache.feedback")["false_hits"], 1, "{used:#}");
    assert_eq!(used["total"]["false_hits"], 1);
    assert_eq!(api.get(&other, "/v1/usage").await.ok(200)["total"]["false_hits"], 0);
}

#[tokio::test]
async fn what_was_used_is_in_the_file_when_the_server_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usage.jsonl");
    let keys = [("acme", "read,write"), ("other", "read,write")];
    let (api, [key, other]) = Api::with(keys, |settings| settings.usage.file = Some(file.clone())).await;
    use_it(&api, &key).await;
    use_it(&api, &other).await;
    api.state.close(std::time::Duration::from_secs(10)).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.to_lowercase().contains("marzipan"), "{text}");
    let sum = |tenant: &str| {
        let events = text.lines().map(|line| serde_json::from_str::<memory_core::usage::UsageEvent>(line).unwrap());
        let of_tenant = events.filter(|event| event.tenant == tenant);
        of_tenant.map(|event| (event.operation, event.usage.operations)).collect::<Vec<_>>()
    };
    let expected = [("cache.lookup", 2), ("cache.store", 1), ("memories.add", 2)];
    let expected = expected.map(|(operation, count)| (operation.to_owned(), count));
    assert_eq!((sum("acme"), sum("other")), (expected.to_vec(), expected.to_vec()));
}
