//! Filters: what of them is asked of Redis changes nothing but the cost.

use memory_core::{CacheLookup, CacheRequest, Filter, Metadata, NewCacheEntry, SemanticCache};
use memory_testkit::make;
use provider_redis::{FieldKind, IndexField, RedisSemanticCacheProvider};
use serde_json::{Value, json};

use crate::support::{Home, answer, entry, is_full_campaign, request, vector};

async fn open(home: &Home) -> RedisSemanticCacheProvider {
    let mut config = home.config();
    config.repeat_bytes = 0;
    let mut schema = home.schema();
    let tag = |case_sensitive| FieldKind::Tag { separator: ';', case_sensitive };
    schema.fields = [
        ("topic", tag(false)),
        ("code", tag(true)),
        ("price", FieldKind::Numeric),
        ("body", FieldKind::Text),
        // Filled from the entry, so that a filter on metadata of this name is none on it.
        ("prompt", FieldKind::Text),
    ]
    .map(|(name, kind)| IndexField { name: name.into(), kind })
    .into();
    config.index_schema = Some(schema);
    RedisSemanticCacheProvider::connect(config).await.expect("connect")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_left_out_take_no_places() {
    let Some(home) = Home::new() else { return };
    let cache = open(&home).await;
    let scope = make::user("acme", "ann");
    let put = async |prompt: &str, similarity: f32, seed: u64, metadata: Value| {
        let Value::Object(metadata) = metadata else { unreachable!("an object") };
        let embedding = Some(make::embedding_near(&vector(1), similarity, seed));
        cache.store(NewCacheEntry { metadata, embedding, ..entry(&scope, prompt, prompt, None) }).await.unwrap();
    };
    for seed in 0..30 {
        let metadata =
            json!({"topic": "many", "code": ["many"], "price": seed, "body": "nothing to see here", "other": "many"});
        put(&format!("many {seed}"), 0.99, seed, metadata).await;
    }
    let metadata = json!({"topic": "few;,", "code": ["a;B", "c"], "price": 1e9, "body": "Turn on the dark mode, please", "other": "few"});
    put("few", 0.93, 99, metadata).await;
    let ask = async |filter: Value| {
        let mut asked = request(&scope, "asked", None);
        asked.embedding = Some(vector(1));
        asked.filter = Some(Filter::from_json(&filter).unwrap());
        answer(&cache, &asked).await.unwrap()
    };
    for filter in [
        json!({"metadata.code": {"contains": "a;B"}}),
        json!({"metadata.topic": "few;,"}),
        json!({"metadata.topic": {"ne": "many"}}),
        json!({"not": {"metadata.topic": {"in": ["many", "more"]}}}),
        json!({"metadata.price": {"gt": 30}}),
        json!({"metadata.price": {"in": [1e9, 2e9]}}),
        json!({"metadata.body": {"contains": "on the dark mode,"}}),
        json!({"or": [{"metadata.price": 1e9}, {"metadata.topic": "none"}], "metadata.other": "few"}),
    ] {
        assert_eq!(ask(filter.clone()).await.as_deref(), Some("few"), "{filter}");
    }
    assert_eq!(ask(json!({"metadata.topic": "MANY"})).await, None, "case counts for a filter");
    // Not indexed: it is looked for among the nearest only.
    assert_eq!(ask(json!({"metadata.other": "few"})).await, None);
}

/// Numbers that follow from the one before.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 44] = [
            "", ",", ".", "<", ">", "{", "}", "[", "]", "\"", "'", ":", ";", "!", "@", "#", "$", "%", "^", "&", "*",
            "(", ")", "-", "+", "=", "~", "|", "/", "\\", " ", " ", " ", "a", "A", "ß", "İ", "😀", "the", "dark",
            "Mode", "\u{200b}", "\n", "7",
        ];
        match self.below(40) {
            0 => "x".repeat(5000),
            1 => String::new(),
            _ => (0..=self.below(9)).map(|_| *self.pick(&PARTS)).collect(),
        }
    }

    fn scalar(&mut self) -> Value {
        match self.below(8) {
            0 => json!(true),
            1 => json!(self.below(5)),
            2 => json!(self.pick(&[0.5, -0.0, 1e300, -2.5e-7, 3.0, 9_007_199_254_740_993.0])),
            3 => json!(self.pick(&[u64::MAX, 9_007_199_254_740_993])),
            _ => json!(self.text()),
        }
    }

    fn value(&mut self) -> Value {
        match self.below(10) {
            0 => Value::Null,
            1 => json!({"inner": self.scalar()}),
            2 | 3 => (0..self.below(4)).map(|_| self.scalar()).collect(),
            4 => (0..70).map(|number| if number == 60 { self.scalar() } else { json!(number) }).collect(),
            _ => self.scalar(),
        }
    }

    /// A value for a condition on this one: mostly one that has to do with it.
    fn operand(&mut self, value: &Value) -> Value {
        match value {
            _ if self.below(5) == 0 => self.scalar(),
            Value::Array(items) if !items.is_empty() && self.below(3) > 0 => self.pick(items).clone(),
            Value::String(text) if self.below(2) == 0 => {
                let chars: Vec<char> = text.chars().collect();
                let from = self.below(chars.len() + 1);
                let until = from + self.below(chars.len() + 1 - from);
                json!(chars[from..until].iter().collect::<String>())
            }
            other => other.clone(),
        }
    }

    fn filter(&mut self, all: &[Metadata], depth: usize) -> Value {
        let several =
            |random: &mut Self| -> Value { (0..random.below(4)).map(|_| random.filter(all, depth + 1)).collect() };
        match self.below(if depth < 3 { 8 } else { 5 }) {
            5 => json!({"and": several(self)}),
            6 => json!({"or": several(self)}),
            7 => json!({"not": self.filter(all, depth + 1)}),
            _ => {
                let field = *self.pick(&FIELDS);
                let value = self.pick(all).get(field).cloned().unwrap_or_default();
                let operand = self.operand(&value);
                let operator =
                    *self.pick(&["eq", "ne", "in", "exists", "contains", "contains", "gt", "gte", "lt", "lte"]);
                let operand = match operator {
                    "exists" => json!(self.below(2) == 0),
                    "in" => json!([operand, self.scalar()]),
                    "gt" | "gte" | "lt" | "lte" if !operand.is_number() && !operand.is_string() => json!(1),
                    _ => operand,
                };
                json!({format!("metadata.{field}"): {operator: operand}})
            }
        }
    }
}

const FIELDS: [&str; 6] = ["topic", "code", "price", "body", "prompt", "other"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_finds_what_the_filter_means() {
    let Some(home) = Home::new() else { return };
    let cache = open(&home).await;
    let mut random = Random(7);
    let (rounds, filters) = if is_full_campaign() { (100, 400) } else { (12, 120) };
    let (mut hits, mut misses) = (0, 0);
    for round in 0..rounds {
        let scope = make::user("acme", &format!("user {round}"));
        // No more than a search brings: what is not asked of Redis is then checked on all of them.
        let mut all: Vec<Metadata> = Vec::new();
        for place in 0_u8..8 {
            let given = FIELDS.map(|field| (field.to_owned(), random.value()));
            let metadata: Metadata = given.into_iter().filter(|_| random.below(5) > 0).collect();
            let embedding = Some(make::embedding_near(&vector(1), 0.99 - 0.015 * f32::from(place), u64::from(place)));
            let filed = entry(&scope, &format!("prompt {place}"), &place.to_string(), None);
            cache.store(NewCacheEntry { metadata: metadata.clone(), embedding, ..filed }).await.unwrap();
            all.push(metadata);
        }
        for _ in 0..filters {
            let json = random.filter(&all, 0);
            let filter = Filter::from_json(&json).unwrap();
            let expected = all.iter().position(|metadata| filter.matches_metadata(metadata));
            let asked = CacheRequest {
                embedding: Some(vector(1)),
                filter: Some(filter),
                ..request(&scope, "asked in other words", None)
            };
            let found = match cache.lookup(&asked).await.unwrap() {
                CacheLookup::Hit(hit) => Some(hit.entry.response.parse::<usize>().unwrap()),
                CacheLookup::Miss(_) => None,
            };
            assert_eq!(found, expected, "round {round}, {json}\n{all:#?}");
            if found.is_some() { hits += 1 } else { misses += 1 }
        }
    }
    assert!(hits > rounds * filters / 5 && misses > rounds * filters / 20, "{hits} hits, {misses} misses");
}
