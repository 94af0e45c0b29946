//! The command line as people and programs use it: the real binary, on folders of its own.

#![expect(clippy::unwrap_used, reason = "tests, and what only tests call")]

mod commands;
mod config;
mod consolidate;
mod container;
mod database;
mod db;
mod demo;
mod export;
mod failures;
mod formats;
mod help;
mod import;
mod index;
mod rejections;
mod server;
mod session;
mod support;
