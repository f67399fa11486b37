//! `ringfence`: one executable with several roles. This crate composes; what it composes is in the other crates.
//!
//! A command talks to the daemon over its Unix socket and holds no state. Only `serve` is the daemon, and it must stay
//! without threads until its roles are started, so the runtime of the other commands is made after the choice.

mod args;
mod bench;
mod commands;
mod config;
mod daemon;
mod demo;
mod failure;
mod follow;
mod install;
mod language;
mod mcp_config;
mod network;
mod numbers;
mod output;
mod pages;
mod progress;
mod prompt;
mod recipe_dir;
mod roles;

use std::alloc::System;

use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is overwritten: keys that clients send pass through buffers of HTTP and JSON that nobody else wipes.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    if let Err(error) = roles::hide_memory() {
        eprintln!("ringfence: {error:#}");
        std::process::exit(1);
    }
    if let Some(code) = roles::dispatch() {
        std::process::exit(code);
    }
    let cli = args::Cli::parse();
    // Not a return: a thread that waits for standard input would hold up the end.
    std::process::exit(commands::run(cli));
}
