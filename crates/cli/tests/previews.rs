//! Previews through the real daemon: what a program serves in its sandbox, seen from outside, and what a hostile program, a
//! hostile page and a curious neighbour make of it. Each attack has a control in which it succeeds.

mod common;

#[path = "previews/answers.rs"]
mod answers;
#[path = "previews/ends.rs"]
mod ends;
#[path = "previews/entry.rs"]
mod entry;
#[path = "previews/projects.rs"]
mod projects;
#[path = "previews/scene.rs"]
mod scene;
#[path = "previews/serving.rs"]
mod serving;
