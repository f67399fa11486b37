mod address;
mod denial;
mod host;
mod path;
mod policy;
mod rulebook;

use super::*;

fn host(text: &str) -> HostName {
    HostName::parse(text).expect("a name")
}
