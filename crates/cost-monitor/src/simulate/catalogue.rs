//! What the simulated memory is charged for, and what its tenants do.

/// Something that is charged for.
#[derive(Debug)]
pub(super) struct Sku {
    pub service_id: &'static str,
    pub service: &'static str,
    pub id: &'static str,
    pub description: &'static str,
    pub unit: &'static str,
    /// What a unit costs, in billionths.
    pub nanos_per_unit: u64,
    /// What it costs on a usual day, in billionths.
    pub nanos_per_day: u64,
    /// The label `component`, which some lack.
    pub label: Option<&'static str>,
    /// The label `system`.
    pub system: Option<&'static str>,
    /// Whose project it is in.
    pub owner: Owner,
    /// What is taken off at times: type, name, percent.
    pub credit: Option<(&'static str, &'static str, u64)>,
    pub resource: &'static str,
}

/// Whose project something is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Memory,
    Another,
    /// Charged to the whole account.
    Account,
}

const MEMORY: Option<&str> = Some("orchestra-memory");
const DOLLAR: u64 = 1_000_000_000;

#[expect(clippy::too_many_arguments, reason = "a row of the table below")]
const fn sku(
    service: (&'static str, &'static str),
    id: &'static str,
    description: &'static str,
    unit: &'static str,
    nanos_per_unit: u64,
    nanos_per_day: u64,
    label: Option<&'static str>,
    credit: Option<(&'static str, &'static str, u64)>,
) -> Sku {
    Sku {
        service_id: service.0,
        service: service.1,
        id,
        description,
        unit,
        nanos_per_unit,
        nanos_per_day,
        label,
        system: if label.is_some() { MEMORY } else { None },
        owner: Owner::Memory,
        credit,
        resource: "",
    }
}

const ALLOYDB: (&str, &str) = ("A1B2-0001", "AlloyDB");
const REDIS: (&str, &str) = ("A1B2-0002", "Memorystore");
const RUN: (&str, &str) = ("A1B2-0003", "Cloud Run");
const VERTEX: (&str, &str) = ("A1B2-0004", "Vertex AI");
const BIGQUERY: (&str, &str) = ("A1B2-0005", "BigQuery");
const NETWORK: (&str, &str) = ("A1B2-0006", "Networking");
const PUBSUB: (&str, &str) = ("A1B2-0007", "Cloud Pub/Sub");
const OTHER: (&str, &str) = ("A1B2-0008", "Compute Engine");
const TAX: (&str, &str) = ("A1B2-0009", "Invoice");

const COMMITTED: Option<(&str, &str, u64)> = Some(("COMMITTED_USAGE_DISCOUNT", "Committed Usage Discount: CPU", 25));
const FREE: Option<(&str, &str, u64)> = Some(("FREE_TIER", "Free tier", 100));
const PROMOTION: Option<(&str, &str, u64)> = Some(("PROMOTION", "Trial credit", 50));

pub(super) const SKUS: [Sku; 14] = [
    sku(ALLOYDB, "0001-AAAA", "AlloyDB: CPU", "hour", 86_890_000, 16 * DOLLAR, Some("vector-store"), COMMITTED),
    sku(
        ALLOYDB,
        "0002-AAAA",
        "AlloyDB: memory",
        "gibibyte hour",
        14_730_000,
        11 * DOLLAR,
        Some("vector-store"),
        COMMITTED,
    ),
    // Storage and backups carry no labels.
    sku(ALLOYDB, "0003-AAAA", "AlloyDB: storage", "gibibyte month", 339_000_000, 3 * DOLLAR, None, None),
    sku(REDIS, "0004-AAAA", "Redis node", "hour", 98_000_000, 9 * DOLLAR, Some("semantic-cache"), COMMITTED),
    sku(REDIS, "0005-AAAA", "Redis backups", "gibibyte month", 100_000_000, 345_678_901, Some("redis"), None),
    sku(RUN, "0006-AAAA", "CPU allocation time", "second", 24_000, 4 * DOLLAR, Some("api"), FREE),
    sku(RUN, "0007-AAAA", "Requests", "count", 400, 423_456_789, Some("api"), FREE),
    sku(VERTEX, "0008-AAAA", "Text embedding: input", "count", 150, 6 * DOLLAR, Some("embedding"), PROMOTION),
    sku(BIGQUERY, "0009-AAAA", "Analysis", "tebibyte", 6_250_000_000, 812_345_678, Some("bigquery"), FREE),
    sku(NETWORK, "0010-AAAA", "Egress to the internet", "gibibyte", 120_000_000, 1_234_567_891, None, None),
    // Below a millionth a line.
    sku(PUBSUB, "0011-AAAA", "Message delivery", "tebibyte", 40_000_000_000, 61_803, None, None),
    // Of this project, and labelled as another system's.
    Sku {
        system: Some("website"),
        ..sku(OTHER, "0012-AAAA", "N2 core", "hour", 31_000_000, 8 * DOLLAR, Some("api"), None)
    },
    // Of another project's, and labelled as the memory's.
    Sku {
        owner: Owner::Another,
        resource: "shared",
        ..sku(REDIS, "0013-AAAA", "Redis node, shared", "hour", 98_000_000, 2 * DOLLAR, Some("redis"), None)
    },
    Sku { owner: Owner::Account, ..sku(TAX, "0014-AAAA", "Tax", "count", DOLLAR, 9 * DOLLAR, None, None) },
];

/// Something that tenants do.
#[derive(Debug)]
pub(super) struct Operation {
    pub name: &'static str,
    /// How often, beside the others.
    pub often: u64,
    pub embeds: bool,
    pub looks_up: bool,
    pub is_feedback: bool,
}

const fn operation(name: &'static str, often: u64, embeds: bool, looks_up: bool) -> Operation {
    Operation { name, often, embeds, looks_up, is_feedback: false }
}

pub(super) const OPERATIONS: [Operation; 8] = [
    operation("memories.search", 20, true, false),
    operation("memories.add", 6, true, false),
    operation("messages.add", 9, false, false),
    operation("working.append", 12, false, false),
    operation("cache.lookup", 30, true, true),
    operation("cache.store", 11, true, false),
    operation("ask", 4, true, true),
    Operation { is_feedback: true, ..operation("cache.feedback", 1, false, false) },
];
