//! What bowline's types do: the same as std's.

use bowline::std_sync as sync;

#[path = "behaviour/mod.rs"]
mod behaviour;
