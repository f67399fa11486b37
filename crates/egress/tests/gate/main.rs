//! The gateway from its sockets to real servers, with nothing of it replaced.

mod binance;
mod broker;
mod cache;
mod connections;
mod http2;
mod names;
mod operator;
mod requests;
mod secrets;
mod signing;
mod smuggling;
mod streams;
mod testnet;
mod trade;
mod updates;
mod venue;
mod websockets;
mod world;
