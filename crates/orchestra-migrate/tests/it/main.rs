//! The program itself.

mod commands;
mod dump;
mod home;
mod server;
mod sides;
mod stress;
