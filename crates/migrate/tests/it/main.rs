//! Moves of stores in memory under traffic, killed anywhere; and records on real files and servers.

mod diffs;
mod dumps;
mod gates;
mod import;
mod moves;
mod notes;
mod oracle;
mod records;
mod watched;
mod world;
