//! What std's types do, which is what is expected of bowline's.

use std::sync;

#[path = "behaviour/mod.rs"]
mod behaviour;
