//! How much reaches the prompt.

use serde_json::json;

use super::{Home, ann};

#[tokio::test]
async fn k_is_an_upper_bound() {
    for home in Home::all().await {
        let long = "and there is very much more to say about it ".repeat(40);
        let memories: Vec<_> = (0..60)
            .map(|at| json!({"text": format!("The harvest of field {at} was good, {long}"), "scope": ann()}))
            .collect();
        home.post(&home.acme, "/v1/memories", json!({"memories": memories})).await.ok(201);
        for k in [1, 5, 20] {
            let prompt = home.prompt(&home.acme, "how was the harvest?", k).await;
            // A record begins with its number, and its text is quoted.
            let numbers =
                prompt.lines().filter(|line| line.split_once(". id ").is_some_and(|(at, _)| at.parse::<u32>().is_ok()));
            assert_eq!(
                (numbers.count(), prompt.matches("The harvest of field").count()),
                (k, k),
                "{}: {prompt}",
                home.store
            );
            let found = home
                .post(&home.acme, "/v1/memories/search", json!({"query": "harvest", "scope": ann(), "limit": k}))
                .await;
            assert_eq!(found.ok(200)["results"].as_array().unwrap().len(), k);
        }
        let refused = home.tool(&home.acme, "recall", json!({"query": "harvest", "scope": ann(), "limit": 0})).await;
        assert_eq!(refused["isError"], true, "none is no bound");
    }
}
