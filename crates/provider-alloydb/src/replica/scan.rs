//! All items, one page after the other.

use memory_core::{BoxError, Error, Item, Result, ScanPage, ScanPosition};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::AlloyDbReplica;
use super::read::{CURRENT_BEHIND, Reading, read_answered_key, read_forgotten_text, read_rejected, read_tombstone};
use crate::error::failed;

const ANSWERED_KEYS: &str = "
    SELECT k.* FROM orchestra.idempotency_keys k
    WHERE (k.tenant, k.key) > ($1, $2) AND k.receipt IS NOT NULL AND k.created_at > $4
    ORDER BY k.tenant, k.key LIMIT $3";
const REJECTIONS: &str = "SELECT r.* FROM orchestra.rejections r WHERE r.sequence > $1 ORDER BY r.sequence LIMIT $2";
/// No name is empty, so that an empty one may stand for none.
const FORGOTTEN_TEXTS: &str = "
    SELECT f.tenant, f.user_id, f.agent_id, f.session_id, f.content_hash FROM orchestra.forgotten_texts f
    WHERE (f.tenant, f.content_hash) >= ($1, $2)
        AND (f.tenant, f.content_hash, coalesce(f.user_id, ''), coalesce(f.agent_id, ''), coalesce(f.session_id, ''))
            > ($1, $2, $3, $4, $5)
    ORDER BY f.tenant, f.content_hash, coalesce(f.user_id, ''), coalesce(f.agent_id, ''), coalesce(f.session_id, '')
    LIMIT $6";
const TOMBSTONES: &str = "
    SELECT t.tenant, t.user_id, t.agent_id, t.session_id, t.id, t.forgotten_at FROM orchestra.tombstones t
    WHERE (t.tenant, t.id) > ($1, $2) ORDER BY t.tenant, t.id LIMIT $3";

/// A place in the order of scanning: the item that was passed last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    AnsweredKey { tenant: String, key: String },
    Rejection { sequence: i64 },
    ForgottenText { tenant: String, hash: Vec<u8>, user: String, agent: String, session: String },
    Tombstone { tenant: String, id: Uuid },
    Memory { ordinal: i64 },
}

impl AlloyDbReplica {
    pub(super) async fn scan_items(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        if limit == 0 {
            return Err(Error::invalid("limit", 0, "at least 1"));
        }
        let mut next_kind = Some(after.map_or(Ok(Place::first()), Place::read)?);
        let failed = |error| failed("scan", error);
        let mut reading = self.begin_reading().await.map_err(failed)?;
        let mut items = Vec::new();
        let mut last = None;
        let mut has_more = false;
        while let Some(place) = next_kind {
            // One more than there is room for, to know whether there is a next page.
            let room = limit - items.len();
            let rows = reading.behind(&place, room.saturating_add(1)).await.map_err(failed)?;
            let taken = &rows[..rows.len().min(room)];
            if let Some(row) = taken.last() {
                last = Some(place.at(row).map_err(failed)?);
            }
            items.extend(reading.items_of(&place, taken).await.map_err(failed)?);
            has_more = rows.len() > room;
            next_kind = if has_more { None } else { place.next_kind() };
        }
        reading.end().await.map_err(failed)?;
        Ok(ScanPage { items, next: last.filter(|_| has_more).map(|place| place.position()).transpose()? })
    }
}

impl Place {
    fn first() -> Self {
        Self::AnsweredKey { tenant: String::new(), key: String::new() }
    }

    /// Before the first item of the next kind.
    fn next_kind(&self) -> Option<Self> {
        let none = String::new;
        Some(match self {
            Self::AnsweredKey { .. } => Self::Rejection { sequence: 0 },
            Self::Rejection { .. } => {
                Self::ForgottenText { tenant: none(), hash: Vec::new(), user: none(), agent: none(), session: none() }
            }
            Self::ForgottenText { .. } => Self::Tombstone { tenant: none(), id: Uuid::nil() },
            Self::Tombstone { .. } => Self::Memory { ordinal: 0 },
            Self::Memory { .. } => return None,
        })
    }

    /// The place of a row of the same kind.
    fn at(&self, row: &PgRow) -> sqlx::Result<Self> {
        let name = |column| row.try_get::<Option<String>, _>(column).map(Option::unwrap_or_default);
        Ok(match self {
            Self::AnsweredKey { .. } => Self::AnsweredKey { tenant: name("tenant")?, key: name("key")? },
            Self::Rejection { .. } => Self::Rejection { sequence: row.try_get("sequence")? },
            Self::ForgottenText { .. } => Self::ForgottenText {
                tenant: name("tenant")?,
                hash: row.try_get("content_hash")?,
                user: name("user_id")?,
                agent: name("agent_id")?,
                session: name("session_id")?,
            },
            Self::Tombstone { .. } => Self::Tombstone { tenant: name("tenant")?, id: row.try_get("id")? },
            Self::Memory { .. } => Self::Memory { ordinal: row.try_get("ordinal")? },
        })
    }

    fn read(position: &ScanPosition) -> Result<Self> {
        serde_json::from_str(&position.0)
            .map_err(|_| Error::invalid("position", &position.0, "a position that this store gave"))
    }

    fn position(&self) -> Result<ScanPosition> {
        let text = serde_json::to_string(self);
        text.map(ScanPosition).map_err(|error| crate::error::damaged("scan", BoxError::from(error)))
    }
}

impl Reading {
    /// The rows of the place's kind that come behind it.
    async fn behind(&mut self, place: &Place, limit: usize) -> sqlx::Result<Vec<PgRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = match place {
            Place::AnsweredKey { tenant, key } => {
                sqlx::query(ANSWERED_KEYS).bind(tenant).bind(key).bind(limit).bind(self.keys_since())
            }
            Place::Rejection { sequence } => sqlx::query(REJECTIONS).bind(sequence).bind(limit),
            Place::ForgottenText { tenant, hash, user, agent, session } => {
                let query = sqlx::query(FORGOTTEN_TEXTS).bind(tenant).bind(hash);
                query.bind(user).bind(agent).bind(session).bind(limit)
            }
            Place::Tombstone { tenant, id } => sqlx::query(TOMBSTONES).bind(tenant).bind(id).bind(limit),
            Place::Memory { ordinal } => sqlx::query(CURRENT_BEHIND).bind(ordinal).bind(self.now).bind(limit),
        };
        self.rows(query).await
    }

    /// What rows of the place's kind are.
    async fn items_of(&mut self, place: &Place, rows: &[PgRow]) -> sqlx::Result<Vec<Item>> {
        let read = match place {
            Place::AnsweredKey { .. } => read_answered_key,
            Place::Rejection { .. } => read_rejected,
            Place::ForgottenText { .. } => read_forgotten_text,
            Place::Tombstone { .. } => read_tombstone,
            Place::Memory { .. } => {
                let whole = self.whole_memories(rows).await?;
                return Ok(whole.into_iter().map(|whole| Item::Memory(Box::new(whole))).collect());
            }
        };
        rows.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_scanned_and_every_place_is_read_again() {
        let kinds: Vec<Place> = std::iter::successors(Some(Place::first()), Place::next_kind).collect();
        assert_eq!(kinds.len(), 5);
        for place in &kinds {
            assert_eq!(Place::read(&place.position().unwrap()).unwrap(), *place);
        }
        assert!(Place::read(&ScanPosition("12".into())).is_err());
    }
}
