use super::*;

fn compiled(filter: &Value) -> Compiled {
    compile(&Filter::from_json(filter).unwrap(), "$10")
}

#[test]
fn sql_of_filters() {
    let mut shown = String::new();
    for filter in [
        json!({}),
        json!({"kind": "semantic", "actor": {"in": ["Ann", "Bob"]}}),
        json!({"text": {"contains": "Lisbon"}, "actor": null}),
        json!({"actor": {"lt": "Ann"}, "metadata.topic": {"gte": "a"}}),
        json!({"importance": {"gte": 0.5}}),
        json!({"expires_at": {"in": ["2025-06-01T01:00:00Z", null]}}),
        json!({"valid_from": {"gt": "2025-06-01T01:00:00.0000005+02:00"}}),
        json!({"metadata.topic": "travel"}),
        json!({"not": {"metadata.trip.city": {"in": ["Lisbon", "Porto"]}}}),
        json!({"metadata.topic": {"in": ["travel", "food", null]}}),
        json!({"metadata.topic": {"in": ["travel", 4]}}),
        json!({"metadata.stars": {"lt": 4}, "metadata.done": {"exists": true}}),
        json!({"metadata.tags": {"contains": "a"}}),
        json!({"metadata.tags": {"eq": ["a", 2]}}),
        json!({"metadata.id": 9_007_199_254_740_993_i64}),
        json!({"metadata.ids": {"contains": [9_007_199_254_740_993_i64]}}),
    ] {
        let Compiled { sql, arguments } = compiled(&filter);
        shown += &format!("{filter}\n{sql}\n{arguments}\n\n");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn nothing_of_the_caller_is_in_the_sql() {
    let hostile = ["zq'", "zq\"", "zq\\", "zq$1", "zq{}", "zq%", "zq\0", "zq'; DROP TABLE orchestra.memories; --"];
    let operators = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "contains"];
    for text in hostile {
        let values =
            [json!(text), json!([text, {text: text}]), json!({text: [777_777, text]}), json!(777_777), json!(1e300)];
        for (operator, value) in operators.iter().flat_map(|operator| values.iter().map(move |value| (operator, value)))
        {
            for field in ["text", "actor", "origin", "importance", "metadata.zq", &format!("metadata.{text}.{text}")] {
                let value = if *operator == "in" { json!([value, text, 777_777]) } else { value.clone() };
                let Ok(filter) = Filter::from_json(&json!({field: {*operator: value}})) else { continue };
                let Compiled { sql, arguments } = compile(&filter, "$10");
                assert!(!sql.contains("zq") && !sql.contains("777777") && !sql.contains("000"), "{sql}");
                assert!(!arguments.to_string().contains("\\u0000"), "{arguments}");
            }
        }
    }
}

#[test]
fn sql_does_not_grow_with_the_values() {
    let length = |values: Vec<Value>| compiled(&json!({"metadata.a": {"in": values}})).sql.len();
    for value in [json!("a"), json!(u64::MAX), json!([1]), json!([u64::MAX])] {
        assert_eq!(length(vec![value.clone(); 2]), length(vec![value; 1000]));
    }
}

#[test]
fn a_path_too_deep_leads_nowhere() {
    let deep = format!("metadata.{}", ["a"; MAX_PATH + 1].join("."));
    for (condition, sql) in [
        (json!({"exists": false}), "true"),
        (json!({"eq": null}), "true"),
        (json!({"ne": 1}), "true"),
        (json!({"eq": 1}), "false"),
        (json!({"gt": 1}), "false"),
    ] {
        assert_eq!(compiled(&json!({&deep: condition})).sql, sql, "{condition}");
    }
}
