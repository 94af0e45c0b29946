//! Every item of the file, a page at a time.

use std::collections::HashMap;

use memory_core::{Error, FormerVersion, Item, Result, ScanPage, ScanPosition, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use uuid::Uuid;

use super::items::{read_forgotten_text, read_former_version, read_key, read_tombstone, read_whole};
use crate::error::{backend, damaged};
use crate::rejections::read_rejection;
use crate::rows::{ReadResult, Spaces, get, micros, read_spaces};
use crate::sql::replica;
use crate::writer::oldest_key;

/// The kinds of items, in the order of scanning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Rejections,
    Texts,
    Tombstones,
    Memories,
    Keys,
}

const STAGES: [(Stage, &str); 5] = [
    (Stage::Rejections, "rejections"),
    (Stage::Texts, "texts"),
    (Stage::Tombstones, "tombstones"),
    (Stage::Memories, "memories"),
    (Stage::Keys, "keys"),
];

/// An item, and where it is within its stage.
type Placed = (String, Item);

/// The items behind a place, of one moment.
pub(super) async fn scan(
    connection: &mut SqliteConnection,
    after: Option<&ScanPosition>,
    limit: usize,
    now: Timestamp,
) -> Result<ScanPage> {
    let (first, mut place) = after.map_or(Ok((0, None)), parse)?;
    let spaces = read_spaces(connection).await.map_err(|error| backend("scan", error))?;
    let mut items = Vec::new();
    for (stage, name) in &STAGES[first..] {
        let room = limit.max(1) - items.len();
        let mut page = read_stage(connection, *stage, place.as_deref(), room, now, &spaces).await?;
        if page.len() == room {
            let next = page.last().map(|(place, _)| ScanPosition(format!("{name}/{place}")));
            items.extend(page.drain(..).map(|(_, item)| item));
            return Ok(ScanPage { items, next });
        }
        items.extend(page.drain(..).map(|(_, item)| item));
        place = None;
    }
    Ok(ScanPage { items, next: None })
}

/// The number of the stage, and the place in it.
fn parse(position: &ScanPosition) -> Result<(usize, Option<String>)> {
    let parts = position.0.split_once('/');
    let stage = parts.and_then(|(stage, _)| STAGES.iter().position(|(_, name)| *name == stage));
    match (parts, stage) {
        (Some((_, place)), Some(stage)) => Ok((stage, Some(place.to_owned()))),
        _ => Err(unknown(&position.0)),
    }
}

fn unknown(place: &str) -> Error {
    Error::invalid("after", place, "a place in the order of scanning that this store gave")
}

async fn read_stage(
    connection: &mut SqliteConnection,
    stage: Stage,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
    spaces: &Spaces,
) -> Result<Vec<Placed>> {
    let number = || after.map_or(Ok(0), |after| after.parse::<i64>().map_err(|_| unknown(after)));
    let count = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = match stage {
        Stage::Rejections => sqlx::query(replica::REJECTIONS_AFTER).bind(number()?),
        Stage::Texts => sqlx::query(replica::FORGOTTEN_TEXTS_AFTER).bind(number()?),
        Stage::Tombstones => {
            let id = after.map(|after| Uuid::parse_str(after).map_err(|_| unknown(after))).transpose()?;
            sqlx::query(replica::TOMBSTONES_AFTER).bind(id)
        }
        Stage::Memories => sqlx::query(replica::MEMORIES_AFTER).bind(number()?),
        Stage::Keys => {
            let key = after.map(|after| serde_json::from_str::<(String, String)>(after).map_err(|_| unknown(after)));
            let (tenant, key) = key.transpose()?.unwrap_or_default();
            sqlx::query(replica::KEYS_AFTER).bind(tenant).bind(key)
        }
    };
    let query = match stage {
        Stage::Memories => query.bind(count).bind(micros(now)),
        Stage::Keys => query.bind(count).bind(oldest_key(now)),
        Stage::Rejections | Stage::Texts | Stage::Tombstones => query.bind(count),
    };
    let rows = query.fetch_all(&mut *connection).await.map_err(|error| backend("scan", error))?;
    let mut histories = match stage {
        Stage::Memories => read_histories(connection, &rows, spaces).await?,
        _ => HashMap::new(),
    };
    let place = |row: &SqliteRow| -> ReadResult<Placed> {
        Ok(match stage {
            Stage::Rejections => (get::<i64>(row, 0)?.to_string(), Item::Rejection(read_rejection(row, get(row, 7)?)?)),
            Stage::Texts => (get::<i64>(row, 0)?.to_string(), read_forgotten_text(row)?),
            Stage::Tombstones => (get::<Uuid>(row, 0)?.to_string(), read_tombstone(row)?),
            Stage::Memories => {
                let former = histories.remove(&get::<Uuid>(row, 1)?).unwrap_or_default();
                let whole = read_whole(row, former, spaces)?;
                (whole.ordinal.to_string(), Item::Memory(Box::new(whole)))
            }
            Stage::Keys => {
                let answered = read_key(row)?;
                let place = serde_json::to_string(&(&answered.tenant, &answered.key))?;
                (place, Item::IdempotencyKey(answered))
            }
        })
    };
    rows.iter().map(place).collect::<ReadResult<_>>().map_err(|error| damaged("scan", error))
}

/// The former versions of a page of memories, by their ids.
async fn read_histories(
    connection: &mut SqliteConnection,
    memories: &[SqliteRow],
    spaces: &Spaces,
) -> Result<HashMap<Uuid, Vec<FormerVersion>>> {
    let read = |error| backend("scan", error);
    let (Some(first), Some(last)) = (memories.first(), memories.last()) else { return Ok(HashMap::new()) };
    let positions = (get::<i64>(first, 0).map_err(read)?, get::<i64>(last, 0).map_err(read)?);
    let query = sqlx::query(replica::HISTORIES_BETWEEN).bind(positions.0).bind(positions.1);
    let mut histories: HashMap<Uuid, Vec<FormerVersion>> = HashMap::new();
    for row in query.fetch_all(&mut *connection).await.map_err(read)? {
        let version = read_former_version(&row, spaces).map_err(|error| damaged("scan", error))?;
        histories.entry(get(&row, 0).map_err(read)?).or_default().push(version);
    }
    Ok(histories)
}
