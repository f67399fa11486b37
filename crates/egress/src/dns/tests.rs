mod message;
mod resolve;
mod serve;
