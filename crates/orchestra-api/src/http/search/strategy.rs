//! How the arms of a search are put together, as a body says it.

use std::borrow::Cow;
use std::fmt;

use memory_core::{FusionStrategy, Weights};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// How the arms of a search are put together: a name, or an object with its weights. What it does not say is as the
/// server's settings say.
#[derive(Debug, Clone, Copy)]
pub struct StrategyBody(StrategyObject);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StrategyName {
    Weighted,
    Rrf,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StrategyWeights")]
struct StrategyObject {
    /// Which way.
    strategy: StrategyName,
    /// The rank constant of `rrf`.
    k: Option<f32>,
    /// Weight of the similarity, 0 to 1; the words have the rest.
    dense: Option<f32>,
    /// What a turn lends of its match to the turns next to it.
    neighbours: Option<f32>,
    /// What a memory gets when the query names who said it.
    actor: Option<f32>,
    /// What a memory gets for being new.
    recency: Option<f32>,
    /// The half-life of `recency`, in days.
    recency_half_life_days: Option<f32>,
    /// What a memory of importance 1 gets over one of importance 0.
    importance: Option<f32>,
}

impl<'de> Deserialize<'de> for StrategyBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrategyVisitor;
        impl<'de> Visitor<'de> for StrategyVisitor {
            type Value = StrategyBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("weighted, rrf, or an object such as {\"strategy\": \"weighted\", \"dense\": 0.5}")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<StrategyBody, E> {
                match name {
                    "weighted" => Ok(StrategyBody(StrategyObject::named(StrategyName::Weighted))),
                    "rrf" => Ok(StrategyBody(StrategyObject::named(StrategyName::Rrf))),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<StrategyBody, A::Error> {
                let object = StrategyObject::deserialize(MapAccessDeserializer::new(object))?;
                object.check().map_err(de::Error::custom)?;
                Ok(StrategyBody(object))
            }
        }
        deserializer.deserialize_any(StrategyVisitor)
    }
}

impl JsonSchema for StrategyBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StrategyBody".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [generator.subschema_for::<StrategyName>(), generator.subschema_for::<StrategyObject>()],
        })
    }
}

impl StrategyBody {
    /// The strategy, with what the body does not say taken from `default`.
    #[must_use]
    pub fn over(self, default: Weights) -> FusionStrategy {
        let object = self.0;
        match object.strategy {
            StrategyName::Weighted => FusionStrategy::Weighted(Weights {
                dense: object.dense.unwrap_or(default.dense),
                neighbours: object.neighbours.unwrap_or(default.neighbours),
                actor: object.actor.unwrap_or(default.actor),
                recency: object.recency.unwrap_or(default.recency),
                recency_half_life_days: object.recency_half_life_days.unwrap_or(default.recency_half_life_days),
                importance: object.importance.unwrap_or(default.importance),
            }),
            StrategyName::Rrf => object.k.map_or(FusionStrategy::RRF, |k| FusionStrategy::Rrf { k }),
        }
    }
}

impl StrategyObject {
    fn named(strategy: StrategyName) -> Self {
        Self {
            strategy,
            k: None,
            dense: None,
            neighbours: None,
            actor: None,
            recency: None,
            recency_half_life_days: None,
            importance: None,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let weights =
            [self.dense, self.neighbours, self.actor, self.recency, self.recency_half_life_days, self.importance];
        match self.strategy {
            StrategyName::Weighted if self.k.is_some() => Err("k belongs to rrf"),
            StrategyName::Rrf if weights.iter().any(Option::is_some) => Err("weights belong to weighted; rrf has k"),
            _ => Ok(()),
        }
    }
}
