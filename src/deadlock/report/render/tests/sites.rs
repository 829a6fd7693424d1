//! Lines for reports that are made up. The golden files name these lines.

use std::panic::Location;

use crate::deadlock::graph::resource::Site;

pub(in crate::deadlock) const A: Site = Location::caller();
pub(in crate::deadlock) const B: Site = Location::caller();
pub(in crate::deadlock) const C: Site = Location::caller();
pub(in crate::deadlock) const D: Site = Location::caller();
pub(in crate::deadlock) const MADE: Site = Location::caller();
pub(in crate::deadlock) const MADE_TOO: Site = Location::caller();
