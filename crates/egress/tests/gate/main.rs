//! The gateway from its sockets to real servers, with nothing of it replaced.

mod cache;
mod connections;
mod names;
mod requests;
mod secrets;
mod smuggling;
mod websockets;
mod world;
