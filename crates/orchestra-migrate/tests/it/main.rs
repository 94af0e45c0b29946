//! The program itself.

mod commands;
mod home;
mod sides;
mod stress;
