//! Templates: recipes as data, the steps that make one into a layer, and the driver that has them carried out.
//!
//! * [`Recipe`] is what a `template.toml` says, judged once when it is read.
//! * [`plan`] is pure: it turns a recipe into [`Step`]s, each with a content address.
//! * [`build()`] has the steps carried out on a [`BuildHost`] and seals what they leave.
//!
//! Steps run in the jail's *build* posture: root inside a user namespace, nothing on the host. A recipe whose key equals
//! that of a ready template whose layer exists need not be built: see [`Record`].

mod archive;
pub mod build;
pub(crate) mod image;
pub mod plan;
pub(crate) mod recipe;

pub use build::{BuildError, BuildHost, BuildProgress, Built, Kept, StepStream, build};
pub use image::{Image, ImageWork};
pub use plan::{HostSettings, Stage, Step, key, stages};
pub use recipe::{Input, Recipe, RecipeError, Record, Source, shipped, shipped_named};
