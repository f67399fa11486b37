//! `ringfence-init`: pid 1 of every sandbox.
//!
//! It reaps what programs leave behind, and moves files in and out for the host. It runs under a user of its own inside,
//! with three capabilities (KILL, SETGID, SETUID), under the same filter as programs. It never opens a path itself: a
//! worker that has become the user does, one for each request, so that a file request reaches exactly what the program
//! could reach. It ends when the host closes the frame socket, and with it everything in the sandbox.

mod files;
mod relay;
mod sys;

use relay::{Init, Outcome};

fn main() {
    sys::drop_what_is_not_needed();
    sys::set_name(c"init");
    let code = match Init::take_over() {
        Ok(mut init) => loop {
            match init.serve_one() {
                Ok(Outcome::Served) => {}
                Ok(Outcome::HostIsGone) => break 0,
                // The host broke the protocol, or the socket failed: neither leaves a way to go on.
                Err(_) => break 1,
            }
        },
        Err(_) => 2,
    };
    std::process::exit(code)
}
