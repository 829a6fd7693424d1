//! Prints `workload<TAB>nanoseconds` for one lock: `lines bowline` or `lines parking_lot`. See `compare.sh`.

use std::process::ExitCode;

use bowline_benches::lines;
use bowline_benches::lock::{Bowline, BowlineReentrant, ParkingLot, ParkingLotReentrant};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("bowline") => lines::print::<Bowline, BowlineReentrant>(),
        Some("parking_lot") => lines::print::<ParkingLot, ParkingLotReentrant>(),
        _ => {
            eprintln!("usage: lines bowline|parking_lot");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
