//! libammpl from Rust: owners that give back what they hold, errors with the library's sentence, slices for arrays.
//!
//! Functions are those of `ammpl.h`, where their comments stand; what is not wrapped is declared in [`sys`], and `as_raw` is the object for it.
//!
//! Threads, by the header's tags: [`Model`], [`Image`], [`Dataset`], [`Prompt`] and [`Config`] are `Send` and `Sync` (reading is
//! tagged [R], and what is tagged [S] takes `&mut self`); a [`Session`], a [`Tape`] and an [`Optimizer`] are `Send` only, one thread at a time.
//!
//! ```compile_fail
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<ammpl::Session>(); // a session belongs to one thread at a time
//! ```
//!
//! ```compile_fail
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<ammpl::Tape>(); // and so does a tape
//! ```
pub mod sys;

mod callback;
mod context;
mod dataset;
mod error;
mod model;
mod prompt;
mod session;
mod tape;

pub use context::{Builder, Config, Context, Device};
pub use dataset::{Dataset, Image};
pub use error::{Error, Result};
pub use model::Model;
pub use prompt::{Optimizer, Prompt, TensorInfo};
pub use session::{Batch, Metrics, Progress, Session};
pub use tape::{Gradient, Record, Tape, TextInput};

/// What training came to: its end, or a stop that the callback asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Cancelled,
}
