//! No process that has run third-party code has a capability on the host: read from /proc, of every process of the daemon.

mod common;
