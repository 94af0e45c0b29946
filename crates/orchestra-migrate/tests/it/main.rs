//! The program itself.

mod commands;
mod databases;
mod dry_run;
mod dump;
mod hit_rate;
mod home;
mod progress;
mod server;
mod sides;
mod stress;
