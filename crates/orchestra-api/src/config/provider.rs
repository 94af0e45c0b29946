//! Which provider each tier is on.

/// Where the semantic cache lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortTermProvider {
    /// In the data folder, with the memory.
    Embedded,
    /// On Redis.
    Redis,
    /// Nowhere.
    None,
}

impl ShortTermProvider {
    /// Its name, as settings and answers spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
            Self::None => "none",
        }
    }
}

/// Where the memories live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediumTermProvider {
    /// In the data folder.
    Embedded,
    /// On AlloyDB or another Postgres.
    AlloyDb,
}

impl MediumTermProvider {
    /// Its name, as settings and answers spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::AlloyDb => "alloydb",
        }
    }
}
