//! One node's sandboxes: their lifecycle, executions, files and templates, the shelf of prepared ones, and reconcile.
//!
//! It reaches the kernel only through the jailer and the guest, keeps what it knows in the store, and writes each decision
//! there before it acts. No HTTP, no orders, no keys.

mod access;
mod activity;
pub mod api;
mod audit;
mod builder;
mod builds;
mod capture;
mod clock;
mod create;
mod credit;
mod disk;
mod engine;
mod environment;
mod error;
mod execution;
mod export;
mod files;
mod gate;
pub mod guest;
mod handover;
mod health;
mod histogram;
mod images;
mod jailer;
mod keys;
mod language;
mod lifecycle;
mod lookup;
mod machine;
mod network;
mod node;
mod packages;
mod ports;
pub mod previews;
mod prune;
mod recent;
mod registry;
mod run;
mod sandbox;
mod service;
mod shelf;
mod start;
pub mod template;
mod trading;
mod trial;
mod view;

pub use engine::{Config, Engine, StartError, TemplateSettings};
pub use ringfence_jail::sys::give_back_freed_memory;
pub use shelf::PART_OF_MEMORY as SHELF_PART_OF_MEMORY;
