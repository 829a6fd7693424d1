//! Prints `workload<TAB>nanoseconds` for parking_lot with its deadlock detection. See `compare.sh`.

use bowline_benches::lines;
use bowline_benches::lock::{ParkingLot, ParkingLotReentrant};

fn main() {
    // Exists only with the feature: this does not compile without it.
    assert!(parking_lot::deadlock::check_deadlock().is_empty());
    lines::print::<ParkingLot, ParkingLotReentrant>();
}
