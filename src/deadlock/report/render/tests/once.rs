//! What is initialised once, in reports and long waits.

use super::*;

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn an_initialiser_that_needs_what_it_makes() {
    let (config, setup) = (lazy(1, Some("config"), MADE), lazy(2, None, MADE_TOO));
    let relock = made(Kind::Relock, [thread("main", 1).waits(&config, B).holding(&config, A)], Vec::new());
    Picture::Report(&relock).is_golden("own-initialisation");
    let first = thread("x", 1).waits(&config, B).holding(&setup, A);
    let second = thread("y", 2).waits(&setup, D).holding(&config, C);
    let bystander = thread("z", 3).waits(&setup, C);
    Picture::Report(&made(Kind::Cycle, [first, second], vec![bystander])).is_golden("initialisers");
    let ledger = lock(3, Some("ledger"), MADE);
    let first = thread("x", 1).waits(&config, B).holding(&ledger, A);
    let second = thread("y", 2).waits(&ledger, D).holding(&config, C);
    Picture::Report(&made(Kind::Cycle, [second, first], Vec::new())).is_golden("initialiser-and-lock");
    let (task, inner) = (task(4, Some("load"), C), StuckThread { is_in_place: true, ..thread("pool_0", 1) });
    let inner = inner.running(&task).waits(&config, D);
    let outer = thread("pool_0", 1).waits(&task, B).holding(&config, A);
    Picture::Report(&made(Kind::Cycle, [inner, outer], Vec::new())).is_golden("initialiser-and-task");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn an_initialisation_that_nobody_ends() {
    let config = lazy(1, Some("config"), MADE);
    let threads = [thread("x", 1).waits(&config, B), thread("y", 2).holding(&config, A).gone()];
    Picture::Report(&made(Kind::Abandoned, threads, Vec::new())).is_golden("abandoned-initialisation");
    let once = Resource { primitive: "Once", data_type: "", ..lazy(2, None, MADE) };
    let initialises = thread("y", 2).holding(&config, A).holding(&once, C);
    Picture::Threads(std::slice::from_ref(&initialises)).is_golden("initialises");
    let waits = |owner| LongWait { waiter: thread("x", 1).waits(&config, B), owner };
    Picture::LongWait(&waits(Some(initialises))).is_golden("long-wait-for-an-initialiser");
    Picture::LongWait(&waits(None)).is_golden("long-wait-for-no-initialiser");
}
