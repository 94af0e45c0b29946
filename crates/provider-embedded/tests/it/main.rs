//! The embedded provider against its contract, and against what happens to processes, files and disks.

mod contract;
mod durability;
mod expiry;
mod files;
mod load;
mod moves;
mod oracle;
mod room;
mod support;
